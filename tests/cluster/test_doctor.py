"""The test job of `hpc doctor --job`, run by a shell as a compute node would: what is missing there is said."""

import json
import os
import subprocess

import pytest
import yaml
from pretended import SITE, TINY

from anodeflow.workflows.cluster import doctor, probe, scheduler
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder

BLOCKED = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{package}":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "{package}" else find(name, *more)
"""


@pytest.fixture
def node(uri, tmp_path, monkeypatch, springs):
    """A cluster whose queue starts a job at once in a shell with nothing of this one's environment."""
    for name in ("ANODEFLOW_CLUSTER", "ANODEFLOW_SETTINGS", "FW_CONFIG_FILE", "JOBFLOW_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
    write_folder(ClusterOptions("slurm", tmp_path / "c", uri=uri, cores=1))

    def send(_, script):
        with (script.parent / "queue-7.out").open("w") as output:
            subprocess.run(["bash", script], cwd=script.parent, stdout=output, stderr=output, check=False,
                           env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})  # fmt: skip
        return "7"

    monkeypatch.setattr(scheduler, "send", send)
    monkeypatch.setattr(scheduler, "queued_jobs", lambda _: {})
    monkeypatch.setattr(probe, "POLL_S", 0.05)
    monkeypatch.setattr(doctor, "_slurm_accepts", lambda _: iter(()))
    monkeypatch.setitem(scheduler.COMMANDS, "slurm", ("true", "true"))
    return ClusterFolder(tmp_path / "c")


@pytest.fixture
def light(node, tmp_path):
    """A study with an engine that is there at once, and that the nodes have."""
    append(node, f"export PYTHONPATH={SITE}")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path / "study.yaml"


def append(folder, text):
    with (folder.path / "environment.sh").open("a") as file:
        file.write(f"{text}\n")


def without(folder, tmp_path, package):
    """The nodes lack a package that this machine has."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED.format(package=package))
    append(folder, f"export PYTHONPATH={tmp_path / 'site'}")


def found(command, folder, *arguments):
    status, out, _ = command("hpc", "doctor", *arguments, "--job", "--wait", "60", "--json", "--folder", folder.path)
    return status, [row for row in json.loads(out) if row["link"] == "job"]


def test_a_whole_node_is_good(node, command, light):
    status, rows = found(command, node, light)
    assert status == 0, rows
    assert [row["verdict"] for row in rows] == ["good", "good"]
    assert rows[1]["found"].startswith("engine springs is on ")


def test_a_node_without_the_package_of_the_studys_engine_is_broken(node, command, tmp_path):
    without(node, tmp_path, "chgnet")
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(TINY | {"engine": "chgnet"}))
    status, rows = found(command, node, study)
    assert status == 4
    (broken,) = [row for row in rows if row["verdict"] == "broken"]
    assert broken["found"].startswith("engine chgnet on ")
    assert "'chgnet', which is not installed" in broken["found"]


def test_a_node_without_the_package_of_the_folders_engine_is_broken(node, command, tmp_path):
    without(node, tmp_path, "sevenn")
    status, rows = found(command, node)
    assert status == 4
    assert any(row["verdict"] == "broken" and "'sevenn'" in row["found"] for row in rows)


def test_the_engines_of_submitted_studies_are_looked_for(node, tmp_path):
    database = node.database.open()
    database.studies.insert_one({"_id": "a" * 16, "engine": "castep"})
    database.studies.insert_one({"_id": "b" * 16, "engine": "qe"})
    for study, state in (("a", "RUNNING"), ("b", "COMPLETED")):
        database.workflows.insert_one({"metadata": {"study_hash": study * 16}, "state": state, "nodes": []})
    assert [name for name, _ in doctor.engines_of(node)] == ["sevennet-0", "castep"]


@pytest.mark.parametrize(
    "line", ["module load vasp/6.4", "cd /scratch/that/is/not/there", "export LD_LIBRARY_PATH=; libmissing"]
)
def test_what_environment_sh_fails_at_is_broken(node, command, light, line):
    append(node, line)
    status, rows = found(command, node, light)
    assert status == 4
    (broken,) = [row for row in rows if row["verdict"] == "broken"]
    assert "environment.sh: line" in broken["found"]
    assert "correct environment.sh" in broken["remedy"]


def test_what_environment_sh_prints_else_is_shown(node, command, light):
    append(node, "echo Welcome to the cluster")
    status, rows = found(command, node, light)
    assert status == 0
    (row,) = [row for row in rows if row["verdict"] == "warning"]
    assert "Welcome to the cluster" in row["found"]
