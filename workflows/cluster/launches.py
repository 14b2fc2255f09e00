"""What is known of a launch of a job: its place at the scheduler, and what it left in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def reservation_of(launch: Mapping[str, Any]) -> str | None:
    """Return the scheduler's id of the job that a launch ran in."""
    for entry in launch.get("state_history", []):
        if "reservation_id" in entry:
            return str(entry["reservation_id"])
    return None


def last_line(folder: Path) -> str:
    """Return the last thing that a job, its shell or the scheduler wrote to the job's output."""
    try:
        files = sorted(folder.glob("*.o*[0-9t]"), key=lambda file: file.stat().st_mtime)
        lines = [line.strip() for file in files for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line[:300] for line in reversed(lines) if line), "")
