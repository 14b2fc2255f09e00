"""One step of a trajectory, and what all trajectories have in common.

Units everywhere: positions and cells in angstrom, energies in eV, forces in eV/angstrom, velocities in
angstrom/fs, times in fs, temperatures in K. Energies are those that the forces derive from: the free energy
(TOTEN of VASP, the marked total energy of pw.x) where a code writes several.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from anodeflow.errors import InputError

Array = NDArray[np.float64]
Symbols = NDArray[np.str_]

# Above this share of the smallest height of the cell a move between two frames is suspicious: with moves of
# this size some would already be longer than half of it and be taken for their images.
_SUSPICIOUS_MOVE = 0.25
# So many frames are named in a warning.
_FLAGS_SHOWN = 12
# Further from the origin a double has no digits left for where in its cell an atom is.
_FURTHEST_ANGSTROM = 1e8


class TrajectoryTruncated(UserWarning):
    """A file ends in the middle of a frame. What came before is complete.

    Attributes
    ----------
    path : Path
        The file.
    line : int or None
        Where it ends; None for binary files.
    problem : str
        What is missing.
    """

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        self.path, self.line, self.problem = path, line, problem
        super().__init__(f"{place(path, line)}: {problem}")


class TruncatedFileError(Exception):
    """Raised by readers where a file ends too early; `Trajectory` turns it into a report."""

    def __init__(self, line: int | None, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(problem)


class TrajectoryFlagged(UserWarning):
    """Frames whose electrons did not converge, or about which the file contradicts itself."""


class UnwrapWarning(UserWarning):
    """Atoms moved so far between two frames that unwrapping may have chosen the wrong image."""


class UnconvergedWarning(UserWarning):
    """The electrons of a geometry did not converge."""


def place(path: Path | str, line: int | None) -> str:
    """Return file and line as messages name them."""
    return f"{path}" if line is None else f"{path}, line {line}"


@dataclass(slots=True, eq=False)
class Frame:
    """One step.

    Attributes
    ----------
    index : int
        Place in the trajectory, from 0.
    species : (N,) array of str
        Chemical symbols, in the order of the atoms.
    positions : (N, 3) array
        Cartesian, angstrom; as the file has them, wrapped or not.
    lattice : (3, 3) array or None
        Cell vectors as rows, angstrom; None where the file has no cell. See `cell`.
    energy_ev : float or None
        Potential energy.
    kinetic_energy_ev : float or None
        Of the ions.
    forces, velocities : (N, 3) array or None
        eV/angstrom and angstrom/fs.
    temperature_k : float or None
        As the code states it; never computed here.
    step : int or None
        Number that the file gives the step.
    time_fs : float or None
        Time since the start of the run.
    electronic_converged : bool or None
        Whether the electrons were; None where the file does not say.
    source : str
        File the frame comes from, for messages.
    problems : tuple of str
        Where the file contradicts itself about this step, or lacks what other steps have.
    """

    index: int
    species: Symbols
    positions: Array
    lattice: Array | None = None
    energy_ev: float | None = None
    kinetic_energy_ev: float | None = None
    forces: Array | None = None
    velocities: Array | None = None
    temperature_k: float | None = None
    step: int | None = None
    time_fs: float | None = None
    electronic_converged: bool | None = None
    source: str = ""
    problems: tuple[str, ...] = ()

    @property
    def cell(self) -> Array:
        """Cell vectors as rows, angstrom, (3, 3).

        Raises
        ------
        InputError
            If the file has none.
        """
        if self.lattice is None:
            raise InputError(
                f"{self.source or 'trajectory'}: frame {self.index} has no cell",
                "give one: open_trajectory(path, cell=...), or use extended xyz",
            )
        return self.lattice

    @property
    def fractional(self) -> Array:
        """Fractional coordinates, (N, 3)."""
        return self.positions @ np.linalg.inv(self.cell)

    def structure(self) -> Any:
        """Return the step as a pymatgen Structure, atoms where the file has them."""
        from pymatgen.core import Structure

        return Structure(self.cell, list(self.species), self.positions, coords_are_cartesian=True)


class Trajectory(ABC):
    """Frames one after the other, in bounded memory; iterate as often as you like.

    Attributes
    ----------
    path : Path
        The file (the first one of several).
    format : str
        Its format.
    metadata : dict
        What the file says of the run as a whole.
    incomplete : TrajectoryTruncated or None
        Set when an iteration reached the end of a file that stops in the middle of a frame.
    """

    format: str = ""
    random_access = False

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        self.path = path
        self.strict = strict
        self.metadata: dict[str, Any] = {}
        self.incomplete: TrajectoryTruncated | None = None
        self._species: Symbols | None = None

    @property
    def species(self) -> Symbols:
        """Chemical symbols, (N,); the same in every frame."""
        if self._species is None:
            self._species = self.first().species
        return self._species

    def first(self) -> Frame:
        """Return the first frame.

        Raises
        ------
        InputError
            If there is none.
        """
        frames = self._checked()
        try:
            return next(frames)
        except StopIteration:
            raise InputError(f"{self.path}: holds no frame", "check that the run wrote any") from None
        finally:
            frames.close()

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Yield frames from the start; raise `TruncatedFileError` where the file ends too early."""

    def __iter__(self) -> Iterator[Frame]:
        return _flagged(self._checked(), self.path)

    def _checked(self) -> Generator[Frame, None, None]:
        """Yield frames from the start, checked; report where the file ends too early."""
        self.incomplete = None
        frame = None
        try:
            for frame in self._frames():
                self._check(frame)
                yield frame
        except TruncatedFileError as end:
            self._report(end, frame)
        else:
            if frame is None:
                raise InputError(f"{self.path}: holds no frame", "check that the run wrote any")

    def _report(self, end: TruncatedFileError, last: Frame | None) -> None:
        truncated = TrajectoryTruncated(self.path, end.line, end.problem)
        if last is None:
            raise InputError(f"{truncated}; no frame is complete", "check that the run wrote any") from None
        if self.strict:
            raise InputError(
                f"{truncated}, after {last.index + 1} complete frames",
                "open it without strict=True to use these",
            ) from None
        self.incomplete = truncated
        warnings.warn(truncated, stacklevel=3)

    def _check(self, frame: Frame) -> None:
        if self._species is None:
            self._species = frame.species
        elif frame.species is not self._species:
            if len(frame.species) != len(self._species):
                raise InputError(
                    f"{self.path}: frame {frame.index} has {len(frame.species)} atoms, the first {len(self._species)}",
                    "split the file: a trajectory keeps its atoms",
                )
            different = np.flatnonzero(frame.species != self._species)
            if len(different):
                atom = int(different[0])
                raise InputError(
                    f"{self.path}: atom {atom + 1} is {frame.species[atom]} in frame {frame.index} "
                    f"and {self._species[atom]} in the first",
                    "a trajectory keeps its atoms and their order",
                )
            frame.species = self._species
        for field in ("energy_ev", "kinetic_energy_ev", "temperature_k"):
            value = getattr(frame, field)
            if value is not None and not math.isfinite(value):
                raise InputError(
                    f"{self.path}: frame {frame.index} has the {field} {value}", "the run went wrong there"
                )
        inside = np.abs(frame.positions) < _FURTHEST_ANGSTROM  # not true of nan
        if not inside.all():
            atom = int(np.flatnonzero(~inside.all(axis=1))[0])
            raise InputError(
                f"{self.path}: atom {atom + 1} of frame {frame.index} has the position {frame.positions[atom]}",
                "the run went wrong there",
            )

    @overload
    def __getitem__(self, which: int) -> Frame: ...

    @overload
    def __getitem__(self, which: slice) -> Trajectory: ...

    def __getitem__(self, which: int | slice) -> Frame | Trajectory:
        if isinstance(which, slice):
            return Selection(self, which)
        if which < 0:
            raise InputError(f"frame {which} of {self.path}: it is read from the start", "give a number from 0 on")
        for frame in islice(self, which, which + 1):
            return frame
        raise IndexError(f"{self.path} has fewer than {which + 1} frames")


