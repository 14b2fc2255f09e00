"""Transport of one element beyond its diffusion coefficient: by axis, all together, van Hove, jumps between sites.

The collective displacement of all N atoms gives D_sigma = <|sum_i dr_i|^2> / (6 N t), from which the conductivity
follows without a model; the Haven ratio is D / D_sigma (G. E. Murch, Solid State Ionics 7, 177 (1982),
doi:10.1016/0167-2738(82)90050-9). It has one path, so its error is that of disjoint quarters of the run.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from anodeflow.analysis.arrhenius import nernst_einstein_s_per_cm
from anodeflow.analysis.diffusion import DiffusionDoc, Displacements, windowed_msd
from anodeflow.analysis.site_jumps import JumpsDoc, site_jumps
from anodeflow.documents import Document
from anodeflow.errors import InputError
from anodeflow.units import A2_PER_FS_TO_CM2_PER_S

Floats = NDArray[np.float64]

_BLOCKS = 4
_VAN_HOVE_REACH_ANGSTROM, _VAN_HOVE_BIN_ANGSTROM = 8.0, 0.1
_MOST_ORIGINS = 400


class VanHoveDoc(Document):
    """Self part of the van Hove function, as the distribution of distances: its integral over r is 1."""

    lags_fs: list[float]
    r_angstrom: list[float] = Field(description="middle of each bin")
    density_per_angstrom: list[list[float]] = Field(description="4 pi r^2 G_s(r, t), by lag")


class TransportDoc(Document):
    """Transport of one element in one run."""

    element: str
    atoms: int
    temperature_k: float
    volume_angstrom3: float
    fit_fs: tuple[float, float] = Field(description="lags that lines are fitted to")
    d_by_axis_cm2_per_s: tuple[float, float, float] = Field(description="along x, y and z; their mean is D")
    d_cm2_per_s: float = Field(description="of single atoms")
    d_collective_cm2_per_s: float | None = Field(None, description="of all together; None: nothing to move against")
    d_collective_se_cm2_per_s: float | None = None
    haven_ratio: float | None = Field(None, description="D / D_sigma; None where the latter is uncertain by its half")
    nernst_einstein_s_per_cm: float = Field(description="conductivity of independent atoms of charge e")
    conductivity_s_per_cm: float | None = Field(None, description="by collective displacement")
    conductivity_se_s_per_cm: float | None = None
    van_hove: VanHoveDoc | None = None
    jumps: JumpsDoc | None = None
    warnings: list[str] = Field(default_factory=list)


def transport(
    paths: Floats,
    timestep_fs: float,
    *,
    element: str,
    temperature_k: float,
    volume_angstrom3: float,
    fit_fs: tuple[float, float],
    framework: bool = True,
) -> TransportDoc:
    """Return the transport of one element.

    Parameters
    ----------
    paths
        Unwrapped displacements against the framework, angstrom, shape (n, F, 3).
    timestep_fs
        Between frames.
    element, temperature_k, volume_angstrom3
        Of the run.
    fit_fs
        Lags that lines are fitted to, as for D.
    framework
        Whether there are other atoms that the element moves against; else its atoms together go nowhere.

    Returns
    -------
    TransportDoc
        Without jumps, which need positions.

    Raises
    ------
    InputError
        If the window holds fewer than three lags.
    """
    n, frames, _ = paths.shape
    lags = _lags(fit_fs, timestep_fs, frames)
    by_axis = [_slope(paths[:, :, axis : axis + 1], lags, timestep_fs) / 2 for axis in range(3)]
    d = float(np.mean(by_axis))
    doc = TransportDoc(
        element=element,
        atoms=n,
        temperature_k=temperature_k,
        volume_angstrom3=volume_angstrom3,
        fit_fs=(float(lags[0] * timestep_fs), float(lags[-1] * timestep_fs)),
        d_by_axis_cm2_per_s=(by_axis[0], by_axis[1], by_axis[2]),
        d_cm2_per_s=d,
        nernst_einstein_s_per_cm=nernst_einstein_s_per_cm(d, n, volume_angstrom3, temperature_k),
        van_hove=van_hove(paths, timestep_fs, [int(lags[0]), int(lags[len(lags) // 2]), int(lags[-1])]),
    )
    if framework:
        _collective(doc, paths.sum(axis=0, keepdims=True) / np.sqrt(n), lags, timestep_fs)
    return doc


def followed_transport(
    displacements: Displacements, diffusion: DiffusionDoc, temperature_k: float, cell: Floats, *, jumps: bool = True
) -> TransportDoc:
    """Return the transport of an element whose diffusion was just taken from its displacements.

    Parameters
    ----------
    displacements
        Of the run.
    diffusion
        Of one of its elements: gives the window of the fit.
    temperature_k
        Of the run.
    cell
        Rows are lattice vectors, angstrom.
    jumps
        Whether to count jumps between sites, which needs a cell that stays.

    Raises
    ------
    InputError
        As :func:`transport`.
    """
    element, step_fs = diffusion.element, diffusion.timestep_fs
    doc = transport(
        displacements.paths(element),
        step_fs,
        element=element,
        temperature_k=temperature_k,
        volume_angstrom3=float(abs(np.linalg.det(cell))),
        fit_fs=diffusion.fit_fs,
        framework=bool((displacements.species != element).any()),
    )
    if jumps:
        known = diffusion.d_cm2_per_s if diffusion.diffusive else None
        doc.jumps = site_jumps(displacements.positions(element), cell, step_fs, element=element, d_cm2_per_s=known)
    return doc


def _lags(fit_fs: tuple[float, float], timestep_fs: float, frames: int) -> NDArray[np.intp]:
    first, last = max(1, round(fit_fs[0] / timestep_fs)), min(round(fit_fs[1] / timestep_fs), frames // 2)
    if last - first < 2:
        raise InputError(
            f"lags from {fit_fs[0]:g} to {fit_fs[1]:g} fs hold no line in {frames} frames", "run longer, or sample more"
        )
    return np.unique(np.linspace(first, last, min(100, last - first + 1)).round().astype(np.intp))


def _slope(paths: Floats, lags: NDArray[np.intp], timestep_fs: float) -> float:
    """Return the slope of the mean squared displacement against time, cm^2/s."""
    msd = windowed_msd(paths).mean(axis=0)[lags]
    return float(np.polyfit(lags * timestep_fs, msd, 1)[0]) * A2_PER_FS_TO_CM2_PER_S


def _collective(doc: TransportDoc, path: Floats, lags: NDArray[np.intp], timestep_fs: float) -> None:
    """Add what the sum of all displacements says; its mean square over N is the path's."""
    together = _slope(path, lags, timestep_fs) / 6
    quarter = path.shape[1] // _BLOCKS
    inside = lags[lags <= quarter // 2]
    blocks = [
        _slope(path[:, k * quarter : (k + 1) * quarter], inside, timestep_fs) / 6
        for k in range(_BLOCKS)
        if len(inside) >= 3
    ]
    error = float(np.std(blocks, ddof=1) / np.sqrt(len(blocks))) if blocks else None
    doc.d_collective_cm2_per_s, doc.d_collective_se_cm2_per_s = together, error
    factor = nernst_einstein_s_per_cm(1.0, doc.atoms, doc.volume_angstrom3, doc.temperature_k)
    doc.conductivity_s_per_cm = factor * together
    doc.conductivity_se_s_per_cm = None if error is None else factor * error
    if together > 0 and error is not None and error <= together / 2:
        doc.haven_ratio = doc.d_cm2_per_s / together
    else:
        doc.warnings.append(
            f"the collective displacement of {doc.element} is uncertain by more than half of itself: no Haven ratio"
        )


def van_hove(paths: Floats, timestep_fs: float, lags: list[int]) -> VanHoveDoc:
    """Return how far single atoms are after some lags.

    Parameters
    ----------
    paths
        Unwrapped displacements, angstrom, shape (n, F, 3).
    timestep_fs
        Between frames.
    lags
        In frames.

    Returns
    -------
    VanHoveDoc
        With bins up to 8 angstrom.
    """
    edges = np.arange(0, _VAN_HOVE_REACH_ANGSTROM + _VAN_HOVE_BIN_ANGSTROM / 2, _VAN_HOVE_BIN_ANGSTROM)
    density = []
    for lag in lags:
        origins = np.arange(0, paths.shape[1] - lag, max(1, (paths.shape[1] - lag) // _MOST_ORIGINS))
        moved = np.linalg.norm(paths[:, origins + lag] - paths[:, origins], axis=2)
        counts, _ = np.histogram(moved, edges)
        density.append((counts / moved.size / _VAN_HOVE_BIN_ANGSTROM).tolist())
    return VanHoveDoc(
        lags_fs=[lag * timestep_fs for lag in lags],
        r_angstrom=[(a + b) / 2 for a, b in pairwise(edges.tolist())],
        density_per_angstrom=density,
    )
