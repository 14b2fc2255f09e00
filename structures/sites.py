"""One place in a crystal or on a surface where an atom can be put, and the act of putting it there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError

SiteKind = Literal["interstitial", "substitution", "held", "top", "bridge", "hollow"]

_OVERLAP_FACTOR = 0.6
"""Two atoms closer than this times the sum of their covalent radii overlap. No bond is that short."""

_OVERLAP_FLOOR_ANGSTROM = 0.7
"""Two atoms of whatever element closer than this overlap; the shortest bond there is, H2, has 0.74."""

_SHELL_FACTOR = 1.15
"""Neighbours up to this times the nearest distance count as the first shell."""


def covalent_radius_angstrom(element: str) -> float:
    """Return the covalent radius of an element.

    Parameters
    ----------
    element
        Chemical symbol.

    Returns
    -------
    float
        Radius in angstrom (Cordero et al., doi 10.1039/b801115j).

    Raises
    ------
    InputError
        The symbol names no element with a known radius.
    """
    number = atomic_numbers.get(element, 0)
    radius = float(covalent_radii[number]) if 0 < number < len(covalent_radii) else math.nan
    if not math.isfinite(radius):
        raise InputError(f"no covalent radius is known for {element!r}", "write a chemical symbol such as Li")
    return radius


def overlap_distance_angstrom(element_a: str, element_b: str) -> float:
    """Return the distance below which two atoms count as overlapping.

    Parameters
    ----------
    element_a, element_b
        Chemical symbols.

    Returns
    -------
    float
        The larger of 0.7 angstrom and 0.6 times the sum of the covalent radii.
    """
    radii = covalent_radius_angstrom(element_a) + covalent_radius_angstrom(element_b)
    return max(_OVERLAP_FLOOR_ANGSTROM, _OVERLAP_FACTOR * radii)


def element_symbols(structure: Structure) -> list[str]:
    """Return the element of each atom; of a disordered site, the element with the largest occupancy.

    Parameters
    ----------
    structure
        Any structure, with or without oxidation states.

    Returns
    -------
    list of str
        One chemical symbol for each site.
    """
    symbols = []
    for site in structure:
        species = max(site.species.items(), key=lambda item: (item[1], str(item[0])))[0]
        symbols.append(getattr(species, "element", species).symbol)
    return symbols


def first_shell(structure: Structure, frac_coords: Any, factor: float = _SHELL_FACTOR) -> tuple[float, str]:
    """Return the nearest distance and first coordination shell of a point.

    Parameters
    ----------
    structure
        The host, without an atom at the point.
    frac_coords
        Point in fractional coordinates of the host, shape (3,).
    factor
        Shell width: neighbours up to this times the nearest distance.

    Returns
    -------
    nearest_angstrom : float
        Distance to the nearest atom.
    coordination : str
        Such as ``"6 Al"`` or ``"4 Cl, 4 Li"``: elements by falling number, then by name.
    """
    cart = structure.lattice.get_cartesian_coords(np.asarray(frac_coords, dtype=float))
    neighbours = _points_around(structure, cart)
    nearest = min(neighbours, key=lambda item: item[0])[0]
    symbols = element_symbols(structure)
    shell = Counter(symbols[index] for distance, index in neighbours if distance <= factor * nearest + 1e-6)
    ordered = sorted(shell.items(), key=lambda item: (-item[1], item[0]))
    return nearest, ", ".join(f"{count} {element}" for element, count in ordered)


def _points_around(structure: Structure, cart: np.ndarray) -> list[tuple[float, int]]:
    """Return distances from a point to the atoms near it, far enough to hold the first shell.

    Parameters
    ----------
    structure
        The host.
    cart
        The point, cartesian, shape (3,), angstrom.

    Returns
    -------
    list of (float, int)
        Distance in angstrom and index of the atom, for every periodic image within 1.5 times the nearest
        distance.
    """
    radius = 3.0
    while True:
        near = structure.get_sites_in_sphere(cart, radius)
        points = [(float(item.nn_distance), int(item.index)) for item in near]
        if points and min(points)[0] * 1.5 <= radius:
            return points
        radius *= 1.6


def shortest_contact(structure: Structure) -> tuple[float, int, int]:
    """Return the shortest distance between two atoms of a crystal, periodic images included.

    Parameters
    ----------
    structure
        At least one atom; a lone atom meets its own image.

    Returns
    -------
    distance_angstrom : float
    first, second : int
        Indices of the two atoms, first <= second.
    """
    radius = 2.5
    while True:
        first, second, _, distance = structure.get_neighbor_list(radius, exclude_self=True)
        if len(distance):
            best = int(np.argmin(distance))
            i, j = sorted((int(first[best]), int(second[best])))
            return float(distance[best]), i, j
        radius *= 1.5


def worst_overlap(structure: Structure) -> tuple[float, int, int] | None:
    """Return the pair of atoms that overlaps most, if any does.

    Parameters
    ----------
    structure
        Any structure.

    Returns
    -------
    tuple of (float, int, int) or None
        Distance in angstrom and the two indices of the pair with the smallest distance relative to its limit
        (:func:`overlap_distance_angstrom`).
    """
    symbols = element_symbols(structure)
    largest = max(overlap_distance_angstrom(a, a) for a in set(symbols))
    first, second, _, distance = structure.get_neighbor_list(largest, exclude_self=True)
    worst, worst_ratio = None, 1.0
    for i, j, value in zip(first, second, distance, strict=True):
        ratio = value / overlap_distance_angstrom(symbols[i], symbols[j])
        if ratio < worst_ratio - 1e-9:
            worst, worst_ratio = (float(value), min(int(i), int(j)), max(int(i), int(j))), ratio
    return worst


@dataclass(frozen=True)
class Site:
    """A place for an atom in a host.

    Parameters
    ----------
    label
        Name within one list of sites, such as ``"i1"``, ``"sub-Al1"`` or ``"hollow-1"``.
    kind
        ``"interstitial"``, ``"substitution"`` (an atom of the host that another replaces), ``"held"`` (an atom of the
        host that can leave), ``"top"``, ``"bridge"`` or ``"hollow"``.
    frac_coords
        Fractional coordinates in the cell of the host.
    multiplicity
        Number of symmetry-equivalent sites in the cell of the host.
    nearest_distance_angstrom
        Distance to the nearest atom of the host.
    coordination
        First shell, such as ``"6 Al"``: neighbours within 1.15 times the nearest distance.

    Raises
    ------
    InputError
        A value is not usable: unknown kind, not three finite coordinates, multiplicity below one, distance
        negative.
    """

    label: str
    kind: SiteKind
    frac_coords: tuple[float, float, float]
    multiplicity: int
    nearest_distance_angstrom: float
    coordination: str

    def __post_init__(self) -> None:
        try:
            coords = tuple(float(x) for x in self.frac_coords)
            multiplicity, distance = int(self.multiplicity), float(self.nearest_distance_angstrom)
        except (TypeError, ValueError) as error:
            raise InputError(f"site {self.label!r} holds a value that is not a number: {error}") from error
        if self.kind not in get_args(SiteKind):
            raise InputError(f"unknown kind of site {self.kind!r}", f"use one of {', '.join(get_args(SiteKind))}")
        if len(coords) != 3 or not all(map(math.isfinite, coords)):
            raise InputError(f"site {self.label!r} has coordinates {self.frac_coords}", "write three finite numbers")
        if multiplicity < 1 or not distance >= 0:
            raise InputError(
                f"site {self.label!r} has multiplicity {self.multiplicity} and nearest distance"
                f" {self.nearest_distance_angstrom}",
                "multiplicities start at 1, distances at 0",
            )
        object.__setattr__(self, "frac_coords", coords)
        object.__setattr__(self, "multiplicity", multiplicity)
        object.__setattr__(self, "nearest_distance_angstrom", distance)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary that :meth:`from_dict` reads back.

        Returns
        -------
        dict
            The fields, the coordinates as a list.
        """
        return {**asdict(self), "frac_coords": list(self.frac_coords)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Site:
        """Make a site from the dictionary of :meth:`as_dict`; keys starting with ``@`` are ignored.

        Parameters
        ----------
        data
            The dictionary.

        Returns
        -------
        Site

        Raises
        ------
        InputError
            A field is missing, unknown or not usable.
        """
        fields = {key: value for key, value in data.items() if not key.startswith("@")}
        known = set(cls.__dataclass_fields__)
        if set(fields) != known:
            raise InputError(
                f"a site has the fields {sorted(fields)}",
                f"it needs exactly {sorted(known)}: write as_dict() of a site",
            )
        return cls(**fields)


def insert(structure: Structure, site: Site, element: str = "Li") -> Structure:
    """Return the host with one more atom at a site.

    Parameters
    ----------
    structure
        The host. It is not changed.
    site
        Where; fractional coordinates of this host.
    element
        Chemical symbol of the new atom.

    Returns
    -------
    Structure
        The atoms of the host in their order, the new atom last. Site properties of the host are kept; of
        those, the new atom carries none (``None``), and ``selective_dynamics`` all true.

    Raises
    ------
    StructureError
        The site lies inside an atom: closer than 0.6 times the sum of the covalent radii, or than 0.7
        angstrom.
    InputError
        The element is unknown.
    """
    covalent_radius_angstrom(element)
    symbols = element_symbols(structure)
    cart = structure.lattice.get_cartesian_coords(np.array(site.frac_coords))
    for distance, index in sorted(_points_around(structure, cart)):
        limit = overlap_distance_angstrom(element, symbols[index])
        if distance < limit:
            raise StructureError(
                f"site {site.label!r} is a site inside an atom: {element} would lie {distance:.3f} angstrom"
                f" from {symbols[index]} (atom {index + 1}), the limit is {limit:.3f}",
                "take a site from interstitial_sites or check that it belongs to this host",
            )
    properties = dict.fromkeys(structure.site_properties)
    if "selective_dynamics" in properties:
        properties["selective_dynamics"] = [True, True, True]
    filled = structure.copy()
    filled.append(element, list(site.frac_coords), validate_proximity=False, properties=properties or None)
    return filled


def frac_in_cell(lattice: Lattice, cart: np.ndarray) -> np.ndarray:
    """Return fractional coordinates in [0, 1) with rounding noise at the upper edge folded to 0.

    Parameters
    ----------
    lattice
        The cell.
    cart
        Points, shape (..., 3), angstrom.

    Returns
    -------
    ndarray
        Same shape.
    """
    frac = np.asarray(lattice.get_fractional_coords(cart), dtype=float) % 1.0
    frac[(frac > 1.0 - 1e-6) | (frac < 1e-9)] = 0.0
    return frac
