"""One static calculation or relaxation with VASP in its folder: attempts, rounds, restarts, and their outcome."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.settings import VaspSettings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Monitor, Outcome, Task
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.vasp.inputs import VaspInputs, vasp_inputs
from anodeflow.workflows.monitor import pulse

if TYPE_CHECKING:
    from anodeflow.workflows.engines.vasp.process import Progress, StepTail

# A relaxed cell is computed again with plane waves of its own, until it stays where it is.
MAX_ROUNDS = 5
# How often a stop is looked for while VASP works on one ionic step.
HEARTBEAT_S = 2.0


class VaspCalculation:
    """One calculation in its folder: attempts, rounds, and what they add up to."""

    def __init__(
        self,
        structure: Structure,
        task: Task,
        card: MethodCard,
        charge: int,
        monitor: Monitor | None,
        directory: Path,
        settings: VaspSettings,
    ) -> None:
        self.start, self.task, self.card, self.charge = structure, task, card, charge
        self.monitor, self.directory, self.settings = monitor, directory, settings
        self.cell_moves = task in ("relax_cell", "relax_c")
        self.inputs = vasp_inputs(structure, task, card, charge, settings)
        self.command = vasp_command(settings, self.inputs.gamma_only)

    def run(self) -> Outcome:
        """Go on with what is in the folder, or start."""
        progress, geometry, finished = self._resume()
        if finished is not None:
            return finished
        tightened = 1.0
        for number in range(1, MAX_ROUNDS + 1):
            outcome = self._attempt(geometry, progress, tightened)
            made = outcome.ionic_steps
            left = self.card.max_steps - progress.steps_before - made
            still = made == 1 and outcome.converged
            again = self.cell_moves and not still and left > 0 and self._stands(outcome)
            if not again or number == MAX_ROUNDS:
                break
            if not outcome.converged:
                tightened *= 0.3  # VASP's own criterion was met before the card's stress tolerance
            geometry = outcome.structure
            self._put_aside(progress, made)
        if self.cell_moves and outcome.converged and made > 1:
            outcome.warnings.append(
                f"the cell still moved in round {number}: its energy is that of plane waves of the round's first cell"
            )
        return self._summed(outcome, progress)

    def _stands(self, outcome: Outcome) -> bool:
        """Whether VASP ended by itself, with sound numbers: only stress or forces may be above the tolerance."""
        from anodeflow.workflows.engines.vasp.outputs import read_outcar

        if outcome.energy_ev is None or outcome.electronic_converged is False:
            return False
        return outcome.converged or (
            read_outcar(self.directory / "OUTCAR").accurate and outcome.ionic_converged is False
        )

    def _attempt(self, geometry: Structure, progress: Progress, tightened: float) -> Outcome:
        from anodeflow.workflows.engines.vasp.outputs import constraints_unknown, outcome_of, too_old
        from anodeflow.workflows.engines.vasp.process import StepTail, handlers, run_under_custodian, telling_line

        left = max(1, self.card.max_steps - progress.steps_before)
        inputs = self._inputs(geometry, left, tightened)
        inputs.write(self.directory)
        (self.directory / "STOPCAR").unlink(missing_ok=True)
        progress.save(self.directory)
        tail = StepTail(self.directory / "OUTCAR", _free_in_file(self.start, inputs))
        beat = Heartbeat(self.monitor, progress.steps_before)

        def poll() -> None:
            fresh = tail.read()
            if self.task == "relax_c" and constraints_unknown(tail.version):
                raise too_old(tail.version)
            beat.tell(tail, fresh)

        failure = run_under_custodian(
            self.directory, self.command, using=handlers(self.settings.wall_time_s), poll=poll
        )
        try:
            outcome = outcome_of(
                self.directory, self.start, inputs, self.task, self.card, stand_in=self.settings.stand_in
            )
        except EngineError as error:
            if failure is None or (not tail.steps and tail.version is None):
                why = "" if failure is None else f" ({telling_line(self.directory)})"
                raise EngineError(f"{error.problem}{why}", error.remedy) from None
            outcome = Outcome(
                self.start, None, None if self.task == "static" else False, None,
                error=f"VASP failed before the first ionic step was complete: {telling_line(self.directory)}",
            )  # fmt: skip
        if failure is not None and outcome.error is None:
            outcome.error = f"VASP or custodian gave up: {words(failure)}; {telling_line(self.directory)}"
        elif failure is not None:
            outcome.error = f"{outcome.error}; {words(failure)}; {telling_line(self.directory)}"
        outcome.warnings = [*inputs.notes, *_corrections(self.directory), *outcome.warnings]
        return outcome

    def _inputs(self, geometry: Structure, steps: int, tightened: float) -> VaspInputs:
        card = self.card.model_copy(update={"max_steps": steps})
        made = vasp_inputs(geometry, self.task, card, self.charge, self.settings)
        # k-points and spin were settled for the start; a cell that has changed a little keeps them
        made = replace(made, kpoints=self.inputs.kpoints, settings=self.inputs.settings)
        if tightened != 1.0:
            made.incar["EDIFFG"] = made.incar["EDIFFG"] * tightened
        return made

    def _resume(self) -> tuple[Progress, Structure, Outcome | None]:
        """What earlier attempts left: steps made, geometry to go on from, or the finished outcome."""
        from anodeflow.workflows.engines.vasp.outputs import outcome_of
        from anodeflow.workflows.engines.vasp.process import OUTPUTS, Progress, continued, put_aside, steps_made

        fresh = Progress(signature(self.inputs), geometry_digest(self.start))
        found = Progress.load(self.directory)
        if found is None or (found.signature, found.start) != (fresh.signature, fresh.start):
            if any((self.directory / name).exists() for name in OUTPUTS):
                put_aside(self.directory, 1, "other")
                (self.directory / "WAVECAR").unlink(missing_ok=True)
            return fresh, self.start, None
        try:
            outcome = outcome_of(
                self.directory, self.start, self.inputs, self.task, self.card, stand_in=self.settings.stand_in
            )
        except EngineError:
            outcome = None
        made = steps_made(self.directory)
        settled = outcome is not None and outcome.converged and not (self.cell_moves and made > 1)
        if outcome is not None and (settled or (found.steps_before + made >= self.card.max_steps > 0 and made)):
            return found, self.start, self._summed(outcome, found)
        geometry = continued(self.directory, self.start, self.inputs, self.task) if self.task != "static" else None
        if geometry is None:
            geometry = self.start if outcome is None or outcome.energy_ev is None else outcome.structure
        if any((self.directory / name).exists() for name in OUTPUTS):
            self._put_aside(found, made if self.task != "static" else 0)
        return found, geometry, None

    def _put_aside(self, progress: Progress, made: int) -> None:
        from anodeflow.workflows.engines.vasp.process import put_aside

        progress.attempts += 1
        progress.steps_before += made
        put_aside(self.directory, progress.attempts)
        progress.save(self.directory)

    def _summed(self, outcome: Outcome, progress: Progress) -> Outcome:
        if self.task == "static":
            return outcome
        outcome.ionic_steps += progress.steps_before
        if progress.attempts:
            outcome.warnings.append(f"{progress.attempts + 1} runs of VASP, {outcome.ionic_steps} ionic steps in all")
        return outcome


def vasp_command(settings: VaspSettings, gamma_only: bool, images: int = 0) -> tuple[str, ...]:
    """The words of the command line for a calculation, or for a band of so many images.

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


