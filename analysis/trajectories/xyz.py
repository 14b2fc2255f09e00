"""Extended xyz, and plain xyz without a cell.

Of extended xyz are read: Lattice, Properties with species, pos, forces (or force) and momenta, energy (free_energy
where there is one), step. Momenta are in ASE's unit. Columns named velocities and keys named time have no agreed
unit and are left alone.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from anodeflow.analysis.trajectories.frames import (
    Array,
    Frame,
    Symbols,
    Trajectory,
    TruncatedFileError,
    checked_cell,
)
from anodeflow.analysis.trajectories.text import Source, real

_KEY = re.compile(r"""([A-Za-z_][\w\-.]*)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\S+)""")
_SYMBOL = re.compile(rb"[A-Z][a-z]?$")
_MAX_COLUMNS = 1000


class XyzTrajectory(Trajectory):
    """Positions; of extended xyz also cells, energies and forces.

    Parameters
    ----------
    path
        The file.
    cell
        Cell vectors, angstrom, for a file without.
    strict
        Whether a cut end is an error.
    """

    format = "xyz"

    def __init__(self, path: Path, *, cell: Array | None = None, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        self._told_open = False
        self._cell = None if cell is None else checked_cell(cell, "the given cell", None)

    def _frames(self) -> Iterator[Frame]:
        with Source(self.path) as source:
            species: Symbols | None = None
            column: bytes = b""
            index = 0
            while line := source.readline():
                words = line.split()
                if not words:
                    _nothing_follows(source)
                    return
                if len(words) != 1 or not words[0].isdigit():
                    shown = line.decode("latin-1").strip()[:60]
                    raise source.error(f"a number of atoms expected, found '{shown}'", "check that it is right above")
                atoms = source.plausible(int(words[0]))
                comment = source.readline()
                if not comment:
                    raise TruncatedFileError(source.line, "the file ends behind a number of atoms")
                keys = _keys(comment)
                columns = _columns(keys, source)
                lattice = self._lattice(keys, source)
                wanted = [c for name in ("pos", "forces", "momenta") if name in columns for c in columns[name]]
                first = source.line + 1
                values, text = source.table(atoms, wanted, "atom")
                at = columns["species"][0]
                rows = text.splitlines()
                symbols = b" ".join(row.split(maxsplit=at + 1)[at] for row in rows)
                if species is None or symbols != column:
                    column = symbols
                    species = _symbols(symbols, source, first)
                frame = self._frame(keys, columns, values, species, lattice, source)
                frame.index = index
                yield frame
                index += 1

    def _lattice(self, keys: dict[str, str], source: Source) -> Array | None:
        if "Lattice" not in keys:
            return self._cell
        open_axes = keys.get("pbc", "").split()
        if any(word.upper().startswith("F") for word in open_axes) and not self._told_open:
            self._told_open = True
            warnings.warn(
                f"{self.path} says pbc {' '.join(open_axes)}; it is taken as periodic along all its lattice vectors",
                stacklevel=2,
            )
        words = keys["Lattice"].split()
        if len(words) != 9:
            raise source.error(f"Lattice has {len(words)} numbers, not 9", "check the file")
        return checked_cell(
            np.array([real(word.encode(), source, "Lattice") for word in words]).reshape(3, 3), self.path, source.line
        )

    def _frame(
        self,
        keys: dict[str, str],
        columns: dict[str, range],
        values: Array,
        species: Symbols,
        lattice: Array | None,
        source: Source,
    ) -> Frame:
        parts: dict[str, Array] = {}
        at = 0
        for name in ("pos", "forces", "momenta"):
            if name in columns:
                parts[name] = np.ascontiguousarray(values[:, at : at + 3])
                at += 3
        frame = Frame(0, species, parts["pos"], lattice, forces=parts.get("forces"), source=str(self.path))
        if "momenta" in parts:
            from ase import units
            from ase.data import atomic_masses, atomic_numbers

            masses = np.array([atomic_masses[atomic_numbers[symbol]] for symbol in species])
            # ASE's velocity is angstrom per (angstrom sqrt(u/eV))
            frame.velocities = parts["momenta"] / masses[:, None] * units.fs
        for key in ("free_energy", "energy"):
            if key in keys:
                frame.energy_ev = real(keys[key].encode(), source, key)
                break
        if keys.get("step", "").isdigit():
            frame.step = int(keys["step"])
        return frame


def _nothing_follows(source: Source) -> None:
    while line := source.readline():
        if line.strip():
            raise source.error("a blank line between frames", "check the file", line=source.line - 1)


def _keys(comment: bytes) -> dict[str, str]:
    text = comment.decode("utf-8", "replace")
    return {match.group(1): match.group(2).strip("\"'{}[]").replace(",", " ") for match in _KEY.finditer(text)}


def _columns(keys: dict[str, str], source: Source) -> dict[str, range]:
    """Return the columns of each property; of plain xyz the usual four."""
    if "Properties" not in keys:
        return {"species": range(1), "pos": range(1, 4)}
    words = keys["Properties"].split(":")
    columns: dict[str, range] = {}
    at = 0
    for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=False):
        if not count.isdigit() or not 0 < int(count) <= _MAX_COLUMNS:
            raise source.error(f"Properties has '{count}' columns of {name}", "check the file")
        key = {"force": "forces", "element": "species"}.get(name, name)
        expected: Any = {"species": ("S", "1"), "pos": ("R", "3"), "forces": ("R", "3"), "momenta": ("R", "3")}
        if key in expected:
            if (kind, count) != expected[key] or key in columns:
                raise source.error(f"Properties has {name}:{kind}:{count}", f"expected :{':'.join(expected[key])}")
            columns[key] = range(at, at + 3 if key != "species" else at + 1)
        at += int(count)
    if len(words) % 3 or "species" not in columns or "pos" not in columns:
        raise source.error(f"Properties '{keys['Properties'][:60]}' lacks species or pos", "check the file")
    return columns


def _symbols(text: bytes, source: Source, first: int) -> Symbols:
    symbols = text.split()
    for number, symbol in enumerate(symbols, start=first):
        if not _SYMBOL.match(symbol):
            shown = symbol.decode("latin-1")[:20]
            raise source.error(f"'{shown}' is not an element symbol", "check the file", line=number)
    return np.array([symbol.decode() for symbol in symbols])
