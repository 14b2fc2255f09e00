"""Distances between two kinds of atoms over many frames, all periodic images included.

Frames are taken in chunks. Where atoms stay near their place within a chunk, as they do in molecular dynamics, the
pairs that can come within reach are found once for the chunk, from mean positions and the largest displacements, and
only those are followed. Otherwise every pair is looked at in every frame. Both ways are exact: an image is left out
only if a lower bound of its distance is out of reach, in any cell, also one that changes from frame to frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anodeflow.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Frame = tuple[ArrayLike, ArrayLike]

# Short chunks at first, so that short runs can be cut into blocks; then the fastest size.
FIRST_CHUNK, FIRST_FRAMES, CHUNK = 16, 512, 128
# Doubles in a working array: some of them fit into a processor's own cache.
_WORKING_SIZE = 32768
# Candidate pairs that are tested at a time.
_SEARCH_SIZE = 1_000_000
# Bounds are compared with this slack, angstrom, far above rounding.
_SLACK_ANGSTROM = 1e-6
_MAX_NEIGHBOURS = 2e7
SHORTEST_ANGSTROM, LONGEST_ANGSTROM = 1e-2, 1e7


class Chunk:
    """Some consecutive frames.

    Parameters
    ----------
    positions
        Cartesian, wrapped or not, angstrom, shape (F, N, 3).
    cells
        Rows are the lattice vectors, angstrom, shape (F, 3, 3).
    """

    def __init__(self, positions: Floats, cells: Floats) -> None:
        self.positions, self.cells = positions, cells
        self.fixed_cell = bool((cells == cells[0]).all())
        #: The cells that differ, shape (1, 3, 3) or (F, 3, 3), and what belongs to each.
        self.own_cells = cells[:1] if self.fixed_cell else cells
        self.inverses = np.linalg.inv(self.own_cells)
        self.widths = 1.0 / np.linalg.norm(self.inverses, axis=-2)
        self.own_volumes = np.abs(np.linalg.det(self.own_cells))
        self._paths: dict[bytes, Floats] = {}

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def volumes(self) -> Floats:
        """Volume of the cell in each frame, angstrom cubed, shape (F,)."""
        return np.broadcast_to(self.own_volumes, (len(self),))

    @property
    def half_width(self) -> float:
        """Half the smallest distance between opposite faces of the cell in any frame, angstrom."""
        return float(self.widths.min()) / 2

    def folded_images(self, reach: float) -> Integers:
        """See :func:`_folded_images`; chunks of one fixed cell share them."""
        if self.fixed_cell:
            return _images_of_fixed(self.own_cells.tobytes(), reach)
        return _folded_images(self.own_cells, self.widths, reach)

    def paths(self, atoms: Integers) -> Floats:
        """Return fractional coordinates followed through the chunk without jumps, shape (3, n, F)."""
        key = atoms.tobytes()
        if key not in self._paths:
            fractional = self.positions[:, atoms] @ self.inverses
            fractional -= np.rint(fractional - fractional[:1]) + np.floor(fractional[:1])
            self._paths[key] = np.ascontiguousarray(fractional.transpose(2, 1, 0))
        return self._paths[key]

    def cartesian(self, paths: Floats) -> Floats:
        """Return Cartesian coordinates of fractional ones, both of shape (3, n, F), angstrom."""
        if self.fixed_cell:
            return np.tensordot(self.cells[0].T, paths, axes=1)
        result: Floats = np.einsum("fkc,knf->cnf", self.cells, paths, optimize=True)
        return result


def chunks(frames: Iterable[Frame], atoms: int, *, size: int | None = None) -> Iterator[Chunk]:
    """Gather frames into chunks.

    Parameters
    ----------
    frames
        Positions, angstrom, shape (N, 3), and cell, rows are vectors, angstrom, shape (3, 3), of each frame.
    atoms
        N, the number of atoms every frame must have.
    size
        Frames in a chunk; by default 16, and 128 after the first 512 frames.

    Returns
    -------
    iterator of Chunk
        In the order of the frames.

    Raises
    ------
    InputError
        If the number of atoms changes, a frame has no cell, or a number is not finite.
    """
    held: list[tuple[Floats, Floats]] = []
    count = 0
    for positions, cell in frames:
        held.append(_checked(positions, cell, atoms, count))
        count += 1
        if len(held) == (size or (FIRST_CHUNK if count <= FIRST_FRAMES else CHUNK)):
            yield _chunk(held, count)
            held = []
    if held:
        yield _chunk(held, count)


def _checked(positions: ArrayLike, cell: ArrayLike | None, atoms: int, number: int) -> tuple[Floats, Floats]:
    where = np.asarray(positions, dtype=float)
    if where.shape != (atoms, 3):
        raise InputError(
            f"frame {number} has positions of shape {where.shape}, but there are {atoms} atoms",
            "analyse the part of the run in which the number of atoms stays the same",
        )
    vectors = np.asarray(cell if cell is not None else np.zeros((3, 3)), dtype=float)
    if vectors.shape != (3, 3):
        raise InputError(f"frame {number}: a cell has shape (3, 3), not {vectors.shape}", "give three lattice vectors")
    return where, vectors


def _chunk(held: Sequence[tuple[Floats, Floats]], count: int) -> Chunk:
    positions = np.array([p for p, _ in held])
    cells = np.array([c for _, c in held])
    first = count - len(held)
    bad = ~np.isfinite(positions).all(axis=(1, 2)) | ~np.isfinite(cells).all(axis=(1, 2))
    if bad.any():
        raise InputError(
            f"frame {first + int(np.argmax(bad))} has a coordinate that is not a finite number",
            "the run went astray there; use --frames to stop before it",
        )
    flat = ~(np.abs(np.linalg.det(cells)) > 1e-6 * np.linalg.norm(cells, axis=2).prod(axis=1))
    if flat.any():
        raise InputError(
            f"frame {first + int(np.argmax(flat))} has no periodic cell (its volume is zero)",
            "use a trajectory that keeps the cell (XDATCAR, extended XYZ, ASE .traj), or give it one",
        )
    return Chunk(positions, cells)


def check_reach(r_max: float, centres: int, others: int, volume: float) -> None:
    """Refuse a distance that would take for ever.

    Parameters
    ----------
    r_max
        Largest distance, angstrom.
    centres, others
        Atoms of either kind.
    volume
        Of the cell, angstrom^3.

    Raises
    ------
    InputError
        If ``r_max`` is not a distance between atoms, or encloses more pairs than 2e7 in a frame.
    """
    if not SHORTEST_ANGSTROM <= r_max <= LONGEST_ANGSTROM:
        raise InputError(
            f"r_max is {r_max:g} angstrom",
            f"give a distance between {SHORTEST_ANGSTROM:g} and {LONGEST_ANGSTROM:g}, e.g. 10",
        )
    pairs = 4 / 3 * np.pi * r_max**3 * others / volume * centres
    if pairs > _MAX_NEIGHBOURS:
        most = r_max * (_MAX_NEIGHBOURS / pairs) ** (1 / 3)
        raise InputError(
            f"r_max {r_max:g} angstrom encloses {pairs:.1e} pairs in every frame", f"use at most {most:.0f} angstrom"
        )


def squared_distances(chunk: Chunk, centres: Integers, others: Integers, r_max: float) -> Iterator[tuple[int, Floats]]:
    """Return squared distances from centres to the images of other atoms, at least all below ``r_max``.

    An atom that is in both lists has its own images as neighbours, and itself at distance zero.

    Parameters
    ----------
    chunk
        The frames, F of them.
    centres, others
        Indices of atoms.
    r_max
        Reach, angstrom.

    Yields
    ------
    row
        The number in ``centres`` of a centre; ascending.
    squared
        Squared distances from it, angstrom squared, shape (K, F). A pair comes once for each image. The array is used
        again for the next block.
    """
    a, b = chunk.paths(centres), chunk.paths(others)
    reference = chunk.cells[0]
    shrink = 1.0
    if not chunk.fixed_cell:
        reference = chunk.cells.mean(axis=0)
        shrink = float(np.linalg.svd(np.linalg.inv(reference) @ chunk.cells, compute_uv=False).min())
    reach = r_max / shrink + _SLACK_ANGSTROM
    stray_a, stray_b = _strays(a, reference), _strays(b, reference)
    images = chunk.folded_images(r_max + _SLACK_ANGSTROM)
    density = len(others) / float(np.abs(np.linalg.det(reference)))
    expected = 4 / 3 * np.pi * density * float(((reach + stray_a + stray_b.mean()) ** 3).sum())
    if expected < len(images) * len(centres) * len(others):
        yield from _followed(chunk, a, b, reference, (reach, stray_a, stray_b))
    else:
        yield from _every_pair(chunk, a, b, images)


def _strays(paths: Floats, reference: Floats) -> Floats:
    """Return how far each atom gets from its mean position, angstrom, shape (n,)."""
    offset = np.tensordot(reference.T, paths - paths.mean(axis=2, keepdims=True), axes=1)
    result: Floats = np.sqrt(np.einsum("knf,knf->nf", offset, offset).max(axis=1))
    return result


# --- pairs followed through a chunk --------------------------------------------------------------------


def _followed(
    chunk: Chunk, a: Floats, b: Floats, reference: Floats, reach: tuple[float, Floats, Floats]
) -> Iterator[tuple[int, Floats]]:
    rows, partners, shifts = _candidates(a.mean(axis=2), b.mean(axis=2), reference, *reach)
    if not len(rows):
        return
    # An atom and a shift make an image; each is placed once for all centres around it.
    span = int(np.abs(shifts).max()) if len(shifts) else 0
    base = 2 * span + 1
    keys = ((partners * base + shifts[0] + span) * base + shifts[1] + span) * base + shifts[2] + span
    _, first, image_of_row = np.unique(keys, return_index=True, return_inverse=True)
    ghosts = chunk.cartesian(b[:, partners[first]] + shifts[:, first, None])
    homes = chunk.cartesian(a)
    frames = len(chunk)
    step = max(1, _WORKING_SIZE // frames)
    working = np.empty((3, step, frames))
    ends = np.searchsorted(rows, np.arange(a.shape[1] + 1))
    for row, (begin, end) in enumerate(itertools.pairwise(ends)):
        for start in range(begin, end, step):
            image = image_of_row[start : min(start + step, end)]
            v = working[:, : len(image)]
            np.take(ghosts, image, axis=1, out=v, mode="clip")
            v -= homes[:, row, None]
            v *= v
            v[0] += v[1]
            v[0] += v[2]
            yield row, v[0]


def _candidates(
    a: Floats, b: Floats, cell: Floats, reach: float, stray_a: Floats, stray_b: Floats
) -> tuple[Integers, Integers, Integers]:
    """Return centres (ascending), partners and lattice shifts (3, K) of all pairs that can come within reach."""
    furthest = reach + stray_a.max() + stray_b.max()
    wide = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    counts = np.floor(furthest / wide + 0.5).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in counts))), dtype=float)
    vectors = images @ cell
    # |v + t|^2 - limit^2 = (|v|^2 - limit^2) + 2 v.t + |t|^2, for all images t at once.
    left = np.column_stack([2 * vectors, np.ones(len(images)), (vectors**2).sum(axis=1)])
    pairs: list[tuple[Integers, Integers, Floats]] = []
    step = max(1, _SEARCH_SIZE // (b.shape[1] * len(images)))
    for start in range(0, a.shape[1], step):
        x = b[:, None, :] - a[:, start : start + step, None]
        wrap = np.rint(x)
        x -= wrap
        right = np.ones((5, *x.shape[1:]))
        right[:3] = np.tensordot(cell.T, x, axes=1)
        limit = reach + stray_a[start : start + step, None] + stray_b
        right[3] = np.einsum("kij,kij->ij", right[:3], right[:3]) - limit**2
        image, pair = np.nonzero(left @ right.reshape(5, -1) < _SLACK_ANGSTROM)
        i, j = np.divmod(pair, b.shape[1])
        pairs.append((i + start, j, images[image].T - wrap[:, i, j]))
    rows = np.concatenate([f[0] for f in pairs])
    order = np.argsort(rows, kind="stable")
    partners = np.concatenate([f[1] for f in pairs])[order]
    shifts = np.concatenate([f[2] for f in pairs], axis=1)[:, order]
    return rows[order], partners, shifts.astype(np.intp)


# --- every pair in every frame -------------------------------------------------------------------------


def _folded_images(cells: Floats, wide: Floats, reach: float) -> Integers:
    """Return which images of a wrapped difference can be within reach in any of the cells, shape (M, 3).

    Differences x lie in [-1/2, 1/2]; an image (m1, m2, m3) is x_k + m_k sign(x_k). So m_k = 0 is the nearest along an
    axis, -1 the next, then +1. Bounds are by intervals on the triangular form of the cell, for each choice of signs.
    """
    lower = _triangular(cells)
    counts = np.floor(reach / wide.min(axis=0) + 0.5).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in counts))))
    if len(images) == 1:
        return images
    kept = np.zeros(len(images), dtype=bool)
    near = np.where(images < 0, -images - 0.5, images)  # of |x_k + m_k sign(x_k)|
    for signs in itertools.product((1, -1), (1, -1), (1,)):
        ends = np.stack([images * signs, (images + 0.5) * signs])
        low, high = ends.min(axis=0), ends.max(axis=0)
        square = np.zeros((len(lower), len(images)))
        for c in range(3):
            products = np.stack([low[None] * lower[:, None, :, c], high[None] * lower[:, None, :, c]])
            least, most = products.min(axis=0).sum(axis=-1), products.max(axis=0).sum(axis=-1)
            square += np.maximum(np.maximum(least, -most), 0) ** 2
        between_faces = (near[None] * wide[:, None]).max(axis=-1)
        kept |= ((np.sqrt(square) <= reach) & (between_faces <= reach)).any(axis=0)
    return images[kept]


@lru_cache(maxsize=32)
def _images_of_fixed(cell: bytes, reach: float) -> Integers:
    cells = np.frombuffer(cell).reshape(1, 3, 3)
    return _folded_images(cells, 1.0 / np.linalg.norm(np.linalg.inv(cells), axis=-2), reach)


def _triangular(cells: Floats) -> Floats:
    """Return the cells turned so that the first vector lies along x and the second in the xy plane."""
    return np.swapaxes(np.linalg.qr(np.swapaxes(cells, -1, -2))[1], -1, -2)


def _every_pair(chunk: Chunk, a: Floats, b: Floats, images: Integers) -> Iterator[tuple[int, Floats]]:
    # Elements of the triangular cells: numbers, or an array of shape (F,).
    lower = np.moveaxis(_triangular(chunk.own_cells), 0, 2)
    frames, partners = len(chunk), b.shape[1]
    step = max(1, _WORKING_SIZE // (2 * frames))
    x, v, squares, sign, moved = (np.empty((3, step, frames)) for _ in range(5))
    squared, term = np.empty((step, frames)), np.empty((step, frames))
    tilted = [(c, k) for c in range(3) for k in range(c + 1, 3) if np.any(lower[k, c])]
    # For each image, the axes that move each component.
    plans = [
        (image, [[k for k in range(3) if image[k] and (k == c or (c, k) in tilted)] for c in range(3)])
        for image in images
    ]
    folded = [k for k in range(3) if images[:, k].any()]
    for row in range(a.shape[1]):
        for start in range(0, partners, step):
            part = b[:, start : start + step]
            n = part.shape[1]
            d, t = squared[:n], term[:n]
            for k in range(3):
                np.subtract(part[k], a[k, row], out=x[k, :n])
                np.rint(x[k, :n], out=t)
                x[k, :n] -= t
                np.multiply(x[k, :n], lower[k, k], out=v[k, :n])
            for c, k in tilted:
                np.multiply(x[k, :n], lower[k, c], out=t)
                v[c, :n] += t
            np.multiply(v[:, :n], v[:, :n], out=squares[:, :n])
            for k in folded:
                np.copysign(1.0, x[k, :n], out=sign[k, :n])
            for image, plan in plans:
                parts = []
                for c, axes in enumerate(plan):
                    if not axes:
                        parts.append(squares[c, :n])
                        continue
                    target = moved[c, :n]
                    target[...] = v[c, :n]
                    for k in axes:
                        np.multiply(sign[k, :n], image[k] * lower[k, c], out=t)
                        target += t
                    target *= target
                    parts.append(target)
                np.add(parts[0], parts[1], out=d)
                d += parts[2]
                yield row, d
