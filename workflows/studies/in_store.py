"""Which calculations of a study a store holds already, so that a plan counts what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymatgen.core import Structure

from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, StoreError
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.studies.graph import CalculationStep, Step

if TYPE_CHECKING:
    from jobflow import JobStore

    from anodeflow.workflows.studies.base import Study


class InStore:
    """What a store holds of the calculations of a study, found as a run would find it.

    A single point or a relaxation is known by its fingerprint, whatever study it was computed for. Later cells are
    built of its relaxed geometry, so that their fingerprints are known, too. Bands, dynamics and searches, and what was
    laid out on other geometries, are known by their label in this study.

    Parameters
    ----------
    study
        The study; its engine must be here.
    store
        The store, which is only read.
    """

    def __init__(self, study: Study, store: JobStore) -> None:
        self._study = study
        self._store = store
        self._identity = study.identity
        self._held: dict[str, bool] = {}

    def relaxed(self, step: Step) -> Structure | None:
        """Return the relaxed geometry of a calculation that converged; None where the store holds none."""
        doc: CalculationDoc | bool | None = self._by_fingerprint(step) if isinstance(step, CalculationStep) else None
        if doc is None:
            doc = self._by_label(step)
        self._held[step.label] = doc is not None
        return doc.structure if isinstance(doc, CalculationDoc) and doc.converged else None

    def holds(self, step: Step) -> bool:
        """Return whether a run would compute nothing for a calculation."""
        if step.label not in self._held:
            self.relaxed(step)
        return self._held[step.label]

    def _by_fingerprint(self, step: CalculationStep) -> CalculationDoc | None:
        job = self._identity.identify(step.job(self._study.setup, {}), step.label)
        work = recognised_of(job)
        if work is None:
            return None
        try:
            doc: CalculationDoc | None = work.find(self._store)
        except StoreError:
            raise
        except AnodeflowError:  # a pseudopotential is missing, which is said elsewhere
            return None
        return doc if doc is not None and work.is_settled(doc) else None

    def _by_label(self, step: Step) -> CalculationDoc | bool | None:
        """Return the document of a converged calculation of this study and this label; True for another kind."""
        criteria = {"metadata.study_hash": self._identity.study_hash, "name": step.label, "output.converged": True}
        job = self._store.query_one(criteria, properties=["output"], sort={"completed_at": -1})
        if job is None:
            return None
        if job["output"]["doc_type"] != CalculationDoc.__name__:
            return True
        return CalculationDoc.model_validate(job["output"])
