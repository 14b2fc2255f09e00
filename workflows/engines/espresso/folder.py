"""The folder of a calculation with pw.x: names of files, whole writes, and programs still running in it."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from anodeflow.errors import EngineError
from anodeflow.workflows.engines.espresso.inputs import PREFIX
from anodeflow.workflows.engines.external import PATIENCE_S, mpi_as_root


def environment() -> dict[str, str]:
    """What pw.x needs in its environment: one thread a process, and leave for root to start Open MPI."""
    return ({} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}) | mpi_as_root()


def stem(number: int) -> str:
    """Name of a run's files without suffix: ``pw``, ``pw.2``, ..."""
    return "pw" if number == 1 else f"pw.{number}"


def numbers(directory: Path) -> list[int]:
    """Numbers of the runs that left an output."""
    matches = (re.fullmatch(r"pw(?:\.(\d{1,6}))?\.out", path.name) for path in directory.glob("pw*.out"))
    return [int(match.group(1) or 1) for match in matches if match]


def load_record(path: Path) -> dict[str, Any] | None:
    """A JSON mapping, or None where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def end_orphan(directory: Path) -> None:
    """Stop a pw.x that a killed process left running in the folder or below (where the system shows it: Linux)."""
    running = programs_in(directory)
    for folder in running.values():
        (folder / f"{PREFIX}.EXIT").touch()
    deadline = time.monotonic() + PATIENCE_S
    while running and time.monotonic() < deadline:
        time.sleep(0.5)
        running = programs_in(directory)
    for process, folder in running.items():
        raise EngineError(
            f"a pw.x (process {process}) of an earlier attempt is still running in '{folder}'",
            "wait for it, or end it",
        )


def programs_in(directory: Path) -> dict[int, Path]:
    """Processes of pw.x whose working directory this is or lies in; none where the system does not show it."""
    here, processes = directory.resolve(), {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            folder = Path(os.readlink(entry / "cwd"))
            if folder.is_relative_to(here) and (entry / "comm").read_text().startswith("pw"):
                processes[int(entry.name)] = folder
        except (OSError, ValueError):
            continue
    return processes
