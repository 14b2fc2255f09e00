"""Status tells of a run that goes on, and of none that was killed; a result is as old as its calculation."""

import json
import time

import yaml
from runs import TINY, began, start

from anodeflow.workflows.cluster.progress import of_file
from anodeflow.workflows.local.live import LiveRun
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.runs import RunRecord, born


def test_a_live_run_is_shown_and_a_killed_one_is_not(folder, anodeflow, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "12000")
    process = start(folder, "--workers", "1")
    try:
        began(folder)
        (row,) = json.loads(anodeflow("status", "--json", cwd=folder).stdout)
        assert (row["state"], row["running"], row["title"]) == ("running", 1, "binding-energy")
        assert row["waiting"] > 0
    finally:
        process.kill()
        process.communicate()
    assert all(row.running == row.waiting == 0 for row in of_file(folder / "anodeflow.sqlite"))
    monkeypatch.setenv("ANODEFLOW_TEST_SECONDS", "0")
    again = start(folder)
    assert again.wait(120) == 0
    again.communicate()
    (row,) = of_file(folder / "anodeflow.sqlite")
    assert (row.state, row.running, row.waiting) == ("done", 0, 0)


def times(store):
    found = store.query({"output.doc_type": "CalculationDoc"}, properties=["uuid", "completed_at", "output.started_at"])
    return {doc["uuid"]: (doc["completed_at"], doc["output"]["started_at"]) for doc in found}


def test_a_result_that_is_handed_out_keeps_its_time(folder):
    run = start(folder)
    assert run.wait(120) == 0
    run.communicate()
    store = open_job_store(folder / "anodeflow.sqlite")
    first = times(store)
    time.sleep(1.1)
    run = start(folder)
    assert "0 calculations computed" in run.communicate()[1]
    assert times(store) == first
    (folder / "other.yaml").write_text(yaml.safe_dump(TINY | {"hosts": ["Li", "Al"]}))
    run = start(folder, study="other.yaml")
    assert "4 reused" in run.communicate()[1]
    later = times(store)
    assert len(later) > len(first)
    started = {begin: end for end, begin in first.values()}
    shared = {uuid: (end, begin) for uuid, (end, begin) in later.items() if begin in started}
    assert len(shared) > len(first)  # of both studies
    assert all(end in {e for e, b in first.values() if b == begin} for end, begin in shared.values())


def test_records_of_runs(tmp_path, monkeypatch):
    store = open_job_store(tmp_path / "s.sqlite")
    with LiveRun(store, "a" * 16, "binding-energy") as live:
        live.tell(2, 3, 0)
        live.tell(1, 3, 0)  # a moment later: not written
        (row,) = of_file(tmp_path / "s.sqlite")
        assert (row.study_hash, row.state, row.running, row.waiting) == ("a" * 16, "running", 2, 3)
        record = live._record
        assert record.goes_on()
        assert not RunRecord(**vars(record) | {"born": "1"}).goes_on()  # another process of the same number
        assert RunRecord(**vars(record) | {"computer": "elsewhere", "updated_s": time.time() - 30}).goes_on()
        assert not RunRecord(**vars(record) | {"computer": "elsewhere", "updated_s": time.time() - 300}).goes_on()
        assert RunRecord.read({"run": "x"}) is None
    assert born(2**22 + 1) == ""
    store.docs_store.remove_docs({})
    (tmp_path / "s.sqlite").unlink()
    with LiveRun(store, "a" * 16, "binding-energy") as live:  # a store that is gone is not made anew for this
        live.tell(1, 1, 0)
    assert not (tmp_path / "s.sqlite").exists()
