"""The process of the job that ``anodeflow hpc script`` writes: it runs a study inside an allocation.

It runs on the first node as ``python -P -m anodeflow.workflows.cluster.allocation``. The study itself is a process of
``anodeflow run``, the only one with writers of the store; programs on the other nodes are started from there and never
touch it. This one watches the time, passes signals on, and sends the script again until the study is done.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from anodeflow.errors import AnodeflowError, EngineError, InputError, StoreError
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.chain import MOST_IN_VAIN, Chain
from anodeflow.workflows.store.runs import born

#: Beside the time that is kept for stopping, so much goes to the start of Python and of a model.
START_S = 20
#: Set by the script: seconds since 1970 at which the job began.
_STARTED = "ANODEFLOW_JOB_STARTED"
_JOB_VARIABLES = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID", "sge": "JOB_ID"}
_SENT_FROM = ("SLURM_SUBMIT_DIR", "PBS_O_WORKDIR", "SGE_O_WORKDIR")
_POLL_S = 0.5
# Of the time for stopping, what is left after calculations had theirs: for the store, and for the scheduler.
_LAST_S = 10.0
_INTERRUPTED = 130
# Runs of one job in a row that were killed without getting further before the job ends.
_KILLED_IN_VAIN = 2
_STUCK = 4
_PR_SET_PDEATHSIG = 1


class Allocation:
    """One job.

    Parameters
    ----------
    given
        What the script says: see :func:`main`.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._job = os.environ.get(_JOB_VARIABLES[given.scheduler], "")
        digits = self._job.partition(".")[0]
        if not digits.isdigit():
            command = "sbatch" if given.scheduler == "slurm" else "qsub"
            raise InputError(
                f"this is not a job of {given.scheduler.upper()}",
                f"send the script: {command} {shlex.quote(str(given.script))}",
            )
        self._chain = Chain(given.store, given.study, given.scheduler, digits)
        self._asked: str | None = None  # the signal that ended the job
        self._out_of_time = False

    def run(self) -> int:
        """Run the study as long as there is time; return the exit status of the job."""
        given = self._given
        if not given.script.is_file():
            raise InputError(f"the script is not at {given.script} any more", "write it again: anodeflow hpc script")
        _check_locks(given.store.parent)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_signal)
        other = self._chain.claim()
        if other is not None:
            _say(other)
            return 0
        self._end_earlier_run()
        left = self._time_left()
        if left <= given.stop_before_s:
            raise InputError(
                f"{left:.0f} s are left of this job, and {given.stop_before_s:g} s are kept for stopping",
                "give it more time: anodeflow hpc script --walltime",
            )
        state = self._chain.read()
        _say(f"job {self._job}, number {state.jobs} for {given.study}, {left:.0f} s left on {socket.gethostname()}")
        return self._until_out_of_time(left)

    def _until_out_of_time(self, left: float) -> int:
        """Start the run, again where it is killed and had got further, and say how the job ends."""
        stop_at = time.monotonic() + left - self._given.stop_before_s
        further, in_vain = False, 0
        while True:
            process = self._start()
            out_of_time = self._follow(process, stop_at)
            if self._asked is not None:
                self._stop(process)
                return self._end_by_signal()
            if out_of_time:
                return self._end_by_time(process, further)
            code = process.returncode
            if code >= 0 and code not in (_INTERRUPTED, 128 + signal.SIGKILL):
                return self._end_by_result(code)
            time.sleep(_POLL_S)
            if self._asked is not None:  # the scheduler told the run before it told this process
                return self._end_by_signal()
            now_further = self._takes_in()
            further, in_vain = further or now_further, 0 if now_further else in_vain + 1
            why = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            if in_vain >= _KILLED_IN_VAIN or time.monotonic() > stop_at - START_S:
                return self._end_by_time(process, further, f"the run was killed ({why})")
            _say(f"the run was killed ({why}); it is started again")

    # --- the run -------------------------------------------------------------------------------------

    def _start(self) -> subprocess.Popen[bytes]:
        given = self._given
        self._chain.progress.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "anodeflow", "run", str(given.study), "--store", str(given.store)]
        command += ["--workers", str(given.workers), "--threads", str(given.threads)]
        command += ["--progress", str(self._chain.progress), "--patience", f"{max(1, given.stop_before_s - _LAST_S):g}"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent, start_new_session=True
        )
        state = self._chain.read()
        state.run_pid, state.run_born, state.run_host = process.pid, born(process.pid), socket.gethostname()
        self._chain.write(state)
        return process

    def _follow(self, process: subprocess.Popen[bytes], stop_at: float) -> bool:
        """Wait for the end of the run, a signal, or the time to stop; return whether it is the last."""
        while time.monotonic() < stop_at and self._asked is None and not self._out_of_time:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                return False
        return self._asked is None

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Let calculations come to the end of a step; end the run where that takes too long."""
        process.terminate()
        try:
            process.wait(self._given.stop_before_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_earlier_run(self) -> None:
        """End what a process of this kind, which was killed, has left running on this node."""
        state = self._chain.read()
        if not state.run_born or state.run_host != socket.gethostname() or born(state.run_pid) != state.run_born:
            return
        for number, patience_s in ((signal.SIGTERM, self._given.stop_before_s), (signal.SIGKILL, _LAST_S)):
            with suppress(ProcessLookupError):
                os.kill(state.run_pid, number)
            deadline = time.monotonic() + patience_s
            while born(state.run_pid) == state.run_born and time.monotonic() < deadline:
                time.sleep(_POLL_S)

    # --- the end -------------------------------------------------------------------------------------

    def _end_by_result(self, code: int) -> int:
        self._takes_in()
        self._write_end("done" if code == 0 else "failed")
        _say("the study is done; no other job is sent" if code == 0 else
             f"the study failed (exit status {code}, see above); no other job is sent")  # fmt: skip
        return code

    def _end_by_signal(self) -> int:
        """The job was cancelled, or is started again by the scheduler: nobody wants another one."""
        self._takes_in()
        self._write_end("stopped")
        _say(f"stopped ({self._asked}): cancelled, or to be started again by the scheduler; no other job is sent. "
             f"Continue with: {self._by_hand()}")  # fmt: skip
        return 128 + signal.SIGTERM

    def _end_by_time(self, process: subprocess.Popen[bytes], further: bool, why: str = "the time is over") -> int:
        """Send the next job, then stop this one: whatever happens to it now, the study continues."""
        further |= self._takes_in()
        state = self._chain.read()
        sent = further or state.in_vain + 1 < MOST_IN_VAIN
        if sent:
            self._send()
        if process.poll() is None:
            self._stop(process)
            further |= self._takes_in()
        if 0 <= process.returncode < _INTERRUPTED:  # it ended by itself after all
            self._recall()
            return self._end_by_result(process.returncode)
        if self._asked is not None:
            self._recall()
            return self._end_by_signal()
        state = self._chain.read()
        state.in_vain = 0 if further else state.in_vain + 1
        self._chain.write(state)
        if state.in_vain >= MOST_IN_VAIN:
            self._recall()
            self._write_end("no progress")
            _say(f"{why}, and {state.in_vain} jobs in a row got no further: no other job is sent. Give it more time or "
                 f"nodes (anodeflow hpc script --walltime), then: {self._by_hand()}")  # fmt: skip
            return _STUCK
        if not sent:
            self._send()
        _say(f"{why}; {len(self._chain.read().done)} calculations are done; job {self._chain.read().successor} "
             "continues")  # fmt: skip
        return 0

    def _send(self) -> None:
        """Send the script again, to start when this job has ended."""
        state = self._chain.read()
        if state.successor:
            return
        directory = next((Path(os.environ[name]) for name in _SENT_FROM if os.environ.get(name)), Path.cwd())
        try:
            state.successor = scheduler.send_after(self._given.scheduler, self._given.script, self._job, directory)
        except EngineError as error:
            raise EngineError(
                f"the study is not done, and its next job cannot be sent: {error.problem}",
                f"continue with: {self._by_hand()}",
            ) from None
        self._chain.write(state)

    def _recall(self) -> None:
        """Take back the job that was sent to continue."""
        state = self._chain.read()
        if state.successor:
            scheduler.cancel(self._given.scheduler, state.successor)
            state.successor = ""
            self._chain.write(state)

    def _write_end(self, ended: str) -> None:
        state = self._chain.read()
        state.ended, state.run_born = ended, ""
        self._chain.write(state)

    def _takes_in(self) -> bool:
        """Keep how far the run came; return whether that is further than ever."""
        state = self._chain.read()
        further = state.takes_in(self._chain.noted())
        self._chain.write(state)
        return further

    def _by_hand(self) -> str:
        return f"{'sbatch' if self._given.scheduler == 'slurm' else 'qsub'} {shlex.quote(str(self._given.script))}"

    # --- time and signals ----------------------------------------------------------------------------

    def _time_left(self) -> float:
        """Return the seconds until the scheduler ends this job."""
        since = time.time()
        with suppress(ValueError):
            since = float(os.environ.get(_STARTED, ""))
        left = since + self._given.walltime_s - time.time()
        known = scheduler.time_left_s(self._job) if self._given.scheduler == "slurm" else None
        return left if known is None else known

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR1 and self._given.scheduler == "slurm":  # --signal in the script
            self._out_of_time = True
        else:
            self._asked = self._asked or signal.Signals(number).name


def _end_with_parent() -> None:
    """Have the kernel ask this process to stop when the one that started it is killed (Linux; nothing elsewhere)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _check_locks(folder: Path) -> None:
    """Refuse a file system on which SQLite cannot lock its file.

    Raises
    ------
    StoreError
        With the folder.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreError(
            f"the folder of the store, '{folder}', cannot be used on {socket.gethostname()}: {error.strerror}",
            "put the store on a shared file system that knows locks, e.g. your home folder",
        ) from None


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a study inside an allocation; the exit status is that of the job."""
    parser = argparse.ArgumentParser(prog="anodeflow.workflows.cluster.allocation")
    parser.add_argument("--scheduler", choices=sorted(_JOB_VARIABLES), required=True)
    for name in ("study", "store", "script"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("workers", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("walltime-s", "stop-before-s"):
        parser.add_argument(f"--{name}", type=float, required=True)
    try:
        return Allocation(parser.parse_args(arguments)).run()
    except AnodeflowError as error:
        _say(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
