"""Homogeneous strains of a crystal, and the rotations under which it is the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.errors import InputError
from anodeflow.voigt import strain_tensor

#: Largest strain that still counts as small.
LARGEST_STRAIN = 0.02
_SYMPREC_ANGSTROM = 0.01


def strained(structure: Structure, mode: int, amplitude: float) -> Structure:
    """Return a crystal under one strain: vectors a' = (1 + e) a, fractional coordinates kept.

    Parameters
    ----------
    structure
        The relaxed crystal.
    mode, amplitude
        See :func:`anodeflow.voigt.strain_tensor`.

    Raises
    ------
    InputError
        If the amplitude is zero, or so large that the response is not linear.
    """
    if not 0 < abs(amplitude) <= LARGEST_STRAIN:
        raise InputError(
            f"strain {amplitude:g} is outside the linear range", f"give one between 0 and {LARGEST_STRAIN:g}"
        )
    changed = structure.copy()
    changed.lattice = structure.lattice.matrix @ (np.eye(3) + strain_tensor(mode, amplitude)).T
    return changed


def rotations(structure: Structure) -> NDArray[np.float64]:
    """Return the rotations of a crystal's point group, improper ones included, Cartesian, shape (n, 3, 3)."""
    finder = SpacegroupAnalyzer(structure, symprec=_SYMPREC_ANGSTROM)
    operations = [operation.rotation_matrix for operation in finder.get_point_group_operations(cartesian=True)]
    left, _, right = np.linalg.svd(np.array(operations))
    orthogonal: NDArray[np.float64] = left @ right
    return orthogonal
