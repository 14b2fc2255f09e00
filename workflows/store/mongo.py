"""The results store on a MongoDB server: the same documents as in the embedded store, large data in GridFS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gridfs
from jobflow import JobStore
from maggma.stores import GridFSStore, MongoStore
from pymongo import IndexModel

from anodeflow.errors import StoreError
from anodeflow.workflows.store.completion import with_first_completion
from anodeflow.workflows.store.database import (
    DATABASE_SCHEMA,
    META,
    Database,
    load_database,
    server_errors,
    without_password,
)

JOBS, DATA = "jobs", "data"


class _OnServer:
    """What both kinds of collection share: the connection, and errors in plain words."""

    read_only: bool
    where: str
    _secret: str
    _database: Database | None = None

    @property
    def database_settings(self) -> Database:
        """Where the collection is."""
        if self._database is None:
            self._database = load_database(self._secret)
        return self._database

    @property
    def name(self) -> str:
        """Where the documents are."""
        return f"mongodb://{self.database_settings.place}/{self.collection_name}"  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OnServer) and type(self) is type(other) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # Connections stay in their process.
        return {k: v for k, v in self.__dict__.items() if k not in ("_coll", "_fs", "_files_collection", "_chunks")}

    def close(self) -> None:
        """Let go of the collection; the connection is shared by all stores of this process."""
        self._coll = None

    def _for_writing(self) -> None:
        if self.read_only:
            raise StoreError(f"the store {self.name} was opened for reading", "open it for writing")

    def query(self, *arguments: Any, **options: Any) -> Iterator[dict]:
        """See `maggma.core.Store.query`."""
        with server_errors(self.database_settings):
            yield from super().query(*arguments, **options)  # type: ignore[misc]

    def count(self, *arguments: Any, **options: Any) -> int:
        """See `maggma.core.Store.count`."""
        with server_errors(self.database_settings):
            return super().count(*arguments, **options)  # type: ignore[misc]

    def distinct(self, *arguments: Any, **options: Any) -> list:
        """See `maggma.core.Store.distinct`."""
        with server_errors(self.database_settings):
            return super().distinct(*arguments, **options)  # type: ignore[misc]

    def update(self, *arguments: Any, **options: Any) -> None:
        """See `maggma.core.Store.update`."""
        self._for_writing()
        with server_errors(self.database_settings):
            super().update(*arguments, **options)  # type: ignore[misc]

    def remove_docs(self, criteria: dict) -> None:
        """See `maggma.core.Store.remove_docs`."""
        self._for_writing()
        with server_errors(self.database_settings):
            super().remove_docs(criteria)  # type: ignore[misc]


class ServerStore(_OnServer, MongoStore):
    """A collection on a MongoDB server. It holds where its settings are, never a password.

    Parameters
    ----------
    where
        URI, file, cluster folder or name, as for `load_database`.
    collection_name
        The collection.
    read_only
        Refuse to change it.
    """

    def __init__(self, where: str, collection_name: str, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__("", collection_name, **kwargs)
        self.read_only, self._secret, self.where = read_only, where, without_password(where)
        self._pending: list[tuple[Any, Any]] | None = None

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Hold back updates until the end of the block; none is written if it fails."""
        self._pending = []
        try:
            yield
            pending, self._pending = self._pending, None
            for documents, key in pending:
                self.update(documents, key)
        finally:
            self._pending = None

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """See `maggma.core.Store.update`."""
        if self._pending is not None:
            self._pending.append((docs, key))
        else:
            super().update(docs, key)

    def beside(self, collection_name: str, key: str) -> ServerStore:
        """Return another collection of the same database."""
        return ServerStore(self._secret, collection_name, self.read_only, key=key)

    def connect(self, force_reset: bool = False) -> None:
        """See `maggma.core.Store.connect`."""
        if self._coll is None or force_reset:
            self._coll = self.database_settings.open()[self.collection_name]


class ServerFiles(_OnServer, GridFSStore):
    """Documents over 16 MB on a MongoDB server (GridFS, deflated); parameters as for `ServerStore`."""

    def __init__(self, where: str, collection_name: str, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__("", collection_name, compression=True, **kwargs)
        self.read_only, self._secret, self.where = read_only, where, without_password(where)

    def connect(self, force_reset: bool = False) -> None:
        """See `maggma.core.Store.connect`."""
        if not self._coll or force_reset:
            database = self.database_settings.open()
            self._coll: Any = gridfs.GridFS(database, self.collection_name)
            self._files_collection = database[f"{self.collection_name}.files"]
            files = MongoStore.from_collection(self._files_collection)
            files.last_updated_field = f"metadata.{self.last_updated_field}"
            files.key = self.key
            self._fs: Any = files
            self._chunks_collection = database[f"{self.collection_name}.chunks"]


class ServerJobStore(JobStore):
    """A JobStore on a server that writes large data first, so that no document refers to data that is not there."""

    def update(self, docs: Any, key: list | str | None = None, save: Any = None) -> None:
        """See `jobflow.JobStore.update`."""
        jobs: Any = self.docs_store
        docs = with_first_completion(jobs, docs)
        with jobs.held_back():
            super().update(docs, key=key, save=save)  # type: ignore[arg-type]


def open_server_store(where: str, fields: tuple[str, ...], *, must_exist: bool, read_only: bool) -> JobStore:
    """The JobStore of a database, connected, its fields indexed.

    Raises
    ------
    StoreError, InputError
        As for `Database.open`; with `must_exist`, if nothing was ever stored there.
    """
    jobs = ServerStore(where, JOBS, read_only, key="uuid", last_updated_field="completed_at")
    data = ServerFiles(where, DATA, read_only, key="blob_uuid")
    store = ServerJobStore(jobs, additional_stores={DATA: data})
    store.connect()
    settings = jobs.database_settings
    with server_errors(settings):
        database = settings.open()
        if must_exist and JOBS not in database.list_collection_names():
            raise StoreError(f"the database {settings.place} holds no results yet", "run or submit a study first")
        if not read_only:
            database[META].update_one({"_id": "schema"}, {"$setOnInsert": {"version": DATABASE_SCHEMA}}, upsert=True)
            indexes = [IndexModel([(field, 1)]) for field in fields if field != "uuid"]
            database[JOBS].create_indexes([IndexModel([("uuid", 1), ("index", 1)], unique=True), *indexes])
            database[f"{DATA}.files"].create_indexes([IndexModel([("metadata.blob_uuid", 1)]),
                                                      IndexModel([("metadata.job_uuid", 1)])])  # fmt: skip
    return store
