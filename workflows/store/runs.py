"""The records that runs keep in a store while they last, so that another process can say how far they are."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

RUNS, KEY = "runs", "run"
# Silence after which a run on another computer counts as ended.
SILENT_S = 90.0


@dataclass
class RunRecord:
    """How far one run is.

    Attributes
    ----------
    run
        Computer and process: one record each.
    study_hash, study
        What it computes, and the kind of study.
    born
        When the process started, as its computer counts; ids of processes are used again.
    running, waiting, failed
        Numbers of jobs.
    updated_s
        When this was written, seconds since 1970.
    """

    run: str
    study_hash: str
    study: str
    computer: str
    pid: int
    born: str
    running: int = 0
    waiting: int = 0
    failed: int = 0
    updated_s: float = 0.0

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> RunRecord | None:
        """Return what a store holds; None where it is something else."""
        try:
            return cls(**{field.name: content[field.name] for field in fields(cls)})
        except KeyError:
            return None

    def goes_on(self) -> bool:
        """Return whether its process is alive; of another computer, whether it wrote lately."""
        if self.born and self.computer == socket.gethostname():
            return born(self.pid) == self.born
        return time.time() - self.updated_s < SILENT_S


def born(pid: int) -> str:
    """Return when a process started; empty where that cannot be known or it has ended."""
    try:
        after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_the_name[0] == "Z" else after_the_name[19]
