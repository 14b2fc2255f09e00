"""A cluster that only pretends to have a scheduler: its jobs run in the process of the test, when they are told to."""

import os
import re
from pathlib import Path

import pytest
import yaml

from anodeflow.errors import EngineError
from anodeflow.workflows.cluster import healing, launching, rocket, scheduler
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.healing import Healer
from anodeflow.workflows.cluster.launchpad import fireworker, open_launchpad
from anodeflow.workflows.cluster.progress import of_database
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder
from anodeflow.workflows.cluster.submission import submit_study
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study

SITE = Path(__file__).parents[1] / "site"
TINY = {
    "study": "binding-energy",
    "title": "a 'tiny'; \"study\" $(reboot)",
    "engine": "springs",
    "hosts": ["Li"],
    "states": ["interstitial"],
    "references": ["bulk_metal"],
    "bulk": {"min_image_distance_angstrom": 5.0},
}


class Pretended:
    """A cluster whose jobs run in this process when they are told to."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.queue, self.scripts, self.down = folder, {}, {}, False
        monkeypatch.setattr(scheduler, "send", self.send)
        for module in (scheduler, healing):
            monkeypatch.setattr(module, "queued_jobs", self.queued)
        self.monkeypatch = monkeypatch
        self.pad = open_launchpad(folder)
        self.healer = Healer(folder, self.pad, queue=lambda: self.queued("slurm"))

    def send(self, _, script):
        if self.down:
            raise EngineError("sbatch failed: invalid partition", "correct my_qadapter.yaml")
        job = str(1000 + len(self.scripts))
        self.scripts[job], self.queue[job] = script, "PENDING"
        return job

    def queued(self, _):
        if self.down:
            raise EngineError("squeue failed: cannot contact slurm controller", "try again")
        return dict(self.queue)

    def launch(self):
        return launching.launch_once(self.folder, self.pad)

    def run(self, job, *sent_by, done=True):
        fw_id = int(re.search(r"--fw_id (\d+)", self.scripts[job].read_text()).group(1))
        self.monkeypatch.setenv("SLURM_JOB_ID", job)
        here = os.getcwd()
        os.chdir(self.scripts[job].parent)
        try:
            rocket._run(self.folder, fw_id, *sent_by)
        finally:
            os.chdir(here)
            if done:
                self.queue.pop(job, None)

    def run_all(self):
        while self.launch().sent:
            self.run_all_queued()

    def run_all_queued(self):
        for job in list(self.queue):
            self.run(job)

    def start_and_vanish(self, job):
        """A job that starts and is killed with its node."""
        fw_id = int(re.search(r"--fw_id (\d+)", self.scripts[job].read_text()).group(1))
        self.pad.checkout_fw(fireworker(self.folder), str(self.folder.launches), fw_id)
        self.queue.pop(job)
        return fw_id

    def progress(self):
        return of_database(self.folder.database)[0]


@pytest.fixture
def springs(monkeypatch):
    monkeypatch.syspath_prepend(SITE)
    from anodeflow.workflows.engines import registry as engines

    monkeypatch.setitem(engines.PROGRAMS, "springs", ("springs_engine", "SpringsEngine"))


@pytest.fixture
def cluster(uri, tmp_path, monkeypatch, springs):
    for name in ("ANODEFLOW_CLUSTER", "ANODEFLOW_SETTINGS", "FW_CONFIG_FILE", "JOBFLOW_CONFIG_FILE", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "")
    import jobflow

    monkeypatch.setattr(jobflow.SETTINGS, "JOB_STORE", jobflow.SETTINGS.JOB_STORE)
    path = tmp_path / "cluster"
    write_folder(ClusterOptions("slurm", path, uri=uri, cores=1, walltime="02:00:00"))
    settings = path / "cluster.yaml"
    settings.write_text(settings.read_text().replace("light: here", "light: queue"))
    return Pretended(ClusterFolder(path), monkeypatch)


@pytest.fixture
def study_file(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


def submit(cluster, file, **options):
    return submit_study(load_study(file), file, cluster.folder, **options)


def summary(cluster, study_hash):
    store = open_job_store(cluster.folder.store)
    return store.query_one({"metadata.study_hash": study_hash, "metadata.label": "summary"})["output"]
