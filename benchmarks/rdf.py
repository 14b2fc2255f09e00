"""Time the P-S radial distribution function of a long trajectory beside vasppy, MDAnalysis, matscipy and rdf-rust.

Run ``python benchmarks/rdf.py [frames] [frames for the others]`` (25000 and as many by default; the others then take
a good half hour) in an environment that has them: ``pip install vasppy MDAnalysis matscipy rdf-rust``. What is not
installed is left out and named. With fewer frames for the others their times are scaled up, and the table says so.

All get the same 256 atoms in a triclinic cell, in memory, and in the form they like best (a pymatgen Structure,
a universe, ... for each frame; preparing it is timed apart; matscipy and rdf-rust get P and S only); one thread.
Two trajectories: ``dynamics`` (atoms vibrate about their places and some wander, as in a run) and ``gas`` (every frame
unrelated to the one before, the worst case). Times are those on the processor, which other programs disturb little, and
for the work also on the wall. Each tool is checked against all images summed one by one, over the first frames.
"""

from __future__ import annotations

import importlib
import itertools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from anodeflow.analysis.rdf import partial_rdf  # noqa: E402

CELL = np.array([[16.0, 0.0, 0.0], [2.0, 15.5, 0.0], [1.0, -1.5, 15.8]])
SPECIES = ["P"] * 20 + ["S"] * 98 + ["Li"] * 118 + ["Cl"] * 20
P, S = np.arange(20), np.arange(20, 118)
BINS = 500
DISTANCES = (4.3, 10.0)  # below and beyond half the smallest height of the cell, 7.7 angstrom
BLOCK = 500
CHECKED = 20


