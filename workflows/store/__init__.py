"""The store of results: one SQLite file or a MongoDB server, asked in the same way, safe with several processes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anodeflow.workflows.store.database import store_place, store_shown
    from anodeflow.workflows.store.opening import (
        EmbeddedJobStore,
        find_finished,
        integrity_check,
        newest_job,
        newest_output,
        open_job_store,
    )
    from anodeflow.workflows.store.reading import imported_by_study, open_documents
    from anodeflow.workflows.store.sqlite import SCHEMA_VERSION, SQLiteStore

__all__ = [
    "SCHEMA_VERSION",
    "EmbeddedJobStore",
    "SQLiteStore",
    "find_finished",
    "imported_by_study",
    "integrity_check",
    "newest_job",
    "newest_output",
    "open_documents",
    "open_job_store",
    "store_place",
    "store_shown",
]

_WHERE = {
    "imported_by_study": "reading",
    "open_documents": "reading",
    "store_place": "database",
    "store_shown": "database",
    "SCHEMA_VERSION": "sqlite",
    "SQLiteStore": "sqlite",
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: jobflow and maggma take half a second, and a message that only names a store, or
    # the status of a study, needs neither.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE.get(name, 'opening')}"), name)
