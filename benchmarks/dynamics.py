"""What segments, checkpoints and frames cost: steps per second beside a bare ASE loop with the same potential.

    python benchmarks/dynamics.py [--engine chgnet] [--steps 250] [--repeats 3]

Both sides run the same cell (Li(100) on Li6PS5Cl(100)) with the same time step and thermostat, in turn and in one
process with one thread; the ratio of processor times is printed beside that of wall times, because on a shared machine
only the first means something. ``--bookkeeping`` runs 216 atoms without forces on both sides: what a step costs beside
its forces; set against the time of a force evaluation that is the ratio on a machine too busy to measure it. With
``--faster`` the force evaluation itself is timed: CHGNet with and without the stress and magnetic moments that
dynamics do not need, and other engines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevinbaoab import LangevinBAOAB
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.structures.interface_pairs import interface
from anodeflow.workflows.cards import Dynamics, load_card
from anodeflow.workflows.dynamics import DynamicsRun, dynamics_segment
from anodeflow.workflows.engines import get_engine, potentials
from anodeflow.workflows.engines.ase_dynamics import ase_calculator, initial_state


def cell(layers: int) -> Structure:
    model = interface("Li", "Li6PS5Cl", film_layers=layers, min_thickness_angstrom=9, gap_angstrom=2.3)
    found = model.structure
    return Structure(found.lattice, found.species, found.frac_coords)


def bare(structure: Structure, engine: str, steps: int) -> None:
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    state = initial_state(atoms, 300.0, 1, 0)
    atoms.calc = ase_calculator(get_engine(engine), load_card("lacss2024-aimd"), state, Path())
    atoms.calc.reset()
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    LangevinBAOAB(atoms, 2 * units.fs, temperature_K=300, T_tau=500 * units.fs, rng=1).run(steps)


def ours(structure: Structure, engine: str, steps: int) -> None:
    moving = Dynamics(ensemble="nvt", timestep_fs=2, duration_ps=1, temperature_k=300)
    run = DynamicsRun(dynamics=moving, seed=1, equilibration_steps=0, sample_every=10, checkpoint_every=min(steps, 250))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ANODEFLOW_RUNS"] = folder
        card = load_card("lacss2024-aimd").model_dump(mode="json")
        dynamics_segment.original(structure, None, run.model_dump(mode="json"), card, engine, "benchmark", 0, steps)


def timed(what, *arguments) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    what(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


class _Free(Calculator):
    """Forces that cost nothing; counts how often they are asked for."""

    implemented_properties = ("energy", "free_energy", "forces")
    calls = 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        _Free.calls += 1
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def bookkeeping(steps: int) -> dict[str, float]:
    """Processor milliseconds a step beside the forces, and force evaluations, both ways."""
    os.environ["ANODEFLOW_DEVICE"] = "cpu"
    potentials.POTENTIALS["free"] = potentials.Potential("ase", None, lambda path, device: _Free(), 1e-6, "none")
    with tempfile.NamedTemporaryFile() as model:
        engine = f"free:{model.name}"
        structure = Structure(Lattice.cubic(15), ["Li"] * 216, np.indices((6, 6, 6)).reshape(3, -1).T / 6)
        found = {}
        for name, what in (("bare", bare), ("ours", ours)):
            _Free.calls = 0
            found[f"{name}_ms_per_step"] = round(1000 * timed(what, structure, engine, steps)[1] / steps, 3)
            found[f"{name}_force_evaluations"] = _Free.calls
    return found


def faster(structure: Structure, engine: str, calls: int) -> dict[str, float]:
    """Processor seconds of one force evaluation."""
    found = {}
    rng = np.random.default_rng(0)
    for name in dict.fromkeys([engine, "chgnet", "sevennet-0"]):
        calculator = get_engine(name).calculator()
        tasks = ("efsm", "ef") if name == "chgnet" else (None,)
        for task in tasks:
            atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
            extra = {"task": task} if task else {}
            times = []
            for _ in range(calls + 1):
                atoms.positions += rng.normal(0, 0.005, atoms.positions.shape)
                times.append(timed(lambda a=atoms, c=calculator, e=extra: c.calculate(a, ["forces"], **e))[1])
            found[f"{name} {task or ''}".strip()] = statistics.median(times[1:])
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--engine", default="chgnet")
    options.add_argument("--steps", type=int, default=250)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--layers", type=int, default=4, help="planes of Li")
    options.add_argument("--faster", action="store_true")
    options.add_argument("--bookkeeping", action="store_true")
    given = options.parse_args()
    if given.bookkeeping:
        print(json.dumps(bookkeeping(500), indent=2))
        return
    structure = cell(given.layers)
    if given.faster:
        print(json.dumps({"atoms": len(structure), "cpu_s_per_call": faster(structure, given.engine, 5)}, indent=2))
        return
    bare(structure, given.engine, 3)  # loads the model
    rounds = []
    for _ in range(given.repeats):
        one, two = timed(bare, structure, given.engine, given.steps), timed(ours, structure, given.engine, given.steps)
        rounds.append((one[0] / two[0], one[1] / two[1], given.steps / two[1]))
    result = {
        "engine": given.engine,
        "atoms": len(structure),
        "steps": given.steps,
        "speed_of_bare_wall": [round(r[0], 3) for r in rounds],
        "speed_of_bare_cpu": [round(r[1], 3) for r in rounds],
        "median_cpu": round(statistics.median(r[1] for r in rounds), 3),
        "steps_per_cpu_second": round(statistics.median(r[2] for r in rounds), 2),
        "load_average": os.getloadavg(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
