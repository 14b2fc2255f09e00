"""CASTEP: runs it in a folder, watches its ``.castep`` file, and takes from it only what is certain.

Energies are those of CASTEP's estimate at no smearing ("NB est. 0K energy"; with fixed occupations the final energy),
at the card's cutoff and without the finite-basis correction, which CASTEP adds to the enthalpies of cell relaxations.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pymatgen.core import Element, Structure

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.settings import CastepSettings, expanded, load_settings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.castep.inputs import (
    SEED,
    cartesian_axis,
    cell_text,
    check_c_is_normal,
    dynamics_entries,
    find_potential,
    param_entries,
    param_text,
    point_entries,
    write_files,
)
from anodeflow.workflows.engines.castep.outputs import CastepFileError, CastepReader, Run, read_castep
from anodeflow.workflows.engines.castep.result import geometry_of, mismatch, outcome_of
from anodeflow.workflows.engines.contract import Capabilities, Monitor, Outcome, Request, Task
from anodeflow.workflows.engines.external import find_program, run_program
from anodeflow.workflows.engines.motion.point_calculator import FOLDER, PointCalculator
from anodeflow.workflows.engines.plane_waves.cost import UNCERTAINTY, plane_wave_seconds
from anodeflow.workflows.engines.plane_waves.electronic import electronic

KIND = "plane-wave DFT"
STAND_IN_KIND = "stand-in for CASTEP: not DFT"
WHAT = "CASTEP"
# Raise it when the same card comes to mean something else in CASTEP's input.
CONVENTION = 1
# Electrons of the on-the-fly ultrasoft potentials (C19 and its forerunners).
VALENCE = {
    "H": 1, "Li": 3, "B": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Na": 9, "Mg": 10, "Al": 3, "Si": 4, "P": 5, "S": 6,
    "Cl": 7, "Br": 7, "I": 7,
}  # fmt: skip
OUTPUT = "castep.out"
BEFORE = "before.check"
KEPT_APART = (f"{SEED}.castep", OUTPUT, f"{SEED}.geom")
LARGEST_MESSAGE = 300
# A monitor hears of the same step again after this long.
AGAIN_S = 10.0


class CastepEngine(Engine):
    """CASTEP 18 or later, also that of Materials Studio.

    A calculation that was killed goes on from the last accepted geometry in its ``.castep`` file, as a new run: that
    file is written line by line, whereas a checkpoint may have been cut off while it was written. The older files go to
    ``attempt-1``, ``attempt-2``, ...

    The time estimate is good to a factor of 3.
    """

    name = "castep"
    cost_uncertainty = UNCERTAINTY
    capabilities = Capabilities(
        electrons=True, charge=True, spin=True, stress=True, kpoints=True, neb=True, md=True, isolated_atoms=True,
        files=True, inputs=True,
    )  # fmt: skip

    def __init__(self) -> None:
        self._version: str | None = None

    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """See :meth:`Engine.record`.

        The version is known once CASTEP has run in this process. The hash does not hold it; that of a stand-in is
        another one.
        """
        settings = load_settings().castep
        files = self._files(elements, settings)
        library = settings.library or "CASTEP's own default"
        return EngineRecord(
            name=self.name,
            kind=STAND_IN_KIND if settings.stand_in else KIND,
            version=f"CASTEP {self._version}" if self._version else "CASTEP, not run yet",
            model=expanded(settings.potentials).name if settings.potentials else f"on-the-fly potentials, {library}",
            hash=hashlib.sha256(f"castep {CONVENTION}{' stand-in' * settings.stand_in}".encode()).hexdigest()[:16],
            potentials={
                e: f"{files[e].name} {_digest(files[e], *_stamp(files[e]))}" if e in files else f"on-the-fly, {library}"
                for e in sorted(set(elements))
            },
            stand_in=settings.stand_in,
            mode="a test program behind CASTEP's files: no result of CASTEP" if settings.stand_in else "full",
        )

    def preflight(self, card: MethodCard) -> list[str]:
        """See :meth:`Engine.preflight`."""
        settings = load_settings().castep
        find_program(settings.command, WHAT)
        if card.cutoff_ev is None or card.kpoints is None:
            raise EngineError(
                f"card '{card.name}' has no {'cutoff_ev' if card.cutoff_ev is None else 'kpoints'}, which CASTEP needs",
                "choose a card for plane waves, such as pbe-slab",
            )
        if card.functional != "PBE":
            raise EngineError(f"card '{card.name}' asks for functional {card.functional}", "only PBE is set up")
        if settings.potentials is not None and not expanded(settings.potentials).is_dir():
            raise EngineError(
                f"CASTEP pseudopotentials: '{expanded(settings.potentials)}' is no folder",
                "correct castep: potentials: in the settings, or leave it out for on-the-fly potentials",
            )
        notes = []
        if "ultrasoft" not in card.potentials.lower():
            notes.append(f"potentials: CASTEP's in place of '{card.potentials}'")
        return notes

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """See :meth:`Engine.check`."""
        settings = electronic(structure, task, card, charge)
        if task == "relax_c":
            check_c_is_normal(structure)
        if settings.dipole_axis is not None:
            cartesian_axis(structure, settings.dipole_axis)
        return list(settings.notes)

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """See :meth:`Engine.missing`."""
        settings = load_settings().castep
        lines = []
        try:
            find_program(settings.command, WHAT)
        except EngineError as error:
            lines.append(error.problem)
        for element in sorted(set(elements)):
            try:
                self._files([element], settings)
            except EngineError as error:
                lines.append(error.problem)
        return list(dict.fromkeys(lines))

    def valence_electrons(self, elements: Iterable[str]) -> dict[str, int]:
        """See :meth:`Engine.valence_electrons`; of the on-the-fly ultrasoft potentials."""
        return {element: VALENCE[element] for element in elements if element in VALENCE}

    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """See :meth:`Engine.seconds_per_step`."""
        if card is None or card.cutoff_ev is None:
            return 0.0
        valence = {e: VALENCE.get(e, min(12, Element(e).Z)) for e in structure.symbol_set}
        return plane_wave_seconds(structure, card, valence)

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """See :meth:`Engine.write_inputs`: ``castep.cell`` and ``castep.param``; CASTEP need not be here."""
        return write_files(directory, self._inputs(structure, task, card, charge))

    def write_point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, *, like: Structure | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_point_inputs`."""
        return write_files(directory, self._point_inputs(structure, card, charge, like or structure))

    def write_own_dynamics(
        self, structure: Structure, card: MethodCard, charge: int, directory: Path, steps: int | None = None
    ) -> list[str]:
        """See :meth:`Engine.write_own_dynamics`."""
        machine = load_settings().castep
        settings = electronic(structure, "static", card, charge)
        files = self._files(structure.symbol_set, machine)
        names = {element: file.name for element, file in files.items()}
        entries = dynamics_entries(structure, card, settings, machine.wall_time_s)
        if steps is not None:
            entries["md_num_iter"] = str(steps)
        return write_files(
            directory,
            {
                f"{SEED}.cell": cell_text(structure, None, settings, names, machine.library),
                f"{SEED}.param": param_text(entries, f"molecular dynamics, card {card.name}"),
            },
        )

    def compute(self, request: Request, folder: Path | None = None, monitor: Monitor | None = None) -> Outcome:
        """See :meth:`Engine.compute`."""
        structure, task, card, charge = request.structure, request.task, request.card, request.charge
        directory = folder
        if directory is None:
            raise EngineError("CASTEP needs a folder of its own", "give a directory")
        machine = load_settings().castep
        find_program(machine.command, WHAT)
        file = directory / f"{SEED}.castep"
        notes: list[str] = []
        start, steps_before = structure, 0
        earlier = self._earlier(file, structure, task, card, charge, notes)
        if earlier is not None:
            done = outcome_of(earlier, structure, task, card, charge, file)
            if done.converged:
                self._version = earlier.version
                done.warnings = [*notes, "finished by an earlier attempt in the same folder", *done.warnings]
                return done
            start = geometry_of(earlier, structure, task)
            # steps of a run that ended by itself are in the document it left
            steps_before = 0 if earlier.finished or not earlier.iterations else earlier.iterations[-1].number
            if steps_before:
                notes.append(f"went on at step {steps_before} of a run that was cut off")
        put_aside(directory)
        left = card.model_copy(update={"max_steps": max(1, card.max_steps - steps_before)})
        write_files(directory, self._inputs(start, task, left, charge))
        for potential in self._files(structure.symbol_set, machine).values():
            _bring(potential, directory)
        watch = Watch(file, monitor, steps_before)
        status = run_program(
            [*machine.command, SEED], directory, output=OUTPUT, what=WHAT, poll=watch.look
        )  # fmt: skip
        run, notes = self._read(file, directory, status, notes)
        wrong = mismatch(run, structure, task, card, charge)
        if wrong:
            raise EngineError(f"'{file}' is of another calculation: {wrong}", "empty its folder")
        self._version = run.version
        outcome = outcome_of(run, structure, task, card, charge, file)
        if outcome.energy_ev is None and not run.iterations:
            complaint = complaints(directory)
            if complaint or status != 0:
                raise EngineError(f"CASTEP failed (exit {status}): {complaint or outcome.error}", f"look at '{file}'")
        outcome.ionic_steps += steps_before
        outcome.warnings = [*notes, *outcome.warnings]
        if monitor is not None and task == "static" and outcome.energy_ev is not None:
            monitor(0, outcome.energy_ev, outcome.max_force_ev_per_angstrom or 0.0)
        if outcome.error and (complaint := complaints(directory)):
            outcome.error = f"{outcome.error}; CASTEP said: {complaint}"
        return outcome

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> PointCalculator:
        """See :meth:`Engine.ase_calculator`."""
        if directory is None:
            raise EngineError("CASTEP needs a folder of its own", "give a directory")
        machine = load_settings().castep
        find_program(machine.command, WHAT)

        def point(geometry: Structure, folder: Path, before: Path | None, left: float | None) -> Outcome:
            # one checkpoint alone is kept, so that thousands of steps do not fill the disk
            reused = before is not None and _moved(before / f"{SEED}.check", folder / BEFORE)
            inputs = self._point_inputs(geometry, card, charge, structure, BEFORE if reused else None, left)
            return self._point(geometry, structure, card, charge, folder, inputs)

        notes = electronic(structure, "static", card, charge).notes
        return PointCalculator(
            point, structure, directory / FOLDER, bulky=("*.check", "*.castep_bin"), notes=notes,
            wall_time_s=machine.wall_time_s,
        )  # fmt: skip

    def _point(
        self, structure: Structure, like: Structure, card: MethodCard, charge: int, directory: Path,
        inputs: dict[str, str],
    ) -> Outcome:  # fmt: skip
        """Energy and forces of one geometry among those of a band or of dynamics."""
        machine = load_settings().castep
        write_files(directory, inputs)
        for potential in self._files(structure.symbol_set, machine).values():
            _bring(potential, directory)
        status = run_program([*machine.command, SEED], directory, output=OUTPUT, what=WHAT)
        (directory / BEFORE).unlink(missing_ok=True)
        file = directory / f"{SEED}.castep"
        run, _ = self._read(file, directory, status, [])
        wrong = mismatch(run, structure, "static", card, charge, like)
        if wrong:
            raise EngineError(f"'{file}' is of another calculation: {wrong}", "empty its folder")
        self._version = run.version
        outcome = outcome_of(run, structure, "static", card, charge, file, like)
        if outcome.error and (complaint := complaints(directory)):
            outcome.error = f"{outcome.error}; CASTEP said: {complaint}"
        return outcome

    def _point_inputs(
        self, structure: Structure, card: MethodCard, charge: int, like: Structure, before: str | None = None,
        left_s: float | None = None,
    ) -> dict[str, str]:  # fmt: skip
        machine = load_settings().castep
        settings = electronic(like, "static", card, charge)
        names = {element: file.name for element, file in self._files(structure.symbol_set, machine).items()}
        entries = point_entries(structure, card, settings, before, left_s)
        return {
            f"{SEED}.cell": cell_text(structure, "static", settings, names, machine.library, symmetric=False),
            f"{SEED}.param": param_text(entries, f"energy and forces of one geometry, card {card.name}"),
        }

    def _inputs(self, structure: Structure, task: Task, card: MethodCard, charge: int) -> dict[str, str]:
        machine = load_settings().castep
        settings = electronic(structure, task, card, charge)
        names = {element: file.name for element, file in self._files(structure.symbol_set, machine).items()}
        entries = param_entries(structure, task, card, settings, machine.wall_time_s)
        return {
            f"{SEED}.cell": cell_text(structure, task, settings, names, machine.library),
            f"{SEED}.param": param_text(entries, f"{task}, card {card.name}"),
        }

    def _files(self, elements: Iterable[str], settings: CastepSettings) -> dict[str, Path]:
        if settings.potentials is None:
            return {}
        folder = expanded(settings.potentials).resolve()
        return {element: find_potential(element, folder) for element in sorted(set(elements))}

    def _earlier(
        self, file: Path, structure: Structure, task: Task, card: MethodCard, charge: int, notes: list[str]
    ) -> Run | None:
        """The last run in a folder that an earlier attempt left; None if there is nothing to go on from."""
        if not file.is_file():
            return None
        try:
            run = read_castep(file)[-1]
        except CastepFileError as error:
            notes.append(f"an earlier attempt was put aside: {error.problem}")
            return None
        wrong = mismatch(run, structure, task, card, charge)
        if wrong:
            notes.append(f"an earlier attempt was put aside: {wrong}")
            return None
        return run

    def _read(self, file: Path, directory: Path, status: int, notes: list[str]) -> tuple[Run, list[str]]:
        """The last run of the file, and remarks.

        Raises
        ------
        EngineError
            If there is none; what CASTEP said is quoted.
        """
        complaint = complaints(directory)
        if complaint and re.search(r"licen[cs]e", complaint, re.IGNORECASE):
            raise EngineError(f"CASTEP has no licence here: {complaint}", "check the licence server or file")
        try:
            runs = read_castep(file)
        except CastepFileError as error:
            said = f"; CASTEP said: {complaint}" if complaint else ""
            raise EngineError(f"CASTEP (exit {status}): {error.problem}{said}", error.remedy) from None
        if len(runs) > 1:
            notes = [*notes, f"'{file}' holds {len(runs)} runs; the last one (line {runs[-1].line}) is used"]
        return runs[-1], notes


