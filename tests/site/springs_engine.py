"""An engine of no physics: exact, deterministic, instant; it can be told to take its time, and leaves a checkpoint.

ANODEFLOW_TEST_SECONDS is the time of a calculation, in twenty steps; ANODEFLOW_TEST_SLOW, `FOLDER:SECONDS`, that of
those whose folder's name starts so, with a card whose name starts with `slow`; ANODEFLOW_TEST_BROKEN a label of a
crystal whose calculations fail. The file `steps` in a calculation's folder holds the steps that were made: a
calculation that was killed goes on from there. `times` says when it started and was stopped. ANODEFLOW_TEST_SCRATCH_KB
is the size of a file that it writes first.
"""

import math
import os
import shlex
import time
from pathlib import Path

from anodeflow.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.files import write_atomically
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome
from anodeflow.workflows.engines.external import run_program

STEPS = 20
ENERGY_EV = {"Li": -1.9, "Cl": -3.1, "Al": -3.4}


def energy_of(structure):
    near = structure.get_all_neighbors(3.5)
    pairs = sum(math.exp(-neighbour.nn_distance) for site in near for neighbour in site) / 2
    return sum(ENERGY_EV.get(site.specie.symbol, -2.5) for site in structure) + pairs


def note_time(directory, what):
    with (directory / "times").open("a") as log:
        log.write(f"{what} {time.time()}\n")


class SpringsEngine(Engine):
    name = "springs"
    capabilities = Capabilities(files=True)

    def record(self, elements=()):
        return EngineRecord(name="springs", kind="test engine", version="springs 1", hash="5" * 16, stand_in=True)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        structure, task, card, directory = request.structure, request.task, request.card, folder
        if os.environ.get("ANODEFLOW_TEST_BROKEN", "none") in structure.composition.reduced_formula:
            raise EngineError("springs: ERROR in line 7 of springs.out: the spring broke", "use another spring")
        steps = directory / "steps"
        done = int(steps.read_text() or 0) if steps.exists() else 0
        with (directory / "starts").open("a") as log:
            log.write(f"{done}\n")
        seconds = float(os.environ.get("ANODEFLOW_TEST_SECONDS", "0"))
        slow, _, long = os.environ.get("ANODEFLOW_TEST_SLOW", "none:0").partition(":")
        if card.name.startswith("slow") and directory.name.startswith(slow):
            seconds = float(long)
        (directory / "scratch").write_bytes(b"0" * 1024 * int(os.environ.get("ANODEFLOW_TEST_SCRATCH_KB", "0")))
        note_time(directory, "start")
        try:
            for step in range(done, STEPS):
                time.sleep(seconds / STEPS)
                write_atomically(steps, str(step + 1), sync=False)  # a job is stopped at any moment
                if monitor is not None:
                    monitor(step, energy_of(structure), 0.001)
        except BaseException:
            note_time(directory, "stop")
            raise
        return Outcome(structure, energy_of(structure), task != "static", None, STEPS, 0.001)


class FolderlessEngine(SpringsEngine):
    """The same without files, as a potential is.

    ANODEFLOW_TEST_LOG takes a line for each calculation that begins; ANODEFLOW_TEST_PROGRAM is a command that it runs.
    """

    name = "folderless"
    capabilities = Capabilities()

    def compute(self, request, folder=None, monitor=None):
        with open(os.environ["ANODEFLOW_TEST_LOG"], "a") as log:
            log.write(f"{request.task} {len(request.structure)} {energy_of(request.structure):.8f}\n")
        if "ANODEFLOW_TEST_PROGRAM" in os.environ:
            here = Path(os.environ["ANODEFLOW_TEST_LOG"]).parent
            run_program(
                shlex.split(os.environ["ANODEFLOW_TEST_PROGRAM"]), here, output="program.out", program="program"
            )
        for step in range(STEPS):
            time.sleep(float(os.environ.get("ANODEFLOW_TEST_SECONDS", "0")) / STEPS)
            if monitor is not None:
                monitor(step, energy_of(request.structure), 0.001)
        return Outcome(request.structure, energy_of(request.structure), request.task != "static", None, STEPS, 0.001)
