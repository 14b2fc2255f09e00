"""Processes that a run starts: which there are, and how long they live after it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(p) for p in listed.stdout.split()]


def alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def lifetime_s(pids: list[int], longest_s: float = 30.0) -> float:
    """Return how long processes live from now on; those that stay longer than anyone waits are ended."""
    clock = time.monotonic()
    while any(map(alive, pids)) and time.monotonic() - clock < longest_s:
        time.sleep(0.02)
    lived = time.monotonic() - clock
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGKILL)
    return lived
