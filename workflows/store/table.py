"""The SQL of one collection: a table with a column for each indexed field, its rows found by a plan."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from array import array
from collections.abc import Iterable, Iterator

from anodeflow.errors import StoreError
from anodeflow.workflows.store.codec import decode_document, extract_key
from anodeflow.workflows.store.connection import SCHEMA_VERSION, store_errors
from anodeflow.workflows.store.criteria import Plan, matches, translate

PAGE = 256
# Column of the digests; a document of a store of version 1 has none.
_DIGEST = "digest"
PROBE, LAST_PROBE = 16, 100_000


def _digest(document: object) -> bytes | None:
    """Digest of a document as it is stored; None for what no document is."""
    if isinstance(document, str):
        document = document.encode("utf-8", "surrogatepass")
    return hashlib.sha256(document).digest()[:16] if isinstance(document, bytes) else None


def _column(path: str) -> str:
    """Quoted column of an indexed field (SQLite ignores the case of names, Mongo does not)."""
    name = re.sub("[A-Z!]", lambda match: "!" + match.group().lower(), path)
    return '"k:{}"'.format(name.replace('"', '""'))


def _field(column: str) -> str:
    """The field of an unquoted column."""
    return re.sub("!(.)", lambda match: match.group(1).upper(), column.removeprefix("k:"))


class Table:
    """One table of a file; every method is given the connection of the thread that calls it.

    Parameters
    ----------
    path
        The file, named in errors.
    collection
        Name of the table.
    busy_timeout_s
        Longest wait for another writer, named in errors.
    """

    def __init__(self, path: str, collection: str, busy_timeout_s: float) -> None:
        self.path = path
        self.collection = collection
        self.name = f'"{collection}"'
        self.busy_timeout_s = busy_timeout_s
        self._has_digests = False  # as last seen: a table of a store of version 1 has none

    def columns(self, connection: sqlite3.Connection) -> dict[str, str]:
        """Quoted column of each indexed field of the table; empty where there is no table."""
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({self.name})")]
        self._has_digests = _DIGEST in names
        return {_field(name): _column(_field(name)) for name in names if name.startswith("k:")}

    def ensure_columns(self, connection: sqlite3.Connection, fields: list[str]) -> dict[str, str]:
        """Make the table and what it lacks of indexed fields, inside a transaction."""
        have = self.columns(connection)
        missing = [field for field in dict.fromkeys(fields) if field not in have]
        if have and not self._has_digests:
            connection.execute(f"ALTER TABLE {self.name} ADD COLUMN {_DIGEST}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # who knows no digests must not write
            self._has_digests = True
        if not missing:
            return have
        for field in missing:
            if not all(field.split(".")):
                raise StoreError(f"{field!r} is not a field that can be indexed", "write it as parent.child")
        new = {field: _column(field) for field in missing}
        if not have:
            # Keys stand before the document, where reading them does not touch a long document's pages.
            connection.execute(
                f"CREATE TABLE {self.name} "
                f"(id INTEGER PRIMARY KEY, {', '.join(new.values())}, {_DIGEST}, document NOT NULL)"
            )
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._has_digests = True
        else:
            for column in new.values():
                connection.execute(f"ALTER TABLE {self.name} ADD COLUMN {column}")
            change = f"UPDATE {self.name} SET {', '.join(f'{c} = ?' for c in new.values())} WHERE id = ?"  # noqa: S608
            for row in self.row_ids(connection, Plan(), "id"):
                document = self.read(connection, row)
                if document is not None:
                    connection.execute(change, [*(extract_key(document, field) for field in new), row])
        for column in new.values():
            index = f'"{self.collection} {column[1:]}'
            connection.execute(f"CREATE INDEX {index} ON {self.name} ({column})")
        return {**have, **new}

    def make_unique(self, connection: sqlite3.Connection, columns: list[str]) -> None:
        """Refuse two documents with the same values in these columns; those that lack one do not count."""
        single = " AND ".join(f"{column} != X'00' AND {column} != X'01'" for column in columns)
        index = '"{} unique {}"'.format(self.collection, " ".join(c.strip('"') for c in columns))
        connection.execute(
            f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {self.name} ({', '.join(columns)}) WHERE {single}"
        )

    def read(self, connection: sqlite3.Connection, row: int) -> dict | None:
        """The document of a row; None where the row is gone.

        Raises
        ------
        StoreError
            If it is not what was written.
        """
        digest = _DIGEST if self._has_digests else "NULL"
        select = f"SELECT document, {digest} FROM {self.name} WHERE id = ?"  # noqa: S608
        record = connection.execute(select, (row,)).fetchone()
        if record is None:
            return None
        if record[1] is not None and record[1] != _digest(record[0]):
            raise StoreError(
                f"a document in the store {self.path} is damaged: it is not what was written",
                "restore the store from a backup, or use another one",
            )
        return decode_document(record[0])

    def select(self, plan: Plan, columns: str, order: str = "") -> str:
        """The statement that selects what a plan leaves."""
        where = f" WHERE {plan.sql}" if plan.parts else ""
        return f"SELECT {columns} FROM {self.name}{where}{order and ' ORDER BY '}{order}"  # noqa: S608

    def row_ids(self, connection: sqlite3.Connection, plan: Plan, order: str) -> Iterator[int]:
        """Rows that fulfil a plan. No statement stays open between two of them: all may write meanwhile."""
        statement = self.select(plan, "id", order)
        with store_errors(self.path, self.busy_timeout_s):
            first = [row for (row,) in connection.execute(f"{statement} LIMIT {PAGE}", plan.parameters)]
        yield from first
        if len(first) < PAGE:
            return
        with store_errors(self.path, self.busy_timeout_s):
            rest = array("q", (row for (row,) in connection.execute(statement, plan.parameters)))
        seen = set(first)
        for row in rest:
            if row not in seen:
                yield row

    def plan(self, connection: sqlite3.Connection, criteria: dict, columns: dict[str, str]) -> Plan:
        """Translate criteria; choose by counting the index that leaves the fewest rows: SQLite guesses."""
        plan = translate(criteria, columns)
        parts = [part for part in plan.parts if part.selective]
        enough = PROBE
        while len(parts) > 1:
            counts = []
            for part in parts:
                some = f"SELECT 1 FROM {self.name} WHERE {part.sql} LIMIT {enough}"  # noqa: S608
                counted = connection.execute(f"SELECT COUNT(*) FROM ({some})", part.parameters)  # noqa: S608
                counts.append(counted.fetchone()[0])
                if counts[-1] == 0:
                    break
            if min(counts) < enough or enough > LAST_PROBE:
                best = parts[counts.index(min(counts))]
                for part in plan.parts:
                    part.by_index = part is best
                break
            enough *= 16
        return plan

    def sure(self, connection: sqlite3.Connection, plan: Plan) -> bool:
        """Whether a plan says all that its criteria say, for the documents there are."""
        return plan.exact and not self.any_holds(connection, plan.columns, "X'00'")

    def any_holds(self, connection: sqlite3.Connection, columns: list[str], values: str) -> bool:
        """Whether a document has one of these values, written in SQL, in one of these columns."""
        return any(
            connection.execute(f"SELECT 1 FROM {self.name} WHERE {c} IN ({values}) LIMIT 1").fetchone()  # noqa: S608
            for c in dict.fromkeys(columns)
        )

    def order(
        self, connection: sqlite3.Connection, columns: dict[str, str], sort: list[tuple[str, int]], plan: Plan
    ) -> str | None:
        """SQL for an order; None where only the documents themselves tell it."""
        # A plus keeps SQLite from walking an index for its order instead of the one that narrows the search.
        plus = "+" if plan.selective else ""
        if any(field not in columns for field, _ in sort):
            return None
        if self.any_holds(connection, [columns[field] for field, _ in sort], "X'00', X'01'"):
            return None
        terms = [f"{plus}{columns[field]} {'ASC' if direction > 0 else 'DESC'}" for field, direction in sort]
        return ", ".join([*terms, f"{plus}id"])

    def matching(self, connection: sqlite3.Connection, columns: dict[str, str], criteria: dict) -> Iterator[int]:
        """Rows whose documents match checked criteria, in the order they came."""
        plan = self.plan(connection, criteria, columns)
        rows = self.row_ids(connection, plan, f"{'+' if plan.selective else ''}id")
        if not self.sure(connection, plan):
            rows = (r for r in rows if matches(criteria, self.read(connection, r) or {}))
        return rows

    def put(
        self,
        connection: sqlite3.Connection,
        columns: dict[str, str],
        identity: dict,
        document: dict,
        encoded: str | bytes,
    ) -> None:
        """Put a document in place of the first that its identity matches, or add it."""
        row = next(self.matching(connection, columns, identity), None)
        values = [*(extract_key(document, field) for field in columns), _digest(encoded), encoded]
        names = [*columns.values(), _DIGEST, "document"]
        if row is None:
            connection.execute(
                f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
                values,
            )
        else:
            changes = ", ".join(f"{name} = ?" for name in names)
            connection.execute(f"UPDATE {self.name} SET {changes} WHERE id = ?", [*values, row])  # noqa: S608

    def remove(self, connection: sqlite3.Connection, rows: Iterable[int]) -> None:
        """Remove rows."""
        connection.executemany(f"DELETE FROM {self.name} WHERE id = ?", ((row,) for row in rows))  # noqa: S608
