"""VASP as a process under custodian: started, watched as its steps come, and stopped cleanly."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
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

from anodeflow.analysis.trajectories.outcar import OutcarReader
from anodeflow.files import write_atomically

POLL_S = 0.25
# Custodian's own handlers look at a running calculation this often.
_HANDLERS_EVERY_S = 60.0
PATIENCE_S = 60.0
_MAX_ERRORS = 5
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


class _ElectronsUnconverged(UnconvergedErrorHandler):
    """Custodian's handler for electrons; the original also continues ions beyond the card's step limit."""

    def check(self, directory: str = "./") -> bool:
        """Return whether the electrons of the last ionic step did not converge."""
        try:
            return not load_vasprun(os.path.join(directory, self.output_filename)).converged_electronic
        except Exception:  # no readable vasprun.xml: for the other handlers
            return False


def handlers(wall_time_s: float | None) -> list[Any]:
    """Return custodian's handlers that fix a calculation without making another one of it.

    Left out are those that change smearing or k-points on their own, and the one that takes a positive energy
    for an error: an isolated Li+ has one.
    """
    chosen: list[Any] = [
        VaspErrorHandler(),
        _ElectronsUnconverged(),
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
    """Run VASP to its end; return why custodian gave up, if it did.

    Parameters
    ----------
    directory
        Holds the inputs.
    command
        The words of the command line.
    using
        Custodian's handlers; none where a changed input would make another calculation of it.
    images
        Folders of a band's images, each of which is looked into for a STOPCAR.
    poll
        Called four times a second; if it raises, VASP is asked to stop (STOPCAR), then killed, and the exception
        is raised again.
    patience_s
        How long VASP may take to follow.
    """
    job = Job(
        [os.path.expanduser(command[0]), *command[1:]], backup=False, auto_gamma=False, auto_npar=False, suffix=""
    )
    keeper = Custodian(
        list(using),
        [job],
        max_errors=_MAX_ERRORS,
        polling_time_step=POLL_S,
        monitor_freq=max(1, round(_HANDLERS_EVERY_S / POLL_S)),
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
        write_atomically(folder / "STOPCAR", "LSTOP = .TRUE.\n", sync=False)


def _keep(keeper: Custodian, failure: list[BaseException]) -> None:
    try:
        keeper.run()
    except BaseException as error:
        failure.append(error)


def telling_line(directory: Path) -> str:
    """Return the line in which a failed program says why, with its file and number."""
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
        self._tail, self._free = OutcarReader(path, len(free)), free
        self.steps: list[tuple[float, float]] = []

    @property
    def version(self) -> str | None:
        """The first word of the file."""
        return self._tail.version

    def read(self) -> list[tuple[float, float]]:
        """Return energy (eV) and largest force (eV/angstrom) of the steps that have come since."""
        steps = [(s.energy_ev, largest_force(s.forces, self._free)) for s in self._tail.read()]
        fresh = [pair for pair in steps if np.isfinite(pair).all()]
        self.steps += fresh
        return fresh


def largest_force(forces: np.ndarray, free: np.ndarray) -> float:
    """Return the largest force on an atom, of its free components."""
    return float(np.linalg.norm(np.where(free, forces, 0.0), axis=1).max())
