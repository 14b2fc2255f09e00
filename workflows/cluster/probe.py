"""A test job through the queue: what the compute node finds, seen from the login node."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from anodeflow.errors import AnodeflowError
from anodeflow.files import write_atomically
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.findings import BROKEN, GOOD, WARNING, Finding, engine_problem
from anodeflow.workflows.cluster.folder import ClusterFolder, walltime_text
from anodeflow.workflows.cluster.launches import last_line, lines_of
from anodeflow.workflows.cluster.launching import SCRIPT, queue_script
from anodeflow.workflows.cluster.resources import adapter_values

_REQUEST, _ANSWER = "request.json", "probe.json"
_ARGUMENT = "--probe"
LONGEST_S = 300
POLL_S = 1.0
_MOST_LINES = 5
# What a shell, the modules or a loader print when something is missing. The test job itself prints nothing.
_WRONG = re.compile(
    r"\b(not found|no such file|unable to|cannot|could not|errors?|permission denied|invalid|failed)\b", re.IGNORECASE
)


def probe(folder: ClusterFolder) -> int:
    """What a compute node does in a test job: look, and leave the answer in its folder."""
    answer: dict[str, Any] = {
        "host": socket.gethostname(), "python": sys.executable, "anodeflow": version("anodeflow"), "engines": {},
    }  # fmt: skip
    try:
        folder.database.open()
        answer["database"] = ""
    except AnodeflowError as error:
        answer["database"] = str(error)
    # What engines print while they load is not what the shell has to say.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name, card in json.loads(Path(_REQUEST).read_text()):
            answer["engines"][name], _ = engine_problem(name, MethodCard.model_validate(card), load=True)
    write_atomically(Path(_ANSWER), json.dumps(answer))
    return 0


def through_the_queue(
    folder: ClusterFolder, patience_s: float, engines: Sequence[tuple[str, MethodCard]]
) -> Iterator[Finding]:
    """Send a test job, wait for it, and say what it found.

    Parameters
    ----------
    folder
        The cluster folder.
    patience_s
        How long the job may wait and run; it is cancelled then.
    engines
        Engines that it looks for, each with a card.
    """
    kind, size = folder.settings.scheduler, folder.settings.sizes[0]
    place = Path(tempfile.mkdtemp(prefix="doctor-", dir=folder.launches))
    walltime = walltime_text(min(LONGEST_S, size.walltime_s))
    job = SimpleNamespace(fw_id=0, name="doctor", spec={"_queueadapter": adapter_values(kind, size, walltime)})
    cards = [[name, card.model_dump(mode="json")] for name, card in engines]
    write_atomically(place / _REQUEST, json.dumps(cards))
    write_atomically(place / SCRIPT, queue_script(folder, job, str(place), _ARGUMENT))
    clock = time.monotonic()
    number = scheduler.send(kind, place / SCRIPT)
    state: str | None = "sent"
    while not (place / _ANSWER).exists() and state is not None and time.monotonic() - clock < patience_s:
        time.sleep(POLL_S)
        state = scheduler.queued_jobs(kind).get(number)
    if not (place / _ANSWER).exists():
        if state is None:
            output = last_line(place) or "it left no output"
            yield Finding("job", BROKEN, f"test job {number} ended without an answer: {output}", f"see {place}")
            yield from _output(place)
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
    if answer["database"]:
        yield Finding("job", BROKEN, f"from {answer['host']}: {answer['database']}", "it must be there for jobs, too")
    for name, problem in answer["engines"].items():
        if problem:
            yield Finding("job", BROKEN, f"engine {name} on {answer['host']}: {problem}",
                          "install or load it where jobs run (environment.sh, settings.yaml)")  # fmt: skip
        else:
            yield Finding("job", GOOD, f"engine {name} is on {answer['host']}")
    yield from _output(place)


def _output(place: Path) -> Iterator[Finding]:
    """Say what the test job's output holds: it prints nothing itself, so this is the shell, a module, the scheduler."""
    lines = list(dict.fromkeys(lines_of(place)))
    wrong = [line for line in lines if _WRONG.search(line)]
    for line in wrong[:_MOST_LINES]:
        yield Finding("job", BROKEN, f"its output says: {line}",
                      f"correct environment.sh (modules, PATH) or my_qadapter.yaml; all is in {place}")  # fmt: skip
    if lines and not wrong:
        yield Finding("job", WARNING, f"it printed: {' | '.join(lines[:_MOST_LINES])}",
                      "nothing to do if environment.sh always says so")  # fmt: skip
