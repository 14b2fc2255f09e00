"""A study through a real SGE, where Debian's gridengine is installed; one of its jobs is deleted on the way."""

import json
import time
from functools import partial

import pytest
from conftest import free_ports, running
from sge import Sge, missing_program
from slurm_user import PATIENCE_S, SITE, Cluster, check_result, write_study

pytestmark = pytest.mark.slow


@pytest.fixture
def sge(tmp_path):
    (tmp_path / "sge").mkdir()
    make = partial(Sge, tmp_path / "sge", free_ports(2))
    with running(make, missing_program(), "gridengine-master gridengine-exec gridengine-client") as system:
        yield system


def test_a_study_through_sge(sge, uri, tmp_path, monkeypatch):
    cluster = Cluster(sge, tmp_path, uri, scheduler="sge", partition="all.q")
    # SGE gives jobs nothing of the environment they were sent from.
    with (cluster.folder.path / "environment.sh").open("a") as file:
        file.write(f"export PYTHONPATH={SITE} ANODEFLOW_TEST_SECONDS=4\n")
    write_study(tmp_path, ["Li"])
    report = json.loads(cluster.run("submit", "study.yaml", "--json"))
    launcher = cluster.launcher()
    deadline = time.monotonic() + PATIENCE_S
    while not (running := list((cluster.folder.path / "runs").glob("*/times"))):
        assert launcher.poll() is None
        assert time.monotonic() < deadline, (tmp_path / "launch.log").read_text()
        time.sleep(0.3)
    (job, *_) = [job for job, state in sge.jobs().items() if state == "r"]
    sge.ask("qdel", job)
    assert launcher.wait(PATIENCE_S) == 0, (tmp_path / "launch.log").read_text()
    row = cluster.status()
    assert (row["state"], row["failed"], row["running"], row["waiting"]) == ("done", 0, 0, 0)
    check_result(cluster, report["study_hash"], [planned["label"] for planned in report["planned"]], monkeypatch)
    # The deleted job was warned, stopped, and went on from its checkpoint.
    starts = (running[0].parent / "starts").read_text().split()
    assert len(starts) == 2
    assert int(starts[1]) > int(starts[0])
    assert "stop" in running[0].read_text()
