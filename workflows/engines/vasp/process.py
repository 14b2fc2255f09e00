"""Run VASP in a folder under custodian: steps told as they come, a clean stop, and going on later."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from custodian import Custodian
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    NonConvergingErrorHandler,
    PotimErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
    WalltimeHandler,
)
from custodian.vasp.io import load_vasprun
from custodian.vasp.jobs import VaspJob
from pymatgen.core import Lattice, Structure

from anodeflow.workflows.engines.vasp.inputs import VaspInputs, write_text

POLL_S = 0.25
# Custodian's own handlers look at a running calculation this often.
HANDLERS_EVERY_S = 60.0
PATIENCE_S = 60.0
MAX_ERRORS = 5
PROGRESS = "anodeflow-progress.json"
OUTPUTS = ("OUTCAR", "OSZICAR", "vasprun.xml", "XDATCAR", "CONTCAR", "INCAR", "KPOINTS", "POSCAR", "vasp.out",
           "std_err.txt", "custodian.json", "STOPCAR", "vaspout.h5")  # fmt: skip
_TELLING = re.compile(
    r"licen[cs]e|error|very bad news|i refuse|segmentation fault|killed|out of memory|cannot open|no such file|abort",
    re.IGNORECASE,
)
_PR_SET_PDEATHSIG = 1


class Job(VaspJob):
    """VASP that ends with the process that started it, so that nobody else's start finds it still writing."""

    def run(self, directory: str = "./") -> subprocess.Popen:
        """See :meth:`custodian.vasp.jobs.VaspJob.run`."""
        folder = Path(directory)
        library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

        def end_with_parent() -> None:
            if library is not None:
                library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        with (folder / self.output_file).open("w") as out, (folder / self.stderr_file).open("w", buffering=1) as err:
            self._vasp_process = subprocess.Popen(
                list(self.vasp_cmd),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        return self._vasp_process


class ElectronsUnconverged(UnconvergedErrorHandler):
    """Custodian's handler for electrons; it would also go on with ions beyond the card's step limit."""

    def check(self, directory: str = "./") -> bool:
        """Whether the electrons of the last ionic step did not converge."""
        try:
            return not load_vasprun(os.path.join(directory, self.output_filename)).converged_electronic
        except Exception:  # no readable vasprun.xml: for the other handlers
            return False


def handlers(wall_time_s: float | None) -> list[Any]:
    """Custodian's handlers that mend a calculation without making another one of it.

    Left out are those that change smearing or k-points on their own, and the one that takes a positive energy
    for an error: an isolated Li+ has one.
    """
    chosen: list[Any] = [
        VaspErrorHandler(),
        ElectronsUnconverged(),
        NonConvergingErrorHandler(),
        PotimErrorHandler(),
        FrozenJobErrorHandler(),
        StdErrHandler(),
    ]
    return [*chosen, WalltimeHandler(wall_time=wall_time_s)] if wall_time_s else chosen


def run_under_custodian(
    directory: Path,
    command: Sequence[str],
    *,
    poll: Callable[[], None],
    using: Sequence[Any] = (),
    images: Sequence[Path] = (),
    patience_s: float = PATIENCE_S,
) -> BaseException | None:
    """Run VASP to its end; what custodian had to say if it gave up.

    Parameters
    ----------
    directory
        Holds the inputs.
    command
        The words of the command line.
    using
        Custodian's handlers; none where a changed input would make another calculation of it.
    images
        Folders of a band's images, which look for a STOPCAR of their own.
    poll
        Called four times a second; if it raises, VASP is asked to stop (STOPCAR), then made to, and the
        exception goes on.
    patience_s
        How long VASP may take to follow.
    """
    job = Job(
        [os.path.expanduser(command[0]), *command[1:]], backup=False, auto_gamma=False, auto_npar=False, suffix=""
    )
    keeper = Custodian(
        list(using),
        [job],
        max_errors=MAX_ERRORS,
        polling_time_step=POLL_S,
        monitor_freq=max(1, round(HANDLERS_EVERY_S / POLL_S)),
        directory=str(directory),
    )
    failure: list[BaseException] = []
    thread = threading.Thread(target=_keep, args=(keeper, failure), daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            poll()
    except BaseException:
        ask_to_stop(directory, *images)
        keeper.max_errors = 0  # no further attempt
        thread.join(patience_s)
        if thread.is_alive():
            job.terminate(str(directory))
            thread.join(patience_s)
        raise
    return failure[0] if failure else None


def ask_to_stop(*folders: Path) -> None:
    """Ask VASP to end after its next ionic step."""
    for folder in folders:
        write_text(folder / "STOPCAR", "LSTOP = .TRUE.\n")


def _keep(keeper: Custodian, failure: list[BaseException]) -> None:
    try:
        keeper.run()
    except BaseException as error:
        failure.append(error)


def telling_line(directory: Path) -> str:
    """The line in which a failed program says why, with its file and number."""
    last = ""
    for name in ("std_err.txt", "vasp.out"):
        try:
            lines = (directory / name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            text = " ".join(line.replace("|", " ").split())
            if _TELLING.search(text):
                return f"{directory / name}:{number}: {text[:160]}"
            if text:
                last = f"{directory / name}:{number}: {text[:160]}"
    return last or f"no message in {directory}/vasp.out or std_err.txt"


@dataclass(frozen=True)
class OutcarStep:
    """One ionic step of an OUTCAR: energy(sigma->0), and Cartesian positions and true forces as in the POSCAR."""

    energy_ev: float
    positions: np.ndarray
    forces: np.ndarray
    electrons_converged: bool


@dataclass
class OutcarTail:
    """Reads what is new in a growing OUTCAR. What is no number there is NaN here."""

    path: Path
    atoms: int
    version: str | None = None
    made: int = 0
    _offset: int = 0
    _rest: str = ""
    _block: list[str] | None = None
    _table: np.ndarray | None = None
    _reached: bool = False

    def read(self) -> list[OutcarStep]:
        """The ionic steps that have come since."""
        try:
            size = self.path.stat().st_size
            if size < self._offset:  # started anew after an error
                self._offset, self._rest, self._block, self._table = 0, "", None, None
            with self.path.open("rb") as handle:
                handle.seek(self._offset)
                text = handle.read().decode(errors="replace")
                self._offset = handle.tell()
        except OSError:
            return []
        *lines, self._rest = (self._rest + text).split("\n")
        fresh: list[OutcarStep] = []
        for line in lines:
            self._take(line, fresh)
        self.made += len(fresh)
        return fresh

    def _take(self, line: str, fresh: list[OutcarStep]) -> None:
        if self.version is None and line.strip():
            self.version = line.split()[0]
        if "TOTAL-FORCE (eV/Angst)" in line:
            self._block = []
        elif self._block is not None:
            if "-----" in line:
                return
            self._block.append(line)
            if len(self._block) == self.atoms:
                self._table, self._block = np.array([_row(text) for text in self._block]), None
        elif "aborting loop because EDIFF is reached" in line:
            self._reached = True
        elif "energy  without entropy=" in line and "energy(sigma->0) =" in line and self._table is not None:
            energy = _row(line.split("energy(sigma->0) =")[1], 1)[0]
            fresh.append(OutcarStep(energy, self._table[:, :3], self._table[:, 3:], self._reached))
            self._table, self._reached = None, False


def _row(line: str, count: int = 6) -> list[float]:
    try:
        values = [float(word) for word in line.split()[:count]]
    except ValueError:
        values = []
    return values if len(values) == count else [float("nan")] * count


class StepTail:
    """Energy and largest free force of the ionic steps of a growing OUTCAR.

    Parameters
    ----------
    path
        The file.
    free
        (N, 3) booleans: which components of the forces count.
    """

    def __init__(self, path: Path, free: np.ndarray) -> None:
        self._tail, self._free = OutcarTail(path, len(free)), free
        self.steps: list[tuple[float, float]] = []

    @property
    def version(self) -> str | None:
        """The first word of the file."""
        return self._tail.version

    def read(self) -> list[tuple[float, float]]:
        """Energy (eV) and largest force (eV/angstrom) of the steps that have come since."""
        found = [(s.energy_ev, largest_force(s.forces, self._free)) for s in self._tail.read()]
        fresh = [pair for pair in found if np.isfinite(pair).all()]
        self.steps += fresh
        return fresh


def largest_force(forces: np.ndarray, free: np.ndarray) -> float:
    """The largest force on an atom, of its free components."""
    return float(np.linalg.norm(np.where(free, forces, 0.0), axis=1).max())


@dataclass
class Progress:
    """What is known of the earlier attempts in a folder."""

    signature: str
    start: str
    steps_before: int = 0
    attempts: int = 0

    def save(self, directory: Path) -> None:
        """Write it beside the calculation."""
        write_text(directory / PROGRESS, json.dumps(self.__dict__, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Progress | None:
        """Read it; None where there is none, or none that can be read."""
        try:
            data = json.loads((directory / PROGRESS).read_text())
            return cls(str(data["signature"]), str(data["start"]), int(data["steps_before"]), int(data["attempts"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def steps_made(directory: Path) -> int:
    """Ionic steps that an OSZICAR counts."""
    try:
        text = (directory / "OSZICAR").read_text(errors="replace")
    except OSError:
        return 0
    return sum(1 for line in text.splitlines() if re.match(r"\s*\d+ (T=.*)?F=\s*\S+ E0=\s*\S+", line))


def put_aside(directory: Path, number: int, name: str = "attempt", images: Sequence[Path] = ()) -> None:
    """Move the files of an attempt to a folder of their own; WAVECAR stays, the next attempt starts from it.

    Parameters
    ----------
    directory
        Of the calculation.
    number, name
        Of the attempt.
    images
        Folders of a band's images in it, whose files go, too.
    """
    target = directory / f"{name}-{number}"
    while target.exists():
        number += 1
        target = directory / f"{name}-{number}"
    for folder in (directory, *images):
        to = target / folder.relative_to(directory)
        to.mkdir()
        for file in OUTPUTS:
            if (folder / file).exists():
                shutil.move(folder / file, to / file)


def continued(directory: Path, start: Structure, inputs: VaspInputs, task: str) -> Structure | None:
    """The geometry of a CONTCAR, in the order of `start`; None where there is none that fits.

    What a task does not relax is taken from `start`: the cell, or its vectors in the plane.
    """
    from pymatgen.io.vasp.inputs import Poscar

    try:
        found = Poscar.from_file(str(directory / "CONTCAR"), check_for_potcar=False).structure
    except Exception:  # a half-written file fails in many ways; the start is used then
        return None
    if [s.specie.symbol for s in found] != [s.specie.symbol for s in inputs.structure]:
        return None
    if not np.isfinite(found.frac_coords).all() or not found.is_valid(tol=0.5):
        return None
    matrix = np.array(found.lattice.matrix)
    if task == "relax":
        matrix = np.array(start.lattice.matrix)
    elif task == "relax_c":
        matrix[:2] = start.lattice.matrix[:2]
    frac = found.frac_coords[np.argsort(inputs.order)]
    frac = frac - np.round(frac - start.frac_coords)
    if np.linalg.norm((frac - start.frac_coords) @ matrix, axis=1).max() > max(start.lattice.abc):
        return None
    return Structure(Lattice(matrix), start.species, frac, site_properties=start.site_properties)
