"""Mean squared displacement and the diffusion coefficient, with errors and a check that the motion is diffusive.

Windowed mean squared displacements come from Fourier transforms (V. Calandrini et al., Collection SFN 12, 201 (2011),
doi:10.1051/sfn/201112010). D is the slope over six (Einstein) in the later part of short lags; see
X. He, Y. Zhu, A. Epstein and Y. Mo, npj Comput. Mater. 4, 18 (2018), doi:10.1038/s41524-018-0074-y, on how few hops a
run of first-principles dynamics holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from anodeflow.analysis.pair_distances import Chunk, Floats, Frame, chunks
from anodeflow.documents import Document
from anodeflow.errors import InputError
from anodeflow.units import A2_PER_FS_TO_CM2_PER_S

_MIN_FRAMES = 20
_TIME_BLOCKS = 4
_RESAMPLES = 400
# The window of the fit, as shares of the run: at longer lags too few independent windows are left.
FIT_START, FIT_END = 0.05, 0.25
_FIT_POINTS = 100
_KEPT_POINTS = 500
_SLOPE_TOLERANCE = 0.15
# A displacement below this is vibration, whatever its slope, angstrom squared.
_MIN_MSD_ANGSTROM2 = 1.0

_DriftReference = Literal["framework", "all", "none"]


class DiffusionDoc(Document):
    """Mean squared displacement and self-diffusion coefficient of one element."""

    doc_type: Literal["DiffusionDoc"] = "DiffusionDoc"
    element: str
    atoms: int
    frames: int
    timestep_fs: float = Field(description="between frames")
    drift_reference: _DriftReference = Field(
        description="whose mass-weighted mean displacement is taken off: all other elements, all atoms, or nothing"
    )
    drift_angstrom: float = Field(description="how far that reference moved over the run")
    lag_fs: list[float] = Field(description="up to half the run, thinned out for long runs")
    msd_angstrom2: list[float] = Field(description="mean over atoms and time origins")
    msd_se_angstrom2: list[float] | None = Field(None, description="standard error over atoms; None: one atom")
    fit_fs: tuple[float, float] = Field(description="lags the line is fitted to")
    loglog_slope: float = Field(description="d ln MSD / d ln t in the window: 1 diffusive, 0 bound, 2 ballistic")
    loglog_slope_se: float | None = None
    diffusive: bool = Field(description="the slope is near 1 and atoms moved farther than they vibrate")
    d_cm2_per_s: float = Field(description="slope / 6; no diffusion coefficient unless `diffusive`")
    d_se_cm2_per_s: float | None = Field(None, description="the larger of the two below")
    d_se_atoms_cm2_per_s: float | None = Field(None, description="by bootstrap over atoms")
    d_se_blocks_cm2_per_s: float | None = Field(None, description="from disjoint quarters of the run")
    offset_angstrom2: float = Field(description="of the line at lag zero: vibration")
    warnings: list[str] = Field(default_factory=list)


class Displacements:
    """Follows atoms through the faces of the cell, chunk by chunk.

    Holds the displacements of the atoms of some elements: 24 bytes for each of them and each frame. In a cell that
    changes, steps of the fractional coordinates are taken in the cell of their frame, so that the change of the cell
    is not a displacement.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    elements
        Elements whose displacements are kept.
    drift_reference
        ``framework``: all atoms of other elements than the one looked at (all atoms if there are none); ``all``;
        ``none``.

    Raises
    ------
    InputError
        If an element is not there.
    """

    def __init__(
        self, species: Sequence[str], elements: Sequence[str], drift_reference: _DriftReference = "framework"
    ) -> None:
        from ase.data import atomic_masses, atomic_numbers

        self.species = np.asarray(species, dtype=str)
        present = list(dict.fromkeys(self.species.tolist()))
        for element in elements:
            if element not in present:
                raise InputError(
                    f"there is no {element} in the trajectory to follow", f"its elements: {', '.join(present)}"
                )
        self.elements = list(dict.fromkeys(elements))
        self.drift_reference = drift_reference
        masses = np.array([atomic_masses[atomic_numbers.get(s, 0)] for s in self.species])
        self._weights = {element: self._reference_weights(element, masses) for element in self.elements}
        self._moved = np.zeros((len(self.species), 3))
        self._last: Floats | None = None
        self._first: Floats = np.zeros((0, 3))
        self._parts: dict[str, list[Floats]] = {element: [] for element in self.elements}
        self._drift: dict[str, Floats] = {element: np.zeros(3) for element in self.elements}
        self.frames = 0
        self.largest_step = 0.0

    def _reference_weights(self, element: str, masses: Floats) -> Floats | None:
        if self.drift_reference == "none":
            return None
        chosen = np.ones(len(masses), dtype=bool)
        if self.drift_reference == "framework" and (self.species != element).any():
            chosen = self.species != element
        result: Floats | None = np.where(chosen, masses, 0.0) / masses[chosen].sum()
        return result

    def add(self, chunk: Chunk) -> None:
        """Follow the atoms through some frames.

        Raises
        ------
        InputError
            If an atom moves by half the cell between two frames: its image cannot be known.
        """
        fractional = chunk.positions @ chunk.inverses
        if self._last is None:
            self._first = chunk.positions[0].copy()
        before = fractional[:1] if self._last is None else self._last[None]
        steps = np.diff(np.concatenate([before, fractional]), axis=0)
        steps -= np.rint(steps)
        steps = steps @ chunk.own_cells
        lengths = np.sqrt(np.einsum("fnk,fnk->fn", steps, steps))
        frame, atom = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
        if lengths[frame, atom] >= 0.999 * chunk.half_width:
            raise InputError(
                f"atom {atom + 1} ({self.species[atom]}) moves {lengths[frame, atom]:.2f} angstrom into frame "
                f"{self.frames + int(frame)}, half the height of the cell ({2 * chunk.half_width:.2f} angstrom)",
                "frames are too far apart to follow atoms; use more of them",
            )
        self.largest_step = max(self.largest_step, float(lengths.max()) / (2 * chunk.half_width))
        moved = self._moved + np.cumsum(steps, axis=0)
        for element in self.elements:
            weights = self._weights[element]
            part = moved[:, self.species == element]
            if weights is not None:
                drift = np.einsum("n,fnk->fk", weights, moved)
                part = part - drift[:, None]
                self._drift[element] = drift[-1]
            self._parts[element].append(part)
        self._moved, self._last = moved[-1], fractional[-1]
        self.frames += len(chunk)

    def paths(self, element: str) -> Floats:
        """Return displacements from the first frame with the drift taken off, angstrom, shape (n, F, 3)."""
        paths: Floats = np.concatenate(self._parts[element]).transpose(1, 0, 2)
        return paths

    def positions(self, element: str) -> Floats:
        """Return the same as positions: from where the atoms were in the first frame."""
        positions: Floats = self.paths(element) + self._first[self.species == element][:, None]
        return positions

    def document(
        self, element: str, timestep_fs: float, *, fit_fs: tuple[float, float] | None = None, seed: int = 1
    ) -> DiffusionDoc:
        """Return the mean squared displacement and D of an element so far.

        Parameters
        ----------
        element
            One of those that are kept.
        timestep_fs
            Time between two frames.
        fit_fs
            Lags of the fit; by default from 5 % to 25 % of the run.
        seed
            Of the bootstrap.

        Returns
        -------
        DiffusionDoc
            As :func:`diffusion` returns it.

        Raises
        ------
        InputError
            If there are too few frames, or the window of the fit is not inside half the run.
        """
        if self.frames < _MIN_FRAMES:
            raise InputError(
                f"{self.frames} frames are too few for a mean squared displacement", f"give at least {_MIN_FRAMES}"
            )
        if not timestep_fs > 0:
            raise InputError(f"the time between frames is {timestep_fs:g} fs", "give it with --timestep-fs")
        document = diffusion(self.paths(element), timestep_fs, element, fit_fs=fit_fs, seed=seed)
        document.drift_reference = self.drift_reference
        document.drift_angstrom = float(np.linalg.norm(self._drift[element]))
        if self.largest_step > 0.25:
            document.warnings.append(
                f"an atom moved {100 * self.largest_step:.0f} % of the height of the cell between two frames; others "
                "may have been given the wrong image"
            )
        return document


def windowed_msd(paths: Floats) -> Floats:
    """Return the mean squared displacement of each atom over all time origins.

    Parameters
    ----------
    paths
        Unwrapped positions, angstrom, shape (n, F, 3).

    Returns
    -------
    array
        Angstrom squared, shape (n, F); element m belongs to a lag of m frames.
    """
    n, frames, _ = paths.shape
    msd = np.empty((n, frames))
    windows = frames - np.arange(frames)
    length = 1 << int(np.ceil(np.log2(2 * frames)))
    for atom in range(n):
        path = paths[atom] - paths[atom].mean(axis=0)
        spectrum = np.fft.rfft(path, length, axis=0)
        correlation = np.fft.irfft((spectrum.real**2 + spectrum.imag**2).sum(axis=1), length)[:frames]
        squares = (path**2).sum(axis=1)
        running = np.concatenate([[0.0], np.cumsum(squares)])
        both = (running[frames] - running[:frames]) + running[frames - np.arange(frames)]
        msd[atom] = (both - 2 * correlation) / windows
    msd[:, 0] = 0.0
    return np.maximum(msd, 0.0)


# long: a third or more of it is documentation
def diffusion(
    paths: Floats,
    timestep_fs: float,
    element: str = "X",
    *,
    fit_fs: tuple[float, float] | None = None,
    seed: int = 1,
) -> DiffusionDoc:
    """Return the diffusion coefficient from unwrapped paths.

    The line MSD = offset + 6 D t is fitted with weights from the spread over atoms. Its error is the larger of two: by
    resampling atoms, which holds all correlation in time but takes atoms as independent; and from disjoint quarters of
    the run, which holds the correlation between atoms.

    Parameters
    ----------
    paths
        Unwrapped positions with the drift taken off, angstrom, shape (n, F, 3).
    timestep_fs
        Time between two frames.
    element
        Name, for the document.
    fit_fs
        Lags of the fit, fs; by default from 5 % to 25 % of the run.
    seed
        Of the resampling.

    Returns
    -------
    DiffusionDoc
        D with its standard error, the displacements and the fit.

    Raises
    ------
    InputError
        If the window of the fit holds fewer than three lags or is not inside half the run.
    """
    n, frames, _ = paths.shape
    run_fs = (frames - 1) * timestep_fs
    start_fs, end_fs = fit_fs or (FIT_START * run_fs, FIT_END * run_fs)
    first, last = max(1, int(np.ceil(start_fs / timestep_fs - 1e-9))), int(np.floor(end_fs / timestep_fs + 1e-9))
    if last - first < 2 or last > frames // 2:
        raise InputError(
            f"the fit from {start_fs:g} to {end_fs:g} fs has no place in a run of {run_fs:g} fs",
            "choose a window with at least three lags, below half the run",
        )
    lags = np.unique(np.linspace(first, last, min(_FIT_POINTS, last - first + 1)).round().astype(int))
    msd = windowed_msd(paths)
    t, atoms = lags * timestep_fs, msd[:, lags]
    mean = msd.mean(axis=0)
    spread = atoms.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(lags))
    weights = 1 / spread**2 if n > 1 and (spread > 0).all() else np.ones(len(lags))
    offset, slope = _weighted_line(t, atoms.mean(axis=0)[None], weights)[0]
    positive = np.maximum(mean[lags], 1e-300)
    power = float(np.polyfit(np.log(t), np.log(positive), 1)[0])
    warnings: list[str] = []
    d_atoms = d_blocks = power_se = None
    if n > 1:
        picks = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n
        resampled = picks @ atoms
        d_atoms = float(_weighted_line(t, resampled, weights)[:, 1].std(ddof=1)) / 6 * A2_PER_FS_TO_CM2_PER_S
        logs = np.log(np.maximum(resampled, 1e-300))
        power_se = float(np.polyfit(np.log(t), logs.T, 1)[0].std(ddof=1))
    quarter = frames // _TIME_BLOCKS
    inside = lags[lags <= quarter // 2]
    if len(inside) >= 3:
        slopes = []
        for block in range(_TIME_BLOCKS):
            part = windowed_msd(paths[:, block * quarter : (block + 1) * quarter])[:, inside].mean(axis=0)
            slopes.append(_weighted_line(inside * timestep_fs, part[None], weights[: len(inside)])[0, 1])
        d_blocks = float(np.std(slopes, ddof=1) / np.sqrt(_TIME_BLOCKS)) / 6 * A2_PER_FS_TO_CM2_PER_S
    d, errors = float(slope) / 6 * A2_PER_FS_TO_CM2_PER_S, [e for e in (d_atoms, d_blocks) if e is not None]
    se = max(errors) if errors else None
    tolerance = max(_SLOPE_TOLERANCE, 2 * power_se if power_se is not None else 0.0)
    moved = float(mean[last])
    diffusive = abs(power - 1) <= tolerance and power > 0.5 and moved >= _MIN_MSD_ANGSTROM2
    if not diffusive:
        warnings.append(
            f"{element} is not diffusive between {t[0]:g} and {t[-1]:g} fs: d ln MSD / d ln t = {power:.2f}, MSD at "
            f"the end {moved:.2g} angstrom^2; D is not a diffusion coefficient, run longer"
        )
    if se is not None and (d <= 0 or se > 0.5 * d):
        warnings.append(f"D of {element} is uncertain by more than half of itself")
    kept = np.unique(np.linspace(0, frames // 2, min(_KEPT_POINTS, frames // 2 + 1)).round().astype(int))
    return DiffusionDoc(
        element=element,
        atoms=n,
        frames=frames,
        timestep_fs=timestep_fs,
        drift_reference="none",
        drift_angstrom=0.0,
        lag_fs=(kept * timestep_fs).tolist(),
        msd_angstrom2=mean[kept].tolist(),
        msd_se_angstrom2=(msd[:, kept].std(axis=0, ddof=1) / np.sqrt(n)).tolist() if n > 1 else None,
        fit_fs=(float(t[0]), float(t[-1])),
        loglog_slope=power,
        loglog_slope_se=power_se,
        diffusive=bool(diffusive),
        d_cm2_per_s=d,
        d_se_cm2_per_s=se,
        d_se_atoms_cm2_per_s=d_atoms,
        d_se_blocks_cm2_per_s=d_blocks,
        offset_angstrom2=float(offset),
        warnings=warnings,
    )


def _weighted_line(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return the intercept and slope of weighted lines through rows of ``y``: shape (rows, 2)."""
    w = weights / weights.sum()
    mean = float(w @ x)
    dx = x - mean
    slope = (y * (w * dx)).sum(axis=1) / float(w @ dx**2)
    return np.stack([y @ w - slope * mean, slope], axis=1)


def mean_squared_displacement(
    frames: Iterable[Frame],
    species: Sequence[str],
    element: str,
    timestep_fs: float,
    *,
    drift_reference: _DriftReference = "framework",
    fit_fs: tuple[float, float] | None = None,
) -> DiffusionDoc:
    """Return the mean squared displacement and D of an element.

    Parameters
    ----------
    frames
        Positions (N, 3), wrapped or not, and cell (3, 3), angstrom, of each frame; read once.
    species, element, drift_reference
        See :class:`Displacements`.
    timestep_fs, fit_fs
        See :meth:`Displacements.document`.

    Returns
    -------
    DiffusionDoc
        As :func:`diffusion` returns it.

    Raises
    ------
    InputError
        If the element or the cell is missing, frames are too few or too far apart.
    """
    displacements = Displacements(species, [element], drift_reference)
    for chunk in chunks(frames, len(species)):
        displacements.add(chunk)
    return displacements.document(element, timestep_fs, fit_fs=fit_fs)
