"""Partial radial distribution functions, exact at any distance, with running coordination numbers and their errors.

g_AB(r) = < V n_AB(r, r + dr) / (N_A N_B dv) >, where n_AB counts the B atoms, images included, in the shell of volume
dv around all A atoms, and V is the volume of that frame (M. P. Allen and D. J. Tildesley, Computer Simulation of
Liquids, 2nd ed., section 2.6, doi:10.1093/oso/9780198803195.001.0001). For A = B an atom is not a neighbour of itself,
but its images are, and N_A N_B counts all pairs: with that, g goes to one at large r and n(r) needs no correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from anodeflow.analysis.pair_distances import Chunk, Floats, Frame, Integers, check_reach, chunks, squared_distances
from anodeflow.documents import Document
from anodeflow.errors import InputError

# A shell of a perfect crystal at a round distance, up to rounding, falls into the bin that begins there.
EDGE_ANGSTROM = 1e-9
# Width of the Gaussian that hides the noise of single bins from the search for extrema, angstrom.
_SMOOTHING_ANGSTROM = 0.03
BLOCKS = 10
_MIN_BLOCKS = 4
MAX_BINS = 100_000
# Empty bins narrower than this in all are noise, no gap.
_MIN_GAP_ANGSTROM = 0.1


class RdfDoc(Document):
    """A partial radial distribution function, averaged over frames."""

    doc_type: Literal["RdfDoc"] = "RdfDoc"
    pair: str = Field(description="centre-neighbour, e.g. P-S: S around P")
    centre: str
    neighbour: str
    centres: int = Field(description="atoms of the centre's element")
    neighbours: int = Field(description="atoms of the neighbour's element")
    frames: int
    r_max_angstrom: float
    bin_width_angstrom: float
    smallest_half_width_angstrom: float = Field(
        description="half the smallest distance between faces of the cell; beyond it several images count"
    )
    mean_volume_angstrom3: float
    r_angstrom: list[float] = Field(description="middle of each bin")
    g: list[float] = Field(description="g(r) of each bin")
    g_se: list[float] | None = Field(None, description="standard error of g by blocks of frames; None: too few frames")
    pairs: list[int] = Field(description="pairs counted in each bin, over all frames")
    r_upper_angstrom: list[float] = Field(description="upper edge of each bin, where running_coordination holds")
    running_coordination: list[float] = Field(description="mean number of neighbours of a centre within r_upper")
    running_coordination_se: list[float] | None = None
    blocks: int = Field(description="blocks of frames behind the standard errors; 0: too few frames")
    first_peak_angstrom: float | None = Field(None, description="position of the first peak, by a parabola at its top")
    first_peak_se_angstrom: float | None = None
    first_peak_height: float | None = Field(None, description="g in the highest bin of the first peak")
    first_minimum_angstrom: float | None = Field(None, description="first minimum; the middle if g vanishes in a gap")
    gap_angstrom: tuple[float, float] | None = Field(None, description="where g vanishes around the first minimum")
    coordination_number: float | None = Field(None, description="neighbours of a centre within the first minimum")
    coordination_number_se: float | None = None
    edge_rule: str = Field(
        f"r in [edge - {EDGE_ANGSTROM:g}, next edge - {EDGE_ANGSTROM:g}) angstrom", description="which bin a pair is in"
    )
    warnings: list[str] = Field(default_factory=list)


def pair_elements(pair: str, species: Sequence[str]) -> tuple[str, str]:
    """Return the centre and neighbour of a pair written ``P-S``.

    Raises
    ------
    InputError
        If the text is not a pair, or an element is not among ``species``.
    """
    parts = [part.strip() for part in pair.split("-")]
    if len(parts) != 2 or not all(parts):
        raise InputError(f"'{pair}' is not a pair of elements", "write centre and neighbour like P-S")
    present = list(dict.fromkeys(species))
    for part in parts:
        if part not in present:
            raise InputError(
                f"pair {pair}: there is no {part} in the trajectory", f"its elements: {', '.join(map(str, present))}"
            )
    return parts[0], parts[1]


def atoms_of(element: str, species: Sequence[str]) -> Integers:
    """Return the indices of the atoms of an element."""
    return np.flatnonzero(np.asarray(species, dtype=str) == element)


class PairHistogram:
    """Counts the distances of a pair, chunk by chunk.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    pair
        ``P-S``: S around P.
    r_max
        Largest distance, angstrom; half the cell is not a limit.
    bins
        Number of bins between 0 and ``r_max``.

    Raises
    ------
    InputError
        If an element is not there, or ``r_max`` or ``bins`` is out of bounds.
    """

    def __init__(self, species: Sequence[str], pair: str, r_max: float = 10.0, bins: int = 500) -> None:
        self.pair = pair
        self.centre, self.neighbour = pair_elements(pair, species)
        self.centres, self.neighbours = atoms_of(self.centre, species), atoms_of(self.neighbour, species)
        if not 1 <= bins <= MAX_BINS:
            raise InputError(f"{bins} bins for pair {pair}", f"choose between 1 and {MAX_BINS}")
        check_reach(r_max, 1, 1, 1e9)
        self.r_max, self.bins = float(r_max), int(bins)
        self._counts: list[NDArray[np.int64]] = []
        self._weighted: list[Floats] = []
        self._frames: list[int] = []
        self._volume = 0.0
        self._half_width = np.inf

    @property
    def edges(self) -> Floats:
        """Edges of the bins, angstrom, shape (bins + 1,)."""
        return np.linspace(0.0, self.r_max, self.bins + 1)

    def add(self, chunk: Chunk) -> None:
        """Count the pairs of some frames."""
        if not self._frames:
            check_reach(self.r_max, len(self.centres), len(self.neighbours), float(chunk.volumes.min()))
        # Fewer rows of more columns are faster, and a distance has no direction.
        few, many = sorted((self.centres, self.neighbours), key=len)
        limit = (self.r_max - EDGE_ANGSTROM) ** 2
        scale = self.bins / self.r_max
        frames = len(chunk)
        by_frame = 1 if chunk.fixed_cell else frames
        counts = np.zeros((self.bins + 1) * by_frame, dtype=np.int64)
        for _, squared in squared_distances(chunk, few, many, self.r_max):
            close = squared < limit
            r = squared[close]
            np.sqrt(r, out=r)
            r += EDGE_ANGSTROM
            r *= scale
            index = r.astype(np.intp)
            if by_frame > 1:
                index *= frames
                index += np.nonzero(close)[1]
            counts += np.bincount(index, minlength=len(counts))
        table = counts.reshape(self.bins + 1, by_frame)
        table[self.bins - 1] += table[self.bins]
        table = table[: self.bins]
        if self.centre == self.neighbour:
            table[0] -= len(self.centres) * (1 if by_frame > 1 else frames)
        self._counts.append(table.sum(axis=1))
        self._weighted.append(table @ (chunk.volumes if by_frame > 1 else chunk.volumes[:1]))
        self._frames.append(frames)
        self._volume += float(chunk.volumes.sum())
        self._half_width = min(self._half_width, chunk.half_width)

    @property
    def frames(self) -> int:
        """Frames counted so far."""
        return sum(self._frames)

    def counts(self) -> NDArray[np.int64]:
        """Return pairs in each bin over all frames, shape (bins,)."""
        result: NDArray[np.int64] = np.sum(self._counts, axis=0)
        return result

    def document(self) -> RdfDoc:
        """Return the averages so far.

        Raises
        ------
        InputError
            If no frame was counted.
        """
        if not self._frames:
            raise InputError("no frame to take a distribution function from", "look at --frames and at the file")
        edges = self.edges
        frames = np.array(self._frames)
        per_frame = len(self.centres) * len(self.neighbours) * 4 / 3 * np.pi * np.diff(edges**3)
        weighted, counts = np.array(self._weighted), np.array(self._counts)
        g = weighted.sum(axis=0) / (per_frame * frames.sum())
        n = np.cumsum(counts.sum(axis=0)) / (len(self.centres) * frames.sum())
        document = RdfDoc(
            pair=self.pair,
            centre=self.centre,
            neighbour=self.neighbour,
            centres=len(self.centres),
            neighbours=len(self.neighbours),
            frames=int(frames.sum()),
            r_max_angstrom=self.r_max,
            bin_width_angstrom=self.r_max / self.bins,
            smallest_half_width_angstrom=self._half_width,
            mean_volume_angstrom3=self._volume / int(frames.sum()),
            r_angstrom=((edges[1:] + edges[:-1]) / 2).tolist(),
            g=g.tolist(),
            pairs=counts.sum(axis=0).tolist(),
            r_upper_angstrom=edges[1:].tolist(),
            running_coordination=n.tolist(),
            blocks=0,
        )
        features = _extrema(edges, g)
        for name, value in features.items():
            setattr(document, name, value)
        where = document.first_minimum_angstrom
        if where is None:
            document.warnings.append(f"{self.pair}: no first peak and minimum within {self.r_max:g} angstrom")
        else:
            document.coordination_number = float(np.interp(where, edges, np.concatenate([[0.0], n])))
        self._add_errors(document, frames, weighted, counts, per_frame)
        return document

    def _add_errors(
        self, document: RdfDoc, frames: NDArray[Any], weighted: Floats, counts: NDArray[Any], per_frame: Floats
    ) -> None:
        groups = _groups(frames)
        if groups is None:
            document.warnings.append(f"{self.pair}: {document.frames} frames are too few for standard errors")
            return
        edges = self.edges
        sizes = np.array([frames[group].sum() for group in groups])
        g = np.array([weighted[group].sum(axis=0) for group in groups]) / (per_frame * sizes[:, None])
        n = np.cumsum([counts[group].sum(axis=0) for group in groups], axis=1) / (len(self.centres) * sizes[:, None])
        document.blocks = len(groups)
        document.g_se = _standard_error(g).tolist()
        document.running_coordination_se = _standard_error(n).tolist()
        where = document.first_minimum_angstrom
        if where is not None:
            padded = np.concatenate([np.zeros((len(groups), 1)), n], axis=1)
            document.coordination_number_se = float(
                _standard_error(np.array([np.interp(where, edges, row) for row in padded]))
            )
        peaks = [_extrema(edges, row)["first_peak_angstrom"] for row in g]
        if document.first_peak_angstrom is not None and all(peak is not None for peak in peaks):
            document.first_peak_se_angstrom = float(_standard_error(np.array(peaks, dtype=float)))


def _groups(frames: NDArray[Any]) -> list[NDArray[Any]] | None:
    """Yield chunks gathered into blocks of about the same number of frames."""
    ends = np.cumsum(frames)
    blocks = min(BLOCKS, len(frames))
    while blocks >= _MIN_BLOCKS:
        number = np.minimum((ends - frames / 2) * blocks / ends[-1], blocks - 1).astype(int)
        groups = [np.flatnonzero(number == block) for block in range(blocks)]
        sizes = [frames[group].sum() for group in groups]
        if min(sizes) >= 0.5 * max(sizes):
            return groups
        blocks -= 1
    return None


def _standard_error(values: Floats) -> Floats:
    result: Floats = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return result


def _extrema(edges: Floats, g: Floats) -> dict[str, float | tuple[float, float] | None]:
    """Return the first peak and first minimum of a distribution function, by the names of :class:`RdfDoc`.

    Peaks are looked for after smoothing by a Gaussian of 0.03 angstrom; the first one that is above 1 and stands out by
    a tenth of the highest counts. Its position is the vertex of a parabola through the bins around its top that are
    above 70 % of its height. The minimum is the lowest point up to the next peak, or the middle of the gap if
    g is zero there.

    Parameters
    ----------
    edges, g
        Edges of the bins, angstrom, shape (bins + 1,), and the function, shape (bins,).
    """
    nothing = dict.fromkeys(
        ("first_peak_angstrom", "first_peak_height", "first_minimum_angstrom", "gap_angstrom"), None
    )
    width = edges[1] - edges[0]
    smooth = gaussian_filter1d(g, _SMOOTHING_ANGSTROM / width, mode="constant")
    top = float(smooth.max())
    padded = np.concatenate([[0.0], smooth, [0.0]])
    peaks = find_peaks(padded, height=min(1.0, 0.9 * top) if top > 0 else 1.0, prominence=0.1 * top)[0] - 1
    peaks = peaks[(smooth[peaks] > 1.0)]
    if not len(peaks) or peaks[0] >= len(g) - 2:
        return nothing
    first = int(peaks[0])
    low, high = first, first
    while low > 0 and smooth[low - 1] > 0.7 * smooth[first]:
        low -= 1
    while high < len(g) - 1 and smooth[high + 1] > 0.7 * smooth[first]:
        high += 1
    low, high = min(low, max(first - 1, 0)), max(high, first + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    x, y = middle[low : high + 1] - middle[first], g[low : high + 1]
    curvature, slope, _ = np.polyfit(x, y, 2) if len(x) > 2 else (0.0, 0.0, 0.0)
    vertex = -slope / (2 * curvature) if curvature < 0 else 0.0
    position = middle[first] + float(np.clip(vertex, x[0], x[-1]))
    extrema: dict[str, float | tuple[float, float] | None] = nothing | {
        "first_peak_angstrom": position,
        "first_peak_height": float(g[low : high + 1].max()),
    }
    end = int(peaks[1]) if len(peaks) > 1 else len(g) - 1
    between = np.arange(first, end + 1)
    empty = between[g[between] == 0]
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1)
    gap = max(runs, key=len)
    if len(gap) * width >= _MIN_GAP_ANGSTROM:
        extrema["gap_angstrom"] = (float(edges[gap[0]]), float(edges[gap[-1] + 1]))
        extrema["first_minimum_angstrom"] = float((edges[gap[0]] + edges[gap[-1] + 1]) / 2)
    else:
        lowest = int(between[np.argmin(smooth[between])])
        if len(peaks) > 1 or lowest < len(g) - 2:
            extrema["first_minimum_angstrom"] = float(middle[lowest])
    return extrema


def partial_rdf(
    frames: Iterable[Frame], species: Sequence[str], pair: str, *, r_max: float = 10.0, bins: int = 500
) -> RdfDoc:
    """Return the partial radial distribution function of a trajectory.

    Parameters
    ----------
    frames
        Positions (N, 3) and cell (3, 3), angstrom, of each frame; read once, never held together.
    species
        Element of each atom, shape (N,).
    pair
        ``P-S``: S around P.
    r_max
        Largest distance, angstrom; half the cell is not a limit.
    bins
        Number of bins between 0 and ``r_max``.

    Returns
    -------
    RdfDoc
        g(r), the running coordination number, first peak and first minimum.

    Raises
    ------
    InputError
        If an element or the cell is missing, the atoms change in number, or an option is out of bounds.
    """
    histogram = PairHistogram(species, pair, r_max, bins)
    for chunk in chunks(frames, len(species)):
        histogram.add(chunk)
    return histogram.document()
