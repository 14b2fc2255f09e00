"""How often a job was tried, how far it came each time, and what is said when it is given up.

An attempt counts only if it got no further than those before it: a calculation that needs ten times the longest time of
a job is not given up after six. A job writes the step that it reached into its launch, and so what is known of one that
was killed is known, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pymongo.errors import PyMongoError

from anodeflow.workflows import monitor

# Fields of a launch, beside those of FireWorks.
_REACHED, _FORGIVEN = "reached", "forgiven"
_WANTED = {"launch_id": 1, "fw_id": 1, _REACHED: 1, _FORGIVEN: 1}
# How often a job that makes many steps a second notes how far it is.
_NOTED_EVERY_S = 10.0
# What was given to the scheduler, or started here; what the scheduler refused does not count.
_GIVEN = [{"state_history.reservation_id": {"$exists": True}}, {"state_history.state": "RUNNING"}]


def tries(pad: Any, fw_id: int) -> int:
    """Return how often a job was given to the scheduler or started here, ever."""
    return int(pad.launches.count_documents({"fw_id": fw_id, "$or": _GIVEN}))


def in_vain(pad: Any, fw_id: int, last: int | None = None) -> int:
    """Return how many attempts in a row ended without getting further than all before them.

    Those before ``submit --again``, and those that a person ended with ``hpc stop``, are forgotten.

    Parameters
    ----------
    pad
        The LaunchPad, or its database.
    fw_id
        The job.
    last
        Launch of the last attempt that counts; None for the newest. Another process may have begun one more.
    """
    criteria: dict[str, Any] = {"fw_id": fw_id, "$or": _GIVEN}
    if last is not None:
        criteria["launch_id"] = {"$lte": last}
    return _in_vain(pad.launches.find(criteria, _WANTED))


def summaries(pad: Any, jobs: dict[int, int | None]) -> dict[int, tuple[int, int]]:
    """Return of many jobs how often each was tried, and how many attempts in a row were in vain, by one question.

    Parameters
    ----------
    pad
        The LaunchPad, or its database.
    jobs
        Each job with the launch of its attempt that is under way and does not count; None for none.
    """
    launches: dict[int, list[dict[str, Any]]] = {fw_id: [] for fw_id in jobs}
    for launch in pad.launches.find({"fw_id": {"$in": sorted(jobs)}, "$or": _GIVEN}, _WANTED):
        if launch["launch_id"] != jobs[launch["fw_id"]]:
            launches[launch["fw_id"]].append(launch)
    return {fw_id: (len(several), _in_vain(several)) for fw_id, several in launches.items()}


def _in_vain(launches: Iterable[dict[str, Any]]) -> int:
    count, farthest = 0, -1
    for launch in sorted(launches, key=_number):
        reached = int(launch.get(_REACHED, -1))
        further, farthest = reached > farthest, max(farthest, reached)
        count = 0 if further or launch.get(_FORGIVEN) else count + 1
    return count


def _number(launch: dict[str, Any]) -> int:
    return int(launch["launch_id"])


def forgive(pad: Any, criteria: dict[str, Any]) -> None:
    """Let the launches that match count no more."""
    pad.launches.update_many(criteria, {"$set": {_FORGIVEN: True}})


def given_up(pad: Any, fw_id: int, number: int, why: str, last_output: str = "") -> str:
    """Return the line that says why a job is not tried any more, and what to change.

    Parameters
    ----------
    pad
        The LaunchPad.
    fw_id
        The job.
    number
        Attempts in a row that got no further.
    why
        How the last of them ended.
    last_output
        Last line of its output.
    """
    total = tries(pad, fw_id)
    began = pad.launches.find_one({"fw_id": fw_id, "state_history.state": "RUNNING"}, {"launch_id": 1}) is not None
    often = f"{number} attempts" if number == total else f"{total} attempts, the last {number}"
    if began:
        problem = f"given up after {often} that got no further ({why})"
        remedy = "give it more time or memory ('sizes' in cluster.yaml), then anodeflow submit STUDY --again"
    else:
        problem = f"given up after {often} that ended before they began ({why})"
        remedy = "correct environment.sh or my_qadapter.yaml (anodeflow hpc doctor --job), then submit --again"
    return f"{problem}{f': {last_output}' if last_output else ''}; {remedy}"


class _Steps:
    """How far the calculation of this process is, and what its launch says of it."""

    def __init__(self, pad: Any, fw_id: int) -> None:
        self._pad, self._fw_id = pad, fw_id
        self._step, self._noted, self._at = -1, -1, 0.0

    def on_step(self, _label: str, step: int, _energy_ev: float, _max_force: float) -> None:
        self._step = max(self._step, step)
        if time.monotonic() - self._at > _NOTED_EVERY_S:
            self.write()

    def write(self) -> None:
        if self._step <= self._noted:
            return
        self._at = time.monotonic()
        with suppress(PyMongoError):  # a database that is away must not lose the job
            job = self._pad.fireworks.find_one({"fw_id": self._fw_id}, {"launches": 1})
            if job and job["launches"]:
                self._pad.launches.update_one({"launch_id": job["launches"][-1]}, {"$max": {_REACHED: self._step}})
                self._noted = self._step


_steps: _Steps | None = None


@contextmanager
def noted_steps(pad: Any, fw_id: int) -> Iterator[None]:
    """Write how far the calculation of this process comes into the launch of its job, every ten seconds."""
    global _steps  # a process runs one job
    _steps = _Steps(pad, fw_id)
    monitor.listen(_steps.on_step)
    try:
        yield
    finally:
        monitor.listen(None)
        _steps = None


def write_steps() -> None:
    """Write what is known now: the calculation has ended, or was stopped."""
    if _steps is not None:
        _steps.write()
