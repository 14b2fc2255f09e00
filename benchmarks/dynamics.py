"""What segments, checkpoints and frames cost: steps per second beside a bare ASE loop with the same potential.

    python benchmarks/dynamics.py [--engine chgnet] [--steps 250] [--repeats 3]

Both sides run the same trajectory (Li(100) on Li6PS5Cl(100), NVE: without random numbers the same atoms come as near)
with the same time step, in turn and in one process with one thread; the ratio is that of the sums of all repeats. On a
shared machine that of processor times means more than that of wall times. ``--bookkeeping`` runs 216 atoms without
forces on both sides: what a step costs beside its forces; set against the time of a force evaluation that is the ratio
on a machine too busy to measure it. With ``--faster`` the force evaluation itself is timed, one thread: the package's
own CHGNet calculator with and without the stress and magnetic moments that dynamics do not need, the one that dynamics
use with and without a list of neighbours that is kept, three replicas in one batch, and SevenNet-0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet
from chgnet.model.model import BatchedGraph
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.structures.interface_pairs import interface
from anodeflow.workflows.cards import Dynamics, load_card
from anodeflow.workflows.engines.motion.dynamics import initial_state
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.engines.potentials.chgnet_forces import MARGIN_ANGSTROM, LeanCHGNet, Neighbours
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.jobs.segment import DynamicsRun, dynamics_segment


def cell(layers: int) -> Structure:
    model = interface("Li", "Li6PS5Cl", film_layers=layers, min_thickness_angstrom=9, gap_angstrom=2.3)
    structure = model.structure
    return Structure(structure.lattice, structure.species, structure.frac_coords)


def bare(structure: Structure, engine: str, steps: int) -> None:
    state = initial_state(AseAtomsAdaptor.get_atoms(structure, msonable=False), 300.0, 1, 0)
    atoms = state.atoms()  # with velocities: a disordered cell has more angles, so it costs more
    atoms.calc = get_engine(engine).dynamics_calculator(state, load_card("lacss2024-aimd"), Path())
    atoms.calc.reset()
    VelocityVerlet(atoms, 2 * units.fs).run(steps)


def ours(structure: Structure, engine: str, steps: int) -> None:
    moving = Dynamics(ensemble="nve", timestep_fs=2, duration_ps=1, temperature_k=300)
    run = DynamicsRun(dynamics=moving, seed=1, equilibration_steps=0, sample_every=10, checkpoint_every=min(steps, 250))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ANODEFLOW_RUNS"] = folder
        card = load_card("lacss2024-aimd").model_dump(mode="json")
        job = dynamics_segment(structure, None, run.model_dump(mode="json"), card, engine, "benchmark", 0, steps)
        recognised_of(job).result(None)


def timed(function, *arguments) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    function(*arguments)
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
        numbers = {}
        for name, way in (("bare", bare), ("ours", ours)):
            _Free.calls = 0
            numbers[f"{name}_ms_per_step"] = round(1000 * timed(way, structure, engine, steps)[1] / steps, 3)
            numbers[f"{name}_force_evaluations"] = _Free.calls
    return numbers


def moved(structure: Structure, seed: int) -> Iterator[Atoms]:
    """The cell as a trajectory would show it, step by step."""
    atoms, rng = AseAtomsAdaptor.get_atoms(structure, msonable=False), np.random.default_rng(seed)
    while True:
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
        yield atoms


def batch_of(lean: LeanCHGNet, replicas: list[Atoms]) -> list[np.ndarray]:
    """Forces of several replicas in one pass through the model, as :class:`LeanCHGNet` computes those of one."""
    model = lean.model
    graphs = [model.graph_converter(kept.geometry(atoms)) for kept, atoms in zip(lean.kept, replicas, strict=True)]
    batch = BatchedGraph.from_graphs(
        graphs, bond_basis_expansion=model.bond_basis_expansion, angle_basis_expansion=model.angle_basis_expansion
    )
    lean._edges.take(batch)
    energies = model._compute(batch)["e"] * len(replicas[0])
    return [-g.numpy() for g in torch.autograd.grad(energies.sum(), batch.atom_positions)]


def faster(structure: Structure, calls: int) -> dict[str, float]:
    """Processor seconds of one force evaluation of one replica, the median of all calls; all ways in turn."""
    torch.set_num_threads(1)
    own, seven = (get_engine(name).calculator() for name in ("chgnet", "sevennet-0"))
    kept, batched = LeanCHGNet(own.model), LeanCHGNet(own.model)
    without_margin = LeanCHGNet(own.model, margin_angstrom=0)
    batched.kept = [Neighbours(6.0, MARGIN_ANGSTROM) for _ in range(3)]
    replicas = [moved(structure, seed) for seed in range(3)]
    positions = moved(structure, 9)
    ways = {
        "chgnet, its own calculator": lambda: own.calculate(next(positions), ["forces"]),
        "chgnet, its own without stress and moments": lambda: own.calculate(next(positions), ["forces"], task="ef"),
        "chgnet as dynamics use it": lambda: kept.calculate(next(positions), ["forces"]),
        "the same, new neighbours in every step": lambda: without_margin.calculate(next(positions), ["forces"]),
        "the same, three replicas in one batch": lambda: batch_of(batched, [next(r) for r in replicas]),
        "sevennet-0": lambda: seven.calculate(next(positions), ["forces"]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(calls + 1):
        for name, way in ways.items():
            times[name].append(timed(way)[1] / (3 if "batch" in name else 1))
    return {name: round(statistics.median(values[1:]), 4) for name, values in times.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--engine", default="chgnet")
    options.add_argument("--steps", type=int, default=250)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--layers", type=int, default=4, help="planes of Li")
    options.add_argument("--faster", action="store_true")
    options.add_argument("--calls", type=int, default=10, help="with --faster")
    options.add_argument("--bookkeeping", action="store_true")
    given = options.parse_args()
    if given.bookkeeping:
        print(json.dumps(bookkeeping(500), indent=2))
        return
    structure = cell(given.layers)
    if given.faster:
        print(json.dumps({"atoms": len(structure), "cpu_s_per_call": faster(structure, given.calls)}, indent=2))
        return
    bare(structure, given.engine, 3)  # loads the model
    bare_times, our_times = [], []
    for _ in range(given.repeats):
        bare_times.append(timed(bare, structure, given.engine, given.steps))
        our_times.append(timed(ours, structure, given.engine, given.steps))
    result = {
        "engine": given.engine,
        "atoms": len(structure),
        "steps": given.steps,
        "bare_s": [[round(value, 2) for value in pair] for pair in bare_times],
        "ours_s": [[round(value, 2) for value in pair] for pair in our_times],
        "speed_of_bare_wall": round(sum(wall for wall, _ in bare_times) / sum(wall for wall, _ in our_times), 3),
        "speed_of_bare_cpu": round(sum(cpu for _, cpu in bare_times) / sum(cpu for _, cpu in our_times), 3),
        "steps_per_cpu_second": round(given.steps * len(our_times) / sum(cpu for _, cpu in our_times), 2),
        "load_average": os.getloadavg(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
