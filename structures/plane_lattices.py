"""Plane lattices as integer matrices: sublattices, their reduced bases and normal forms, point groups.

A matrix of shape (2, 2) holds two lattice vectors as rows, in units of a basis whose Gram matrix is the metric.
"""

from __future__ import annotations

from itertools import product
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

#: Relative difference of two lattice vectors below which they count as equal.
_LATTICE_TOLERANCE = 1e-4

#: Every change of basis with entries up to one.
UNIMODULAR = np.array([m for m in product((-1, 0, 1), repeat=4) if abs(m[0] * m[3] - m[1] * m[2]) == 1])
UNIMODULAR = UNIMODULAR.reshape(-1, 2, 2)


def lattice_symmetry(metric: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return the point group of a plane lattice, shape (n, 2, 2): row vectors V become ``g @ V``."""
    basis = reduced_bases(np.eye(2, dtype=int)[None], metric)[0]
    reduced = basis @ metric @ basis.T
    images = UNIMODULAR @ reduced @ UNIMODULAR.transpose(0, 2, 1)
    scale = np.sqrt(np.outer(np.diag(reduced), np.diag(reduced)))
    keep = (np.abs(images - reduced) / scale).max(axis=(1, 2)) < 2 * _LATTICE_TOLERANCE
    result: NDArray[np.int_] = np.round(np.linalg.inv(basis) @ UNIMODULAR[keep] @ basis).astype(int)
    return result


def displacement_cell(
    film_matrix: NDArray[np.int_], substrate_matrix: NDArray[np.int_], cell: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smallest cell of lateral shifts of one side that change the interface.

    Parameters
    ----------
    film_matrix, substrate_matrix
        Supercells of the two sides, shape (2, 2).
    cell
        The common cell, shape (2, 2), angstrom.

    Returns
    -------
    ndarray, shape (2, 2)
        Rows in fractions of the common cell; together they generate every lattice vector of both sides.
    """
    inverses = [np.linalg.inv(film_matrix), np.linalg.inv(substrate_matrix)]
    common = lcm(*(abs(round(float(np.linalg.det(m)))) for m in (film_matrix, substrate_matrix)))
    basis = np.diag([common, common])
    for row in np.round(common * np.concatenate(inverses)).astype(int):
        a, b = _euclid(basis[0], row)
        basis = hermite_form(np.array([[a, [0, gcd(int(b[1]), int(basis[1, 1]))]]]))[0]
    result: NDArray[np.float64] = reduced_bases(basis[None], cell @ cell.T)[0] / common
    return result


def supercell_points(matrix: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return lattice points of a supercell, one for each cell in it.

    Parameters
    ----------
    matrix
        Integer rows, shape (2, 2).

    Returns
    -------
    ndarray of int, shape (cells, 2)
    """
    form = hermite_form(np.array(matrix)[None])[0]
    return np.array(list(product(range(form[0, 0]), range(form[1, 1]))))


def determinant(matrices: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return determinants of integer matrices, shape (..., 2, 2), exactly."""
    return matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] * matrices[..., 1, 0]


def adjugate(matrices: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return the inverse times the determinant, exactly."""
    turned = matrices[..., ::-1, ::-1].swapaxes(-1, -2)
    result: NDArray[np.int_] = turned * np.array([[1, -1], [-1, 1]])
    return result


def common_divisors(films: NDArray[np.int_], substrates: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return how many times each common cell holds the smallest one with the same alignment."""
    rows = np.concatenate([films, substrates], axis=2)
    minors = [rows[:, 0, i] * rows[:, 1, j] - rows[:, 0, j] * rows[:, 1, i] for i in range(4) for j in range(i)]
    result: NDArray[np.int_] = np.gcd.reduce(minors, axis=0)
    return result


def hermite_form(bases: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return the Hermite normal form ``[[p, q], [0, r]]``, 0 <= q < r, of integer matrices, shape (..., 2, 2)."""
    a, b = bases[..., 0, :].copy(), bases[..., 1, :].copy()
    while (b[..., 0] != 0).any():
        active = b[..., 0] != 0
        times = np.where(active, a[..., 0] // np.where(active, b[..., 0], 1), 0)[..., None]
        a, b = np.where(active[..., None], b, a), np.where(active[..., None], a - times * b, b)
    a, b = a * np.sign(a[..., :1]), b * np.sign(b[..., 1:])
    a = a - (a[..., 1] // b[..., 1])[..., None] * b
    return np.stack([a, b], axis=-2)


def reduced_bases(bases: NDArray[np.int_], metric: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return bases of the same lattices with the two shortest vectors, shape (n, 2, 2); the determinant stays."""
    a, b = bases[:, 0].copy(), bases[:, 1].copy()
    while True:
        square, along = np.einsum("ni,ij,nj->n", a, metric, a), np.einsum("ni,ij,nj->n", a, metric, b)
        ratio = along / square
        b = b - (np.sign(ratio) * np.ceil(np.abs(ratio) - 0.5 - 1e-6)).astype(int)[:, None] * a
        swap = (np.einsum("ni,ij,nj->n", b, metric, b) < square * (1 - 1e-6))[:, None]
        if not swap.any():
            return np.stack([a, b], axis=1)
        a, b = np.where(swap, b, a), np.where(swap, -a, b)


def _euclid(a: NDArray[np.int_], b: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return row operations until the first entry of the second row is zero."""
    while b[0] != 0:
        a, b = b, a - (a[0] // b[0]) * b
    return a, b
