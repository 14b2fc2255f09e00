"""jobflow on the embedded store: references, data beside documents, finished calculations found again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import numpy as np
import pytest
from jobflow import Flow, Response, job, run_locally

from anodeflow.errors import StoreError
from anodeflow.workflows.store import (
    SQLiteStore,
    find_finished,
    open_job_store,
)
from anodeflow.workflows.store.table import Table


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
