"""What a plane-wave calculation will cost: counted from electrons, plane waves and k-points."""

from __future__ import annotations

import math

from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.electronic import electronic, electrons

# Bohr radius, angstrom, and Hartree, eV (CODATA 2018)
BOHR = 0.529177210903
HARTREE = 27.211386245988
# Iterations of the electrons in a first and in a later ionic step.
FIRST_ITERATIONS, LATER_ITERATIONS = 18, 9
# Core-seconds a band, k-point, iteration and plane wave: the transforms, and what grows with the bands.
TRANSFORM_S = 2.2e-7
BAND_S = 1.1e-9
# A later step is about this sure, as a factor either way.
UNCERTAINTY_FACTOR = 3.0


def plane_waves(structure: Structure, cutoff_ev: float) -> int:
    """Plane waves below a cutoff at one k-point: V k^3 / (6 pi^2), k^2 = 2 E in atomic units."""
    k = math.sqrt(2.0 * cutoff_ev / HARTREE) / BOHR
    return max(1, round(structure.volume * k**3 / (6.0 * math.pi**2)))


def plane_wave_seconds(
    structure: Structure, card: MethodCard | None, valence: dict[str, int], charge: int = 0
) -> float:
    """Core-seconds of one ionic step.

    Parameters
    ----------
    structure
        The geometry.
    card
        Gives cutoff, k-points and spin.
    valence
        Electrons an atom of each element brings.
    charge
        Charge of the cell, e.
    """
    if card is None:
        raise InputError("no card to estimate the cost with", "give one")
    settings = electronic(structure, "relax", card, charge)
    bands = 1.25 * max(2, electrons(structure, valence, charge)) / 2 + 4
    waves = plane_waves(structure, settings.cutoff_ev)
    points = max(1, math.ceil(math.prod(settings.mesh) / 2)) * (2 if settings.spin_polarised else 1)
    one = points * bands * waves * (TRANSFORM_S * math.log2(waves) / 12 + BAND_S * bands)
    return LATER_ITERATIONS * one + 2.0