def frames_of(kind: str, frames: int) -> Iterator[np.ndarray]:
    """Blocks of positions, angstrom, shape (n, 256, 3)."""
    random = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    home = (random.permutation(grid)[:256] + 0.5) / 7 @ CELL
    for k, s in enumerate(S[:80]):  # four S around each P
        corner = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[k % 4]
        home[s] = home[P[k // 4]] + 2.05 / np.sqrt(3) * corner
    wander = np.zeros((256, 3))
    shake = np.zeros((256, 3))
    for start in range(0, frames, BLOCK):
        n = min(BLOCK, frames - start)
        if kind == "gas":
            yield random.random((n, 256, 3)) @ CELL
            continue
        block = np.empty((n, 256, 3))
        for f in range(n):
            shake = 0.9 * shake + random.normal(scale=0.15 * np.sqrt(1 - 0.9**2), size=(256, 3))
            wander[118:236] += random.normal(scale=0.02, size=(118, 3))  # Li diffuses
            block[f] = home + shake + wander
        yield block


class Anodeflow:
    """Ours: a stream of frames."""

    def __init__(self, r_max: float) -> None:
        self.r_max, self.g = r_max, np.zeros(BINS)

    def prepare(self, positions: np.ndarray) -> Any:
        return positions

    def run(self, prepared: Any) -> None:
        self.g = np.array(partial_rdf(((p, CELL) for p in prepared), SPECIES, "P-S", r_max=self.r_max, bins=BINS).g)

    def result(self) -> np.ndarray:
        return self.g


class Counter:
    """Tools that are asked for distances frame by frame, or that sum up g."""

    package = ""

    def __init__(self, r_max: float) -> None:
        self.r_max, self.sum, self.frames = r_max, np.zeros(BINS), 0
        self.module = importlib.import_module(self.package)

    def from_counts(self) -> np.ndarray:
        edges = np.linspace(0, self.r_max, BINS + 1)
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        return self.sum * abs(np.linalg.det(CELL)) / (len(P) * len(S) * shells * self.frames)


class Matscipy(Counter):
    """matscipy: neighbour list of P and S, distances between the two."""

    package = "matscipy.neighbours"

    def prepare(self, positions: np.ndarray) -> Any:
        self.numbers = np.array([15] * len(P) + [16] * len(S), dtype=np.int32)
        return np.ascontiguousarray(positions[:, : len(P) + len(S)])

    def run(self, prepared: Any) -> None:
        for positions in prepared:
            i, d = self.module.neighbour_list(
                "id", positions=positions, cell=CELL, pbc=[True] * 3, numbers=self.numbers,
                cutoff={(15, 16): self.r_max},
            )  # fmt: skip
            self.sum += np.histogram(d[i < len(P)], bins=BINS, range=(0, self.r_max))[0]
            self.frames += 1

    def result(self) -> np.ndarray:
        return self.from_counts()


class RdfRust(Counter):
    """rdf-rust: all partials of P and S; its value is g times the density of the neighbours."""

    package = "rdfrust"

    def prepare(self, positions: np.ndarray) -> Any:
        kinds = [{"P": 1.0}] * len(P) + [{"S": 1.0}] * len(S)
        fractional = positions[:, : len(kinds)] @ np.linalg.inv(CELL) % 1.0
        return [self.module.Structure(CELL.tolist(), f.tolist(), kinds) for f in fractional]

    def run(self, prepared: Any) -> None:
        for structure in prepared:
            _, partials, _ = structure.prdf(cutoff=self.r_max, bin_size=self.r_max / BINS, n_threads=1)
            self.sum += np.asarray(partials[("P", "S")])[:BINS]
            self.frames += 1

    def result(self) -> np.ndarray:
        return self.sum / self.frames * abs(np.linalg.det(CELL)) / len(S)


class MDAnalysis(Counter):
    """MDAnalysis InterRDF on a universe in memory."""

    package = "MDAnalysis"

    def prepare(self, positions: np.ndarray) -> Any:
        from ase.geometry import cell_to_cellpar

        universe = self.module.Universe.empty(256, trajectory=True)
        universe.add_TopologyAttr("type", SPECIES)
        universe.load_new(positions.astype(np.float32), dimensions=np.tile(cell_to_cellpar(CELL), (len(positions), 1)))
        return universe

    def run(self, prepared: Any) -> None:
        rdf = importlib.import_module("MDAnalysis.analysis.rdf")
        done = rdf.InterRDF(prepared.atoms[P], prepared.atoms[S], nbins=BINS, range=(0, self.r_max), norm="none").run()
        self.sum += done.results.rdf * (1 if done.results.rdf.max() > BLOCK else len(prepared.trajectory))
        self.frames += len(prepared.trajectory)

    def result(self) -> np.ndarray:
        return self.from_counts()


class Vasppy(Counter):
    """vasppy, as in the published workflow."""

    package = "vasppy.rdf"

    def prepare(self, positions: np.ndarray) -> Any:
        from pymatgen.core import Lattice, Structure

        lattice = Lattice(CELL)
        return [Structure(lattice, SPECIES, p, coords_are_cartesian=True) for p in positions]

    def run(self, prepared: Any) -> None:
        rdf = self.module.RadialDistributionFunction(
            prepared, P.tolist(), S.tolist(), nbins=BINS, r_min=0.0, r_max=self.r_max
        )
        self.sum += rdf.rdf * len(prepared)
        self.frames += len(prepared)

    def result(self) -> np.ndarray:
        return self.sum / self.frames


OTHERS = {"matscipy": Matscipy, "rdf-rust": RdfRust, "MDAnalysis": MDAnalysis, "vasppy": Vasppy}


def exact(positions: np.ndarray, r_max: float) -> np.ndarray:
    """g from every image of every pair, one after the other."""
    edges = np.linspace(0, r_max, BINS + 1)
    counts = np.zeros(BINS)
    for frame in positions:
        inside = frame @ np.linalg.inv(CELL) % 1.0 @ CELL
        between = inside[S][None] - inside[P][:, None]
        for image in itertools.product(range(-2, 3), repeat=3):
            d = np.linalg.norm(between + np.array(image) @ CELL, axis=2)
            counts += np.histogram(d, bins=edges)[0]
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return counts * abs(np.linalg.det(CELL)) / (len(P) * len(S) * shells * len(positions))


def time_tool(tool: Any, blocks: Iterator[np.ndarray]) -> tuple[float, float, float]:
    """Seconds on the processor for preparation; then on the processor and on the wall for the work itself."""
    preparation = processor = wall = 0.0
    for block in blocks:
        start = time.process_time()
        prepared = tool.prepare(block)
        preparation += time.process_time() - start
        start, began = time.process_time(), time.perf_counter()
        tool.run(prepared)
        processor += time.process_time() - start
        wall += time.perf_counter() - began
    return preparation, processor, wall


def stream(kind: str, frames: int) -> None:
    """Only ours, frames made as they are needed: prints the peak memory of the process, MB."""
    for r_max in DISTANCES:
        partial_rdf(((p, CELL) for block in frames_of(kind, frames) for p in block), SPECIES, "P-S", r_max=r_max)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def main() -> None:
    """Time all tools on both trajectories and print a table."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 25_000
    others = int(sys.argv[2]) if len(sys.argv) > 2 else frames
    tools: dict[str, type] = {}
    for name, tool in OTHERS.items():
        try:
            tool(1.0)
            tools[name] = tool
            print(f"{name} {version(name)}", end=", ")
        except ImportError:
            print(f"{name} is not installed and left out", end=", ")
    print(f"numpy {np.__version__}; {frames} frames of 256 atoms, 20 P and 98 S")
    if others != frames:
        print(f"times of the others are scaled up from {others} frames")
    for kind in ("dynamics", "gas"):
        for r_max in DISTANCES:
            first = next(frames_of(kind, frames))[:CHECKED]
            reference = exact(first, r_max)
            print(f"\n{kind}, r_max {r_max:g} angstrom; seconds")
            print(f"  {'':<12}{'prepare':>9}{'work':>9}{'wall':>9}{'ratio':>8}{'with prep.':>12}   largest error of g")
            ours = None
            for name, tool in {"anodeflow": Anodeflow, **tools}.items():
                small = tool(r_max)
                small.run(small.prepare(first))
                wrong = np.abs(small.result() - reference).max()
                blocks = frames_of(kind, frames if name == "anodeflow" else others)
                # Ours takes the whole run at once: it keeps no list of frames.
                source = iter([np.concatenate(list(blocks))]) if name == "anodeflow" else blocks
                times = time_tool(tool(r_max), source)
                scale = 1.0 if name == "anodeflow" else frames / others
                preparation, processor, wall = (scale * seconds for seconds in times)
                ours = ours or preparation + processor
                print(
                    f"  {name:<12}{preparation:>9.2f}{processor:>9.2f}{wall:>9.2f}{processor / ours:>8.1f}"
                    f"{(preparation + processor) / ours:>12.1f}   {wrong:.1e}",
                    flush=True,
                )
    peak = subprocess.run(
        [sys.executable, __file__, str(frames), "0", "stream"], capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip
    print(f"\npeak memory of a process that streams the frames through ours: {peak} MB")


if __name__ == "__main__":
    if sys.argv[3:] == ["stream"]:
        stream("dynamics", int(sys.argv[1]))
    else:
        main()
