"""One calculation with pw.x in its folder: as many runs of the program as it takes, and what they amount to.

The folder holds ``pw.in`` and ``pw.out``, then ``pw.2.in`` and so on where one run was not enough, and
``anodeflow.json``, which says where each of them started. A calculation that was killed continues from the newest
geometry in the newest output. pw.x's own restart files are never used: what a killed run leaves of them may be
half written, and a geometry costs one self-consistent calculation.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.files import json_sha256
from anodeflow.settings import QeSettings
from anodeflow.workflows.engines.contract import Monitor, Outcome, Reason, Request
from anodeflow.workflows.engines.espresso.folder import end_orphan, environment, load_record, numbers, stem
from anodeflow.workflows.engines.espresso.inputs import PREFIX, ScfOptions, inputs_of
from anodeflow.workflows.engines.espresso.outputs import (
    DamagedOutputError,
    Output,
    Reader,
    Step,
    outcome_of,
    shortfall,
)
from anodeflow.workflows.engines.espresso.potential import levels_of
from anodeflow.workflows.engines.espresso.pseudopotentials import Pseudopotential, fitting_pseudopotentials
from anodeflow.workflows.engines.external import run_program, write_whole
from anodeflow.workflows.engines.motion.relax import CELL_COMPONENTS, EXPLODED_EV_PER_ANGSTROM
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.plane_waves.levels import add_levels

PROGRAM = "Quantum ESPRESSO (pw.x)"
_STATE = "anodeflow.json"
_STATE_VERSION = 1
# How the electrons are sought, one after the other, until they are found.
LADDER = (
    ScfOptions(0.7),
    ScfOptions(0.3),
    ScfOptions(0.1, max_iterations=200),
    ScfOptions(0.1, diagonalization="cg", max_iterations=200),
)
# Errors of pw.x that another way to the electrons may cure.
_ELECTRONIC_ROUTINES = ("c_bands", "cdiaghg", "rdiaghg", "electrons", "diropn", "cegterg", "regterg", "mix_rho")
# Errors that a new start at the newest geometry may cure: the cell left the range of the tables.
_GEOMETRIC_ROUTINES = ("scale_h", "allocate_nlpot", "bfgs", "trust_radius", "interpolate", "init_us_1", "interp_rho")
# New starts of a relaxation whose tolerances were not met.
_ROUNDS = 10


@dataclass
class Run:
    """One run of the program; ``status`` is None for one of an earlier process."""

    number: int
    start: Structure
    output: Output
    damage: DamagedOutputError | None = None
    status: int | None = None


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
        How pw.x is started, where pseudopotentials are, and when this process has to be through, counted from here.
    first
        For one geometry of a band or of dynamics: the first one of all, see :func:`pw_input`.
    waves_of
        Folder of another geometry whose wave functions to start from; they are moved here.
    pseudopotentials
        The file of each element; those that the settings name if None.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        monitor: Monitor | None,
        settings: QeSettings,
        *,
        first: Structure | None = None,
        waves_of: Path | None = None,
        pseudopotentials: Mapping[str, Pseudopotential] | None = None,
    ) -> None:
        self.request, self.structure, self.task = request, request.structure, request.task
        self.card, self.charge = request.card, request.charge
        self.directory, self.monitor, self.settings = folder, monitor, settings
        self.first, self.waves_of = first, waves_of
        if pseudopotentials is None:
            pseudopotentials = fitting_pseudopotentials(self.structure.symbol_set, self.card, settings)
        self.pseudopotentials = pseudopotentials
        self._clock = time.monotonic()
        self._electronic = electronic(first or self.structure, self.task, self.card, self.charge)
        self._smearing = self._electronic.smearing.kind if self._electronic.smearing.width_ev > 0 else "none"
        self._path: list[Step] = []
        self._warnings = list(self._electronic.notes)
        self._failures = 0
        self._rounds = 0
        self._last_change = 0.0
        self._state: dict[str, Any] = {}

    # --- the whole -----------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run until converged, or until there is a reason why not.

        Every outcome leaves ``returned`` in the folder's record, so that a later call knows whether to continue.

        Raises
        ------
        EngineError
            If pw.x is missing, or refuses its input.
        """
        last: Run | None = None
        for last in self._earlier_runs():
            self.absorb(last)
        outcome = None
        while outcome is None:
            outcome = self.judge(last) if last is not None else None
            if outcome is None:
                outcome = self._out_of_time()
            if outcome is None:
                last = self._start(last)
                self.absorb(last)
        self._state["returned"] = "converged" if outcome.converged else "unconverged"
        self._save()
        if self.first is None:
            add_levels(
                outcome,
                self._electronic,
                lambda axis: levels_of(self.directory, outcome.structure, axis, self.settings),
            )
        if outcome.converged and self.first is None:
            for file in (self.directory / "out").glob(f"{PREFIX}.save/wfc*"):
                file.unlink(missing_ok=True)
        return outcome

    def absorb(self, run: Run) -> None:
        """Take the steps of a run: a geometry computed again replaces itself."""
        energies = [step.extrapolated_ev(self._smearing) for step in run.output.steps if not step.final_basis]
        if energies:
            self._last_change = energies[-1] - energies[-2] if len(energies) > 1 else 0.0
        for step in run.output.steps:
            self._take(step)

    def _take(self, step: Step) -> None:
        if self._path and self._path[-1].same_geometry(step.cell_angstrom, step.fractional):
            self._path[-1] = step
        else:
            self._path.append(step)

    # --- what a run means ----------------------------------------------------------------------------

    def judge(self, run: Run) -> Outcome | None:
        """Return the outcome after a run, or None if another one is to follow."""
        output, name = run.output, f"{stem(run.number)}.out"
        if self._path and self._path[-1].largest_force > EXPLODED_EV_PER_ANGSTROM:
            largest = f"{self._path[-1].largest_force:.3g} eV/angstrom"
            return self._failed(f"the forces exploded at step {self._moves}: {largest}", Reason.EXPLODED)
        if run.damage is not None and run.status is not None:
            return self._failed(run.damage.problem, Reason.DAMAGED)
        if output.end == "error":
            return self._after_error(run, name)
        if output.scf_failed:
            return self._next_rung(f"{name}: the electrons did not converge")
        if run.status is None and (output.end == "open" or output.stopped in ("time", "user")):
            return None  # left by an earlier process: continue
        if output.stopped == "time":
            return self._stopped_at_wall_time()
        if output.stopped == "user":
            why = f"stopped by {PREFIX}.EXIT after {self._moves} steps; run it again to continue"
            return self._partial(why, Reason.STOPPED)
        if output.end == "open":
            return self._partial(_ended(run.status, self.directory / name, output.lines), Reason.FAILED)
        if output.last is None:
            why = f"{self.directory / name}:{output.lines}: pw.x ended without an energy"
            return self._failed(why, Reason.FAILED)
        return self._check_step(output)

    def _check_step(self, output: Output) -> Outcome | None:
        """Compare the last step of a run that came to its end with what was asked for."""
        step = self._path[-1]
        if self.task == "static":
            return self._outcome(step)
        left = shortfall(step, self.task, self.card)
        if left is None:
            outcome = self._outcome(step)
            outcome.ionic_converged = True
            return outcome
        if self._moves >= self.card.max_steps:
            return self._unrelaxed(f"not relaxed after {self.card.max_steps} steps: {left}", Reason.NOT_RELAXED)
        self._rounds += 1
        if self._rounds > _ROUNDS:
            return self._unrelaxed(f"not relaxed after {_ROUNDS} new starts: {left}", Reason.NOT_RELAXED)
        if output.stopped == "optimiser":
            self._warnings.append(f"pw.x's optimiser gave up after {self._moves} steps and was started again")
        return None

    def _after_error(self, run: Run, name: str) -> Outcome | None:
        output = run.output
        routine = output.error_routine or ""
        where = f"{self.directory / name}:{output.error_line}"
        if routine in _ELECTRONIC_ROUTINES and "charge is wrong" not in (output.error_message or ""):
            return self._next_rung(f"{where}: {output.error_message}")
        if routine in _GEOMETRIC_ROUTINES and output.steps and self._rounds < _ROUNDS:
            self._rounds += 1
            self._warnings.append(f"{where}: {output.error_message}; started again from the last geometry")
            return None
        raise EngineError(f"{where}: pw.x: {output.error_message}", "see that file and the pw.in beside it")

    def _next_rung(self, why: str) -> Outcome | None:
        before = self._options()
        self._failures += 1
        if self._failures < len(LADDER):
            self._warnings.append(f"{why} with {before}; tried again with {self._options()}")
            return None
        outcome = self._partial(f"{why}, last with {before}", Reason.ELECTRONS)
        outcome.electronic_converged = False
        return outcome

    def _out_of_time(self) -> Outcome | None:
        seconds = self._seconds_left()
        if seconds is None or seconds > 0:
            return None
        return self._stopped_at_wall_time()

    def _stopped_at_wall_time(self) -> Outcome:
        why = f"stopped at its wall time after {self._moves} steps; run it again to continue"
        return self._partial(why, Reason.OUT_OF_TIME)

    # --- outcomes ------------------------------------------------------------------------------------

    @property
    def _moves(self) -> int:
        return max(0, len(self._path) - 1)

    def _outcome(self, step: Step) -> Outcome:
        if step.scf_correction_ev_per_angstrom > self.card.force_tolerance_ev_per_angstrom and self.task != "static":
            self._warnings.append(
                f"the electrons' share of the forces is uncertain by {step.scf_correction_ev_per_angstrom:.3f} "
                "eV/angstrom, more than the tolerance; lower energy_tolerance_ev"
            )
        outcome = outcome_of(
            self._path,
            self.request,
            self._smearing,
            last_change_ev=self._last_change,
            point=self.first is not None,
        )
        outcome.warnings = self._warnings
        return outcome

    def _partial(self, why: str, reason: Reason) -> Outcome:
        """Return the last complete step, marked as no result; a static calculation has none."""
        if self.task == "static" or not self._path:
            return self._failed(why, reason)
        return self._unrelaxed(why, reason)

    def _unrelaxed(self, why: str, reason: Reason) -> Outcome:
        outcome = self._outcome(self._path[-1])
        outcome.ionic_converged = False
        outcome.error, outcome.reason = why, reason
        return outcome

    def _failed(self, why: str, reason: Reason) -> Outcome:
        step = self._path[-1] if self._path else None
        here = self._structure(step.cell_angstrom, step.fractional) if step else self.structure
        return Outcome(
            structure=here,
            energy_ev=None,
            ionic_converged=None if self.task == "static" else False,
            electronic_converged=None,
            ionic_steps=self._moves,
            error=why,
            reason=reason,
            warnings=self._warnings,
        )

    def _structure(self, cell: np.ndarray, fractional: np.ndarray) -> Structure:
        return Structure(
            cell,
            self.structure.species,
            fractional,
            site_properties=self.structure.site_properties,
        )

    # --- one run -------------------------------------------------------------------------------------

    def _options(self) -> ScfOptions:
        rung = LADDER[min(self._failures, len(LADDER) - 1)]
        slab = self._electronic.slab and self._failures > 0
        return ScfOptions(rung.mixing_beta, slab, rung.diagonalization, rung.max_iterations)

    def _seconds_left(self) -> float | None:
        allowed = self.settings.wall_time_s
        if allowed is None:
            return None
        margin = min(600.0, max(20.0, 0.05 * allowed))
        return allowed - margin - (time.monotonic() - self._clock)

    def _start(self, before: Run | None) -> Run:
        if before is None:
            start = self.structure
        elif before.damage is not None and self._path:
            start = self._structure(self._path[-1].cell_angstrom, self._path[-1].fractional)
        else:
            start = self._structure(before.output.cell_angstrom, before.output.fractional)
        number = 1 + max(numbers(self.directory), default=0)
        name = stem(number)
        shutil.rmtree(self.directory / "out", ignore_errors=True)
        waves = before is None and self._take_waves()
        inputs = inputs_of(
            replace(self.request, structure=start),
            self.pseudopotentials,
            options=self._options(),
            max_seconds=self._seconds_left(),
            max_steps=max(1, self.card.max_steps - self._moves),
            like=self.first,
            waves=waves,
        )
        inputs.write(self.directory, name)
        self._state.setdefault("runs", []).append(
            {"number": number, "cell": start.lattice.matrix.tolist(), "fractional": start.frac_coords.tolist()}
        )
        self._state["returned"] = None
        self._save()
        for leftover in (f"{PREFIX}.EXIT", "CRASH"):
            (self.directory / leftover).unlink(missing_ok=True)

        reader = Reader(self.directory / f"{name}.out", start, stress=self._needs_stress)
        base = len(self._path)
        if self._path and before is not None and self._path[-1].same_geometry(start.lattice.matrix, start.frac_coords):
            base -= 1
        damage, status = None, -1
        try:
            status = run_program(
                [*self.settings.command, *self.settings.words, "-in", f"{name}.in"],
                self.directory,
                output=f"{name}.out",
                program=PROGRAM,
                environment=environment(),
                poll=self._reporter(reader, base),
                ask_to_stop=self._ask_to_stop,
            )
        except DamagedOutputError as error:
            damage = error
        return Run(number, start, reader.result, damage, status)

    def _reporter(self, reader: Reader, base: int) -> Callable[[], None]:
        """Return what reads new output, and tells the monitor of every step in it, the first of which is `base`."""
        reported = 0

        def report() -> None:
            nonlocal reported
            reader.read()
            while reported < len(reader.result.steps):
                step = reader.result.steps[reported]
                reported += 1
                if self.monitor is not None and not step.final_basis:
                    self.monitor(base + reported - 1, step.extrapolated_ev(self._smearing), step.largest_force)

        return report

    def _take_waves(self) -> bool:
        if self.waves_of is None:
            return False
        try:
            (self.waves_of / "out").rename(self.directory / "out")
        except OSError:
            return False
        return True

    def _ask_to_stop(self) -> None:
        with contextlib.suppress(OSError):
            (self.directory / f"{PREFIX}.EXIT").touch()

    # --- what an earlier process left ----------------------------------------------------------------

    def _earlier_runs(self) -> list[Run]:
        """Runs of this very calculation that an earlier process left in the folder, oldest first."""
        end_orphan(self.directory)
        identity = self._identity()
        state = load_record(self.directory / _STATE)
        self._state = {"version": _STATE_VERSION, "identity": identity, "runs": [], "returned": None, "ladder_from": 0}
        if state is None or state.get("version") != _STATE_VERSION or state.get("identity") != identity:
            return []
        try:
            earlier = [self._read_run(record) for record in state["runs"]]
            ladder_from = int(state.get("ladder_from", 0))
        except (KeyError, TypeError, ValueError):
            return []
        runs = [run for run in earlier if run is not None]
        if not runs:
            return []
        returned = state.get("returned")
        computed = [step for run in runs for step in run.output.steps]
        if returned and computed and self._is_start(computed[-1]):
            return []  # its document was stored, and is being continued from
        if returned == "unconverged":
            ladder_from = 1 + runs[-1].number
        self._state |= {"runs": state["runs"], "ladder_from": ladder_from}
        for run in runs:
            if run is not runs[-1] and run.number >= ladder_from and _electronic_failure(run.output):
                self._failures += 1
        if ladder_from > runs[-1].number:
            # A verdict was given: only the geometries count, and another attempt is made.
            runs[-1].output.scf_failed, runs[-1].output.end = False, "open"
        if computed:
            moves = len({step.fractional.tobytes() + step.cell_angstrom.tobytes() for step in computed})
            self._warnings.append(f"continued after {moves} computed geometries of an earlier, interrupted attempt")
        return runs

    @property
    def _needs_stress(self) -> bool:
        return self.task in CELL_COMPONENTS or self.request.stress

    def _is_start(self, step: Step) -> bool:
        return bool(
            np.allclose(step.cell_angstrom, self.structure.lattice.matrix, atol=1e-6)
            and np.allclose(step.fractional, self.structure.frac_coords, atol=1e-7)
        )

    def _read_run(self, record: dict[str, Any]) -> Run | None:
        number = int(record["number"])
        start = self._structure(np.asarray(record["cell"], dtype=float), np.asarray(record["fractional"], dtype=float))
        path = self.directory / f"{stem(number)}.out"
        if not path.is_file():
            return None
        reader = Reader(path, start, stress=self._needs_stress)
        try:
            reader.read()
        except DamagedOutputError as error:
            return Run(number, start, reader.result, error)
        return Run(number, start, reader.result)

    def _identity(self) -> str:
        content: list[Any] = [
            self.task,
            self.charge,
            self.card.hash,
            [site.specie.symbol for site in self.structure],
            sorted((element, p.digest) for element, p in self.pseudopotentials.items()),
        ]
        # What was computed without the stress does not serve where it is wanted.
        return json_sha256([*content, "stress"] if self.request.stress else content)[:32]

    def _save(self) -> None:
        write_whole(self.directory / _STATE, json.dumps(self._state))


def _electronic_failure(output: Output) -> bool:
    return output.scf_failed or (output.end == "error" and output.error_routine in _ELECTRONIC_ROUTINES)


def _ended(status: int | None, file: Path, line: int) -> str:
    how = f"ended with status {status}"
    if status is not None and (status < 0 or 128 < status < 160):
        number = -status if status < 0 else status - 128
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            how += " (out of memory?)"
    return f"pw.x {how} before it was through ({file}:{line}); run it again to continue"
