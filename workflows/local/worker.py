"""A worker process: takes jobs as JSON lines on standard input, runs them, reports on standard output.

Started by :mod:`anodeflow.workflows.local.runner` as ``python -m anodeflow.workflows.local.worker``. The first line
says where the store is: it may hold a password, which must not stand among the arguments of a process. It ends when
its input closes, so it cannot outlive the process that started it by more than one relaxation step.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from typing import IO, Any

STOP = "stop"


def main() -> int:
    """Run jobs until the input closes."""
    # Whatever a library prints must not get into the reports.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    inbox: queue.Queue[str | None] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(inbox, stop), daemon=True).start()

    from jobflow import Job
    from monty.json import MontyDecoder

    from anodeflow.errors import AnodeflowError
    from anodeflow.workflows import monitor
    from anodeflow.workflows.store import open_job_store

    def on_step(label: str, step: int, energy_ev: float, max_force: float) -> None:
        on_pulse()
        _say(reports, event="step", label=label, step=step, energy_ev=energy_ev, max_force=max_force)

    def on_pulse() -> None:
        if stop.is_set():
            raise monitor.StopRequested

    monitor.listen(on_step, on_pulse)
    store, place = None, json.loads(inbox.get() or "null")
    if place is None:
        return 0
    while True:
        line = inbox.get()
        if line is None or stop.is_set():
            return 0
        try:
            store = store or open_job_store(place)
            made: Job = MontyDecoder().decode(line)
            made.run(store)
            _say(reports, event="done")
        except monitor.StopRequested:
            _say(reports, event="stopped")
            return 0
        except AnodeflowError as error:
            _say(
                reports, event="failed", error=str(error), type=type(error).__name__,
                problem=error.problem, remedy=error.remedy,
            )  # fmt: skip
        except Exception as error:
            traceback.print_exc()
            _say(reports, event="failed", error=f"{type(error).__name__}: {error}", type="")


def _listen(inbox: queue.Queue[str | None], stop: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == STOP:
            break
        inbox.put(line)
    stop.set()
    inbox.put(None)


def _say(reports: IO[str], **message: Any) -> None:
    try:
        reports.write(json.dumps(message) + "\n")
        reports.flush()
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    raise SystemExit(main())
