"""Relaxations of CASTEP: steps, their criteria, and the final configuration."""

from __future__ import annotations

import re

import numpy as np

from anodeflow.analysis.program_output.castep.electrons import settle
from anodeflow.analysis.program_output.castep.runs import Evaluation, Iteration
from anodeflow.analysis.program_output.castep.state import State

# Forces have five decimals, stresses six, and enthalpies nine digits.
_FORCE_DIGIT, _STRESS_DIGIT, _ENTHALPY_DIGITS = 2e-5, 2e-6, 2e-8
# What a finite-basis correction may change by between the place where it is printed and a step, eV an atom.
_CORRECTION_EV = 2e-3
_MOST_WARNINGS = 20

_FINISHED = re.compile(rb"\s*(\w+): finished iteration\s+(\d{1,9})\s+with enthalpy=(.*)")
_TRIAL = re.compile(rb"\s*\w+: (?:starting|improving) iteration\s+\d+ with .*")
_FINAL_ENTHALPY = re.compile(rb"\s*\w+: Final Enthalpy\s+=(.*)")
_FINAL = re.compile(rb"\w+: Final Configuration:.*")
_CRITERION = re.compile(rb"\s*\|\s+(\S+)\s+\|\s+(\S+)\s+\|\s+(\S+)\s+\|\s+\S+\s+\|\s+(Yes|No)\s+\|\s+<-- \w+\s*")


def on_line(state: State, line: bytes) -> None:
    """Take a line of a relaxation, or of the end of the run."""
    run, text = state.run, line.strip()
    if match := _FINISHED.fullmatch(line):
        _on_finished(state, int(match[2]), state.electron_volts(match[3], "the enthalpy"))
    elif _TRIAL.fullmatch(line):
        state.parts = set()
    elif (match := _CRITERION.fullmatch(line)) and run.iterations:
        _on_criterion(state, match)
    elif b"Geometry optimization completed successfully" in line:
        run.relaxed = True
    elif b"Geometry optimization failed to converge" in line:
        run.relaxed = False
    elif b"there is nothing to optimise - skipping relaxation" in line:
        run.nothing_to_relax = True
    elif _FINAL.match(text):
        settle(state)
        state.in_final = True
        run.final_matrix, run.final_fractional = state.matrix, state.fractional
        if run.iterations:
            # where a part of the geometry is not printed again it has not moved, or is that of the last step
            last = run.iterations[-1].evaluation
            run.final_matrix, run.final_fractional = last.matrix, last.fractional
    elif match := _FINAL_ENTHALPY.fullmatch(line):
        _on_final_enthalpy(state, state.electron_volts(match[1], "the final enthalpy"))
    elif text.startswith(b"Total time") and b"=" in text:
        settle(state)
        _check_final(state)
        if run.finished:
            raise state.wrong("the end of one run for the second time")
        run.finished = True
    elif b"warning" in text.lower() and not text.startswith(b"***") and len(run.warnings) < _MOST_WARNINGS:
        run.warnings.append(" ".join(text.decode("utf-8", errors="replace").split())[:200])


def _digits(enthalpy_ev: float) -> float:
    """Return what an enthalpy is good to, eV: it is printed with nine digits, energies with ten decimals."""
    result: float = 1e-9 + _ENTHALPY_DIGITS * 10.0 ** np.floor(np.log10(max(abs(enthalpy_ev), 1e-300)))
    return result


def _on_finished(state: State, number: int, enthalpy: float) -> None:
    settle(state)
    run = state.run
    expected = run.iterations[-1].number + 1 if run.iterations else number
    if number != expected:
        raise state.wrong(f"iteration {number} where iteration {expected} is due")
    run.iterations.append(Iteration(number, enthalpy, state.line, _accepted(state, enthalpy)))
    state.pending = []


def _accepted(state: State, enthalpy: float) -> Evaluation:
    """Return the trial of a line search that a step ended on: the one whose energy fits the enthalpy best.

    The two differ by the finite-basis correction, which changes little between trials.
    """
    run = state.run
    if not state.pending:
        if not run.iterations:
            raise state.wrong("a step of the relaxation without an energy")
        return run.iterations[-1].evaluation
    correction = run.corrections_ev[-1] if run.corrections_ev else 0.0
    shift = correction
    if run.iterations:
        last = run.iterations[-1]
        shift = last.enthalpy_ev - last.evaluation.variational_ev
    nearest = min(reversed(state.pending), key=lambda e: abs(e.variational_ev + shift - enthalpy))
    off = abs(nearest.variational_ev + correction - enthalpy)
    allowed = _digits(enthalpy)
    if run.corrections_ev:
        allowed += abs(correction) + _CORRECTION_EV * len(nearest.fractional)
    if off > allowed:
        raise state.wrong(
            f"the enthalpy of the step is {enthalpy:.6f} eV, and no energy above comes nearer than {off:.6f} eV"
        )
    return nearest


def _on_criterion(state: State, match: re.Match[bytes]) -> None:
    name = match[1].decode("utf-8", errors="replace")
    value, tolerance = state.number(match[2], name), state.number(match[3], name)
    last = state.run.iterations[-1]
    last.table[name] = (value, tolerance, match[4] == b"Yes")
    evaluation = last.evaluation
    if name == "|F|max" and evaluation.forces:
        _compare(state, name, value, evaluation.largest_force(), _FORCE_DIGIT, "force")
    if name == "Smax" and evaluation.stress_gpa is not None:
        _compare(state, name, value, float(np.abs(evaluation.stress_gpa).max()), _STRESS_DIGIT, "stress")


def _compare(state: State, name: str, value: float, largest: float, digit: float, quantity: str) -> None:
    if abs(value - largest) > digit + 1e-5 * value:
        raise state.wrong(f"{name} is said to be {value:.6g}; the largest {quantity} of that step is {largest:.6g}")


def _on_final_enthalpy(state: State, enthalpy: float) -> None:
    run = state.run
    run.final_enthalpy_ev, state.in_final = enthalpy, False
    if run.iterations and abs(enthalpy - run.iterations[-1].enthalpy_ev) > _digits(enthalpy):
        raise state.wrong(
            f"the final enthalpy is {enthalpy:.6f} eV, that of the last step {run.iterations[-1].enthalpy_ev:.6f} eV"
        )


def _check_final(state: State) -> None:
    """Refuse forces and a stress at the end that are not those of the last step."""
    run = state.run
    last = run.final_evaluation()
    if last is None:
        return
    if run.final_forces and last.forces:
        off = max(float(np.abs(run.final_forces[atom] - force).max()) for atom, force in last.forces.items())
        if off > _FORCE_DIGIT:
            raise state.wrong(f"the final forces above differ by {off:.5f} eV/angstrom from those of the last step")
    if run.final_stress_gpa is not None and last.stress_gpa is not None:
        off = float(np.abs(run.final_stress_gpa - last.stress_gpa).max())
        if off > _STRESS_DIGIT:
            raise state.wrong(f"the final stress above differs by {off:.6f} GPa from that of the last step")
