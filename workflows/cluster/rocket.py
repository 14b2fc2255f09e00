"""The process of a job on a compute node: ``python -P -m anodeflow.workflows.cluster.rocket FOLDER ...``.

FireWorks' own ``rlaunch`` knows no password but one in its files, dies of SIGTERM silently, calls an
interrupted job failed, and finds nothing to run in a job that was requeued. This does what ``rlaunch singleshot``
does, and handles those.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anodeflow.errors import AnodeflowError, InputError
from anodeflow.workflows.cluster import stopping
from anodeflow.workflows.cluster.attempts import given_up, in_vain, noted_steps
from anodeflow.workflows.cluster.folder import LIGHT, ClusterFolder, walltime_seconds
from anodeflow.workflows.cluster.launches import reservation_of
from anodeflow.workflows.cluster.launching import warning_s
from anodeflow.workflows.cluster.launchpad import (
    fireworker,
    give_up,
    open_launchpad,
    run_firework,
    set_reservation,
    stopped_studies,
)
from anodeflow.workflows.cluster.probe import probe
from anodeflow.workflows.store.database import DatabaseAway, server_errors

_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID")
PATIENCE_S = 300.0
# How long a job waits for whoever sent it to note its id.
_RESERVATION_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Run one firework; the exit status says whether the process did its part."""
    parser = argparse.ArgumentParser(prog="anodeflow.workflows.cluster.rocket")
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["singleshot", LIGHT])
    parser.add_argument("--fw_id", type=int)
    parser.add_argument("--sent-by", help="version of anodeflow that sent the job")
    parser.add_argument("--probe", action="store_true", help="only look whether a job could run here")
    given = parser.parse_args(arguments)
    stopping.listen()
    try:
        folder = ClusterFolder(given.folder)
        if given.probe:
            return probe(folder)
        return _run_light(folder) if given.what == LIGHT else _run(folder, given.fw_id, given.sent_by)
    except AnodeflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(folder: ClusterFolder, fw_id: int | None, sent_by: str | None = None) -> int:
    _set_alarm(folder)
    pad = _patiently(folder)
    job = _own_job_id()
    with server_errors(folder.database):
        belongs_here = fw_id is None or job is None or claim(pad, folder, fw_id, job)
        here = version("anodeflow")
        if belongs_here and fw_id is not None and sent_by not in (None, here):
            line = (
                f"the job was sent by anodeflow {sent_by}, and {sys.executable} on {socket.gethostname()} has {here}; "
                "install the same version in both, then submit --again"
            )
            give_up(pad, pad.fireworks.find_one({"fw_id": fw_id})["launches"][-1], line)
            raise InputError(line)
        with noted_steps(pad, fw_id) if fw_id is not None else contextlib.nullcontext():
            ran = belongs_here and run_firework(pad, folder, fw_id)
        if not ran:
            print("nothing to run: the job was done, or taken over by another", file=sys.stderr)
    return 0


def _run_light(folder: ClusterFolder) -> int:
    """Run every job that needs no calculation, one after the other."""
    pad = _patiently(folder)
    while not stopping.asked_to_stop():
        firework, launch_id = pad.reserve_fw(fireworker(folder, LIGHT, stopped_studies(pad)), os.getcwd())
        if firework is None:
            break
        set_reservation(pad, launch_id, f"here:{socket.gethostname()}:{os.getpid()}")
        run_firework(pad, folder, firework.fw_id)
    return 0


def _set_alarm(folder: ClusterFolder) -> None:
    """Where the scheduler gives no warning, stop a little before the time is over."""
    text = os.environ.get("ANODEFLOW_WALLTIME")
    if text:
        with contextlib.suppress(ValueError):
            signal.alarm(max(1, walltime_seconds(text) - warning_s(folder, text)))


def _patiently(folder: ClusterFolder) -> Any:
    """The LaunchPad; a server that is down for a moment does not cost the job its place."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return open_launchpad(folder)
        except DatabaseAway as error:
            if time.monotonic() > deadline or stopping.asked_to_stop():
                raise
            print(f"waiting: {error}", file=sys.stderr)
            time.sleep(5.0)


def _own_job_id() -> str | None:
    """Id of this job at the scheduler; the digits, as FireWorks records it."""
    for variable in _JOB_VARIABLES:
        digits = os.environ.get(variable, "").partition(".")[0]
        if digits.isdigit():
            return digits
    return None


def claim(pad: Any, folder: ClusterFolder, fw_id: int, job: str) -> bool:
    """Make sure that a firework is reserved for this job; False where it belongs to another, or is done.

    A job that starts at once waits until its reservation is complete. One that the scheduler started again frees
    the firework that its first start left running.

    Raises
    ------
    InputError
        If it was tried too often.
    """
    deadline = time.monotonic() + _RESERVATION_S
    while True:
        firework = pad.fireworks.find_one({"fw_id": fw_id}, {"state": 1, "launches": 1})
        state = firework["state"] if firework else "gone"
        if state not in ("READY", "RESERVED", "RUNNING"):
            return False
        if state != "RUNNING" and pad.study_is_stopped(fw_id):
            return False
        launch_id: Any = firework["launches"][-1] if firework["launches"] else None
        launch = pad.launches.find_one({"launch_id": launch_id}, {"state_history": 1, "state": 1, "launch_id": 1}) or {}
        owner = reservation_of(launch)
        if state == "RESERVED" and owner is None:
            if time.monotonic() < deadline:
                time.sleep(0.5)
                continue
            return set_reservation(pad, launch_id, job)
        if state == "RESERVED":
            return owner == job
        if state == "RUNNING":
            if owner != job or launch["state"] != "RUNNING":
                return False
            number = in_vain(pad, fw_id)
            if number >= folder.settings.attempts:
                line = given_up(pad, fw_id, number, "the scheduler started it again and again")
                give_up(pad, launch_id, line)
                raise InputError(line)
            if not pad.give_back(fw_id, state, launch):
                return False
        _, launch_id = pad.reserve_fw(fireworker(folder), os.getcwd(), fw_id=fw_id)
        return launch_id is not None and set_reservation(pad, launch_id, job)


if __name__ == "__main__":
    raise SystemExit(main())
