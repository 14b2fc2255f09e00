"""How many worker processes a run has where nobody says; light to import, as a plan asks, too."""

from __future__ import annotations

import os


def default_workers() -> tuple[int, int]:
    """Return worker processes and threads each: one thread a worker is the fastest on a processor."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, 8)), 1
