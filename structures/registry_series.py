"""One registry in cells of different thickness, whose slabs may have other origins."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.registry import candidate_shifts, registry_at
from anodeflow.structures.shifts import with_shift

#: Atoms of two slabs cut from one crystal count as the same within this distance.
_SAME_ANGSTROM = 0.05
#: Planes further apart than this are two slabs, or a slab and its vacuum.
_WIDEST_PLANE_ANGSTROM = 6.0


def in_registry_of(
    reference: InterfaceModel, other: InterfaceModel, gap_angstrom: float | None = None
) -> InterfaceModel:
    """Build an interface of other thickness with the registry of a reference at contact 1.

    The two faces that meet there are laid over those of the reference, atom on atom.

    Parameters
    ----------
    reference
        The interface whose registry is wanted.
    other
        The same two faces in the same match, with any thickness and shift.
    gap_angstrom
        None keeps that of the reference.

    Raises
    ------
    StructureError
        The slabs of `other` do not show the faces of the reference.
    """
    gap = reference.gaps_angstrom[0] if gap_angstrom is None else gap_angstrom
    film = _move(_from_contact(reference, "film"), _from_contact(other, "film"), reference.structure)
    substrate = _move(_from_contact(reference, "substrate"), _from_contact(other, "substrate"), reference.structure)
    if film is not None and substrate is not None:
        back = np.linalg.inv(reference.structure.lattice.matrix[:2, :2])
        shift = np.asarray(other.shift) + (film - substrate) @ back
        inside = np.round(shift % 1.0, 9) % 1.0
        return with_shift(other, (float(inside[0]), float(inside[1])), gap)
    wanted = registry_at(reference)  # faces turned against each other by a screw axis or glide plane
    for candidate in candidate_shifts(other):
        model = with_shift(other, candidate, gap)
        registry = registry_at(model)
        if registry.label == wanted.label and np.allclose(registry.fractions, wanted.fractions, atol=0.01):
            return model
    raise StructureError(
        f"{other.name} with {other.film.layers} and {other.substrate.layers} planes has no registry {wanted.label}",
        "use numbers of planes that show the same two faces",
    )


def check_solid(structure: Structure, name: str) -> None:
    """Refuse a crystal with an empty layer in it: a slab with vacuum was given in its place.

    Parameters
    ----------
    structure
        The crystal of one side.
    name
        For the message.

    Raises
    ------
    InputError
        Along one axis of the cell no atom lies within 6 angstrom.
    """
    for axis, spacing in enumerate(1 / np.linalg.norm(np.linalg.inv(structure.lattice.matrix), axis=0)):
        heights = np.sort(structure.frac_coords[:, axis] % 1.0)
        widest = float(np.diff(np.append(heights, heights[0] + 1.0)).max() * spacing)
        if widest > _WIDEST_PLANE_ANGSTROM:
            raise InputError(
                f"{name} has an empty layer of {widest:.1f} angstrom in its cell: it is a slab with vacuum",
                "give the crystal; slabs are cut from it",
            )


def _from_contact(model: InterfaceModel, side: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return elements and positions of a side, heights counted from contact 1 into it."""
    chosen = model.film_indices if side == "film" else model.substrate_indices
    positions = model.structure.cart_coords[chosen]
    heights = positions[:, 2] - positions[:, 2].min() if side == "film" else positions[:, 2].max() - positions[:, 2]
    symbols = tuple(model.structure[n].specie.symbol for n in chosen)
    return symbols, np.column_stack([positions[:, :2], heights])


def _move(
    wanted: tuple[tuple[str, ...], NDArray[np.float64]],
    given: tuple[tuple[str, ...], NDArray[np.float64]],
    cell: Structure,
) -> NDArray[np.float64] | None:
    """Return the shortest in-plane vector that lays the atoms of one face over those of the other; None if none does.

    The thinner of the two is compared with the thicker as deep as it reaches, without its last plane: in an asymmetric
    slab that one may differ.
    """
    depth = min(wanted[1][:, 2].max(), given[1][:, 2].max()) - _SAME_ANGSTROM
    first, second = ([(e, p) for e, p in zip(*side, strict=True) if p[2] <= depth] for side in (wanted, given))
    if len(first) != len(second) or not first:
        return None
    edges = cell.lattice.matrix[:2, :2]
    offsets = [np.array(step) @ edges for step in product((-1, 0, 1), repeat=2)]
    moves: list[NDArray[np.float64]] = [
        target[1][:2] - second[0][1][:2] + offset
        for target in first
        if target[0] == second[0][0] and abs(target[1][2] - second[0][1][2]) < _SAME_ANGSTROM
        for offset in offsets
    ]
    for move in sorted(moves, key=_shortest_first):
        if _laid_over(first, second, move, edges):
            return move
    return None


def _shortest_first(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    return round(float(np.linalg.norm(vector)), 4), round(float(vector[0]), 4), round(float(vector[1]), 4)


def _laid_over(
    first: list[tuple[str, NDArray[np.float64]]],
    second: list[tuple[str, NDArray[np.float64]]],
    move: NDArray[np.float64],
    edges: NDArray[np.float64],
) -> bool:
    back = np.linalg.inv(edges)
    elements = np.array([e for e, _ in first])
    places = np.array([p for _, p in first])
    for element, position in second:
        fractions = (places[:, :2] - position[:2] - move) @ back
        away = np.column_stack([(fractions - np.round(fractions)) @ edges, places[:, 2] - position[2]])
        if not ((np.linalg.norm(away, axis=1) < _SAME_ANGSTROM) & (elements == element)).any():
            return False
    return True