class Watch:
    """Follows a ``.castep`` file while it grows and tells of every step of a relaxation."""

    def __init__(self, file: Path, monitor: Monitor | None, steps_before: int = 0) -> None:
        self._file, self._monitor, self._before = file, monitor, steps_before
        self._reader = CastepReader(str(file))
        self._at = 0
        self._told = 0
        self._next = 0.0
        self._lost = False

    def look(self) -> None:
        """Read what is new, and report it; whatever the monitor raises goes on."""
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
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines(keepends=True):
            self._reader.feed(line)

    def _tell(self, index: int) -> None:
        step = self._reader.runs[-1].iterations[index]
        if self._monitor is not None:
            self._next = time.monotonic() + AGAIN_S
            self._monitor(step.number + self._before, step.evaluation.total_ev, step.evaluation.largest_force())


def put_aside(directory: Path) -> None:
    """Move the output of an earlier attempt into a folder ``attempt-N``.

    Raises
    ------
    EngineError
        If they cannot be moved.
    """
    old = [directory / name for name in KEPT_APART if (directory / name).exists()]
    old += sorted(directory.glob(f"{SEED}*.err"))
    if not old:
        return
    number = 1
    while (directory / f"attempt-{number}").exists():
        number += 1
    target = directory / f"attempt-{number}"
    try:
        target.mkdir()
        for file in old:
            os.replace(file, target / file.name)
    except OSError as error:
        raise EngineError(f"cannot move the earlier attempt in '{directory}': {error.strerror}", "check it") from None


