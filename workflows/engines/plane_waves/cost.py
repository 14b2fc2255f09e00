"""What a plane-wave calculation will cost: counted from electrons, plane waves and k-points."""

from __future__ import annotations

import math

import numpy as np
import spglib
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.units import BOHR_ANGSTROM, HARTREE_EV
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.plane_waves.electronic import electronic, electrons

# Iterations of the electrons in an ionic step that starts from the one before.
ITERATIONS = 10
# Core-seconds a k-point, band, plane wave and iteration: a part that the transforms take (per bit of their length, at
# 4096 waves), and one that grows with the bands. Fitted to processor times of GPAW 26.7 (400 eV, one core of a 2024
# server, crystals and slabs of 4 to 21 atoms); pw.x, VASP and CASTEP are within the factor below of it.
_TRANSFORM_S = 1.4e-6
BAND_S = 6.0e-9
UNCERTAINTY = (
    "a factor of 3: electrons, plane waves and irreducible k-points are counted, the time of each was fitted to GPAW "
    "runs on one server core, steps are typical values"
)


def plane_waves(structure: Structure, cutoff_ev: float) -> int:
    """Plane waves below a cutoff at one k-point: V k^3 / (6 pi^2), k^2 = 2 E in atomic units."""
    k = math.sqrt(2.0 * cutoff_ev / HARTREE_EV) / BOHR_ANGSTROM
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
    points = irreducible_points(structure, settings.mesh) * (2 if settings.spin_polarised else 1)
    return ITERATIONS * points * bands * waves * (_TRANSFORM_S * math.log2(max(2, waves)) / 12 + BAND_S * bands) + 2.0


def irreducible_points(structure: Structure, mesh: tuple[int, int, int]) -> int:
    """Return the number of k-points of a Gamma-centred mesh that symmetry and time reversal leave.

    Parameters
    ----------
    structure
        The geometry, whose symmetry counts.
    mesh
        Points along the three reciprocal vectors.
    """
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), [s.specie.Z for s in structure])
    points = spglib.get_ir_reciprocal_mesh(mesh, cell, is_shift=[0, 0, 0], symprec=1e-3)
    return max(1, math.ceil(math.prod(mesh) / 2)) if points is None else len(np.unique(points[0]))
