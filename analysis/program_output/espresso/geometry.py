"""Cells and positions of pw.x: listed at the start, after each step, and once more at the end."""

from __future__ import annotations

import re

import numpy as np

from anodeflow.analysis.program_output.espresso.forces import check_forces
from anodeflow.analysis.program_output.espresso.state import Event, Geometry, State
from anodeflow.analysis.program_output.lines import NUMBER, Array

_UNITS = ("angstrom", "bohr", "alat", "crystal")
# A repeated geometry may differ from the first by this, Bohr: in a list after a step, and where the first was listed at
# the start, with fewer digits.
_REPEATED_BOHR, _LISTED_BOHR = 1e-7, 2e-5
# The same, of dynamics, where the length unit has six digits: in parts of the largest length.
_TOLD_BOHR = 2e-7

_TRIPLE = NUMBER + rb"\s+" + NUMBER + rb"\s+" + NUMBER
_VECTOR = re.compile(rb"\s*" + _TRIPLE)
_POSITION = re.compile(rb"\s*([A-Za-z][\w.+-]*)\s+" + _TRIPLE + rb"(?:\s+([01])\s+([01])\s+([01]))?")
_AXIS = re.compile(rb"\s*[ab]\((\d)\)\s*=\s*\(\s*" + _TRIPLE + rb"\s*\)")
_SITE = re.compile(rb"\s*(\d{1,9}|\*+)\s+(\S+)\s+tau\(\s*(?:\d+|\*+)\)\s*=\s*\(\s*" + _TRIPLE + rb"\s*\)")
_CARD = re.compile(rb"(?:CELL_PARAMETERS|ATOMIC_POSITIONS)\s*[({]?\s*(\w+)?\s*(?:=\s*" + NUMBER + rb")?\s*[)}]?")
_VOLUME = re.compile(rb"[^=]*=\s*" + NUMBER + rb".*")
_ATOMS = re.compile(rb"[^=]*=\s*(\d{1,18})\b.*")
_ALAT = re.compile(rb"\s*celldm\(1\)=\s*" + NUMBER + rb".*")


# --- at the start ------------------------------------------------------------------------------------


def on_atoms(state: State, line: bytes) -> Event:
    """Take the number of atoms."""
    atoms = state.integer(_ATOMS, line, "the number of atoms")
    if state.atoms is not None and atoms != state.atoms:
        raise state.broken(line, f"the {state.atoms} atoms of before")
    state.atoms = atoms
    return "atoms"


def on_alat(state: State, line: bytes) -> None:
    """Take the unit of length."""
    state.alat_bohr = state.match(_ALAT, line)[0]


def on_volume(state: State, line: bytes) -> None:
    """Note the volume of the cell that follows."""
    state.volume_bohr3 = state.match(_VOLUME, line)[0]


def on_new_volume(state: State, line: bytes) -> None:
    """Note the volume of the cell after a step."""
    state.cell_moves = True
    on_volume(state, line)


def on_axes(state: State, line: bytes) -> None:
    """Begin the axes of the crystal, or of its reciprocal lattice."""
    state.open_block("reciprocal axes" if b"reciprocal" in line else "crystal axes", _axis_row)


def _axis_row(state: State, line: bytes) -> None:
    match = _AXIS.fullmatch(line.rstrip())
    if match is None or int(match[1]) != len(state.rows) + 1:
        raise state.broken(line, f"axis {len(state.rows) + 1}")
    state.rows.append(state.numbers(line, match.groups()[1:]))
    if len(state.rows) < 3:
        return
    if state.block == "crystal axes":
        state.axes = state.close_block(_AXIS)
        if state.alat_bohr is not None:
            _check_volume(state, line, state.axes * state.alat_bohr, 1e-6 * state.alat_bohr)
        return
    reciprocal = state.close_block(_AXIS)
    if state.axes is not None:
        off = float(np.abs(state.axes @ reciprocal.T - np.eye(3)).max())
        if off > 4e-6 * float(np.abs(state.axes).max() + np.abs(reciprocal).max()):
            raise state.broken(line, "the reciprocal axes of the crystal axes above")


def _check_volume(state: State, line: bytes, cell_bohr: Array, digit_bohr: float) -> None:
    """Refuse a cell that has not the volume that is announced; `digit_bohr` is what its numbers are good to."""
    announced, state.volume_bohr3 = state.volume_bohr3, None
    if announced is None:
        return
    volume = abs(float(np.linalg.det(cell_bohr)))
    faces = sum(float(np.linalg.norm(np.cross(cell_bohr[i - 1], cell_bohr[i]))) for i in range(3))
    if not abs(volume - announced) <= 2e-4 + 1e-6 * announced + 2 * faces * digit_bohr:
        raise state.broken(line, f"a cell of the volume of {announced:.4f} Bohr^3 announced above")


def on_sites(state: State, line: bytes) -> None:
    """Begin the list of atoms, that in units of length."""
    if b"alat" in line:
        state.count(line)
        state.open_block("list of atoms", _site_row)


def _site_row(state: State, line: bytes) -> Event | None:
    match = _SITE.fullmatch(line.rstrip())
    if match is None or (match[1].isdigit() and int(match[1]) != len(state.rows) + 1):
        raise state.broken(line, f"atom {len(state.rows) + 1} of {state.atoms}")
    state.words.append(state.element(line, match[2]))
    state.rows.append(state.numbers(line, match.groups()[2:]))
    if len(state.rows) < (state.atoms or 0):
        return None
    if state.symbols and state.words != state.symbols:
        raise state.broken(line, "the elements of before")
    state.symbols, state.sites = state.words, state.close_block(_SITE)
    if state.axes is not None and state.alat_bohr is not None:
        cell, positions = state.axes * state.alat_bohr, state.sites * state.alat_bohr
        if state.final_scf:
            size = max(1.0, float(np.abs(cell).max()), float(np.abs(positions).max()))
            _check_repeated(state, line, cell, positions, _LISTED_BOHR * size)
        state.cell_bohr, state.positions_bohr = cell, positions
    return "sites"


