"""Lattice matching beside pymatgen's CoherentInterfaceBuilder: time, memory, matches.

Run ``python benchmarks/interface_search.py [largest area in square angstrom]`` (400 by default; about a minute).
Every search runs in a process of its own. Both get the same crystals, faces and largest area; ours gets the
strain limit that covers pymatgen's three tolerances, whose matches are counted again without duplicates.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

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


def search(who: str, pair: int, max_area: float) -> None:
    """Run one search and print a line of JSON."""
    from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    from anodeflow.structures.interfaces import slab_spec
    from anodeflow.structures.matching import lattice_matches

    film_name, film_miller, substrate_name, substrate_miller = PAIRS[pair]
    film, substrate = slab_spec(film_name, film_miller), slab_spec(substrate_name, substrate_miller)
    before, start = peak_mb(), time.perf_counter()
    if who == "anodeflow":
        matches = len(
            lattice_matches(
                film.build(),
                substrate.build(),
                max_area_angstrom2=max_area,
                max_strain=MAX_STRAIN,
                max_atoms=None,
                primitive_only=False,
            )
        )
    else:
        generator = ZSLGenerator(AREA_RATIO_TOLERANCE, max_area, LENGTH_TOLERANCE, ANGLE_TOLERANCE, bidirectional=True)
        builder = CoherentInterfaceBuilder(substrate.bulk, film.bulk, film_miller, substrate_miller, generator)
        matches = len(builder.zsl_matches)
    wall = time.perf_counter() - start
    print(json.dumps({"matches": matches, "seconds": wall, "before_mb": before, "peak_mb": peak_mb()}))


def main() -> None:
    """Run both searches for every pair and print a table."""
    max_area = float(sys.argv[1]) if len(sys.argv) > 1 else 400.0
    print(f"{'pair':<26}{'search':<11}{'matches':>9}{'s':>8}{'peak MB':>9}{'added MB':>10}   up to {max_area:g} A2")
    for number, (film, film_miller, substrate, substrate_miller) in enumerate(PAIRS):
        label = f"{film}({''.join(map(str, film_miller))})/{substrate}({''.join(map(str, substrate_miller))})"
        results = {}
        for who in ("anodeflow", "pymatgen"):
            command = [sys.executable, __file__, "--one", who, str(number), str(max_area)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[who] = r = json.loads(done.stdout.splitlines()[-1])
            added = r["peak_mb"] - r["before_mb"]
            print(
                f"{label:<26}{who:<11}{r['matches']:>9}{r['seconds']:>8.2f}{r['peak_mb']:>9.0f}{added:>10.1f}",
                flush=True,
            )
        ours, theirs = results["anodeflow"], results["pymatgen"]
        times, memory = theirs["seconds"] / ours["seconds"], theirs["peak_mb"] / ours["peak_mb"]
        print(f"{label:<26}{'ratio':<11}{'':>9}{times:>8.1f}{memory:>9.2f}   pymatgen over anodeflow")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        search(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        main()
