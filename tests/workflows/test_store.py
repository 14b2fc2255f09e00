from __future__ import annotations

import json
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta, timezone

import mongomock_ng
import numpy as np
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobflow import Flow, Response, job, run_locally
from maggma.core import Sort
from monty.json import MontyDecoder, MontyEncoder

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store import (
    SCHEMA_VERSION,
    SQLiteStore,
    connection,
    find_finished,
    integrity_check,
    open_job_store,
)
from anodeflow.workflows.store.codec import decode_document, encode_document
from anodeflow.workflows.store.criteria import projector, translate
from anodeflow.workflows.store.table import Table


@pytest.fixture
def store(tmp_path):
    with SQLiteStore(tmp_path / "s.db", key="n", indexed_fields=("a", "c.d")) as opened:
        yield opened


def ids(found):
    return [document["n"] for document in found]


# Documents survive


def test_document_returns_as_mongo_would_return_it(store):
    given_document = {
        "n": 1,
        "int": 2**40,
        "huge": 2**70,
        "nan": float("nan"),
        "inf": [float("inf"), -float("inf")],
        "array": np.arange(6.0).reshape(2, 3),
        "scalar": np.float64(0.25),
        "flag": np.bool_(True),
        "time": datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
        "early": datetime(1890, 1, 1),
        "oid": ObjectId("0123456789abcdef01234567"),
        "bytes": b"\x00\xff",
        "text": "Å $x \ud800",
        "$ref": {"$date": "no date", "$$": [1]},
    }
    store.update(given_document)
    found = store.query_one({"n": 1})
    assert np.isnan(found.pop("nan"))
    assert found == {
        "n": 1,
        "int": 2**40,
        "huge": 2**70,
        "inf": [float("inf"), -float("inf")],
        "array": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "scalar": 0.25,
        "flag": True,
        "time": datetime(2024, 2, 29, 10, 0, 0, 123000),
        "early": datetime(1890, 1, 1),
        "oid": ObjectId("0123456789abcdef01234567"),
        "bytes": b"\x00\xff",
        "text": "Å $x \ud800",
        "$ref": {"$date": "no date", "$$": [1]},
    }


def test_stored_text_is_json_that_sqlite_understands(store):
    store.update({"n": 1, "a": float("nan"), "c": {"d": 2.5}})
    with sqlite3.connect(store.path) as database:
        row = database.execute("SELECT json_extract(document, '$.c.d'), json_valid(document) FROM documents")
        assert row.fetchone() == (2.5, 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("$a.d", max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_codec_round_trip(value, compress):
    assert repr(decode_document(encode_document({"v": value}, compress))) == repr({"v": value})


def test_update_replaces_by_key_and_keeps_the_rest(store):
    store.update([{"n": 1, "a": 1, "b": 2}, {"n": 2, "a": 1}])
    store.update({"n": 1, "a": 5})
    assert list(store.query(sort={"n": 1})) == [{"n": 1, "a": 5}, {"n": 2, "a": 1}]
    store.update({"n": 7, "a": 1, "x": 0}, key=["a"])
    assert ids(store.query(sort={"n": Sort.Descending})) == [7, 1]


def test_a_failing_update_changes_nothing(store):
    store.ensure_index("u", unique=True)
    store.update({"n": 0, "u": "x"})
    with pytest.raises(StoreError, match="unique"):
        store.update([{"n": 1, "u": "y"}, {"n": 2, "u": "x"}])
    assert ids(store.query()) == [0]
    with pytest.raises(StoreError, match="lacks the field 'n'"):
        store.update([{"n": 3}, {"a": 1}])
    assert store.count() == 1


def test_update_while_a_query_runs(store):
    store.update([{"n": i, "a": 0} for i in range(600)])
    other = SQLiteStore(store.path, key="n")
    for document in store.query({"a": 0}):
        store.update({**document, "a": 1})
        other.update({"n": document["n"] + 1000, "a": 2})
    assert store.count({"a": 1}) == store.count({"a": 2}) == 600


# Queries equal Mongo's

MOMENTS = [datetime(2020, 1, 1), datetime(1960, 5, 5, 1, 2, 3, 456789)]
PLAIN = [
    *(None, True, False, 0, 1, 1.0, -3, 2.5, 2**53 + 1, float(2**53), float("inf"), float("nan")),
    *("", "a", "ab", "Z", "1", *MOMENTS, ObjectId("0" * 24), ObjectId("f" * 24), b"z"),
]
SCALARS = st.sampled_from(PLAIN)
SOUGHT = st.sampled_from([*PLAIN, 2**70, -(2**63), "\ud800", datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=1)))])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from("de"), SCALARS, max_size=2))
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"a": VALUES, "b": VALUES, "c": VALUES | st.lists(st.fixed_dictionaries({"d": SCALARS}))}
    ),
    max_size=8,
)
PATHS = st.sampled_from(["a", "b", "c", "c.d", "a.d", "c.0", "c.0.d"])
OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), SOUGHT | VALUES),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(SOUGHT, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$size"), st.integers(0, 2)),
    st.tuples(st.just("$regex"), st.sampled_from(["^a", "b", ""])),
    st.tuples(st.just("$not"), st.fixed_dictionaries({"$gt": SOUGHT})),
    st.tuples(st.just("$elemMatch"), st.fixed_dictionaries({"$gt": SOUGHT})),
)
CONDITIONS = st.one_of(SOUGHT | VALUES, st.lists(OPERATORS, min_size=1, max_size=2).map(dict))
SIMPLE = st.dictionaries(PATHS, CONDITIONS, max_size=2)
CRITERIA = st.one_of(
    SIMPLE,
    st.tuples(SIMPLE, st.sampled_from(["$and", "$or", "$nor"]), st.lists(SIMPLE, min_size=1, max_size=2)).map(
        lambda t: {**t[0], t[1]: t[2]}
    ),
)


