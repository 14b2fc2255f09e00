"""What can be wrong with the file of the embedded store and with its disk: one line, nothing lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess

import pytest
from factories import numbers_of

from anodeflow.errors import StoreError
from anodeflow.workflows.store import (
    SCHEMA_VERSION,
    SQLiteStore,
    connection,
    integrity_check,
    open_job_store,
)


def the_error(function):
    with pytest.raises(StoreError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_newer_version(store):
    store.update({"n": 1})
    store.close()
    with sqlite3.connect(store.path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    text = the_error(lambda: store.query_one())
    assert store.path in text
    assert f"version {SCHEMA_VERSION + 1}," in text
    assert f"version {SCHEMA_VERSION};" in text
    assert "update anodeflow (pip install -U anodeflow) or use another store" in text


@pytest.mark.parametrize("version", [0, -1, -(2**31)])
def test_a_version_that_no_store_has(store, version):
    store.update({"n": 1})
    store.close()
    with sqlite3.connect(store.path) as database:
        database.execute(f"PRAGMA user_version = {version}")
    assert f"version {version}: it is damaged" in the_error(lambda: store.query_one())
    assert f"version {version}: it is damaged" in the_error(lambda: store.update({"n": 2}))


def test_a_pipe_is_no_store(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for reading in (True, False):
        assert "is a pipe" in the_error(lambda reading=reading: open_job_store(tmp_path / "pipe", read_only=reading))


@pytest.mark.parametrize("content", [b"uuid,energy\n" * 500, b"x"])
def test_not_a_database(tmp_path, content):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    assert str(path) in the_error(lambda: open_job_store(path))
    assert "not a database" in the_error(lambda: SQLiteStore(path).update({"uuid": 1}))
    assert path.read_bytes() == content
    assert not integrity_check(path)


def test_database_of_another_program(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmarks (x)")
    assert "another program" in the_error(lambda: open_job_store(path))


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_truncated_database(tmp_path, part):
    path = tmp_path / "s.db"
    store = SQLiteStore(path, key="n", indexed_fields=("a",))
    store.update([{"n": i, "a": str(i), "text": "x" * 500} for i in range(500)])
    store.close()
    content = path.read_bytes()[: int(path.stat().st_size * part)]
    path.write_bytes(content)
    assert not integrity_check(path)
    assert "damaged" in the_error(lambda: list(SQLiteStore(path, key="n").query()))


def test_damaged_document(store):
    store.update({"n": 1})
    with sqlite3.connect(store.path) as database:
        database.execute("UPDATE documents SET document = '{'")
    assert "document" in the_error(lambda: store.query_one())


def test_missing_file_and_folder(tmp_path):
    path = tmp_path / "none.db"
    for options in ({"must_exist": True}, {"read_only": True}):
        text = the_error(lambda o=options: open_job_store(path, **o))
        assert text == f"no store at {path}; run a study first, or name one with --store / ANODEFLOW_STORE"
    with pytest.raises(StoreError, match="no store at"):
        integrity_check(path)
    assert not path.exists()
    assert "is not a folder" in the_error(lambda: open_job_store(tmp_path / "no" / "s.db"))
    (tmp_path / "file").write_text("")
    assert "is not a folder" in the_error(lambda: open_job_store(tmp_path / "file" / "s.db"))
    assert "is a folder" in the_error(lambda: open_job_store(tmp_path))


def test_locked_by_another(store):
    store.update({"n": 1})
    impatient = SQLiteStore(store.path, key="n", busy_timeout_s=0.2)
    with sqlite3.connect(store.path, isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        assert "locked by another process for 0.2 s" in the_error(lambda: impatient.update({"n": 2}))
        assert numbers_of(impatient.query()) == [1]
        database.execute("ROLLBACK")
    impatient.update({"n": 2})


def test_full_disk_keeps_what_was_there(store):
    store.update({"n": 1})
    store._connection().execute("PRAGMA max_page_count = 30")
    assert "free space" in the_error(lambda: store.update({"n": 2, "text": "x" * 10**6}))
    assert numbers_of(store.query()) == [1]
    store.update({"n": 3})
    assert integrity_check(store.path)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
            check=True,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs the right to mount a tmpfs: {error}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True, timeout=20)


def test_a_really_full_disk(small_disk):
    store = SQLiteStore(small_disk / "s.db", key="n")

    def fill():
        for i in range(100):
            store.update({"n": i, "text": "x" * 50_000})
            kept.append(i)

    kept = []
    assert "free space" in the_error(fill)
    assert kept
    assert numbers_of(store.query()) == kept
    assert integrity_check(store.path)
    assert "free space" in the_error(lambda: open_job_store(small_disk / "t.db"))
    store.close()


def test_read_only_disk(small_disk):
    path = small_disk / "s.db"
    store = open_job_store(path)
    store.update({"uuid": "u", "index": 1, "output": {"x": 1}})
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for options in ({}, {"must_exist": True}, {"read_only": True}):
        store = open_job_store(path, **options)
        assert store.get_output("u") == {"x": 1}
        with pytest.raises(StoreError):
            store.update({"uuid": "v", "index": 1, "output": None})
        store.close()
    assert integrity_check(path)
    assert "cannot be opened or written" in the_error(lambda: open_job_store(small_disk / "new.db"))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody can write: /proc")
def test_read_only_folder():
    assert "/proc/self/s.db" in the_error(lambda: open_job_store("/proc/self/s.db"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_read_only_file(store):
    store.update({"n": 1})
    store.close()
    os.chmod(store.path, 0o444)
    os.chmod(os.path.dirname(store.path), 0o500)
    assert numbers_of(store.query()) == [1]
    assert "permissions" in the_error(lambda: store.update({"n": 2}))
    os.chmod(os.path.dirname(store.path), 0o700)


def test_read_only_store_refuses_to_write(store):
    store.update({"n": 1})
    reader = SQLiteStore(store.path, key="n", read_only=True)
    assert reader.count({"n": 1}) == 1
    assert "for reading" in the_error(lambda: reader.update({"n": 2}))
    assert "for reading" in the_error(lambda: reader.remove_docs({}))
    store.update({"n": 3})
    assert reader.count() == 2


def test_network_file_system_gets_a_rollback_journal(tmp_path, monkeypatch):
    local = SQLiteStore(tmp_path / "s.db", key="n")
    local.update({"n": 1})
    assert local._connection().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    local.close()
    monkeypatch.setattr(connection, "on_network_file_system", lambda path: True)
    remote = SQLiteStore(tmp_path / "s.db", key="n")
    remote.update({"n": 2})
    assert remote._connection().execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert remote._connection().execute("PRAGMA synchronous").fetchone() == (2,)
    for document in remote.query():
        SQLiteStore(tmp_path / "s.db", key="n", busy_timeout_s=1).update({"n": document["n"] + 10})
    assert sorted(numbers_of(remote.query())) == [1, 2, 11, 12]
