"""Run a study on this machine: worker processes compute, this process keeps the order.

jobflow's own local manager runs one job after the other, cannot resume, and starts again what is finished; here
finished calculations are handed out without loading a model, and the others run side by side.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

from jobflow import Flow, Job, JobStore, OnMissing
from monty.json import MontyEncoder

from anodeflow.errors import AnodeflowError, EngineError, StoreError
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.local.live import LiveRun
from anodeflow.workflows.local.messages import Done, Failed, Gone, Message, Step, decode
from anodeflow.workflows.local.worker import STOP

# Errors after which every other calculation would fail the same way.
_FATAL = (StoreError, EngineError)
# How often a calculation is tried whose worker died (killed, out of memory).
_TRIES = 2
# SIGTERM that comes again within so long is the same one.
_SAME_SIGNAL_S = 5.0
# How long a calculation may take to come to the end of a step when the run is stopped.
PATIENCE_S = 10.0
# Huge pages for the large short-lived tensors of a potential: 10-20 % faster with glibc, ignored elsewhere.
MEMORY_SETTINGS = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class Listener(Protocol):
    """Who is told how a run goes."""

    def running(self, label: str) -> None:
        """A calculation started."""

    def step(self, label: str, step: int, energy_ev: float, max_force: float) -> None:
        """A calculation made a step."""

    def done(self, label: str, reused: bool) -> None:
        """A calculation is finished."""

    def failed(self, label: str, reason: str) -> None:
        """A job failed."""


@dataclass
class RunReport:
    """How a run went."""

    computed: int = 0
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    fatal: AnodeflowError | None = None
    wall_time_s: float = 0.0


class _Worker:
    """One worker process and the thread that reads what it says."""

    def __init__(self, store_place: str, threads: int, inbox: queue.Queue[tuple[_Worker, Message]]) -> None:
        environment = dict(os.environ)
        environment.update({name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
        environment = MEMORY_SETTINGS | environment
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            # -P: a queue.py or chgnet.py beside the study must not be imported
            [sys.executable, "-P", "-m", "anodeflow.workflows.local.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the parent, which then asks workers to stop
        )
        self.job: Job | None = None
        self.send(json.dumps(store_place))  # not an argument, where everybody could read it
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    def _read(self, inbox: queue.Queue[tuple[_Worker, Message]]) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                inbox.put((self, decode(line)))
        inbox.put((self, Gone(self.process.wait())))

    def send(self, text: str) -> None:
        try:
            if self.process.stdin is not None:
                self.process.stdin.write(text + "\n")
                self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # its reader thread reports that it is gone

    def end(self) -> None:
        """End it and the programs it started, which share its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