def outcome(function):
    try:
        return repr(function())
    except Exception as error:  # both refuse, whatever the words
        return (
            "refused"
            if isinstance(error, InputError | mongomock_ng.OperationFailure | NotImplementedError)
            else (type(error).__name__)
        )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    DOCUMENTS,
    CRITERIA,
    st.dictionaries(PATHS, st.sampled_from([1, -1]), max_size=2),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from([None, ["a"], ["c.d", "b"], {"a": 0, "_id": 0}, {"b": 1, "_id": 0}]),
)
def test_random_queries_give_what_mongomock_gives(store, documents, criteria, sort, skip, limit, properties):
    documents = [{"n": i, **document} for i, document in enumerate(documents)]
    if isinstance(properties, list) and any(isinstance(d.get("c"), list) for d in documents):
        properties = ["a"]  # mongomock fails where Mongo leaves out scalars in lists
    mongo = mongomock_ng.MongoClient().db.c
    store.remove_docs({})
    store.update(documents)
    for document in documents:
        mongo.insert_one(dict(document))

    def theirs():
        found = mongo.find(criteria, properties, sort=list(sort.items()) or None, skip=skip, limit=limit)
        return [{k: v for k, v in document.items() if k != "_id"} for document in found]

    def ours():
        return list(store.query(criteria, properties, sort, skip, limit))

    expected = outcome(theirs)
    if expected == "refused" and not documents:
        return
    assert outcome(ours) == expected
    if expected[0] == "[":
        total = outcome(lambda: mongo.count_documents(criteria))
        assert outcome(lambda: store.count(criteria)) == total
        store.remove_docs(criteria)
        assert str(store.count()) == str(len(documents) - int(total))


@pytest.mark.parametrize(
    ("criteria", "index"),
    [
        ({"a": "x"}, "k:a"),
        ({"a": {"$in": ["x", "y"]}}, "k:a"),
        ({"a": {"$gte": 3, "$lt": 9}}, "k:a"),
        ({"a": {"$exists": False}}, "k:a"),
        ({"$and": [{"c.d": True}, {"b": 5}]}, "k:c.d"),
        ({"c.d": datetime(2020, 1, 1)}, "k:c.d"),
    ],
)
def test_the_index_is_used(store, criteria, index):
    store.update([{"n": i, "a": i, "c": {"d": i % 2 == 0}} for i in range(50)])
    database = store._connection()
    plan = translate(criteria, store._table.columns(database))
    steps = database.execute("EXPLAIN QUERY PLAN " + store._table.select(plan, "id", "+id"), plan.parameters).fetchall()
    assert any("SEARCH" in step[3] and index in step[3] for step in steps)
    assert not any(step[3].startswith("SCAN") for step in steps)


