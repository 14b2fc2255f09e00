"""A study through a real SGE, where Debian's gridengine is installed; one of its jobs is deleted on the way."""

import json
import time
from functools import partial

import pytest
from conftest import free_ports, running
from sge import Sge, missing_program
from slurm_user import PATIENCE_S, SITE, Cluster, check_result, write_study

from anodeflow.workflows.cluster.launches import reservation_of
from anodeflow.workflows.jobs.folders import name_of_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def sge(tmp_path):
    (tmp_path / "sge").mkdir()
    make = partial(Sge, tmp_path / "sge", free_ports(2))
    with running(make, missing_program(), "gridengine-master gridengine-exec gridengine-client") as system:
        yield system


def running_calculation(cluster):
    """A job that runs and has two of its twenty steps behind it, and the folder of its calculation; None yet."""
    database = cluster.folder.database.open()
    for firework in database.fireworks.find(
        {"state": "RUNNING", "spec.kind": "calculation"}, {"name": 1, "launches": 1}
    ):
        launch = database.launches.find_one({"launch_id": firework["launches"][-1]}, {"action": 0})
        job = reservation_of(launch)
        for steps in (cluster.folder.path / "runs").glob(f"{name_of_folder(firework['name'])}-*/steps"):
            if 2 <= int(steps.read_text()) <= 10 and cluster.slurm.jobs().get(job) == "r":
                return job, steps.parent
    return None


def test_a_study_through_sge(sge, uri, tmp_path, monkeypatch):
    cluster = Cluster(sge, tmp_path, uri, scheduler="sge", partition="all.q")
    # SGE gives jobs nothing of the environment they were sent from.
    with (cluster.folder.path / "environment.sh").open("a") as file:
        file.write(f"export PYTHONPATH={SITE} ANODEFLOW_TEST_SECONDS=8\n")
    write_study(tmp_path, ["Li"])
    report = json.loads(cluster.run("submit", "study.yaml", "--json"))
    launcher = cluster.launcher()
    deadline = time.monotonic() + PATIENCE_S
    while (running := running_calculation(cluster)) is None:
        assert launcher.poll() is None
        assert time.monotonic() < deadline, (tmp_path / "launch.log").read_text()
        time.sleep(0.2)
    job, folder = running
    sge.ask("qdel", job)
    assert launcher.wait(PATIENCE_S) == 0, (tmp_path / "launch.log").read_text()
    row = cluster.status()
    assert (row["state"], row["failed"], row["running"], row["waiting"]) == ("done", 0, 0, 0)
    check_result(cluster, report["study_hash"], [planned["label"] for planned in report["planned"]], monkeypatch)
    # The deleted job was warned, stopped, and went on from its checkpoint.
    starts = (folder / "starts").read_text().split()
    assert len(starts) == 2
    assert int(starts[1]) >= 2 > int(starts[0])
    assert "stop" in (folder / "times").read_text()
