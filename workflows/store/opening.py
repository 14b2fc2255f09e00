"""Open a store of results, an SQLite file or a database on a server, and look up what was computed in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from typing import Any

from jobflow import JobStore

from anodeflow.errors import StoreError
from anodeflow.settings import load_settings
from anodeflow.workflows.store.completion import with_first_completion
from anodeflow.workflows.store.connection import DAMAGED, error_code, open_database, store_errors
from anodeflow.workflows.store.database import database_file, is_uri
from anodeflow.workflows.store.fields import DATA_FIELDS, IMPORTED_FROM, JOB_FIELDS
from anodeflow.workflows.store.mongo import open_server_store
from anodeflow.workflows.store.renamed import redirect_old_names
from anodeflow.workflows.store.sqlite import SQLiteStore, one_transaction

redirect_old_names()  # before the first document is read


class EmbeddedJobStore(JobStore):
    """A JobStore whose stores share one SQLite file: a job's document and its large data appear together.

    Takes the parameters of `jobflow.JobStore`; every store must be an `SQLiteStore` in the same file.
    """

    def update(self, docs: Any, key: list | str | None = None, save: Any = None) -> None:
        """Put a job's document and its large data in place, in one transaction.

        Parameters
        ----------
        docs, key, save
            As for `jobflow.JobStore.update`.
        """
        stores: list[Any] = [self.docs_store, *self.additional_stores.values()]  # type: ignore[has-type]
        docs = with_first_completion(self.docs_store, docs)
        with one_transaction(*stores):
            super().update(docs, key=key, save=save)  # type: ignore[arg-type]


def open_job_store(path: str | os.PathLike[str], *, must_exist: bool = False, read_only: bool = False) -> JobStore:
    """Open a results store, connected and ready.

    Parameters
    ----------
    path
        An SQLite file; made if it is not there. Or a database on a MongoDB server: its URI, its settings file
        (``database.yaml``), the cluster folder that holds one, or the name of one in
        ``~/.config/anodeflow/databases/``. Jobs are in the table `jobs`; what a job saves in the additional
        store `data` is deflated in the table `data`, on a server in GridFS.
    must_exist
        Refuse to make it.
    read_only
        Refuse to change it.

    Raises
    ------
    StoreError
        It is missing, cannot be used or reached, or is too new.
    """
    where = os.fspath(path)
    if is_uri(where) or database_file(where) is not None:
        return open_server_store(where, JOB_FIELDS, must_exist=must_exist, read_only=read_only)
    common: dict[str, Any] = {"must_exist": must_exist, "read_only": read_only}
    jobs = SQLiteStore(path, "jobs", last_updated_field="completed_at", indexed_fields=JOB_FIELDS, **common)
    data = SQLiteStore(path, "data", key="blob_uuid", indexed_fields=DATA_FIELDS, compress=True, **common)
    store = EmbeddedJobStore(jobs, additional_stores={"data": data})
    store.connect()
    return store


def newest_job(
    job_store: JobStore,
    fingerprint: str,
    doc_type: str,
    criteria: Mapping[str, Any],
    *,
    study_hash: str | None = None,
    load: bool = True,
) -> dict[str, Any] | None:
    """Return output and metadata of the newest job with a fingerprint that may be used, or None.

    What was imported is used for the study it came with, and for others where the settings trust it.

    Parameters
    ----------
    job_store
        Any connected JobStore, this one or one on a MongoDB server.
    fingerprint
        As the document holds it.
    doc_type
        Kind of document, e.g. ``CalculationDoc``.
    criteria
        What else must hold, e.g. ``{"output.converged": True}``.
    study_hash
        Of the study that asks.
    load
        Fetch its large arrays too.
    """
    wanted: dict[str, Any] = {"output.fingerprint": fingerprint, "output.doc_type": doc_type, **criteria}
    if not load_settings().trust_imported:
        computed_here = {IMPORTED_FROM: None}
        wanted["$or"] = [computed_here] if study_hash is None else [computed_here, {"metadata.study_hash": study_hash}]
    # Clocks of time zones aside, ISO times sort as text.
    return job_store.query_one(wanted, properties=["output", "metadata"], sort={"completed_at": -1}, load=load)


def newest_output(
    job_store: JobStore, fingerprint: str, doc_type: str, criteria: Mapping[str, Any], *, load: bool = True
) -> dict[str, Any] | None:
    """Return the output of the newest job with a fingerprint that was computed here, or None.

    Parameters
    ----------
    job_store, fingerprint, doc_type, criteria, load
        As for :func:`newest_job`.
    """
    job = newest_job(job_store, fingerprint, doc_type, criteria, load=load)
    return job["output"] if job else None


def find_finished(job_store: JobStore, fingerprint: str, *, load: bool = True) -> dict[str, Any] | None:
    """Return the output of the newest converged calculation with a fingerprint, or None.

    Parameters
    ----------
    job_store, fingerprint, load
        As for :func:`newest_output`.
    """
    return newest_output(job_store, fingerprint, "CalculationDoc", {"output.converged": True}, load=load)


def integrity_check(path: str | os.PathLike[str]) -> bool:
    """Whether a store's file is sound: SQLite's own check of pages, tables and indexes.

    Raises
    ------
    StoreError
        There is no such file, or it is not a store of anodeflow.
    """
    name, timeout_s = os.path.abspath(os.path.expanduser(path)), 60.0
    try:
        with store_errors(name, timeout_s):
            connection = open_database(name, must_exist=True, read_only=True, timeout_s=timeout_s)
            try:
                return connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
            finally:
                connection.close()
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.DatabaseError) and error_code(error.__cause__) in DAMAGED:
            return False
        raise
