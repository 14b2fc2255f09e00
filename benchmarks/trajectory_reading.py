"""Reading trajectories beside ASE and pymatgen: time and peak memory.

Run ``python benchmarks/trajectory_reading.py [frames]`` (25,000 by default; half an hour, 4 GB of temporary disk).
Files of 256 atoms are made in a temporary folder; every reader runs in a process of its own that touches every
position of every frame. All readers read a twenty-fifth of the frames; ours also a fifth and all of them, to show that
time grows with the length and memory does not. Times are CPU seconds of the reading alone, the peak is that of the
whole process, `added` what reading put on top of the imports. The last tables compare ways to keep the same frames.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ATOMS = 256
SIDE = 17.0
SYMBOLS = ["Li"] * 120 + ["P"] * 20 + ["S"] * 96 + ["Cl"] * 20


def peak_mb() -> float:
    """Peak resident memory of this process; unlike ru_maxrss it does not start with that of the parent."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def positions(number: int) -> Iterator[np.ndarray]:
    """Fractional coordinates of a random walk."""
    rng = np.random.default_rng(0)
    now = rng.random((ATOMS, 3))
    for _ in range(number):
        now = (now + rng.normal(scale=0.001, size=now.shape)) % 1.0
        yield now


def write_xdatcar(path: Path, number: int) -> None:
    """A constant cell, as VASP writes it."""
    cell = "".join(f" {'  '.join(f'{SIDE * (i == j):12.6f}' for j in range(3))}\n" for i in range(3))
    with path.open("w") as file:
        file.write(f"walk\n           1\n{cell}   Li   P    S    Cl\n  120  20   96   20\n")
        for n, frame in enumerate(positions(number), start=1):
            file.write(f"Direct configuration={n:6d}\n")
            file.writelines("  {:.8f}  {:.8f}  {:.8f}\n".format(*row) for row in frame)


def write_vasprun(path: Path, number: int, head: str) -> None:
    """Dynamics with four electronic steps a step, behind a real file's parameters."""
    vectors = "".join(f"    <v> {' '.join(f'{SIDE * (i == j):16.8f}' for j in range(3))} </v>\n" for i in range(3))
    energies = "".join(
        f'    <i name="{name}">  -1234.56789012 </i>\n' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    )
    scf = f"  <scstep>\n   <energy>\n{energies}   </energy>\n  </scstep>\n" * 4
    with path.open("w") as file:
        file.write(head)
        for frame in positions(number):
            file.write(f' <calculation>\n{scf}  <structure>\n   <crystal>\n    <varray name="basis" >\n{vectors}')
            file.write('    </varray>\n   </crystal>\n   <varray name="positions" >\n')
            rows = ["    <v> {:16.8f} {:16.8f} {:16.8f} </v>\n".format(*row) for row in frame]
            file.writelines(rows)
            file.write('   </varray>\n  </structure>\n  <varray name="forces" >\n')
            file.writelines(rows)
            file.write(f"  </varray>\n  <energy>\n{energies}  </energy>\n </calculation>\n")
        file.write("</modeling>\n")


def write_castep(path: Path, number: int) -> None:
    """Positions, velocities and forces in atomic units, as CASTEP writes them."""
    side = SIDE / 0.529177210903
    cell = "".join(" " * 19 + "".join(f"{side * (i == j):27.16E}" for j in range(3)) + "  <-- h\n" for i in range(3))
    counts = [SYMBOLS[: n + 1].count(symbol) for n, symbol in enumerate(SYMBOLS)]
    names = [f" {symbol:<3}{count:>14}" for symbol, count in zip(SYMBOLS, counts, strict=True)]
    with path.open("w") as file:
        file.write(" BEGIN header\n  \n END header\n  \n")
        for n, frame in enumerate(positions(number)):
            file.write(f"{n * 82.682746579678025:41.16E}\n")
            file.write(" " * 19 + f"{-45.3:27.16E}{-45.2:27.16E}{0.1:27.16E}  <-- E\n")
            file.write(" " * 19 + f"{9.5e-4:27.16E}{' ' * 56}<-- T\n{cell}")
            texts = ["{:27.16E}{:27.16E}{:27.16E}".format(*row) for row in frame * side]
            for tag in "RVF":
                file.writelines(f"{name}{text}  <-- {tag}\n" for name, text in zip(names, texts, strict=True))
            file.write("  \n")


