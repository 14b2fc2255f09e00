"""An engine of no physics: exact, deterministic, instant; it can be told to take its time, and leaves a checkpoint.

ANODEFLOW_TEST_SECONDS is the time of a calculation, in twenty steps; ANODEFLOW_TEST_BROKEN a label of a crystal whose
calculations fail. The file `steps` in a calculation's folder holds the steps that were made: a calculation that was
killed goes on from there.
"""

import math
import os
import time

from anodeflow.analysis.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.workflows.engines.base import Capabilities, Engine, Outcome

STEPS = 20
ENERGY_EV = {"Li": -1.9, "Cl": -3.1, "Al": -3.4}


def energy_of(structure):
    near = structure.get_all_neighbors(3.5)
    pairs = sum(math.exp(-neighbour.nn_distance) for site in near for neighbour in site) / 2
    return sum(ENERGY_EV.get(site.specie.symbol, -2.5) for site in structure) + pairs


class SpringsEngine(Engine):
    name = "springs"
    capabilities = Capabilities(files=True)

    def record(self, elements=()):
        return EngineRecord(name="springs", kind="test engine", version="springs 1", hash="5" * 16, stand_in=True)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, structure, task, card, charge=0, monitor=None, directory=None):
        if os.environ.get("ANODEFLOW_TEST_BROKEN", "none") in structure.composition.reduced_formula:
            raise EngineError("springs: ERROR in line 7 of springs.out: the spring broke", "use another spring")
        steps = directory / "steps"
        done = int(steps.read_text() or 0) if steps.exists() else 0
        with (directory / "starts").open("a") as log:
            log.write(f"{done}\n")
        for step in range(done, STEPS):
            time.sleep(float(os.environ.get("ANODEFLOW_TEST_SECONDS", "0")) / STEPS)
            steps.write_text(str(step + 1))
            if monitor is not None:
                monitor(step, energy_of(structure), 0.001)
        return Outcome(structure, energy_of(structure), task != "static", None, STEPS, 0.001)
