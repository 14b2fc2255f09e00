"""VASP's OUTCAR, complete or still being written: how the run went, and energy, positions and forces of its steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anodeflow.analysis.trajectories.frames import Array
from anodeflow.analysis.trajectories.text import number

CHUNK = 1 << 20
# Energies of one step have six decimals at least.
_SAME_EV = 2e-6
_ENERGY = re.compile(r"energy  without entropy=\s*(\S+)\s+energy\(sigma->0\) =\s*(\S+)")


@dataclass(frozen=True)
class OutcarStep:
    """One ionic step.

    Attributes
    ----------
    energy_ev
        energy(sigma->0); NaN where it is not a number.
    positions, forces
        Cartesian, (N, 3), angstrom and eV/angstrom, atoms as in the POSCAR; rows that are not numbers are NaN.
    electrons_converged
        Whether EDIFF was reached.
    stress_kbar
        Components xx yy zz xy yz zx, compression positive, as VASP prints them; None where it printed none.
    sound
        Whether the energy is between the free one and the one without entropy, as it must be.
    """

    energy_ev: float
    positions: Array
    forces: Array
    electrons_converged: bool
    stress_kbar: Array | None = None
    sound: bool = True


@dataclass
class OutcarReader:
    """Reads what is new in an OUTCAR, and remembers how the run went.

    Attributes
    ----------
    path
        The file; it may not be there yet.
    atoms
        How many rows a table of forces has.
    version
        The first word of the file.
    energies_ev
        energy(sigma->0) of every ionic step; NaN where it is not a number.
    accurate
        Whether VASP's own criterion for the ions was met.
    stopped
        Whether a STOPCAR was followed.
    finished
        Whether VASP came to its end.
    lines
        How many were read.
    complete
        Steps with energy and forces so far.
    """

    path: Path
    atoms: int
    version: str | None = None
    energies_ev: list[float] = field(default_factory=list)
    accurate: bool = False
    stopped: bool = False
    finished: bool = False
    lines: int = 0
    complete: int = 0
    _offset: int = 0
    _rest: str = ""
    _rows: list[str] | None = None
    _table: Array | None = None
    _stress: Array | None = None
    _reached: bool = False
    _free: float | None = None

    def read(self) -> list[OutcarStep]:
        """Return the ionic steps that have come since."""
        return list(self.steps())

    def steps(self) -> Iterator[OutcarStep]:
        """Yield the ionic steps that have come since, one by one."""
        try:
            if self.path.stat().st_size < self._offset:  # started again after an error
                self._offset, self._rest, self._rows, self._table = 0, "", None, None
                self.accurate = self.stopped = self.finished = False
                self.energies_ev, self.lines = [], 0
            with self.path.open("rb") as handle:
                handle.seek(self._offset)
                while data := handle.read(CHUNK):
                    self._offset += len(data)
                    *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
                    for line in lines:
                        step = self._take(line)
                        if step is not None:
                            yield step
        except OSError:
            return

    def _take(self, line: str) -> OutcarStep | None:
        self.lines += 1
        if self._rows is not None:
            self._row(line, self._rows)
        elif "TOTAL-FORCE (eV/Angst)" in line:
            self._rows = []
        elif "energy  without entropy=" in line:
            return self._energy(line)
        elif "free  energy   TOTEN  =" in line:
            self._free = number(line.split("=")[1].split()[0].encode()) if line.split("=")[1].split() else None
        elif "aborting loop because EDIFF is reached" in line:
            self._reached = True
        elif "reached required accuracy" in line:
            self.accurate = True
        elif "soft stop encountered" in line or "hard stop encountered" in line:
            self.stopped = True
        elif line.startswith("  in kB"):
            values = np.array([number(word.encode()) for word in line.split()[2:8]])
            self._stress = values if len(values) == 6 else None
        elif "General timing and accounting" in line:
            self.finished = True
        if self.version is None and line.strip():
            self.version = line.split()[0]
        return None

    def _row(self, line: str, rows: list[str]) -> None:
        if "-----" not in line:
            rows.append(line)
            if len(rows) == self.atoms:
                self._table, self._rows = np.array([_numbers(row) for row in rows]), None
        elif rows:  # a line is missing
            self._table, self._rows = np.full((self.atoms, 6), np.nan), None

    def _energy(self, line: str) -> OutcarStep | None:
        match = _ENERGY.search(line)
        energy = number(match[2].encode()) if match else float("nan")
        self.energies_ev.append(energy)
        if self._table is None:
            return None
        without, free = number(match[1].encode()) if match else float("nan"), self._free
        sound = free is None or min(free, without) - _SAME_EV <= energy <= max(free, without) + _SAME_EV
        table = self._table
        step = OutcarStep(energy, table[:, :3], table[:, 3:], self._reached, self._stress, sound)
        self._table, self._stress, self._free, self._reached = None, None, None, False
        self.complete += 1
        return step


def _numbers(line: str) -> list[float]:
    values = [number(word.encode()) for word in line.split()[:6]]
    return values if len(values) == 6 else [float("nan")] * 6