def _free_in_file(start: Structure, inputs: VaspInputs) -> np.ndarray:
    from anodeflow.workflows.engines.vasp.outputs import free_components

    return free_components(start)[inputs.order]


def signature(inputs: VaspInputs) -> str:
    """Hash of everything but the geometry and the step limit."""
    tags = {key: str(value) for key, value in inputs.incar.items() if key not in ("NSW", "DIPOL")}
    content = [sorted(tags.items()), str(inputs.kpoints), [s.specie.symbol for s in inputs.structure], inputs.titles]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def geometry_digest(structure: Structure) -> str:
    """Hash of cell and positions to 1e-5 angstrom."""
    content = [np.round(structure.lattice.matrix, 5).tolist(), np.round(structure.cart_coords, 5).tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def words(error: BaseException) -> str:
    """How an exception reads in a message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _corrections(directory: Path) -> list[str]:
    """What custodian's handlers changed, in words."""
    try:
        log = json.loads((directory / "custodian.json").read_text())
        made = [c for run in log for c in run.get("corrections", [])]
        return [
            f"custodian: {', '.join(map(str, c.get('errors') or ['unknown error']))}; "
            f"{len(c.get('actions') or [])} change(s) of the inputs"
            for c in made
        ]
    except (OSError, ValueError, TypeError, AttributeError):
        return []
