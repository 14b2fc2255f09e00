"""What is known of a launch of a job: its place at the scheduler, and what it left in its folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The field of a launch that names the process that sends it.
SENDER = "sender"


def reservation_of(launch: Mapping[str, Any]) -> str | None:
    """Return the scheduler's id of the job that a launch ran in."""
    for entry in launch.get("state_history", []):
        if "reservation_id" in entry:
            return str(entry["reservation_id"])
    return None


def lines_of(folder: Path) -> list[str]:
    """Return what a job, its shell and the scheduler wrote to the job's output, without empty lines."""
    try:
        files = sorted((*folder.glob("*.o*[0-9t]"), *folder.glob("*.e[0-9]*")), key=lambda file: file.stat().st_mtime)
        lines = [line.strip() for file in files for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [line[:300] for line in lines if line]


def last_line(folder: Path) -> str:
    """Return the last thing that a job, its shell or the scheduler wrote to the job's output."""
    return (lines_of(folder) or [""])[-1]


def this_process() -> str:
    """Return what names this process for good: host, id, and when it began, because ids are used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def is_alive(process: str) -> bool | None:
    """Return whether a process named by :func:`this_process` is alive; None where it is on another machine."""
    host, pid, began = process.split(":")
    if host != socket.gethostname():
        return None
    return _began(int(pid)) == began


def _began(pid: int) -> str:
    """Return when a process began, in ticks since the machine did; "0" where only its life can be told, else ""."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        if Path("/proc/self").exists():
            return ""
    try:  # no Linux
        os.kill(pid, 0)
    except OSError:
        return ""
    return "0"
