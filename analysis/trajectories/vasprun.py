"""VASP's vasprun.xml as a trajectory, complete or still being written."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anodeflow.analysis.trajectories.frames import Frame, Symbols, Trajectory, TrajectoryFlagged, TruncatedFileError
from anodeflow.analysis.trajectories.text import Source
from anodeflow.analysis.trajectories.vasprun_reader import VasprunReader
from anodeflow.analysis.trajectories.vasprun_steps import SAME, VasprunHead, VasprunStep
from anodeflow.errors import InputError

CHUNK = 1 << 18
# From this version on ML_OUTBLOCK holds for vasprun.xml, too (https://www.vasp.at/wiki/index.php/ML_OUTBLOCK).
_OUTBLOCK_SINCE = (6, 4, 3)
_KEPT = {"POTIM": float, "NELM": int, "IBRION": int, "NSW": int, "TEBEG": float, "TEEND": float}


class VasprunTrajectory(Trajectory):
    """Positions, cells, forces, free energies and, of dynamics, kinetic energies.

    Steps of a machine-learned force field, between or without ab-initio ones, are frames like the others. The outer
    energies of a step count: those of the electronic steps lack dispersion corrections. Steps with as many electronic
    steps as NELM allows, or whose last one changed the energy by more than EDIFF, have `electronic_converged` False.
    """

    format = "vasprun.xml"

    def _frames(self) -> Iterator[Frame]:
        reader = VasprunReader(self.path)
        frames = _Frames(reader.head, self.path)
        with Source(self.path) as source:
            last = None
            while data := source.read(CHUNK):
                for step in reader.feed(data):
                    if last is None:
                        self._take(reader.head)
                    last = frames.frame(step)
                    yield last
            source.line = reader.line_of_end
            source.check_end()
        if not reader.ended:
            raise TruncatedFileError(reader.line_of_end, reader.unfinished)
        for problem in [*frames.problems(), *self._end(reader, last)]:
            warnings.warn(TrajectoryFlagged(f"{self.path}: {problem}"), stacklevel=4)

    def _take(self, head: VasprunHead) -> None:
        for name, kind in _KEPT.items():
            value = head.number(name)
            if value is not None:
                self.metadata[name] = kind(value)

    def _end(self, reader: VasprunReader, last: Frame | None) -> Iterator[str]:
        """Yield what the end of a run tells of the frames before it."""
        if last is None or reader.final is None:
            return
        cell, coords = reader.final
        moved = last.positions @ np.linalg.inv(last.cell) - coords
        if np.abs(moved - np.round(moved)).max() > SAME or np.abs(last.cell - cell).max() > SAME:
            yield "the geometry of the last frame is not that of finalpos"


class _Frames:
    """Frames of steps, and what they tell all together."""

    def __init__(self, head: VasprunHead, path: Path) -> None:
        self._head, self._path, self._made = head, path, 0
        self._has: set[str] = set()

    def frame(self, step: VasprunStep) -> Frame:
        """Return the frame of a step."""
        head = self._head
        has = {name for name in ("energy", "kinetic energy", "forces") if self._there(step, name)}
        if self._made == 0:
            self._has = has
        self._made += 1
        timestep = head.number("POTIM") if head.dynamics else None
        return Frame(
            step.number - 1,
            self._species(),
            step.fractional @ step.cell,
            step.cell,
            energy_ev=step.energies.get("e_fr_energy"),
            kinetic_energy_ev=step.energies.get("kinetic"),
            forces=step.forces,
            step=step.number,
            time_fs=None if timestep is None else timestep * _steps_between(head) * step.number,
            electronic_converged=head.electrons_converged(step),
            source=str(self._path),
            problems=(*step.problems, *(f"no {name}" for name in sorted(self._has - has))),
        )

    @staticmethod
    def _there(step: VasprunStep, name: str) -> bool:
        if name == "forces":
            return step.forces is not None
        return ("e_fr_energy" if name == "energy" else "kinetic") in step.energies

    def _species(self) -> Symbols:
        if self._head.species is None:
            raise InputError(f"{self._path}: no list of atoms before the first calculation", "check the file")
        return self._head.species

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with a run that has ended."""
        head = self._head
        if head.odd:
            yield f"values that are none, and are not used: {', '.join(head.odd)}"
        yield from head.problems
        steps = head.number("NSW")
        if head.dynamics and steps and abs(self._made * (between := _steps_between(head)) - steps) >= between:
            yield (
                f"{self._made} frames{'' if between == 1 else f', {between} steps apart,'} of {steps:g} steps asked "
                "for (NSW): the run was stopped, or frames are missing"
            )


def _steps_between(head: VasprunHead) -> int:
    """Return how many steps of dynamics lie between two that are written: 1, but for a force field that only runs."""
    block = head.number("ML_OUTBLOCK")
    running = str(head.incar.get("ML_MODE", "")).strip().lower().startswith("run") or head.number("ML_ISTART") == 2
    if not (head.learned and running and block is not None and block > 1 and math.isfinite(block)):
        return 1
    return int(block) if head.version_number >= _OUTBLOCK_SINCE else 1


class GrowingVasprun:
    """The steps of a vasprun.xml that is still being written, as they come; each is complete.

    Attributes
    ----------
    program, version : str
        What wrote the file; empty until its head is there.
    species : (N,) array of str or None
        Chemical symbols in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = VasprunReader(path)
        self._frames = _Frames(self._reader.head, path)
        self._offset = 0

    @property
    def program(self) -> str:
        return self._reader.head.program

    @property
    def version(self) -> str:
        return self._reader.head.version

    @property
    def species(self) -> Symbols | None:
        return self._reader.head.species

    def read(self) -> list[tuple[Frame, dict[str, float]]]:
        """Return steps that have come since, each with all the energies that the file gives it, by name, eV.

        Raises
        ------
        InputError
            If something in a step is not a number.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
                self._offset = file.tell()
        except OSError:
            return []
        return [(self._frames.frame(step), step.energies) for step in self._reader.feed(data)]
