"""Handing jobs that are due to the scheduler, and running the light ones here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.files import write_atomically
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.folder import LIGHT, ClusterFolder, walltime_seconds
from anodeflow.workflows.cluster.launches import SENDER, reservation_of, this_process
from anodeflow.workflows.cluster.launchpad import fireworker, set_reservation, stopped_studies
from anodeflow.workflows.store.database import server_errors
from anodeflow.yaml_input import read_yaml

SCRIPT = "queue.sh"
_NAME_LENGTH = 15  # what the strictest scheduler takes
_LIGHT_TIMEOUT_S = 3600.0


@dataclass
class LaunchReport:
    """What one round of launching did.

    Attributes
    ----------
    sent
        Labels of the jobs that were handed to the scheduler, each with the scheduler's id.
    light
        How many light jobs ran here.
    full
        Whether jobs wait because the queue holds as many as it may.
    """

    sent: list[str] = field(default_factory=list)
    light: int = 0
    full: bool = False


def launch_once(folder: ClusterFolder, pad: Any) -> LaunchReport:
    """Run what is light, send what is due.

    Raises
    ------
    EngineError
        If the scheduler refuses a job or does not answer; the job stays due.
    """
    report = LaunchReport()
    with server_errors(folder.database):
        report.light = _run_light(folder, pad) if folder.settings.light == "here" else 0
        queue: dict[str, str] | None = None
        while pad.run_exists(worker := _sender(folder, pad)):
            if queue is None:
                queue = scheduler.queued_jobs(folder.settings.scheduler)
            if len(queue) >= folder.settings.max_in_queue:
                report.full = True
                break
            sent = _send_one(folder, pad, worker, queue)
            if sent is None:
                break
            report.sent.append(sent)
    return report


def _sender(folder: ClusterFolder, pad: Any) -> Any:
    """Return who takes jobs for the scheduler, as FireWorks knows it: none of a study that was stopped by hand."""
    categories = [size.name for size in folder.settings.sizes]
    if folder.settings.light != "here":
        categories.append(LIGHT)
    return fireworker(folder, categories, stopped_studies(pad))


def _run_light(folder: ClusterFolder, pad: Any) -> int:
    """Run the jobs without a calculation in a separate process; how many."""
    due = {"state": "READY", "spec._category": LIGHT, "spec.study_hash": {"$nin": stopped_studies(pad)}}
    before = pad.fireworks.count_documents(due)
    if not before:
        return 0
    place = folder.launches / LIGHT
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "anodeflow.workflows.cluster.rocket", str(folder.path), LIGHT]
    with (place / "light.log").open("ab") as log:
        try:
            done = subprocess.run(
                command,
                cwd=place,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=_LIGHT_TIMEOUT_S,
                env=dict(os.environ) | folder.environment(),
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"light jobs took over {_LIGHT_TIMEOUT_S:g} s", f"see {place}/light.log") from None
    if done.returncode:
        lines = (place / "light.log").read_text(errors="replace").strip().splitlines()
        raise EngineError(f"light jobs failed: {lines[-1][:300] if lines else done.returncode}", f"see {place}")
    return before


def _send_one(folder: ClusterFolder, pad: Any, worker: Any, queue: dict[str, str]) -> str | None:
    """Reserve one job that is due and send it; its label and the scheduler's id, None where nothing is due.

    Parameters
    ----------
    folder, pad, worker
        The cluster folder, its LaunchPad, and who takes jobs.
    queue
        What the scheduler holds; the new job is added.
    """
    firework, launch_id = pad.reserve_fw(worker, str(folder.launches))
    if firework is None:
        return None
    put_back = _put_back(pad, firework, queue)
    if put_back is not None:
        # The scheduler will start an earlier job of this work again, with the same script: no second one is sent.
        set_reservation(pad, launch_id, put_back)
        scheduler.start_now(put_back)
        queue[put_back] = "PENDING"
        return f"{firework.name} (job {put_back}, which the scheduler had put back)"
    try:
        number = len(firework.launches) + len(firework.archived_launches)
        study = re.sub(r"[^0-9a-f]", "", str(firework.spec.get("study_hash", ""))) or "other"
        place = folder.launches / study / f"{firework.fw_id}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        pad.change_launch_dir(launch_id, str(place))  # this forgets what FireWorks does not know
        pad.launches.update_one({"launch_id": launch_id}, {"$set": {SENDER: this_process()}})
        write_atomically(place / SCRIPT, queue_script(folder, firework, str(place)))
        job = scheduler.send(folder.settings.scheduler, place / SCRIPT)
    except (AnodeflowError, OSError):
        pad.cancel_reservation(launch_id)
        raise
    set_reservation(pad, launch_id, job)
    queue[job] = "PENDING"
    return f"{firework.name} (job {job})"


def _put_back(pad: Any, firework: Any, queue: dict[str, str]) -> str | None:
    """Return the id of an earlier job of a firework that SLURM requeued and makes wait; None where there is none."""
    numbers = [launch.launch_id for launch in firework.archived_launches]
    for launch in pad.launches.find({"launch_id": {"$in": numbers}}, {"state_history": 1}):
        job = reservation_of(launch)
        if job is not None and queue.get(job) == scheduler.DELAYED:
            return job
    return None


def queue_script(folder: ClusterFolder, firework: Any, place: str, arguments: str | None = None) -> str:
    """The script of a job; `arguments` of its process in place of those of a firework.

    Raises
    ------
    EngineError
        If a value for it holds a character that a script must not.
    """
    # Here, because FireWorks reads its settings when it is imported: the folder's environment has to be set.
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

    settings: dict[str, Any] = read_yaml(folder.file("my_qadapter.yaml"))
    try:
        adapter = CommonAdapter.from_dict(settings)
        adapter.setdefault("rocket_launch", "")
    except (KeyError, ValueError) as error:
        raise EngineError(f"{folder.path / 'my_qadapter.yaml'} cannot be used: {error}", "anodeflow hpc init") from None
    asked = firework.spec.get("_queueadapter", {})
    for key, value in asked.items():
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:._=-]{0,80}", str(value), re.ASCII):
            raise EngineError(
                f"job {firework.fw_id} asks for {key} {str(value)[:60]!r}", "correct the sizes in cluster.yaml"
            )
    adapter.update(asked)
    if adapter.get("select") and adapter.get("mem"):
        adapter["select"] += f":mem={adapter.pop('mem')}"
    adapter.update(job_name=job_name(firework.name, firework.fw_id))
    if adapter.get("signal"):
        adapter["signal"] = f"B:INT@{warning_s(folder, str(adapter.get('walltime') or ''))}"
    arguments = arguments or f"--fw_id {firework.fw_id} --sent-by {version('anodeflow')}"
    adapter["rocket_launch"] += f" {arguments}"
    text: str = adapter.get_script_str(place)
    return text


def warning_s(folder: ClusterFolder, walltime: str) -> int:
    """Seconds before the end of its time at which a job is warned; never more than half of it."""
    try:
        seconds = walltime_seconds(walltime)
    except ValueError:
        return folder.settings.stop_before_s
    return max(1, min(folder.settings.stop_before_s, seconds // 2))


def job_name(name: str, number: int = 0) -> str:
    """Return a name for the queue that no other job has, and that every scheduler takes.

    It starts with a letter and holds letters, digits, . _ and - only. A label that is too long loses its middle: what
    tells labels apart stands at both ends.

    Parameters
    ----------
    name
        Label of the job.
    number
        FireWorks' id of it, which is put behind the label; 0 for none.

    Examples
    --------
    >>> job_name("Li10GeP2S12/bulk/i1", 27)
    'Li10GeP-k-i1-27'
    """
    end = f"-{number}" if number else ""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not plain[:1].isalpha():
        plain = f"job-{plain}".rstrip("-")
    room = _NAME_LENGTH - len(end)
    if len(plain) > room:
        tail = max(0, (room - 1) // 2 - 1)
        plain = f"{plain[: room - tail - 1].rstrip('-.')}-{plain[len(plain) - tail :].lstrip('-.')}" if tail else ""
    return f"{plain or 'job'}{end}"
