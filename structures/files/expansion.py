"""The atoms of a cell from the sites of its asymmetric unit, and the comparison of two cells made that way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure
from scipy.spatial import cKDTree

from anodeflow.structures.files.opening import MAX_ATOMS
from anodeflow.structures.files.space_groups import DENOMINATOR, Operations
from anodeflow.structures.supercells import face_distances_angstrom

SAME_POSITION_ANGSTROM = 0.01
"""Two positions closer than this are one, shared by the elements that are listed there. Atoms move more than that."""
_MAX_SNAP_ANGSTROM = 0.1
"""Furthest that rounded digits may lie from the special position they mean."""
_AGREEMENT_ANGSTROM = 0.1
"""Furthest that two readers may put one atom from each other, for instance 0.333 for 1/3."""
FULL_OCCUPANCY = 1.02
"""Occupancies that add up to more than this are an error; between 1 and this they are rounding, and scaled to 1."""
_SYMPRECS_ANGSTROM = (0.01, 0.05, 0.1)
_MAX_IMAGES = 200_000
_MAX_NEAR = 8


@dataclass(frozen=True)
class ListedSite:
    """One line of a list of sites.

    Parameters
    ----------
    label
        Its name in the file.
    element
        Chemical symbol.
    occupancy
        More than 0, up to 1.
    coords
        Fractional coordinates.
    uncertainty
        How far each coordinate may be from the number meant, from the digits written.
    multiplicity
        Stated number of atoms in the cell, or order of the site symmetry (SHELX writes that); None if not stated.
    """

    label: str
    element: str
    occupancy: float
    coords: tuple[float, float, float]
    uncertainty: tuple[float, float, float] = (0.0, 0.0, 0.0)
    multiplicity: int | None = None


class ExpansionError(ValueError):
    """The sites and operations cannot make a cell; the message says which site."""


def uncertainty_of(digits: str) -> float:
    """How far a coordinate may be from what its digits mean.

    Parameters
    ----------
    digits
        The number as written, such as ``"0.3333"`` or ``"0.25(2)"``.

    Returns
    -------
    float
        One unit of the last decimal of numbers with three decimals and more; 0 for shorter ones, which are
        exact (0.5, 0.25) or too coarse to guess from.
    """
    decimals = digits.split("(")[0].lower().split("e")[0].partition(".")[2]
    return 10.0 ** -len(decimals) if len(decimals) >= 3 else 0.0


def orbit(site: ListedSite, operations: Operations, lattice: Lattice) -> NDArray[np.float64]:
    """Every image of one site in the cell.

    Parameters
    ----------
    site
        The site; a position that is special within its digits is moved onto the symmetry element.
    operations
        The space group.
    lattice
        The cell.

    Returns
    -------
    ndarray
        Fractional coordinates, shape (n, 3), in [0, 1).

    Raises
    ------
    ExpansionError
        The images do not form a whole orbit.
    """
    point = np.array(site.coords)
    images = _images(point, operations)
    apart = images - point
    shift = np.round(apart)
    apart -= shift
    # Three coordinates may enter an image, and the point's own digits are as uncertain.
    allowed = 3.0 * max(site.uncertainty) + 1e-6
    close = np.abs(apart) <= allowed
    distances = np.linalg.norm(apart @ lattice.matrix, axis=1)
    near = close.all(axis=1) & (distances <= _MAX_SNAP_ANGSTROM) | (distances <= SAME_POSITION_ANGSTROM)
    if (distances[~near] <= _MAX_SNAP_ANGSTROM).any():
        raise ExpansionError(f"site {site.label} lies {distances[~near].min():.3f} angstrom from its own image")
    point = (images - shift)[near].mean(axis=0)
    images = _images(point, operations) % 1.0 % 1.0
    images[np.abs(images - 1.0) < 1e-9] = 0.0
    if len(images) == 1:
        return images
    # Distinct positions: the first image of each cluster, in the order of the operations.
    first = np.array([min(group) for group in cKDTree(images, boxsize=1.0).query_ball_point(images, 1e-5)])
    kept = np.flatnonzero(first == np.arange(len(images)))
    if len(kept) * int(near.sum()) != len(operations):
        raise ExpansionError(f"site {site.label} lies near a special position but not on it")
    return images[kept]


def _images(point: NDArray[np.float64], operations: Operations) -> NDArray[np.float64]:
    return operations.rotations @ point + operations.translations / DENOMINATOR


def expand(sites: Sequence[ListedSite], operations: Operations, lattice: Lattice) -> tuple[Structure, list[int]]:
    """The cell that sites and operations make.

    Parameters
    ----------
    sites
        The asymmetric unit; sites at one position share it.
    operations
        The space group, in the setting of the cell.
    lattice
        The cell.

    Returns
    -------
    structure : Structure
        Every atom of the cell, sorted as pymatgen sorts.
    sizes : list of int
        Number of atoms each site makes.

    Raises
    ------
    ExpansionError
        A site is listed twice, occupancies at a position add up to more than 1, or the cell is too large.
    """
    if len(sites) * len(operations) > _MAX_IMAGES:
        raise ExpansionError(f"{len(sites)} sites under {len(operations)} operations are too many")
    orbits = [orbit(site, operations, lattice) for site in sites]
    positions: list[NDArray[np.float64]] = []
    species: list[dict[str, float]] = []
    labels: list[list[str]] = []
    place: dict[int, int] = {}
    for n, (site, first) in enumerate(zip(sites, _shared(orbits, lattice), strict=True)):
        if first == n:
            place[n] = len(positions)
            positions.append(orbits[n])
            species.append({site.element: site.occupancy})
            labels.append([site.label])
        else:
            held = species[place[first]]
            held[site.element] = held.get(site.element, 0.0) + site.occupancy
            labels[place[first]].append(site.label)
    if sum(map(len, positions)) > MAX_ATOMS:
        raise ExpansionError(f"it makes more than {MAX_ATOMS} atoms")
    for held, names in zip(species, labels, strict=True):
        total = sum(held.values())
        if total > FULL_OCCUPANCY:
            where = " and ".join(names[:3]) + (" and others" if len(names) > 3 else "")
            listed = "is listed twice or " if len(held) == 1 else ""
            raise ExpansionError(f"the position of {where} {listed}is occupied {total:.4g} times")
        if abs(total - 1) < 1e-6 or total > 1:
            held.update({element: amount / total for element, amount in held.items()})
    structure = Structure(
        lattice,
        [held for held, images in zip(species, positions, strict=True) for _ in images],
        np.concatenate(positions),
        labels=[names[0] for names, images in zip(labels, positions, strict=True) for _ in images],
    )
    return structure.get_sorted_structure(), [len(images) for images in orbits]


def _shared(orbits: Sequence[NDArray[np.float64]], lattice: Lattice) -> list[int]:
    """For each site, the first site that has the same positions (itself, where it is the first)."""
    points = np.concatenate(orbits)
    starts = np.cumsum([0, *map(len, orbits)])[:-1]
    owners = np.repeat(np.arange(len(orbits)), list(map(len, orbits)))
    _, copies = np.unique(np.round(points, 5), axis=0, return_counts=True)
    near = _near(points[starts], points, lattice, SAME_POSITION_ANGSTROM) if copies.max() < _MAX_NEAR else []
    if not near or max(map(len, near)) >= _MAX_NEAR:
        raise ExpansionError(f"{_MAX_NEAR} or more sites share one position")
    return [int(owners[row].min()) for row in near]


def _near(
    points: NDArray[np.float64], others: NDArray[np.float64], lattice: Lattice, distance_angstrom: float
) -> list[NDArray[np.int64]]:
    """For each point, the others (at most `_MAX_NEAR`) within a distance, periodic; all in fractional coordinates."""
    others = others % 1.0 % 1.0
    thickness = min(face_distances_angstrom(lattice))
    ways = min(_MAX_NEAR, len(others))
    nearest = cKDTree(others, boxsize=1.0).query(
        points % 1.0 % 1.0, k=np.arange(1, ways + 1), distance_upper_bound=3**0.5 * distance_angstrom / thickness
    )[1]
    near = []
    for point, row in zip(points, nearest, strict=True):
        row = row[row < len(others)]
        apart = others[row] - point
        apart -= np.round(apart)
        near.append(row[np.linalg.norm(apart @ lattice.matrix, axis=1) <= distance_angstrom])
    return near


def disagreement(first: Structure, second: Structure) -> str | None:
    """What two readings of one file differ in.

    Parameters
    ----------
    first, second
        The two cells.

    Returns
    -------
    str or None
        One line; None where composition, number of atoms, cell and positions agree.
    """
    if len(first) != len(second) or not _same_composition(first, second):
        return f"{first.composition.formula} on {len(first)} sites or {second.composition.formula} on {len(second)}"
    if not np.allclose(first.lattice.parameters, second.lattice.parameters, rtol=1e-4, atol=1e-3):
        return "two different cells"
    near = _near(first.frac_coords, second.frac_coords, first.lattice, _AGREEMENT_ANGSTROM)
    for site, neighbours in zip(first, near, strict=True):
        if not any(_same_species(site.species, second[k].species) for k in neighbours):
            return f"{site.species_string} at {np.round(site.frac_coords, 4).tolist()} or not there"
    return None


def _same_composition(first: Structure, second: Structure) -> bool:
    composition, other = (structure.composition.element_composition for structure in (first, second))
    return bool(composition.almost_equals(other, rtol=1e-3, atol=1e-3))


def _same_species(species: Composition, other: Composition) -> bool:
    return bool(species.element_composition.almost_equals(other.element_composition, rtol=1e-2, atol=1e-2))


def space_group_numbers(structure: Structure) -> set[int]:
    """Space groups that spglib finds in a cell at tolerances from 0.01 to 0.1 angstrom.

    Parameters
    ----------
    structure
        Ordered or disordered; positions with different species are different.

    Returns
    -------
    set of int
        Numbers in International Tables; empty if none is found.
    """
    kinds = {str(species): n for n, species in enumerate(sorted({str(site.species) for site in structure}))}
    cell = (
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [kinds[str(site.species)] for site in structure],
    )
    numbers = set()
    for symprec in _SYMPRECS_ANGSTROM:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
        if dataset is not None:
            numbers.add(int(dataset.number))
    return numbers
