"""End points of a hop in a supercell, made to fit each other, and the start of the path between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate
from numpy.typing import NDArray
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.optimize import linear_sum_assignment

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.cleaving import symmetry
from anodeflow.structures.migration import Hop
from anodeflow.structures.sites import Site, element_symbols, frac_in_cell, insert, worst_overlap
from anodeflow.structures.supercells import shortest_lattice_vector_angstrom

#: Two end points nearer to each other than this are one.
_IDENTICAL_ANGSTROM = 0.2
#: An atom that moves further than this, and further than half of what the hopping atom does, hops as well.
_MOVED_ANGSTROM = 0.8
#: Length of path between two images where their number is left open, and its limits.
_IMAGE_SPACING_ANGSTROM = 0.6
FEWEST_IMAGES, MOST_IMAGES = 3, 11
#: Neighbours of the hopping atom that the interpolation pushes aside; those up to the second radius push back.
FREE_ANGSTROM, SHELL_ANGSTROM = 4.5, 7.0


@dataclass(frozen=True)
class EndPoints:
    """Two geometries with the same atoms in the same order, each atom on the same side of the boundary.

    Attributes
    ----------
    start, end : Structure
    mover : int
        The atom that moves furthest.
    path_angstrom : float
        Length of the straight line in the space of all coordinates.
    hop_angstrom : float
        Displacement of the mover.
    crossed : int
        How many atoms had to be brought back across the periodic boundary.
    notes : list of str
        What else was corrected.
    """

    start: Structure
    end: Structure
    mover: int
    path_angstrom: float
    hop_angstrom: float
    crossed: int
    notes: list[str] = field(default_factory=list)


# --- building --------------------------------------------------------------------------------------------------------


def hop_cells(
    host: Structure, hop: Hop, matrix: NDArray[np.int_] | None = None, element: str = "Li"
) -> tuple[Structure, Structure]:
    """Build the two ends of a hop in a supercell of the host, unrelaxed.

    Parameters
    ----------
    host
        The cell the hop was found in.
    hop
        From :func:`anodeflow.structures.migration.lithium_hops`.
    matrix
        Supercell, rows in units of the host's lattice vectors; None for the host as it is.
    element
        What hops.

    Returns
    -------
    start, end : Structure
        The same atoms in the same order; only the hopping atom differs. A vacancy leaves every other atom of the
        supercell in its place, so all hops into one site share the start. An atom between sites is the last one.

    Raises
    ------
    StructureError
        The supercell is too small: the atom would reach the end site's image as easily.
    """
    cell = host if matrix is None else host.make_supercell(np.asarray(matrix, dtype=int), in_place=False)
    start, end = (host.lattice.get_cartesian_coords(f) for f in (hop.start, hop.end))
    _check_images(cell, hop)
    plain = Structure(cell.lattice, cell.species, cell.frac_coords, site_properties=_frozen(cell))
    if hop.mechanism in ("vacancy", "interface"):
        mover, vacancy = (_atom_at(plain, point, element, hop) for point in (start, end))
        first = plain.copy()
        first.remove_sites([vacancy])
        place = mover - (vacancy < mover)
        second = first.copy()
        # the same image as the mover's, one hop further
        moved = first[place].coords + (end - start)
        second.translate_sites([place], moved - first[place].coords, frac_coords=False, to_unit_cell=False)
        return first, second
    first = insert(plain, _site(cell, start, hop.label), element)
    second = first.copy()
    second.translate_sites([len(first) - 1], end - start, frac_coords=False, to_unit_cell=False)
    if worst_overlap(second):
        distance, i, j = worst_overlap(second) or (0.0, 0, 0)
        raise StructureError(f"hop {hop.label}: atoms {i + 1} and {j + 1} of the end are {distance:.2f} angstrom apart")
    return first, second


def _frozen(structure: Structure) -> dict[str, Any] | None:
    kept = structure.site_properties.get("selective_dynamics")
    return None if kept is None else {"selective_dynamics": kept}


def _site(cell: Structure, cart: NDArray[np.float64], label: str) -> Site:
    x, y, z = (float(f) for f in frac_in_cell(cell.lattice, cart))
    return Site(label, "interstitial", (x, y, z), 1, 0.0, "")


def _atom_at(cell: Structure, cart: NDArray[np.float64], element: str, hop: Hop) -> int:
    frac = cell.lattice.get_fractional_coords(cart)
    distances = cell.lattice.get_all_distances(frac[None], cell.frac_coords)[0]
    index = int(distances.argmin())
    if distances[index] > 0.5 or cell[index].specie.symbol != element:
        raise StructureError(f"hop {hop.label}: there is no {element} at one of its ends", "build it from this host")
    return index


def _check_images(cell: Structure, hop: Hop) -> None:
    """Refuse a cell in which the hop's end is about as near through the boundary.

    Raises
    ------
    StructureError
        The shortest lattice vector is less than 2.05 times the hop.
    """
    shortest = shortest_lattice_vector_angstrom(cell.lattice)
    wanted = 2.05 * hop.distance_angstrom
    if shortest < wanted:
        raise StructureError(
            f"hop {hop.label} is {hop.distance_angstrom:.2f} angstrom long in a cell whose images are "
            f"{shortest:.2f} angstrom apart",
            f"use a cell with images at least {wanted:.1f} angstrom apart",
        )


def mirrored_end(start: Structure, end: Structure, relaxed: Structure) -> Structure | None:
    """Return the relaxed end of a hop between equivalent sites, from its relaxed start.

    Parameters
    ----------
    start, end
        The unrelaxed ends, from :func:`hop_cells`.
    relaxed
        The relaxed start.

    Returns
    -------
    Structure or None
        None where no operation of this supercell takes the start to the end (its shape may break the symmetry of
        the crystal).
    """
    mover = int(np.argmax(np.linalg.norm(end.cart_coords - start.cart_coords, axis=1)))
    both = start.copy()
    both.remove_oxidation_states()
    both.append(start[mover].specie.symbol, end.frac_coords[mover], validate_proximity=False)
    # marks the two ends: spglib tells species apart, and here neither end is more Li than the other
    marked = Structure(
        both.lattice,
        ["Xe" if n in (mover, len(start)) else site.specie.symbol for n, site in enumerate(both)],
        both.frac_coords,
    )
    lattice = start.lattice
    a, b = start.frac_coords[mover], end.frac_coords[mover]
    for rotation, translation in zip(*symmetry(marked, 0.02), strict=True):
        there = lattice.get_all_distances([rotation @ a + translation], [b])[0, 0]
        back = lattice.get_all_distances([rotation @ b + translation], [a])[0, 0]
        if max(there, back) > 0.1:
            continue
        images = start.frac_coords @ rotation.T + translation
        distances = lattice.get_all_distances(images, end.frac_coords)
        order = distances.argmin(axis=1)
        if sorted(order) != list(range(len(start))) or distances.min(axis=1).max() > 0.1:
            continue
        moved = relaxed.frac_coords @ rotation.T + translation
        frac = np.empty_like(moved)
        frac[order] = moved
        # on the same side of the boundary as the unrelaxed end
        frac -= np.round(frac - end.frac_coords)
        return Structure(lattice, end.species, frac, site_properties=_frozen(relaxed))
    return None


# --- making two geometries fit ---------------------------------------------------------------------------------------


def matched_end_points(start: Structure, end: Structure, *, allow_concerted: bool = False) -> EndPoints:
    """Check two end points and bring the second into the order, images and position of the first.

    Atoms on the other side of the periodic boundary are brought back. Where atoms of one element changed places in
    the list, they are put back in order if only one order makes a single hop. A common drift of all atoms but the
    hopping one is taken out, unless atoms are frozen.

    Parameters
    ----------
    start, end
        Geometries in the same cell.
    allow_concerted
        Accept paths on which more than one atom moves far (an interstitial that pushes a lattice atom on).

    Returns
    -------
    EndPoints
        Both ends, and what was corrected.

    Raises
    ------
    StructureError
        Different compositions or cells, identical end points, an order that cannot be corrected, or two hops at once.
    """
    _check_alike(start, end)
    order, notes = _mended_order(start, end)
    frac = end.frac_coords[order]
    steps = frac - start.frac_coords
    crossed = np.abs(np.round(steps)).max(axis=1) > 0
    moves = (steps - np.round(steps)) @ start.lattice.matrix
    moves = _shortest_vectors(start, moves)
    if not _has_frozen(start):
        far = np.linalg.norm(moves - np.median(moves, axis=0), axis=1) > _MOVED_ANGSTROM
        if not far.all():
            drift = moves[~far].mean(axis=0)
            moves = moves - drift
            if np.linalg.norm(drift) > 0.05:
                notes.append(f"a common drift of {np.linalg.norm(drift):.2f} angstrom was taken out")
    lengths = np.linalg.norm(moves, axis=1)
    mover = int(lengths.argmax())
    if lengths[mover] < _IDENTICAL_ANGSTROM:
        raise StructureError(
            f"the end points are identical: no atom moves further than {lengths[mover]:.3f} angstrom",
            "both ends relaxed to one minimum, or the same file was given twice; choose another hop",
        )
    others = np.flatnonzero(lengths > max(_MOVED_ANGSTROM, 0.5 * lengths[mover]))
    if len(others) > 1 and not allow_concerted:
        symbols = element_symbols(start)
        listed = ", ".join(f"{symbols[n]} {n + 1} by {lengths[n]:.2f}" for n in others[:4])
        raise StructureError(
            f"{len(others)} atoms move between the end points ({listed} angstrom): two hops at once",
            "give the end points of one hop, or set allow_concerted: true for a push-on mechanism",
        )
    moved = Structure(
        start.lattice,
        start.species,
        start.cart_coords + moves,
        coords_are_cartesian=True,
        site_properties=_frozen(start),
    )
    plain = Structure(start.lattice, start.species, start.frac_coords, site_properties=_frozen(start))
    return EndPoints(
        plain, moved, mover, float(np.linalg.norm(moves)), float(lengths[mover]), int(crossed.sum()), notes
    )


def _has_frozen(structure: Structure) -> bool:
    kept = structure.site_properties.get("selective_dynamics")
    return kept is not None and not np.all(kept)


def _check_alike(start: Structure, end: Structure) -> None:
    for name, structure in (("first", start), ("second", end)):
        if not np.isfinite(structure.frac_coords).all():
            atom = int(np.flatnonzero(~np.isfinite(structure.frac_coords).all(axis=1))[0])
            raise StructureError(
                f"the {name} end point has no position of atom {atom + 1}: {structure.frac_coords[atom]}",
                "its relaxation went wrong; relax it again",
            )
    if start.composition != end.composition:
        raise StructureError(
            f"the end points have different compositions: {start.composition.formula} and {end.composition.formula}",
            "one atom hops; none may appear or vanish",
        )
    if not np.allclose(start.lattice.matrix, end.lattice.matrix, atol=1e-3):
        raise StructureError(
            f"the end points have different cells: {_cell(start)} and {_cell(end)}",
            "relax both in one fixed cell",
        )


def _cell(structure: Structure) -> str:
    return " x ".join(f"{x:.3f}" for x in structure.lattice.abc)


def _shortest_vectors(structure: Structure, moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest equivalent of each displacement; rounding alone misses it in a skewed cell."""
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")).reshape(3, -1).T @ structure.lattice.matrix
    choices = moves[:, None, :] + shifts[None]
    lengths = np.linalg.norm(choices, axis=2)
    # a tie goes to the vector that was given
    lengths[:, len(shifts) // 2] -= 1e-6
    result: NDArray[np.float64] = choices[np.arange(len(moves)), lengths.argmin(axis=1)]
    return result


def _mended_order(start: Structure, end: Structure) -> tuple[NDArray[np.int_], list[str]]:
    """Return which atom of the end belongs to each atom of the start."""
    count = len(start)
    distances = start.lattice.get_all_distances(start.frac_coords, end.frac_coords)
    same = np.array([[a == b for b in end.species] for a in start.species])
    in_order = np.arange(count)
    if same[in_order, in_order].all() and (distances[in_order, in_order] > _MOVED_ANGSTROM).sum() <= 1:
        return in_order, []
    cost = np.where(same, distances, 1e6)
    rows, order = linear_sum_assignment(cost)
    assigned = distances[rows, order]
    hopping = np.flatnonzero(assigned > _MOVED_ANGSTROM)
    given_hops = (distances[in_order, in_order] > _MOVED_ANGSTROM).sum() if same[in_order, in_order].all() else count
    if len(hopping) > 1:
        if given_hops < count and given_hops <= len(hopping):
            return in_order, []  # as given it is no worse: the caller counts the hops
        return order, []
    # Nothing but the hopping atom may have another atom of the end nearly as near as its own.
    rival = np.where(same, distances, np.inf)
    rival[rows, order] = np.inf
    for n in range(count):
        if n not in hopping and rival[n].min() < 2.0 * assigned[n] + 0.3:
            raise StructureError(
                f"the atoms of the end points are in different orders, and atom {n + 1} fits two of them",
                "write both end points with the atoms in the same order",
            )
    changed = int((order != in_order).sum())
    return order, [f"{changed} atoms of the end point were put back into the order of the start"] if changed else []


# --- the path --------------------------------------------------------------------------------------------------------


def number_of_images(path_angstrom: float) -> int:
    """Return an odd number of images between the end points: one every 0.6 angstrom, 3 to 11.

    Odd, so that a path between equivalent sites has an image on its middle.
    """
    wished = int(np.ceil(path_angstrom / _IMAGE_SPACING_ANGSTROM)) - 1
    wished += 1 - wished % 2
    return min(MOST_IMAGES, max(FEWEST_IMAGES, wished))


def interpolated_path(
    ends: EndPoints, images: int, *, displacement_angstrom: float = 0.0, seed: int = 0
) -> list[Structure]:
    """Start of a band: image-dependent pair potential near the hopping atom, straight lines elsewhere.

    Smidstrup et al., J. Chem. Phys. 140, 214106 (2014), doi:10.1063/1.4878664. Distances are those of one cluster cut
    out around the path, so no periodic image can take an atom's place halfway.

    Parameters
    ----------
    ends
        Matched end points.
    images
        Number of images between them.
    displacement_angstrom
        The path is bent by a seeded random vector of this length for each atom, most in the middle, so that no
        symmetry holds it on a ridge.
    seed
        Of that bend.

    Returns
    -------
    list of Structure
        The two ends and the images between them; coordinates are not folded into the cell.

    Raises
    ------
    InputError
        Fewer than one image, or more than 51.
    StructureError
        Atoms of an image overlap.
    """
    if not 1 <= images <= 51:
        raise InputError(f"{images} images", "give 1 to 51; 5 to 7 serve most hops")
    first, last = ends.start.cart_coords, ends.end.cart_coords
    weights = np.linspace(0.0, 1.0, images + 2)
    path = first + weights[:, None, None] * (last - first)
    path = _pushed_aside(ends, path)
    if displacement_angstrom:
        free = np.ones(first.shape)
        if _has_frozen(ends.start):
            free = np.asarray(ends.start.site_properties["selective_dynamics"], dtype=float)
        detour = np.random.default_rng(seed).normal(size=first.shape)
        detour *= free * displacement_angstrom / np.linalg.norm(detour, axis=1, keepdims=True)
        path = path + np.sin(np.pi * weights)[:, None, None] * detour
    structures = [
        Structure(
            ends.start.lattice,
            ends.start.species,
            coords,
            coords_are_cartesian=True,
            site_properties=_frozen(ends.start),
        )
        for coords in path
    ]
    for number, image in enumerate(structures):
        overlap = worst_overlap(image)
        if overlap:
            symbols = element_symbols(image)
            distance, i, j = overlap
            raise StructureError(
                f"image {number} of the path: {symbols[i]} {i + 1} and {symbols[j]} {j + 1} are {distance:.2f} "
                "angstrom apart",
                "the hop runs through an atom; choose another",
            )
    return structures


def _pushed_aside(ends: EndPoints, path: NDArray[np.float64]) -> NDArray[np.float64]:
    lattice = ends.start.lattice
    middle = path[:, ends.mover].mean(axis=0)
    to_middle = ends.start.cart_coords - middle
    frac = lattice.get_fractional_coords(to_middle)
    near = _shortest_vectors(ends.start, (frac - np.round(frac)) @ lattice.matrix)
    near[ends.mover] = to_middle[ends.mover]
    reach = ends.hop_angstrom / 2
    distance = np.linalg.norm(near, axis=1)
    chosen = np.flatnonzero(distance < SHELL_ANGSTROM + reach)
    if len(chosen) < 3:
        return path
    shifts = near - to_middle
    frozen: NDArray[np.bool_] = np.zeros(len(distance), dtype=bool)
    if _has_frozen(ends.start):
        frozen = ~np.all(np.asarray(ends.start.site_properties["selective_dynamics"], dtype=bool), axis=1)
    images = []
    for coords in path:
        cluster = AseAtomsAdaptor.get_atoms(ends.start, msonable=False)[chosen]
        cluster.set_constraint()
        cluster.pbc = False
        cluster.positions = (coords + shifts)[chosen]
        held = [n for n, k in enumerate(chosen) if distance[k] > FREE_ANGSTROM + reach or frozen[k]]
        cluster.set_constraint(FixAtoms(held))
        images.append(cluster)
    idpp_interpolate(NEB(images, method="improvedtangent"), traj=None, log=None, mic=False)
    pushed = path.copy()
    for number in range(1, len(path) - 1):
        pushed[number][chosen] = images[number].positions - shifts[chosen]
    return pushed


def band_problem(coords: Sequence[NDArray[np.float64]]) -> str | None:
    """Return what is wrong with the spacing of a band's images, or None.

    Parameters
    ----------
    coords
        Cartesian coordinates of every image, unfolded, each of shape (N, 3).
    """
    points = np.asarray(coords, dtype=float).reshape(len(coords), -1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    mean = steps.mean()
    if not np.isfinite(mean) or mean == 0:
        return "the images have no distance from each other"
    tight = int(steps.argmin())
    if steps[tight] < 0.1 * mean:
        return (
            f"the band has slid: images {tight} and {tight + 1} are {steps[tight]:.3f} angstrom apart, "
            f"the mean is {mean:.3f}"
        )
    for n in range(len(points) - 2):
        across = np.linalg.norm(points[n + 2] - points[n])
        if across < 0.5 * min(steps[n], steps[n + 1]):
            return f"the band has folded at image {n + 1}: it goes back on itself"
    return None
