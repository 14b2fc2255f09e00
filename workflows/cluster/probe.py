"""A test job through the queue: what the compute node finds, seen from the login node."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from anodeflow.errors import AnodeflowError
from anodeflow.files import write_atomically
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.findings import BROKEN, GOOD, WARNING, Finding, engine_finding
from anodeflow.workflows.cluster.folder import ClusterFolder, walltime_text
from anodeflow.workflows.cluster.launches import last_line
from anodeflow.workflows.cluster.launching import SCRIPT, queue_script
from anodeflow.workflows.cluster.resources import adapter_values

_ANSWER = "probe.json"
_ARGUMENT = "--probe"
LONGEST_S = 300
POLL_S = 1.0


def probe(folder: ClusterFolder) -> int:
    """What a compute node does in a test job: look, and leave the answer in its folder."""
    answer = {"host": socket.gethostname(), "python": sys.executable, "anodeflow": version("anodeflow")}
    try:
        folder.database.open()
        answer["database"] = ""
    except AnodeflowError as error:
        answer["database"] = str(error)
    try:
        engine_finding(folder)
        answer["engine"] = ""
    except AnodeflowError as error:
        answer["engine"] = str(error)
    write_atomically(Path(_ANSWER), json.dumps(answer))
    return 0


def through_the_queue(folder: ClusterFolder, patience_s: float) -> Iterator[Finding]:
    """Send a test job, wait for it, and say what it found.

    Parameters
    ----------
    folder
        The cluster folder.
    patience_s
        How long the job may wait and run; it is cancelled then.
    """
    kind, size = folder.settings.scheduler, folder.settings.sizes[0]
    place = Path(tempfile.mkdtemp(prefix="doctor-", dir=folder.launches))
    walltime = walltime_text(min(LONGEST_S, size.walltime_s))
    job = SimpleNamespace(fw_id=0, name="doctor", spec={"_queueadapter": adapter_values(kind, size, walltime)})
    write_atomically(place / SCRIPT, queue_script(folder, job, str(place), _ARGUMENT))
    clock = time.monotonic()
    number = scheduler.send(kind, place / SCRIPT)
    state: str | None = "sent"
    while not (place / _ANSWER).exists() and state is not None and time.monotonic() - clock < patience_s:
        time.sleep(POLL_S)
        state = scheduler.queued_jobs(kind).get(number)
    if not (place / _ANSWER).exists():
        if state is None:
            said = last_line(place) or "it left no output"
            yield Finding("job", BROKEN, f"test job {number} ended without an answer: {said}", f"see {place}")
        else:
            scheduler.cancel(kind, number)
            yield Finding("job", WARNING, f"test job {number} was {state} after {patience_s:.0f} s, and was cancelled",
                          "the queue may be full: ask again with a longer --wait")  # fmt: skip
        return
    answer = json.loads((place / _ANSWER).read_text())
    yield Finding("job", GOOD, f"test job {number} ran on {answer['host']} after {time.monotonic() - clock:.0f} s")
    here = version("anodeflow")
    if answer["anodeflow"] != here:
        yield Finding("job", BROKEN, f"{answer['python']} there has anodeflow {answer['anodeflow']}, this is {here}",
                      "install the same version in both")  # fmt: skip
    for what in ("database", "engine"):
        if answer[what]:
            yield Finding("job", BROKEN, f"from {answer['host']}: {answer[what]}", "it must be there for jobs, too")