def test_the_index_that_leaves_fewest_rows_is_used(store):
    store.ensure_index("rare")
    store.update([{"n": i, "a": "all", "c": {"d": True}, "rare": i} for i in range(600)])
    database = store._connection()
    plan = store._table.plan(database, {"a": "all", "rare": {"$lt": 40}, "c.d": True}, store._table.columns(database))
    statement = "EXPLAIN QUERY PLAN " + store._table.select(plan, "id")
    steps = " ".join(step[3] for step in database.execute(statement, plan.parameters))
    assert "k:rare" in steps
    assert "k:a" not in steps
    assert "k:c.d" not in steps


def test_order_of_an_indexed_field_walks_the_index(store):
    store.update([{"n": i, "a": -i} for i in range(400)])
    database = store._connection()
    columns = store._table.columns(database)
    order = store._table.order(database, columns, [("a", -1)], translate({}, columns))
    steps = database.execute(
        "EXPLAIN QUERY PLAN " + store._table.select(translate({}, columns), "id", order)
    ).fetchall()
    assert "k:a" in steps[0][3]
    assert ids(store.query(sort={"a": 1}, limit=2)) == [399, 398]
    assert ids(store.query(sort={"a": 1})) == list(range(399, -1, -1))


def test_a_later_index_knows_earlier_documents_and_case(store):
    store.update([{"n": 1, "x": {"Y": 1}}, {"n": 2, "x": {"y": 1}}])
    assert store.ensure_index("x.Y")
    assert store.ensure_index("x.y")
    store.update({"n": 3, "x": {"Y": 1}})
    assert ids(store.query({"x.Y": 1})) == [1, 3]
    assert ids(store.query({"x.y": 1})) == [2]
    assert set(store._table.columns(store._connection())) == {"n", "a", "c.d", "x.Y", "x.y"}
    assert not store.ensure_index("missing.or.not", unique=True) or store.count() == 3
    store.update({"n": 4, "b": 1})
    store.update({"n": 5, "b": 1})
    assert not store.ensure_index("b", unique=True)


def test_projection_follows_mongo():
    document = {"_id": 7, "a": [{"b": 1, "c": 2}, 5, [{"b": 3}]], "s": 1, "o": {"x": 1, "y": {"z": 2}}}
    cut = lambda properties: projector(properties, {})(document)  # noqa: E731
    assert cut(None) == document
    assert cut(["a.b"]) == {"_id": 7, "a": [{"b": 1}, [{"b": 3}]]}
    assert cut({"s.q": 1, "_id": 0}) == {}
    assert cut({"s.q": 0}) == document
    assert cut({"o.y": 0, "a": 0, "_id": 0}) == {"s": 1, "o": {"x": 1}}
    assert cut(["o", "o.x"]) == {"_id": 7, "o": document["o"]}
    assert cut({"_id": 1}) == {"_id": 7}
    assert cut({"a": {"$slice": 1}, "o": 1}) == {"_id": 7, "a": [{"b": 1, "c": 2}], "o": document["o"]}
    with pytest.raises(InputError, match="keep some"):
        cut({"a": 1, "s": 0})


@pytest.mark.parametrize("criteria", [{"a": {"$bad": 1}}, {"$where": "this.a"}, {"$or": [{"$where": "1"}]}, [1]])
def test_unusable_criteria_are_refused_even_by_an_empty_store(store, criteria):
    with pytest.raises(InputError):
        list(store.query(criteria))


def test_distinct_groupby_last_updated(store):
    times = [datetime(2020, 1, day) for day in (3, 9, 5)]
    store.update(
        [{"n": i, "a": "xyx"[i], "t": ["p", {"q": i}], "last_updated": t} for i, t in enumerate(times)] + [{"n": 9}]
    )
    assert store.distinct("a") == ["x", "y"]
    assert store.distinct("t", {"n": {"$lt": 2}}) == ["p", {"q": 0}, {"q": 1}]
    groups = {key["a"]: ids(found) for key, found in store.groupby("a", properties=["n"])}
    assert groups == {"x": [0, 2], "y": [1]}
    assert [key for key, _ in store.groupby(["c.d", "a"])] == []
    assert store.last_updated == datetime(2020, 1, 9)
    assert store.newer_in(store) == []