def complaints(directory: Path) -> str:
    """What CASTEP says went wrong, from its ``.err`` files, else from the end of its standard output; one line."""
    for file in sorted(directory.glob(f"{SEED}*.err")):
        text = _text(file)
        if text:
            return f"{file.name}: {text[:LARGEST_MESSAGE]}"
    tail = _text(directory / OUTPUT)
    return f"{OUTPUT}: ...{tail[-LARGEST_MESSAGE:]}" if tail else ""


def _text(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            handle.seek(max(0, file.stat().st_size - 4096))
            return " ".join(handle.read().decode("utf-8", errors="replace").split())
    except OSError:
        return ""


def _moved(file: Path, target: Path) -> bool:
    """Move a file; whether it was there."""
    try:
        file.rename(target)
    except OSError:
        return False
    return True


def _bring(potential: Path, directory: Path) -> None:
    """Make a pseudopotential file visible in the folder of a calculation."""
    here = directory / potential.name
    try:
        if here.is_symlink() or here.exists():
            here.unlink()
        try:
            here.symlink_to(potential)
        except OSError:
            shutil.copyfile(potential, here)
    except OSError as error:
        raise EngineError(f"cannot place '{potential.name}' in '{directory}': {error.strerror}", "check it") from None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=512)
def _digest(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]
