"""Work that is recognised by its fingerprint: computed once, whoever asks for it, wherever and how often.

A calculation, a band and a segment of dynamics differ in what makes two of them the same, in when a stored one counts
as settled, and in how they are computed. The sequence they share stands in :meth:`Recognised.result`. A job carries one
such object (:func:`recognised_of`), and whoever runs jobs asks the object.
"""

from __future__ import annotations

import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypedDict, TypeVar, cast

from monty.json import MSONable

from anodeflow.documents import CardRecord, ComputedDoc, EngineRecord
from anodeflow.errors import AnodeflowError, StoreError
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.deferred import deferred_job
from anodeflow.workflows.jobs.folders import calculation_folder
from anodeflow.workflows.jobs.lock import alone

if TYPE_CHECKING:
    from jobflow import Job, JobStore

# How long after another process let go of a fingerprint its document may take to get into the store.
WRITTEN_AFTER_S = 3.0
LOOK_AGAIN_S = 0.1
# The argument of a job that holds what it computes.
_WORK = "work"

_Doc = TypeVar("_Doc", bound=ComputedDoc)


class Provenance(TypedDict):
    """What every document of computed work says in the same way."""

    fingerprint: str
    label: str
    engine: EngineRecord
    card: CardRecord
    wall_time_s: float
    started_at: str
    computer: str


@dataclass
class Attempt(Generic[_Doc]):
    """One attempt at computing something, begun now.

    Attributes
    ----------
    earlier
        What the store holds of an earlier attempt that did not settle it.
    folder
        Where the engine leaves its files, which need not be there yet; None for one without.
    """

    earlier: _Doc | None
    folder: Path | None
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _clock: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Return how long it has taken so far, s."""
        return time.perf_counter() - self._clock


@dataclass(frozen=True, eq=False)
class Recognised(MSONable, ABC, Generic[_Doc]):
    """Base of what a job computes.

    In a job that has not run yet, an output reference may stand in place of any field.

    Parameters
    ----------
    card
        How accurately.
    engine
        Name of the engine.
    label
        What a person calls it, e.g. ``Al/bulk/i1``.
    """

    card: MethodCard
    engine: str
    label: str
    #: The study that asks, and the note of an imported document that the last :meth:`find` returned. These two do not
    #: travel with a job.
    study_hash: str | None = field(default=None, init=False)
    imported: dict[str, Any] | None = field(default=None, init=False)

    document: ClassVar[type[ComputedDoc]]
    #: What must hold of an unconverged document that a later attempt continues from; None where there is none.
    continued: ClassVar[Mapping[str, Any] | None] = None
    #: Whether it is asked to run where something it needs was not computed, and says so in its document.
    takes_missing: ClassVar[bool] = False

    # --- what each kind of work fills in

    @property
    @abstractmethod
    def key(self) -> str:
        """Fingerprint: what makes two of them the same."""

    @property
    @abstractmethod
    def elements(self) -> tuple[str, ...]:
        """Elements, whose pseudopotentials belong to the record of an engine with electrons."""

    @property
    @abstractmethod
    def atoms(self) -> int | None:
        """Atoms of the cell; None where the geometry is the output of another job."""

    @property
    def task(self) -> str:
        """What is done, where that decides how long it takes; else empty."""
        return ""

    @property
    def folder(self) -> Path | None:
        """Where the engine leaves its files; None for one without."""
        return calculation_folder(self.label, self.key)

    @abstractmethod
    def is_settled(self, doc: _Doc) -> bool:
        """Return whether computing again could change nothing."""

    @abstractmethod
    def compute(self, attempt: Attempt[_Doc]) -> _Doc:
        """Compute it, from where an earlier attempt ended."""

    def refusal(self) -> _Doc | None:
        """Return the document that says why this cannot be computed at all; None where it can."""
        return None

    def find(self, store: JobStore | None) -> _Doc | None:
        """Return what the store holds: the converged document, else the newest to continue from, else None."""
        if store is None:
            return None
        doc = self._newest(store, {"output.converged": True})
        if doc is None and self.continued is not None:
            doc = self._newest(store, {"output.converged": False, **self.continued})
        return doc

    # --- what they share

    def asked_by(self, job: Job) -> Self:
        """Let it know the job that asks: its study may use what was imported with it."""
        object.__setattr__(self, "study_hash", job.metadata.get("study_hash"))
        return self

    def result(self, store: JobStore | None) -> _Doc:
        """Hand out the document of the store, or compute it: recognise, lock, look again, compute, document.

        Parameters
        ----------
        store
            Where finished work may be; None computes in any case.

        Raises
        ------
        EngineError
            If the engine is missing or broken.
        AnodeflowError
            If what the work needs is damaged.
        """
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        earlier = self.find(store)
        if not self._settles(earlier):
            with alone(self.key) as waited:
                earlier = self._found_again(store, patience_s=WRITTEN_AFTER_S if waited and store is not None else 0.0)
                if not self._settles(earlier):
                    return self.compute(Attempt(earlier, self.folder))
        monitor.handed_out()
        return cast(_Doc, earlier)

    def is_finished(self, store: JobStore) -> bool:
        """Return whether :meth:`result` would compute nothing.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        try:
            if self.refusal() is not None:
                return True
            return self._settles(self.find(store))
        except StoreError:
            raise
        except AnodeflowError:  # the job says so itself
            return False

    def provenance(self, attempt: Attempt[_Doc]) -> Provenance:
        """Return the fields that all documents share; an engine tells its version only when it has run."""
        return {
            "fingerprint": self.key,
            "label": self.label,
            "engine": self.engine_record(),
            "card": self.card.record,
            "wall_time_s": attempt.seconds(),
            "started_at": attempt.started_at,
            "computer": platform.node(),
        }

    @property
    def _engine(self) -> Engine:
        return get_engine(self.engine)

    def engine_record(self) -> EngineRecord:
        """Return what the engine says of itself, with the pseudopotentials of these elements."""
        return self._engine.record_with(self.card, self.elements)

    def _settles(self, doc: _Doc | None) -> bool:
        return doc is not None and self.is_settled(doc)

    def _found_again(self, store: JobStore | None, patience_s: float) -> _Doc | None:
        """Return what the store holds now; what another process has just computed is waited for."""
        deadline = time.monotonic() + patience_s
        while not self._settles(doc := self.find(store)) and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_S)
        return doc

    def _newest(self, store: JobStore, criteria: Mapping[str, Any]) -> _Doc | None:
        # Here, because the store's modules import jobflow and MongoDB's client, and a plan needs neither.
        from anodeflow.workflows.store import newest_job

        job = newest_job(store, self.key, self.document.__name__, criteria, study_hash=self.study_hash)
        about = {} if job is None else job.get("metadata") or {}
        object.__setattr__(self, "imported", about.get("imported"))
        return None if job is None else cast(_Doc, self.document.model_validate(job["output"]))


