"""Studies through a real SLURM: submitted, computed, killed in every way, and whole at the end."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest
from slurm_user import PATIENCE_S, Cluster, check_result, write_study

FAULTS = int(os.environ.get("ANODEFLOW_TEST_FAULTS", "6"))
HOSTS = os.environ.get("ANODEFLOW_TEST_HOSTS", "Li Al").split()

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(slurm, uri, tmp_path):
    return Cluster(slurm, tmp_path, uri)


def labels(report):
    return [planned["label"] for planned in report["planned"]]


def test_a_study_through_slurm(cluster, monkeypatch):
    write_study(cluster.place, ["Li"])
    report = json.loads(cluster.run("submit", "study.yaml", "--json", "--tag", "real"))
    assert report["submitted"]
    launcher = cluster.launcher()
    assert launcher.wait(PATIENCE_S) == 0, (cluster.place / "launch.log").read_text()
    row = cluster.status()
    assert (row["state"], row["failed"], row["running"], row["waiting"]) == ("done", 0, 0, 0)
    assert row["core_hours"] > 0
    check_result(cluster, report["study_hash"], labels(report), monkeypatch)
    assert cluster.slurm.jobs() == {}


def test_jobs_killed_in_every_way_are_all_done_in_the_end(cluster, monkeypatch):
    cluster.environment["ANODEFLOW_TEST_SECONDS"] = "2"
    write_study(cluster.place, HOSTS)
    cluster.change("cluster.yaml", ("attempts: 6", "attempts: 40"))
    cluster.change("FW_config.yaml", ("WFLOCK_EXPIRATION_SECS: 30", "WFLOCK_EXPIRATION_SECS: 10"))
    report = json.loads(cluster.run("submit", "study.yaml", "--json"))
    dice = random.Random(20)
    kinds = ("kill -9", "scancel", "scancel, no warning", "interrupted", "requeued", "launcher killed")
    waiting = [kinds[number % len(kinds)] for number in range(FAULTS)]
    dice.shuffle(waiting)
    faults = dict.fromkeys(kinds, 0)
    launcher = cluster.launcher()
    deadline, next_fault = time.monotonic() + PATIENCE_S, time.monotonic() + 3.0
    while launcher.poll() is None:
        assert time.monotonic() < deadline, (cluster.place / "launch.log").read_text()[-3000:]
        time.sleep(0.3)
        if time.monotonic() < next_fault or not waiting:
            continue
        running = [job for job, state in cluster.slurm.jobs().items() if state == "RUNNING"]
        processes = cluster.rockets()
        possible = {"launcher killed": True, "kill -9": bool(processes)}
        kind = next((one for one in waiting if possible.get(one, bool(running))), None)
        if kind is None:
            continue
        waiting.remove(kind)
        if kind == "kill -9":
            with suppress(ProcessLookupError):
                os.kill(dice.choice(processes), signal.SIGKILL)
        elif kind == "launcher killed":
            launcher.kill()
            launcher.wait()
            launcher = cluster.launcher()
        else:
            job = dice.choice(running)
            command = {
                "scancel": ["scancel", job],
                "scancel, no warning": ["scancel", "--signal=KILL", "--full", job],
                "interrupted": ["scancel", "--signal=INT", "--batch", job],
                "requeued": ["scontrol", "requeue", job],
            }[kind]
            cluster.slurm.ask(*command)
        faults[kind] += 1
        next_fault = time.monotonic() + dice.uniform(1.0, 6.0)
    assert launcher.returncode == 0, (cluster.place / "launch.log").read_text()[-3000:]
    row = cluster.status()
    print(faults, row)
    assert (row["state"], row["failed"], row["running"], row["waiting"]) == ("done", 0, 0, 0), row
    check_result(cluster, report["study_hash"], labels(report), monkeypatch)
    # Killed calculations went on from what their folder held.
    starts = [list(map(int, f.read_text().split())) for f in (cluster.folder.path / "runs").glob("*/starts")]
    assert all(first == 0 for first, *_ in starts)
    assert all(later == sorted(later) for later in starts)


def test_a_study_is_stopped_and_continues_where_it_was(cluster, monkeypatch):
    cluster.environment["ANODEFLOW_TEST_SECONDS"] = "15"
    write_study(cluster.place, ["Li"])
    report = json.loads(cluster.run("submit", "study.yaml", "--json"))
    cluster.run("hpc", "launch")
    deadline = time.monotonic() + PATIENCE_S
    runs = cluster.folder.path / "runs"
    while not (steps := [file for file in runs.glob("*/steps") if int(file.read_text()) >= 2]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    out = cluster.run("hpc", "stop", "study.yaml")
    assert "1 jobs cancelled" in out
    while cluster.slurm.jobs():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    cluster.run("hpc", "heal")  # where the job was killed before it could put itself back
    cluster.run("hpc", "launch")
    assert cluster.slurm.jobs() == {}
    row = cluster.status()
    assert row["state"] == "stopped"
    assert any("anodeflow hpc resume" in note for note in row["notes"])
    cluster.run("hpc", "resume", report["study_hash"][:8])
    cluster.environment["ANODEFLOW_TEST_SECONDS"] = "0"
    launcher = cluster.launcher()
    assert launcher.wait(PATIENCE_S) == 0, (cluster.place / "launch.log").read_text()
    check_result(cluster, report["study_hash"], labels(report), monkeypatch)
    first, second = map(int, (steps[0].parent / "starts").read_text().split())
    assert first == 0
    assert second >= 2


def test_the_doctor_asks_a_node(cluster):
    write_study(cluster.place, ["Li"])
    rows = json.loads(cluster.run("hpc", "doctor", "study.yaml", "--job", "--json"))
    assert [row["found"][:15] for row in rows if row["link"] == "job" and row["verdict"] == "good"][
        1
    ] == "engine springs "
    with (cluster.folder.path / "environment.sh").open("a") as file:
        file.write("module load vasp/6.4\n")
    with pytest.raises(AssertionError, match="module: command not found"):
        cluster.run("hpc", "doctor", "study.yaml", "--job")
