"""What a run leaves in the store while it lasts: how far it is."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType

from jobflow import JobStore

from anodeflow.errors import StoreError
from anodeflow.workflows.store.mongo import ServerStore
from anodeflow.workflows.store.runs import KEY, RUNS, RunRecord, born
from anodeflow.workflows.store.sqlite import SQLiteStore

# A run writes at most so often what has changed, and at least so often that it is still alive.
SHORTEST_S, HEARTBEAT_S = 1.0, 20.0


class LiveRun:
    """The record of this process in a store, for as long as the block lasts.

    Nothing that goes wrong with it is a reason to stop a run.

    Parameters
    ----------
    store
        The results store.
    study_hash, study
        What is run, and the kind of study.
    """

    def __init__(self, store: JobStore, study_hash: str, study: str) -> None:
        pid, computer = os.getpid(), socket.gethostname()
        self._record = RunRecord(f"{computer}:{pid}:{study_hash}", study_hash, study, computer, pid, born(pid))
        self._collection = _collection(store)
        self._told: tuple[int, int, int] | None = None

    def __enter__(self) -> LiveRun:
        if self._collection is not None:
            with suppress(StoreError):
                known = [RunRecord.read(record) for record in self._collection.query({})]
                ended = [record.run for record in known if record is not None and not record.goes_on()]
                self._collection.remove_docs({KEY: {"$in": ended}})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._collection is not None:
            with suppress(StoreError):
                self._collection.remove_docs({KEY: self._record.run})

    def tell(self, running: int, waiting: int, failed: int) -> None:
        """Write how far it is, unless that was written a moment ago.

        Parameters
        ----------
        running, waiting, failed
            Numbers of jobs.
        """
        now, numbers = time.time(), (running, waiting, failed)
        silent = now - self._record.updated_s
        if self._collection is None or silent < (HEARTBEAT_S if numbers == self._told else SHORTEST_S):
            return
        self._told, self._record.updated_s = numbers, now
        self._record.running, self._record.waiting, self._record.failed = numbers
        with suppress(StoreError):
            self._collection.update([asdict(self._record)], KEY)


def _collection(store: JobStore) -> SQLiteStore | ServerStore | None:
    """Return the collection of runs beside that of jobs; None where the store is of another kind."""
    jobs = store.docs_store
    try:
        if isinstance(jobs, SQLiteStore):
            # A store that was deleted in the middle of a run is not made again for this.
            return SQLiteStore(jobs.path, RUNS, key=KEY, must_exist=True)
        if isinstance(jobs, ServerStore):
            beside = jobs.beside(RUNS, KEY)
            beside.connect()
            return beside
    except StoreError:
        pass
    return None
