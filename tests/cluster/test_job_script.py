"""`hpc script`: what it writes, and how a chain of jobs decides, without a scheduler."""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
import yaml
from click.testing import CliRunner
from pretended import TINY

from anodeflow.cli.exits import guarded
from anodeflow.cli.main import cli
from anodeflow.errors import EngineError, InputError, StoreError
from anodeflow.workflows.cluster import allocation, chain, scheduler
from anodeflow.workflows.cluster.allocation import Allocation
from anodeflow.workflows.cluster.chain import Chain, ChainState
from anodeflow.workflows.cluster.job_script import ScriptOptions, job_script
from anodeflow.workflows.studies import load_study


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A study that is planned in a moment."""
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    file.write_text(yaml.safe_dump(TINY | {"engine": "sevennet-0"}))
    return file


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / 'it\'s $(reboot); a "place"'
    folder.mkdir()
    return folder


def options(place, **given):
    files = {"script": place / "s.sh", "study": place / "my study.yaml", "store": place / "s.sqlite"}
    return ScriptOptions(**{"scheduler": "slurm", "walltime_s": 3600} | files | given)


def arguments_of(text):
    """Words that the script starts its process with."""
    (line,) = [line for line in text.splitlines() if "cluster.allocation" in line]
    return shlex.split(line.removesuffix("&"))


@pytest.mark.parametrize("system", ["slurm", "pbs", "sge"])
def test_the_script_is_sound_and_quotes_every_path(place, small, system):
    chosen = options(place, scheduler=system, account="ab12", partition="long", modules=["gcc/12"], gpus=1)
    text = job_script(load_study(small), chosen)
    file = place / "s.sh"
    file.write_text(text)
    subprocess.run(["bash", "-n", file], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", file], check=True)
    words = arguments_of(text)
    assert words[words.index("--study") + 1] == str(place / "my study.yaml")
    assert words[words.index("--store") + 1] == str(place / "s.sqlite")
    assert words[words.index("--script") + 1] == str(file)
    head = [line for line in text.splitlines() if line.startswith(("#SBATCH", "#PBS", "#$ "))]
    assert {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$"}[system] in head[0]
    assert all(str(place) not in line for line in head)  # a path may hold what a scheduler cannot read
    assert any("01:00:00" in line for line in head)
    assert any("my_study" in line for line in head)
    assert any("ab12" in line for line in head)
    assert "module load gcc/12" in text


def test_programs_are_started_over_all_nodes(place, small, monkeypatch):
    qe = load_study(small).with_changes(engine="qe", card="pbe-bulk").as_dry_run()
    monkeypatch.setenv("ANODEFLOW_QE_COMMAND", "pw.x -nk 4")
    assert "export ANODEFLOW_QE_COMMAND='srun pw.x -nk 4'" in job_script(qe, options(place, nodes=2, cores=32))
    several = job_script(qe, options(place, nodes=2, cores=32, workers=2))
    assert "'srun --exact --nodes=1 --ntasks=32 --mem=0 pw.x -nk 4'" in several
    pbs = job_script(qe, options(place, scheduler="pbs", nodes=2, cores=32))
    assert "export ANODEFLOW_QE_COMMAND='mpirun -np 64 pw.x -nk 4'" in pbs
    monkeypatch.setenv("ANODEFLOW_QE_COMMAND", "mpiexec -ppn 8 pw.x")
    assert "export ANODEFLOW_QE_COMMAND='mpiexec -ppn 8 pw.x'" in job_script(qe, options(place, nodes=2, cores=32))


@pytest.mark.parametrize(("given", "reason"), [
    ({"walltime_s": 100}, "the walltime 00:01:40 is too short for any calculation"),
    ({"nodes": 2}, "1 of 2 nodes would wait idle"),
    ({"options": ["--qos=x\nrm -rf /"]}, "cannot be a line of the script"),
    ({"account": "a b"}, "--account 'a b' cannot be used"),
    ({"modules": ["$(reboot)"]}, "--modules"),
    ({"workers": 3}, "--workers 3 does not divide"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(place, small, given, reason):
    with pytest.raises(InputError, match=r"[^\n]*") as error:
        job_script(load_study(small), options(place, **given))
    assert reason in str(error.value)


def test_the_command_writes_the_script_once(place, small, monkeypatch):
    shutil.copy(small, place / "study.yaml")
    command = ["hpc", "script", str(place / "study.yaml"), "--scheduler", "slurm"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    file = place / "study.sh"
    assert f"sbatch {shlex.quote(str(file))}" in done.output
    assert os.access(file, os.X_OK)

    def refusal(*more):
        def call():
            cli.main([*command, *more], standalone_mode=False)

        with pytest.MonkeyPatch.context() as patch:
            lines = []
            patch.setattr("click.echo", lambda text, **_: lines.append(text))
            assert guarded(call) == InputError.exit_code
        (line,) = lines
        return line

    assert "is there already" in refusal()
    assert "too short for any calculation" in refusal("--replace", "--walltime", "2")
    assert "is not a results file" in refusal("--replace", "--store", "mongodb://localhost/x")


@pytest.fixture
def queue(monkeypatch):
    """The jobs that the scheduler knows."""
    jobs = {}
    monkeypatch.setattr(chain, "queued_jobs", lambda _: dict(jobs))
    return jobs


def claimed(place, job):
    return Chain(place / "s.sqlite", place / "study.yaml", "slurm", job)


def test_one_job_at_a_time_and_each_in_its_turn(place, queue):
    queue["7"] = "RUNNING"
    first, other = claimed(place, "7"), claimed(place, "8")
    assert first.claim() is None
    assert first.claim() is None  # requeued, it has its claim still
    assert "job 7 runs this study already" in other.claim()
    state = first.read()
    state.successor, state.in_vain = "9", 1
    first.write(state)
    queue.update({"7": "COMPLETING", "9": "PENDING"})
    assert "job 9" in other.claim()
    queue.update({"7": "RUNNING", "9": "RUNNING"})
    del queue["7"]
    successor = claimed(place, "9")
    assert successor.claim() is None
    assert (successor.read().in_vain, successor.read().jobs, successor.read().successor) == (1, 2, "")
    assert "job 9" in claimed(place, "7").claim()
    del queue["9"]  # it was killed without sending another: whoever is sent next begins again
    assert claimed(place, "11").claim() is None
    assert claimed(place, "11").read().in_vain == 0


def test_a_scheduler_that_does_not_answer_is_not_an_empty_queue(place, queue, monkeypatch):
    assert claimed(place, "7").claim() is None

    def silent(_):
        raise EngineError("squeue does not answer")

    monkeypatch.setattr(chain, "queued_jobs", silent)
    with pytest.raises(EngineError):
        claimed(place, "8").claim()
    assert claimed(place, "7").claim() is None


def test_of_many_that_start_at_once_one_runs(place, queue):
    jobs = [str(number) for number in range(100, 112)]
    queue.update(dict.fromkeys(jobs, "RUNNING"))
    answers = {}
    threads = [
        Thread(target=lambda job=job: answers.update({job: claimed(place, job).claim()}), daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    winners = [job for job, answer in answers.items() if answer is None]
    assert len(answers) == 12
    assert len(winners) == 1
    assert {answers[job].split()[1] for job in jobs if job not in winners} == set(winners)


def test_a_study_of_the_same_store_is_named(place, queue):
    queue["7"] = "RUNNING"
    assert claimed(place, "7").claim() is None
    other = Chain(place / "s.sqlite", place / "other.yaml", "slurm", "8")
    assert f"runs {place / 'study.yaml'}, in the same store already" in other.claim()


def test_steps_count_only_where_a_calculation_continues():
    state = ChainState()
    assert state.takes_in({"reached": {"Li/bulk": 9}, "first": {"Li/bulk": 0}})
    assert not state.takes_in({"reached": {"Li/bulk": 12}, "first": {"Li/bulk": 0}})  # from its first step again
    assert state.takes_in({"reached": {"Li/bulk": 13}, "first": {"Li/bulk": 12}})
    assert not state.takes_in({})
    assert state.takes_in({"done": ["Li/bulk"]})
    assert not state.takes_in({"done": ["Li/bulk"]})


class Job:
    """A job whose run is a shell command in the place of ``anodeflow run``."""

    def __init__(self, place, monkeypatch, number):
        self.sent, self.cancelled = [], []
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        monkeypatch.setenv("SLURM_SUBMIT_DIR", str(place))
        monkeypatch.setattr(scheduler, "time_left_s", lambda _: None)
        monkeypatch.setattr(scheduler, "send_after", lambda *words: self.sent.append(words) or str(number + 1))
        monkeypatch.setattr(scheduler, "cancel", lambda _, job: self.cancelled.append(job))
        (place / "s.sh").touch()
        self.given = argparse.Namespace(scheduler="slurm", study=place / "study.yaml", store=place / "s.sqlite",
                                        script=place / "s.sh", workers=1, threads=1, walltime_s=3600.0,
                                        stop_before_s=5.0)  # fmt: skip
        self.monkeypatch = monkeypatch

    def run(self, command, seconds=3600.0):
        self.given.walltime_s = seconds
        kept = {number: signal.getsignal(number) for number in
                (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)}  # fmt: skip
        job = Allocation(self.given)
        popen = subprocess.Popen
        self.monkeypatch.setattr(
            allocation.subprocess, "Popen",
            lambda words, **_: popen(["bash", "-c", command, "run", words[words.index("--progress") + 1]]),
        )  # fmt: skip
        try:
            return job.run()
        finally:
            self.monkeypatch.setattr(allocation.subprocess, "Popen", popen)
            for number, handler in kept.items():
                signal.signal(number, handler)


@pytest.mark.parametrize(("code", "ended"), [(0, "done"), (4, "failed"), (2, "failed")])
def test_a_study_that_has_ended_sends_nothing(place, queue, monkeypatch, code, ended):
    job = Job(place, monkeypatch, 7)
    assert job.run(f"exit {code}") == code
    assert job.sent == []
    assert claimed(place, "7").read().ended == ended


def test_two_jobs_without_progress_are_the_last(place, queue, monkeypatch, capsys):
    first = Job(place, monkeypatch, 7)
    assert first.run("kill -9 $$") == 0
    assert [words[2] for words in first.sent] == ["7"]
    second = Job(place, monkeypatch, 8)
    assert second.run("kill -9 $$") == 4
    assert second.sent == []
    assert "2 jobs in a row got no further: no other job is sent" in capsys.readouterr().out
    assert claimed(place, "8").read().ended == "no progress"


def test_progress_sends_the_next_job(place, queue, monkeypatch):
    step = json.dumps({"done": [], "first": {"a": 0}, "reached": {"a": 3}})
    runs = f"echo {shlex.quote(step)} >\"$1\"; trap 'exit 130' TERM; sleep 60 & wait"
    first = Job(place, monkeypatch, 7)
    assert first.run(runs, seconds=6.5) == 0
    second = Job(place, monkeypatch, 8)
    assert second.run(runs, seconds=6.5) == 0  # the same step again: in vain, but once only
    assert claimed(place, "8").read().in_vain == 1
    assert [len(job.sent) for job in (first, second)] == [1, 1]
    third = Job(place, monkeypatch, 9)
    assert third.run(runs, seconds=6.5) == 4
    assert third.sent == []


def test_a_study_that_ends_while_it_is_stopped_takes_back_the_next_job(place, queue, monkeypatch):
    job = Job(place, monkeypatch, 7)
    assert job.run("trap 'exit 0' TERM; sleep 60 & wait", seconds=6.5) == 0
    assert job.cancelled == ["8"]
    assert claimed(place, "7").read().ended == "done"


def test_a_cancelled_job_sends_nothing(place, queue, monkeypatch):
    job = Job(place, monkeypatch, 7)
    assert job.run("trap 'exit 130' TERM; kill -TERM $PPID; sleep 60 & wait") == 143
    assert job.sent == []
    assert claimed(place, "7").read().ended == "stopped"


def test_what_keeps_a_job_from_starting_is_one_line(place, queue, monkeypatch):
    job = Job(place, monkeypatch, 7)
    with pytest.raises(InputError, match="kept for stopping"):
        job.run("exit 0", seconds=4.0)
    (place / "s.sh").unlink()
    with pytest.raises(InputError, match="the script is not at"):
        job.run("exit 0")
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(InputError, match="this is not a job of SLURM; send the script: sbatch"):
        Allocation(job.given)

    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(allocation.fcntl, "lockf", refused)
    with pytest.raises(StoreError, match="No locks available; put the store on a shared file system"):
        allocation._check_locks(place)


def test_a_run_notes_how_far_it_is(tmp_path, monkeypatch, springs):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "site"),
                                "ANODEFLOW_RUNS": str(tmp_path / "runs")}  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "anodeflow", "run", "tiny.yaml", "--workers", "1", "--progress", "p.json"],
        cwd=tmp_path, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    noted = json.loads((tmp_path / "p.json").read_text())
    assert sorted(noted["done"]) == ["Li/bulk/host", "Li/bulk/i1", "Li/bulk/i2", "Li/crystal"]
    assert set(noted["first"].values()) == {0}
    assert set(noted["reached"].values()) == {19}


def test_sigterm_counts_once_and_is_never_lost():
    from anodeflow.workflows.local.runner import _Termination

    termination = _Termination()
    termination.check()
    with pytest.raises(KeyboardInterrupt):
        termination(signal.SIGTERM, None)
    termination(signal.SIGTERM, None)  # to this process and to its parent, which passes it on
    with pytest.raises(KeyboardInterrupt):  # raised where nobody let it pass
        termination.check()
