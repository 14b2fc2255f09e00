"""The store of results: one SQLite file or a MongoDB server, asked in the same way, safe with several processes."""

from anodeflow.workflows.store.opening import (
    EmbeddedJobStore,
    find_finished,
    integrity_check,
    newest_output,
    open_job_store,
    store_place,
    store_shown,
)
from anodeflow.workflows.store.renamed import redirect_old_names
from anodeflow.workflows.store.sqlite import SCHEMA_VERSION, SQLiteStore

__all__ = [
    "SCHEMA_VERSION",
    "EmbeddedJobStore",
    "SQLiteStore",
    "find_finished",
    "integrity_check",
    "newest_output",
    "open_job_store",
    "store_place",
    "store_shown",
]

redirect_old_names()
