"""VASP: inputs through atomate2, runs under custodian, results judged by the card's tolerances.

The licence of VASP covers program and POTCARs; neither comes with this package. Without them inputs can be written
(with a ``POTCAR.spec``), and results of others read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Element, Structure

from anodeflow.analysis.documents import EngineRecord
from anodeflow.errors import EngineError, InputError
from anodeflow.settings import VaspSettings, load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Capabilities, Engine, Monitor, Outcome, Task
from anodeflow.workflows.engines.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.external import find_program
from anodeflow.workflows.engines.vasp_input import (
    CONSTRAINTS_SINCE,
    SMEARINGS,
    Thermostat,
    VaspInputs,
    assembled,
    vasp_inputs,
    vasp_md_incar,
    vasp_neb_incar,
)
from anodeflow.workflows.engines.vasp_potcar import FUNCTIONAL, find_potcar, potcar_folder, potcar_symbol, spec_valence

if TYPE_CHECKING:
    from anodeflow.workflows.engines.vasp_run import Progress, StepTail

KIND = "plane-wave DFT (PAW)"
STAND_IN_KIND = "stand-in for VASP: not DFT"
# A relaxed cell is computed again with plane waves of its own, until it stays where it is.
MAX_ROUNDS = 5
# How often a stop is looked for while VASP works on one ionic step.
HEARTBEAT_S = 2.0


class VaspEngine(Engine):
    """VASP behind the command of the settings, or (``stand_in: true``) a test program behind its files."""

    name = "vasp"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True,
    )  # fmt: skip

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`. POTCARs that cannot be found are left out; :meth:`missing` names them."""
        settings = load_settings().vasp
        potentials = {}
        for element in sorted(set(elements)):
            with contextlib.suppress(EngineError):
                file = find_potcar(element, settings)
                potentials[element] = f"{file.symbol} {file.digest}"
        content = f"vasp PAW {FUNCTIONAL}"
        if settings.stand_in:
            content = f"stand-in behind the files of vasp: {' '.join(settings.command)}"
        return EngineRecord(
            name=self.name,
            kind=STAND_IN_KIND if settings.stand_in else KIND,
            version=f"as named in the OUTCAR of each calculation; command {settings.command[0]}",
            model=f"POTCAR library {FUNCTIONAL}",
            hash=hashlib.sha256(content.encode()).hexdigest()[:16],
            potentials=potentials,
            stand_in=settings.stand_in,
            mode="a test program in place of VASP: nothing of the card but its tolerances"
            if settings.stand_in
            else "full",
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        settings = load_settings().vasp
        if card.cutoff_ev is None or card.kpoints is None:
            raise EngineError(
                f"card '{card.name}' has no cutoff or k-points, and vasp needs both",
                "choose a card for plane waves, such as pbe-slab",
            )
        if card.smearing is not None and card.smearing.kind not in SMEARINGS:
            raise EngineError(f"VASP has no {card.smearing.kind} smearing", "choose methfessel-paxton or gaussian")
        find_program(settings.command, "vasp")
        if potcar_folder(settings) is None:
            raise EngineError(
                "no folder of POTCARs: neither vasp.potentials in the settings nor PMG_VASP_PSP_DIR is set",
                "set one",
            )
        notes = []
        if settings.stand_in:
            notes.append("vasp.stand_in is set: these are results of a test program, not of VASP and not of DFT")
        if "PAW" not in card.potentials:
            notes.append(f"potentials: VASP's PAW data sets in place of '{card.potentials}'")
        if card.stress_tolerance_gpa < 0.005:
            notes.append("VASP's stress carries noise of some hundredths of a GPa at usual cutoffs")
        return notes

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """See :meth:`Engine.check`."""
        notes = super().check(structure, task, card, charge)
        if task == "relax_c":
            notes.append(
                "cells relaxed along z only need LATTICE_CONSTRAINTS, known from VASP "
                f"{'.'.join(map(str, CONSTRAINTS_SINCE))} on; an older one is stopped at once"
            )
        return notes

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        settings = load_settings().vasp
        absent = []
        for command in (settings.command,):
            try:
                find_program(command, "vasp")
            except EngineError as error:
                absent.append(error.problem)
        for element in elements:
            try:
                find_potcar(element, settings)
            except EngineError as error:
                absent.append(error.problem)
        return absent

    def valence_electrons(self, elements: Iterable[str]) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`; of the POTCARs, else of the table of recommended symbols."""
        settings = load_settings().vasp
        found = {}
        for element in elements:
            try:
                found[element] = find_potcar(element, settings).valence
            except EngineError:
                number = spec_valence(element, settings)
                if number is None:
                    raise EngineError(
                        f"electrons of POTCAR {potcar_symbol(element, settings)} are not known without the file",
                        "set vasp.potentials to a folder of POTCARs",
                    ) from None
                found[element] = number
        return found

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`; right within a factor of three."""
        settings = load_settings().vasp
        valence = {e: spec_valence(e, settings) or min(12, Element(e).Z) for e in structure.symbol_set}
        return plane_wave_seconds(structure, card, valence)

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """See :meth:`Engine.write_inputs`; a POTCAR.spec where a POTCAR is missing."""
        settings = load_settings().vasp
        return vasp_inputs(structure, task, card, charge, settings, spec=self._spec(structure)).write(directory)

    def write_md_inputs(
        self,
        structure: Structure,
        card: MethodCard,
        directory: Path,
        *,
        steps: int | None = None,
        thermostat: Thermostat = "nose-hoover",
        friction_per_ps: float = 10.0,
        start_temperature_k: float | None = None,
    ) -> list[str]:
        """Write the inputs of molecular dynamics; names of the files. See :func:`vasp_md_incar`."""
        tags = vasp_md_incar(
            structure, card, steps=steps, thermostat=thermostat, friction_per_ps=friction_per_ps,
            start_temperature_k=start_temperature_k,
        )  # fmt: skip
        return assembled(structure, tags, card, load_settings().vasp, spec=self._spec(structure)).write(directory)

    def write_neb_inputs(
        self,
        images: Sequence[Structure],
        card: MethodCard,
        directory: Path,
        *,
        climbing: bool = True,
        vtst: bool = True,
        spring_ev_per_angstrom2: int = 5,
    ) -> list[str]:
        """Write the inputs of a nudged elastic band; names of the files. See :func:`vasp_neb_incar`.

        Parameters
        ----------
        images
            From end point to end point, all with the same atoms in the same order.
        """
        if len(images) < 3:
            raise InputError(f"a band has two ends and at least one image between, not {len(images)} in all", "add one")
        first = [site.specie.symbol for site in images[0]]
        for number, image in enumerate(images):
            if [site.specie.symbol for site in image] != first:
                raise InputError(
                    f"image {number} of the band has other atoms, or another order, than image 0", "mend it"
                )
        tags = vasp_neb_incar(
            images[0], card, images=len(images) - 2, climbing=climbing, vtst=vtst,
            spring_ev_per_angstrom2=spring_ev_per_angstrom2,
        )  # fmt: skip
        settings, spec = load_settings().vasp, self._spec(images[0])
        inputs = assembled(images[0], tags, card, settings, spec=spec)
        names = inputs.write(directory)
        (directory / "POSCAR").unlink()
        names.remove("POSCAR")
        for number, image in enumerate(images):
            folder = directory / f"{number:02d}"
            moved = image.copy(site_properties=images[0].site_properties)
            text = assembled(moved, tags, card, settings, spec=True).texts()["POSCAR"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "POSCAR").write_text(text)
            names.append(f"{number:02d}/POSCAR")
        return names

    def _spec(self, structure: Structure) -> bool:
        settings = load_settings().vasp
        try:
            for element in structure.symbol_set:
                find_potcar(element, settings)
        except EngineError as error:
            if potcar_folder(settings) is not None and not error.problem.startswith("no POTCAR for"):
                raise
            return True
        return False

    def compute(
        self,
        structure: Structure,
        task: Task,
        card: MethodCard,
        charge: int = 0,
        monitor: Monitor | None = None,
        directory: Path | None = None,
    ) -> Outcome:
        """See :meth:`Engine.compute`.

        A relaxed cell is started again from where it ended, because its plane waves were those of the first cell,
        until the first step of a round is within the tolerances.
        """
        if directory is None:
            with tempfile.TemporaryDirectory(prefix="anodeflow-vasp-") as folder:
                return self.compute(structure, task, card, charge, monitor, Path(folder))
        settings = load_settings().vasp
        return _Calculation(structure, task, card, charge, monitor, directory, settings).run()


class _Calculation:
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
        self.command = self._command()

    def _command(self) -> tuple[str, ...]:
        gamma = self.settings.gamma_command
        if self.inputs.gamma_only and gamma and shutil.which(gamma[0]) and shutil.which(gamma[-1]):
            return gamma
        find_program(self.settings.command, "vasp")
        return self.settings.command

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
            again = self.cell_moves and made > 1 and left > 0 and self._stands(outcome)
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
        from anodeflow.workflows.engines.vasp_output import read_outcar

        if outcome.energy_ev is None or outcome.electronic_converged is False:
            return False
        return outcome.converged or (
            read_outcar(self.directory / "OUTCAR").accurate and outcome.ionic_converged is False
        )

    def _attempt(self, geometry: Structure, progress: Progress, tightened: float) -> Outcome:
        from anodeflow.workflows.engines.vasp_output import constraints_unknown, outcome_of, too_old
        from anodeflow.workflows.engines.vasp_run import StepTail, run_under_custodian, telling_line

        left = max(1, self.card.max_steps - progress.steps_before)
        inputs = self._inputs(geometry, left, tightened)
        inputs.write(self.directory)
        (self.directory / "STOPCAR").unlink(missing_ok=True)
        progress.save(self.directory)
        tail = StepTail(self.directory / "OUTCAR", _free_in_file(self.start, inputs))
        beat = _Heartbeat(self.monitor, progress.steps_before)

        def poll() -> None:
            fresh = tail.read()
            if self.task == "relax_c" and constraints_unknown(tail.version):
                raise too_old(tail.version)
            beat.tell(tail, fresh)

        failure = run_under_custodian(self.directory, self.command, wall_time_s=self.settings.wall_time_s, poll=poll)
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
            outcome.error = f"VASP or custodian gave up: {_words(failure)}; {telling_line(self.directory)}"
        elif failure is not None:
            outcome.error = f"{outcome.error}; {_words(failure)}; {telling_line(self.directory)}"
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
        from anodeflow.workflows.engines.vasp_output import outcome_of
        from anodeflow.workflows.engines.vasp_run import OUTPUTS, Progress, continued, put_aside, steps_made

        fresh = Progress(_signature(self.inputs), _digest(self.start))
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
        from anodeflow.workflows.engines.vasp_run import put_aside

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


class _Heartbeat:
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
        if tail.steps and time.monotonic() - self._last > HEARTBEAT_S:
            self._last = time.monotonic()
            self._monitor(self._before + self._told - 1, *tail.steps[-1])


def _free_in_file(start: Structure, inputs: VaspInputs) -> np.ndarray:
    from anodeflow.workflows.engines.vasp_output import free_components

    return free_components(start)[inputs.order]


def _signature(inputs: VaspInputs) -> str:
    """Hash of everything but the geometry and the step limit."""
    tags = {key: str(value) for key, value in inputs.incar.items() if key not in ("NSW", "DIPOL")}
    content = [sorted(tags.items()), str(inputs.kpoints), [s.specie.symbol for s in inputs.structure], inputs.titles]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _digest(structure: Structure) -> str:
    content = [np.round(structure.lattice.matrix, 5).tolist(), np.round(structure.cart_coords, 5).tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _words(error: BaseException) -> str:
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
