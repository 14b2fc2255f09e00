"""The script of `hpc script` on a real SGE: deleted, sent again, out of time, done."""

import json
import subprocess
import sys
import time
from functools import partial

import pytest
from conftest import free_ports, running
from sge import Sge, missing_program
from slurm_user import SITE, write_study

pytestmark = [pytest.mark.slow, pytest.mark.queue]
PATIENCE_S = 400.0


@pytest.fixture
def sge(tmp_path):
    (tmp_path / "sge").mkdir()
    make = partial(Sge, tmp_path / "sge", free_ports(2))
    with running(make, missing_program(), "gridengine-master gridengine-exec gridengine-client") as system:
        yield system


def test_deleted_and_out_of_time_it_is_done_in_the_end(sge, tmp_path):
    write_study(tmp_path, ["Li"])
    script, folder = tmp_path / "study.sh", tmp_path / "study.sqlite.jobs"
    # SGE gives jobs nothing of the environment they were sent from.
    variables = f"PYTHONPATH={SITE},ANODEFLOW_TEST_SECONDS=8"
    subprocess.run(
        [sys.executable, "-m", "anodeflow", "hpc", "script", "study.yaml", "--scheduler", "sge", "--cores", "1",
         "--walltime", "00:01:10", "--stop-before", "45", f"--option=-v {variables}"],
        cwd=tmp_path, env=sge.environment | {"PYTHONPATH": str(SITE)}, check=True, capture_output=True,
    )  # fmt: skip

    def send():
        return sge.ask("qsub", "-wd", tmp_path, script).split()[2]

    def state():
        file = folder / "state.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def until(reached, what):
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            output = "".join(f.read_text(errors="replace") for f in tmp_path.glob("study.o*"))
            assert time.monotonic() < deadline, f"{what}: {state()} {sge.jobs()} {output[-3000:]}"
            time.sleep(0.2)

    def running_steps():
        file = folder / "progress.json"
        return file.exists() and json.loads(file.read_text())["reached"]

    first = send()
    until(running_steps, "a step")
    sge.ask("qdel", first)  # with -notify: SIGUSR2 first
    until(lambda: state().get("ended") == "stopped" and first not in sge.jobs(), "the end of the deleted job")
    assert state()["successor"] == ""
    send()
    until(lambda: state().get("ended") == "done", "the end")
    assert state()["jobs"] >= 2  # 25 s of a job are not enough: it sent itself again
