"""One calculation with pw.x in its folder: as many runs of the program as it takes, and what they amount to.

The folder holds ``pw.in`` and ``pw.out``, then ``pw.2.in`` and so on where one run was not enough, and
``anodeflow.json``, which says where each of them started. A calculation that was killed goes on from the newest
geometry in the newest output. pw.x's own restart files are never used: what a killed run leaves of them may be
half written, and a geometry costs one self-consistent calculation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Monitor, Outcome, Task
from anodeflow.workflows.engines.espresso.folder import end_orphan, environment, load_record, numbers, stem
from anodeflow.workflows.engines.espresso.inputs import PREFIX, ScfOptions, pw_input
from anodeflow.workflows.engines.espresso.outputs import DamagedOutputError, OutputReader, PwOutput, Step
from anodeflow.workflows.engines.espresso.pseudopotentials import Pseudopotential
from anodeflow.workflows.engines.external import run_program, write_whole
from anodeflow.workflows.engines.motion.relax import CELL_COMPONENTS, EXPLODED_EV_PER_ANGSTROM
from anodeflow.workflows.engines.plane_waves.electronic import electronic

STATE = "anodeflow.json"
STATE_VERSION = 1
# How the electrons are sought, one after the other, until they are found.
LADDER = (
    ScfOptions(0.7),
    ScfOptions(0.3),
    ScfOptions(0.1, max_iterations=200),
    ScfOptions(0.1, diagonalization="cg", max_iterations=200),
)
# Errors of pw.x that another way to the electrons may cure.
ELECTRONIC_ROUTINES = ("c_bands", "cdiaghg", "rdiaghg", "electrons", "diropn", "cegterg", "regterg", "mix_rho")
# Errors that a new start at the newest geometry may cure: the cell left the range of the tables.
GEOMETRIC_ROUTINES = ("scale_h", "allocate_nlpot", "bfgs", "trust_radius", "interpolate", "init_us_1", "interp_rho")
# New starts of a relaxation whose tolerances were not met.
ROUNDS = 10
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass
class _Run:
    """One run of the program."""

    number: int
    start: Structure
    output: PwOutput
    damage: DamagedOutputError | None = None
    # None: in an earlier process
    status: int | None = None


@dataclass
class QeRun:
    """One calculation.

    Parameters
    ----------
    structure, task, card, charge, monitor, directory
        As for :meth:`Engine.compute`.
    pseudopotentials
        The file of each element.
    command
        How pw.x is started; ``-in FILE`` is appended.
    wall_time_s
        When this process has to be through, counted from here.
    like
        For one geometry of a band or of dynamics: the first one of all, see :func:`pw_input`.
    waves_of
        Folder of another geometry whose wave functions to start from; they are moved here.
    """

    structure: Structure
    task: Task
    card: MethodCard
    charge: int
    monitor: Monitor | None
    directory: Path
    pseudopotentials: Mapping[str, Pseudopotential]
    command: Sequence[str]
    wall_time_s: float | None = None
    like: Structure | None = None
    waves_of: Path | None = None

    _path: list[Step] = field(default_factory=list)
    _warnings: list[str] = field(default_factory=list)
    _failures: int = 0
    _rounds: int = 0
    _last_change: float = 0.0

    def __post_init__(self) -> None:
        self._clock = time.monotonic()
        self._settings = electronic(self.like or self.structure, self.task, self.card, self.charge)
        self._smearing = self._settings.smearing.kind if self._settings.smearing.width_ev > 0 else "none"
        self._warnings.extend(self._settings.notes)
        self._state: dict[str, Any] = {}

    # --- the whole -----------------------------------------------------------------------------------

    def compute(self) -> Outcome:
        """Run until converged, or until there is a reason why not.

        Every outcome leaves ``returned`` in the folder's record, so that a later call knows whether to go on.

        Raises
        ------
        EngineError
            If pw.x is missing, or refuses its input.
        """
        last: _Run | None = None
        for last in self._earlier_runs():
            self._absorb(last)
        outcome = None
        while outcome is None:
            outcome = self._judge(last) if last is not None else None
            if outcome is None:
                outcome = self._out_of_time()
            if outcome is None:
                last = self._run(last)
                self._absorb(last)
        self._state["returned"] = "converged" if outcome.converged else "unconverged"
        self._save()
        if outcome.converged and self.like is None:
            for file in (self.directory / "out").glob(f"{PREFIX}.save/wfc*"):
                file.unlink(missing_ok=True)
        return outcome

    def _absorb(self, run: _Run) -> None:
        """Take a run's steps: a geometry computed again replaces itself."""
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

    def _judge(self, run: _Run) -> Outcome | None:
        """The outcome after a run, or None if another one is to follow."""
        output, name = run.output, f"{stem(run.number)}.out"
        if self._path and self._path[-1].largest_force > EXPLODED_EV_PER_ANGSTROM:
            return self._failed(f"the forces exploded at step {self._moves}: {self._path[-1].largest_force:.3g} "
                                "eV/angstrom")  # fmt: skip
        if run.damage is not None and run.status is not None:
            return self._failed(run.damage.problem)
        if output.end == "error":
            return self._after_error(run, name)
        if output.scf_failed:
            return self._next_rung(f"{name}: the electrons did not converge")
        if run.status is None and (output.end == "open" or output.stopped in ("time", "user")):
            return None  # left by an earlier process: go on
        if output.stopped == "time":
            return self._partial(f"stopped at its wall time after {self._moves} steps; run it again to go on")
        if output.stopped == "user":
            return self._partial(f"stopped by {PREFIX}.EXIT after {self._moves} steps; run it again to go on")
        if output.end == "open":
            return self._partial(_ended(run.status, self.directory / name, output.lines))
        if output.last is None:
            return self._failed(f"{self.directory / name}:{output.lines}: pw.x ended without an energy")
        return self._check_step(output)

    def _check_step(self, output: PwOutput) -> Outcome | None:
        """A run came to its end: whether its last step is what was asked for."""
        step = self._path[-1]
        if self.task == "static":
            return self._outcome(step)
        force, stress = step.largest_force, self._stress(step)
        same_basis = self.task not in CELL_COMPONENTS or step.final_basis
        if (
            same_basis
            and force <= self.card.force_tolerance_ev_per_angstrom
            and (stress is None or stress <= self.card.stress_tolerance_gpa)
        ):
            outcome = self._outcome(step)
            outcome.ionic_converged = True
            return outcome
        pressing = "" if stress is None else f", stress {stress:.3f} GPa (tolerance {self.card.stress_tolerance_gpa})"
        left = f"force {force:.3f} eV/angstrom (tolerance {self.card.force_tolerance_ev_per_angstrom}){pressing}"
        if self._moves >= self.card.max_steps:
            return self._unrelaxed(f"not relaxed after {self.card.max_steps} steps: {left}")
        self._rounds += 1
        if self._rounds > ROUNDS:
            return self._unrelaxed(f"not relaxed after {ROUNDS} new starts: {left}")
        if output.stopped == "optimiser":
            self._warnings.append(f"pw.x's optimiser gave up after {self._moves} steps and was started again")
        return None

    def _after_error(self, run: _Run, name: str) -> Outcome | None:
        output = run.output
        routine = output.error_routine or ""
        where = f"{self.directory / name}:{output.error_line}"
        if routine in ELECTRONIC_ROUTINES and "charge is wrong" not in (output.error_message or ""):
            return self._next_rung(f"{where}: {output.error_message}")
        if routine in GEOMETRIC_ROUTINES and output.steps and self._rounds < ROUNDS:
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
        outcome = self._partial(f"{why}, last with {before}")
        outcome.electronic_converged = False
        return outcome

    def _out_of_time(self) -> Outcome | None:
        seconds = self._seconds_left()
        if seconds is None or seconds > 0:
            return None
        return self._partial(f"stopped at its wall time after {self._moves} steps; run it again to go on")

    # --- outcomes ------------------------------------------------------------------------------------

    @property
    def _moves(self) -> int:
        return max(0, len(self._path) - 1)

    def _outcome(self, step: Step) -> Outcome:
        energies = np.array([one.extrapolated_ev(self._smearing) for one in self._path])
        arrays: dict[str, Any] = {
            "forces_ev_per_angstrom": step.forces_ev_per_angstrom,
            "energies_ev": energies,
            "positions_angstrom": np.array([one.fractional @ one.cell_angstrom for one in self._path]),
            "cells_angstrom": np.array([one.cell_angstrom for one in self._path]),
        }
        if self.like is not None:
            arrays["free_energy_ev"] = step.energy_ev
        if step.stress_gpa is not None:
            arrays["stress_gpa"] = step.stress_gpa
        if step.scf_correction_ev_per_angstrom > self.card.force_tolerance_ev_per_angstrom and self.task != "static":
            self._warnings.append(
                f"the electrons' share of the forces is uncertain by {step.scf_correction_ev_per_angstrom:.3f} "
                "eV/angstrom, more than the tolerance; lower energy_tolerance_ev"
            )
        return Outcome(
            structure=self._structure(step.cell_angstrom, step.fractional),
            energy_ev=step.extrapolated_ev(self._smearing),
            ionic_converged=None,
            electronic_converged=True,
            ionic_steps=self._moves,
            max_force_ev_per_angstrom=step.largest_force,
            max_stress_gpa=self._stress(step),
            energy_change_last_step_ev=self._last_change,
            warnings=self._warnings,
            arrays=arrays,
        )

    def _partial(self, why: str) -> Outcome:
        """The last whole step, marked as no result; a static calculation has none."""
        if self.task == "static" or not self._path:
            return self._failed(why)
        return self._unrelaxed(why)

    def _unrelaxed(self, why: str) -> Outcome:
        outcome = self._outcome(self._path[-1])
        outcome.ionic_converged = False
        outcome.error = why
        return outcome

    def _failed(self, why: str) -> Outcome:
        step = self._path[-1] if self._path else None
        here = self._structure(step.cell_angstrom, step.fractional) if step else self.structure
        return Outcome(
            structure=here,
            energy_ev=None,
            ionic_converged=None if self.task == "static" else False,
            electronic_converged=None,
            ionic_steps=self._moves,
            error=why,
            warnings=self._warnings,
        )

    def _stress(self, step: Step) -> float | None:
        """Largest component of the stress among those that the task relaxes, GPa."""
        if step.stress_gpa is None or self.task not in CELL_COMPONENTS:
            return None
        return max(abs(float(step.stress_gpa[_VOIGT[i]])) for i in CELL_COMPONENTS[self.task])

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
        slab = self._settings.slab and self._failures > 0
        return ScfOptions(rung.mixing_beta, slab, rung.diagonalization, rung.max_iterations)

    def _seconds_left(self) -> float | None:
        if self.wall_time_s is None:
            return None
        margin = min(600.0, max(20.0, 0.05 * self.wall_time_s))
        return self.wall_time_s - margin - (time.monotonic() - self._clock)

    def _run(self, before: _Run | None) -> _Run:
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
        write_whole(
            self.directory / f"{name}.in",
            pw_input(
                start,
                self.task,
                self.card,
                self.charge,
                self.pseudopotentials,
                options=self._options(),
                max_seconds=self._seconds_left(),
                max_steps=max(1, self.card.max_steps - self._moves),
                like=self.like,
                waves=waves,
            ),
        )
        self._state.setdefault("runs", []).append(
            {"number": number, "cell": start.lattice.matrix.tolist(), "fractional": start.frac_coords.tolist()}
        )
        self._state["returned"] = None
        self._save()
        for leftover in (f"{PREFIX}.EXIT", "CRASH"):
            (self.directory / leftover).unlink(missing_ok=True)

        reader = OutputReader(self.directory / f"{name}.out", start, stress=self.task in CELL_COMPONENTS)
        reported = 0
        base = len(self._path)
        if self._path and before is not None and self._path[-1].same_geometry(start.lattice.matrix, start.frac_coords):
            base -= 1

        def poll() -> None:
            nonlocal reported
            reader.read()
            while reported < len(reader.result.steps):
                step = reader.result.steps[reported]
                reported += 1
                if self.monitor is not None and not step.final_basis:
                    self.monitor(base + reported - 1, step.extrapolated_ev(self._smearing), step.largest_force)

        damage, status = None, -1
        try:
            status = run_program(
                [*self.command, "-in", f"{name}.in"],
                self.directory,
                output=f"{name}.out",
                what="Quantum ESPRESSO (pw.x)",
                environment=environment(),
                poll=poll,
                ask_to_stop=self._ask_to_stop,
            )
        except DamagedOutputError as error:
            damage = error
        return _Run(number, start, reader.result, damage, status)

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

    def _earlier_runs(self) -> list[_Run]:
        """Runs of this very calculation that an earlier process left in the folder, oldest first."""
        end_orphan(self.directory)
        identity = self._identity()
        state = load_record(self.directory / STATE)
        self._state = {"version": STATE_VERSION, "identity": identity, "runs": [], "returned": None, "ladder_from": 0}
        if state is None or state.get("version") != STATE_VERSION or state.get("identity") != identity:
            return []
        try:
            found = [self._read_run(one) for one in state["runs"]]
            ladder_from = int(state.get("ladder_from", 0))
        except (KeyError, TypeError, ValueError):
            return []
        runs = [run for run in found if run is not None]
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

    def _is_start(self, step: Step) -> bool:
        return bool(
            np.allclose(step.cell_angstrom, self.structure.lattice.matrix, atol=1e-6)
            and np.allclose(step.fractional, self.structure.frac_coords, atol=1e-7)
        )

    def _read_run(self, record: dict[str, Any]) -> _Run | None:
        number = int(record["number"])
        start = self._structure(np.asarray(record["cell"], dtype=float), np.asarray(record["fractional"], dtype=float))
        path = self.directory / f"{stem(number)}.out"
        if not path.is_file():
            return None
        reader = OutputReader(path, start, stress=self.task in CELL_COMPONENTS)
        try:
            reader.read()
        except DamagedOutputError as error:
            return _Run(number, start, reader.result, error)
        return _Run(number, start, reader.result)

    def _identity(self) -> str:
        content = [
            self.task,
            self.charge,
            self.card.hash,
            [site.specie.symbol for site in self.structure],
            sorted((element, p.digest) for element, p in self.pseudopotentials.items()),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _save(self) -> None:
        write_whole(self.directory / STATE, json.dumps(self._state))


def _electronic_failure(output: PwOutput) -> bool:
    return output.scf_failed or (output.end == "error" and output.error_routine in ELECTRONIC_ROUTINES)


def _ended(status: int | None, file: Path, line: int) -> str:
    how = f"ended with status {status}"
    if status is not None and (status < 0 or 128 < status < 160):
        number = -status if status < 0 else status - 128
        with contextlib.suppress(ValueError):
            how = f"was ended by {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            how += " (out of memory?)"
    return f"pw.x {how} before it was through ({file}:{line}); run it again to go on"
