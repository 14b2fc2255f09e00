"""Studies through a real SLURM: submitted, computed, killed in every way, and whole at the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder
from anodeflow.workflows.store import open_job_store

SITE = Path(__file__).parent / "site"
# A busy machine takes ten times as long as an idle one.
PATIENCE_S = float(os.environ.get("ANODEFLOW_TEST_PATIENCE", "900"))
FAULTS = int(os.environ.get("ANODEFLOW_TEST_FAULTS", "10"))
HOSTS = os.environ.get("ANODEFLOW_TEST_HOSTS", "Li Al").split()

pytestmark = pytest.mark.slow


class Cluster:
    """A cluster folder on the test SLURM, and the commands of a user of it."""

    def __init__(self, slurm, folder, uri):
        self.slurm, self.place = slurm, folder
        write_folder(
            ClusterOptions("slurm", folder / "cluster", partition="normal", walltime="00:20:00", cores=1, uri=uri)
        )
        self.folder = ClusterFolder(folder / "cluster")
        self.environment = slurm.environment | {
            "PYTHONPATH": str(SITE), "ANODEFLOW_CLUSTER": str(folder / "cluster"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "anodeflow", *map(str, arguments)], env=self.environment, cwd=self.place,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
        assert "Traceback" not in done.stderr
        return done.stdout

    def launcher(self):
        log = (self.place / "launch.log").open("a")
        command = [sys.executable, "-m", "anodeflow", "hpc", "launch", "--until-done", "--interval", "1"]
        return subprocess.Popen(command, env=self.environment, cwd=self.place, stdout=log, stderr=log)

    def status(self):
        return json.loads(self.run("status", "--json"))[0]

    def rockets(self):
        """Process ids of jobs on the nodes, and of the launcher's light jobs."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"anodeflow.workflows.cluster.rocket" in words and str(self.folder.path).encode() in words:
                found.append(int(process.name))
        return found


@pytest.fixture
def cluster(slurm, uri, tmp_path):
    return Cluster(slurm, tmp_path, uri)


def write_study(folder, hosts):
    study = {
        "study": "binding-energy", "title": "through SLURM", "engine": "springs", "hosts": hosts,
        "references": ["bulk_metal"], "bulk": {"min_image_distance_angstrom": 5.0},
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


def check_result(cluster, report, monkeypatch):
    """Every number rests on one calculation that was finished, and is what this engine gives for its geometry."""
    monkeypatch.syspath_prepend(SITE)
    from springs_engine import energy_of

    from anodeflow.analysis.documents import CalculationDoc

    store = open_job_store(cluster.folder.store, must_exist=True, read_only=True)
    calculations = {}
    for found in store.query({"output.doc_type": "CalculationDoc", "index": 1}, load=True):
        document = CalculationDoc.model_validate(found["output"])
        assert document.converged
        assert document.energy_ev == pytest.approx(energy_of(document.structure), abs=1e-9)
        assert document.label not in calculations
        calculations[document.label] = document
    assert set(calculations) == {planned["label"] for planned in report["planned"]}
    summary = store.query_one({"metadata.label": "summary"})["output"]
    assert summary["warnings"] == [] or not any("no result" in warning for warning in summary["warnings"])
    metal = calculations["Li/crystal"]
    for host in summary["hosts"]:
        e_a = calculations[f"{host['crystal']}/bulk/host"].energy_ev
        for site in host["sites"]:
            e_ab = calculations[f"{host['crystal']}/bulk/{site['label']}"].energy_ev
            expected = e_ab - e_a - metal.energy_ev / len(metal.structure)
            assert site["binding_energy_ev"]["bulk_metal"] == pytest.approx(expected)
    return summary


def test_a_study_through_slurm(cluster, monkeypatch):
    write_study(cluster.place, ["Li"])
    report = json.loads(cluster.run("submit", "study.yaml", "--json", "--tag", "real"))
    assert report["submitted"]
    launcher = cluster.launcher()
    assert launcher.wait(PATIENCE_S) == 0, (cluster.place / "launch.log").read_text()
    row = cluster.status()
    assert (row["state"], row["failed"], row["running"], row["waiting"]) == ("done", 0, 0, 0)
    assert row["core_hours"] > 0
    check_result(cluster, report, monkeypatch)
    assert cluster.slurm.jobs() == {}


def test_jobs_killed_in_every_way_are_all_done_in_the_end(cluster, monkeypatch):
    cluster.environment["ANODEFLOW_TEST_SECONDS"] = "2"
    write_study(cluster.place, HOSTS)
    settings = cluster.folder.path / "cluster.yaml"
    settings.write_text(settings.read_text().replace("attempts: 6", "attempts: 40"))
    config = cluster.folder.path / "FW_config.yaml"
    config.write_text(config.read_text().replace("WFLOCK_EXPIRATION_SECS: 60", "WFLOCK_EXPIRATION_SECS: 10"))
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
    check_result(cluster, report, monkeypatch)
    # Killed calculations went on from what their folder held.
    starts = [list(map(int, f.read_text().split())) for f in (cluster.folder.path / "runs").glob("*/starts")]
    assert all(first == 0 for first, *_ in starts)
    assert all(later == sorted(later) for later in starts)
