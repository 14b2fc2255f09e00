"""One calculation with CASTEP in its folder.

A calculation that was killed continues from the last accepted geometry in its ``.castep`` file, as a new run: that file
is written line by line, whereas a checkpoint may have been cut off while it was written. The older files go to
``attempt-1``, ``attempt-2``, ...
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import replace
from pathlib import Path

from pymatgen.core import Structure

from anodeflow.analysis.program_output.castep import Run
from anodeflow.errors import EngineError
from anodeflow.settings import CastepSettings
from anodeflow.workflows.engines.castep.inputs import inputs_of, point_inputs
from anodeflow.workflows.engines.castep.keywords import SEED
from anodeflow.workflows.engines.castep.outputs import (
    CastepFileError,
    Reader,
    geometry_of,
    mismatch,
    outcome_of,
    read_castep,
)
from anodeflow.workflows.engines.castep.potential import levels_of
from anodeflow.workflows.engines.contract import Monitor, Outcome, Request
from anodeflow.workflows.engines.external import run_program
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.plane_waves.folder import put_aside
from anodeflow.workflows.engines.plane_waves.levels import add_levels

PROGRAM = "CASTEP"
OUTPUT = "castep.out"
_BEFORE = "before.check"
_KEPT_APART = (f"{SEED}.castep", OUTPUT, f"{SEED}.geom", f"{SEED}.pot_fmt", f"{SEED}.bands")
_LARGEST_MESSAGE = 300
# A monitor hears of the same step again after this long.
_AGAIN_S = 10.0


class Calculation:
    """One calculation.

    Parameters
    ----------
    request
        What to compute.
    folder
        Of this calculation alone.
    monitor
        Called after every ionic step; may raise to stop.
    settings
        How CASTEP is started, where pseudopotentials are, and how much time it has.
    first
        For one geometry of a band or of dynamics: the first one of all, which decides the settings.
    waves_of
        Folder of another geometry whose checkpoint to start from; it is moved here.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        monitor: Monitor | None,
        settings: CastepSettings,
        *,
        first: Structure | None = None,
        waves_of: Path | None = None,
    ) -> None:
        self._request, self._folder, self._monitor, self._settings = request, folder, monitor, settings
        self._first, self._waves_of = first, waves_of
        self._file = folder / f"{SEED}.castep"
        self._notes: list[str] = []

    def run(self) -> Outcome:
        """Compute, or continue an earlier attempt in the same folder.

        Raises
        ------
        EngineError
            If CASTEP is missing, has no licence, or says nothing of use.
        """
        if self._first is not None:
            return self._run_point(self._first)
        request = self._request
        start, steps_before = request.structure, 0
        earlier = self._earlier()
        if earlier is not None:
            done = outcome_of(earlier, request, self._file)
            if done.converged:
                done.warnings = [
                    *self._notes, "finished by an earlier attempt in the same folder", *done.warnings
                ]  # fmt: skip
                return self._with_levels(done)
            start = geometry_of(earlier, request.structure, request.task)
            # steps of a run that ended by itself are in the document it left
            steps_before = 0 if earlier.finished or not earlier.iterations else earlier.iterations[-1].number
            if steps_before:
                self._notes.append(f"continued at step {steps_before} of a run that was cut off")
        self._put_aside()
        left = request.card.model_copy(update={"max_steps": max(1, request.card.max_steps - steps_before)})
        inputs = inputs_of(replace(request, structure=start, card=left), self._settings)
        inputs.write(self._folder)
        inputs.place_potentials(self._folder)
        status = self._start(Watch(self._file, self._monitor, steps_before))
        run = self._read(status)
        outcome = outcome_of(run, request, self._file)
        if outcome.energy_ev is None and not run.iterations:
            complaint = _complaints(self._folder)
            if complaint or status != 0:
                raise EngineError(
                    f"CASTEP failed (exit {status}): {complaint or outcome.error}", f"look at '{self._file}'"
                )
        outcome.ionic_steps += steps_before
        outcome.warnings = [*self._notes, *outcome.warnings]
        if self._monitor is not None and request.task == "static" and outcome.energy_ev is not None:
            self._monitor(0, outcome.energy_ev, outcome.max_force_ev_per_angstrom or 0.0)
        return self._with_levels(self._with_complaint(outcome))

    def _run_point(self, first: Structure) -> Outcome:
        """Compute energy and forces of one geometry among those of a band or of dynamics."""
        # one checkpoint alone is kept, so that thousands of steps do not fill the disk
        reused = self._waves_of is not None and _moved(self._waves_of / f"{SEED}.check", self._folder / _BEFORE)
        inputs = point_inputs(self._request, first, self._settings, _BEFORE if reused else None)
        inputs.write(self._folder)
        inputs.place_potentials(self._folder)
        status = self._start(None)
        (self._folder / _BEFORE).unlink(missing_ok=True)
        run = self._read(status)
        return self._with_complaint(outcome_of(run, self._request, self._file, first))

    def _start(self, watch: Watch | None) -> int:
        """Run the program; return its exit status."""
        return run_program(
            [*self._settings.command, SEED],
            self._folder,
            output=OUTPUT,
            program=PROGRAM,
            poll=None if watch is None else watch.look,
        )

    def _earlier(self) -> Run | None:
        """Return the last run in the folder that an earlier attempt left; None if there is nothing to continue."""
        if not self._file.is_file():
            return None
        try:
            run = read_castep(self._file)[-1]
        except CastepFileError as error:
            self._notes.append(f"an earlier attempt was put aside: {error.problem}")
            return None
        wrong = mismatch(run, self._request)
        if wrong:
            self._notes.append(f"an earlier attempt was put aside: {wrong}")
            return None
        return run

    def _put_aside(self) -> None:
        old = [self._folder / name for name in _KEPT_APART if (self._folder / name).exists()]
        put_aside(self._folder, [*old, *sorted(self._folder.glob(f"{SEED}*.err"))])

    def _read(self, status: int) -> Run:
        """Return the last run of the file.

        Raises
        ------
        EngineError
            If there is none, or it is of another calculation; what CASTEP said is quoted.
        """
        complaint = _complaints(self._folder)
        if complaint and re.search(r"licen[cs]e", complaint, re.IGNORECASE):
            raise EngineError(f"CASTEP has no licence here: {complaint}", "check the licence server or file")
        try:
            runs = read_castep(self._file)
        except CastepFileError as error:
            quoted = f"; CASTEP said: {complaint}" if complaint else ""
            raise EngineError(f"CASTEP (exit {status}): {error.problem}{quoted}", error.remedy) from None
        if len(runs) > 1:
            self._notes.append(
                f"'{self._file}' holds {len(runs)} runs; the last one (line {runs[-1].line}) is used"
            )  # fmt: skip
        wrong = mismatch(runs[-1], self._request, self._first)
        if wrong:
            raise EngineError(f"'{self._file}' is of another calculation: {wrong}", "empty its folder")
        return runs[-1]

    def _with_levels(self, outcome: Outcome) -> Outcome:
        request = self._request
        settings = electronic(request.structure, request.task, request.card, request.charge)
        add_levels(outcome, settings, lambda axis: levels_of(self._folder, outcome.structure, axis))
        return outcome

    def _with_complaint(self, outcome: Outcome) -> Outcome:
        if outcome.error and (complaint := _complaints(self._folder)):
            outcome.error = f"{outcome.error}; CASTEP said: {complaint}"
        return outcome


