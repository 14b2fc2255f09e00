"""A user of the test SLURM: a cluster folder, the commands of every day, and what must hold in the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder
from anodeflow.workflows.store import open_job_store

SITE = Path(__file__).parents[1] / "site"
# A busy machine takes ten times as long as an idle one.
PATIENCE_S = float(os.environ.get("ANODEFLOW_TEST_PATIENCE", "900"))


class Cluster:
    """A cluster folder on the test SLURM, or another scheduler of the tests, and the commands of a user of it."""

    def __init__(self, slurm, folder, uri, *, scheduler="slurm", partition="normal", **options):
        self.slurm, self.place = slurm, folder
        options = {"walltime": "00:20:00", "cores": 1} | options
        write_folder(ClusterOptions(scheduler, folder / "cluster", partition=partition, uri=uri, **options))
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
        return self.start("hpc", "launch", "--until-done", "--interval", "1")

    def start(self, *arguments):
        """A command that goes on by itself; it writes to ``launch.log``."""
        log = (self.place / "launch.log").open("a")
        command = [sys.executable, "-m", "anodeflow", *arguments]
        return subprocess.Popen(command, env=self.environment, cwd=self.place, stdout=log, stderr=log)

    def change(self, file, *pairs):
        """Change lines of a file of the cluster folder."""
        text = (self.folder.path / file).read_text()
        for old, new in pairs:
            assert old in text, (file, old)
            text = text.replace(old, new)
        (self.folder.path / file).write_text(text)

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


def write_study(folder, hosts):
    study = {
        "study": "binding-energy", "title": "through SLURM", "engine": "springs", "hosts": hosts,
        "references": ["bulk_metal"], "bulk": {"min_image_distance_angstrom": 5.0}, "states": ["interstitial"],
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


def check_result(cluster, study_hash, planned, monkeypatch):
    """Every number rests on one calculation that was finished, and is what this engine gives for its geometry.

    Parameters
    ----------
    planned
        Labels of the calculations that the study needs.
    """
    monkeypatch.syspath_prepend(SITE)
    from springs_engine import energy_of

    from anodeflow.documents import CalculationDoc

    store = open_job_store(cluster.folder.store, must_exist=True, read_only=True)
    mine = {"metadata.study_hash": study_hash}
    calculations = {}
    for found in store.query(mine | {"output.doc_type": "CalculationDoc", "index": 1}, load=True):
        document = CalculationDoc.model_validate(found["output"])
        assert document.converged
        assert document.energy_ev == pytest.approx(energy_of(document.structure), abs=1e-9)
        assert document.label not in calculations
        calculations[document.label] = document
    assert set(calculations) == set(planned)
    summary = store.query_one(mine | {"metadata.label": "summary"})["output"]
    assert summary["warnings"] == [] or not any("no result" in warning for warning in summary["warnings"])
    metal = calculations["Li/crystal"]
    for host in summary["hosts"]:
        e_a = calculations[f"{host['crystal']}/bulk/host"].energy_ev
        for site in host["sites"]:
            e_ab = calculations[f"{host['crystal']}/bulk/{site['label']}"].energy_ev
            expected = e_ab - e_a - metal.energy_ev / len(metal.structure)
            assert site["binding_energy_ev"]["bulk_metal"] == pytest.approx(expected)
    return summary
