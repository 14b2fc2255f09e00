"""Tables of CASTEP: lattice, coordinates, forces, stress."""

from __future__ import annotations

import re

import numpy as np

from anodeflow.analysis.program_output.castep.electrons import settle
from anodeflow.analysis.program_output.castep.runs import Vectors
from anodeflow.analysis.program_output.castep.state import State

# Lattice vectors have seven decimals, stresses six, pressures four.
_LATTICE_DIGIT, _PRESSURE_DIGIT = 1e-7, 2e-4

_COORDINATES = re.compile(rb"\s*x  Element\s+Atom\s+Fractional coordinates of atoms")
_FORCES = re.compile(rb"\s*\*{5,} (?:(\w[\w ]*) )?Forces \*{5,}\s*")
_STRESS = re.compile(rb"\s*\*{5,} (?:(\w[\w ]*) )?Stress Tensor \*{5,}\s*")
_STARS = re.compile(rb"\s*\*{20,}\s*")
_HELD = re.compile(rb"\(cons'd\)|\(mixed\)")
_ATOM = re.compile(rb"([A-Z][a-z]?)\s+(\d{1,9})\s+(.*)")
_COMPONENT = re.compile(rb"([xyz])\s+([^xyz\s]\S*\s.*)")


def opens(state: State, line: bytes) -> bool:
    """Begin a table, if the line is the head of one."""
    if line.lstrip().startswith(b"Real Lattice(A)"):
        state.open_block("lattice", _lattice_row)
    elif _COORDINATES.match(line):
        state.open_block("list of coordinates", _coordinate_row)
    elif match := _FORCES.fullmatch(line):
        kind = "unconstrained forces" if b"Unconstrained" in (match[1] or b"") else "forces"
        state.open_block(f"table of {kind}", _force_row)
    elif _STRESS.fullmatch(line):
        state.open_block("table of the stress", _stress_row)
    else:
        return False
    settle(state)
    return True


def _lattice_row(state: State, line: bytes) -> None:
    state.rows.append(line.strip())
    if len(state.rows) < 3:
        return
    rows = []
    for row in state.close_block():
        words = row.split()
        if len(words) != 6:
            raise state.wrong(f"a lattice vector has {len(words)} numbers in place of 6")
        rows.append([state.number(word, "a lattice vector") for word in words])
    matrix, reciprocal = np.hsplit(np.array(rows), 2)
    off = float(np.abs(matrix @ reciprocal.T - 2 * np.pi * np.eye(3)).max())
    if off > 4 * _LATTICE_DIGIT * float(np.abs(matrix).max() + np.abs(reciprocal).max()):
        raise state.wrong("the lattice above and its reciprocal beside it do not belong together")
    state.matrix = matrix
    if state.parts is not None:
        state.parts.add("cell")
    if state.in_final:
        state.run.final_matrix = matrix


def _coordinate_row(state: State, line: bytes) -> None:
    text = line.strip()
    if re.fullmatch(rb"x{20,}", text):
        if not state.rows:
            raise state.wrong("a list of coordinates without atoms")
        state.fractional = _vectors(state, state.close_block(), "coordinate")
        if state.parts is not None:
            state.parts.add("coordinates")
        if state.in_final:
            state.run.final_fractional = state.fractional
    elif text.startswith(b"x") and text.endswith(b"x") and len(text) > 2:
        inner = text[1:-1].strip()
        if inner and not inner.startswith((b"---", b"Number")):
            state.rows.append(inner)
    else:
        raise _foreign(state, text)


def _foreign(state: State, text: bytes) -> Exception:
    return state.wrong(f"'{text.decode('utf-8', errors='replace')[:60]}' inside a {state.block}")


def _starred(state: State, line: bytes) -> list[bytes] | None:
    """Take a row between stars; return all rows after the last one."""
    text = line.strip()
    if _STARS.fullmatch(line):
        return state.close_block()
    if not (text.startswith(b"*") and text.endswith(b"*")):
        raise _foreign(state, text)
    state.rows.append(text[1:-1].strip())
    return None


def _force_row(state: State, line: bytes) -> None:
    used = state.block == "table of forces"
    rows = _starred(state, line)
    if rows is None:
        return
    forces = _vectors(state, [_HELD.sub(b" ", row) for row in rows if _ATOM.fullmatch(row)], "force")
    run = state.run
    if not used:
        return
    if run.final_enthalpy_ev is not None:
        run.final_forces = forces
    elif run.evaluations:
        run.evaluations[-1].forces = forces


def _stress_row(state: State, line: bytes) -> None:
    rows = _starred(state, line)
    if rows is None:
        return
    components = [match for row in rows if (match := _COMPONENT.fullmatch(row))]
    if [match[1] for match in components] != [b"x", b"y", b"z"]:
        raise state.wrong("a stress tensor without its three rows")
    stress = np.array([state.triple(match[2].split(), "a stress") for match in components])
    for row in rows:
        if row.startswith(b"Pressure:"):
            pressure, mean = state.number(row.split()[-1], "the pressure"), -float(np.trace(stress)) / 3
            if abs(pressure - mean) > _PRESSURE_DIGIT:
                raise state.wrong(f"the pressure is said to be {pressure:.4f} GPa; that of the stress is {mean:.4f}")
    run = state.run
    if run.final_enthalpy_ev is not None:
        run.final_stress_gpa = stress
    elif run.evaluations:
        run.evaluations[-1].stress_gpa = stress


def _vectors(state: State, rows: list[bytes], quantity: str) -> Vectors:
    vectors: Vectors = {}
    for row in rows:
        words = _ATOM.fullmatch(row)
        if words is None:
            shown = row.decode("utf-8", errors="replace")[:60]
            raise state.wrong(f"'{shown}' is no {quantity} of an atom")
        atom = (words[1].decode(), int(words[2]))
        if atom in vectors:
            raise state.wrong(f"two {quantity}s of atom {atom[0]} {atom[1]}")
        vectors[atom] = np.array(state.triple(words[3].split()[:3], f"a {quantity}"))
    known = state.fractional if quantity == "force" else {}
    if known and set(vectors) != set(known):
        raise state.wrong(f"{len(vectors)} forces of {len(known)} atoms")
    if state.run.ions is not None and len(vectors) != state.run.ions:
        raise state.wrong(f"{len(vectors)} {quantity}s of {state.run.ions} atoms")
    return vectors