class Watch:
    """Follows a ``.castep`` file while it grows and tells of every step of a relaxation.

    Parameters
    ----------
    file
        It need not be there yet.
    monitor
        Called after every step, and with the last one again now and then; may raise to stop.
    steps_before
        Of an earlier attempt; they are added to the number of each step.
    """

    def __init__(self, file: Path, monitor: Monitor | None, steps_before: int = 0) -> None:
        self._file, self._monitor, self._before = file, monitor, steps_before
        self._reader = Reader(str(file))
        self._at = 0
        self._told = 0
        self._next = 0.0
        self._lost = False

    def look(self) -> None:
        """Read what is new, and report it; whatever the monitor raises is passed on."""
        if self._monitor is None:
            return
        if not self._lost:
            # what is wrong with the file is said when the program has ended
            with contextlib.suppress(OSError):
                try:
                    self._take_new()
                except CastepFileError:
                    self._lost = True
        iterations = self._reader.runs[-1].iterations if self._reader.runs else []
        if iterations and self._told == len(iterations) and time.monotonic() > self._next:
            # a step may take an hour, and the monitor is who asks for a stop
            self._tell(-1)
        while self._told < len(iterations):
            self._tell(self._told)
            self._told += 1

    def _take_new(self) -> None:
        with self._file.open("rb") as handle:
            handle.seek(self._at)
            text = handle.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._at += len(complete)
        for line in complete.split(b"\n")[:-1]:
            self._reader.feed(line)

    def _tell(self, index: int) -> None:
        step = self._reader.runs[-1].iterations[index]
        if self._monitor is not None:
            self._next = time.monotonic() + _AGAIN_S
            self._monitor(step.number + self._before, step.evaluation.total_ev, step.evaluation.largest_force())


def _complaints(folder: Path) -> str:
    """Return in one line what CASTEP says went wrong: its ``.err`` files, else the end of its standard output."""
    for file in sorted(folder.glob(f"{SEED}*.err")):
        text = _end_of(file)
        if text:
            return f"{file.name}: {text[:_LARGEST_MESSAGE]}"
    tail = _end_of(folder / OUTPUT)
    return f"{OUTPUT}: ...{tail[-_LARGEST_MESSAGE:]}" if tail else ""


def _end_of(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            handle.seek(max(0, file.stat().st_size - 4096))
            return " ".join(handle.read().decode("utf-8", errors="replace").split())
    except OSError:
        return ""


def _moved(file: Path, target: Path) -> bool:
    """Move a file; return whether it was there."""
    try:
        file.rename(target)
    except OSError:
        return False
    return True
