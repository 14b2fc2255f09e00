"""Keeping the symmetry of a crystal or slab through a relaxation whose forces carry numerical noise."""

from __future__ import annotations

import numpy as np
import spglib
from pymatgen.core import Structure

from anodeflow.errors import StructureError

SYMPREC_ANGSTROM = 1e-3


def keep_symmetry(start: Structure, moved: Structure, symprec_angstrom: float = SYMPREC_ANGSTROM) -> Structure:
    """Return the moved structure, its displacements and strain averaged over the symmetry operations of the start.

    A potential in single precision breaks a symmetry by some 1e-4 angstrom; a plane-wave code then needs all
    k-points instead of the irreducible ones.

    Parameters
    ----------
    start
        Before the relaxation; its symmetry counts.
    moved
        After it: same atoms, same order.
    symprec_angstrom
        How far a symmetry of the start may be off.

    Returns
    -------
    Structure
        In a cell without rotation against that of the start; site properties are those of `moved`.

    Raises
    ------
    StructureError
        If the two do not hold the same atoms in the same order.
    """
    if start.species != moved.species:
        raise StructureError("start and relaxed structure do not hold the same atoms", "give them in one order")
    operations = symmetry_operations(start, symprec_angstrom)
    if operations is None:
        return moved
    rotations, translations = operations
    shift = moved.frac_coords - start.frac_coords
    shift -= np.round(shift)
    averaged = np.zeros_like(shift)
    for rotation, translation in zip(rotations, translations, strict=True):
        averaged[images_of_atoms(start, rotation, translation)] += shift @ rotation.T
    averaged /= len(rotations)
    old = start.lattice.matrix
    # row vectors: new = old (1 + E) R with a symmetric strain E and a rotation R, which is left out
    left, stretch, _ = np.linalg.svd(np.linalg.solve(old, moved.lattice.matrix))
    strain = (left * stretch) @ left.T - np.eye(3)
    turned = [np.linalg.solve(old, rotation.T @ old) for rotation in rotations]
    strain = sum(turn.T @ strain @ turn for turn in turned) / len(turned)
    return Structure(
        old @ (np.eye(3) + strain),
        moved.species,
        start.frac_coords + averaged,
        site_properties=moved.site_properties,
    )


def symmetry_operations(
    structure: Structure, symprec_angstrom: float = SYMPREC_ANGSTROM
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rotations (M, 3, 3) and translations (M, 3) in fractional coordinates; None where spglib finds none."""
    operations = spglib.get_symmetry(
        (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), [site.specie.Z for site in structure]),
        symprec=symprec_angstrom,
    )
    return None if operations is None else (operations["rotations"], operations["translations"])


def images_of_atoms(structure: Structure, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return where an operation sends every atom: index of its image, shape (N,).

    Parameters
    ----------
    structure
        The crystal.
    rotation
        Shape (3, 3), fractional.
    translation
        Shape (3,), fractional.

    Returns
    -------
    ndarray
        Shape (N,).
    """
    sent = structure.frac_coords @ rotation.T + translation
    apart = sent[:, None, :] - structure.frac_coords[None, :, :]
    apart -= np.round(apart)
    distances = np.linalg.norm(apart @ structure.lattice.matrix, axis=2)
    numbers = np.array([site.specie.Z for site in structure])
    distances[numbers[:, None] != numbers[None, :]] = np.inf
    result: np.ndarray = distances.argmin(axis=1)
    return result
