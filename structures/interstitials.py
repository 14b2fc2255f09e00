"""Where a foreign atom fits into a crystal: the inequivalent holes between its atoms."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import spglib
from pymatgen.core import Element, Structure
from scipy.optimize import nnls
from scipy.spatial import KDTree, QhullError, Voronoi

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.sites import (
    Site,
    covalent_radius_angstrom,
    element_symbols,
    first_shell,
    frac_in_cell,
    worst_overlap,
)

_METAL_CONTACT_FACTOR = 0.65
"""Default smallest distance to a metal atom of the host, as a fraction of the sum of covalent radii.

A starting point need not be at the bond length, only outside the repulsive core, since the site is relaxed
afterwards. The tetrahedral hole of aluminium, the tightest one anybody computes here, sits at 0.70 of
r(Li) + r(Al); 0.65 keeps it in a lattice compressed by up to 7 %. The middle of a bond sits at 0.5 to 0.6 and
is left out. `insert` refuses below 0.60.
"""

_NONMETAL_CONTACT_FACTOR = 0.85
"""The same for all other atoms, whose bonds to metals are stiffer: Li-S, Li-Cl and Li-P bonds are 0.95 to
1.15."""


@dataclass(frozen=True)
class _Host:
    """Primitive cell of a crystal in the crystal's own orientation, and its symmetry operations."""

    basis: np.ndarray  # (3, 3), rows are lattice vectors, angstrom
    cart: np.ndarray  # (n, 3)
    symbols: list[str]
    rotations: np.ndarray  # (m, 3, 3), acting on fractional columns of `basis`
    translations: np.ndarray  # (m, 3)

    def to_frac(self, cart: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.basis.T, np.asarray(cart).T).T

    def offsets(self, frac: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the shortest cartesian vectors from fractional points to others, shape (..., 3)."""
        delta = np.asarray(target) - np.asarray(frac)
        result: np.ndarray = (delta - np.round(delta)) @ self.basis
        return result

    def images(self, frac: np.ndarray) -> np.ndarray:
        """Return the point under all operations, shape (m, 3)."""
        result: np.ndarray = self.rotations @ frac + self.translations
        return result


# long: a third or more of it is documentation
def interstitial_sites(
    structure: Structure,
    *,
    element: str = "Li",
    min_distance_angstrom: float | None = None,
    merge_distance_angstrom: float = 0.7,
    symprec: float = 0.01,
) -> list[Site]:
    """Find the symmetry-inequivalent interstitial sites of a bulk crystal.

    The points where the distance to the nearest atom is locally largest are vertices of the Voronoi diagram
    of the atoms: those that lie inside the polyhedron of their nearest atoms (from any other vertex a larger
    hole is reached uphill). To them come the midpoints between two atoms that have no third atom nearer and
    whose site symmetry leaves no coordinate free: no force can act there, so they are stationary for any
    potential although they are saddles of the distance (the octahedral site of bcc is one). A candidate
    closer than the merge distance to its own images is moved onto the symmetry element between them; of two
    others closer than that, the larger hole is kept.

    Parameters
    ----------
    structure
        Ordered, three-dimensionally periodic host; any cell of the crystal.
    element
        The atom that shall go in; it sets the default of `min_distance_angstrom`.
    min_distance_angstrom
        Smallest distance from a site to any atom. The default depends on the atom: 0.65 times the sum of the
        two covalent radii (Cordero et al., doi 10.1039/b801115j) to metals, 0.85 times to all others; for Li
        that is 1.66 to Li, 1.62 to Al, 2.00 to P, 1.98 to S and 1.95 to Cl.
    merge_distance_angstrom
        Candidates closer than this are one site. Images of one candidate are joined up to half the radius of
        its hole at most.
    symprec
        Tolerance of the symmetry search, angstrom.

    Returns
    -------
    list of Site
        Largest hole first, labelled ``i1``, ``i2``, ...; coordinates and multiplicity refer to `structure`.
        The list does not depend on which cell of the crystal is given, nor on its position and orientation.

    Raises
    ------
    StructureError
        The host is disordered, not periodic, has overlapping atoms or no symmetry can be found, or no site is
        large enough.
    InputError
        The element is unknown, or a distance is not positive.
    """
    covalent_radius_angstrom(element)
    for name, value in (
        ("min_distance_angstrom", min_distance_angstrom),
        ("merge_distance_angstrom", merge_distance_angstrom),
        ("symprec", symprec),
    ):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}", "give a positive number of angstrom")
    _check_host(structure)
    host = _primitive_host(structure, symprec)
    limits = np.array([min_distance_angstrom or contact_limit_angstrom(element, s) for s in host.symbols])
    cloud, owner = _atom_cloud(host)
    tree = KDTree(cloud)
    candidates = _candidates(host, cloud, tree, merge_distance_angstrom)

    holes = []
    for frac in candidates:
        cart = frac @ host.basis
        near = tree.query_ball_point(cart, limits.max())
        if any(np.linalg.norm(cloud[k] - cart) < limits[owner[k]] - 1e-6 for k in near):
            continue
        distances, _ = tree.query(cart, k=min(12, len(cloud)))
        orbit = _orbit(host, frac)
        holes.append((_sort_key(distances, len(orbit)), frac, orbit))
    holes.sort(key=lambda hole: hole[0])

    kept: list[np.ndarray] = []
    for _, frac, orbit in holes:
        taken = np.concatenate(kept) if kept else np.empty((0, 3))
        if not (np.linalg.norm(host.offsets(frac, taken), axis=-1) < merge_distance_angstrom).any():
            kept.append(orbit)
    if not kept:
        wish = ", ".join(
            sorted({f"{limit:.2f} angstrom from {s}" for limit, s in zip(limits, host.symbols, strict=True)})
        )
        raise StructureError(
            f"{structure.composition.reduced_formula} has no interstitial site for {element} at least {wish}",
            "lower min_distance_angstrom",
        )
    cells = round(structure.volume / abs(np.linalg.det(host.basis)))
    return [_site(structure, host, orbit, f"i{n}", cells) for n, orbit in enumerate(kept, start=1)]


def contact_limit_angstrom(inserted: str, host_element: str) -> float:
    """Return the default smallest distance between an inserted atom and an atom of the host.

    Parameters
    ----------
    inserted, host_element
        Chemical symbols.

    Returns
    -------
    float
        0.65 (metals) or 0.85 (others) times the sum of the covalent radii, angstrom.
    """
    factor = _METAL_CONTACT_FACTOR if Element(host_element).is_metal else _NONMETAL_CONTACT_FACTOR
    return factor * (covalent_radius_angstrom(inserted) + covalent_radius_angstrom(host_element))


def _check_host(structure: Structure) -> None:
    if not structure.is_ordered:
        raise StructureError(
            f"{structure.composition.reduced_formula} has partially occupied positions",
            "build an ordered configuration first",
        )
    if not all(structure.lattice.pbc):
        raise StructureError("interstitial sites are those of a crystal periodic in three directions")
    overlap = worst_overlap(structure)
    if overlap:
        distance, i, j = overlap
        symbols = element_symbols(structure)
        raise StructureError(
            f"atoms {i + 1} ({symbols[i]}) and {j + 1} ({symbols[j]}) of the host are {distance:.3f} angstrom apart",
            "repair the structure",
        )


def _primitive_host(structure: Structure, symprec: float) -> _Host:
    """Return the primitive cell without rigid rotation, in which any two cells of a crystal are the same."""
    symbols = element_symbols(structure)
    kinds = {symbol: n for n, symbol in enumerate(sorted(set(symbols)))}
    numbers = [kinds[symbol] for symbol in symbols]
    dataset = spglib.get_symmetry_dataset(
        (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers), symprec=symprec
    )
    if dataset is None:
        raise StructureError(
            f"no symmetry was found in {structure.composition.reduced_formula} with symprec {symprec}",
            "check for overlapping atoms or change symprec",
        )
    first = [int(np.flatnonzero(dataset.mapping_to_primitive == k)[0]) for k in np.unique(dataset.mapping_to_primitive)]
    basis = np.array(spglib.niggli_reduce(dataset.primitive_lattice))
    cart = structure.cart_coords[first]
    chosen = [numbers[k] for k in first]
    frac = np.linalg.solve(basis.T, cart.T).T
    reduced = spglib.get_symmetry_dataset((basis.tolist(), frac.tolist(), chosen), symprec=symprec)
    if reduced is None:
        raise StructureError(
            f"the symmetry of the primitive cell was not found with symprec {symprec}", "change symprec"
        )
    return _Host(
        basis,
        cart,
        [symbols[k] for k in first],
        np.array(reduced.rotations, dtype=float),
        np.array(reduced.translations),
    )


def _atom_cloud(host: _Host) -> tuple[np.ndarray, np.ndarray]:
    """Return all atoms that shape the Voronoi cells inside the primitive cell: coordinates and index in the cell.

    A vertex in the cell depends on atoms as far away as its own hole is wide, and on the emptiness beyond. So
    atoms up to twice the widest hole from the cell are enough; the widest hole is bounded by the largest
    distance on a grid plus half the grid's diagonal.
    """
    frac = host.to_frac(host.cart) % 1.0
    lengths = np.linalg.norm(host.basis, axis=1)
    axes = [np.arange(n) / n for n in np.ceil(lengths / 0.7).astype(int)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ host.basis
    steps = host.basis / np.array([len(axis) for axis in axes])[:, None]
    reach = lengths.sum() / 2  # no point is further from an atom than half the diagonal of the cell
    images, _ = _images_within(host, frac, reach)
    hole = KDTree(images).query(grid)[0].max() + np.linalg.norm(steps, axis=1).sum() / 2
    return _images_within(host, frac, 2.0 * min(hole, reach) + 0.1)


def _images_within(host: _Host, frac: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return periodic images of the atoms not further than a margin outside the cell."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(host.basis), axis=0)
    edge = margin / heights
    counts = np.ceil(edge).astype(int)
    shifts = np.array(list(product(*(range(-c, c + 1) for c in counts))), dtype=float)
    points = (shifts[:, None, :] + frac[None]).reshape(-1, 3)
    near = np.all((points > -edge) & (points < 1 + edge), axis=1)
    return points[near] @ host.basis, np.tile(np.arange(len(frac)), len(shifts))[near]


def _candidates(host: _Host, cloud: np.ndarray, tree: KDTree, merge: float) -> list[np.ndarray]:
    """Return symmetrised Voronoi vertices and fixed midpoints in fractional coordinates of the primitive cell."""
    try:
        voronoi = Voronoi(cloud)
    except QhullError as error:
        raise StructureError(f"the Voronoi diagram of the host failed: {str(error).splitlines()[0]}") from error
    points = []
    for frac in _in_cell(host, voronoi.vertices):
        if _is_enclosed(frac @ host.basis, cloud, tree):
            # A centre further off than half the hole could be an atom.
            reach = min(merge, tree.query(frac @ host.basis)[0] / 2)
            points.append(_symmetrise(host, frac, reach))
    pairs = cloud[voronoi.ridge_points]
    middles, halves = pairs.mean(axis=1), np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1) / 2
    nearest, _ = tree.query(middles)
    for frac in _in_cell(host, middles[nearest > halves - 1e-4]):
        middle = _symmetrise(host, frac, min(merge, tree.query(frac @ host.basis)[0] / 2))
        if _free_coordinates(host, middle) == 0:
            points.append(middle)
    return _unique(host, points, 1e-3)


def _is_enclosed(point: np.ndarray, cloud: np.ndarray, tree: KDTree) -> bool:
    """Tell whether a point lies in the polyhedron of its nearest atoms: every way out comes nearer to one."""
    radius = tree.query(point)[0] + 0.1
    directions = cloud[tree.query_ball_point(point, radius)] - point
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    system = np.vstack([directions.T, np.ones(len(directions))])
    return bool(nnls(system, np.array([0.0, 0.0, 0.0, 1.0]))[1] < 0.03)


def _in_cell(host: _Host, cart: np.ndarray) -> list[np.ndarray]:
    frac = host.to_frac(cart)
    inside = np.all((frac > -1e-3) & (frac < 1 + 1e-3), axis=1)
    return _unique(host, frac[inside], 1e-3)


def _unique(host: _Host, points: list[np.ndarray] | np.ndarray, tolerance: float) -> list[np.ndarray]:
    """Return points without the periodic repetitions, folded into the cell."""
    kept: list[np.ndarray] = []
    for frac in points:
        if not kept or np.linalg.norm(host.offsets(frac, np.array(kept)), axis=1).min() > tolerance:
            kept.append(frac - np.floor(frac))
    return kept


def _symmetrise(host: _Host, frac: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the centre of the point and those of its images that lie within the tolerance, repeated until it stays."""
    for _ in range(50):
        offsets = host.offsets(frac, host.images(frac))
        close = np.linalg.norm(offsets, axis=1) < tolerance
        step = offsets[close].mean(axis=0)
        frac = frac + host.to_frac(step)
        if np.linalg.norm(step) < 1e-9:
            break
    return frac


def _free_coordinates(host: _Host, frac: np.ndarray) -> int:
    """Return the dimension of the set of points with the same site symmetry: 0 at a point, 3 at a general position."""
    still = np.linalg.norm(host.offsets(frac, host.images(frac)), axis=1) < 1e-2
    return round(float(np.trace(host.rotations[still].mean(axis=0))))


def _orbit(host: _Host, frac: np.ndarray) -> np.ndarray:
    """Return the point and its equivalents in the primitive cell, shape (multiplicity, 3)."""
    return np.array(_unique(host, host.images(frac), 0.05))


def _sort_key(distances: np.ndarray, multiplicity: int) -> tuple[Any, ...]:
    """Return what sorts large holes first; ties are broken by what no choice of cell can change."""
    return (-round(float(distances[0]), 3), multiplicity, tuple(-np.round(distances, 2)))


def _site(structure: Structure, host: _Host, orbit: np.ndarray, label: str, cells: int) -> Site:
    """Return the site in the coordinates of the given structure, at the equivalent position that sorts first."""
    reach = np.abs(structure.lattice.matrix @ np.linalg.inv(host.basis)).sum(axis=0)
    if cells == 1:
        shifts = np.zeros((1, 3))
    else:
        counts = np.ceil(reach).astype(int)
        shifts = np.array(list(product(*(range(-c, c + 1) for c in counts))), dtype=float)
    cart = ((orbit[:, None, :] + shifts[None]).reshape(-1, 3)) @ host.basis
    frac = np.round(frac_in_cell(structure.lattice, cart), 8)
    chosen = min((tuple(float(x) for x in np.round(point, 4)), n) for n, point in enumerate(frac))[1]
    nearest, coordination = first_shell(structure, frac[chosen])
    x, y, z = (float(f) for f in frac[chosen])
    return Site(label, "interstitial", (x, y, z), len(orbit) * cells, nearest, coordination)
