"""Segments of one run as one trajectory: overlaps taken once, gaps refused."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from anodeflow.analysis.trajectories.compact import RESOLUTION_ANGSTROM, CompactTrajectory
from anodeflow.analysis.trajectories.frames import Frame, RandomAccessTrajectory, Trajectory
from anodeflow.errors import InputError, ReferenceMismatchError

# What must not differ between the segments of one run.
SAME = ("timestep_fs", "steps_between_frames", "engine", "card_hash", "study_hash")
_TOLERANCE_ANGSTROM = 1e-3


class JoinedTrajectory(Trajectory):
    """Segments one behind the other, by step number.

    Where a segment begins with steps that the one before has too (it continued from an earlier point), the later
    segment counts from its first step on; a step that both have must show the same positions, or they do not
    belong to one run.

    Parameters
    ----------
    segments
        In order of time.
    first_steps
        For codes that count every run from the start: what to add to the steps of each segment.

    Raises
    ------
    InputError
        While iterating: if steps are missing, come unevenly, or have no numbers; or if the segments differ where
        they overlap.
    ReferenceMismatchError
        If engine, card, study or times of the segments differ.
    """

    format = "joined"

    def __init__(
        self, segments: Sequence[Trajectory], *, first_steps: Sequence[int] | None = None, strict: bool = False
    ) -> None:
        if not segments:
            raise InputError("no segments to join", "give at least one")
        if first_steps is not None and len(first_steps) != len(segments):
            raise InputError(f"{len(first_steps)} first steps for {len(segments)} segments", "give one each")
        super().__init__(segments[0].path, strict=strict)
        self.segments = list(segments)
        self.metadata = dict(segments[0].metadata)
        self._shifts = list(first_steps) if first_steps is not None else [0] * len(segments)
        self._starts = [
            self._numbered(segment.first(), shift) for segment, shift in zip(segments, self._shifts, strict=True)
        ]
        self._check_segments()

    def _numbered(self, frame: Frame, shift: int) -> Frame:
        if frame.step is None:
            raise InputError(
                f"{frame.source}: frame {frame.index} has no step number, so gaps could not be seen",
                "convert the segments with steps",
            )
        return replace(frame, step=frame.step + shift) if shift else frame

    def _check_segments(self) -> None:
        first = self.segments[0]
        for before, segment, start, last in zip(
            self.segments, self.segments[1:], self._starts[1:], self._starts, strict=False
        ):
            if not np.array_equal(segment.species, first.species):
                raise InputError(f"{segment.path} has other atoms than {first.path}", "join segments of one run")
            for key in SAME:
                value, expected = segment.metadata.get(key), first.metadata.get(key)
                if value is not None and expected is not None and value != expected:
                    raise ReferenceMismatchError(
                        f"{key} of {segment.path} is {value}, of {first.path} {expected}", "join segments of one run"
                    )
            if (start.step or 0) <= (last.step or 0):
                raise InputError(
                    f"{segment.path} begins with step {start.step}, {before.path} with {last.step}",
                    "give the segments in order, or first_steps for a code that counts every run from the start",
                )

    def _frames(self) -> Iterator[Frame]:
        index = 0
        previous: Frame | None = None
        interval: int | None = None
        for number, (segment, shift) in enumerate(zip(self.segments, self._shifts, strict=True)):
            following = self._starts[number + 1] if number + 1 < len(self.segments) else None
            for raw in segment._checked():
                frame = self._numbered(raw, shift)
                step = frame.step or 0
                if following is not None and step >= (following.step or 0):
                    if step == following.step:
                        _compare(frame, following)
                    break
                if previous is not None:
                    interval = self._interval(previous, frame, interval)
                previous = frame
                yield replace(frame, index=index)
                index += 1
            if segment.incomplete is not None and following is None:
                self.incomplete = segment.incomplete

    @staticmethod
    def _interval(previous: Frame, frame: Frame, interval: int | None) -> int:
        steps = (frame.step or 0) - (previous.step or 0)
        if interval is None:
            if steps <= 0:
                raise InputError(f"{frame.source}: step {frame.step} after step {previous.step}", "check the file")
            if frame.source == previous.source:
                return steps
            raise InputError(
                f"{previous.source} has one frame only, so the interval of steps is not known", "leave it out"
            )
        if steps == interval:
            return interval
        if steps > interval:
            first, last = (previous.step or 0) + interval, (frame.step or 0) - interval
            missing = f"step {first} is" if last <= first else f"steps {first} to {last} are"
            raise InputError(
                f"{missing} missing between step {previous.step} ({previous.source}) and step {frame.step} "
                f"({frame.source}); the frames are {interval} steps apart",
                "give the segment that has them",
            )
        raise InputError(
            f"{frame.source}: step {frame.step} follows step {previous.step}, the frames before are {interval} apart",
            "segments with other intervals do not join",
        )


def _compare(first: Frame, second: Frame) -> None:
    """Refuse two segments that differ in a step both have."""
    move = second.positions - first.positions
    if first.lattice is not None:
        fractional = move @ np.linalg.inv(first.cell)
        move = (fractional - np.round(fractional)) @ first.cell
    distances = np.linalg.norm(move, axis=1)
    atom = int(np.argmax(distances))
    if distances[atom] > _TOLERANCE_ANGSTROM + 2 * RESOLUTION_ANGSTROM:
        raise InputError(
            f"step {first.step} differs between {first.source} and {second.source}: atom {atom + 1} by "
            f"{distances[atom]:.3g} angstrom",
            "these segments are not of one run",
        )


class JoinedCompactTrajectory(JoinedTrajectory, RandomAccessTrajectory):
    """Segments in the compact format: any frame at once. Gaps are found when opening."""

    def __init__(
        self, segments: Sequence[CompactTrajectory], *, first_steps: Sequence[int] | None = None, strict: bool = False
    ) -> None:
        super().__init__(segments, first_steps=first_steps, strict=strict)
        counts = []
        for number, (segment, shift) in enumerate(zip(segments, self._shifts, strict=True)):
            steps = [(step if step is not None else 0) + shift for step in segment.steps()]
            following = self._starts[number + 1].step if number + 1 < len(segments) else None
            counts.append(len(steps) if following is None else bisect.bisect_left(steps, following))
        self._ends = list(accumulate(counts))
        previous: Frame | None = None
        interval = None
        for number, segment in enumerate(segments):
            for step in segment.steps()[: counts[number]]:
                frame = self._numbered(
                    Frame(0, self.species, np.empty(0), step=step, source=str(segment.path)), self._shifts[number]
                )
                if previous is not None:
                    interval = self._interval(previous, frame, interval)
                previous = frame

    def __len__(self) -> int:
        return self._ends[-1]

    def _frame(self, index: int) -> Frame:
        number = bisect.bisect_right(self._ends, index)
        before = self._ends[number - 1] if number else 0
        frame = self._numbered(self.segments[number][index - before], self._shifts[number])
        return replace(frame, index=index)


def join_trajectories(
    segments: Sequence[Trajectory], *, first_steps: Sequence[int] | None = None, strict: bool = False
) -> JoinedTrajectory:
    """Join segments of one run to one trajectory; see `JoinedTrajectory`.

    With segments in the compact format the result has `len()` and random access, and gaps are found at once.

    Parameters
    ----------
    segments
        In the order of time.
    first_steps
        Step of the first frame of each, where the files do not say.
    strict
        Refuse what else is a warning.

    Returns
    -------
    JoinedTrajectory
        Every step once.
    """
    compact = [segment for segment in segments if isinstance(segment, CompactTrajectory)]
    if segments and len(compact) == len(segments):
        return JoinedCompactTrajectory(compact, first_steps=first_steps, strict=strict)
    return JoinedTrajectory(segments, first_steps=first_steps, strict=strict)
