"""Lateral shifts of the film of an interface: which of them change it, and which are the same by symmetry.

A shift by a lattice vector of either side changes nothing, so that shifts fill the cell of displacements, the lattice
that the translations of both sides generate together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from anodeflow.structures.interface_contacts import symmetry_moves
from anodeflow.structures.interfaces import InterfaceModel, build_interface, film_matrix
from anodeflow.structures.plane_lattices import displacement_cell

#: Two points of the cell of displacements closer than this, in its fractions, are one.
SAME_FRACTION = 2e-3

#: What a symmetry does to a displacement f, in fractions of the cell of displacements: W f + t.
Move = tuple[NDArray[np.float64], NDArray[np.float64]]


def displacement_lattice(model: InterfaceModel) -> NDArray[np.float64]:
    """Give the cell of all shifts that change the interface, shape (2, 2), rows in fractions of the interface cell."""
    repeat = np.diag(model.repeat)
    film = repeat @ film_matrix(model.match, model.film_face)
    substrate = repeat @ np.array(model.match.substrate_matrix, dtype=int)
    return displacement_cell(film, substrate, model.structure.lattice.matrix[:2, :2])


def shift_moves(model: InterfaceModel, *, exchanging: bool = True) -> list[Move]:
    """Give what symmetry does to the film's displacement f from where it stands: f becomes W f + t.

    Parameters
    ----------
    model
        The interface.
    exchanging
        Count moves that exchange the two contacts of a periodic cell, too.

    Returns
    -------
    list of (W, t)
        In fractions of the cell of displacements.
    """
    cell = displacement_lattice(model)
    back = np.linalg.inv(cell)
    exchanging = exchanging and model.vacuum_angstrom is None
    return [
        (back.T @ w @ cell.T, t @ back) for w, t, flips in symmetry_moves(model.structure) if exchanging or not flips
    ]


def one_of_each_orbit(points: Sequence[NDArray[np.float64]], moves: Sequence[Move]) -> list[NDArray[np.float64]]:
    """Pick the first point of each orbit.

    Parameters
    ----------
    points
        In fractions of the cell of displacements, each of shape (2,).
    moves
        From :func:`shift_moves`.

    Returns
    -------
    list of ndarray
    """
    chosen: list[NDArray[np.float64]] = []
    seen = np.empty((0, 2))
    for point in points:
        if not _is_among(point, seen):
            chosen.append(point)
            seen = np.concatenate([seen, [w @ point + t for w, t in moves]])
    return chosen


def with_shift(model: InterfaceModel, shift: Sequence[float], gap_angstrom: float | None = None) -> InterfaceModel:
    """Build the same interface with the film elsewhere.

    Parameters
    ----------
    model, shift
        The interface, and where the film is to be, in fractions of the cell.
    gap_angstrom
        None keeps that of the model.
    """
    return build_interface(
        model.film,
        model.substrate,
        model.match,
        strained=model.strained,
        gap_angstrom=model.gaps_angstrom[0] if gap_angstrom is None else gap_angstrom,
        shift=shift,
        vacuum_angstrom=model.vacuum_angstrom,
        film_face=model.film_face,
        repeat=model.repeat,
        max_strain=1.0,
        max_atoms=len(model.structure),
    )


def standard_shift(model: InterfaceModel, shift: Sequence[float]) -> tuple[float, float]:
    """Return the same registry by the least of all shifts that symmetry makes equal, contacts exchanged or not.

    Which of them a search names depends on the last digits of the crystals.

    Parameters
    ----------
    model
        The interface.
    shift
        In fractions of its cell.
    """
    cell = displacement_lattice(model)
    away = (np.asarray(shift) - np.asarray(model.shift)) @ np.linalg.inv(cell)
    images = [np.round(w @ away + t, 6) % 1.0 for w, t in shift_moves(model)] or [np.round(away, 6) % 1.0]
    # in fractions of the cell from where the film of shift (0, 0) stands, which does not depend on `model.shift`
    origin = np.asarray(model.shift) @ np.linalg.inv(cell)
    places = [np.round(image + origin, 6) % 1.0 for image in images]
    least = min(places, key=lambda place: (np.round(place, 3) % 1.0).tolist())
    x, y = least @ cell
    return float(x), float(y)


def fixed_points(moves: Sequence[Move]) -> list[NDArray[np.float64]]:
    """Return points that moves shared by both sides leave in place, and no neighbour of them; the most symmetric first.

    Fractions of the cell of displacements, between 0 and 1.
    """
    lines = [(w - np.eye(2), t) for w, t in moves if np.abs(w - np.eye(2)).max() > 1e-6]
    points: list[NDArray[np.float64]] = []
    for (first, s), (second, t) in product(lines, repeat=2):
        rows, right = np.concatenate([first, second]), np.concatenate([s, t])
        if np.linalg.matrix_rank(rows, tol=1e-6) < 2:
            continue
        steps = np.array(list(product((-2, -1, 0, 1, 2), repeat=4)))
        solutions = (steps - right) @ np.linalg.pinv(rows).T
        exact = np.abs(solutions @ rows.T + right - steps).max(axis=1) < SAME_FRACTION
        for point in solutions[exact] % 1.0:
            if not _is_among(point, np.array(points).reshape(-1, 2)):
                points.append(point)
    return sorted(points, key=lambda p: (-_stabiliser(p, moves), *(round(float(x), 3) for x in p)))


def _is_among(point: NDArray[np.float64], points: NDArray[np.float64]) -> bool:
    """Tell whether a point is one of several, up to whole cells."""
    away = points - point
    return bool((np.abs(away - np.round(away)).max(axis=1) < SAME_FRACTION).any()) if len(points) else False


def _stabiliser(point: NDArray[np.float64], moves: Sequence[Move]) -> int:
    moved = [w @ point + t - point for w, t in moves]
    return sum(1 for m in moved if np.abs(m - np.round(m)).max() < SAME_FRACTION)
