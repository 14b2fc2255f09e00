"""The embedded store under several processes, threads and kill -9."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from factories import numbers_of
from monty.json import MontyDecoder, MontyEncoder

from anodeflow.errors import StoreError
from anodeflow.workflows.store import (
    SQLiteStore,
    integrity_check,
    open_job_store,
)


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


def test_a_store_removed_under_our_feet_is_not_made_again(store):
    store.update({"n": 1})
    os.remove(store.path)
    for end in ("-wal", "-shm"):
        if os.path.exists(store.path + end):
            os.remove(store.path + end)
    for use in (lambda: store.update({"n": 2}), store.count, lambda: store.query_one({})):
        with pytest.raises(StoreError, match="removed or moved while it was in use"):
            use()
    assert not os.path.exists(store.path)
    store.close()
    store.update({"n": 2})  # opened again on purpose
    assert numbers_of(SQLiteStore(store.path).query()) == [2]
