"""Electrons of CASTEP: the table of cycles, and the energies below it."""

from __future__ import annotations

import re

from anodeflow.analysis.program_output.castep.runs import Evaluation
from anodeflow.analysis.program_output.castep.state import State

# Below the table energies have ten decimals.
_ROUNDING_EV = 1e-8

_CYCLE = re.compile(rb"\s*(Initial|\d{1,9})\s+(\S+)\s.*<-- SCF")
_CYCLE_EV = re.compile(rb"[+-]?\d\.\d{8}E[+-]\d{3}")
_CUTOFF = re.compile(rb"\s*Calculating total energy with cut-off of\s+(\S+?)\s*eV")
_ENERGY = re.compile(rb"\s*Final energy(?:, E)?\s+=(.*)")
_FREE = re.compile(rb"\s*Final free energy \(E-TS\)\s+=(.*)")
_ZERO = re.compile(rb"\s*NB est\. 0K energy \(E-0\.5TS\)\s+=(.*)")
_DISPERSED = re.compile(rb"\s*Dispersion corrected final energy\*(?:, Ecor)?\s*=(.*)")
_CORRECTED = re.compile(rb"\s*Total energy corrected for finite basis set =(.*)")


def on_cycle(state: State, line: bytes) -> None:
    """Take a row of the table of cycles, which must be the next one."""
    row = _CYCLE.fullmatch(line)
    if row is None:
        return
    number = 0 if row[1] == b"Initial" else int(row[1])
    expected = 0 if state.cycle is None else state.cycle + 1
    if number not in (expected, 0) or (number == 0 and state.cycle == 0):
        raise state.wrong(f"SCF cycle {row[1].decode()} where cycle {expected} is due")
    if number == 0:
        settle(state)
        state.scf_failed = False
    state.cycle, state.cycle_ev = number, None
    if number and _CYCLE_EV.fullmatch(row[2]):
        state.cycle_ev = (float(row[2]), 1e-9 + 2e-8 * 10.0 ** int(row[2][-4:]))


def on_unconverged(state: State) -> None:
    """Take note that the electrons did not converge."""
    state.scf_failed = True
    if state.run.evaluations and state.cycle is None:
        state.run.evaluations[-1].scf_converged = False


def on_line(state: State, line: bytes) -> bool:
    """Take a line with an energy or a cutoff; return whether it is one."""
    if match := _ENERGY.fullmatch(line):
        _on_energy(state, match[1])
    elif match := _FREE.fullmatch(line):
        _on_free(state, match[1])
    elif match := _ZERO.fullmatch(line):
        _on_zero(state, match[1])
    elif match := _DISPERSED.fullmatch(line):
        _on_dispersion(state, match[1])
    elif match := _CORRECTED.fullmatch(line):
        corrected = state.electron_volts(match[1], "the corrected energy")
        state.run.corrections_ev.append(corrected - state.latest("corrected").variational_ev)
    elif match := _CUTOFF.match(line):
        state.cutoff = state.number(match[1], "a cut-off")
    else:
        return False
    return True


def _on_energy(state: State, text: bytes) -> None:
    last = state.cycle_ev
    settle(state)
    state.cycle_ev = last
    if state.matrix is None or not state.fractional:
        raise state.wrong("an energy before any geometry")
    _check_parts(state)
    energy = state.electron_volts(text, "the energy")
    evaluation = Evaluation(state.line, energy, state.matrix, state.fractional, state.cutoff, not state.scf_failed)
    state.run.evaluations.append(evaluation)
    state.pending.append(evaluation)
    state.cycle = None
    if not _agrees(state, energy):
        state.disputed = evaluation


def _check_parts(state: State) -> None:
    """Refuse the energy of a trial that shows less of its geometry than the first one."""
    if state.parts is None:
        return
    if state.usual_parts is None:
        state.usual_parts = state.parts
    missing = state.usual_parts - state.parts
    if missing or not state.parts:
        raise state.wrong(f"the energy of a trial whose {' and '.join(sorted(missing)) or 'geometry'} is missing")
    state.parts = None


def _on_free(state: State, text: bytes) -> None:
    latest = state.latest("free")
    if latest.free_ev is not None:
        raise state.wrong("two free energies of one ground state")
    latest.free_ev = state.electron_volts(text, "the free energy")
    if _agrees(state, latest.free_ev):
        state.disputed = None
    settle(state)


def _on_zero(state: State, text: bytes) -> None:
    # with more verbose output one also stands before every SCF cycle, of a state that is not the ground state
    latest = state.run.evaluations[-1] if state.run.evaluations else None
    if state.cycle is not None or latest is None or latest.free_ev is None or latest.zero_ev is not None:
        return
    latest.zero_ev = state.electron_volts(text, "the energy at 0 K")
    middle = (latest.energy_ev + latest.free_ev) / 2
    if abs(latest.zero_ev - middle) > _ROUNDING_EV:
        raise state.wrong(
            f"the energy at 0 K is {latest.zero_ev:.10f} eV; half way between E and E-TS above is {middle:.10f} eV"
        )


def _on_dispersion(state: State, text: bytes) -> None:
    # with more verbose output, as of the energy at 0 K: of states that are not the ground state
    if state.cycle is not None or not state.run.evaluations:
        return
    latest = state.run.evaluations[-1]
    if latest.dispersion_ev is not None:
        raise state.wrong("two dispersion-corrected energies of one ground state")
    latest.dispersion_ev = state.electron_volts(text, "the dispersion-corrected energy") - latest.energy_ev


def _agrees(state: State, energy_ev: float) -> bool:
    """Return whether an energy is that of the last cycle, or there is none to compare with."""
    return state.cycle_ev is None or abs(energy_ev - state.cycle_ev[0]) <= state.cycle_ev[1]


def settle(state: State) -> None:
    """Refuse a ground state whose energy, and free energy where there is one, are not that of the last cycle."""
    disputed, last = state.disputed, state.cycle_ev
    state.disputed = None
    if disputed is not None and last is not None:
        raise state.wrong(
            f"the energy of line {disputed.line} is {disputed.variational_ev:.6f} eV, that of its last SCF cycle "
            f"{last[0]:.6f} eV"
        )
    state.cycle_ev = None
