"""Pairs of atoms pushed together, in vacuum and in a crystal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Structure

#: No atoms come nearer at any temperature of interest.
NEAREST_ANGSTROM = 1.0
#: Molecules and crystals have no bonds shorter than this, of the sum of covalent radii.
WALL = 0.9
#: From here, of the sum of covalent radii, two atoms begin to approach each other.
FAR = 1.4
#: Between pairs in one box; no potential here sees as far.
_BOX_ANGSTROM = 14.0
_NEIGHBOURS_WITHIN_ANGSTROM = 5.0


def covalent_sum(a: str, b: str) -> float:
    """Return the sum of two covalent radii, angstrom (Cordero et al., doi:10.1039/b801115j).

    Examples
    --------
    >>> round(covalent_sum("Li", "Cl"), 2)
    2.3
    """
    from ase.data import covalent_radii

    return float(covalent_radii[Element(a).Z] + covalent_radii[Element(b).Z])


def pairs_in_vacuum(a: str, b: str, distances_angstrom: Sequence[float]) -> Structure:
    """Return a box with one pair of atoms for each distance, in a row, none of which sees another.

    Parameters
    ----------
    a, b
        Elements.
    distances_angstrom
        Of each pair.

    Examples
    --------
    >>> pairs_in_vacuum("Li", "Cl", [2.0]).get_distance(0, 1)
    2.0
    """
    middle = _BOX_ANGSTROM / 2
    places = [
        [_BOX_ANGSTROM * number + middle + side * distance / 2, middle, middle]
        for number, distance in enumerate(distances_angstrom)
        for side in (-1, 1)
    ]
    box = Lattice.orthorhombic(_BOX_ANGSTROM * len(distances_angstrom), _BOX_ANGSTROM, _BOX_ANGSTROM)
    return Structure(box, [a, b] * len(distances_angstrom), places, coords_are_cartesian=True)


@dataclass(frozen=True)
class _NeighbourPair:
    """Two neighbours in a crystal.

    Attributes
    ----------
    first, second
        Numbers of the atoms.
    elements
        Of these.
    apart_angstrom
        Vector from the first to the second, or its image.
    """

    first: int
    second: int
    elements: tuple[str, str]
    apart_angstrom: NDArray[np.float64]

    @property
    def distance_angstrom(self) -> float:
        """Length of that vector."""
        return float(np.linalg.norm(self.apart_angstrom))


def nearest_pairs(cell: Structure) -> Iterator[_NeighbourPair]:
    """Yield the nearest pair of each two elements, the nearest first; an atom and its own image do not count."""
    first, second, images, distance = cell.get_neighbor_list(_NEIGHBOURS_WITHIN_ANGSTROM)
    seen = set()
    for n in np.argsort(distance, kind="stable"):
        i, j = int(first[n]), int(second[n])
        names = (cell[i].specie.symbol, cell[j].specie.symbol)
        if i == j or frozenset(names) in seen:
            continue
        seen.add(frozenset(names))
        yield _NeighbourPair(i, j, names, cell[j].coords + images[n] @ cell.lattice.matrix - cell[i].coords)


def pushed_together(cell: Structure, pair: _NeighbourPair, distance_angstrom: float) -> Structure:
    """Return a cell in which both atoms of a pair moved towards each other until they are so near.

    Parameters
    ----------
    cell, pair
        The crystal and two atoms of it.
    distance_angstrom
        That they then have.
    """
    moved = cell.copy()
    step = (pair.distance_angstrom - distance_angstrom) / 2 * pair.apart_angstrom / pair.distance_angstrom
    moved.translate_sites([pair.first], step, frac_coords=False)
    moved.translate_sites([pair.second], -step, frac_coords=False)
    return moved
