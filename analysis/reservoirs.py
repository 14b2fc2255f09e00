"""Where atoms go that Li replaces: the phases whose energies stand for them."""

from __future__ import annotations

from pydantic import Field

from anodeflow.analysis.comparable import check_comparable
from anodeflow.documents import CalculationDoc, Document
from anodeflow.errors import InputError

_LITHIUM = "Li"


class Reservoir(Document):
    """The phase that an atom returns to when Li takes its place, and the energy of one such atom there."""

    element: str = Field(description="of the atom that Li replaces")
    phase: str = Field(description="crystal that it returns to")
    formula: str
    chemical_potential_ev: float = Field(description="eV per atom that returns")
    rests_on: list[str] = Field(description="fingerprints: the phase, and bcc Li where the phase holds Li, too")

    @property
    def text(self) -> str:
        """Such as ``Al to Al`` or ``Al to LiAl in equilibrium with bcc Li``."""
        return f"{self.element} to {self.phase}" + (" in equilibrium with bcc Li" if len(self.rests_on) > 1 else "")


def reservoir_of(element: str, phase: str, crystal: CalculationDoc, metal: CalculationDoc) -> Reservoir:
    """Return the energy of one atom of an element in a phase.

    In a crystal of the element alone it is the energy per atom. In one that holds Li, too, its Li counts as bcc Li,
    with which it is in equilibrium: mu_M = (E - n_Li mu_Li)/n_M.

    Parameters
    ----------
    element
        Of the atom.
    phase
        Name of the crystal.
    crystal
        Its relaxation; for the host's own crystal, the host cell.
    metal
        Relaxed bcc Li.

    Raises
    ------
    InputError
        If the phase does not hold the element, or holds a third one whose energy is not known.
    ConvergenceError
        If one of the two did not converge.
    ReferenceMismatchError
        If the two rest on different engines or cards, or one is charged.
    """
    composition = crystal.structure.composition
    check_reservoir(element, phase, [str(e) for e in composition])
    check_comparable([crystal, metal])
    energy, rests_on = crystal.converged_energy_ev(), [crystal.fingerprint]
    if _LITHIUM in composition and element != _LITHIUM:
        energy -= composition[_LITHIUM] * metal.energy_per_atom_ev
        rests_on.append(metal.fingerprint)
    return Reservoir(
        element=element,
        phase=phase,
        formula=composition.reduced_formula,
        chemical_potential_ev=energy / composition[element],
        rests_on=rests_on,
    )


def check_reservoir(element: str, phase: str, held: list[str]) -> None:
    """Refuse a phase that cannot take the atoms of an element back.

    Parameters
    ----------
    element
        Of the atom that Li replaces.
    phase
        Name of the crystal.
    held
        The elements of the crystal.

    Raises
    ------
    InputError
        If it holds none of the element, or another one besides Li.
    """
    if element not in held:
        raise InputError(
            f"reservoir '{phase}' of {element} holds no {element}",
            f"name a crystal of {element}: reservoirs: {{{element}: NAME}}",
        )
    others = sorted(set(held) - {element, _LITHIUM})
    if others:
        raise InputError(
            f"reservoir '{phase}' of {element} holds {', '.join(others)}, too, whose energy is not defined there",
            f"name a crystal of {element} alone, or of {element} and Li",
        )
