"""Keeping the symmetry of a crystal or slab through a relaxation whose forces carry numerical noise."""

from __future__ import annotations

import numpy as np
import spglib
from pymatgen.core import Structure

from anodeflow.errors import StructureError

SYMPREC_ANGSTROM = 1e-3
# Atoms that a relaxation left nearer than this to a symmetric geometry went there, as far as its tolerance can tell.
_RETURNED_ANGSTROM = 0.05
# A cell that symmetry would change by more is not the cell of that symmetry.
_SAME_CELL_ANGSTROM = 1e-5
_SAME_POINT = 1e-5


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


def returned_to_symmetry(
    structure: Structure, most_angstrom: float = _RETURNED_ANGSTROM
) -> tuple[Structure, str] | None:
    """Return the symmetric geometry that a relaxation from displaced atoms came back to.

    A plane-wave code needs only the irreducible k-points for it, a sixth or so around an atom added to a cubic crystal.

    Parameters
    ----------
    structure
        Relaxed without symmetry, in a cell that is exact.
    most_angstrom
        How far an atom may be from its place in the symmetric geometry.

    Returns
    -------
    tuple or None
        The same atoms in the same cell, and the space group. None where it has no symmetry that the structure does not
        have already, or where an atom is held (``selective_dynamics``).
    """
    # half a second to import, and asked for by few
    from ase.spacegroup.symmetrize import IntermediateDatasetError, get_symmetrized_atoms
    from pymatgen.io.ase import AseAtomsAdaptor

    if not np.all(structure.site_properties.get("selective_dynamics", True)):
        return None
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.pbc = True
    already = symmetry_operations(structure, _SAME_CELL_ANGSTROM)
    known = 1 if already is None else len(already[0])
    for tolerance in (2 * most_angstrom, most_angstrom, most_angstrom / 2, most_angstrom / 5):
        try:
            symmetric, dataset = get_symmetrized_atoms(atoms, symprec=tolerance, final_symprec=_SAME_CELL_ANGSTROM)
        except (IntermediateDatasetError, TypeError, AttributeError):  # the last two: spglib found no dataset
            continue
        if dataset is None or len(dataset.rotations) <= known:
            continue
        if np.abs(symmetric.cell.array - structure.lattice.matrix).max() > _SAME_CELL_ANGSTROM:
            continue
        shift = symmetric.get_scaled_positions(wrap=False) - structure.frac_coords
        shift -= np.round(shift)
        if np.linalg.norm(shift @ structure.lattice.matrix, axis=1).max() <= most_angstrom:
            symmetrised = Structure(
                structure.lattice,
                structure.species,
                structure.frac_coords + shift,
                site_properties=structure.site_properties,
            )
            return symmetrised, str(dataset.international)
    return None


def centre_of_symmetry(structure: Structure) -> np.ndarray:
    """Return the point about which most symmetry operations have no translation, in fractional coordinates.

    A plane-wave code whose grid does not fit a translation leaves its operation out: the point belongs at the origin.

    Returns
    -------
    ndarray
        Shape (3,); zeros where the origin is as good as any other point.
    """
    dataset = spglib.get_symmetry_dataset(
        (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), [site.specie.Z for site in structure]),
        symprec=_SAME_CELL_ANGSTROM,
    )
    best = np.zeros(3)
    if dataset is None or len(dataset.rotations) == 1:
        return best
    turns = dataset.rotations - np.eye(3)
    origin = -np.linalg.solve(dataset.transformation_matrix, dataset.origin_shift)
    most = 0
    for point in (best, origin, *structure.frac_coords):
        left = dataset.translations + turns @ point  # about this point
        fixes = np.abs(left - np.round(left)).max(axis=1) < _SAME_POINT
        if fixes.sum() > most:
            most = int(fixes.sum())
            off = (np.round(left) - left)[fixes].reshape(-1)
            best = point + np.linalg.lstsq(turns[fixes].reshape(-1, 3), off, rcond=None)[0] if point.any() else point
    return np.asarray(best, dtype=float)


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
