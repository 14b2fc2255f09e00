"""Opening the SQLite file of a store, and saying in plain words what went wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anodeflow.errors import StoreError

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x616E6F64  # "anod", in the header of the file
_SMALLEST_PAGE = 512
_ANOTHER = "name another store with --store / ANODEFLOW_STORE"

# Several computers may write here, and SQLite's WAL needs memory shared between all writers.
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "davfs",
            "fhgfs",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
        ),
        *("ncpfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
        *("fuse.beegfs", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.sshfs"),
    }
)
_NOT_WRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def error_code(error: BaseException | None) -> int:
    """SQLite's primary result code of an error, 0 where it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


@contextmanager
def store_errors(path: str, timeout_s: float) -> Iterator[None]:
    """Turn whatever SQLite and the file system raise into a `StoreError` with the file and a way out."""
    try:
        yield
    except sqlite3.Error as error:
        code = error_code(error)
        if code in DAMAGED:
            problem, remedy = "is not a database, or is damaged", f"restore it from a backup, or {_ANOTHER}"
        elif code == sqlite3.SQLITE_FULL:
            problem, remedy = "cannot grow", f"free space on its disk, or {_ANOTHER}"
        elif code in _BUSY:
            problem = f"has been locked by another process for {timeout_s:g} s"
            remedy = "wait for that process or end it, then run again"
        elif code in _NOT_WRITABLE:
            problem, remedy = (
                "cannot be opened or written",
                f"check its permissions and its folder, or {_ANOTHER}",
            )
        elif code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS):
            problem = "cannot be read or written"
            remedy = f"check its disk and quota (a network file system must support locks), or {_ANOTHER}"
        elif code == sqlite3.SQLITE_CONSTRAINT:
            problem, remedy = (
                "holds a document with the same unique field",
                "change the field or drop its index",
            )
        elif code == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError):
            problem, remedy = "cannot hold a document over 1 GB", "keep such data in files"
        elif isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError):
            raise
        else:  # text that cannot be decoded, or tables that no store has
            problem, remedy = "is damaged", f"restore it from a backup, or {_ANOTHER}"
        raise StoreError(f"the store {path} {problem} ({error})", remedy) from error
    except (zlib.error, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as error:
        raise StoreError(
            f"a document in the store {path} is damaged ({error})", f"restore it from a backup, or {_ANOTHER}"
        ) from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be reached ({error.strerror or error})", _ANOTHER) from error


def file_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a file, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def on_network_file_system(path: str) -> bool:
    """Whether a file lies on a file system that other computers may mount (Linux only; False elsewhere)."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return False
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts:
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ").rstrip("/")
        if (real == point or real.startswith(point + "/")) and len(point) >= len(best):
            best, kind = point, name
    return kind in _NETWORK_FILE_SYSTEMS


def open_database(path: str, *, must_exist: bool, read_only: bool, timeout_s: float) -> sqlite3.Connection:
    """Open a store's file; one that cannot be written opens for reading.

    Raises
    ------
    StoreError
        There is no such file or folder; it is damaged, not a store, or too new; it stays locked.
    """
    file = Path(path)
    with store_errors(path, timeout_s):
        exists = file.exists()
        if (must_exist or read_only) and not exists:
            raise StoreError(f"no store at {path}", "run a study first, or name one with --store / ANODEFLOW_STORE")
        if not file.parent.is_dir():
            raise StoreError(
                f"the store {path} cannot be made: {file.parent} is not a folder", f"make it, or {_ANOTHER}"
            )
        if file.is_dir():
            raise StoreError(f"the store {path} is a folder", _ANOTHER)
        if exists and not file.is_file():  # opening a pipe would wait for whoever writes to it
            raise StoreError(f"the store {path} is a pipe, a device or a socket, not a file", _ANOTHER)
        if exists and 0 < file.stat().st_size < _SMALLEST_PAGE:  # SQLite would take it for an empty file
            failure = sqlite3.DatabaseError("file is not a database")
            failure.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise failure
        modes = ["mode=ro", "mode=rw", "mode=ro&immutable=1"]
        if not read_only:
            modes = ["mode=rw" if must_exist else "mode=rwc", "mode=ro", "mode=ro&immutable=1"]
        refusal: sqlite3.Error | None = None
        for mode in modes:
            if "immutable" in mode and not _settled(path):
                break
            connection = None
            try:
                connection = sqlite3.connect(
                    f"{file.as_uri()}?{mode}",
                    uri=True,
                    timeout=timeout_s,
                    isolation_level=None,
                    check_same_thread=False,
                )
                _prepare(connection, path, writable="ro" not in mode and not read_only, timeout_s=timeout_s)
                return connection
            except BaseException as error:
                if connection is not None:
                    connection.close()
                if not isinstance(error, sqlite3.Error) or error_code(error) not in _NOT_WRITABLE or not exists:
                    raise
                refusal = refusal or error
        assert refusal is not None  # noqa: S101 - every mode was refused
        raise refusal


def _settled(path: str) -> bool:
    """Whether the file alone holds everything: no log or journal beside it waits to be merged."""
    return not any(os.path.exists(path + end) and os.path.getsize(path + end) for end in ("-wal", "-journal"))


def _prepare(connection: sqlite3.Connection, path: str, *, writable: bool, timeout_s: float) -> None:
    """Check whose file this is; make a new one ours; choose the journal."""

    def pragma(name: str) -> int:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    version, application = pragma("user_version"), pragma("application_id")
    new = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None and not (version or application)
    if not new and not (version and application):
        # another process may have made it ours between these reads; it sets both in one transaction, before any table
        version, application = pragma("user_version"), pragma("application_id")
    if not new and application != _APPLICATION_ID:
        raise StoreError(f"{path} is an SQLite database of another program", _ANOTHER)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} has version {version}, this anodeflow knows version {SCHEMA_VERSION}",
            "update anodeflow (pip install -U anodeflow) or use another store",
        )
    if not new and version < 1:
        raise StoreError(
            f"the store {path} says that it has version {version}: it is damaged",
            f"restore it from a backup, or {_ANOTHER}",
        )
    if not writable:
        connection.execute("PRAGMA query_only = ON")
        return
    _choose_journal(connection, path, timeout_s)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if new:
        with transaction(connection):
            if not pragma("user_version"):
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _choose_journal(connection: sqlite3.Connection, path: str, timeout_s: float) -> None:
    """Write-ahead log on a local disk; rollback journal on a network file system, or where the log fails."""
    wanted = "delete" if on_network_file_system(path) else "wal"
    deadline = time.monotonic() + timeout_s
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
        try:
            got = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
            if got == wanted or got != "wal":
                return
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself for this lock.
            if error_code(error) not in _BUSY:
                return
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, as the only writer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