class LocalRunner:
    """Runs one flow.

    Parameters
    ----------
    flow
        What to run.
    store
        An open store that other processes can open, too.
    store_place
        Where it is, for the workers: `anodeflow.workflows.store.store_place`.
    workers
        Worker processes.
    threads
        Threads a worker.
    listener
        Who is told.
    patience_s
        How long a calculation may take to stop when the run is stopped, before its process is ended.
    """

    def __init__(
        self,
        flow: Flow,
        store: JobStore,
        store_place: str | Path,
        workers: int,
        threads: int,
        listener: Listener,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._patience_s, self._termination = patience_s, _Termination()
        self._store, self._place, self._listener = store, os.fspath(store_place), listener
        self._max_workers, self._threads = workers, threads
        self._inbox: queue.Queue[tuple[_Worker, Message]] = queue.Queue()
        self._workers: list[_Worker] = []
        # By identity: jobflow compares jobs by content, and contents may not be comparable.
        self._waiting: dict[int, Job] = {}
        self._open: Counter[str] = Counter()
        self._failed_uuids: set[str] = set()
        self._looked_up: dict[int, bool] = {}
        self._tries: Counter[str] = Counter()
        self.report = RunReport()
        about: dict[str, Any] = next((job.metadata for job, _ in flow.iterflow()), {})
        self._live = LiveRun(store, str(about.get("study_hash", "")), str(about.get("study", "")))
        self._add(flow)

    def run(self) -> RunReport:
        """Run until everything is done, failed, or the user stops it (Ctrl-C, SIGTERM)."""
        clock = time.perf_counter()
        previous = None
        if threading.current_thread() is threading.main_thread():
            previous = signal.signal(signal.SIGTERM, self._termination)
        try:
            with self._live:
                self._until_done()
        except KeyboardInterrupt:
            self.report.interrupted = True
        finally:
            self._stop_workers()
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        self.report.wall_time_s = time.perf_counter() - clock
        return self.report

    def _until_done(self) -> None:
        while (self._waiting or self._busy()) and self.report.fatal is None:
            self._termination.check()
            self._start_ready()
            if self._busy():
                self._tell()
                self._take_messages()

    def _tell(self) -> None:
        """Let other processes see how far this run is."""
        self._live.tell(len(self._busy()), len(self._waiting), len(self.report.failed))

    # --- the graph -----------------------------------------------------------------------------------

    def _add(self, flow: Flow) -> None:
        for job, _ in flow.iterflow():
            self._waiting[id(job)] = job
            self._open[job.uuid] += 1

    def _busy(self) -> list[_Worker]:
        return [w for w in self._workers if w.job is not None]

    def _start_ready(self) -> None:
        """Start every waiting job whose parents are settled; what needs no worker runs right here."""
        progress = True
        while progress:
            progress = False
            for job in list(self._waiting.values()):
                if any(self._open[uuid] for uuid in job.input_uuids):
                    continue
                if job.index > 1 and self._open[job.uuid] > 1:
                    continue
                lost = [u for u in job.input_uuids if u in self._failed_uuids]
                if lost and job.config.on_missing_references == OnMissing.ERROR:
                    del self._waiting[id(job)]
                    self._fail(job, "not started: something it needs has failed", root_cause=False)
                    progress = True
                elif not _needs_worker(job) or self._known_finished(job):
                    del self._waiting[id(job)]
                    self._run_here(job)
                    progress = True
                else:
                    worker = self._free_worker()
                    if worker is not None:
                        del self._waiting[id(job)]
                        self._send(worker, job)
                if self.report.fatal is not None:
                    return

    def _known_finished(self, job: Job) -> bool:
        """Whether the calculation is in the store; looked up once a job, when its parents are settled."""
        key = id(job)
        if key not in self._looked_up:
            self._looked_up[key] = self._is_finished(job)
        return self._looked_up[key]

    def _is_finished(self, job: Job) -> bool:
        try:
            work = recognised_of(job, self._store)
        except ValueError:
            return False
        return work is not None and work.is_finished(self._store)

    def _run_here(self, job: Job) -> None:
        try:
            response = job.run(self._store)
        except AnodeflowError as error:
            self._fail(job, str(error))
            if isinstance(error, StoreError):
                self.report.fatal = error
            return
        except Exception as error:
            self._fail(job, f"{type(error).__name__}: {error}")
            return
        self._settle(job)
        for new in (response.replace, response.detour, response.addition):
            if isinstance(new, Flow):
                self._add(new)
        if _needs_worker(job):
            self._count(job, reused=True)

    def _count(self, job: Job, reused: bool) -> None:
        self.report.reused += reused
        self.report.computed += not reused
        self._listener.done(job.name, reused)

    def _settle(self, job: Job) -> None:
        self._open[job.uuid] -= 1

    def _fail(self, job: Job, reason: str, root_cause: bool = True) -> None:
        self._settle(job)
        self._failed_uuids.add(job.uuid)
        # An output of an earlier run must not stand in for the one that failed now.
        self._store.remove_docs({"uuid": job.uuid, "index": job.index})
        if root_cause:
            self.report.failed[job.name] = reason
            self._listener.failed(job.name, reason)

    # --- the workers ---------------------------------------------------------------------------------

    def _free_worker(self) -> _Worker | None:
        for worker in self._workers:
            if worker.job is None:
                return worker
        if len(self._workers) < self._max_workers:
            self._workers.append(_Worker(self._place, self._threads, self._inbox))
            return self._workers[-1]
        return None

    def _send(self, worker: _Worker, job: Job) -> None:
        worker.job = job
        self._tries[job.uuid] += 1
        self._listener.running(job.name)
        worker.send(json.dumps(job, cls=MontyEncoder))

    def _take_messages(self) -> None:
        """Wait until a calculation ends; pass on the steps that are reported meanwhile."""
        ended = False
        while not ended:
            self._termination.check()
            try:
                worker, message = self._inbox.get(timeout=1.0)
            except queue.Empty:
                return
            ended = not isinstance(message, Step)
            self._take(worker, message)
            self._tell()

    def _take(self, worker: _Worker, message: Message) -> None:
        job = worker.job
        match message:
            case Step():
                self._listener.step(message.label, message.step, message.energy_ev, message.max_force)
            case Done() if job is not None:
                worker.job = None
                self._settle(job)
                self._count(job, message.reused)
            case Failed() if job is not None:
                worker.job = None
                self._fail(job, message.message)
                error = message.error()
                if isinstance(error, _FATAL):
                    self.report.fatal = error
            case Gone():
                self._lost(worker, message.code)
            case _:
                worker.job = None

    def _lost(self, worker: _Worker, code: int) -> None:
        """A worker died: killed, out of memory, or crashed in a library."""
        self._workers.remove(worker)
        job, worker.job = worker.job, None
        if job is None:
            return
        if self._tries[job.uuid] < _TRIES:
            self._waiting[id(job)] = job
            return
        why = f"signal {-code}" if code < 0 else f"exit code {code}, {worker.last_words()}"
        self._fail(job, f"its worker process died {_TRIES} times ({why}); out of memory?")

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.send(STOP)
        deadline = time.monotonic() + self._patience_s
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                worker.end()


def _needs_worker(job: Job) -> bool:
    return recognised_of(job) is not None


class _Termination:
    """SIGTERM as Ctrl-C.

    A scheduler may send it to every process, and whoever started this one passes it on: once is enough. What is raised
    in a callback of a library may be lost: the run also looks at `asked`.
    """

    def __init__(self) -> None:
        self.asked, self._at = False, float("-inf")

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True
        now = time.monotonic()
        if now - self._at < _SAME_SIGNAL_S:
            return
        self._at = now
        raise KeyboardInterrupt

    def check(self) -> None:
        """Stop here if that was asked for."""
        if self.asked:
            raise KeyboardInterrupt
