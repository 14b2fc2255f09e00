"""The interphase between a metal and an electrolyte: how much of each phase there is, where, and how fast it grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from anodeflow.analysis.environments import LI_AL, PHASES, PRODUCTS, PS4, Environments
from anodeflow.analysis.pair_distances import Chunk, Frame, chunks
from anodeflow.analysis.profiles import AXES
from anodeflow.analysis.rate_laws import RateLawDoc, rate_law
from anodeflow.documents import Document
from anodeflow.errors import AnodeflowError, InputError

Floats = NDArray[np.float64]
_SLICE_ANGSTROM = 1.0
_WINDOWS = 5
#: Slices on both sides that share the atoms of a slice, so that planes of a crystal do not make stripes.
_SMOOTHED = 1
#: Where nothing is left to react a layer stops growing, whatever its rate law.
_USED_UP = 0.8
_PRODUCT_NUMBERS = [PHASES.index(name) for name in PRODUCTS]


class PlaneCrossingDoc(Document):
    """Li that went through a plane into the electrolyte."""

    position: float = Field(description="fractional coordinate of the plane along the axis")
    net_li: list[int] = Field(description="of each frame: Li that crossed towards the electrolyte since the first")


class InterphaseDoc(Document):
    """What the atoms of an interface are like, against time and along its normal."""

    axis: str
    frames: int
    times_ps: list[float] | None = Field(None, description="of each frame; None: not known")
    atoms: dict[str, list[int]] = Field(description="phase: atoms that are like it, of each frame")
    first: dict[str, int] = Field(description="the same by phase, first frame")
    last: dict[str, float] = Field(description="the same, mean over the last tenth")
    thickness_angstrom: list[float] = Field(
        description="of each frame, all contacts of the cell together: share of products, integrated along the axis"
    )
    thickness_by_phase_angstrom: dict[str, float] = Field(description="of each product, mean over the last tenth")
    slice_angstrom: float
    z_angstrom: list[float] = Field(description="middle of each slice, along the normal")
    windows: list[tuple[int, int]] = Field(description="first frame and the one after the last of each window")
    layers: dict[str, list[list[float]]] = Field(description="phase: mean number of atoms, by window and slice")
    area_angstrom2: float = Field(description="of one contact, first frame")
    planes: list[PlaneCrossingDoc] = Field(default_factory=list, description="at the first frame's contacts")
    growth: RateLawDoc | None = Field(None, description="of the thickness; None: too few frames, or no times")
    growth_until_ps: float | None = Field(
        None,
        description="end of the fit, from the first frame: there most of the electrolyte is used up; None: fit of all",
    )
    warnings: list[str] = Field(default_factory=list)

    @property
    def phases(self) -> list[str]:
        """Phases that there are, in the order from metal to electrolyte."""
        return [name for name in PHASES if any(self.atoms.get(name, []))]


class InterphaseSeries:
    """Labels the atoms of every frame, chunk by chunk.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    axis
        Normal of the interface: ``a``, ``b`` or ``c``.
    every
        Only each such frame is labelled.
    ps_angstrom
        P-S bond, where it is known.

    Raises
    ------
    InputError
        If there is no such axis.
    """

    def __init__(
        self, species: Sequence[str], axis: str = "c", every: int = 1, ps_angstrom: float | None = None
    ) -> None:
        if axis not in AXES:
            raise InputError(f"unknown axis '{axis}'", "use a, b or c")
        self.axis, self.every = AXES[axis], every
        self.species = np.asarray(species, dtype=str)
        self._environments = Environments(self.species.tolist(), ps_angstrom)
        self._labels: list[NDArray[np.int8]] = []
        self._slices: list[NDArray[np.intp]] = []
        self._heights: list[float] = []
        self._chosen: list[int] = []
        self._seen, self._bins, self._area = 0, 0, 0.0
        self._followed: NDArray[np.float64] | None = None
        self._before: NDArray[np.float64] | None = None
        self._crossed: list[list[int]] = []
        self._planes: list[tuple[float, int]] = []

    def add(self, chunk: Chunk) -> None:
        """Label the atoms of some frames."""
        inverses = np.broadcast_to(chunk.inverses, (len(chunk), 3, 3))
        widths = np.broadcast_to(chunk.widths, (len(chunk), 3))[:, self.axis]
        along = np.einsum("fnk,fk->fn", chunk.positions, inverses[..., self.axis])
        for k in range(len(chunk)):
            if not self._bins:
                self._bins = max(8, round(widths[0] / _SLICE_ANGSTROM))
                self._area = float(chunk.volumes[0] / widths[0])
            self._follow(along[k])
            if self._seen % self.every == 0:
                self._labels.append(self._environments.labels(chunk.positions[k], chunk.cells[k]))
                folded = along[k] - np.floor(along[k])
                self._slices.append(np.minimum((folded * self._bins).astype(np.intp), self._bins - 1))
                self._heights.append(float(widths[k]))
                self._chosen.append(self._seen)
                if len(self._labels) == 1:
                    self._planes = _contacts(folded, self._labels[0], self.species)
                self._crossed.append([self._crossings(*plane) for plane in self._planes])
            self._seen += 1

    def _follow(self, along: Floats) -> None:
        """Follow Li along the axis through the faces of the cell."""
        lithium = along[self.species == "Li"]
        if self._before is None or self._followed is None:
            self._followed = lithium - np.floor(lithium)
            self._start = self._followed.copy()
        else:
            step = lithium - self._before
            self._followed = self._followed + step - np.rint(step)
        self._before = lithium

    def _crossings(self, position: float, towards: int) -> int:
        """Return net Li through a plane and its images since the first frame."""
        if self._followed is None:
            return 0
        crossed = np.floor(self._followed - position) - np.floor(self._start - position)
        return int(towards * crossed.sum())

    def document(self, times_fs: Sequence[float] | None = None) -> InterphaseDoc:
        """Return the series so far.

        Parameters
        ----------
        times_fs
            Of every frame that was given; None: not known.

        Raises
        ------
        InputError
            If no frame was given.
        """
        if not self._labels:
            raise InputError("no frame to label atoms in", "look at --frames and at the file")
        labels, slices = np.array(self._labels), np.array(self._slices)
        frames = len(labels)
        counts = np.stack([(labels == phase).sum(axis=1) for phase in range(len(PHASES))])
        layers = np.stack([self._layers(labels[k], slices[k]) for k in range(frames)])
        heights = np.array(self._heights) / self._bins
        by_phase = _shares(layers) * heights[:, None, None]
        thickness = by_phase[:, _PRODUCT_NUMBERS].sum(axis=(1, 2))
        tail = slice(frames - max(1, round(0.1 * frames)), None)
        bounds = np.unique(np.linspace(0, frames, min(_WINDOWS, frames) + 1).round().astype(int))
        windows = [(int(a), int(b)) for a, b in pairwise(bounds)]
        times = None if times_fs is None else [times_fs[k] / 1000 for k in self._chosen]
        document = InterphaseDoc(
            axis="abc"[self.axis],
            frames=frames,
            times_ps=times,
            atoms={name: counts[k].tolist() for k, name in enumerate(PHASES)},
            first={name: int(counts[k, 0]) for k, name in enumerate(PHASES)},
            last={name: float(counts[k, tail].mean()) for k, name in enumerate(PHASES)},
            thickness_angstrom=thickness.tolist(),
            thickness_by_phase_angstrom={
                PHASES[k]: float(by_phase[tail, k].sum(axis=1).mean()) for k in _PRODUCT_NUMBERS
            },
            slice_angstrom=float(heights[0]),
            z_angstrom=((np.arange(self._bins) + 0.5) * heights[0]).tolist(),
            windows=windows,
            layers={
                name: [layers[a:b, k].mean(axis=0).tolist() for a, b in windows]
                for k, name in enumerate(PHASES)
                if counts[k].any()
            },
            area_angstrom2=self._area,
            planes=[
                PlaneCrossingDoc(position=position, net_li=[crossed[n] for crossed in self._crossed])
                for n, (position, _) in enumerate(self._planes)
            ],
        )
        if not self._planes:
            document.warnings.append("the first frame has no metal beside an electrolyte: no plane to count Li through")
        if times is not None:
            until = _used_up(counts[PS4])
            try:
                document.growth = rate_law(np.array(times)[:until], thickness[:until])
            except AnodeflowError as error:
                document.warnings.append(f"no rate law: {error}")
            if until < frames:
                document.growth_until_ps = times[until - 1] - times[0]
                document.warnings.append(
                    f"at {document.growth_until_ps:.3g} ps {100 * _USED_UP:.0f} % of the electrolyte is used up: the "
                    "rate law is that of the time before; a thicker one would tell more"
                )
        return document

    def _layers(self, labels: NDArray[np.int8], slices: NDArray[np.intp]) -> Floats:
        counts = np.bincount(labels.astype(np.intp) * self._bins + slices, minlength=len(PHASES) * self._bins)
        return np.asarray(counts, dtype=float).reshape(len(PHASES), self._bins)


def _used_up(electrolyte: NDArray[np.intp]) -> int:
    """Return the number of frames before too little of the electrolyte is left to grow into, at least one."""
    little = np.flatnonzero(electrolyte < (1 - _USED_UP) * electrolyte[0])
    return max(1, int(little[0])) if len(little) else len(electrolyte)


def _shares(layers: Floats) -> Floats:
    """Return the share of each phase in each slice with its neighbours, shape (F, phases, slices)."""
    smooth = sum(np.roll(layers, shift, axis=2) for shift in range(-_SMOOTHED, _SMOOTHED + 1))
    total = np.asarray(smooth).sum(axis=1, keepdims=True)
    shares: Floats = np.divide(smooth, total, out=np.zeros_like(layers), where=total > 0)
    return shares


def _contacts(along: Floats, labels: NDArray[np.int8], species: NDArray[np.str_]) -> list[tuple[float, int]]:
    """Return the planes between the electrode and what holds S, P or Cl: position and the sign towards the latter.

    The side of the anions is all of the cell but the widest gap between two of them.
    """
    anions = np.sort(along[np.isin(species, ["S", "P", "Cl"])])
    metal = along[labels <= LI_AL]
    if len(anions) < 2 or not len(metal):
        return []
    gaps = np.diff(np.concatenate([anions, anions[:1] + 1]))
    widest = int(np.argmax(gaps))
    last = anions[widest]
    inside = (metal - last) % 1.0
    inside = inside[inside < gaps[widest]]
    if not len(inside):
        return []
    upper = (last + inside.min() / 2) % 1.0
    lower = (last + (inside.max() + gaps[widest]) / 2) % 1.0
    # beyond the last anion lies the metal, so a step up through that plane leaves the electrolyte
    return [(float(upper), -1), (float(lower), 1)]


def interphase(
    frames: Iterable[Frame],
    species: Sequence[str],
    *,
    axis: str = "c",
    times_fs: Sequence[float] | None = None,
    every: int = 1,
    ps_angstrom: float | None = None,
) -> InterphaseDoc:
    """Return what the atoms of an interface are like, against time and along its normal.

    Parameters
    ----------
    frames
        Positions (N, 3) and cell (3, 3), angstrom, of each frame; read once.
    species, axis, every, ps_angstrom
        See :class:`InterphaseSeries`.
    times_fs
        Of every frame; None: not known.

    Returns
    -------
    InterphaseDoc
        Amounts, layers, thickness and its growth.

    Raises
    ------
    InputError
        If there is no frame, or no such axis.
    """
    series = InterphaseSeries(species, axis, every, ps_angstrom)
    for chunk in chunks(frames, len(species)):
        series.add(chunk)
    return series.document(times_fs)
