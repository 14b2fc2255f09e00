"""Four hundred damaged stores: what is read is what was written, or one line says that the store is damaged."""

import random
import shutil
import sqlite3

import pytest

from anodeflow.errors import StoreError
from anodeflow.workflows.store import SCHEMA_VERSION, SQLiteStore

DOCUMENTS = 40
DAMAGED = 400


def a_document(number):
    draw = random.Random(number)
    return {"uuid": f"u{number}", "n": number, "energies": [draw.uniform(-50, 0) for _ in range(20)], "label": "Å" * 5}


@pytest.fixture
def written(tmp_path):
    store = SQLiteStore(tmp_path / "s.db", "jobs", indexed_fields=("n",))
    store.update([a_document(number) for number in range(DOCUMENTS)])
    store.close()
    return tmp_path / "s.db"


def test_no_damage_is_read_as_content(written, tmp_path):
    draw = random.Random(14)
    whole = written.read_bytes()
    wanted = {f"u{number}": a_document(number) for number in range(DOCUMENTS)}
    noticed = []
    for _ in range(DAMAGED):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 4, 64])):
            place = draw.randrange(len(content))
            content[place] ^= 1 << draw.randrange(8)
        bad = tmp_path / "bad.db"
        bad.write_bytes(content)
        store = SQLiteStore(bad, "jobs", indexed_fields=("n",), read_only=True)
        try:
            for document in store.query():
                document.pop("_id", None)
                assert document == wanted[document["uuid"]]
            store.count({"n": {"$gt": 5}})
            store.query_one({"uuid": "u7"})
        except StoreError as error:
            noticed.append(str(error))
        finally:
            store.close()
    assert len(noticed) > DAMAGED / 4
    assert not [text for text in noticed if "\n" in text]


def test_a_changed_number_is_noticed(written):
    with sqlite3.connect(written) as database:
        database.execute('UPDATE jobs SET document = replace(document, \'"n":7\', \'"n":8\') WHERE "k:n" = 7')
    with pytest.raises(StoreError, match="is not what was written"):
        SQLiteStore(written, "jobs").query_one({"uuid": "u7"})
    assert SQLiteStore(written, "jobs").query_one({"uuid": "u8"})["n"] == 8


def test_a_store_of_version_1_is_read_and_grows(written, tmp_path):
    old = tmp_path / "old.db"
    shutil.copy(written, old)
    with sqlite3.connect(old) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN digest")
        database.execute("PRAGMA user_version = 1")
    reading = SQLiteStore(old, "jobs", read_only=True)
    assert reading.count() == DOCUMENTS
    store = SQLiteStore(old, "jobs")
    assert store.query_one({"uuid": "u3"})["n"] == 3
    store.update({"uuid": "u3", "n": 33})
    assert reading.query_one({"uuid": "u3"})["n"] == 33
    assert reading.query_one({"uuid": "u4"})["n"] == 4
    with sqlite3.connect(old) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        digests = [digest for (digest,) in database.execute("SELECT digest FROM jobs ORDER BY id")]
    assert [digest is not None for digest in digests].count(True) == 1
