"""A worker process: takes jobs as JSON lines on standard input, runs them, reports on standard output.

Started by :mod:`anodeflow.workflows.local.runner` with ``python -P -m anodeflow.workflows.local.worker``: nothing of
the folder it runs in can be imported. The first line says where the store is: it may hold a password, which must not
stand among the arguments of a process.

It stops between two steps when it is told to. When its input closes silently, whoever started it was killed: then it
has :data:`_GRACE_S` to stop in the same way, and ends with the programs it started. The next attempt continues what a
killed calculation left.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback

STOP = "stop"
# A calculation of a plane-wave code leaves its wave functions in reference cycles. Looking for them takes 0.1 s.
_WORTH_COLLECTING_S = 10.0
# How long a step may take to come to its end once the parent is gone.
_GRACE_S = 1.5


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

    from anodeflow.errors import AnodeflowError, out_of_memory
    from anodeflow.workflows import monitor
    from anodeflow.workflows.local.messages import Done, Failed, Message, Step, Stopped, encode
    from anodeflow.workflows.store import open_job_store

    reused = False

    def report(message: Message) -> None:
        try:
            reports.write(encode(message) + "\n")
            reports.flush()
        except BrokenPipeError:
            _end()  # nobody listens any more

    def on_step(label: str, step: int, energy_ev: float, max_force: float) -> None:
        on_pulse()
        report(Step(label, step, energy_ev, max_force))

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
        reused, began = False, time.monotonic()
        try:
            store = store or open_job_store(place, must_exist=True)  # whoever started it has made it
            job: Job = MontyDecoder().decode(line)
            job.run(store)
            report(Done(reused))
        except monitor.StopRequested:
            report(Stopped())
            return 0
        except Exception as error:
            if not isinstance(error, AnodeflowError):
                traceback.print_exc()
            report(Failed.of(out_of_memory(error) or error))
        if time.monotonic() - began > _WORTH_COLLECTING_S:
            gc.collect()


def _listen(inbox: queue.Queue[str | None], stop: threading.Event) -> None:
    asked = False
    for line in sys.stdin:
        if line.strip() == STOP:
            asked = True
            break
        inbox.put(line)
    stop.set()
    inbox.put(None)
    if not asked:
        time.sleep(_GRACE_S)
        _end()


def _end() -> None:
    """End this process and the programs it started, whatever they do."""
    if os.getpgrp() == os.getpid():  # the group is its own, as the runner starts it
        os.killpg(0, signal.SIGTERM)
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
