"""Handing a study to jobflow-remote; skipped where it is not installed (it wants an older pymongo)."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import started_slurm
from pretended import TINY
from slurm_user import PATIENCE_S, SITE, write_study

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cluster.folder import Size
from anodeflow.workflows.cluster.remote import resources

HERE = importlib.util.find_spec("jobflow_remote") is not None


def test_sizes_in_its_words():
    size = Size(name="large", atoms=100, nodes=2, tasks_per_node=16, cpus_per_task=1, gpus=1, walltime="24:00:00")
    asked = resources(size, 3600)
    assert asked == {"nodes": 2, "processes_per_node": 16, "threads_per_process": 1, "gpus_per_job": 2,
                     "time_limit": 3600}  # fmt: skip
    if HERE:
        from qtoolkit.core.data_objects import QResources

        assert QResources.from_dict(asked).time_limit == 3600


@pytest.mark.skipif(HERE, reason="jobflow-remote is installed")
def test_without_it_there_is_one_line(springs, study_file, command):
    status, _, err = command("submit", study_file, "--jobflow-remote", "hpc")
    assert status == EngineError.exit_code
    assert "jobflow-remote is not installed" in err
    assert err.count("\n") == 1


RUNNER = "from jobflow_remote.jobs.runner import Runner; Runner(project_name='lab').run_all_jobs(max_seconds={seconds})"


@pytest.fixture
def project(tmp_path, mongo_server, monkeypatch):
    """A project of jobflow-remote on a test database; its address."""
    pytest.importorskip("jobflow_remote")
    server = mongo_server()
    place = {"type": "MongoURIStore", "uri": server.uri("remote")}
    (tmp_path / "projects").mkdir()
    settings = {
        "name": "lab",
        "workers": {"hpc": {"type": "local", "scheduler_type": "slurm", "work_dir": str(tmp_path / "work")}},
        "runner": {"delay_checkout": 1, "delay_check_run_status": 1, "delay_advance_status": 1},
        "queue": {"store": place | {"collection_name": "queue"}},
        "jobstore": {"docs_store": place | {"collection_name": "jobs"},
                     "additional_stores": {"data": {"type": "GridFSURIStore", "uri": server.uri("remote"),
                                                    "collection_name": "data"}}},
    }  # fmt: skip
    (tmp_path / "projects" / "lab.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(tmp_path / "projects"))
    from jobflow_remote import SETTINGS

    monkeypatch.setattr(SETTINGS, "projects_folder", str(tmp_path / "projects"))
    monkeypatch.setattr(SETTINGS, "project", "lab")
    from jobflow_remote.jobs.jobcontroller import JobController

    JobController.from_project_name("lab").reset()  # jf admin reset
    return server.uri("remote")


def test_it_takes_a_study_once(project, springs, study_file, command, tmp_path):
    folder = tmp_path / "c"
    assert command("hpc", "init", "--scheduler", "slurm", "--output", folder, "--cores", "8")[0] == 0
    arguments = ("submit", study_file, "--jobflow-remote", "lab/hpc", "--folder", folder, "--tag", "paper", "--json")
    status, out, _ = command(*arguments, "--dry-run")
    assert status == 0
    assert not json.loads(out)["submitted"]
    status, out, err = command(*arguments)
    assert status == 0, err
    report = json.loads(out)
    from jobflow_remote.jobs.jobcontroller import JobController

    controller = JobController.from_project_name("lab")
    jobs = controller.get_jobs_doc(metadata={"study_hash": report["study_hash"]})
    assert len(jobs) == len(report["jobs"]) > 1
    calculations = [one for one in jobs if one.job.metadata.get("kind") == "calculation"]
    assert calculations
    for one in calculations:
        assert one.worker == "hpc"
        assert one.resources.threads_per_process == 8
        assert one.job.metadata["tags"] == ["paper"]
    status, _, err = command(*arguments)
    assert status == InputError.exit_code
    assert "is there already" in err
    status, _, err = command("submit", study_file, "--jobflow-remote", "lab/nowhere")
    assert status == InputError.exit_code
    assert "nowhere" in err
    assert err.count("\n") == 1
    assert yaml.safe_load(study_file.read_text()) == TINY


@pytest.mark.slow
def test_its_runner_takes_a_study_through_slurm(project, tmp_path):
    """As on a cluster whose nodes reach no database: they write files, which the runner brings home."""
    write_study(tmp_path, ["Li"])
    with started_slurm(tmp_path) as slurm:
        environment = slurm.environment | {
            "PYTHONPATH": str(SITE), "OMP_NUM_THREADS": "1", "ANODEFLOW_RUNS": str(tmp_path / "runs"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

        def run(*arguments):
            done = subprocess.run(
                [sys.executable, *map(str, arguments)], env=environment, cwd=tmp_path, capture_output=True, text=True,
                timeout=PATIENCE_S, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        report = json.loads(
            run("-m", "anodeflow", "submit", "study.yaml", "--jobflow-remote", "lab/hpc", "--tag", "far", "--json")
        )
        run("-c", RUNNER.format(seconds=int(PATIENCE_S)))
        rows = json.loads(
            run("-m", "anodeflow", "results", "--store", project, "--what", "binding", "--tag", "far", "--json")
        )
        calculations = json.loads(
            run("-m", "anodeflow", "results", "--store", project, "--what", "calculations", "--json")
        )
    assert rows
    assert all(row["crystal"] == "Li" for row in rows)
    assert all(row["converged"] for row in calculations)
    assert len({row["label"] for row in calculations}) == len(calculations) >= 2
    from jobflow_remote.jobs.jobcontroller import JobController

    jobs = JobController.from_project_name("lab").get_jobs_doc(metadata={"study_hash": report["study_hash"]})
    assert {one.state.value for one in jobs} == {"COMPLETED"}
