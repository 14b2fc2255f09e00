"""Second derivatives of the energy from a cheap engine, to start an expensive engine's relaxation with.

A quasi-Newton optimiser learns the curvatures of the energy step by step, and each step of a plane-wave code takes
minutes. A potential that is some 0.1 eV/angstrom off in its forces still gives the curvatures within a third or so, and
that is enough to save half the steps (measured by ``benchmarks/warm_start.py``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.files import atomic_path
from anodeflow.structures.symmetry import images_of_atoms, symmetry_operations

FILE = "curvatures.npy"

# Beyond this many free atoms the 6 N evaluations of the potential are no longer cheap.
MOST_ATOMS = 120
_DISPLACEMENT_ANGSTROM = 0.015
# Softer modes are where a potential is least to be trusted, and a negative one would lead to another minimum.
SOFTEST_EV_PER_ANGSTROM2 = 1.0


def curvatures(structure: Structure, calculator: Calculator, frozen_ev_per_angstrom2: float) -> np.ndarray | None:
    """Second derivatives of the energy by central differences of the forces, made positive and symmetric.

    Parameters
    ----------
    structure
        A relaxed geometry; coordinates frozen by ``selective_dynamics`` are not moved.
    calculator
        An ASE calculator of the cheap engine.
    frozen_ev_per_angstrom2
        What a frozen coordinate gets on the diagonal.

    Returns
    -------
    numpy.ndarray or None
        Shape (3 N, 3 N), eV/angstrom^2: symmetric, invariant under the space group of the structure (a plane-wave code
        that uses the symmetry would stop at a step that breaks it), every eigenvalue at least
        ``SOFTEST_EV_PER_ANGSTROM2``. None for a cell with more free atoms than ``MOST_ATOMS``.
    """
    free = np.asarray(structure.site_properties.get("selective_dynamics", np.ones((len(structure), 3))), dtype=bool)
    if free.any(axis=1).sum() > MOST_ATOMS:
        return None
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.set_constraint()
    atoms.calc = calculator
    rest = atoms.get_positions()
    matrix = np.zeros((rest.size, rest.size))
    moving = np.flatnonzero(free)
    for coordinate in moving:
        forces = []
        for sign in (1, -1):
            moved = rest.copy()
            moved.flat[coordinate] += sign * _DISPLACEMENT_ANGSTROM
            atoms.set_positions(moved)
            forces.append(atoms.get_forces().ravel())
        matrix[coordinate] = (forces[1] - forces[0]) / (2 * _DISPLACEMENT_ANGSTROM)
    matrix = _symmetrised(matrix, structure)
    block = np.ix_(moving, moving)
    values, vectors = np.linalg.eigh(matrix[block])
    whole = frozen_ev_per_angstrom2 * np.eye(rest.size)
    whole[block] = (vectors * np.maximum(np.abs(values), SOFTEST_EV_PER_ANGSTROM2)) @ vectors.T
    return whole


def _symmetrised(matrix: np.ndarray, structure: Structure) -> np.ndarray:
    """Second derivatives, shape (3 N, 3 N), averaged over their transpose and the space group of the structure."""
    matrix = (matrix + matrix.T) / 2
    operations = symmetry_operations(structure)
    if operations is None:
        return matrix
    rotations, translations = operations
    count = len(structure)
    blocks = matrix.reshape(count, 3, count, 3).transpose(0, 2, 1, 3)
    averaged = np.zeros_like(blocks)
    cell = structure.lattice.matrix
    for rotation, translation in zip(rotations, translations, strict=True):
        image = images_of_atoms(structure, rotation, translation)
        turn = cell.T @ rotation @ np.linalg.inv(cell.T)  # of Cartesian column vectors
        averaged[np.ix_(image, image)] += turn @ blocks @ turn.T
    averaged /= len(rotations)
    return averaged.transpose(0, 2, 1, 3).reshape(matrix.shape)


def write_curvatures(directory: Path, matrix: np.ndarray) -> None:
    """Leave them for a relaxation in this folder; the file is written atomically."""
    with atomic_path(directory / FILE, sync=False) as temporary, temporary.open("wb") as file:
        np.save(file, matrix, allow_pickle=False)


def make_symmetric(directory: Path, structure: Structure) -> None:
    """Average the curvatures in this folder, if there are any, over the space group of a geometry more symmetric."""
    matrix = read_curvatures(directory, 3 * len(structure))
    if matrix is not None:
        write_curvatures(directory, _symmetrised(matrix, structure))


def read_curvatures(directory: Path, coordinates: int) -> np.ndarray | None:
    """What was left for a relaxation of so many coordinates; None where there is nothing sound."""
    try:
        matrix = np.load(directory / FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if matrix.shape != (coordinates, coordinates) or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, dtype=float)
