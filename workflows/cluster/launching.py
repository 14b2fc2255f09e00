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
from anodeflow.workflows.cluster.launchpad import fireworker, set_reservation
from anodeflow.workflows.store.database import server_errors
from anodeflow.yaml_input import read_yaml

SCRIPT = "queue.sh"
_NAME_LENGTH = 15  # what the strictest scheduler takes
_LIGHT_TIMEOUT_S = 3600.0


@dataclass
class LaunchReport:
    """What one round of launching did."""

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
        categories = [size.name for size in folder.settings.sizes]
        worker = fireworker(folder, categories if folder.settings.light == "here" else [*categories, LIGHT])
        room: int | None = None
        while pad.run_exists(worker):
            if room is None:
                room = folder.settings.max_in_queue - len(scheduler.queued_jobs(folder.settings.scheduler))
            if room <= 0:
                report.full = True
                break
            sent = _send_one(folder, pad, worker)
            if sent is None:
                break
            report.sent.append(sent)
            room -= 1
    return report


def _run_light(folder: ClusterFolder, pad: Any) -> int:
    """Run the jobs without a calculation in a process of their own; how many."""
    before = pad.fireworks.count_documents({"state": "READY", "spec._category": LIGHT})
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


def _send_one(folder: ClusterFolder, pad: Any, worker: Any) -> str | None:
    """Reserve one job that is due and send it; its label, None where nothing is due."""
    firework, launch_id = pad.reserve_fw(worker, str(folder.launches))
    if firework is None:
        return None
    try:
        number = len(firework.launches) + len(firework.archived_launches)
        study = re.sub(r"[^0-9a-f]", "", str(firework.spec.get("study_hash", ""))) or "other"
        place = folder.launches / study / f"{firework.fw_id}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        pad.change_launch_dir(launch_id, str(place))
        write_atomically(place / SCRIPT, queue_script(folder, firework, str(place)))
        job = scheduler.send(folder.settings.scheduler, place / SCRIPT)
    except (AnodeflowError, OSError):
        pad.cancel_reservation(launch_id)
        raise
    set_reservation(pad, launch_id, job)
    return str(firework.name)


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
    adapter.update(job_name=job_name(firework.name))
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


def job_name(name: str) -> str:
    """A name that every scheduler takes: it starts with a letter and holds letters, digits, . _ and - only."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_NAME_LENGTH]
    return plain if plain[:1].isalpha() else f"job-{plain}".rstrip("-")
