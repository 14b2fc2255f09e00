"""One static calculation or relaxation with VASP in its folder: attempts, rounds, restarts, and their outcome."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.trajectories.outcar import OutcarReader
from anodeflow.errors import EngineError
from anodeflow.files import json_sha256
from anodeflow.settings import VaspSettings
from anodeflow.workflows.engines.contract import Monitor, Outcome, Reason, Request
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.plane_waves.levels import add_levels
from anodeflow.workflows.engines.vasp.attempts import OUTPUTS, Progress, continued, put_aside, steps_made
from anodeflow.workflows.engines.vasp.inputs import Inputs, inputs_of
from anodeflow.workflows.engines.vasp.outputs import (
    constraints_unknown,
    corrections,
    free_components,
    outcome_of,
    too_old,
)
from anodeflow.workflows.engines.vasp.potential import levels_of
from anodeflow.workflows.engines.vasp.process import StepTail, handlers, run_under_custodian, telling_line
from anodeflow.workflows.monitor import pulse

# A relaxed cell is computed again with the plane waves that fit it, until it stays where it is.
MAX_ROUNDS = 5
# Tags that do not change what an attempt in the folder is of.
_NO_MATTER = ("NSW", "DIPOL", "LVHAR")
# How often a stop is looked for while VASP works on one ionic step.
HEARTBEAT_S = 2.0


class Calculation:
    """One calculation.

    A relaxed cell is started again from where it ended, because its plane waves were those of the first cell, until the
    first step of a round is within the tolerances.

    Parameters
    ----------
    request
        What to compute.
    folder
        Of this calculation alone; it may hold what an earlier attempt left.
    monitor
        Called after every ionic step; may raise to stop.
    settings
        Of this machine.

    Raises
    ------
    EngineError
        If the program or a POTCAR is missing, or the card asks for what VASP cannot do.
    InputError
        If the card does not suit the cell.
    """

    def __init__(self, request: Request, folder: Path, monitor: Monitor | None, settings: VaspSettings) -> None:
        self._request, self._folder, self._monitor, self._settings = request, folder, monitor, settings
        self._cell_moves = request.task in ("relax_cell", "relax_c")
        self.inputs = inputs_of(request, settings)
        self._command = vasp_command(settings, self.inputs.gamma_only)

    def run(self) -> Outcome:
        """Continue with what is in the folder, or start.

        Raises
        ------
        EngineError
            If VASP cannot be started or writes nothing, or the folder holds results of something else.
        """
        progress, geometry, finished = self._resume()
        if finished is not None:
            return self._with_levels(finished)
        tightened = 1.0
        for number in range(1, MAX_ROUNDS + 1):
            outcome = self._attempt(geometry, progress, tightened)
            steps = outcome.ionic_steps
            left = self._request.card.max_steps - progress.steps_before - steps
            still = steps == 1 and outcome.converged
            again = self._cell_moves and not still and left > 0 and self._sound(outcome)
            if not again or number == MAX_ROUNDS:
                break
            if not outcome.converged:
                tightened *= 0.3  # VASP's own criterion was met before the card's stress tolerance
            geometry = outcome.structure
            self._put_aside(progress, steps)
        if self._cell_moves and outcome.converged and steps > 1:
            outcome.warnings.append(
                f"the cell still moved in round {number}: its energy is that of plane waves of the round's first cell"
            )
        return self._with_levels(self._summed(outcome, progress))

    def _with_levels(self, outcome: Outcome) -> Outcome:
        add_levels(outcome, self.inputs.settings, lambda axis: levels_of(self._folder, outcome.structure, axis))
        return outcome

    def _sound(self, outcome: Outcome) -> bool:
        """Return whether VASP ended by itself, with sound numbers: only stress or forces may be above the tolerance."""
        if outcome.energy_ev is None or outcome.electronic_converged is False:
            return False
        if outcome.converged:
            return True
        outcar = OutcarReader(self._folder / "OUTCAR", len(self._request.structure))
        outcar.read()
        return outcar.accurate and outcome.ionic_converged is False

    def _attempt(self, geometry: Structure, progress: Progress, tightened: float) -> Outcome:
        """Run VASP once."""
        left = max(1, self._request.card.max_steps - progress.steps_before)
        inputs = self._inputs(geometry, left, tightened)
        inputs.write(self._folder)
        (self._folder / "STOPCAR").unlink(missing_ok=True)
        progress.save(self._folder)
        tail = StepTail(self._folder / "OUTCAR", free_components(self._request.structure)[inputs.order])
        beat = Heartbeat(self._monitor, progress.steps_before)

        def poll() -> None:
            fresh = tail.read()
            if self._request.task == "relax_c" and constraints_unknown(tail.version):
                raise too_old(tail.version)
            beat.tell(tail, fresh)

        failure = run_under_custodian(
            self._folder, self._command, using=handlers(self._settings.wall_time_s), poll=poll
        )
        try:
            outcome = outcome_of(self._folder, self._request, inputs, stand_in=self._settings.stand_in)
        except EngineError as error:
            outcome = self._nothing(error, failure, tail)
        if failure is not None:
            why = f"{words(failure)}; {telling_line(self._folder)}"
            outcome.error = f"{outcome.error}; {why}" if outcome.error else f"VASP or custodian gave up: {why}"
            if outcome.reason in (None, Reason.DAMAGED, Reason.NOT_RELAXED):
                outcome.reason = Reason.FAILED
        outcome.warnings = [*inputs.notes, *_corrections(self._folder), *outcome.warnings]
        return outcome

    def _nothing(self, error: EngineError, failure: BaseException | None, tail: StepTail) -> Outcome:
        """Return the outcome of a run that failed before its first ionic step was complete.

        Raises
        ------
        EngineError
            If VASP did not fail, or did not begin.
        """
        if failure is None or (not tail.steps and tail.version is None):
            why = "" if failure is None else f" ({telling_line(self._folder)})"
            raise EngineError(f"{error.problem}{why}", error.remedy) from None
        return Outcome(
            self._request.structure,
            None,
            None if self._request.task == "static" else False,
            None,
            error=f"VASP failed before the first ionic step was complete: {telling_line(self._folder)}",
            reason=Reason.FAILED,
        )

    def _inputs(self, geometry: Structure, steps: int, tightened: float) -> Inputs:
        card = self._request.card.model_copy(update={"max_steps": steps})
        inputs = inputs_of(replace(self._request, structure=geometry, card=card), self._settings)
        # k-points and spin were settled for the start; a cell that has changed a little keeps them
        inputs = replace(inputs, kpoints=self.inputs.kpoints, settings=self.inputs.settings)
        if tightened != 1.0:
            inputs.incar["EDIFFG"] = inputs.incar["EDIFFG"] * tightened
        return inputs

    def _resume(self) -> tuple[Progress, Structure, Outcome | None]:
        """Return what earlier attempts left: steps made, geometry to continue from, or the finished outcome."""
        start, task, most = self._request.structure, self._request.task, self._request.card.max_steps
        fresh = Progress(signature(self.inputs), geometry_digest(start))
        progress = Progress.load(self._folder)
        if progress is None or (progress.signature, progress.start) != (fresh.signature, fresh.start):
            if self._has_outputs():
                put_aside(self._folder, 1, "other")
                (self._folder / "WAVECAR").unlink(missing_ok=True)
            return fresh, start, None
        try:
            outcome = outcome_of(self._folder, self._request, self.inputs, stand_in=self._settings.stand_in)
        except EngineError:
            outcome = None
        steps = steps_made(self._folder)
        settled = outcome is not None and outcome.converged and not (self._cell_moves and steps > 1)
        if outcome is not None and (settled or (progress.steps_before + steps >= most > 0 and steps)):
            return progress, start, self._summed(outcome, progress)
        geometry = continued(self._folder, start, self.inputs, task) if task != "static" else None
        if geometry is None:
            geometry = start if outcome is None or outcome.energy_ev is None else outcome.structure
        if self._has_outputs():
            self._put_aside(progress, steps if task != "static" else 0)
        return progress, geometry, None

    def _has_outputs(self) -> bool:
        return any((self._folder / name).exists() for name in OUTPUTS)

    def _put_aside(self, progress: Progress, steps: int) -> None:
        progress.attempts += 1
        progress.steps_before += steps
        put_aside(self._folder, progress.attempts)
        progress.save(self._folder)

    def _summed(self, outcome: Outcome, progress: Progress) -> Outcome:
        if self._request.task == "static":
            return outcome
        outcome.ionic_steps += progress.steps_before
        if progress.attempts:
            outcome.warnings.append(f"{progress.attempts + 1} runs of VASP, {outcome.ionic_steps} ionic steps in all")
        return outcome


def vasp_command(settings: VaspSettings, gamma_only: bool, images: int = 0) -> tuple[str, ...]:
    """Return the words of the command line.

    Parameters
    ----------
    settings
        Of this machine.
    gamma_only
        Whether the version for the Gamma point alone will do.
    images
        Of a band, between its ends.

    Raises
    ------
    EngineError
        If the program is not there.
    """
    if images and settings.band_command:
        find_program(settings.band_command, "vasp")
        return tuple(word.replace("{images}", str(images)) for word in settings.band_command)
    gamma = settings.gamma_command
    if gamma_only and gamma and shutil.which(gamma[0]) and shutil.which(gamma[-1]):
        return gamma
    find_program(settings.command, "vasp")
    return settings.command


class Heartbeat:
    """Tells the monitor of new steps, and of the last one again now and then, so that it can ask for a stop."""

    def __init__(self, monitor: Monitor | None, before: int) -> None:
        self._monitor, self._before, self._told = monitor, before, 0
        self._last = time.monotonic()

    def tell(self, tail: StepTail, fresh: list[tuple[float, float]]) -> None:
        if self._monitor is None:
            return
        for energy, force in fresh:
            self._monitor(self._before + self._told, energy, force)
            self._told += 1
            self._last = time.monotonic()
        if time.monotonic() - self._last > HEARTBEAT_S:
            self._last = time.monotonic()
            if tail.steps:
                self._monitor(self._before + self._told - 1, *tail.steps[-1])
            else:
                pulse()


def signature(inputs: Inputs) -> str:
    """Return a hash of everything but the geometry and the step limit."""
    tags = {key: str(value) for key, value in inputs.incar.items() if key not in _NO_MATTER}
    content = [sorted(tags.items()), str(inputs.kpoints), [s.specie.symbol for s in inputs.structure], inputs.titles]
    return json_sha256(content)[:16]


def geometry_digest(structure: Structure) -> str:
    """Return a hash of cell and positions to 1e-5 angstrom."""
    content = [np.round(structure.lattice.matrix, 5).tolist(), np.round(structure.cart_coords, 5).tolist()]
    return json_sha256(content)[:16]


def words(error: BaseException) -> str:
    """Return an exception as it reads in a message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _corrections(folder: Path) -> list[str]:
    """Return what custodian's handlers changed, as text."""
    return [
        f"custodian: {', '.join(map(str, correction.get('errors') or ['unknown error']))}; "
        f"{len(correction.get('actions') or [])} change(s) of the inputs"
        for correction in corrections(folder)
    ]
