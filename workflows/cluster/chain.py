"""The jobs that one study runs in, one after the other: which of them may run now, and how far the last one came.

A folder beside the store holds it. Whose turn it is says the newest of the files ``holder-0001``, ``holder-0002``, ...:
each is made by linking, which only one of several processes can do, also on a network file system.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from anodeflow.errors import StoreError
from anodeflow.files import write_atomically
from anodeflow.workflows.cluster.folder import Scheduler
from anodeflow.workflows.cluster.scheduler import queued_jobs

#: Jobs in a row that got no further before no more are sent.
MOST_IN_VAIN = 2
_HOLDER, _STATE, _PROGRESS = "holder-", "state.json", "progress.json"
# A job that is still listed but over.
_ENDING = {"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "E"}
# How long the next job waits until the scheduler has forgotten the one before it.
_LONGEST_END_S, _LOOK_AGAIN_S = 300.0, 2.0


@dataclass
class ChainState:
    """What one job leaves for the next.

    Attributes
    ----------
    study
        The study file.
    successor
        Id of the job that was sent to continue.
    ended
        Why the last job sent no other; empty where it did.
    in_vain
        Jobs in a row that got no further.
    jobs
        Jobs that ran.
    done
        Labels of calculations that are finished.
    reached
        Step that each calculation has reached.
    run_pid, run_born, run_host
        The process that runs the study.
    """

    study: str = ""
    successor: str = ""
    ended: str = ""
    in_vain: int = 0
    jobs: int = 0
    done: list[str] = field(default_factory=list)
    reached: dict[str, int] = field(default_factory=dict)
    run_pid: int = 0
    run_born: str = ""
    run_host: str = ""

    def takes_in(self, noted: dict[str, Any]) -> bool:
        """Take in how far a run came; return whether that is further than ever before.

        A calculation that starts again from its first step, because it leaves no checkpoint, gets no further by steps.
        """
        done, first, reached = (noted.get(key) or {} for key in ("done", "first", "reached"))
        further = not set(done) <= set(self.done)
        for label, step in reached.items():
            further |= label not in self.reached or (first.get(label, 0) > 0 and step > self.reached[label])
            self.reached[label] = max(step, self.reached.get(label, step))
        self.done = sorted({*self.done, *done})
        return further


class Chain:
    """The jobs of one study and store.

    Parameters
    ----------
    store
        The results store, an SQLite file.
    study
        The study file.
    scheduler
        Who runs the jobs.
    job
        Id of this job.
    """

    def __init__(self, store: Path, study: Path, scheduler: Scheduler, job: str) -> None:
        self.folder = store.with_name(f"{store.name}.jobs")
        self._study, self._scheduler, self.job = str(study), scheduler, job

    @property
    def progress(self) -> Path:
        """The file that the run keeps."""
        return self.folder / _PROGRESS

    def claim(self) -> str | None:
        """Make this the job that runs the study; where another does, return the line that says so.

        A job that the scheduler started again has its claim still. The job that was sent to continue takes over; any
        other one only if the scheduler knows neither the holder nor its successor any more.

        Raises
        ------
        EngineError
            If the scheduler does not say whether the other job is alive.
        StoreError
            If nothing can be written beside the store.
        """
        with self._errors():
            self.folder.mkdir(exist_ok=True)
            deadline = time.monotonic() + _LONGEST_END_S
            while True:
                number, holder = self._holder()
                if holder == self.job:
                    return None
                state = self.read()
                is_successor = state.successor == self.job
                if holder is not None and (other := self._alive([holder, state.successor])) is not None:
                    if is_successor and other == holder and time.monotonic() < deadline:
                        time.sleep(_LOOK_AGAIN_S)
                        continue
                    whose = "this study" if state.study in ("", self._study) else f"{state.study}, in the same store"
                    return f"job {other} runs {whose} already, or waits for it; nothing to do here"
                if self._take(number + 1):
                    self._begin(state if is_successor else ChainState())
                    return None

    def read(self) -> ChainState:
        """Return what the last job left; a new state where there is none or it cannot be read."""
        with suppress(OSError, ValueError, TypeError):
            content = json.loads((self.folder / _STATE).read_text())
            names = {field.name for field in fields(ChainState)}
            return ChainState(**{name: value for name, value in content.items() if name in names})
        return ChainState()

    def write(self, state: ChainState) -> None:
        """Keep a state for the next job."""
        with self._errors():
            write_atomically(self.folder / _STATE, json.dumps(asdict(state), indent=1))

    def noted(self) -> dict[str, Any]:
        """Return what the run of this job noted so far."""
        with suppress(OSError, ValueError):
            content = json.loads(self.progress.read_text())
            if isinstance(content, dict):
                return content
        return {}

    def _begin(self, state: ChainState) -> None:
        state.study, state.successor, state.ended = self._study, "", ""
        state.jobs += 1
        self.write(state)

    def _alive(self, jobs: list[str]) -> str | None:
        """Return the first of these jobs, other than this one, that waits or runs."""
        queue = queued_jobs(self._scheduler)
        return next((job for job in jobs if job != self.job and queue.get(job, "E") not in _ENDING), None)

    def _holder(self) -> tuple[int, str | None]:
        """Return the number of the newest claim and its job; 0 and None where there is none."""
        numbers = [int(file.name[len(_HOLDER) :]) for file in self.folder.glob(f"{_HOLDER}[0-9]*")]
        if not numbers:
            return 0, None
        newest = max(numbers)
        try:
            return newest, (self.folder / f"{_HOLDER}{newest:04d}").read_text().strip()
        except FileNotFoundError:  # a newer one took its place
            return self._holder()

    def _take(self, number: int) -> bool:
        """Make the claim of this number; False where another job was faster."""
        claim = self.folder / f"{_HOLDER}{number:04d}"
        temporary = self.folder / f".{secrets.token_hex(6)}"
        temporary.write_text(f"{self.job}\n")
        try:
            os.link(temporary, claim)
        except FileExistsError:
            # Over NFS an answer may be lost, and the question asked twice.
            return temporary.stat().st_nlink == 2
        finally:
            temporary.unlink()
        if number > 1:
            (self.folder / f"{_HOLDER}{number - 1:04d}").unlink(missing_ok=True)
        return True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write '{self.folder}': {error.strerror or error}",
                "put the store on a disk with room that all nodes see and may write to",
            ) from None