def vasprun_head() -> str:
    """The smallest head that all three readers accept."""
    atoms = "".join(f"    <rc><c>{symbol}</c><c>   1</c></rc>\n" for symbol in SYMBOLS)
    kinds = "".join(
        f"    <rc><c>{SYMBOLS.count(symbol):4d}</c><c>{symbol}</c><c>1.0</c><c>1.0</c><c> PAW_PBE {symbol} </c></rc>\n"
        for symbol in dict.fromkeys(SYMBOLS)
    )
    vectors = "".join(f"    <v> {' '.join(f'{SIDE * (i == j):16.8f}' for j in range(3))} </v>\n" for i in range(3))
    rows = "".join("    <v> {:16.8f} {:16.8f} {:16.8f} </v>\n".format(*row) for row in next(positions(1)))
    start = f'  <crystal>\n   <varray name="basis" >\n{vectors}   </varray>\n  </crystal>\n'
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n  <i name="version" type="string">6.3.0  </i>\n </generator>\n'
        ' <incar>\n  <i type="int" name="IBRION">     0</i>\n  <i type="int" name="NELM">    60</i>\n'
        '  <i name="POTIM">      2.00000000</i>\n </incar>\n <kpoints>\n  <generation param="Gamma">\n'
        '   <v type="int" name="divisions">       1        1        1 </v>\n  </generation>\n'
        '  <varray name="kpointlist" >\n   <v>       0.0       0.0       0.0 </v>\n  </varray>\n'
        '  <varray name="weights" >\n   <v>       1.0 </v>\n  </varray>\n </kpoints>\n'
        ' <parameters>\n  <i type="int" name="NELM">    60</i>\n  <i type="int" name="NSW">  2000</i>\n'
        '  <i type="int" name="IBRION">     0</i>\n </parameters>\n'
        f" <atominfo>\n  <atoms>     {ATOMS} </atoms>\n  <types>       4 </types>\n"
        '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
        f'   <field type="int">atomtype</field>\n   <set>\n{atoms}   </set>\n  </array>\n'
        '  <array name="atomtypes" >\n   <dimension dim="1">type</dimension>\n   <set>\n'
        f"{kinds}   </set>\n  </array>\n </atominfo>\n"
        f' <structure name="initialpos" >\n{start}  <varray name="positions" >\n{rows}  </varray>\n </structure>\n'
    )


def ours(path: str) -> tuple[int, float]:
    """The sum of all positions with anodeflow."""
    from anodeflow.analysis.trajectories import open_trajectory

    frames, total = 0, 0.0
    for frame in open_trajectory(path):
        frames, total = frames + 1, total + float(frame.positions.sum())
    return frames, total


def ase_iread(path: str) -> tuple[int, float]:
    """The same with ase.io.iread, of vasprun.xml with its electronic steps."""
    from ase.io import iread

    name = Path(path).name
    kinds = {"XDATCAR": "vasp-xdatcar", "vasprun.xml": "vasp-xml", "walk.md": "castep-md"}
    kind = kinds.get(name)
    frames, total = 0, 0.0
    for atoms in iread(path, ":", format=kind):
        frames, total = frames + 1, total + float(atoms.positions.sum())
    return frames, total


def pymatgen(path: str) -> tuple[int, float]:
    """The same with pymatgen, without bands and densities of states."""
    from pymatgen.io.vasp.outputs import Vasprun, Xdatcar

    if Path(path).name == "XDATCAR":
        structures: Any = Xdatcar(path).structures
    else:
        run = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False, exception_on_bad_xml=False)
        structures = [step["structure"] for step in run.ionic_steps]
    return len(structures), float(sum(structure.cart_coords.sum() for structure in structures))