class RandomAccessTrajectory(Trajectory):
    """A trajectory whose frames are reached one by one without reading what lies before."""

    random_access = True

    @abstractmethod
    def __len__(self) -> int:
        """Return how many complete frames there are."""

    @abstractmethod
    def _frame(self, index: int) -> Frame:
        """Return frame 0 <= index < len."""

    def _end(self) -> TruncatedFileError | None:
        """Return what is wrong with the end of the file, if anything."""
        return None

    def _frames(self) -> Iterator[Frame]:
        for index in range(len(self)):
            yield self._frame(index)
        end = self._end()
        if end is not None:
            raise end

    @overload
    def __getitem__(self, which: int) -> Frame: ...

    @overload
    def __getitem__(self, which: slice) -> Trajectory: ...

    def __getitem__(self, which: int | slice) -> Frame | Trajectory:
        if isinstance(which, slice):
            return Selection(self, which)
        number = len(self)
        if not -number <= which < number:
            raise IndexError(f"{self.path} has {number} frames, no frame {which}")
        frame = self._frame(which % number)
        self._check(frame)
        return frame


class Selection(Trajectory):
    """Some frames of another trajectory: ``trajectory[start:stop:step]``. Frames keep their `index`."""

    def __init__(self, source: Trajectory, selection: slice) -> None:
        super().__init__(source.path, strict=source.strict)
        self._source, self._slice = source, selection
        self.format, self.metadata = source.format, source.metadata
        self.random_access = source.random_access
        if not source.random_access and any(
            part is not None and part < 0 for part in (selection.start, selection.stop, selection.step)
        ):
            raise InputError(
                f"{source.path}: a slice with negative numbers needs a format with random access",
                "convert it first, or give numbers from 0 on",
            )

    @property
    def species(self) -> Symbols:
        """Chemical symbols, (N,)."""
        return self._source.species

    def _frames(self) -> Iterator[Frame]:
        yield from iter(self)

    def _checked(self) -> Generator[Frame, None, None]:
        self.incomplete = None
        source = self._source
        if isinstance(source, RandomAccessTrajectory):
            frame = None
            for index in range(*self._slice.indices(len(source))):
                frame = source[index]
                yield frame
            end = source._end()
            stop = self._slice.stop
            if end is not None and frame is not None and (stop is None or stop > len(source)):
                self._report(end, frame)
            return
        yield from islice(source._checked(), self._slice.start, self._slice.stop, self._slice.step)
        self.incomplete = source.incomplete

    def __len__(self) -> int:
        if not isinstance(self._source, RandomAccessTrajectory):
            raise TypeError(f"the number of frames of {self.path} is known only after reading it")
        return len(range(*self._slice.indices(len(self._source))))


