"""Energies of pw.x: of each iteration, at its end, and the terms it is the sum of."""

from __future__ import annotations

import math
import re

from anodeflow.analysis.program_output.espresso.state import Event, State, Terms
from anodeflow.analysis.program_output.lines import NUMBER

# What pw.x rounds away, Ry.
_DIGIT = 1e-8
# An energy may move by so many times the accuracy that pw.x estimated one iteration before, and by so much more: the
# estimate is a rough one, and what is looked for here are signs and leading digits.
_TIMES, _MORE = 10.0, 0.1

_ENERGY = re.compile(rb"!+\s+total energy\s+=\s*" + NUMBER + rb" Ry")
_NUMBER_OF = re.compile(rb"\s+iteration #\s*(\d{1,9})\b.*")
_ITERATION = re.compile(rb"\s+total energy\s+=\s*" + NUMBER + rb" Ry")
_ACCURACY = re.compile(rb"\s+estimated scf accuracy\s+<\s*" + NUMBER + rb" Ry")
_MAGNETIZATION = re.compile(rb"\s+total magnetization\s+=\s*" + NUMBER + rb" Bohr mag/cell")
_IN_RYDBERG = re.compile(rb"\s+(\S.*?)\s*=\s*" + NUMBER + rb" Ry")
_DISPERSION = b"DFT-D3 Dispersion"
# Where another term is printed, nothing is concluded from the sum.
_KNOWN_TERMS = {
    b"one-electron contribution", b"hartree contribution", b"xc contribution", b"ewald contribution",
    b"one-center paw contrib.", b"Hubbard energy", b"smearing contrib. (-TS)", _DISPERSION,
}  # fmt: skip


def on_iteration(state: State, line: bytes) -> None:
    """Refuse an iteration that does not follow the one before, or a new beginning before the end of the old one."""
    number = state.integer(_NUMBER_OF, line, "the number of an iteration")
    due = 1 if state.iterations is None else state.iterations + 1
    # a run that continues another one begins in the middle
    if number != due and (state.from_scratch or state.has_iterations):
        raise state.broken(line, f"iteration {due}, which is due")
    state.iterations, state.has_iterations = number, True


def on_iteration_energy(state: State, line: bytes) -> None:
    """Note the energy of an iteration."""
    state.iteration_energy = state.match(_ITERATION, line)[0]


def on_accuracy(state: State, line: bytes) -> None:
    """Note how far from the end it was."""
    state.accuracy = state.match(_ACCURACY, line)[0]


def on_energy(state: State, line: bytes) -> None:
    """Take the energy of the converged electrons."""
    if state.owes_forces and not state.refines:
        raise state.broken(line, "the forces of the energy before, which are missing")
    now = state.now
    now.energy, now.line, now.entropy = state.match(_ENERGY, line)[0], state.line, 0.0
    now.dispersion = None
    state.last_energy, state.owes_energy = now.energy, False
    last = state.iteration_energy
    if last is not None and abs(now.energy - last) > _TIMES * state.accuracy + _MORE:
        raise state.broken(line, f"an energy near that of the iteration before, {last:.8f} Ry")
    state.iteration_energy, state.accuracy, state.terms = None, math.inf, Terms()
    state.owes_forces = True


def on_end(state: State, line: bytes) -> None:
    """Expect the energy of the electrons; refuse the end of others while one is owed."""
    if state.owes_energy:
        raise state.broken(line, "the energy of the electrons before, which is missing")
    state.owes_energy, state.iterations = True, None


def on_repeated(state: State, line: bytes) -> None:
    """Refuse an energy that is not the one of the last geometry."""
    match = _IN_RYDBERG.fullmatch(line.rstrip())
    if match is None:
        raise state.broken(line, "a number")
    value, last = state.numbers(line, [match[2]])[0], state.last_energy
    if last is not None and abs(value - last) > 2 * _DIGIT:
        raise state.broken(line, f"the last energy above, {last:.8f} Ry")


def on_refined(state: State, line: bytes) -> None:
    """Expect another energy of the same geometry: exact exchange is refined."""
    state.refines = True


def on_term(state: State, line: bytes) -> None:
    """Take the smearing contribution, the internal energy, or a term of the sum."""
    match = _IN_RYDBERG.fullmatch(line.rstrip())
    if match is None:
        raise state.broken(line, "a number")
    name, value = match[1], state.numbers(line, [match[2]])[0]
    if name.startswith(b"smearing contrib."):
        state.now.entropy = state.terms.entropy = value
    if name.startswith(b"internal energy"):
        state.terms.internal = value
    elif state.block and not name.startswith(b"->"):
        if name in state.terms.values:
            raise state.broken(line, "another term: this one came before")
        state.terms.values[name] = value
        if name == _DISPERSION:
            state.now.dispersion = value


def on_terms(state: State, line: bytes) -> None:
    """Begin the list of terms."""
    state.terms.of_internal = b"E is the sum" in line
    state.open_block("terms of the energy", _term_row)


def _term_row(state: State, line: bytes) -> Event | None:
    if not line.strip():
        if state.terms.values:
            state.close_block()
        return None
    if _IN_RYDBERG.fullmatch(line.rstrip()) is not None:
        on_term(state, line)
        return None
    state.close_block()
    return "again"


def on_field(state: State, line: bytes) -> None:
    """Expect a term that is never printed: the energy in an electric field."""
    state.adds_up = False


def on_converged(state: State, line: bytes) -> Event:
    """Take note that the electrons converged; refuse an energy that is not the sum of its terms."""
    if state.now.energy is not None:
        _check_sum(state, line, state.now.energy)
    state.now.converged = True
    return "converged"


def _check_sum(state: State, line: bytes, energy: float) -> None:
    parts = state.terms
    rounding = _DIGIT * (2 + len(parts.values))
    internal = energy - (parts.entropy or 0.0)
    if parts.internal is not None:
        if parts.entropy is None:
            raise state.broken(line, "convergence: the energy above lacks its smearing contribution")
        if abs(parts.internal - internal) > rounding:
            raise state.broken(line, f"convergence: F = {energy:.8f} Ry above is not E - TS")
    if state.adds_up and parts.values and set(parts.values) <= _KNOWN_TERMS:
        whole, total = internal if parts.of_internal else energy, sum(parts.values.values())
        if abs(total - whole) > rounding:
            raise state.broken(
                line, f"convergence: the terms of the energy above add up to {total:.8f} Ry, not {whole:.8f} Ry"
            )


def on_unconverged(state: State, line: bytes) -> Event:
    """Take note that the electrons did not converge."""
    state.now.converged, state.scf_failed_line, state.owes_energy = False, state.line, False
    state.iterations = None
    return "unconverged"


def on_magnetization(state: State, line: bytes) -> None:
    """Take the moment of the cell, where it is one number."""
    match = _MAGNETIZATION.fullmatch(line.rstrip())
    if match is not None:
        state.now.magnetization = state.numbers(line, [match[1]])[0]