# Processes and threads


def write_many(path, worker, count):
    store = SQLiteStore(path, key=["worker", "i"])
    for i in range(count):
        store.update({"worker": worker, "i": i, "text": "x" * 200})


def test_four_processes_lose_nothing(tmp_path):
    path = tmp_path / "s.db"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(path, w, 250)) for w in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = SQLiteStore(path, must_exist=True)
    assert store.count() == 1000
    assert len({(d["worker"], d["i"]) for d in store.query()}) == 1000
    assert integrity_check(path)


KILL = """
import json, os, random, signal, sys, time
from anodeflow.workflows.store import SQLiteStore, integrity_check

path, journal = sys.argv[1:]
if journal == "delete":
    from anodeflow.workflows.store import connection
    connection.on_network_file_system = lambda path: True
store = SQLiteStore(path, key="k", indexed_fields=("round",))
store.connect()
acknowledged, random = [], random.Random(7)
for round in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        for i in range(10**6):
            store.update([{"k": f"{round}-{i}", "round": round, "text": "x" * random.randint(1, 20000)},
                          {"k": f"{round}-{i}-twin", "round": round}])
            os.write(writing, f"{round}-{i}\\n".encode())
    os.close(writing)
    text = os.read(reading, 64).decode() if round % 2 else ""  # sometimes before the first, sometimes after
    time.sleep(random.uniform(0.0, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text += open(reading).read()
    acknowledged += text[: text.rfind("\\n") + 1].split()
    assert integrity_check(path), round
    kept = set(store.distinct("k"))
    lost = [k for k in acknowledged if k not in kept or k + "-twin" not in kept]
    assert not lost, lost
    singles = {k for k in kept if not k.startswith("after") and not k.endswith("twin")}
    assert {k + "-twin" for k in singles} <= kept, "half a transaction"
    store.update({"k": f"after-{round}"})
    assert store.count({"k": f"after-{round}"}) == 1
print(json.dumps({"acknowledged": len(acknowledged), "mode": store._connection().execute(
    "PRAGMA journal_mode").fetchone()[0]}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to start writers quickly")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_acknowledged_documents_survive_kill_9(tmp_path, journal):
    done = subprocess.run(
        [sys.executable, "-c", KILL, tmp_path / "s.db", journal], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mode"] == journal
    assert result["acknowledged"] >= 10


def test_two_threads_share_a_store(store):
    store.update({"n": -1})
    failures = []

    def work(first):
        try:
            for i in range(first, first + 100):
                store.update({"n": i})
                assert store.count({"n": i}) == 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000)]
    for thread in threads:
        thread.start()
    store.close()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.count() == 201


def test_msonable_round_trip(tmp_path):
    store = SQLiteStore(tmp_path / "s.db", "things", ["a", "b"], "changed", ("c.d",), compress=True, busy_timeout_s=5)
    store.update({"a": 1, "b": 2, "c": {"d": 3}})
    text = json.dumps(store, cls=MontyEncoder)
    again = json.loads(text, cls=MontyDecoder)
    assert again == store
    assert again.as_dict() == store.as_dict()
    assert hash(again) == hash(store)
    assert again.query_one({"c.d": 3}) == {"a": 1, "b": 2, "c": {"d": 3}}
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT typeof(document) FROM things").fetchall() == [("blob",)]
    jobs = json.loads(json.dumps(open_job_store(tmp_path / "s.db"), cls=MontyEncoder), cls=MontyDecoder)
    jobs.update({"uuid": "u", "index": 1, "output": {"x": [1.0]}}, save={"data": "x"})
    assert jobs.get_output("u", load=True) == {"x": [1.0]}


def test_a_store_removed_under_our_feet_is_noticed(store):
    store.update({"n": 1})
    os.remove(store.path)
    for end in ("-wal", "-shm"):
        if os.path.exists(store.path + end):
            os.remove(store.path + end)
    store.update({"n": 2})
    assert ids(SQLiteStore(store.path).query()) == [2]


# What can be wrong with the file


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
        assert ids(impatient.query()) == [1]
        database.execute("ROLLBACK")
    impatient.update({"n": 2})


def test_full_disk_keeps_what_was_there(store):
    store.update({"n": 1})
    store._connection().execute("PRAGMA max_page_count = 30")
    assert "free space" in the_error(lambda: store.update({"n": 2, "text": "x" * 10**6}))
    assert ids(store.query()) == [1]
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
    assert ids(store.query()) == kept
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
    assert ids(store.query()) == [1]
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
    assert sorted(ids(remote.query())) == [1, 2, 11, 12]


# jobflow


@job
def double(x):
    return {"value": 2 * x}


@job(data=["trajectory"])
def wander(steps, start):
    positions = start + np.arange(steps * 3, dtype=float).reshape(steps, 3) / 7
    return {"run": {"trajectory": positions}, "steps": steps}


@job
def length(points):
    return len(points)


@job
def once_more(x):
    return Response(replace=double(x["value"] + 1), output=x)


def test_flow_with_references_replacement_and_data(tmp_path):
    path = tmp_path / "s.db"
    store = open_job_store(path)
    first = double(2)
    second = once_more(first.output)
    third = wander(20_000, second.output["value"])
    fourth = length(third.output["run"]["trajectory"])
    flow = Flow([first, second, third, fourth])
    run_locally(flow, store=store, log=False, root_dir=tmp_path, create_folders=True, ensure_success=True)
    assert store.count({"uuid": second.uuid}) == 2
    assert store.get_output(fourth.uuid) == 20_000
    jobs, data = store.docs_store, store.additional_stores["data"]
    assert data.count({"job_uuid": third.uuid, "job_index": 1}) == 1
    assert "blob_uuid" in jobs.query_one({"uuid": third.uuid})["output"]["run"]["trajectory"]

    code = f"""
        import json
        from anodeflow.workflows.store import open_job_store
        store = open_job_store({str(path)!r}, must_exist=True)
        points = store.get_output({third.uuid!r}, load=True)["run"]["trajectory"]
        print(json.dumps([store.get_output({second.uuid!r}), len(points), list(points[-1])]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"value": 10}, 20_000, [10 + k / 7 for k in (59997, 59998, 59999)]]

    store.remove_docs({"uuid": third.uuid})
    assert data.count() == 0
    assert jobs.count() == 4


