"""Isolated Li of the references of a binding-energy study: an atom with or without spin, or an ion, in a box."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import Convention
from anodeflow.workflows.cards import MethodCard, Smearing
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.graph import CalculationStep

# Isolated particles by reference convention: name, spin of the card, charge.
_ISOLATED: dict[str, tuple[str, str, int]] = {
    "neutral_atom": ("atom", "collinear", 0),
    "neutral_atom_nonspin": ("atom without spin", "none", 0),
    "ion": ("ion", "none", 1),
}
_ATOM_BOX_ANGSTROM = 12.0
# An atom without spin has a half-filled level at the Fermi energy, for which the extrapolation to zero width is wrong
# by sigma/(2 sqrt(pi)): 28 meV at 0.1 eV. This width leaves 0.3 meV. With spin, and in the ion, every level is full or
# empty, and the width does not matter.
HALF_FILLED = Smearing(kind="gaussian", width_ev=0.001)


def isolated_lithium(
    conventions: list[Convention], card: MethodCard, role: Role, box_angstrom: float | None
) -> dict[Convention, CalculationStep]:
    """Return the isolated Li of the conventions that need one.

    Parameters
    ----------
    conventions
        Of a study.
    card, role
        How accurately, and whose card that is.
    box_angstrom
        Edge of the cubic box; None: 12.
    """
    edge = box_angstrom or _ATOM_BOX_ANGSTROM
    steps: dict[Convention, CalculationStep] = {}
    for convention in conventions:
        if convention in _ISOLATED:
            name, spin, charge = _ISOLATED[convention]
            half_filled = {"smearing": HALF_FILLED} if convention == "neutral_atom_nonspin" else {}
            steps[convention] = CalculationStep(
                label=f"Li/{name}",
                task="static",
                structure=Structure(Lattice.cubic(edge), ["Li"], [[0.5, 0.5, 0.5]]),
                expected_steps=0,
                crystal="Li",
                charge=charge,
                role=role,
                card=card.varied("isolated atom", spin=spin, dipole_correction=False, **half_filled),
            )
    return steps
