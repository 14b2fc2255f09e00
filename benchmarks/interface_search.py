"""Lattice matching beside pymatgen's CoherentInterfaceBuilder: time, memory, matches.

Run ``python benchmarks/interface_search.py [largest area in square angstrom]`` (400 by default; about a minute).
Every search runs in a process of its own that imports only what the search needs and reads the same crystals.
Faces and largest area are the same; our one strain limit is set so wide that it covers pymatgen's three
tolerances, so we search more. Both lists hold supercells of smaller matches; pymatgen's also holds duplicates.
The peak is that of the whole process, most of it imports; `added` is what the search put on top of them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

PAIRS = (
    ("Li", (1, 0, 0), "Li6PS5Cl", (1, 0, 0)),
    ("Li", (1, 0, 0), "LiCl", (1, 0, 0)),
    ("Al", (1, 1, 1), "Li", (1, 0, 0)),
)
MAX_STRAIN = 0.05
LENGTH_TOLERANCE, ANGLE_TOLERANCE, AREA_RATIO_TOLERANCE = 0.03, 0.01, 0.09


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def anodeflow_search(task: dict[str, Any]) -> dict[str, float]:
    """Cut both slabs and match their lattices with anodeflow."""
    from pymatgen.core import Structure

    from anodeflow.structures.matching import lattice_matches
    from anodeflow.structures.slabs import build_slab

    film, substrate = (Structure.from_dict(task[side]) for side in ("film", "substrate"))
    before, start = peak_mb(), time.perf_counter()
    slabs = build_slab(film, task["film_miller"]), build_slab(substrate, task["substrate_miller"])
    matches = lattice_matches(
        *slabs, max_area_angstrom2=task["max_area"], max_strain=MAX_STRAIN, max_atoms=None, primitive_only=False
    )
    return {"matches": len(matches), "seconds": time.perf_counter() - start, "before": before, "peak": peak_mb()}


def pymatgen_search(task: dict[str, Any]) -> dict[str, float]:
    """Cut both slabs and match their lattices with pymatgen's builder."""
    from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator
    from pymatgen.core import Structure

    film, substrate = (Structure.from_dict(task[side]) for side in ("film", "substrate"))
    before, start = peak_mb(), time.perf_counter()
    generator = ZSLGenerator(
        AREA_RATIO_TOLERANCE, task["max_area"], LENGTH_TOLERANCE, ANGLE_TOLERANCE, bidirectional=True
    )
    builder = CoherentInterfaceBuilder(
        substrate, film, tuple(task["film_miller"]), tuple(task["substrate_miller"]), generator
    )
    matches = builder.zsl_matches
    return {"matches": len(matches), "seconds": time.perf_counter() - start, "before": before, "peak": peak_mb()}


def crystals(names: list[str]) -> dict[str, Any]:
    """The crystals by name, as dictionaries."""
    from anodeflow.structures.interface_sides import slab_spec

    return {name: slab_spec(name).bulk.as_dict() for name in names}


def run(function: str, task: Any) -> Any:
    """Call one of the functions above in a new process.

    This process stays small: a child's ru_maxrss starts at the size of the process it was forked from.
    """
    command = [sys.executable, __file__, "--one", function]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run both searches for every pair and print a table."""
    max_area = float(sys.argv[1]) if len(sys.argv) > 1 else 400.0
    bulk = run("crystals", sorted({name for pair in PAIRS for name in (pair[0], pair[2])}))
    print(f"{'pair':<24}{'search':<11}{'matches':>8}{'s':>8}{'peak MB':>9}{'added MB':>10}   up to {max_area:g} A2")
    for film, film_miller, substrate, substrate_miller in PAIRS:
        label = f"{film}({''.join(map(str, film_miller))})/{substrate}({''.join(map(str, substrate_miller))})"
        task = {"film": bulk[film], "substrate": bulk[substrate], "max_area": max_area}
        task |= {"film_miller": film_miller, "substrate_miller": substrate_miller}
        results = {}
        for program in ("anodeflow", "pymatgen"):
            results[program] = r = run(program, task)
            numbers = f"{r['matches']:>8}{r['seconds']:>8.2f}{r['peak']:>9.0f}{r['peak'] - r['before']:>10.1f}"
            print(f"{label:<24}{program:<11}{numbers}", flush=True)
        ours, pymatgens = results["anodeflow"], results["pymatgen"]
        ratios = f"{pymatgens['seconds'] / ours['seconds']:>8.1f}{pymatgens['peak'] / ours['peak']:>9.2f}"
        print(f"{label:<24}{'ratio':<11}{'':>8}{ratios}{'':>10}   pymatgen over anodeflow")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        tasks = {"anodeflow": anodeflow_search, "pymatgen": pymatgen_search, "crystals": crystals}
        print(json.dumps(tasks[sys.argv[2]](json.load(sys.stdin))))
    else:
        main()