def test_document_and_data_appear_together(tmp_path, monkeypatch):
    store = open_job_store(tmp_path / "s.db")
    document = {"uuid": "u", "index": 1, "output": {"x": [1, 2], "y": 3}}
    real = Table.put

    def fail_on_data(self, *arguments):
        if self.collection == "data":
            raise KeyboardInterrupt
        real(self, *arguments)

    monkeypatch.setattr(Table, "put", fail_on_data)
    with pytest.raises(KeyboardInterrupt):
        store.update(document, save={"data": "x"})
    assert store.count() == 0
    monkeypatch.setattr(Table, "put", real)
    store.update(document, save={"data": "x"})
    assert store.query_one({"uuid": "u"}, load=True)["output"] == {"x": [1, 2], "y": 3}


def test_find_finished_takes_the_newest_converged_calculation(tmp_path):
    store = open_job_store(tmp_path / "s.db")
    assert find_finished(store, "f") is None

    def add(number, day, **output):
        output = {
            "fingerprint": "f",
            "doc_type": "CalculationDoc",
            "converged": True,
            "energy": number,
            **output,
        }
        moment = datetime(2024, 1, day, tzinfo=UTC).isoformat()
        document = {"uuid": str(number), "index": 1, "output": output, "completed_at": moment}
        store.update(document, save={"data": "forces"})

    add(1, 5, forces=[[0.0, 0.0, 1.0]])
    add(2, 3)
    add(3, 9, converged=False)
    add(4, 9, doc_type="StudyDoc")
    add(5, 9, fingerprint="g")
    store.update({"uuid": "6", "index": 1, "output": None, "completed_at": "2025"})
    found = find_finished(store, "f")
    assert found["energy"] == 1
    assert found["forces"] == [[0.0, 0.0, 1.0]]
    assert "blob_uuid" in find_finished(store, "f", load=False)["forces"]
    assert find_finished(store, "h") is None


def test_names_of_collections_are_checked(tmp_path):
    for name in ("a b", 'x"', "sqlite_x", ""):
        with pytest.raises(StoreError, match=re.escape(repr(name))):
            SQLiteStore(tmp_path / "s.db", name)
