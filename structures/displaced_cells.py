"""Supercells of a crystal with one atom displaced, as many as symmetry leaves: what a harmonic crystal is read from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.structures.supercells import face_distances_angstrom

if TYPE_CHECKING:
    from phonopy import Phonopy

#: How far an atom is moved: small against a bond, and its forces large against the noise of a potential.
DISPLACEMENT_ANGSTROM = 0.03
#: Of a relaxed crystal.
_SYMPREC_ANGSTROM = 0.01


def phonon_repeats(structure: Structure, min_length_angstrom: float) -> tuple[int, int, int]:
    """Return how often a cell is repeated along its vectors, so that planes an image apart are so far apart.

    Parameters
    ----------
    structure
        The crystal.
    min_length_angstrom
        Least distance of opposite faces of the supercell.

    Examples
    --------
    >>> from pymatgen.core import Lattice
    >>> phonon_repeats(Structure(Lattice.tetragonal(4, 11), ["Li"], [[0, 0, 0]]), 10)
    (3, 3, 1)
    """
    heights = face_distances_angstrom(structure.lattice)
    a, b, c = (max(1, math.ceil(min_length_angstrom / height - 1e-6)) for height in heights)
    return a, b, c


def displaced_cells(structure: Structure, repeats: tuple[int, int, int]) -> list[Structure]:
    """Return supercells with one atom moved by :data:`DISPLACEMENT_ANGSTROM`, a direction and its opposite.

    Symmetry decides which atoms and directions are enough (Togo and Tanaka, Scr. Mater. 108, 1 (2015),
    doi:10.1016/j.scriptamat.2015.07.021).

    Parameters
    ----------
    structure
        The relaxed crystal.
    repeats
        Of its vectors.

    Raises
    ------
    InputError
        If phonopy is not installed.
    """
    phonons = phonons_of(structure, repeats)
    phonons.generate_displacements(distance=DISPLACEMENT_ANGSTROM, is_plusminus=True)
    return [
        Structure(cell.cell, cell.symbols, cell.scaled_positions)
        for cell in phonons.supercells_with_displacements or []
        if cell is not None
    ]


def phonons_of(structure: Structure, repeats: tuple[int, int, int]) -> Phonopy:
    """Return phonopy's model of a crystal, without forces.

    Parameters
    ----------
    structure, repeats
        As of :func:`displaced_cells`.

    Raises
    ------
    InputError
        If phonopy is not installed.
    """
    check_phonopy()
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=[site.specie.symbol for site in structure],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
    )
    return Phonopy(cell, np.diag(repeats), primitive_matrix=np.eye(3), symprec=_SYMPREC_ANGSTROM)


def check_phonopy() -> None:
    """Refuse phonons where phonopy is not installed.

    Raises
    ------
    InputError
        With how to install it.
    """
    from importlib.util import find_spec

    if find_spec("phonopy") is None:
        raise InputError(
            "vibrations need the Python package 'phonopy', which is not installed", "pip install 'anodeflow[phonons]'"
        )
