"""What the workflow costs: the same calculations in bare ASE and through ``anodeflow run``, as a ratio.

    python benchmarks/overhead.py [STUDY] [--repeats N]

One untimed run finds out which calculations the study makes. Then, in turn, a bare ASE script relaxes the same
start geometries with the same potential, optimiser and tolerances, and ``anodeflow run --workers 1`` runs the study
into an empty store. All are processes of their own with one thread that load the potential once. The bare script runs
twice: as it is, and with the memory settings that anodeflow's workers give the C library (huge pages), because these
make the potential itself faster: the ratio to the second is what the workflow costs, the ratio to the first is what a
user sees.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
study: binding-energy
engine: sevennet-0
hosts:
  - {crystal: Al, surface: {miller: [1, 1, 1]}}
  - {crystal: LiAl}
  - {crystal: LiCl, surface: {miller: [1, 0, 0]}, environments: [bulk, surface]}
states: [interstitial]
bulk: {min_image_distance_angstrom: 7}
slab: {min_thickness_angstrom: 6, min_lateral_angstrom: 5}
"""

BARE = """
import json, sys
import numpy as np
from ase.filters import FrechetCellFilter
from ase.io.jsonio import decode
from ase.optimize import GoodOldQuasiNewton
from ase.units import GPa
from sevenn.calculator import SevenNetCalculator

calculator = SevenNetCalculator("7net-0", device="cpu")
steps = 0
for task, atoms in [(t, decode(a)) for t, a in json.load(open(sys.argv[1]))]:
    atoms.calc = calculator
    scale = (0.3 * atoms.get_volume() / 5) ** 0.5  # as workflows/engines/ase_relax.py has it
    target = FrechetCellFilter(atoms, exp_cell_factor=scale) if task == "relax_cell" else atoms
    optimiser = GoodOldQuasiNewton(target, logfile=None, diagonal=5.0 if task == "relax_cell" else 20.0)
    for _ in optimiser.irun(fmax=0.0, steps=250):
        done = np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.03
        if task == "relax_cell":
            done = done and abs(atoms.get_stress()).max() / GPa <= 0.05
        if done:
            break
    steps += optimiser.nsteps
print(json.dumps({"steps": steps}))
"""


def through_anodeflow(folder: Path, study: Path, store: str) -> float:
    """Seconds of ``anodeflow run`` into an empty store."""
    clock = time.perf_counter()
    arguments = ["run", str(study), "--store", store, "--workers", "1", "--threads", "1", "--json"]
    subprocess.run([sys.executable, "-m", "anodeflow", *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - clock


def calculations(path: Path) -> list[dict]:
    """The calculation documents of a store, in the order in which they ended."""
    from anodeflow.workflows.store import open_job_store

    store = open_job_store(path, must_exist=True, read_only=True)
    documents = store.query({"output.doc_type": "CalculationDoc"}, sort={"completed_at": 1})
    return [doc["output"] for doc in documents]


def bare_ase(folder: Path, settings: dict[str, str]) -> tuple[float, int]:
    """Seconds and steps of the bare script."""
    clock = time.perf_counter()
    printed = subprocess.run(
        [sys.executable, "bare.py", "inputs.json"],
        cwd=folder, check=True, capture_output=True, text=True, env=os.environ | settings,
    ).stdout  # fmt: skip
    return time.perf_counter() - clock, json.loads(printed.splitlines()[-1])["steps"]


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"

    from ase.io.jsonio import encode
    from pymatgen.core import Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    from anodeflow.workflows.local.runner import MEMORY_SETTINGS

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = options.study.resolve() if options.study else folder / "study.yaml"
        if not options.study:
            study.write_text(STUDY)
        through_anodeflow(folder, study, "warm.sqlite")
        documents = calculations(folder / "warm.sqlite")
        inputs = [
            (
                d["task"],
                encode(AseAtomsAdaptor.get_atoms(Structure.from_dict(d["initial_structure"]), msonable=False)),
            )
            for d in documents
        ]
        (folder / "inputs.json").write_text(json.dumps(inputs))
        (folder / "bare.py").write_text(BARE)
        ratios: dict[str, list[float]] = {"as it is": [], "same memory settings": []}
        for repeat in range(options.repeats):
            flow_s = through_anodeflow(folder, study, f"{repeat}.sqlite")
            steps = sum(d["ionic_steps"] for d in calculations(folder / f"{repeat}.sqlite"))
            print(f"run {repeat + 1}: {len(inputs)} calculations, {steps} steps; anodeflow {flow_s:.1f} s")
            for name, settings in (("as it is", {}), ("same memory settings", MEMORY_SETTINGS)):
                bare_s, bare_steps = bare_ase(folder, settings)
                ratios[name].append(flow_s / bare_s)
                print(
                    f"    bare ASE, {name}: {bare_s:.1f} s, {bare_steps} steps, ratio {flow_s / bare_s:.3f}", flush=True
                )
        for name, values in ratios.items():
            print(f"anodeflow / bare ASE, {name}: {statistics.median(values):.3f}")


if __name__ == "__main__":
    main()