# --- after a step ------------------------------------------------------------------------------------


def on_cell(state: State, line: bytes) -> None:
    """Begin the cell after a step."""
    state.card_cell, state.cell_moves = None, True
    state.unit = _unit(state, line)
    if state.unit == "crystal":
        raise state.broken(line, "a cell in a unit of length")
    state.open_block("cell vectors", _cell_row)


def _cell_row(state: State, line: bytes) -> None:
    state.rows.append(state.match(_VECTOR, line))
    if len(state.rows) == 3:
        cell = state.close_block(_VECTOR)
        state.card_cell = (state.unit, cell)
        here = state.in_bohr(state.unit, cell)
        _check_volume(state, line, here, 1e-8)
        _check_told(state, line, "cell", here)
        before = state.cell_bohr
        if before is not None and np.linalg.det(before) * np.linalg.det(here) < 0:
            raise state.broken(line, "a cell of the handedness of the one before")


def on_told_cell(state: State, line: bytes) -> None:
    """Begin the cell after a step of dynamics, which stands in the list once more."""
    state.open_block("new lattice vectors", _told_row)


def on_told_positions(state: State, line: bytes) -> None:
    """Begin the positions after a step of dynamics, which stand in the list once more."""
    state.count(line)
    state.open_block("new positions", _told_row)


def _told_row(state: State, line: bytes) -> None:
    of_cell = state.block == "new lattice vectors"
    match = (_VECTOR if of_cell else _POSITION).fullmatch(line.rstrip())
    if match is None:
        raise state.broken(line, "three numbers")
    state.rows.append(state.numbers(line, match.groups()[:3] if of_cell else match.groups()[1:4]))
    if len(state.rows) == (3 if of_cell else state.atoms):
        state.told["cell" if of_cell else "positions"] = state.close_block()


def _check_told(state: State, line: bytes, quantity: str, here: Array | None) -> None:
    stated = state.told.pop(quantity, None)
    if stated is None or here is None:
        return
    off = np.abs(state.in_bohr("alat", stated) - here).max()
    if off > _TOLD_BOHR * max(1.0, float(np.abs(here).max())):
        raise state.broken(line, f"the new {quantity} above")


def on_positions(state: State, line: bytes) -> None:
    """Begin the positions after a step."""
    state.count(line)
    if state.is_new and not state.in_final_block:
        raise state.broken(line, "a step from a geometry whose forces are printed")
    if state.cell_moves and state.card_cell is None:
        raise state.broken(line, "positions below the cell they belong to")
    state.unit = _unit(state, line)
    state.open_block("positions", _position_row)


def _position_row(state: State, line: bytes) -> Event | None:
    number = len(state.rows)
    match = _POSITION.fullmatch(line.rstrip())
    due = state.symbols[number] if number < len(state.symbols) else None
    if match is None or (due is not None and state.element(line, match[1]) != due):
        raise state.broken(line, f"the position of {due or f'atom {number + 1}'}")
    if due is None:
        state.symbols.append(state.element(line, match[1]))
    state.rows.append(state.numbers(line, match.groups()[1:4]))
    state.flags.append([flag == b"0" for flag in match.groups()[4:]])
    if len(state.rows) < (state.atoms or 0):
        return None
    positions = state.close_block(_POSITION)
    if state.held is None:
        state.held = np.array(state.flags)
    if state.doubt is not None:
        check_forces(state, state.doubt)
    unit, cell = state.card_cell or (None, None)
    state.card_cell = None
    state.coming = Geometry(state.unit, positions, unit, cell)
    _move(state, line, state.coming)
    return "positions"


def _move(state: State, line: bytes, coming: Geometry) -> None:
    """Note where the atoms are now; the final block must repeat what was computed last."""
    cell = state.cell_bohr
    if coming.cell is not None and coming.cell_unit is not None:
        cell = state.in_bohr(coming.cell_unit, coming.cell)
    if coming.unit != "crystal":
        positions: Array | None = state.in_bohr(coming.unit, coming.positions)
    else:
        positions = None if cell is None else coming.positions @ cell
    _check_told(state, line, "positions", positions)
    if state.in_final_block and state.optimiser_converged:
        first = state.cycles is None or state.cycles <= 1
        _check_repeated(state, line, cell, positions, _LISTED_BOHR if first else _REPEATED_BOHR)
        return
    state.cell_bohr, state.positions_bohr, state.is_new = cell, positions, True


def _check_repeated(state: State, line: bytes, cell: Array | None, positions: Array | None, digit: float) -> None:
    pairs = ((state.cell_bohr, cell, "cell"), (state.positions_bohr, positions, "positions"))
    for before, here, quantity in pairs:
        if before is not None and here is not None and np.abs(here - before).max() > digit:
            raise state.broken(line, f"the {quantity} of the last geometry that was computed")


def _unit(state: State, line: bytes) -> str:
    match = _CARD.match(line.strip())
    unit = (match[1] or b"alat").decode("utf-8", errors="replace").lower() if match else "alat"
    if match and match[2]:
        state.alat_bohr = state.numbers(line, [match[2]])[0]
    if unit not in _UNITS:
        raise state.wrong(f"the unit '{unit[:30]}' is none of {', '.join(_UNITS)}")
    return unit
