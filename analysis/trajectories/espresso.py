"""Output of pw.x: static calculations, relaxations and dynamics.

A frame is a geometry with the energy and forces that pw.x printed for it; they follow the geometry. It counts once
what comes after shows that nothing of it is missing. Geometries without energy (the one after the last step, the
repeated final coordinates) are no frames; nor is the repeated self-consistent calculation at the end of vc-relax,
which has another basis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
from anodeflow.units import BOHR_ANGSTROM, RYDBERG_EV, RYDBERG_TIME_FS

_NUMBER = rb"([-+\d.EeDd*]+|NaN)"
_AXIS = re.compile(rb"\s*a\((\d)\)\s*=\s*\(\s*" + _NUMBER + rb"\s+" + _NUMBER + rb"\s+" + _NUMBER + rb"\s*\)")
_SITE = re.compile(
    rb"\s*\d+\s+(\S+)\s+tau\(\s*\d+\)\s*=\s*\(\s*" + _NUMBER + rb"\s+" + _NUMBER + rb"\s+" + _NUMBER + rb"\s*\)"
)
_FORCE = re.compile(
    rb"\s*atom\s+(\d+|\*+)\s+type\s+\d+\s+force\s*=\s*" + _NUMBER + rb"\s+" + _NUMBER + rb"\s+" + _NUMBER + rb"\s*$"
)
_CARD = re.compile(rb"\s*(CELL_PARAMETERS|ATOMIC_POSITIONS)\s*[({]?\s*(\w+)?\s*(?:=\s*([\d.]+))?\s*[)}]?")
_ELEMENT = re.compile(r"[A-Z][a-z]?")
# most lines are none of these
_RELEVANT = re.compile(
    rb"!|\s*(convergence|celldm\(1\)|number of atoms/cell|crystal axes|site n|Forces acting|Time step|Entering|CELL_|"
    rb"ATOMIC_POS|kinetic energy|temperature|Ekin|Writing|End of|bfgs converged|The maximum|JOB DONE|PWSCF|"
    rb"(A f|F)inal scf|Program PWSCF)"
)
_ENDS = (
    b"     End of BFGS",
    b"     bfgs converged",
    b"     The maximum number of steps",
    b"   JOB DONE",
    b"     PWSCF        :",
    b"     End of damped dynamics",
    b"     End of molecular dynamics",
)


@dataclass
class _State:
    """What is known of the run while reading."""

    alat: float = 0.0
    atoms: int = 0
    cell: Array | None = None
    species: Symbols | None = None
    timestep_fs: float | None = None
    positions: Array | None = None
    energy_ev: float | None = None
    forces: Array | None = None
    converged: bool | None = None
    kinetic_ev: float | None = None
    temperature_k: float | None = None
    step: int | None = None
    time_fs: float | None = None
    coming: Array | None = None
    coming_cell: Array | None = None
    dynamics: bool = False


class EspressoTrajectory(Trajectory):
    """Positions, cells, energies and forces; of dynamics also temperatures, steps and times."""

    format = "pw.x output"

    def _frames(self) -> Iterator[Frame]:
        index = 0
        with Source(self.path) as source:
            state = _State()
            done = False
            while line := source.readline():
                if _RELEVANT.match(line) is None:
                    continue
                if b"inal scf calculation at the relaxed structure" in line:
                    return
                if line.startswith(b"     Program PWSCF") and index:
                    raise source.error("a second run in the same file", "split the file")
                done = done or line.startswith(b"   JOB DONE")
                if not self._take(line, source, state):
                    continue
                if state.energy_ev is not None or state.forces is not None:
                    yield self._frame(state, source, index)
                    index += 1
                _next_geometry(state)
            if not done:
                raise TruncatedFileError(source.line, "'JOB DONE' is missing: the run has not ended")

    def _frame(self, state: _State, source: Source, index: int) -> Frame:
        if state.positions is None or state.cell is None or state.species is None:
            raise source.error("an energy before any geometry", "check the file")
        return Frame(
            index,
            state.species,
            state.positions,
            state.cell,
            energy_ev=state.energy_ev,
            kinetic_energy_ev=state.kinetic_ev,
            forces=state.forces,
            temperature_k=state.temperature_k,
            step=state.step,
            time_fs=state.time_fs,
            electronic_converged=state.converged,
            source=str(self.path),
        )

    def _take(self, line: bytes, source: Source, state: _State) -> bool:
        """Take in one line and what belongs to it; whether it shows that the frame is over."""
        text = line.strip()
        if line.startswith(b"!") and b"total energy" in line:
            state.energy_ev = _value(line, source, "the total energy") * RYDBERG_EV
        elif text.startswith(b"convergence has been achieved"):
            state.converged = True
        elif text.startswith(b"convergence NOT achieved"):
            state.converged = False
        elif text.startswith(b"celldm(1)="):
            state.alat = real(text.split()[1], source, "celldm(1)") * BOHR_ANGSTROM
        elif text.startswith(b"number of atoms/cell"):
            state.atoms = source.plausible(int(_value(line, source, "the number of atoms")))
        elif text.startswith(b"crystal axes:"):
            self._axes(source, state)
        elif text.startswith(b"site n.") and b"alat" in text:
            self._sites(source, state)
        elif text.startswith(b"Forces acting on atoms"):
            state.forces = self._forces(source, state)
        elif text.startswith(b"Time step "):
            state.timestep_fs = _value(line, source, "the time step") * RYDBERG_TIME_FS
        elif text.startswith(b"Entering Dynamics"):
            self._dynamics(line, source, state)
        elif text.startswith(b"CELL_PARAMETERS"):
            self._cell_card(line, source, state)
        elif text.startswith(b"ATOMIC_POSITIONS"):
            self._positions_card(line, source, state)
            # of md, not of vc-md, the kinetic energy of the old geometry comes after the new one
            return not state.dynamics or state.temperature_k is not None
        elif text.startswith(b"kinetic energy (Ekin)"):
            state.kinetic_ev = _value(line, source, "the kinetic energy") * RYDBERG_EV
        elif text.startswith(b"temperature  ") and state.dynamics:
            state.temperature_k = _value(line, source, "the temperature")
        elif text.startswith(b"Ekin =") and b" T =" in line:
            state.kinetic_ev = _value(line, source, "the kinetic energy") * RYDBERG_EV
            state.temperature_k = real(line.split(b" T =")[1].split()[0], source, "the temperature")
        elif text.startswith((b"Ekin + Etot", b"Writing output data file")):
            return state.coming is not None
        return line.startswith(_ENDS)

    def _axes(self, source: Source, state: _State) -> None:
        rows = []
        for _ in range(3):
            match = _AXIS.match(source.readline())
            if match is None:
                raise source.error("three crystal axes expected", "check the file")
            rows.append([real(word, source, "a crystal axis") for word in match.groups()[1:]])
        state.cell = checked_cell(np.array(rows) * state.alat, self.path, source.line)

    def _sites(self, source: Source, state: _State) -> None:
        symbols, rows = [], []
        for _ in range(state.atoms):
            line = source.readline()
            if not line:
                raise TruncatedFileError(source.line, "the file ends in the list of atoms")
            match = _SITE.match(line)
            if match is None:
                raise source.error(f"a site expected, there are {state.atoms} atoms", "check the file")
            symbols.append(_symbol(match.group(1), source))
            rows.append([real(word, source, "a coordinate") for word in match.groups()[1:]])
        state.species = np.array(symbols)
        state.positions = np.array(rows) * state.alat

    def _forces(self, source: Source, state: _State) -> Array:
        rows: list[list[float]] = []
        while len(rows) < state.atoms:
            line = source.readline()
            if not line:
                raise TruncatedFileError(source.line, "the file ends in the forces")
            match = _FORCE.match(line)
            if match is not None:
                rows.append([real(word, source, "a force") for word in match.groups()[1:]])
            elif line.strip() or rows:
                raise source.error(f"the force on atom {len(rows) + 1} of {state.atoms} expected", "check the file")
        return np.array(rows) * (RYDBERG_EV / BOHR_ANGSTROM)

    def _dynamics(self, line: bytes, source: Source, state: _State) -> None:
        state.dynamics = True
        _, _, after = line.partition(b"=")
        state.step = int(real(after.split()[0], source, "the iteration")) - 1
        if b"time =" in line:
            state.time_fs = real(line.split(b"time =")[1].split()[0], source, "the time") * 1e3
        elif state.timestep_fs is not None:
            # the time that pw.x prints is that of the new geometry
            state.time_fs = state.step * state.timestep_fs

    def _cell_card(self, line: bytes, source: Source, state: _State) -> None:
        unit, factor = _unit(line, source, state)
        if unit == "crystal":
            raise source.error("a cell in crystal coordinates", "check the file")
        rows, _ = source.table(3, (0, 1, 2), "a cell vector")
        state.coming_cell = checked_cell(rows * factor, self.path, source.line)

    def _positions_card(self, line: bytes, source: Source, state: _State) -> None:
        unit, factor = _unit(line, source, state)
        if state.species is None or state.cell is None:
            raise source.error("positions before the list of atoms", "check the file")
        text = source.block(state.atoms, "position")
        rows = [row.split() for row in text.splitlines()]
        first = source.line - state.atoms + 1
        for number, (row, symbol) in enumerate(zip(rows, state.species, strict=True), start=first):
            if len(row) not in (4, 7) or _symbol(row[0], source) != symbol:
                raise source.error(f"'{symbol}' and three coordinates expected", "check the file", line=number)
        values = np.array([[real(word, source, "a coordinate") for word in row[1:4]] for row in rows])
        cell = state.cell if state.coming_cell is None else state.coming_cell
        state.coming = values @ cell if unit == "crystal" else values * factor


def _value(line: bytes, source: Source, what: str) -> float:
    """The first word behind the equals sign."""
    words = line.partition(b"=")[2].split()
    if not words:
        raise source.error(f"{what} is missing", "check the file")
    return real(words[0], source, what)


def _symbol(label: bytes, source: Source) -> str:
    """Element of a label such as Fe1 or Li_a."""
    match = _ELEMENT.match(label.decode("latin-1").capitalize() if len(label) <= 2 else label.decode("latin-1"))
    if match is None:
        raise source.error(f"'{label.decode('latin-1')[:20]}' is no element", "check the file")
    return match.group()


def _unit(line: bytes, source: Source, state: _State) -> tuple[str, float]:
    """Unit of a card and angstrom in it."""
    match = _CARD.match(line)
    unit = (match.group(2) or b"alat").decode().lower() if match else "alat"
    if match and match.group(3):
        state.alat = real(match.group(3), source, "alat") * BOHR_ANGSTROM
    factors = {"angstrom": 1.0, "bohr": BOHR_ANGSTROM, "alat": state.alat, "crystal": 1.0}
    if unit not in factors:
        raise source.error(f"the unit '{unit}'", f"known are {', '.join(factors)}")
    return unit, factors[unit]


def _next_geometry(state: _State) -> None:
    state.positions = state.positions if state.coming is None else state.coming
    state.cell = state.cell if state.coming_cell is None else state.coming_cell
    state.energy_ev = state.forces = state.converged = state.kinetic_ev = state.temperature_k = None
    state.step = state.time_fs = state.coming = state.coming_cell = None
