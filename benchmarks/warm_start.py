"""Ionic steps of real DFT with and without a start from the embedded potential.

Slabs and adsorption cells, each relaxed by GPAW twice: from the ideal geometry, and from the geometry that the
embedded potential relaxes it to, with the potential's curvatures as what the optimiser begins with. Both must end in
the same minimum (5 meV), or the ratio means nothing and is not printed. Needs GPAW; about half an hour on two cores.

    python benchmarks/warm_start.py [--engine gpaw] [--potential sevennet-0] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from pymatgen.core import Structure

from anodeflow.structures.adsorption import adsorption_sites
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.sites import insert
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.calculation import warmed
from anodeflow.workflows.cards import KPoints, MethodCard, load_card
from anodeflow.workflows.engines import get_engine

SAME_EV = 0.005


def card() -> MethodCard:
    """Enough for geometries: 350 eV, 0.06 per angstrom, 0.03 eV/angstrom."""
    changes = {"cutoff_ev": 350.0, "kpoints": KPoints(spacing_per_angstrom=0.06), "dipole_correction": False}
    return load_card("pbe-slab").varied("benchmark", **changes)


def adsorbed(crystal: str, miller: tuple[int, int, int], layers: int, repeats: tuple[int, int], kind: str) -> Structure:
    """Li on the first site of a kind, above an ideal slab."""
    host = slab(crystal, miller, layers)
    host.make_supercell([*repeats, 1])
    site = next(s for s in adsorption_sites(host) if s.kind == kind)
    return insert(host, site)


def slab(crystal: str, miller: tuple[int, int, int], layers: int) -> Structure:
    """An ideal slab, as a plain structure."""
    return Structure.from_sites(build_slab(load_crystal(crystal), miller, layers=layers, vacuum_angstrom=9).structure)


def cells() -> dict[str, Structure]:
    """The cells, ideal."""
    return {
        "Li9Al4(400) slab": slab("Li9Al4", (4, 0, 0), 13),
        "Li2S(110) slab": slab("Li2S", (1, 1, 0), 5),
        "Li on Li(110)": adsorbed("Li", (1, 1, 0), 3, (2, 2), "hollow"),
        "Li on Al(100)": adsorbed("Al", (1, 0, 0), 3, (2, 2), "hollow"),
    }


def measure(name: str, engine: str, potential: str) -> dict[str, float | str | bool | int]:
    """Both relaxations of one cell."""
    structure, settings, dft = cells()[name], card(), get_engine(engine)
    folder = Path(tempfile.mkdtemp())
    clock = time.perf_counter()
    start, record, notes = warmed(structure, "relax", settings, potential, folder)
    cheap = time.perf_counter() - clock
    if record is None:
        return {"cell": name, "error": "; ".join(notes)}
    clock = time.perf_counter()
    warm = dft.compute(start, "relax", settings, directory=folder)
    warm_s = time.perf_counter() - clock
    clock = time.perf_counter()
    cold = dft.compute(structure, "relax", settings)
    cold_s = time.perf_counter() - clock
    shutil.rmtree(folder)
    if not (warm.converged and cold.converged):
        return {"cell": name, "error": f"warm: {warm.error}, cold: {cold.error}"}
    return {
        "cell": name,
        "atoms": len(structure),
        "cold_evaluations": cold.ionic_steps + 1,
        "warm_evaluations": warm.ionic_steps + 1,
        "ratio": (cold.ionic_steps + 1) / (warm.ionic_steps + 1),
        "time_ratio": cold_s / (warm_s + cheap),
        "energy_difference_mev": 1e3 * (warm.energy_ev - cold.energy_ev),
        "same_minimum": abs(warm.energy_ev - cold.energy_ev) < SAME_EV,
        "potential_s": round(cheap, 1),
    }


def main() -> None:
    """Measure all cells, two at a time, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="gpaw")
    parser.add_argument("--potential", default="sevennet-0")
    parser.add_argument("--only", choices=list(cells()))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(cells())
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(measure, name, arguments.engine, arguments.potential) for name in names]
        rows = [job.result() for job in jobs]
    for row in rows:
        if "error" in row:
            print(f"{row['cell']}: no result: {row['error']}")
            continue
        verdict = f"{row['ratio']:.1f} times fewer" if row["same_minimum"] else "another minimum: no ratio"
        print(
            f"{row['cell']} ({row['atoms']} atoms): {row['cold_evaluations']} evaluations cold, "
            f"{row['warm_evaluations']} warm: {verdict}; energies differ by {row['energy_difference_mev']:+.1f} meV; "
            f"wall time {row['time_ratio']:.1f} times shorter, the potential's included"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
