"""When a result was completed: a job that hands out a stored one does not make it younger."""

from __future__ import annotations

from typing import Any

from jobflow.core.schemas import JobStoreDocument


def with_first_completion(docs_store: Any, docs: Any) -> Any:
    """Return a job's document with the time at which its result was completed first.

    A result is the same where fingerprint, start and computer are: it was computed once, and handed out since.

    Parameters
    ----------
    docs_store
        The collection of jobs that it goes to.
    docs
        What `jobflow.JobStore.update` takes; only the document that a job leaves is looked at.
    """
    if not isinstance(docs, JobStoreDocument) or not isinstance(docs.output, dict):
        return docs
    keys = ("fingerprint", "doc_type", "started_at", "computer")
    same = {f"output.{key}": docs.output.get(key) for key in keys}
    if not all(same.values()):
        return docs
    times = [job["completed_at"] for job in docs_store.query(same, properties=["completed_at"])]
    return docs.model_copy(update={"completed_at": min([*times, docs.completed_at])})
