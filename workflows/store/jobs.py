"""Where jobs leave their results on this machine: a jobflow JobStore in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from jobflow import JobStore

from anodeflow.errors import StoreError
from anodeflow.workflows.store.connection import DAMAGED, error_code, open_database, store_errors
from anodeflow.workflows.store.sqlite import SQLiteStore, one_transaction

JOB_FIELDS = (
    "uuid",
    "index",
    "name",
    "metadata.study",
    "metadata.study_hash",
    "metadata.kind",
    "metadata.label",
    "output.fingerprint",
    "output.doc_type",
    "output.crystal",
    "output.engine.name",
    "output.card.name",
    "output.converged",
    "completed_at",
)
DATA_FIELDS = ("blob_uuid", "job_uuid", "job_index")


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
    from anodeflow.workflows.store.database import database_file, is_uri

    if is_uri(where) or database_file(where) is not None:
        from anodeflow.workflows.store.mongo import open_server_store

        return open_server_store(where, JOB_FIELDS, must_exist=must_exist, read_only=read_only)
    common: dict[str, Any] = {"must_exist": must_exist, "read_only": read_only}
    jobs = SQLiteStore(path, "jobs", last_updated_field="completed_at", indexed_fields=JOB_FIELDS, **common)
    data = SQLiteStore(path, "data", key="blob_uuid", indexed_fields=DATA_FIELDS, compress=True, **common)
    store = EmbeddedJobStore(jobs, additional_stores={"data": data})
    store.connect()
    return store


def store_place(where: str | os.PathLike[str]) -> str:
    """What another process of this machine must be told to open the same store: a path is made absolute."""
    from anodeflow.workflows.store.database import database_file, full_uri, is_uri

    text = os.fspath(where)
    if is_uri(text):
        return full_uri(text)
    return os.path.abspath(os.path.expanduser(database_file(text) or text))


def store_shown(where: str | os.PathLike[str]) -> str:
    """A store as a message names it, and as the next command takes it: a URI without its password."""
    from anodeflow.workflows.store.database import full_uri, is_uri, without_password

    text = os.fspath(where)
    return without_password(full_uri(text)) if is_uri(text) else text


def find_finished(job_store: JobStore, fingerprint: str, *, load: bool = True) -> dict | None:
    """Output of the newest converged calculation with a fingerprint, None where there is none.

    Parameters
    ----------
    job_store
        Any connected JobStore, this one or one on a MongoDB server.
    fingerprint
        Hash of structure, card and engine, as the calculation's document holds it.
    load
        Fetch its large arrays too.
    """
    criteria = {
        "output.fingerprint": fingerprint,
        "output.doc_type": "CalculationDoc",
        "output.converged": True,
    }
    # Clocks of time zones aside, ISO times sort as text.
    found = job_store.query_one(criteria, properties=["output"], sort={"completed_at": -1}, load=load)
    return found["output"] if found else None


def integrity_check(path: str | os.PathLike[str]) -> bool:
    """Whether a store's file is sound: SQLite's own check of pages, tables and indexes.

    Raises
    ------
    StoreError
        There is no such file, or it is no store of ours.
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