def _flagged(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """Yield frames; at the end, warn of those whose electrons did not converge and of those with problems.

    Yields
    ------
    Frame
        The same.
    """
    flags: dict[str, list[int]] = {}
    number = 0
    try:
        for frame in frames:
            number += 1
            if frame.electronic_converged is False:
                flags.setdefault("the electrons did not converge", []).append(frame.index)
            for problem in frame.problems:
                flags.setdefault(problem, []).append(frame.index)
            yield frame
    finally:
        for problem, indices in flags.items():
            shown = ", ".join(map(str, indices[:_FLAGS_SHOWN])) + (", ..." if len(indices) > _FLAGS_SHOWN else "")
            which = f"frame {shown}" if len(indices) == 1 else f"frames {shown}"
            warnings.warn(
                TrajectoryFlagged(f"{path}: {problem} in {len(indices)} of {number} frames (from 0: {which})"),
                stacklevel=3,
            )


def checked_cell(cell: Array, path: Path | str, line: int | None) -> Array:
    """Check that a cell has a volume, and return it.

    Parameters
    ----------
    cell
        Rows are the lattice vectors, angstrom.
    path, line
        Where it stands, for messages.

    Raises
    ------
    InputError
        If it has none, or holds something that is not a number.
    """
    cell = np.asarray(cell, dtype=float).reshape(3, 3)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
        rows = "; ".join(" ".join(f"{x:g}" for x in row) for row in cell)
        raise InputError(f"{place(path, line)}: the cell ({rows}) has no volume", "check the file")
    return cell


def _smallest_height(cell: Array) -> float:
    """Return the smallest distance of opposite faces, angstrom."""
    return float(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0).max())


def unwrapped(frames: Iterable[Frame], *, suspicious_move: float = _SUSPICIOUS_MOVE) -> Iterator[Frame]:
    """Follow atoms through the faces of the cell: each takes the image nearest to where it was.

    Parameters
    ----------
    frames
        Consecutive frames, close in time.
    suspicious_move
        Share of the smallest height of the cell: longer moves between two frames bring an `UnwrapWarning`.

    Yields
    ------
    Frame
        The same with unwrapped positions. The first frame stays as it is. In a cell that changes, fractional
        coordinates are followed.

    Raises
    ------
    InputError
        If an atom moved half the smallest height of the cell or more: which image it went to cannot be known.
    """
    last: Array | None = None
    shift: Array | None = None
    warned = False
    cell = inverse = np.zeros((0, 0))
    height = 0.0
    for frame in frames:
        if frame.cell is not cell and not np.array_equal(frame.cell, cell):
            cell = frame.cell
            inverse = np.linalg.inv(cell).astype(np.float64)
            height = _smallest_height(cell)
        fractional = frame.positions @ inverse
        if last is None or shift is None:
            last, shift = fractional, np.zeros_like(fractional)
            yield frame
            continue
        move = fractional - last
        turns = np.round(move)
        distances2 = np.einsum("ij,ij->i", (move - turns) @ cell, (move - turns) @ cell)
        atom = int(np.argmax(distances2))
        farthest = float(np.sqrt(distances2[atom]))
        where = f"{frame.source or 'trajectory'}: frame {frame.index}: atom {atom + 1} ({frame.species[atom]}) moved"
        if farthest >= 0.5 * height:
            raise InputError(
                f"{where} {farthest:.2f} angstrom since the frame before, half the height of the cell "
                f"({height:.2f} angstrom) or more",
                "frames are missing or too far apart to be unwrapped",
            )
        if farthest > suspicious_move * height and not warned:
            warned = True
            warnings.warn(
                UnwrapWarning(
                    f"{where} {farthest:.2f} angstrom since the frame before in a cell {height:.2f} angstrom high; "
                    "atoms may have been given the wrong image"
                ),
                stacklevel=2,
            )
        shift = shift - turns
        last = fractional
        # untouched where nothing crossed a face: no rounding is added to what the file says
        yield replace(frame, positions=frame.positions + shift @ cell if shift.any() else frame.positions)


def wrapped(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Put all atoms into the cell: fractional coordinates in [0, 1)."""
    for frame in frames:
        turns = np.floor(frame.fractional)
        inside = frame.fractional - turns
        inside[inside >= 1.0] = 0.0
        yield replace(frame, positions=inside @ frame.cell if turns.any() else frame.positions)
