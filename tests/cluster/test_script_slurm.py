"""The script of `hpc script` on a real SLURM: killed, out of time, requeued, cancelled, sent twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import started_slurm
from slurm_user import SITE, write_study

from anodeflow.workflows.store import open_job_store

pytestmark = [pytest.mark.slow, pytest.mark.queue]
PATIENCE_S = 90.0


class User:
    """Who sends the script; their files have names that a shell would trip over."""

    def __init__(self, slurm, folder):
        self.slurm, self.place = slurm, folder / "it's a; $(place)"
        self.place.mkdir()
        write_study(self.place, ["Li"])
        self.environment = slurm.environment | {
            "PYTHONPATH": str(SITE), "OMP_NUM_THREADS": "1", "ANODEFLOW_TEST_SECONDS": "4",
            "ANODEFLOW_RUNS": str(self.place / "runs"),
        }  # fmt: skip
        self.script, self.store = self.place / "study.sh", self.place / "study.sqlite"

    def anodeflow(self, *arguments, **variables):
        done = subprocess.run(
            [sys.executable, "-m", "anodeflow", *map(str, arguments)], env=self.environment | variables,
            cwd=self.place, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def write(self, *options):
        return self.anodeflow(
            "hpc", "script", "study.yaml", "--cores", "1", "--walltime", "00:20:00", "--stop-before", "20", *options
        )

    def send(self):
        done = subprocess.run(
            ["sbatch", self.script], env=self.environment, cwd=self.place, capture_output=True, text=True, check=True
        )
        return done.stdout.split()[-1]

    def state(self):
        file = self.place / "study.sqlite.jobs" / "state.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def holder(self):
        (claim,) = (self.place / "study.sqlite.jobs").glob("holder-*")
        return claim.read_text().strip()

    def until(self, reached, what):
        deadline = time.monotonic() + PATIENCE_S
        while not (value := reached()):
            assert time.monotonic() < deadline, f"{what}: {self.output()} {self.slurm.jobs()}"
            time.sleep(0.2)
        return value

    def until_a_step(self, number):
        """Wait until the run of now has made so many steps of a calculation that it, or one before it, began."""
        file = self.place / "study.sqlite.jobs" / "progress.json"

        def steps():
            noted = json.loads(file.read_text()) if file.exists() else {}
            return sum(last - noted["first"][label] for label, last in noted.get("reached", {}).items()) >= number

        self.until(steps, f"{number} steps")

    def output(self):
        return "".join(file.read_text(errors="replace") for file in sorted(self.place.glob("study-*.out")))

    def energies(self, store=None):
        found = open_job_store(store or self.store, must_exist=True, read_only=True).query(
            {"output.doc_type": "CalculationDoc"}, properties=["output.label", "output.energy_ev"]
        )
        rows = [(doc["output"]["label"], doc["output"]["energy_ev"]) for doc in found]
        assert len(dict(rows)) == len(rows)  # each was computed once
        return dict(rows)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with started_slurm(tmp_path_factory.mktemp("script"), cpus=2) as slurm:
        yield slurm


@pytest.fixture
def user(slurm, tmp_path):
    return User(slurm, tmp_path)


@pytest.fixture
def local(user):
    """Energies of the same study without a cluster."""
    user.anodeflow("run", "study.yaml", "--store", "local.sqlite", "--workers", "1", ANODEFLOW_TEST_SECONDS="0",
                   ANODEFLOW_RUNS=str(user.place / "local-runs"))  # fmt: skip
    return user.energies(user.place / "local.sqlite")


def processes(words):
    """Processes whose command line holds all of these words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if set(words) <= set(line):
            found.append(int(process.name))
    return found


def test_killed_and_out_of_time_the_study_ends_as_a_local_run_does(user, local):
    user.write()
    first, second = user.send(), user.send()
    user.until_a_step(2)
    (run,) = processes(["run", str(user.store)])
    os.kill(run, signal.SIGKILL)
    user.until(lambda: "is started again" in user.output(), "another start")
    user.until_a_step(2)
    holder = user.holder()
    user.slurm.ask("scancel", "--signal=USR1", "--batch", holder)  # as SLURM does before the end of its time
    user.until(lambda: "continues" in user.output(), "the next job")
    successor = user.state()["successor"]
    assert successor not in (first, second, "")
    user.until(lambda: user.state().get("ended"), "the end")
    user.until(lambda: not user.slurm.jobs().keys() & {successor}, "an empty queue")
    assert user.state()["ended"] == "done"
    assert user.energies() == local
    assert f"job {holder} runs this study already" in user.output()
    # What was cut off went on from its last step, each time.
    starts = [list(map(int, file.read_text().split())) for file in (user.place / "runs").glob("*/starts")]
    assert sum(len(several) - 1 for several in starts) >= 2
    assert all(several == sorted(set(several)) for several in starts)


def test_requeued_it_continues_and_cancelled_it_stops(user, local):
    user.write()
    job = user.send()
    user.until_a_step(2)
    user.slurm.ask("scontrol", "requeue", job)
    user.until(lambda: user.slurm.jobs().get(job) == "PENDING", "the requeue")
    user.until(lambda: user.slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
               or user.slurm.jobs().get(job) == "RUNNING", "the second start")  # fmt: skip
    user.until(lambda: user.output().count("left on") == 2, "the second start")
    user.until_a_step(2)
    (supervisor,) = processes(["anodeflow.workflows.cluster.allocation", str(user.store)])
    os.kill(supervisor, signal.SIGKILL)  # the script starts it again
    user.until(lambda: user.output().count("left on") == 3, "the third start")
    user.until_a_step(1)
    assert len(processes(["run", str(user.store)])) == 1
    user.slurm.ask("scancel", job)
    user.until(lambda: user.state().get("ended") == "stopped", "the end of the cancelled job")
    user.until(lambda: not user.slurm.jobs().keys() & {job}, "an empty queue")
    assert user.state()["successor"] == ""
    user.environment["ANODEFLOW_TEST_SECONDS"] = "0"
    user.send()
    user.until(lambda: user.state().get("ended") == "done", "the end")
    assert user.energies() == local
    assert not processes(["run", str(user.store)])


def test_programs_run_on_all_nodes_and_the_store_has_one(user):
    (user.place / "study.yaml").write_text((user.place / "study.yaml").read_text().replace("springs", "folderless"))
    user.environment |= {
        "ANODEFLOW_TEST_SECONDS": "0", "ANODEFLOW_TEST_LOG": str(user.place / "log"),
        "ANODEFLOW_TEST_PROGRAM": "srun --ntasks=2 bash -c 'echo node $SLURMD_NODENAME'",
    }  # fmt: skip
    user.write("--option=--nodes=2", "--option=--ntasks-per-node=1")
    user.send()
    user.until(lambda: user.state().get("ended") == "done", "the end")
    lines = (user.place / "program.out").read_text().split("\n")
    assert sorted(line for line in lines if line) == ["node n1", "node n2"]
