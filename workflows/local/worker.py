"""A worker process: takes jobs as JSON lines on standard input, runs them, reports on standard output.

Started by :mod:`anodeflow.workflows.local.runner` with ``python -P -m anodeflow.workflows.local.worker``: nothing of
the folder it runs in can be imported. The first line says where the store is: it may hold a password, which must not
stand among the arguments of a process.

It stops between two steps when it is told to. When its input closes without a word, whoever started it was killed: then
it has :data:`GRACE_S` to stop in the same way, and ends with the programs it started. What a killed calculation left is
continued by the next attempt.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import IO, Any

STOP = "stop"
# How long a step may take to come to its end once the parent is gone.
GRACE_S = 1.5


def main() -> int:
    """Run jobs until the input closes."""
    # Whatever a library prints must not get into the reports.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    inbox: queue.Queue[str | None] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(inbox, stop), daemon=True).start()
    # These take seconds to import: the thread that notices a killed parent has to run before.
    from jobflow import Job
    from monty.json import MontyDecoder

    from anodeflow.errors import AnodeflowError
    from anodeflow.workflows import monitor
    from anodeflow.workflows.store import open_job_store

    reused = False

    def on_step(label: str, step: int, energy_ev: float, max_force: float) -> None:
        on_pulse()
        _say(reports, event="step", label=label, step=step, energy_ev=energy_ev, max_force=max_force)

    def on_pulse() -> None:
        if stop.is_set():
            raise monitor.StopRequested

    def on_reuse() -> None:
        nonlocal reused
        reused = True

    monitor.listen(on_step, on_pulse, on_reuse)
    store, place = None, json.loads(inbox.get() or "null")
    if place is None:
        return 0
    while True:
        line = inbox.get()
        if line is None or stop.is_set():
            return 0
        reused = False
        try:
            store = store or open_job_store(place)
            made: Job = MontyDecoder().decode(line)
            made.run(store)
            _say(reports, event="done", reused=reused)
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
    told = False
    for line in sys.stdin:
        if line.strip() == STOP:
            told = True
            break
        inbox.put(line)
    stop.set()
    inbox.put(None)
    if not told:
        time.sleep(GRACE_S)
        _end()


def _end() -> None:
    """End this process and the programs it started, whatever they do."""
    if os.getpgrp() == os.getpid():  # the group is its own, as the runner starts it
        os.killpg(0, signal.SIGTERM)
    os._exit(1)


def _say(reports: IO[str], **message: Any) -> None:
    try:
        reports.write(json.dumps(message) + "\n")
        reports.flush()
    except BrokenPipeError:
        _end()  # nobody listens any more


if __name__ == "__main__":
    raise SystemExit(main())
