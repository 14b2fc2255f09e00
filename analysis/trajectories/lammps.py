"""LAMMPS text dumps of periodic cells, in units of angstrom.

Elements are taken from a column `element`, or from the types as given to `open_trajectory`. Forces and velocities
are taken only where `ITEM: UNITS` says `metal`: a dump does not state its units otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from anodeflow.analysis.trajectories.frames import Array, Frame, Symbols, Trajectory, TruncatedFileError, checked_cell
from anodeflow.analysis.trajectories.order import Order
from anodeflow.analysis.trajectories.text import Source, real, whole_number

_UNITS_ANGSTROM = ("metal", "real")
# columns of coordinates in the order of preference: unwrapped ones first; scaled or not
_COORDINATES = (
    ("xu", "yu", "zu", False),
    ("xsu", "ysu", "zsu", True),
    ("x", "y", "z", False),
    ("xs", "ys", "zs", True),
)


class LammpsTrajectory(Trajectory):
    """Positions and cells, atoms sorted by id; the step is the time step of LAMMPS."""

    format = "LAMMPS dump"

    def __init__(self, path: Path, *, types: Mapping[int, str] | None = None, strict: bool = False) -> None:
        super().__init__(path, strict=strict)
        self._types = dict(types or {})

    def _frames(self) -> Iterator[Frame]:
        with Source(self.path) as source:
            index, order = 0, Order(self.path, "step")
            units = ""
            time_ps: float | None = None
            line = source.readline()
            while line:
                if not line.startswith(b"ITEM: TIMESTEP"):
                    if line.startswith(b"ITEM: UNITS"):
                        units = _next(source).strip().decode("latin-1")
                        if units not in _UNITS_ANGSTROM:
                            raise source.error(f"units '{units}'", f"known are {', '.join(_UNITS_ANGSTROM)}")
                    elif line.startswith(b"ITEM: TIME"):
                        time_ps = real(_next(source).strip(), source, "the time")
                    elif line.strip():
                        shown = line.decode("latin-1").strip()[:60]
                        raise source.error(f"'ITEM: TIMESTEP' expected, found '{shown}'", "check the numbers of atoms")
                    line = source.readline()
                    continue
                step = whole_number(_next(source), source, "the step")
                if not _next(source).startswith(b"ITEM: NUMBER OF ATOMS"):
                    raise source.error("'ITEM: NUMBER OF ATOMS' expected", "check the file")
                atoms = source.plausible(whole_number(_next(source), source, "the number of atoms"), 4)
                cell, origin = self._box(source)
                frame = self._atoms(source, atoms, cell, origin, units)
                frame.index, frame.step = index, step
                order.check(index, step)
                if time_ps is not None and units:
                    frame.time_fs = time_ps * (1e3 if units == "metal" else 1.0)
                    time_ps = None
                yield frame
                index += 1
                line = source.readline()

    def _box(self, source: Source) -> tuple[Array, Array]:
        line = _next(source)
        if not line.startswith(b"ITEM: BOX BOUNDS"):
            raise source.error("'ITEM: BOX BOUNDS' expected", "check the file")
        words = line.split()[3:]
        at = source.line
        if words[:2] == [b"abc", b"origin"]:
            rows, _ = source.table(3, (0, 1, 2, 3), "a cell vector")
            return checked_cell(rows[:, :3], self.path, at), rows[:, 3]
        if words[:3] == [b"xy", b"xz", b"yz"]:
            rows, _ = source.table(3, (0, 1, 2), "a bound of the box")
            xy, xz, yz = rows[:, 2]
            low, high = rows[:, 0].copy(), rows[:, 1].copy()
            low[0] -= min(0.0, xy, xz, xy + xz)
            high[0] -= max(0.0, xy, xz, xy + xz)
            low[1] -= min(0.0, yz)
            high[1] -= max(0.0, yz)
            x, y, z = high - low
            return checked_cell(np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), self.path, at), low
        rows, _ = source.table(3, (0, 1), "a bound of the box")
        return checked_cell(np.diag(rows[:, 1] - rows[:, 0]), self.path, at), rows[:, 0]

    def _atoms(self, source: Source, atoms: int, cell: Array, origin: Array, units: str) -> Frame:
        line = _next(source)
        names = [word.decode("latin-1") for word in line.split()[2:]]
        if not line.startswith(b"ITEM: ATOMS") or "id" not in names:
            raise source.error("'ITEM: ATOMS' with a column id expected", "dump with: id element x y z")
        columns = next((way for way in _COORDINATES if all(axis in names for axis in way[:3])), None)
        if columns is None:
            raise source.error("no columns of coordinates", "dump with: id element x y z")
        *axes, scaled = columns
        wanted = ["id", *map(str, axes)]
        if units == "metal":
            for extra in (("fx", "fy", "fz"), ("vx", "vy", "vz")):
                wanted += extra if all(name in names for name in extra) else ()
        use_type = "element" not in names
        if use_type and not ("type" in names and self._types):
            raise source.error(
                "a dump without elements",
                "name the types (--types Li,Cl; in Python types={1: 'Li', ...}), or dump a column element",
            )
        if use_type:
            wanted.append("type")
        first = source.line + 1
        values, text = source.table(atoms, [names.index(name) for name in wanted], "atom")
        order = np.argsort(values[:, 0], kind="stable")
        if len(np.unique(values[:, 0])) != atoms:
            raise source.error("an id occurs twice", "check the file", line=first)
        species: Symbols
        if use_type:
            missing = {int(kind) for kind in values[:, -1]} - set(self._types)
            if missing:
                raise source.error(
                    f"type {min(missing)} has no element", "name it in --types, or in types=...", line=first
                )
            species = np.array([self._types[int(kind)] for kind in values[:, -1]])[order]
        else:
            at = names.index("element")
            species = np.array([row.split()[at].decode("latin-1") for row in text.splitlines()])[order]
        values = values[order]
        positions = values[:, 1:4] @ cell if scaled else values[:, 1:4] - origin
        frame = Frame(0, species, positions, cell, source=str(self.path))
        if "fx" in wanted:
            at = wanted.index("fx")
            frame.forces = values[:, at : at + 3]
        if "vx" in wanted:
            at = wanted.index("vx")
            frame.velocities = values[:, at : at + 3] * 1e-3
        return frame


def _next(source: Source) -> bytes:
    line = source.readline()
    if not line:
        raise TruncatedFileError(source.line, "the file ends in the head of a frame")
    return line
