"""Forces and stress of pw.x."""

from __future__ import annotations

import math
import re

import numpy as np

from anodeflow.analysis.program_output.espresso.state import Event, ForceDoubt, State
from anodeflow.analysis.program_output.lines import NUMBER, DamagedLineError
from anodeflow.units import PWSCF_RY_PER_BOHR3_TO_GPA

_KBAR_PER_RY_BOHR3 = 10 * PWSCF_RY_PER_BOHR3_TO_GPA
# What pw.x rounds away: of a component and of the length of all forces (Ry/Bohr), and of a stress (kbar).
_FORCE_DIGIT, _LENGTH_DIGIT, _KBAR_DIGIT = 1e-8, 1e-6, 0.0065

_FORCE = re.compile(
    rb"\s+atom\s+(\d{1,9}|\*+)\s+type\s+\d+\s+force =\s*" + NUMBER + rb"\s*" + NUMBER + rb"\s*" + NUMBER
)
_TOTAL_FORCE = re.compile(rb"\s+Total force =\s*" + NUMBER + rb"\s+Total SCF correction =\s*" + NUMBER)
_STRESS_ROW = re.compile(rb"\s*" + rb"\s*".join([NUMBER] * 6))
_PRESSURE = re.compile(rb".*P=\s*" + NUMBER)


def on_forces(state: State, line: bytes) -> None:
    """Begin the list of forces."""
    state.count(line)
    state.open_block("forces", _force_row)


def _force_row(state: State, line: bytes) -> None:
    if not line.strip() and not state.rows:
        return
    match = _FORCE.fullmatch(line.rstrip())
    if match is None:
        raise state.broken(line, "a number")
    if match[1].isdigit() and int(match[1]) != len(state.rows) + 1:
        raise state.broken(line, f"the force of atom {len(state.rows) + 1}")
    state.rows.append(state.numbers(line, match.groups()[1:]))
    if len(state.rows) == state.atoms:
        state.now.forces = state.close_block(_FORCE)


def on_total_force(state: State, line: bytes) -> Event:
    """Take how good the forces are, and compare them with the length that is printed."""
    now = state.now
    total, now.scf_correction = state.match(_TOTAL_FORCE, line)
    if now.forces is None:
        raise state.broken(line, "the length of forces that are listed above")
    check_forces(state, ForceDoubt(state.line, now.forces, total))
    if now.energy is not None and now.converged is None:
        raise state.broken(line, "forces of an energy that is said to be converged")
    if now.energy is None and now.converged is not False:
        raise state.broken(line, "forces of a geometry whose energy is printed")
    if not state.is_new:
        raise state.broken(line, "forces of a geometry that is printed: these are the second ones of the last")
    state.is_new, state.owes_forces, state.has_forces = False, False, True
    return "total force"


def check_forces(state: State, doubt: ForceDoubt) -> None:
    """Refuse forces of another length than printed, or that do not add up to zero.

    Up to version 6 pw.x prints zero for what is held, so that the forces need not add up; from version 7 on it prints
    these forces, and leaves them out of the length. Before the first list of positions it is not known whether anything
    is held: then forces that fit in one way only stay in doubt.
    """
    state.doubt = None
    free = doubt.forces if state.held is None else np.where(state.held, 0.0, doubt.forces)
    length, sums = float(np.linalg.norm(free)), np.abs(doubt.forces.sum(axis=0))
    long = abs(length - doubt.total) > _LENGTH_DIGIT + _FORCE_DIGIT * math.sqrt(free.size)
    adds_up = sums <= _FORCE_DIGIT * (1 + len(free))
    if long and (not adds_up.all() or state.held is not None or doubt.total > length):
        raise DamagedLineError(
            doubt.line,
            f"the length of all forces is said to be {doubt.total:.6f} Ry/Bohr; those above have {length:.6f}",
        )
    zeroed = (doubt.forces == 0.0) if state.held is None else (doubt.forces == 0.0) & state.held
    for axis in np.flatnonzero(~adds_up & ~zeroed.any(axis=0)):
        # a gate at a surface takes up a force along z
        if axis != 2 or state.held is not None:
            raise DamagedLineError(
                doubt.line, f"the forces above add up to {sums[axis]:.8f} Ry/Bohr along {'xyz'[axis]}, not to zero"
            )
        long = True
    if long:
        state.doubt = doubt


def on_stress(state: State, line: bytes) -> None:
    """Begin the stress, and note the pressure."""
    match = _PRESSURE.fullmatch(line.rstrip())
    state.pressure_kbar = None if match is None else state.numbers(line, [match[1]])[0]
    state.open_block("stress", _stress_row)


def _stress_row(state: State, line: bytes) -> Event | None:
    row = state.match(_STRESS_ROW, line)
    for atomic, kbar in zip(row[:3], row[3:], strict=True):
        if abs(atomic * _KBAR_PER_RY_BOHR3 - kbar) > _KBAR_DIGIT + 1e-6 * abs(kbar):
            raise state.broken(line, "the same stress in both units")
    state.rows.append(row[:3])
    if len(state.rows) < 3:
        return None
    state.now.stress = stress = state.close_block(_STRESS_ROW)
    pressure, mean = state.pressure_kbar, float(np.trace(stress)) / 3 * _KBAR_PER_RY_BOHR3
    if pressure is not None and abs(mean - pressure) > _KBAR_DIGIT + 1e-6 * abs(mean):
        raise state.broken(line, f"the stress of the pressure above, {pressure:.2f} kbar")
    return "stress"
