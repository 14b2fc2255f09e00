"""Open a store of results to read its documents, without what it takes to run jobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from maggma.core import Store

from anodeflow.workflows.store.database import database_file, is_uri
from anodeflow.workflows.store.fields import IMPORTED_FROM, JOB_FIELDS
from anodeflow.workflows.store.renamed import redirect_old_names
from anodeflow.workflows.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from jobflow import JobStore

#: Seconds that a question waits for a store that another process has locked; runs, which write, wait longer.
PATIENCE_S = 15.0

redirect_old_names()  # before the first document is read


def open_documents(path: str | os.PathLike[str]) -> Store:
    """Open the documents of jobs in a store that exists, to be queried and not changed.

    They are those of :func:`anodeflow.workflows.store.open_job_store`, which also opens the store of large arrays and
    imports jobflow: half a second that a query of an SQLite file does not need.

    Parameters
    ----------
    path
        As for :func:`anodeflow.workflows.store.open_job_store`.

    Raises
    ------
    StoreError
        It is missing, cannot be used or reached, or is too new.
    """
    where = os.fspath(path)
    if is_uri(where) or database_file(where) is not None:
        from anodeflow.workflows.store.opening import open_job_store

        documents: Store = open_job_store(where, must_exist=True, read_only=True).docs_store
        return documents
    store = SQLiteStore(
        path,
        "jobs",
        last_updated_field="completed_at",
        indexed_fields=JOB_FIELDS,
        must_exist=True,
        read_only=True,
        busy_timeout_s=PATIENCE_S,
    )
    store.connect()
    return store


def imported_by_study(store: JobStore | Store) -> dict[str, list[dict[str, Any]]]:
    """Return the notes of all imported documents of a store, each once, by the hash of their study."""
    documents = getattr(store, "docs_store", store)
    marks: dict[str, list[dict[str, Any]]] = {}
    for job in documents.query({IMPORTED_FROM: {"$ne": None}}, properties=["metadata"]):
        metadata = job["metadata"]
        known = marks.setdefault(metadata["study_hash"], [])
        if metadata["imported"] not in known:
            known.append(metadata["imported"])
    return marks
