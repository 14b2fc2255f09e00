"""Asking SLURM, PBS or SGE which jobs there are, and sending a script."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from anodeflow.errors import EngineError
from anodeflow.workflows.cluster.folder import Scheduler, walltime_seconds

COMMANDS: dict[str, tuple[str, str]] = {
    "slurm": ("sbatch", "squeue"),
    "pbs": ("qsub", "qstat"),
    "sge": ("qsub", "qstat"),
}
_TIMEOUT_S = 60.0
# What SLURM does to a requeued job: it may not start before two minutes are over.
DELAYED = "PENDING until its begin time"
# States of PBS and Torque in which a job is over.
_OVER = {"C", "F", "X"}


def queued_jobs(scheduler: Scheduler) -> dict[str, str]:
    """Ids of this user's waiting and running jobs, and their states as the scheduler calls them.

    Raises
    ------
    EngineError
        If the scheduler does not answer: that is never taken for an empty queue.
    """
    user = getpass.getuser()
    if scheduler == "slurm":
        text = run([COMMANDS["slurm"][1], "--noheader", f"--user={user}", "--format=%A|%T|%r"], "slurm")
        jobs = {}
        for line in text.splitlines():
            job, state, reason = [*line.strip().split("|"), "", ""][:3]
            if state:
                jobs[job] = DELAYED if (state, reason) == ("PENDING", "BeginTime") else state
        return jobs
    text = run([COMMANDS[scheduler][1], "-u", user], scheduler)
    return parse_qstat(text, scheduler)


def parse_qstat(text: str, scheduler: Scheduler) -> dict[str, str]:
    """Jobs of the table that ``qstat -u USER`` prints."""
    column = 4 if scheduler == "sge" else 9
    jobs = {}
    for line in text.splitlines():
        words = line.split()
        match = re.match(r"(\d+)(\[\d*\])?(\.\S+)?$", words[0]) if words else None
        if match and len(words) > column and words[column] not in _OVER:
            jobs[match.group(1)] = words[column]
    return jobs


def send(scheduler: Scheduler, script: Path) -> str:
    """Send a script; the id of its job.

    Raises
    ------
    EngineError
        If the scheduler refuses it, with the scheduler's own words.
    """
    return _id_in(run([COMMANDS[scheduler][0], script.name], scheduler, script.parent), scheduler)


def send_after(scheduler: Scheduler, script: Path, job: str, directory: Path) -> str:
    """Send a script that starts when a job has ended, however it ends; return the id of its job.

    Parameters
    ----------
    scheduler
        Which one.
    script
        The script.
    job
        Full id of the job to wait for.
    directory
        Where it is sent from.

    Raises
    ------
    EngineError
        If the scheduler refuses it.
    """
    waits = {
        "slurm": [f"--dependency=afterany:{job}"],
        "pbs": ["-W", f"depend=afterany:{job}"],
        "sge": ["-hold_jid", job],
    }[scheduler]
    # What this job was given must not count for the next one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SLURMD_", "PMI_", "PMIX_", "PBS_")) or name == "SLURM_CONF"
    }
    return _id_in(run([COMMANDS[scheduler][0], *waits, str(script)], scheduler, directory, environment), scheduler)


def time_left_s(job: str) -> float | None:
    """Return the seconds that SLURM leaves a running job; None where it does not say or sets no limit."""
    with contextlib.suppress(EngineError, ValueError):
        text = run([COMMANDS["slurm"][1], "--noheader", f"--jobs={job}", "--format=%L"], "slurm").strip()
        return float(walltime_seconds(text))
    return None


def _id_in(text: str, scheduler: str) -> str:
    match = re.search(r"Submitted batch job\s+(\d+)" if scheduler == "slurm" else r"(\d+)", text)
    if match is None:
        raise EngineError(
            f"{COMMANDS[scheduler][0]} named no job: '{' '.join(text.split())[:200]}'", "look at the queue"
        )
    return match.group(1)


def start_now(job: str) -> None:
    """Take away the delay of a job that SLURM requeued; nothing happens where SLURM does not allow it."""
    with contextlib.suppress(EngineError):
        run(["scontrol", "update", f"JobId={job}", "StartTime=now"], "slurm")


def name_in_queue(job: str) -> str:
    """Return the name of a job at SLURM; empty where it is not there any more."""
    with contextlib.suppress(EngineError):
        return run([COMMANDS["slurm"][1], "--noheader", f"--jobs={job}", "--format=%j"], "slurm").strip()
    return ""


def cancel(scheduler: Scheduler, job: str) -> None:
    """Take a job out of the queue; nothing happens where it has ended."""
    with contextlib.suppress(EngineError):
        run(["scancel" if scheduler == "slurm" else "qdel", job], scheduler)


def run(
    command: Sequence[str],
    scheduler: str,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the standard output of a scheduler's command.

    Parameters
    ----------
    command
        Its words.
    scheduler
        For messages.
    directory, environment
        Where and with which variables it runs; None for those of this process.

    Raises
    ------
    EngineError
        If it is not there, fails, or does not answer in time.
    """
    name = command[0]
    if shutil.which(name) is None:
        raise EngineError(
            f"the command '{name}' of {scheduler.upper()} is not on PATH",
            "run this on a login node, or correct 'scheduler' in cluster.yaml",
        )
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=directory, check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EngineError(f"{name} does not answer within {_TIMEOUT_S:g} s", "try again later") from None
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())[:300]
        raise EngineError(f"{name} failed: {output or f'exit status {done.returncode}'}", "correct my_qadapter.yaml or "
                          "cluster.yaml, or try again if the scheduler is down")  # fmt: skip
    return done.stdout
