"""Supercells as small as the wished distance between periodic images allows."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import spglib
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.parameters import named
from anodeflow.structures.sites import Site, frac_in_cell

_FACES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_MAX_ENUMERATED_DETERMINANT = 100
"""Above this many cells the smallest diagonal supercell of the reduced cell is taken instead."""


def face_distances_angstrom(lattice: Lattice) -> tuple[float, float, float]:
    """Return the distances of opposite faces of a cell, in the order of its vectors.

    Examples
    --------
    >>> [round(d, 3) for d in face_distances_angstrom(Lattice.hexagonal(4, 12))]
    [3.464, 3.464, 12.0]
    """
    a, b, c = (float(lattice.d_hkl(face)) for face in _FACES)
    return a, b, c


def standard_primitive_cell(structure: Structure, symprec_angstrom: float = 0.02) -> Structure:
    """Return the primitive cell, LLL-reduced, in which the smallest supercells are found.

    Parameters
    ----------
    structure
        Any cell of an ordered crystal. The noise of a relaxation below `symprec_angstrom` is tolerated.
    symprec_angstrom
        Tolerance of the symmetry search.

    Returns
    -------
    Structure
        A fresh copy; without site properties.

    Raises
    ------
    StructureError
        If spglib finds no symmetry, as where atoms overlap.
    """
    matrix = tuple(map(tuple, structure.lattice.matrix.tolist()))
    frac = tuple(map(tuple, structure.frac_coords.tolist()))
    return _standardised(matrix, frac, tuple(site.species for site in structure), symprec_angstrom).copy()


@lru_cache(maxsize=64)  # the states of Li in one host ask for the same cell, and spglib takes most of a plan's time
def _standardised(
    matrix: tuple[tuple[float, ...], ...],
    frac: tuple[tuple[float, ...], ...],
    species: tuple[Composition, ...],
    symprec_angstrom: float,
) -> Structure:
    kinds = list(dict.fromkeys(species))
    primitive = spglib.find_primitive(
        (matrix, frac, [kinds.index(kind) + 1 for kind in species]), symprec=symprec_angstrom
    )
    if primitive is None:
        formula = Structure(matrix, species, frac).composition.reduced_formula
        raise StructureError(f"no primitive cell of {formula} was found", "check for atoms that overlap")
    lattice, sites, numbers = primitive
    return Structure(lattice, [kinds[n - 1] for n in numbers], sites, to_unit_cell=True).get_reduced_structure()


def supercell_for(structure: Structure, min_image_distance_angstrom: float, max_atoms: int | None = None) -> np.ndarray:
    """Find the smallest supercell whose periodic images are far enough apart.

    All sublattices (Hermite normal forms) of one determinant are looked at, from the smallest possible
    determinant upwards; of those with the wished shortest lattice vector, the one with the longest such
    vector is taken.

    Parameters
    ----------
    structure
        The cell that is repeated. Give the primitive cell for the smallest result.
    min_image_distance_angstrom
        Shortest lattice vector that the supercell must at least have.
    max_atoms
        Largest number of atoms allowed in the supercell.

    Returns
    -------
    ndarray of int, shape (3, 3)
        Rows are the supercell's lattice vectors in units of the given ones; determinant positive, vectors
        reduced (LLL). The identity where the cell is large enough as it is.

    Raises
    ------
    InputError
        The distance is not positive, or `max_atoms` is below one.
    StructureError
        The smallest such supercell has more than `max_atoms` atoms.
    """
    wish = float(min_image_distance_angstrom)
    if not (np.isfinite(wish) and wish > 0):
        raise InputError(
            f"min_image_distance_angstrom is {min_image_distance_angstrom}",
            "give a positive number of angstrom",
        )
    if max_atoms is not None and max_atoms < 1:
        raise InputError(f"{named('max_atoms')} is {max_atoms}", "give at least 1")
    lattice = structure.lattice
    matrix = _smallest(lattice, wish)
    atoms = len(structure) * round(abs(np.linalg.det(matrix)))
    if max_atoms is not None and atoms > max_atoms:
        raise StructureError(
            f"images {wish} angstrom apart need {atoms} atoms of {structure.composition.reduced_formula},"
            f" max_atoms is {max_atoms}",
            "lower min_image_distance_angstrom, raise max_atoms, or start from the primitive cell",
        )
    return matrix


def interstitial_supercell(structure: Structure, site: Site, matrix: np.ndarray) -> tuple[Structure, Site]:
    """Return the supercell of a host and the same site in it.

    Parameters
    ----------
    structure
        The host.
    site
        A site of this host.
    matrix
        Integer supercell matrix, shape (3, 3), rows in units of the host's lattice vectors; or three
        integers.

    Returns
    -------
    host : Structure
        The supercell, in the orientation of the host.
    site : Site
        The same point; multiplicity times the number of cells.

    Raises
    ------
    InputError
        The matrix is not a 3x3 matrix of whole numbers with positive determinant.
    """
    scaling = np.asarray(matrix, dtype=float)
    if scaling.shape == (3,):
        scaling = np.diag(scaling)
    if scaling.shape != (3, 3) or not np.isfinite(scaling).all() or np.abs(scaling - np.round(scaling)).max() > 1e-8:
        raise InputError(f"supercell matrix {np.asarray(matrix).tolist()}", "give a 3x3 matrix of whole numbers")
    scaling = np.round(scaling).astype(int)
    cells = round(np.linalg.det(scaling))
    if cells < 1:
        raise InputError(
            f"supercell matrix {scaling.tolist()} has determinant {cells}",
            "the determinant must be positive; swap two rows to change its sign",
        )
    host = structure.make_supercell(scaling, in_place=False)
    cart = structure.lattice.get_cartesian_coords(np.array(site.frac_coords))
    x, y, z = (float(f) for f in frac_in_cell(host.lattice, cart))
    moved = Site(
        site.label,
        site.kind,
        (x, y, z),
        site.multiplicity * cells,
        site.nearest_distance_angstrom,
        site.coordination,
    )
    return host, moved


def shortest_lattice_vector_angstrom(lattice: Lattice) -> float:
    """Return the length of the shortest nonzero lattice vector: the distance between an atom and its nearest image.

    Parameters
    ----------
    lattice
        Any cell; it need not be reduced.

    Returns
    -------
    float
        Length in angstrom.
    """
    longest = min(lattice.abc)
    vectors = _short_vectors(lattice, longest * (1 + 1e-9))
    return float(np.linalg.norm(vectors @ lattice.matrix, axis=1).min())


def _smallest(lattice: Lattice, wish: float) -> np.ndarray:
    if shortest_lattice_vector_angstrom(lattice) >= wish - 1e-6:
        return np.eye(3, dtype=int)
    # No lattice with shortest vector d has a volume below d^3 / sqrt(2) (close packing).
    lowest = max(2, int(np.ceil((wish - 1e-6) ** 3 / np.sqrt(2) / lattice.volume - 1e-6)))
    reduced = _reduced_basis(lattice, np.eye(3, dtype=int))
    diagonal = np.diag([int(np.ceil((wish - 1e-6) / h - 1e-9)) for h in _heights(reduced @ lattice.matrix)])
    fallback = diagonal @ reduced
    ceiling = min(_MAX_ENUMERATED_DETERMINANT, round(np.linalg.det(fallback)))
    if lowest <= ceiling:
        vectors = _short_vectors(lattice, 1.5 * wish)
        lengths = np.linalg.norm(vectors @ lattice.matrix, axis=1)
        order = np.argsort(lengths, kind="stable")
        vectors, lengths = vectors[order], lengths[order]
        forbidden = vectors[lengths < wish - 1e-6]
        for determinant in range(lowest, ceiling + 1):
            forms = hermite_normal_forms(determinant)
            forms = forms[~_contains(forms, determinant, forbidden).any(axis=1)]
            if len(forms):
                # The vectors a little longer than the wish rank the candidates that fulfil it.
                inside = _contains(forms, determinant, vectors)
                shortest = np.where(inside.any(axis=1), lengths[inside.argmax(axis=1)], 1.5 * wish)
                return _reduced_basis(lattice, forms[np.flatnonzero(shortest > shortest.max() - 1e-6)[0]])
    return _reduced_basis(lattice, fallback)


def _contains(forms: np.ndarray, determinant: int, vectors: np.ndarray) -> np.ndarray:
    """Return which vectors belong to which sublattice, bool, shape (forms, vectors)."""
    adjugates = np.round(np.linalg.inv(forms) * determinant).astype(int)
    inside = np.ones((len(forms), len(vectors)), dtype=bool)
    for column in range(3):
        inside &= (adjugates[:, :, column] @ vectors.T) % determinant == 0
    return inside


@lru_cache(maxsize=128)
def hermite_normal_forms(determinant: int) -> np.ndarray:
    """Return one basis of each sublattice of a given index.

    Parameters
    ----------
    determinant
        Index of the sublattice, at least 1.

    Returns
    -------
    ndarray of int, shape (n, 3, 3)
        Lower triangular matrices, rows are lattice vectors (Hart and Forcade, doi
        10.1103/PhysRevB.77.224115).

    Raises
    ------
    InputError
        The determinant is below one.
    """
    if determinant < 1:
        raise InputError(f"a supercell of {determinant} cells", "the determinant is at least 1")
    groups = []
    for a in (d for d in range(1, determinant + 1) if determinant % d == 0):
        rest = determinant // a
        for b in (d for d in range(1, rest + 1) if rest % d == 0):
            below = np.array(list(product(range(a), range(a), range(b))))
            forms = np.zeros((len(below), 3, 3), dtype=int)
            forms[:, 0, 0], forms[:, 1, 1], forms[:, 2, 2] = a, b, rest // b
            forms[:, 1, 0], forms[:, 2, 0], forms[:, 2, 1] = below.T
            groups.append(forms)
    forms = np.concatenate(groups)
    forms.setflags(write=False)
    return forms


def _short_vectors(lattice: Lattice, radius: float) -> np.ndarray:
    """Return nonzero lattice vectors up to a length, one of each +v, -v pair; integers, shape (n, 3)."""
    reduced = _reduced_basis(lattice, np.eye(3, dtype=int))
    counts = [int(np.floor(radius / h + 1e-9)) for h in _heights(reduced @ lattice.matrix)]
    grid = np.array(list(product(*(range(-n, n + 1) for n in counts))), dtype=int)
    grid = grid[[tuple(row) > (0, 0, 0) for row in grid]]
    vectors = grid @ reduced
    result: np.ndarray = vectors[np.linalg.norm(vectors @ lattice.matrix, axis=1) <= radius]
    return result


def _heights(basis: np.ndarray) -> np.ndarray:
    """Return distances between opposite faces of the cell, shape (3,)."""
    result: np.ndarray = 1.0 / np.linalg.norm(np.linalg.inv(basis), axis=0)
    return result


def _reduced_basis(lattice: Lattice, matrix: np.ndarray) -> np.ndarray:
    """Return LLL-reduced, right-handed integer basis of the sublattice that `matrix` spans."""
    basis = Lattice(matrix @ lattice.matrix).get_lll_reduced_lattice().matrix
    reduced = np.round(basis @ np.linalg.inv(lattice.matrix)).astype(int)
    return reduced if np.linalg.det(reduced) > 0 else -reduced
