"""The registry of an interface: where the film's face stands over the substrate's, whatever the origin of the crystals.

A registry is the in-plane vector from a named atom of the substrate's face to a named atom of the film's face: a shift
in fractions of a cell depends on the origins of the two slabs. Candidates are the points that symmetry singles out, and
in larger cells a grid over the cell of displacements (which the translations of both sides generate), each orbit once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Structure

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.interface_contacts import distances_across, tight_contacts
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.shifts import (
    SAME_FRACTION,
    displacement_lattice,
    fixed_points,
    one_of_each_orbit,
    shift_moves,
    with_shift,
)

#: Atoms of a face: those within this height of the outermost nucleus; planes of metals are further apart.
_FACE_DEPTH_ANGSTROM = 0.6
#: Atoms count as one over the other, or as equally near, within this distance in the plane.
_OVER_ANGSTROM = 0.15
#: A contact wider than this is not a contact: the sides of ionic crystals and metals touch at 2 to 3 angstrom.
OPEN_GAP_ANGSTROM = 3.5
#: The grid over the cell of displacements, where that cell is larger.
_GRID_ANGSTROM = 1.0
#: More candidates than this are not scored.
_MOST_CANDIDATES = 64

#: Energy in eV and relaxed geometry of a cell whose film must keep its registry.
_Score = Callable[[Structure], tuple[float, Structure]]


@dataclass(frozen=True)
class Registry:
    """How two faces lie on each other at one contact.

    Attributes
    ----------
    label : str
        As text, e.g. ``"Li over Cl"``, ``"Li over bridge Cl-Cl"``, ``"Li at (0.13, 0.40) from Cl"``.
    film_atom, substrate_atom : str
        The named atoms, by element: the most electronegative of the substrate's face, and of the film's.
    vector_angstrom : tuple of float
        Shortest in-plane vector from a named atom of the substrate to one of the film.
    fractions : tuple of float
        The same in the cell of displacements, from 0 to 1.
    nearest_angstrom : tuple of float
        In-plane distances from the film's named atom to the nearest atoms of the substrate's face, up to four.
    """

    label: str
    film_atom: str
    substrate_atom: str
    vector_angstrom: tuple[float, float]
    fractions: tuple[float, float]
    nearest_angstrom: tuple[float, ...]


@dataclass(frozen=True)
class RankedRegistry:
    """One candidate with its score.

    Attributes
    ----------
    model : InterfaceModel
        The cell as built, at `gap_angstrom`.
    registry : Registry
        Of contact 1.
    energy_ev : float
        Of the whole cell, at the best separation.
    relaxed : Structure
        The geometry of that energy.
    gap_angstrom : float
        Distance along z between the outermost nuclei of that geometry at contact 1.
    """

    model: InterfaceModel
    registry: Registry
    energy_ev: float
    relaxed: Structure
    gap_angstrom: float


def registries(model: InterfaceModel) -> tuple[Registry, ...]:
    """Name the registry of every contact of an interface.

    Returns
    -------
    tuple of Registry
        Of contact 1 and, in a periodic cell, of contact 2.
    """
    turns = _turns(model)
    return tuple(_registry_at(model, contact, None, turns) for contact in range(1, model.contacts + 1))


def registry_at(model: InterfaceModel, contact: int = 1, structure: Structure | None = None) -> Registry:
    """Name the registry of one contact.

    Parameters
    ----------
    model
        The interface.
    contact
        1 (film above the substrate's upper face) or 2 (the next image of the substrate above the film).
    structure
        A relaxed geometry of the same atoms; that of the model if absent.

    Raises
    ------
    InputError
        A contact that the cell does not have.
    """
    if contact not in range(1, model.contacts + 1):
        raise InputError(f"contact {contact} of {model.name}", f"the cell has contacts 1 to {model.contacts}")
    return _registry_at(model, contact, structure, _turns(model))


def _turns(model: InterfaceModel) -> list[NDArray[np.float64]]:
    """Return what symmetry does to displacements; of thousands of atoms this takes seconds."""
    return [w for w, _ in shift_moves(model, exchanging=False)]


def _registry_at(
    model: InterfaceModel, contact: int, structure: Structure | None, turns: list[NDArray[np.float64]]
) -> Registry:
    cell = (structure or model.structure).lattice.matrix[:2, :2]
    film_face = _face(model, "film", "lower" if contact == 1 else "upper", structure)
    substrate_face = _face(model, "substrate", "upper" if contact == 1 else "lower", structure)
    film_atoms, substrate_atoms = _named(film_face), _named(substrate_face)
    displacements = displacement_lattice(model)
    back = np.linalg.inv(displacements @ cell)
    # of all pairs of named atoms, and of all that symmetry makes of each, the shortest vector; then the least fractions
    pairs = list(product(film_atoms.positions, substrate_atoms.positions))
    if not pairs:
        raise StructureError(f"{model.name} has a face without atoms", "report this interface")
    apart = np.array([f - s for f, s in pairs]) @ back
    turned = np.round(np.einsum("tij,pj->pti", np.array(turns), apart), 3) % 1.0 + 0.0
    # most pairs of a repeated cell say the same: of each displacement the first
    different, first = np.unique(turned.reshape(-1, 2), axis=0, return_index=True)
    vectors = [_shortest(fractions, displacements @ cell) for fractions in different]
    keys = [(round(float(np.linalg.norm(v)), 2), *f.tolist()) for f, v in zip(different, vectors, strict=True)]
    least = min(range(len(keys)), key=keys.__getitem__)
    key, vector, over = keys[least], vectors[least], pairs[first[least] // len(turns)][0]
    label, nearest = _place(film_atoms, over, substrate_face, cell, key[1:], substrate_atoms.element)
    return Registry(
        label=label,
        film_atom=film_atoms.element,
        substrate_atom=substrate_atoms.element,
        vector_angstrom=(float(vector[0]), float(vector[1])),
        fractions=(float(key[1]), float(key[2])),
        nearest_angstrom=nearest,
    )


@dataclass(frozen=True)
class Faces:
    """The two faces that meet at contact 1, in the plane.

    Attributes
    ----------
    cell : ndarray
        Of the interface, shape (2, 2), rows, angstrom.
    film, substrate : list of (str, (float, float))
        Elements and positions of the outermost atoms.
    """

    cell: NDArray[np.float64]
    film: list[tuple[str, tuple[float, float]]]
    substrate: list[tuple[str, tuple[float, float]]]


def faces_at(model: InterfaceModel) -> Faces:
    """Return the atoms of the two faces of contact 1, as they are named in registries."""
    sides = []
    for side, end in (("film", "lower"), ("substrate", "upper")):
        face = _face(model, side, end, None)
        places = [(float(x), float(y)) for x, y in face.positions]
        sides.append(list(zip(face.elements, places, strict=True)))
    return Faces(model.structure.lattice.matrix[:2, :2].copy(), sides[0], sides[1])


def candidate_shifts(
    model: InterfaceModel, *, grid_angstrom: float = _GRID_ANGSTROM, most: int = _MOST_CANDIDATES
) -> list[tuple[float, float]]:
    """List the inequivalent shifts of the film that a search must try.

    The points that a symmetry shared by both sides leaves in place, and a grid through the most symmetric of them; of
    each orbit one. The list does not depend on the origins of the crystals.

    Parameters
    ----------
    model
        Any interface of the two slabs; its own shift is not special.
    grid_angstrom
        Largest distance of grid points.
    most
        Refuse longer lists.

    Returns
    -------
    list of tuple
        For ``build_interface(shift=...)``; high-symmetry points first.

    Raises
    ------
    InputError
        A spacing without meaning, or more candidates than `most`.
    """
    if not 0.05 <= grid_angstrom <= 20:
        raise InputError(f"grid_angstrom is {grid_angstrom}", "use 0.05 to 20, e.g. 1")
    cell = displacement_lattice(model)
    back = np.linalg.inv(cell)
    moves = shift_moves(model)
    special = fixed_points(moves)
    origin = special[0] if special else _named_origin(model) @ back
    lengths = np.linalg.norm(cell @ model.structure.lattice.matrix[:2, :2], axis=1)
    # an even number of points holds the middle of each edge, so that it matters little where the grid begins
    counts = [2 * max(1, ceil(length / grid_angstrom / 2)) for length in lengths]
    points = [*special, *(origin + np.array([i / counts[0], j / counts[1]]) for i, j in product(*map(range, counts)))]
    shifts: list[tuple[float, float]] = []
    for point in one_of_each_orbit(points, moves):
        # moves act on the film's displacement from where it is in the model
        inside = (np.round(point, 9) % 1.0) @ cell + np.asarray(model.shift)
        shifts.append((float(inside[0]), float(inside[1])))
    if len(shifts) > most:
        raise InputError(
            f"{model.name} has {len(shifts)} inequivalent registries on a grid of {grid_angstrom:g} angstrom",
            f"use a coarser grid: at most {most} are tried",
        )
    return shifts


def search_registry(
    model: InterfaceModel,
    score: _Score,
    *,
    grid_angstrom: float = _GRID_ANGSTROM,
    gaps_angstrom: Sequence[float] = (2.0, 2.4, 2.8, 3.2),
    refine: bool = True,
    shifts: Sequence[tuple[float, float]] | None = None,
) -> list[RankedRegistry]:
    """Rank the registries of an interface by energy, lowest first.

    Every candidate begins at the gap that keeps its atoms apart best among `gaps_angstrom`; `score` relaxes it along
    the normal. With `refine`, the surroundings of the best candidate that no symmetry holds in place are tried with
    half the spacing, and half of that.

    Parameters
    ----------
    model
        Any interface of the two slabs.
    score
        Energy (eV) and relaxed geometry of a cell; it must keep the in-plane position of the film.
    grid_angstrom
        As in :func:`candidate_shifts`.
    gaps_angstrom
        Gaps to begin with.
    refine
        Look between the grid points, too.
    shifts
        The candidates; None takes all of :func:`candidate_shifts`.

    Returns
    -------
    list of RankedRegistry

    Raises
    ------
    InputError
        As in :func:`candidate_shifts`, or no gap given.
    StructureError
        Atoms overlap in every candidate.
    ConvergenceError
        `score` gives an energy that is not finite. One that `score` raises leaves a candidate out.
    """
    if not gaps_angstrom:
        raise InputError("no gap to begin with", "give at least one in gaps_angstrom")
    if shifts is None:
        shifts = candidate_shifts(model, grid_angstrom=grid_angstrom)
    scored = (_scored(model, shift, score, gaps_angstrom) for shift in shifts)
    ranked = [registry for registry in scored if registry is not None]
    if not ranked:
        raise StructureError(
            f"atoms overlap in every registry of {model.name}, or none of them relaxes", "use wider gaps_angstrom"
        )
    ranked.sort(key=_order)
    if refine and len(shifts) > 1 and not is_held(ranked[0].model):
        step = grid_angstrom
        while step > grid_angstrom / 4:
            step /= 2
            around = _neighbours(ranked[0].model, step)
            ranked += [new for shift in around if (new := _scored(model, shift, score, gaps_angstrom)) is not None]
            ranked.sort(key=_order)
    return ranked


def _order(ranked: RankedRegistry) -> tuple[float, str, tuple[float, float]]:
    return round(ranked.energy_ev, 6), ranked.registry.label, ranked.registry.fractions


def _scored(
    model: InterfaceModel, shift: Sequence[float], score: _Score, gaps: Sequence[float]
) -> RankedRegistry | None:
    """Score one candidate from the gap at which its contacts are neither tight nor open.

    None if atoms overlap, or if it has no energy because it cannot be relaxed.
    """
    begin = None
    for gap in sorted(gaps):
        try:
            begin = with_shift(model, shift, gap)
        except StructureError:
            continue
        if not tight_contacts(distances_across(begin.structure)):
            break
    if begin is None:
        return None
    try:
        energy, relaxed = score(begin.structure.copy())
    except ConvergenceError:  # one that cannot be relaxed is not the lowest
        return None
    if not isfinite(energy):
        raise ConvergenceError(f"the energy of {model.name} at shift {tuple(shift)} is {energy}", "converge it")
    return RankedRegistry(begin, registry_at(begin), float(energy), relaxed, contact_gap(begin, relaxed))


def contact_gap(model: InterfaceModel, structure: Structure, contact: int = 1) -> float:
    """Measure the distance along z between the outermost nuclei at one contact of a relaxed cell, angstrom.

    Parameters
    ----------
    model, structure, contact
        The interface as it was built, its relaxed cell, and 1 or 2 as :func:`registry_at` counts.
    """
    film = np.array(model.structure.site_properties["side"]) == "film"
    heights = _unwrapped_heights(model, structure)
    if contact == 1:
        return float(heights[film].min() - heights[~film].max())
    return float(structure.lattice.c + heights[~film].min() - heights[film].max())


def contact_problems(model: InterfaceModel, structure: Structure) -> list[str]:
    """Say what is wrong with the contacts of a relaxed cell: open ones, and two that differ.

    Returns
    -------
    list of str
        Empty where both contacts are closed and have one registry.
    """
    problems = []
    for contact in range(1, model.contacts + 1):
        gap = contact_gap(model, structure, contact)
        if gap > OPEN_GAP_ANGSTROM:
            problems.append(f"contact {contact} is open: a gap of {gap:.2f} angstrom is not a contact")
    if model.contacts == 2:
        first, second = (registry_at(model, contact, structure) for contact in (1, 2))
        if first.label != second.label:
            problems.append(f"the contacts differ: {first.label} at contact 1, {second.label} at contact 2")
    return problems


# --- faces and named atoms ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Atoms:
    """Atoms of a face: elements and in-plane positions, shape (n, 2), angstrom."""

    elements: tuple[str, ...]
    positions: NDArray[np.float64]

    @property
    def element(self) -> str:
        return self.elements[0]


def _unwrapped_heights(model: InterfaceModel, structure: Structure) -> NDArray[np.float64]:
    """Return heights of a relaxed cell's atoms, each on its own side of the cell's boundary as in the model."""
    moved = structure.frac_coords[:, 2] - model.structure.frac_coords[:, 2]
    result: NDArray[np.float64] = (model.structure.frac_coords[:, 2] + moved - np.round(moved)) * structure.lattice.c
    return result


def _face(model: InterfaceModel, side: str, end: str, structure: Structure | None) -> _Atoms:
    geometry = structure or model.structure
    heights = _unwrapped_heights(model, geometry)
    own = np.array(model.structure.site_properties["side"]) == side
    edge = heights[own].min() if end == "lower" else heights[own].max()
    chosen = np.flatnonzero(own & (np.abs(heights - edge) <= _FACE_DEPTH_ANGSTROM))
    return _Atoms(tuple(geometry[int(n)].specie.symbol for n in chosen), geometry.cart_coords[chosen][:, :2])


def _named(face: _Atoms) -> _Atoms:
    """Return the atoms of the most electronegative element of a face."""
    named = max(set(face.elements), key=lambda symbol: (Element(symbol).X, symbol))
    return _Atoms(
        tuple(symbol for symbol in face.elements if symbol == named),
        face.positions[[symbol == named for symbol in face.elements]],
    )


def _named_origin(model: InterfaceModel) -> NDArray[np.float64]:
    """Return the shift, from where the film is, that puts the named atoms over each other; in fractions of the cell."""
    vector = np.asarray(registry_at(model).vector_angstrom)
    result: NDArray[np.float64] = -vector @ np.linalg.inv(model.structure.lattice.matrix[:2, :2])
    return result


def _shortest(fractions: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest of a vector and its translations by a reduced cell; ties by the rounded components."""
    images = [(fractions + np.array(step)) @ cell for step in product((-2, -1, 0, 1), repeat=2)]
    return min(images, key=lambda v: (round(float(np.linalg.norm(v)), 4), *(-round(float(x), 4) for x in v)))


def _place(
    film: _Atoms, over: NDArray[np.float64], substrate: _Atoms, cell: NDArray[np.float64],
    fractions: Sequence[float], named: str,
) -> tuple[str, tuple[float, ...]]:  # fmt: skip
    """Say over what an atom of the film stands, and how far in the plane the nearest atoms of the substrate are."""
    offsets = [np.array(step) @ cell for step in product((-1, 0, 1), repeat=2)]
    around = sorted(
        (round(float(np.linalg.norm(position + offset - over)), 4), symbol)
        for symbol, position in zip(substrate.elements, substrate.positions, strict=True)
        for offset in offsets
    )
    distances = tuple(distance for distance, _ in around[:4])
    if distances[0] <= _OVER_ANGSTROM:
        return f"{film.element} over {around[0][1]}", distances
    equal = [symbol for distance, symbol in around if distance - distances[0] <= _OVER_ANGSTROM]
    if len(equal) == 2:
        return f"{film.element} over bridge {'-'.join(sorted(equal))}", distances
    if len(equal) >= 3:
        return f"{film.element} over hollow of {len(equal)} ({', '.join(sorted(set(equal)))})", distances
    return f"{film.element} at ({fractions[0]:.2f}, {fractions[1]:.2f}) from {named}", distances


# --- refinement -------------------------------------------------------------------------------------


def is_held(model: InterfaceModel) -> bool:
    """Tell whether symmetry holds the registry of a model in place, so that no force moves its film in the plane."""
    holding = []
    for w, left in shift_moves(model):  # where a move takes the film as it stands
        if np.abs(left - np.round(left)).max() < SAME_FRACTION:
            holding.append(w)
    free = np.eye(2) if not holding else np.mean(holding, axis=0)
    return bool(np.linalg.matrix_rank(free, tol=1e-6) == 0)


def _neighbours(model: InterfaceModel, step_angstrom: float) -> list[tuple[float, float]]:
    """Return eight shifts around that of a model."""
    back = np.linalg.inv(model.structure.lattice.matrix[:2, :2])
    return [
        (float(s[0]), float(s[1]))
        for i, j in product((-1, 0, 1), repeat=2)
        if (i, j) != (0, 0)
        for s in [np.asarray(model.shift) + step_angstrom * np.array([i, j]) @ back]
    ]
