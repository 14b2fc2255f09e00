"""A maggma Store in one SQLite file: a table for each collection, a row for each document."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from array import array
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

from maggma.core import Sort, Store
from mongomock_ng.filtering import NOTHING, BsonComparable, iter_key_candidates, resolve_key, resolve_sort_key
from monty.json import jsanitize

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store.codec import encode_document
from anodeflow.workflows.store.connection import (
    SCHEMA_VERSION,
    file_identity,
    open_database,
    store_errors,
    transaction,
)
from anodeflow.workflows.store.criteria import check_criteria, matches, projector
from anodeflow.workflows.store.table import Table

__all__ = ["SCHEMA_VERSION", "SQLiteStore", "one_transaction"]

_inherited: list[sqlite3.Connection] = []  # a parent process's: after a fork not even to be closed

_Prepared = tuple[dict, dict, str | bytes]  # what identifies the document, the document, the document encoded


class SQLiteStore(Store):
    """Documents of one collection in an SQLite file, queried as in MongoDB.

    Safe with several processes and threads: an `update` is one transaction, on the disk when it returns.
    Connections are made on first use in each process and thread, and never travel.

    Parameters
    ----------
    path
        The file. Made on first use, unless `must_exist` or `read_only`.
    collection
        Name of the table.
    key
        The field, or fields, that identify a document.
    last_updated_field
        Field with the time of the last change.
    indexed_fields
        Dotted paths that queries, sorting and updates find without reading documents; fields of `key` always
        are. The file knows what it indexes: that grows on the next write, and every writer keeps it up.
    compress
        Deflate the documents (large arrays).
    must_exist
        Refuse to make the file.
    read_only
        Refuse to change the file.
    busy_timeout_s
        Longest wait for another writer, in seconds.

    Raises
    ------
    StoreError
        From every method: the file cannot be used, with the reason and a remedy.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        collection: str = "documents",
        key: str | list[str] = "uuid",
        last_updated_field: str = "last_updated",
        indexed_fields: tuple[str, ...] | list[str] = (),
        compress: bool = False,
        must_exist: bool = False,
        read_only: bool = False,
        busy_timeout_s: float = 60.0,
    ) -> None:
        if not re.fullmatch(r"(?!sqlite_)[A-Za-z_][\w.-]*", collection, re.ASCII):
            raise StoreError(f"{collection!r} is not a name for a collection", "use letters, digits and _")
        self.path = os.path.abspath(os.path.expanduser(path))
        self.collection = collection
        self.indexed_fields = tuple(indexed_fields)
        self.compress = compress
        self.must_exist = must_exist
        self.read_only = read_only
        self.busy_timeout_s = busy_timeout_s
        self._table = Table(self.path, collection, busy_timeout_s)
        self._local = threading.local()
        self._generation = 0
        self._was_open = False
        super().__init__(key=key, last_updated_field=last_updated_field)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Where the documents are."""
        return f"sqlite://{self.path}/{self.collection}"

    @property
    def _collection(self) -> Any:
        raise StoreError(f"{self.name} has no pymongo collection", "use query, count, distinct or groupby")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SQLiteStore) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    # Connections

    def connect(self, force_reset: bool = False) -> None:
        """Open the file now, so that what is wrong with it shows now.

        Parameters
        ----------
        force_reset
            Close it first if it is open.
        """
        if force_reset:
            self.close()
        self._connection()

    def close(self) -> None:
        """Close this thread's connection; other threads close theirs on their next call, and reopen."""
        self._generation += 1
        self._was_open = False
        held = getattr(self._local, "held", None)
        self._local.held = None
        if held is not None:
            _release(held)

    def _connection(self) -> sqlite3.Connection:
        held = getattr(self._local, "held", None)
        if held is not None:
            pid, generation, identity, connection = held
            if pid == os.getpid() and generation == self._generation and identity == file_identity(self.path):
                return connection
            _release(held)
            self._local.held = None
        if self._was_open and file_identity(self.path) is None:
            # Made again it would hold what comes now, and miss what was there, silently.
            raise StoreError(
                f"the store {self.path} was removed or moved while it was in use",
                "put it back, or run again: what it held is computed again",
            )
        connection = open_database(
            self.path, must_exist=self.must_exist, read_only=self.read_only, timeout_s=self.busy_timeout_s
        )
        self._was_open = True
        self._local.held = (os.getpid(), self._generation, file_identity(self.path), connection)
        return connection

    def _errors(self) -> AbstractContextManager[None]:
        return store_errors(self.path, self.busy_timeout_s)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self.read_only:
            raise StoreError(f"the store {self.path} was opened for reading", "open it for writing")
        with self._errors():
            connection = self._connection()
            with transaction(connection):
                yield connection

    # Indices

    def ensure_index(self, key: str | list[str], unique: bool = False) -> bool:
        """Index a field, for the documents there are and those to come.

        Parameters
        ----------
        key
            The field, or several.
        unique
            No two documents may have the same value; documents without the field do not count.

        Returns
        -------
        bool
            Whether the field is indexed now; False where documents break `unique`.
        """
        fields = [key] if isinstance(key, str) else list(key)
        try:
            with self._writing() as connection:
                columns = self._table.ensure_columns(connection, self._wanted_fields() + fields)
                if unique:
                    self._table.make_unique(connection, [columns[field] for field in fields])
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                return False
            raise
        return True

    def _wanted_fields(self) -> list[str]:
        return [*([self.key] if isinstance(self.key, str) else self.key), *self.indexed_fields]

    # Reading

    def _find(self, criteria: dict, sort: list[tuple[str, int]]) -> Iterator[tuple[int, dict]]:
        """Rows and documents that match checked criteria, in order."""
        with self._errors():
            connection = self._connection()
            columns = self._table.columns(connection)
            if not columns:
                return
            plan = self._table.plan(connection, criteria, columns)
            order = self._table.order(connection, columns, sort, plan)
        if order is not None:
            yield from self._judged(self._table.row_ids(connection, plan, order), criteria)
            return
        keyed = [
            ([resolve_sort_key(field, document) for field, _ in sort], row)
            for row, document in self._find(criteria, [])
        ]
        for number in reversed(range(len(sort))):
            keyed.sort(key=lambda item, n=number: item[0][n], reverse=sort[number][1] < 0)  # type: ignore[misc]
        yield from self._judged((row for _, row in keyed), criteria)

    def _judged(self, rows: Iterator[int], criteria: dict) -> Iterator[tuple[int, dict]]:
        for row in rows:
            with self._errors():
                document = self._table.read(self._connection(), row)
            if document is not None and matches(criteria, document):
                yield row, document

    def query(
        self,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict]:
        """Find documents, one at a time; the store may be changed meanwhile.

        Parameters
        ----------
        criteria
            MongoDB criteria. Equality, `$in`, `$nin`, `$ne` and comparisons of indexed fields, also inside
            `$and`, use the index; everything else is answered by reading the documents that remain.
        properties
            Dotted paths to return, or a MongoDB projection; everything if empty.
        sort
            Direction of each field to sort by. Indexed fields sort without reading documents.
        skip, limit
            How many to leave out at first, and how many to return at most (0: all).

        Raises
        ------
        InputError
            The criteria, properties or sort cannot be used.
        """
        checked = check_criteria(criteria)
        project = projector(properties, checked)
        rows = self._find(checked, _directions(sort))
        for _, document in islice(rows, skip, skip + limit if limit else None):
            yield project(document)

    def count(self, criteria: dict | None = None) -> int:
        """Count the documents that match MongoDB criteria."""
        checked = check_criteria(criteria)
        with self._errors():
            connection = self._connection()
            columns = self._table.columns(connection)
            if not columns:
                return 0
            plan = self._table.plan(connection, checked, columns)
            if self._table.sure(connection, plan):
                return connection.execute(self._table.select(plan, "COUNT(*)"), plan.parameters).fetchone()[0]
        return sum(1 for _ in self._find(checked, []))

    def distinct(self, field: str, criteria: dict | None = None, all_exist: bool = False) -> list:
        """Different values of a field in the documents that match; of lists, their items.

        Parameters
        ----------
        field
            Dotted path.
        criteria
            MongoDB criteria.
        all_exist
            Without effect, as in maggma's own stores.
        """
        values: dict[str | bytes, Any] = {}
        for _, document in self._find(check_criteria(criteria), []):
            for candidate in iter_key_candidates(field, document):
                for value in candidate if isinstance(candidate, list) else [candidate]:
                    if value is not NOTHING:
                        values.setdefault(encode_document({"": value}), value)
        return list(values.values())

    def groupby(
        self,
        keys: list[str] | str,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[dict, list[dict]]]:
        """Group documents by the values of fields; documents that lack one of the fields are left out.

        Parameters
        ----------
        keys
            Dotted paths.
        criteria, properties, sort, skip, limit
            As for `query`.

        Yields
        ------
        tuple of dict and list of dict
            The values of the keys, and the documents that have them, in ascending order of the values.
        """
        fields = [keys] if isinstance(keys, str) else list(keys)
        checked = check_criteria(criteria)
        project = projector([*properties, *fields] if properties else None, checked)
        groups: dict[str | bytes, tuple[list, list[dict]]] = {}
        rows = self._find(checked, _directions(sort))
        for _, document in islice(rows, skip, skip + limit if limit else None):
            values = [resolve_key(field, document) for field in fields]
            if not any(value is NOTHING for value in values):
                group = groups.setdefault(encode_document({"": values}), (values, []))
                group[1].append(project(document))
        for values, documents in sorted(groups.values(), key=lambda g: [BsonComparable(v) for v in g[0]]):
            result: dict = {}
            for field, value in zip(fields, values, strict=True):
                *parents, last = field.split(".")
                node = result
                for parent in parents:
                    node = node.setdefault(parent, {})
                node[last] = value
            yield result, documents

    # Writing

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """Put documents in place of those with the same key, or add them: all of them, or none.

        Parameters
        ----------
        docs
            A document, or several. Numpy values become plain ones, MSONable objects dictionaries.
        key
            The field, or fields, that identify a document; the store's own key if None.

        Raises
        ------
        StoreError
            A document lacks a key field, or the file cannot be written.
        """
        fields = key or self.key
        fields = [fields] if isinstance(fields, str) else list(fields)
        prepared: list[_Prepared] = []
        for given in docs if isinstance(docs, list | tuple) else [docs]:
            document = jsanitize(given, allow_bson=True, recursive_msonable=True)
            lacking = [field for field in fields if field not in document]
            if lacking:
                raise StoreError(
                    f"a document for {self.name} lacks the field {lacking[0]!r}",
                    "add it, or update by another key",
                )
            identity = check_criteria({field: document[field] for field in fields})
            prepared.append((identity, document, encode_document(document, self.compress)))
        pending = getattr(self._local, "pending", None)
        if pending is not None:
            pending.append((self, fields, prepared))
        elif prepared:
            self._write([(self, fields, prepared)])

    def _write(self, batches: list[tuple[SQLiteStore, list[str], list[_Prepared]]]) -> None:
        with self._writing() as connection:
            for store, fields, prepared in batches:
                columns = store._table.ensure_columns(connection, store._wanted_fields() + fields)
                for identity, document, encoded in prepared:
                    store._table.put(connection, columns, identity, document, encoded)

    def remove_docs(self, criteria: dict) -> None:
        """Remove the documents that match MongoDB criteria, in one transaction."""
        checked = check_criteria(criteria)
        with self._writing() as connection:
            columns = self._table.columns(connection)
            if not columns:
                return
            self._table.remove(connection, array("q", self._table.matching(connection, columns, checked)))


@contextmanager
def one_transaction(*stores: SQLiteStore) -> Iterator[None]:
    """Hold back this thread's updates of stores in the same file, then write all of them at once.

    Raises
    ------
    StoreError
        The stores are in different files, or the file cannot be written.
    """
    if len({store.path for store in stores}) != 1:
        raise StoreError(f"{', '.join(s.name for s in stores)} are different files", "keep them in one file")
    batches: list[tuple[SQLiteStore, list[str], list[_Prepared]]] = []
    for store in stores:
        store._local.pending = batches
    try:
        yield
    finally:
        for store in stores:
            store._local.pending = None
    if batches:
        stores[0]._write(batches)


def _release(held: tuple) -> None:
    if held[0] == os.getpid():
        held[3].close()
    else:
        _inherited.append(held[3])


def _directions(sort: Mapping[str, Sort | int] | None) -> list[tuple[str, int]]:
    directions = []
    for field, direction in (sort or {}).items():
        value = direction.value if isinstance(direction, Sort) else direction
        if value not in (1, -1) or field.startswith("$"):
            raise InputError(f"cannot sort by {field!r}: {direction!r}", "use the field's path with 1 or -1")
        directions.append((field, value))
    return directions