def iterparse(path: str) -> tuple[int, float]:
    """Positions alone with xml.etree's iterparse and cleared elements."""
    from xml.etree.ElementTree import iterparse as parse

    frames, total = 0, 0.0
    for _, element in parse(path):  # noqa: S314 - the file was made here
        if element.tag == "calculation":
            arrays = {array.get("name"): array for array in element.iter("varray")}
            cell, fractional, _forces = (
                np.array([v.text.split() for v in arrays[name]], dtype=float)  # type: ignore[union-attr]
                for name in ("basis", "positions", "forces")
            )
            frames, total = frames + 1, total + float((fractional @ cell).sum())
            element.clear()
    return frames, total


READERS: dict[str, Callable[[str], tuple[int, float]]] = {
    "anodeflow": ours,
    "ASE": ase_iread,
    "pymatgen": pymatgen,
    "iterparse": iterparse,
}


def one(reader: str, path: str) -> dict[str, float]:
    """Read a file in this process."""
    import ase.io  # noqa: F401 - everybody's imports are paid before the clock starts

    import anodeflow.analysis.trajectories  # noqa: F401

    if reader == "pymatgen":
        import pymatgen.io.vasp.outputs  # noqa: F401
    before, start = peak_mb(), time.process_time()
    frames, total = READERS[reader](path)
    return {
        "seconds": time.process_time() - start,
        "peak": peak_mb(),
        "added": peak_mb() - before,
        "frames": frames,
        "total": total,
    }


def run(reader: str, path: Path) -> dict[str, float]:
    """Read a file in a new process."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", reader, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(title: str, path: Path, readers: list[str]) -> None:
    """One table: all readers of one file, and their ratios to ours."""
    print(f"\n{title} ({path.stat().st_size / 1e6:.0f} MB)")
    print(f"{'reader':<12}{'frames':>8}{'CPU s':>8}{'peak MB':>9}{'added MB':>10}{'time ratio':>12}{'peak ratio':>12}")
    base: dict[str, float] = {}
    for reader in readers:
        r = run(reader, path)
        base = base or r
        assert r["frames"] == base["frames"], (reader, r, base)
        assert abs(r["total"] - base["total"]) < 1e-6 * abs(base["total"]) + 0.02 * r["frames"], (reader, r, base)
        ratios = f"{r['seconds'] / base['seconds']:>12.1f}{r['peak'] / base['peak']:>12.1f}"
        print(
            f"{reader:<12}{r['frames']:>8}{r['seconds']:>8.2f}{r['peak']:>9.0f}{r['added']:>10.1f}{ratios}", flush=True
        )


def main() -> None:
    """Make the files and print the tables."""
    from anodeflow.analysis.trajectories import convert

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 25_000
    parts = (number // 25, number // 5, number)
    head = vasprun_head()
    files: dict[str, tuple[Callable[[Path, int], None], list[str]]] = {
        "XDATCAR": (write_xdatcar, ["anodeflow", "ASE", "pymatgen"]),
        "vasprun.xml": (lambda path, n: write_vasprun(path, n, head), ["anodeflow", "ASE", "pymatgen", "iterparse"]),
        "walk.md": (write_castep, ["anodeflow", "ASE"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, readers) in files.items():
            path = Path(folder) / name
            for part in parts:
                write(path, part)
                compare(f"{name}, {part} frames of {ATOMS} atoms", path, readers if part == parts[0] else readers[:1])
            if name != "XDATCAR":
                path.unlink()
        start_from = Path(folder) / "XDATCAR"
        for part in parts:
            write_xdatcar(start_from, part)
            for name in ("walk.atraj", "walk.extxyz", "walk.traj"):
                if name == "walk.traj" and part != parts[0]:
                    continue
                target = Path(folder) / name
                start = time.process_time()
                convert(start_from, target)
                print(f"\nwritten from XDATCAR in {time.process_time() - start:.1f} s (reading included)", end="")
                everybody = part == parts[0] and name != "walk.atraj"
                compare(f"{name}, {part} frames", target, ["anodeflow", "ASE"] if everybody else ["anodeflow"])
                target.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], sys.argv[3])))
    else:
        main()
