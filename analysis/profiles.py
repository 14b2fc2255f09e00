"""Density of each element along an axis of the cell, for windows of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from anodeflow.analysis.pair_distances import Chunk, Floats, Frame, chunks
from anodeflow.documents import Document
from anodeflow.errors import InputError

#: Which vector of the cell an axis is.
AXES = {"a": 0, "b": 1, "c": 2, "x": 0, "y": 1, "z": 2}
MAX_BINS = 10_000


class ProfileDoc(Document):
    """Number densities in slices parallel to two vectors of the cell."""

    doc_type: Literal["ProfileDoc"] = "ProfileDoc"
    axis: Literal["a", "b", "c"] = Field(description="the cell vector whose fractional coordinate is cut into slices")
    frames: int
    height_angstrom: float = Field(description="mean distance between the two faces that the axis connects")
    bin_width_angstrom: float
    z_angstrom: list[float] = Field(description="middle of each slice, along the normal of the faces")
    windows: list[tuple[int, int]] = Field(description="first frame and the one after the last of each window")
    density_per_angstrom3: dict[str, list[list[float]]] = Field(
        description="element: atoms per volume, by window and slice"
    )


class LayerProfile:
    """Counts the atoms of each element in slices, chunk by chunk.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    axis
        ``a``, ``b`` or ``c`` (or ``x``, ``y``, ``z``): slices lie parallel to the other two vectors.
    bins
        Number of slices.

    Raises
    ------
    InputError
        If there is no such axis, or the number of slices is out of bounds.
    """

    def __init__(self, species: Sequence[str], axis: str = "c", bins: int = 100) -> None:
        if axis not in AXES:
            raise InputError(f"unknown axis '{axis}'", "use a, b or c")
        if not 1 <= bins <= MAX_BINS:
            raise InputError(f"{bins} slices in a profile", f"choose between 1 and {MAX_BINS}")
        self.axis, self.bins = AXES[axis], bins
        self.species = np.asarray(species, dtype=str)
        self.elements = list(dict.fromkeys(self.species.tolist()))
        self._number = np.array([self.elements.index(s) for s in self.species])
        self._sums: list[Floats] = []
        self._frames: list[int] = []
        self._height = 0.0

    def add(self, chunk: Chunk) -> None:
        """Count the atoms of some frames."""
        normals = np.broadcast_to(chunk.inverses, (len(chunk), 3, 3))[..., self.axis]
        along = np.einsum("fnk,fk->fn", chunk.positions, normals)
        slices = np.minimum(((along - np.floor(along)) * self.bins).astype(np.intp), self.bins - 1)
        slices += self._number * self.bins
        per_slice = self.bins / chunk.volumes
        counts = np.bincount(
            slices.ravel(),
            weights=np.repeat(per_slice, slices.shape[1]),
            minlength=len(self.elements) * self.bins,
        )
        self._sums.append(np.asarray(counts, dtype=float).reshape(len(self.elements), self.bins))
        self._frames.append(len(chunk))
        self._height += float(np.broadcast_to(chunk.widths, (len(chunk), 3))[:, self.axis].sum())

    def document(self, windows: int = 5) -> ProfileDoc:
        """Return the profiles so far, in about ``windows`` windows of time (fewer if the run is short).

        Raises
        ------
        InputError
            If no frame was given.
        """
        if not self._frames:
            raise InputError("no frame to take a profile from", "look at --frames and at the file")
        total = sum(self._frames)
        ends = np.cumsum(self._frames)
        number = np.minimum((ends - np.array(self._frames) / 2) * windows / total, windows - 1).astype(int)
        bounds, density = [], []
        for window in np.unique(number):
            part = np.flatnonzero(number == window)
            start, stop = int(ends[part[0]] - self._frames[part[0]]), int(ends[part[-1]])
            bounds.append((start, stop))
            density.append(np.sum([self._sums[k] for k in part], axis=0) / (stop - start))
        height = self._height / total
        return ProfileDoc(
            axis="abc"[self.axis],
            frames=total,
            height_angstrom=height,
            bin_width_angstrom=height / self.bins,
            z_angstrom=((np.arange(self.bins) + 0.5) * height / self.bins).tolist(),
            windows=bounds,
            density_per_angstrom3={
                element: [window[k].tolist() for window in density] for k, element in enumerate(self.elements)
            },
        )


def layer_profile(
    frames: Iterable[Frame], species: Sequence[str], *, axis: str = "c", bins: int = 100, windows: int = 5
) -> ProfileDoc:
    """Return the density of each element along an axis.

    Parameters
    ----------
    frames
        Positions (N, 3) and cell (3, 3), angstrom, of each frame; read once.
    species, axis, bins
        See :class:`LayerProfile`.
    windows
        Windows of time.

    Returns
    -------
    ProfileDoc
        Densities by element and window of time.

    Raises
    ------
    InputError
        If an option is out of bounds or a frame has no cell.
    """
    profile = LayerProfile(species, axis, bins)
    for chunk in chunks(frames, len(species)):
        profile.add(chunk)
    return profile.document(windows)
