"""Every link from this machine to a finished job, checked, each with what to do about it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import yaml

from anodeflow.errors import AnodeflowError
from anodeflow.settings import expanded, load_settings
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.findings import BROKEN, GOOD, WARNING, Finding, engine_problem, engines_of
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launching import queue_script
from anodeflow.workflows.cluster.launchpad import use_environment
from anodeflow.workflows.cluster.probe import through_the_queue
from anodeflow.workflows.cluster.resources import adapter_values
from anodeflow.workflows.store.connection import on_network_file_system
from anodeflow.workflows.studies.base import Study

_LARGEST_SKEW_S = 30.0
_LEAST_FREE_BYTES = 2 * 2**30
# What the checks of the files read: these must agree with cluster.yaml and with each other.
ADAPTER, CONFIG = "my_qadapter.yaml", "FW_config.yaml"


Check = Callable[[ClusterFolder], Iterator[Finding]]


def examine(folder: ClusterFolder, patience_s: float | None = None, studies: Sequence[Study] = ()) -> list[Finding]:
    """Check everything; a check that fails does not keep the others from being made.

    Parameters
    ----------
    folder
        The cluster folder.
    patience_s
        Also send a test job, and wait so long for it; None sends none.
    studies
        Studies whose engines and cards are looked at; none for the engine of the folder, and those of the studies
        that were submitted and are not done.
    """
    findings: list[Finding] = []
    checks = dict(_CHECKS)
    checks["engine"] = lambda asked: _engine(asked, studies)
    if patience_s is not None:
        checks["job"] = lambda asked: through_the_queue(asked, patience_s, engines_of(asked, studies))
    for link, check in checks.items():
        try:
            findings.extend(check(folder))
        except AnodeflowError as error:
            findings.append(Finding(link, BROKEN, error.problem, error.remedy))
        except OSError as error:
            findings.append(Finding(link, BROKEN, f"{error.strerror}: {error.filename}", "check its permissions"))
    return findings


def _settings(folder: ClusterFolder) -> Iterator[Finding]:
    settings = folder.settings
    yield Finding("settings", GOOD, f"{folder.path}: {settings.scheduler}, worker {settings.worker}")
    for name in ("my_launchpad.yaml", "my_fworker.yaml", ADAPTER, CONFIG, "jobflow.yaml", "environment.sh"):
        folder.file(name)


def _secrets(folder: ClusterFolder) -> Iterator[Finding]:
    for file in folder.path.glob("*.yaml"):
        text = file.read_text(errors="replace")
        if any(line.strip().startswith("password:") and line.split(":", 1)[1].strip() not in ("", "null")
               for line in text.splitlines()):  # fmt: skip
            yield Finding(
                "secrets", BROKEN, f"{file.name} holds a password", "move it to ~/.config/anodeflow/db-password"
            )
    mode = folder.path.stat().st_mode
    if mode & stat.S_IWOTH:
        yield Finding("secrets", BROKEN, f"everybody may write in {folder.path}, and its files become scripts",
                      f"chmod o-w {folder.path}")  # fmt: skip


def _database(folder: ClusterFolder) -> Iterator[Finding]:
    database = folder.database
    where = "environment" if os.environ.get(database.password_variable) else "its file"
    there = database.open()
    text = f"{database.place} answers"
    if database.user is not None:
        text += f" user {database.user} (password from {where})"
        if where == "environment":
            yield Finding("database", WARNING, f"the password is in {database.password_variable} of this shell only",
                          "jobs need it too: write it to ~/.config/anodeflow/db-password (chmod 600)")  # fmt: skip
    yield Finding("database", GOOD, text)
    probe = there["anodeflow"]
    probe.update_one({"_id": "doctor"}, {"$set": {"by": folder.settings.worker}}, upsert=True)
    probe.delete_one({"_id": "doctor"})
    skew = database.clock_difference_s()
    if abs(skew) > _LARGEST_SKEW_S:
        yield Finding("clock", WARNING, f"the database's clock is {skew:+.0f} s from this machine's",
                      "let both follow a time server (NTP); times in tables are off, nothing is lost")  # fmt: skip
    else:
        yield Finding("clock", GOOD, f"{abs(skew):.1f} s from the database's")
    if database.host.startswith(("localhost", "127.")) and folder.settings.scheduler:
        yield Finding("database", WARNING, f"compute nodes will look for {database.host} on themselves",
                      "name the machine that MongoDB runs on, if nodes are others")  # fmt: skip


def _scheduler(folder: ClusterFolder) -> Iterator[Finding]:
    kind = folder.settings.scheduler
    send, _ = scheduler.COMMANDS[kind]
    if shutil.which(send) is None:
        yield Finding("scheduler", BROKEN, f"the command '{send}' is not on PATH", "run this on a login node")
        return
    jobs = scheduler.queued_jobs(kind)
    yield Finding("scheduler", GOOD, f"{kind} answers, {len(jobs)} jobs of yours")


def _script(folder: ClusterFolder) -> Iterator[Finding]:
    use_environment(folder)
    size = folder.settings.sizes[-1]
    asked = adapter_values(folder.settings.scheduler, size, size.walltime)
    job = SimpleNamespace(fw_id=1, name="doctor", spec={"_queueadapter": asked})
    text = queue_script(folder, job, str(folder.launches))
    if "exec " not in text:
        yield Finding("script", WARNING, "the job's command has no 'exec'", "signals then end the shell, not the job; "
                      "put 'exec ' before the command of rocket_launch")  # fmt: skip
    if folder.settings.scheduler == "slurm":
        yield from _slurm_accepts(text)
    else:
        yield Finding("script", GOOD, "can be written")


def _slurm_accepts(text: str) -> Iterator[Finding]:
    if "--signal=B:INT@" not in text:
        yield Finding("script", WARNING, "SLURM is not asked to warn the job before its time is over",
                      "add signal: 'B:INT@120' to my_qadapter.yaml")  # fmt: skip
    done = subprocess.run(
        ["sbatch", "--test-only"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        answer = " ".join(done.stderr.split())[:200]
        yield Finding("script", BROKEN, f"SLURM would refuse the largest size: {answer}",
                      "correct partition and account in my_qadapter.yaml, or the sizes in cluster.yaml")  # fmt: skip
    else:
        yield Finding("script", GOOD, "SLURM would take the largest size")


def _python(folder: ClusterFolder) -> Iterator[Finding]:
    adapter = yaml.safe_load(folder.file(ADAPTER).read_text()) or {}
    words = str(adapter.get("rocket_launch", "")).split()
    python = next((word for word in words if "/python" in word), None)
    if python is None or not os.access(python, os.X_OK):
        yield Finding("python", BROKEN, f"rocket_launch names no Python that is here: {python}",
                      "write the folder again with that Python: anodeflow hpc init --replace")  # fmt: skip
        return
    environment = dict(os.environ) | folder.environment()
    code = "import anodeflow, fireworks; print(anodeflow.__version__)"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    there, here = done.stdout.strip().splitlines()[-1:], version("anodeflow")
    if done.returncode or not there:
        answer = done.stderr.strip().splitlines()[-1:] or ["no reason"]
        yield Finding("python", BROKEN, f"{python} cannot import anodeflow: {answer[0][:200]}", "install it there")
    elif there[0] != here:
        yield Finding(
            "python", BROKEN, f"jobs run anodeflow {there[0]}, this is {here}", "install the same version in both"
        )
    else:
        yield Finding("python", GOOD, f"{python}, anodeflow {here}")


def _engine(folder: ClusterFolder, studies: Sequence[Study]) -> Iterator[Finding]:
    use_environment(folder)
    for name, card in engines_of(folder, studies):
        problem, notes = engine_problem(name, card)
        if problem:
            yield Finding("engine", BROKEN, f"{name}: {problem}", "a study is checked here before it is submitted")
        else:
            yield Finding("engine", GOOD, "; ".join([f"{name} is here", *notes])[:300])


def _folders(folder: ClusterFolder) -> Iterator[Finding]:
    use_environment(folder)
    for place in (folder.launches, expanded(load_settings().runs)):
        place.mkdir(parents=True, exist_ok=True)
        probe = place / ".doctor"
        probe.write_text("")
        probe.unlink()
        free = shutil.disk_usage(place).free
        verdict = GOOD if free > _LEAST_FREE_BYTES else WARNING
        yield Finding("disk", verdict, f"{place}: {free / 2**30:.0f} GB free",
                      "" if verdict == GOOD else "free space: a job that cannot write its files fails")  # fmt: skip
        if str(place.resolve()).startswith(("/tmp/", "/var/tmp/", "/dev/shm/")):  # noqa: S108
            yield Finding(
                "disk", WARNING, f"{place} is on a temporary disk", "compute nodes cannot see it; choose a shared one"
            )
        elif not on_network_file_system(str(place)):
            yield Finding("disk", WARNING, f"{place} is on a disk of this machine",
                          "all nodes must see it; nothing to do if they do")  # fmt: skip


def _fireworks(folder: ClusterFolder) -> Iterator[Finding]:
    for place in (Path.cwd(), Path.home() / ".fireworks"):
        other = place / CONFIG
        if other.is_file() and place.resolve() != folder.path:
            yield Finding(
                "fireworks", WARNING, f"{other} goes before the folder's own", f"rename it: mv {other} {other}.off"
            )
    yield Finding(
        "fireworks",
        GOOD,
        f"fireworks {version('fireworks')}, jobflow {version('jobflow')}, Python {sys.version.split()[0]}",
    )


_CHECKS: dict[str, Check] = {
    "settings": _settings,
    "secrets": _secrets,
    "fireworks": _fireworks,
    "database": _database,
    "scheduler": _scheduler,
    "script": _script,
    "python": _python,
    "disk": _folders,
}
