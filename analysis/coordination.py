"""Coordination numbers of single atoms against time, and how many tetrahedra stay intact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from anodeflow.analysis.pair_distances import Chunk, Frame, check_reach, chunks, squared_distances
from anodeflow.analysis.rdf import PairHistogram, atoms_of, pair_elements
from anodeflow.documents import Document
from anodeflow.errors import InputError

# Frames at the beginning whose distribution function gives the cutoff.
_REFERENCE_FRAMES = 200
_REFERENCE_REACH_ANGSTROM = 5.0
_REFERENCE_BIN_ANGSTROM = 0.02
# Longer than the period of a P-S stretch (about 60 fs), shorter than anything chemical.
_PERSISTENCE_FS = 100.0
_PERSISTENCE_FRAMES = 20
_SENSITIVITY_ANGSTROM = 0.1
# Share of the run, at its end, over which last values are averaged.
_LAST_PART = 0.1


class IntactTetrahedraDoc(Document):
    """How many centres have exactly the wanted number of neighbours, against time."""

    doc_type: Literal["IntactTetrahedraDoc"] = "IntactTetrahedraDoc"
    pair: str = Field(description="centre-neighbour, e.g. P-S")
    wanted: int = Field(description="neighbours of an intact centre")
    centres: int
    frames: int
    cutoff_angstrom: float
    cutoff_source: str = Field(description="where the cutoff comes from, as text")
    cutoff_gap_angstrom: tuple[float, float] | None = Field(
        None, description="any cutoff in it gives the same counts in the frames the cutoff was taken from"
    )
    times_fs: list[float] | None = Field(None, description="of each frame; None: the file does not say")
    intact_fraction: list[float] = Field(description="of each frame: centres with exactly the wanted number")
    persistent_fraction: list[float] = Field(
        description="the same after leaving out what lasts less than the persistence time: a centre changes between "
        "intact and not intact only when it then stays so at least that long, and at the first frame of it"
    )
    persistence_frames: int
    persistence_fs: float | None = None
    mean_coordination: list[float] = Field(description="of each frame, over all centres")
    distribution: dict[int, float] = Field(description="coordination number: share of centres, over all frames")
    last_distribution: dict[int, float] = Field(description="the same over the last tenth of the run")
    first_intact_fraction: float = Field(description="in the first frame")
    last_intact_fraction: float = Field(description="mean over the last tenth of the run")
    last_persistent_fraction: float = Field(description="mean over the last tenth of the run")
    last_by_cutoff: dict[str, float] = Field(
        description="last_intact_fraction with cutoffs halfway to the ends of the gap, or 0.1 angstrom off"
    )
    broken_at: list[float | None] = Field(
        description="of each centre: start of the last persistent state that is not intact, fs (frames if there are no "
        "times); None: intact at the end"
    )
    warnings: list[str] = Field(default_factory=list)


class CoordinationSeries:
    """Counts the neighbours of every centre in every frame, chunk by chunk.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    pair
        ``P-S``: S around P.
    wanted
        Number of neighbours of an intact centre.
    cutoff
        Distance of a neighbour, angstrom; None: the first minimum of g(r) of the first 200 frames.

    Raises
    ------
    InputError
        If an element is not there, or the cutoff is out of bounds.
    """

    def __init__(self, species: Sequence[str], pair: str = "P-S", wanted: int = 4, cutoff: float | None = None) -> None:
        self.pair, self.wanted, self.cutoff = pair, wanted, cutoff
        self.centre, self.neighbour = pair_elements(pair, species)
        self.centres, self.neighbours = atoms_of(self.centre, species), atoms_of(self.neighbour, species)
        if wanted < 1:
            raise InputError(f"{pair}: {wanted} neighbours wanted", "give at least one, e.g. P-S:4")
        if cutoff is not None:
            check_reach(cutoff, len(self.centres), len(self.neighbours), 10.0 * len(species))
        self.source = "given"
        self.gap: tuple[float, float] | None = None
        self._reference: PairHistogram | None = None
        if cutoff is None:
            bins = round(_REFERENCE_REACH_ANGSTROM / _REFERENCE_BIN_ANGSTROM)
            self._reference = PairHistogram(species, pair, _REFERENCE_REACH_ANGSTROM, bins)
        self._held: list[Chunk] = []
        self._counts: list[NDArray[np.int16]] = []

    def add(self, chunk: Chunk) -> None:
        """Count the neighbours in some frames."""
        if self.cutoff is not None:
            self._counts.append(self._count(chunk))
            return
        assert self._reference is not None  # noqa: S101 - there is one as long as there is no cutoff
        self._reference.add(chunk)
        self._held.append(chunk)
        if self._reference.frames >= _REFERENCE_FRAMES:
            self._settle()

    def _settle(self) -> None:
        """Take the cutoff from the frames so far, and count them."""
        if self._reference is None or self.cutoff is not None:
            return
        if not self._held:
            raise InputError("no frame to count neighbours in", "look at --frames and at the file")
        document = self._reference.document()
        if document.first_minimum_angstrom is None:
            raise InputError(
                f"g(r) of {self.pair} has no first minimum below {_REFERENCE_REACH_ANGSTROM:g} angstrom in the first "
                f"{document.frames} frames",
                f"give the cutoff yourself, e.g. {self.pair}:{self.wanted}:2.6",
            )
        self.cutoff, self.gap = document.first_minimum_angstrom, document.gap_angstrom
        boundary = "middle of the empty gap after the first peak" if self.gap else "first minimum"
        self.source = f"{boundary} of g(r) in the first {document.frames} frames"
        for chunk in self._held:
            self._counts.append(self._count(chunk))
        self._held.clear()

    def _count(self, chunk: Chunk) -> NDArray[np.int16]:
        """Return neighbours within three cutoffs, shape (3, centres, F)."""
        counts = np.zeros((3, len(self.centres), len(chunk)), dtype=np.int16)
        limits = self._cutoffs()
        for row, squared in squared_distances(chunk, self.centres, self.neighbours, max(limits)):
            for k, limit in enumerate(limits):
                counts[k, row] += (squared < limit**2).sum(axis=0, dtype=np.int16)
        return counts - (1 if self.centre == self.neighbour else 0)

    def _cutoffs(self) -> tuple[float, float, float]:
        assert self.cutoff is not None  # noqa: S101 - set before anything is counted
        step = (self.gap[1] - self.gap[0]) / 4 if self.gap else _SENSITIVITY_ANGSTROM
        return self.cutoff - step, self.cutoff, self.cutoff + step

    def counts(self) -> NDArray[np.int16]:
        """Return neighbours of each centre in each frame, shape (centres, F).

        Raises
        ------
        InputError
            If no frame was given, or there is no minimum to take the cutoff from.
        """
        self._settle()
        if not self._counts:
            raise InputError("no frame to count neighbours in", "look at --frames and at the file")
        return np.concatenate([counts[1] for counts in self._counts], axis=1)

    def document(
        self, times_fs: Sequence[float] | None = None, *, persistence_fs: float = _PERSISTENCE_FS
    ) -> IntactTetrahedraDoc:
        """Return the series so far.

        Parameters
        ----------
        times_fs
            Time of each frame, evenly spaced; None: not known, then 20 frames are the persistence.
        persistence_fs
            How long a new state must last to count as persistent.

        Raises
        ------
        InputError
            As `counts`.
        """
        counts = self.counts()
        frames = counts.shape[1]
        if times_fs is not None and len(times_fs) != frames:
            raise InputError(f"{len(times_fs)} times for {frames} frames", "give one time for each frame")
        window = _PERSISTENCE_FRAMES
        if times_fs is not None and frames > 1:
            window = max(1, int(np.ceil(persistence_fs / ((times_fs[-1] - times_fs[0]) / (frames - 1)) - 1e-9)))
        intact = counts == self.wanted
        lasting = persistent(intact, window)
        last = slice(frames - max(1, round(_LAST_PART * frames)), None)
        cutoffs = [f"{cutoff:.3f}" for cutoff in self._cutoffs()]
        by_cutoff = [np.concatenate([c[k] for c in self._counts], axis=1)[:, last] == self.wanted for k in range(3)]
        warnings = []
        if window > frames:
            warnings.append(f"the run is shorter than the persistence of {window} frames: persistent_fraction is empty")
        if abs(by_cutoff[0].mean() - by_cutoff[2].mean()) > 0.1:
            warnings.append("the intact fraction at the end depends on the cutoff; see last_by_cutoff")
        return IntactTetrahedraDoc(
            pair=self.pair,
            wanted=self.wanted,
            centres=len(self.centres),
            frames=frames,
            cutoff_angstrom=float(self._cutoffs()[1]),
            cutoff_source=self.source,
            cutoff_gap_angstrom=self.gap,
            times_fs=None if times_fs is None else [float(t) for t in times_fs],
            intact_fraction=intact.mean(axis=0).tolist(),
            persistent_fraction=lasting.mean(axis=0).tolist() if window <= frames else [],
            persistence_frames=window,
            persistence_fs=persistence_fs if times_fs is not None else None,
            mean_coordination=counts.mean(axis=0).tolist(),
            distribution=_distribution(counts),
            last_distribution=_distribution(counts[:, last]),
            first_intact_fraction=float(intact[:, 0].mean()),
            last_intact_fraction=float(intact[:, last].mean()),
            last_persistent_fraction=float(lasting[:, last].mean()),
            last_by_cutoff=dict(zip(cutoffs, [float(b.mean()) for b in by_cutoff], strict=True)),
            broken_at=[_broken_at(state, times_fs) for state in lasting],
            warnings=warnings,
        )


def persistent(states: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """Leave out of a series of states what lasts fewer than ``window`` frames.

    A run of equal states shorter than ``window`` takes the state before it. At the beginning it takes the first state
    that lasts; if none does, the commoner one.

    Parameters
    ----------
    states
        Shape (..., F).
    window
        Frames.
    """
    smooth = np.empty_like(states)
    for index in np.ndindex(states.shape[:-1]):
        series = states[index]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])
        lengths = np.diff(np.concatenate([starts, [len(series)]]))
        lasting = np.flatnonzero(lengths >= window)
        if not len(lasting):
            smooth[index] = series.mean() >= 0.5
            continue
        smooth[index] = series[starts[lasting[0]]]
        for run in lasting:
            smooth[index][starts[run] :] = series[starts[run]]
    return smooth


def _distribution(counts: NDArray[np.int16]) -> dict[int, float]:
    numbers, times = np.unique(counts, return_counts=True)
    return {int(n): float(t) / counts.size for n, t in zip(numbers, times, strict=True)}


def _broken_at(state: NDArray[np.bool_], times_fs: Sequence[float] | None) -> float | None:
    if state[-1]:
        return None
    whole = np.flatnonzero(state)
    frame = int(whole[-1]) + 1 if len(whole) else 0
    return float(frame if times_fs is None else times_fs[frame])


def intact_tetrahedra(
    frames: Iterable[Frame],
    species: Sequence[str],
    pair: str = "P-S",
    *,
    wanted: int = 4,
    cutoff: float | None = None,
    times_fs: Sequence[float] | None = None,
    persistence_fs: float = _PERSISTENCE_FS,
) -> IntactTetrahedraDoc:
    """Return the fraction of intact tetrahedra against time.

    Parameters
    ----------
    frames
        Positions (N, 3) and cell (3, 3), angstrom, of each frame; read once.
    species, pair, wanted, cutoff
        See :class:`CoordinationSeries`.
    times_fs, persistence_fs
        See :meth:`CoordinationSeries.document`.

    Returns
    -------
    IntactTetrahedraDoc
        The share in each frame.

    Raises
    ------
    InputError
        If an element or the cell is missing, or no cutoff can be found.
    """
    series = CoordinationSeries(species, pair, wanted, cutoff)
    for chunk in chunks(frames, len(species)):
        series.add(chunk)
    return series.document(times_fs, persistence_fs=persistence_fs)