@deferred_job(expose_store=True, data="arrays")
def compute(work: Recognised[Any]) -> ComputedDoc:
    """Compute something, or hand out the settled document with the same fingerprint.

    What does not converge ends in a document with ``converged`` False; only a missing or broken engine, or a damaged
    file, raises.
    """
    from jobflow import CURRENT_JOB

    asking = CURRENT_JOB.job
    doc: ComputedDoc = (work if asking is None else work.asked_by(asking)).result(CURRENT_JOB.store)
    if asking is not None and work.imported is not None:  # it stays marked under whatever study
        asking.update_metadata({"imported": work.imported})
    return doc


def job_of(work: Recognised[Any]) -> Job:
    """Return the job that computes something; its output is the document."""
    from jobflow import OnMissing

    job = compute(**{_WORK: work})
    job.name = work.label
    job.update_metadata({"kind": "calculation", "label": work.label})
    if work.takes_missing:
        job.config.on_missing_references = OnMissing.NONE
    return job


def recognised_of(job: Job, store: JobStore | None = None) -> Recognised[Any] | None:
    """Return what a job computes; None for a job that only arranges or collects.

    Parameters
    ----------
    job
        The job.
    store
        Where the outputs it refers to are looked up; with None they stay references.

    Raises
    ------
    ValueError
        If an output it needs is not in the store.
    """
    if not isinstance(job.function_kwargs.get(_WORK), Recognised):
        return None
    if store is not None:
        job = job.resolve_args(store, inplace=False)
    return cast("Recognised[Any]", job.function_kwargs[_WORK]).asked_by(job)
