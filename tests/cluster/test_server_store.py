"""The same documents through the embedded store and a server's; moving studies between them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from factories import STUDY_HASH
from jobflow import Flow, job, run_locally

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store import find_finished, open_job_store, store_shown
from anodeflow.workflows.store.database import Database, database_from_uri, load_database, without_password
from anodeflow.workflows.store.moving import move_study

SITE = Path(__file__).parents[1] / "site"


@job(data="arrays")
def compute(label, energy):
    return {
        "doc_type": "CalculationDoc",
        "fingerprint": f"f-{label}",
        "converged": energy is not None,
        "energy_ev": energy,
        "whole": 3.0,
        "arrays": {"forces": np.full((40, 3), 0.25)},
    }


def run_study(store, labels=("Li/crystal", "LiCl/bulk", "summary")):
    jobs = []
    for label in labels:
        made = compute(label, -3.5)
        made.name = label
        made.update_metadata({"study_hash": STUDY_HASH, "label": label, "study": "test"})
        jobs.append(made)
    run_locally(Flow(jobs), store=store, log=False, ensure_success=True)


def stores(tmp_path, uri):
    return open_job_store(tmp_path / "a.sqlite"), open_job_store(uri)


def test_a_server_answers_as_the_file_does(tmp_path, uri):
    for store in stores(tmp_path, uri):
        run_study(store)
        assert store.count({"metadata.study_hash": STUDY_HASH}) == 3
        found = find_finished(store, "f-LiCl/bulk")
        assert found["energy_ev"] == -3.5
        assert np.array(found["arrays"]["forces"]).shape == (40, 3)
        assert find_finished(store, "f-LiCl/bulk", load=False)["arrays"]["blob_uuid"]
        labels = [d["name"] for d in store.query({"output.energy_ev": {"$lt": 0}}, ["name"], sort={"name": 1})]
        assert labels == ["Li/crystal", "LiCl/bulk", "summary"]
        store.remove_docs({"name": "summary"})
        assert store.count() == 2
        assert store.additional_stores["data"].count() == 2


def test_a_study_moves_there_and_back(tmp_path, uri):
    here, there = stores(tmp_path, uri)
    run_study(here)
    report = move_study(here, uri, STUDY_HASH)
    assert (report.documents, report.blobs, report.copied) == (3, 3, 6)
    again = move_study(tmp_path / "a.sqlite", uri, STUDY_HASH)
    assert (again.copied, again.already_there) == (0, 6)
    back = move_study(uri, tmp_path / "b.sqlite", STUDY_HASH)
    assert back.copied == 6
    assert find_finished(open_job_store(tmp_path / "b.sqlite"), "f-summary")["arrays"]["forces"][0] == [0.25] * 3
    # What an interrupted copy left is completed.
    there.additional_stores["data"].remove_docs({"job_uuid": next(there.query({"name": "summary"}))["uuid"]})
    there.docs_store.remove_docs({"name": "summary"})
    assert move_study(here, there, STUDY_HASH).copied == 2


def test_a_different_document_is_not_overwritten(tmp_path, uri):
    here, there = stores(tmp_path, uri)
    run_study(here)
    move_study(here, there, STUDY_HASH)
    document = here.query_one({"name": "Li/crystal"})
    document["output"]["energy_ev"] = -99.0
    there.docs_store.update([document], ["uuid", "index"])
    with pytest.raises(StoreError, match="another document with uuid"):
        move_study(here, there, STUDY_HASH)
    assert there.query_one({"name": "Li/crystal"})["output"]["energy_ev"] == -99.0
    with pytest.raises(StoreError, match="no study feed"):
        move_study(here, there, "feed")


def test_large_data_is_written_before_the_document_that_refers_to_it(uri, monkeypatch):
    store = open_job_store(uri)

    def broken(*_, **__):
        raise StoreError("the database is full")

    monkeypatch.setattr(store.additional_stores["data"], "update", broken)
    with pytest.raises(RuntimeError, match="did not finish"):
        run_study(store, labels=["only"])
    assert store.count({"metadata.study_hash": STUDY_HASH}) == 0


def test_a_store_over_16_megabytes(uri):
    store = open_job_store(uri)
    text = "0123456789" * 1_800_000
    store.additional_stores["data"].update([{"blob_uuid": "b", "job_uuid": "j", "job_index": 1, "data": text}])
    assert store.additional_stores["data"].query_one({"blob_uuid": "b"})["data"] == text
    with pytest.raises(StoreError, match="16 MB"):
        store.docs_store.update([{"uuid": "j", "index": 1, "output": text}])


def test_several_writers(uri):
    code = (
        "import sys; from anodeflow.workflows.store import open_job_store\n"
        "s = open_job_store(sys.argv[1])\n"
        "for i in range(25): s.update([{'uuid': f'{sys.argv[2]}-{i}', 'index': 1, 'output': i}])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, uri, str(n)]) for n in range(3)]
    assert [r.wait() for r in running] == [0, 0, 0]
    assert open_job_store(uri).count({"index": 1}) == 75


def test_no_password_is_ever_shown(mongo_server, tmp_path, monkeypatch, command):
    server = mongo_server("--password", "rosebud")
    base = f"127.0.0.1:{server.port}/x?directConnection=true&retryWrites=false&authSource=admin"
    store = open_job_store(f"mongodb://tester:rosebud@{base}")
    store.update([{"uuid": "a", "index": 1, "output": 1}])
    for text in (
        repr(store.docs_store),
        store.name,
        json.dumps(store.as_dict()),
        repr(store.docs_store.database_settings),
    ):
        assert "rosebud" not in text
    with pytest.raises(StoreError, match="refuses user 'tester'") as caught:
        open_job_store(f"mongodb://tester:hunter2@{base}".replace("/x?", "/y?"))
    assert "hunter2" not in str(caught.value)
    file = tmp_path / "database.yaml"
    file.write_text(f"uri: mongodb://127.0.0.1:{server.port}/?directConnection=true\nname: x\nuser: tester\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    status, _, err = command("results", "--store", file)
    assert status == 6
    assert "ANODEFLOW_DB_PASSWORD is not set" in err
    secret = tmp_path / "anodeflow" / "db-password"
    secret.parent.mkdir()
    secret.write_text("rosebud\n")
    secret.chmod(0o644)
    assert "others may read the password file" in command("results", "--store", file)[2]
    secret.chmod(0o600)
    assert command("results", "--store", file)[0] == 0
    named = tmp_path / "anodeflow" / "databases" / "cluster.yaml"
    named.parent.mkdir()
    named.write_text(file.read_text())
    assert command("results", "--store", "cluster")[0] == 0


def test_a_server_that_is_down_slow_or_newer(mongo_server, tmp_path):
    server = mongo_server()
    file = tmp_path / "database.yaml"
    file.write_text(f"uri: '{server.uri()}'\nname: x\ntimeout_s: 1\n")
    store = open_job_store(file)
    with pytest.raises(StoreError, match="holds no results yet"):
        open_job_store(server.uri("nothing"), must_exist=True, read_only=True)
    load_database(file).open()["anodeflow"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(StoreError, match="has version 99"):
        open_job_store(file)
    server.stop()
    with pytest.raises(StoreError, match=r"does not answer within 1 s|broke"):
        store.count({"index": 1})
    with pytest.raises(StoreError, match=r"does not answer within 1 s|broke"):
        open_job_store(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uri: mongodb://u:secret@h/\n", "holds a user or password"),
        ("uri: mongodb://h/\npassword: secret\n", "password"),
        ("uri: mongodb://h/\nname: 'a b'\n", "name"),
    ],
)
def test_wrong_database_files(tmp_path, text, words):
    file = tmp_path / "database.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        open_job_store(file)
    assert "secret" not in str(caught.value)


def test_uris():
    database = database_from_uri("mongodb://me:p%40ss@a:1,b:2/results?replicaSet=r&authSource=all")
    assert (database.user, database.name, database.auth_source) == ("me", "results", "all")
    assert database.password() == "p@ss"
    assert database.uri == "mongodb://a:1,b:2/?replicaSet=r&authSource=all"
    assert database.host == "a:1,b:2"
    assert database_from_uri("mongodb:/h:1/x").uri == "mongodb://h:1/"
    assert without_password("see mongodb://me:secret@h/x") == "see mongodb://me:***@h/x"
    with pytest.raises(InputError):
        database_from_uri("mongodb://")
    assert "secret" not in repr(Database(uri="mongodb://h", name="x"))


@pytest.mark.parametrize(
    "uri",
    [
        "MONGODB://me:secret@h/x",
        " mongodb://me:secret@h/x",
        "\tMongoDB+SRV://me:secret@h/x",
        "mongodb:/me:secret@h/x",
        "mongodb://me:a/secret@h/x",
        "mongodb://me:a secret@h/x",
        "mongodb://me:#secret?@@h/x",
        "mongo://me:secret@h/x",
        "http://me:secret@h/x",
        "https:/me:secret@h/x",
        "postgresql://me:secret@h/x",
        "postgres+psycopg2://me:secret@h:5432/x",
        "mongodb://h/x y?password=secret",
    ],
)
def test_no_uri_of_any_kind_shows_a_password_or_becomes_a_file(uri, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for text in (uri, str(Path(uri)), f"see {uri}".replace("a secret", "secret")):
        assert "secret" not in without_password(text)
    assert "secret" not in store_shown(uri)
    mongo = uri.strip().lower().startswith("mongodb") and uri.count("secret@h/x") and "/secret" not in uri
    if not mongo or "#" in uri:
        with pytest.raises(InputError) as caught:
            open_job_store(uri)
        assert "secret" not in str(caught.value)
    if not mongo:
        status, out, err = command("results", "--store", uri)
        assert (status, err.count("\n")) == (2, 1)
        assert "secret" not in out + err
    assert not list(tmp_path.iterdir())


def test_a_uri_in_capitals_or_after_a_blank_is_the_same_database():
    for uri in ("MONGODB://me:p@h:1/x", " mongodb://me:p@h:1/x ", "MongoDB:/me:p@h:1/x"):
        database = database_from_uri(uri)
        assert (database.uri, database.name, database.user, database.password()) == ("mongodb://h:1/", "x", "me", "p")


def plain(store):
    """Every document of a store without what differs between two runs of the same study."""
    found = {}
    for document in store.query({}, load=True):
        document["hosts"] = []  # identities of flows, drawn by lot
        found[document["uuid"], document["index"]] = json.dumps(without_times(document), sort_keys=True, default=str)
    return found


def without_times(value):
    """Also without the names of blobs, which are drawn by lot."""
    changing = ("_id", "completed_at", "started_at", "finished_at", "wall_time_s", "directory", "blob_uuid")
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in changing}
    return [without_times(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.slow
def test_a_study_runs_on_this_machine_into_a_database(mongo_server, tmp_path, anodeflow):
    """The same documents as in a file; by URI, by the file of the database, and by its name; the password unseen."""
    server = mongo_server("--password", "rosebud")
    (tmp_path / "study.yaml").write_text(
        "study: binding-energy\nengine: springs\nhosts: [Li]\nreferences: [bulk_metal]\n"
        "bulk: {min_image_distance_angstrom: 5.0}\nstates: [interstitial]\n"
    )
    environment = os.environ | {
        "PYTHONPATH": str(SITE),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "ANODEFLOW_CLUSTER": "",
    }
    options = "directConnection=true&retryWrites=false&authSource=admin"
    uri = f"mongodb://tester:rosebud@127.0.0.1:{server.port}/x?{options}"

    def run(*arguments):
        done = anodeflow(*arguments, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert "rosebud" not in done.stdout + done.stderr
        return done

    run("run", "study.yaml", "--workers", "1")
    run("run", "study.yaml", "--workers", "1", "--store", uri)
    here, there = open_job_store(tmp_path / "anodeflow.sqlite"), open_job_store(uri)
    assert plain(there) == plain(here)
    assert len(plain(there)) > 4
    # What is finished is found again, under whichever name the database goes.
    (tmp_path / "config" / "anodeflow" / "databases").mkdir(parents=True)
    (tmp_path / "config" / "anodeflow" / "db-password").write_text("rosebud\n")
    (tmp_path / "config" / "anodeflow" / "db-password").chmod(0o600)
    text = f"uri: 'mongodb://127.0.0.1:{server.port}/?directConnection=true&retryWrites=false'\nname: x\nuser: tester\n"
    (tmp_path / "database.yaml").write_text(text)
    (tmp_path / "config" / "anodeflow" / "databases" / "lab.yaml").write_text(text)
    for name in ("database.yaml", "lab"):
        assert "0 calculations computed" in run("run", "study.yaml", "--store", name).stderr
        (row,) = json.loads(run("status", "--store", name, "--json").stdout)
        assert (row["state"], row["failed"]) == ("done", 0)
        assert row["done"] == there.count({"output.doc_type": "CalculationDoc", "index": 1})
    assert json.loads(run("results", "--store", "lab", "--json").stdout)
    # Nobody can read it in the list of processes.
    study = (tmp_path / "study.yaml").read_text()
    (tmp_path / "other.yaml").write_text(study.replace("5.0", "5.1") + "title: not computed yet\ncard: pbe-bulk\n")
    command = [sys.executable, "-m", "anodeflow", "run", "other.yaml", "--store", "database.yaml"]
    slow = subprocess.Popen(
        command,
        cwd=tmp_path, env=environment | {"ANODEFLOW_TEST_SECONDS": "30"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        worker = wait_for_worker(slow.pid)
        assert "mongodb" not in worker
        assert "database" not in worker
    finally:
        slow.terminate()
        slow.wait()


def wait_for_worker(parent):
    """The command line of the worker of a process."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode().split("\0")
                if (
                    "anodeflow.workflows.local.worker" in words
                    and f"PPid:\t{parent}" in (process / "status").read_text()
                ):
                    return " ".join(words)
            except OSError:
                continue
        time.sleep(0.1)
    raise AssertionError("no worker started")
