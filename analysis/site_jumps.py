"""Jumps between sites that a run itself shows: where atoms dwell, how often they leave, and how far they go.

Sites are the maxima of the smoothed density of the atoms. An atom belongs to a site once it is in its core, until it is
in the core of another, so that vibration across the border between two sites does not count.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter, maximum_filter

from anodeflow.documents import Document
from anodeflow.errors import InputError

Floats = NDArray[np.float64]

_GRID_ANGSTROM, _SMOOTH_ANGSTROM = 0.4, 0.4
#: A maximum below this share of the highest is a way between sites.
_LEAST_SHARE = 0.05
_APART_ANGSTROM = 1.0
#: Of the distance to the nearest other site, and at most.
_CORE_SHARE, _LARGEST_CORE_ANGSTROM = 0.4, 1.0
_ANGSTROM2_PER_PS_TO_CM2_PER_S = 1e-4


class JumpsDoc(Document):
    """Jumps of one element between its sites."""

    element: str
    sites: int = Field(description="in the cell")
    jumps: int = Field(description="of all atoms over the run")
    returns: int = Field(description="jumps that undo the one before")
    rate_per_ps: float = Field(description="jumps of one atom and ps")
    mean_distance_angstrom: float | None = None
    distances: dict[str, int] = Field(default_factory=dict, description="jumps by distance, in classes of 0.5 angstrom")
    d_jump_cm2_per_s: float = Field(description="of jumps without memory: rate times mean squared distance over 6")
    correlation_factor: float | None = Field(None, description="D over that; below 1 where jumps are undone")
    warnings: list[str] = Field(default_factory=list)


def density_sites(fractional: Floats, cell: Floats) -> Floats:
    """Return where atoms dwell: maxima of their density.

    Parameters
    ----------
    fractional
        Of all atoms and frames, shape (..., 3); folded here.
    cell
        Rows are lattice vectors, angstrom.

    Returns
    -------
    array
        Fractional coordinates of the sites, shape (sites, 3).

    Raises
    ------
    InputError
        If there is nothing to look at.
    """
    points = fractional.reshape(-1, 3)
    points = points - np.floor(points)
    if not len(points):
        raise InputError("no atom to look for sites of", "choose an element that is there")
    lengths = np.linalg.norm(cell, axis=1)
    shape = np.maximum(3, np.ceil(lengths / _GRID_ANGSTROM).astype(int))
    index = np.minimum((points * shape).astype(np.intp), shape - 1)
    counts = np.bincount(np.ravel_multi_index(tuple(index.T), tuple(shape)), minlength=int(np.prod(shape)))
    density = gaussian_filter(
        counts.reshape(tuple(shape)).astype(float), _SMOOTH_ANGSTROM / (lengths / shape), mode="wrap"
    )
    peaks = np.argwhere((density == maximum_filter(density, 3, mode="wrap")) & (density > _LEAST_SHARE * density.max()))
    order = np.argsort(-density[tuple(peaks.T)], kind="stable")
    kept: list[Floats] = []
    for peak in peaks[order]:
        place = (peak + 0.5) / shape
        if all(_distance(place - other, cell) >= _APART_ANGSTROM for other in kept):
            kept.append(place)
    sites = np.array(kept)
    # the mean of what lies near is sharper than the grid
    for number, site in enumerate(sites):
        apart = points - site
        apart -= np.rint(apart)
        near = np.linalg.norm(apart @ cell, axis=1) < _APART_ANGSTROM / 2
        if near.any():
            sites[number] = site + apart[near].mean(axis=0)
    return np.asarray(sites - np.floor(sites))


def _distance(apart: Floats, cell: Floats) -> float:
    return float(np.linalg.norm((apart - np.rint(apart)) @ cell))


# long: one pass over the atoms, and the document
def site_jumps(
    positions: Floats, cell: Floats, timestep_fs: float, *, element: str, d_cm2_per_s: float | None = None
) -> JumpsDoc:
    """Count jumps between sites.

    Parameters
    ----------
    positions
        Of the atoms of one element with the drift of the framework taken off, angstrom, shape (n, F, 3).
    cell
        Rows are lattice vectors, angstrom; the same throughout.
    timestep_fs
        Between frames.
    element
        For the document.
    d_cm2_per_s
        Its diffusion coefficient, for the correlation factor.

    Returns
    -------
    JumpsDoc
        Rates, distances, and D of jumps without memory.

    Raises
    ------
    InputError
        If there is no atom.
    """
    fractional = positions @ np.linalg.inv(cell)
    sites = density_sites(fractional, cell)
    cores = _cores(sites, cell)
    n, frames, _ = positions.shape
    lengths: list[float] = []
    returns = 0
    for atom in range(n):
        visited = _visits(fractional[atom], sites, cores, cell)
        vectors = [sites[b] - sites[a] for a, b in pairwise(visited)]
        lengths += [_distance(vector, cell) for vector in vectors]
        returns += sum(a == c for a, c in zip(visited[:-2], visited[2:], strict=True))
    time_ps = n * (frames - 1) * timestep_fs / 1000
    rate = len(lengths) / time_ps if time_ps else 0.0
    squared = float(np.mean(np.square(lengths))) if lengths else 0.0
    d_jump = rate * squared / 6 * _ANGSTROM2_PER_PS_TO_CM2_PER_S
    classes = [0.5 * round(length / 0.5) for length in lengths]
    doc = JumpsDoc(
        element=element,
        sites=len(sites),
        jumps=len(lengths),
        returns=returns,
        rate_per_ps=rate,
        mean_distance_angstrom=float(np.mean(lengths)) if lengths else None,
        distances={f"{value:g}": classes.count(value) for value in sorted(set(classes))},
        d_jump_cm2_per_s=d_jump,
    )
    if d_cm2_per_s is not None and d_jump > 0:
        doc.correlation_factor = d_cm2_per_s / d_jump
    if len(lengths) < 10 * n**0.5:
        doc.warnings.append(f"only {len(lengths)} jumps of {element} were seen")
    return doc


def _cores(sites: Floats, cell: Floats) -> Floats:
    """Return the radius of the core of each site, angstrom."""
    apart = sites[:, None] - sites[None]
    apart -= np.rint(apart)
    distance = np.linalg.norm(apart @ cell, axis=2)
    np.fill_diagonal(distance, np.inf)
    cores: Floats = np.minimum(_CORE_SHARE * distance.min(axis=1), _LARGEST_CORE_ANGSTROM)
    return cores


def _visits(path: Floats, sites: Floats, cores: Floats, cell: Floats) -> list[int]:
    """Return the sites one atom dwells on, in order, each named once while it stays."""
    apart = path[:, None] - sites[None]
    apart -= np.rint(apart)
    distance = np.linalg.norm(apart @ cell, axis=2)
    nearest = distance.argmin(axis=1)
    inside = distance[np.arange(len(path)), nearest] < cores[nearest]
    visited = nearest[inside]
    if not len(visited):
        return []
    changes = np.concatenate([[True], visited[1:] != visited[:-1]])
    return [int(site) for site in visited[changes]]
