"""Status of the studies in a results file."""

import json
import sqlite3
import time

from factories import finished_job

from anodeflow.workflows.cluster.progress import of_file
from anodeflow.workflows.store import open_job_store


def document(number, study="a" * 16, **output):
    doc = {"doc_type": "CalculationDoc", "converged": True, "error": None} | output
    return finished_job(number, f"Li/{number}", doc, study)


def test_studies_in_a_file(tmp_path, command, monkeypatch):
    file = tmp_path / "anodeflow.sqlite"
    store = open_job_store(file)
    last = document(9, doc_type="BindingStudyDoc", converged=None)
    last["metadata"]["label"] = "summary"
    failed = document(2, converged=False, error="not relaxed after 2 steps:\nforce 0.3")
    store.docs_store.update([document(1), failed, last, document(3, study="b" * 16)], ["uuid", "index"])
    rows = {row.study_hash[0]: row for row in of_file(file)}
    assert (rows["a"].done, rows["a"].unconverged, rows["a"].state) == (1, 1, "done")
    assert rows["a"].reasons[0].error == "not relaxed after 2 steps: force 0.3"
    assert rows["b"].state == "unfinished"
    status, out, _ = command("status", "--store", file, "--json")
    assert status == 0
    assert len(json.loads(out)) == 2
    monkeypatch.chdir(tmp_path)
    assert "not relaxed after 2 steps: force 0.3" in command("status")[1]


def test_a_hundred_thousand_calculations_in_a_file(tmp_path):
    file = tmp_path / "anodeflow.sqlite"
    store = open_job_store(file)
    store.docs_store.update([document(0)], ["uuid", "index"])
    store.close()
    connection = sqlite3.connect(file)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
    names = ", ".join(f'"{column}"' for column in columns)
    (values,) = connection.execute(f"SELECT {names} FROM jobs")  # noqa: S608
    study = columns.index("k:metadata.study_hash")
    rows = ([f"{n % 100:016x}" if i == study else value for i, value in enumerate(values)] for n in range(100_000))
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO jobs ({names}) VALUES ({marks})", rows)  # noqa: S608
    connection.commit()
    connection.close()
    clock = time.process_time()
    assert sum(row.done for row in of_file(file)) == 100_001
    assert time.process_time() - clock < 2.0


def test_no_file(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("status")[0] == 2
    assert command("status", "--store", "no.sqlite")[0] == 6
    (tmp_path / "no.sqlite").write_text("x" * 2000)
    status, _, err = command("status", "--store", "no.sqlite")
    assert status == 6
    assert err.count("\n") == 1
