"""Ionic steps of real DFT with and without a start from the embedded potential.

Slabs and adsorption cells, each relaxed by GPAW twice: from the ideal geometry, and from the geometry that the
embedded potential relaxes it to, with the potential's curvatures as what the optimiser begins with. Both must end in
the same minimum (5 meV), or the ratio means nothing and is not printed. Then the band of a vacancy hop in Li, from the
interpolated path and from the potential's band. Needs GPAW; about an hour on two cores.

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

import numpy as np
from pymatgen.core import Structure

from anodeflow.structures.adsorption import adsorption_sites
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.migration import lithium_hops
from anodeflow.structures.migration_paths import hop_cells, interpolated_path, matched_end_points, mirrored_end
from anodeflow.structures.sites import insert
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.cards import KPoints, MethodCard, load_card
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.band import warmed_band
from anodeflow.workflows.jobs.calculation import warmed

SAME_EV = 0.005
BAND = "vacancy hop in Li"


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


def band_settings() -> MethodCard:
    """Coarser still: what counts is the number of steps between the same ends."""
    changes = {"kpoints": KPoints(spacing_per_angstrom=0.08), "force_tolerance_ev_per_angstrom": 0.05}
    return card().varied("benchmark-band", **changes)


def measure_band(engine: str, potential: str) -> dict[str, float | str | bool | int]:
    """A vacancy hop between nearest neighbours in Li, 15 atoms, three images: both bands between the same ends."""
    settings, dft = band_settings(), get_engine(engine)
    host = load_crystal("Li")
    hop = lithium_hops(host, "vacancy", max_distance_angstrom=3.2)[0]
    start, end = hop_cells(host, hop, np.diag([2, 2, 2]))
    relaxed = dft.compute(Request(warmed(start, "relax", settings, potential)[0], "relax", settings)).structure
    other = mirrored_end(start, end, relaxed)
    assert other is not None
    path = interpolated_path(matched_end_points(relaxed, other), 3)
    clock = time.perf_counter()
    near, record, notes = warmed_band(path, settings, potential)
    cheap = time.perf_counter() - clock
    if record is None:
        return {"cell": BAND, "error": "; ".join(notes)}
    clock = time.perf_counter()
    warm = dft.neb(near, settings)
    warm_s = time.perf_counter() - clock
    clock = time.perf_counter()
    cold = dft.neb(path, settings)
    cold_s = time.perf_counter() - clock
    if not (warm.converged and cold.converged):
        return {"cell": BAND, "error": f"warm: {warm.error}, cold: {cold.error}"}
    return compared(BAND, len(start), cold.steps + 1, warm.steps + 1, cold_s / (warm_s + cheap), cheap,
                    max(warm.energies_ev) - max(cold.energies_ev))  # fmt: skip


def compared(
    name: str, atoms: int, cold: int, warm: int, time_ratio: float, cheap_s: float, difference_ev: float
) -> dict[str, float | str | bool | int]:
    """One row of the results."""
    return {
        "cell": name, "atoms": atoms, "cold_evaluations": cold, "warm_evaluations": warm, "ratio": cold / warm,
        "time_ratio": time_ratio, "energy_difference_mev": 1e3 * difference_ev,
        "same_minimum": abs(difference_ev) < SAME_EV, "potential_s": round(cheap_s, 1),
    }  # fmt: skip


def measure(name: str, engine: str, potential: str) -> dict[str, float | str | bool | int]:
    """Both relaxations of one cell, or both bands."""
    if name == BAND:
        return measure_band(engine, potential)
    structure, settings, dft = cells()[name], card(), get_engine(engine)
    folder = Path(tempfile.mkdtemp())
    clock = time.perf_counter()
    start, record, notes = warmed(structure, "relax", settings, potential, folder)
    cheap = time.perf_counter() - clock
    if record is None:
        return {"cell": name, "error": "; ".join(notes)}
    clock = time.perf_counter()
    warm = dft.compute(Request(start, "relax", settings), folder)
    warm_s = time.perf_counter() - clock
    clock = time.perf_counter()
    cold = dft.compute(Request(structure, "relax", settings))
    cold_s = time.perf_counter() - clock
    shutil.rmtree(folder)
    if not (warm.converged and cold.converged):
        return {"cell": name, "error": f"warm: {warm.error}, cold: {cold.error}"}
    return compared(name, len(structure), cold.ionic_steps + 1, warm.ionic_steps + 1, cold_s / (warm_s + cheap), cheap,
                    warm.energy_ev - cold.energy_ev)  # fmt: skip


def main() -> None:
    """Measure all cells, two at a time, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="gpaw")
    parser.add_argument("--potential", default="sevennet-0")
    parser.add_argument("--only", choices=[*cells(), BAND])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else [*cells(), BAND]
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
