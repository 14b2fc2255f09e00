"""Stopping studies by hand, and starting them again.

A stopped study is one whose record says so: nobody takes a job of it, neither for the scheduler nor to run it. Its
workflow stays as it is, so that there is nothing half stopped, and starting it again is one change of one document.
"""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from anodeflow.errors import InputError
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.attempts import forgive
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launches import reservation_of
from anodeflow.workflows.cluster.launchpad import ALIVE, STOPPED, STUDIES
from anodeflow.workflows.store.database import server_errors

_SHORTEST_HASH = 4
# States that FireWorks' own commands leave a job in that is not to run.
_HELD = {"DEFUSED": "reignite_fw", "PAUSED": "resume_fw"}


@dataclass
class Held:
    """What was done to one study.

    Attributes
    ----------
    study_hash, title
        The study.
    changed
        False where it was stopped, or running, already.
    cancelled
        Jobs that were taken out of the queue, or asked to stop.
    elsewhere
        Running or waiting jobs that another cluster sent, or that run in a process on a login node.
    left
        Jobs that are not done.
    """

    study_hash: str
    title: str
    changed: bool
    cancelled: int = 0
    elsewhere: int = 0
    left: int = 0


def study_of(pad: Any, name: str) -> str:
    """Return the hash of the submitted study that a hash, or the beginning of one, names.

    Raises
    ------
    InputError
        If none was submitted, or several begin so.
    """
    records = pad.db[STUDIES].find({}, {"_id": 1})
    hashes = [str(record["_id"]) for record in records]
    fitting = [value for value in hashes if value == name or (len(name) >= _SHORTEST_HASH and value.startswith(name))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(f"several studies begin with '{name}': {', '.join(sorted(fitting)[:5])}", "write more of it")
    raise InputError(f"no study '{name[:70]}' was submitted", "see anodeflow status for the hashes")


def stop_study(folder: ClusterFolder, pad: Any, study_hash: str) -> Held:
    """Stop a study: nothing of it is sent any more, and what waits or runs is cancelled at the scheduler.

    Running calculations are warned as at the end of their time, and continue from there when the study is resumed.

    Parameters
    ----------
    folder, pad
        The cluster folder and its LaunchPad.
    study_hash
        The study.

    Raises
    ------
    InputError
        If it was never submitted, or is finished.
    EngineError
        If the scheduler does not answer; the study is stopped all the same, and a second stop cancels its jobs.
    """
    with server_errors(folder.database):
        record = _record(pad, study_hash)
        left = _left(pad, study_hash)
        if not left:
            raise InputError(f"study {study_hash} has nothing left to stop", "see anodeflow status")
        note = {"at": datetime.now(UTC), "by": getpass.getuser(), "from": socket.gethostname()}
        changed = pad.db[STUDIES].update_one(
            {"_id": study_hash, STOPPED: {"$exists": False}}, {"$set": {STOPPED: note}}
        )
        done = Held(study_hash, record.get("title", ""), bool(changed.modified_count), left=len(left))
        queue = scheduler.queued_jobs(folder.settings.scheduler)
        for job in (job for job in left if job["state"] in ("RESERVED", "RUNNING")):
            launch = pad.launches.find_one({"launch_id": {"$in": job["launches"][-1:]}}, {"action": 0}) or {}
            from_here = (launch.get("fworker") or {}).get("name") == folder.settings.worker
            number = reservation_of(launch)
            if not from_here or number not in queue:
                done.elsewhere += 1
                continue
            scheduler.cancel(folder.settings.scheduler, str(number))
            done.cancelled += 1
            if job["state"] == "RESERVED":  # it never began; what did begin puts itself back
                forgive(pad, {"launch_id": launch["launch_id"]})
                pad.give_back(job["fw_id"], "RESERVED", launch)
        return done


def resume_study(folder: ClusterFolder, pad: Any, study_hash: str) -> Held:
    """Let a study run again that was stopped, also by FireWorks' own ``defuse_wflows`` or ``pause_wflows``.

    Parameters
    ----------
    folder, pad
        The cluster folder and its LaunchPad.
    study_hash
        The study.

    Raises
    ------
    InputError
        If it was never submitted, or is not stopped.
    """
    with server_errors(folder.database):
        record = _record(pad, study_hash)
        held = [job for job in _left(pad, study_hash) if job["state"] in _HELD]
        if STOPPED not in record and not held:
            raise InputError(
                f"study {study_hash} is not stopped",
                "see anodeflow status; what failed runs again with anodeflow submit STUDY --again",
            )
        for job in held:
            getattr(pad, _HELD[job["state"]])(job["fw_id"])
        pad.db[STUDIES].update_one({"_id": study_hash}, {"$unset": {STOPPED: ""}})
        return Held(study_hash, record.get("title", ""), True, left=len(_left(pad, study_hash)))


def _record(pad: Any, study_hash: str) -> dict[str, Any]:
    record: dict[str, Any] | None = pad.db[STUDIES].find_one({"_id": study_hash}, {"text": 0})
    if record is None:
        raise InputError(f"study {study_hash} was never submitted", "see anodeflow status")
    return record


def _left(pad: Any, study_hash: str) -> list[dict[str, Any]]:
    """Return the jobs of a study that are neither done nor failed."""
    workflows = list(pad.workflows.find({"metadata.study_hash": study_hash}, {"nodes": 1}))
    nodes = [number for workflow in workflows for number in workflow["nodes"]]
    criteria = {"fw_id": {"$in": nodes}, "state": {"$in": [*ALIVE, "DEFUSED"]}}
    return list(pad.fireworks.find(criteria, {"fw_id": 1, "state": 1, "launches": 1}))
