"""Steps of pw.x: cycles of an optimisation, dynamics, how the run ended, and error messages."""

from __future__ import annotations

import re

import numpy as np

from anodeflow.analysis.program_output.espresso.state import Event, State
from anodeflow.analysis.program_output.lines import NUMBER
from anodeflow.units import RYDBERG_TIME_FS

_LONGEST_MESSAGE = 500

_VALUE = re.compile(rb"[^=]*=\s*" + NUMBER + rb".*")
_COUNT = re.compile(rb"[^=]*=\s*(\d{1,9})\b.*")
_TIME_STEP = re.compile(rb"\s+Time step\s+=\s*" + NUMBER + rb" a\.u\.,\s*" + NUMBER + rb" femto-seconds")
_DYNAMICS = re.compile(
    rb"\s+Entering Dynamics[:;]\s+it(?:eration)?\s+=\s*(\d{1,9})(?:\s+time\s+=\s*" + NUMBER + rb".*)?"
)
_CELL_MOTION = re.compile(rb"\s+Ekin =\s*" + NUMBER + rb" Ry\s+T =\s*" + NUMBER + rb" K\s+Etot =\s*" + NUMBER)
_VERSION = re.compile(rb"\s+Program PWSCF v\.(\S+).*")


def on_version(state: State, line: bytes) -> Event:
    """Take the release; another run begins."""
    match = _VERSION.fullmatch(line.rstrip())
    if match is not None:
        state.version = match[1].decode("utf-8", errors="replace")
    return "program"


def on_cycles(state: State, line: bytes) -> None:
    """Refuse a relaxation that lacks a step, or has one twice."""
    number = state.integer(_COUNT, line, "the number of SCF cycles")
    due = 1 if state.cycles is None and state.from_scratch else (state.cycles or number - 1) + 1
    if number != due:
        raise state.broken(line, f"SCF cycle {due}, which is due")
    state.cycles = number


# --- dynamics ----------------------------------------------------------------------------------------


def on_time_step(state: State, line: bytes) -> None:
    """Take the time step."""
    state.timestep, femtoseconds = state.match(_TIME_STEP, line)
    if abs(state.timestep * RYDBERG_TIME_FS - femtoseconds) > 1e-4 + 1e-4 * femtoseconds:
        raise state.broken(line, "the same time in both units")


def on_dynamics(state: State, line: bytes) -> None:
    """Take the number of the step that follows, which must be the next one."""
    match = _DYNAMICS.fullmatch(line.rstrip())
    if match is None:
        raise state.broken(line, "the number of a step")
    number = int(match[1])
    if state.steps is not None and number != state.steps + 1:
        raise state.broken(line, f"step {state.steps + 1}, which is due")
    state.steps = state.now.iteration = number
    if match[2] is not None:
        state.now.time_ps = state.numbers(line, [match[2]])[0]


def on_time(state: State, line: bytes) -> None:
    """Refuse a time that is not that of the step."""
    time_ps = state.match(_VALUE, line)[0]
    if state.timestep is not None and state.steps is not None:
        due = state.steps * state.timestep * RYDBERG_TIME_FS * 1e-3
        if abs(time_ps - due) > 1.1e-4 + 1e-6 * due:
            raise state.broken(line, f"the time of step {state.steps}, {due:.4f} ps")


def on_kinetic(state: State, line: bytes) -> None:
    """Take the kinetic energy of the ions, once a step."""
    if state.steps is not None and state.kinetic_of == state.steps:
        raise state.broken(line, f"the kinetic energy of another step than {state.steps}, whose is printed above")
    state.kinetic_of = state.steps
    state.now.kinetic = state.match(_VALUE, line)[0]


def on_temperature(state: State, line: bytes) -> Event | None:
    """Take the temperature of the ions, not that of a thermostat at the start."""
    if state.steps is None:
        return None
    state.now.temperature_k = state.match(_VALUE, line)[0]
    _check_temperature(state, line)
    return "motion"


def on_cell_motion(state: State, line: bytes) -> Event:
    """Take kinetic energy and temperature of dynamics in which the cell moves."""
    now = state.now
    now.kinetic, now.temperature_k, total = state.match(_CELL_MOTION, line)
    if now.energy is not None and state.cell_bohr is not None:
        # the rest is the pressure asked for times the volume
        volume = abs(float(np.linalg.det(state.cell_bohr)))
        pressure, known = (total - now.energy - now.kinetic) / volume, state.pressure
        if known is not None and abs(pressure - known) * volume > 1e-6:
            raise state.broken(line, "the sum of the energies above, as the steps before have it")
        state.pressure = pressure
    return "motion"


def _check_temperature(state: State, line: bytes) -> None:
    """Refuse a temperature that does not belong to its kinetic energy as those of the steps before do."""
    kinetic, temperature = state.now.kinetic, state.now.temperature_k
    if kinetic is None or temperature is None or kinetic < 1e-5:
        return
    ratio = temperature / kinetic
    error = (1e-7 + ratio * 1e-8) / kinetic + 1e-6 * ratio
    known = state.kelvin_per_ry
    if known is not None and abs(ratio - known[0]) > 2 * (error + known[1]):
        raise state.broken(line, "the temperature of its kinetic energy, as the steps before have it")
    if known is None or error < known[1]:
        state.kelvin_per_ry = (ratio, error)


def on_conserved(state: State, line: bytes) -> Event:
    """Refuse a total energy that is not the sum of potential and kinetic energy."""
    conserved, now = state.match(_VALUE, line)[0], state.now
    if now.energy is not None and now.kinetic is None:
        raise state.broken(line, "a sum whose kinetic energy stands above")
    if now.energy is not None and now.kinetic is not None:
        total = now.energy + now.kinetic
        if abs(conserved - total) > 4e-8:
            raise state.broken(line, f"the sum of Etot and Ekin above, {total:.8f} Ry")
    return "written"


# --- the end -----------------------------------------------------------------------------------------


def on_written(state: State, line: bytes) -> Event:
    """Note that everything of a geometry has been printed."""
    return "written"


def on_part(state: State, line: bytes) -> Event:
    """Note the end of a part of the run."""
    return "part"


def on_optimised(state: State, line: bytes) -> Event:
    """Note that the optimisation converged."""
    state.optimiser_converged = True
    return "part"


def on_steps_used_up(state: State, line: bytes) -> Event:
    """Note that no more steps were allowed."""
    state.stopped = "steps"
    return "part"


def on_out_of_time(state: State, line: bytes) -> None:
    """Note that the time allowed was used up."""
    state.stopped = "time"


def on_user_stop(state: State, line: bytes) -> None:
    """Note that the user stopped the run."""
    state.stopped = "user"


def on_optimiser_failed(state: State, line: bytes) -> None:
    """Note that the optimiser gave up."""
    state.stopped = "optimiser"


def on_begin_final(state: State, line: bytes) -> None:
    """Expect the last geometry once more."""
    state.in_final_block = True


def on_end_final(state: State, line: bytes) -> None:
    """Expect new geometries again."""
    state.in_final_block = False


def on_checked_again(state: State, line: bytes) -> None:
    """Expect the same geometry once more: one without moments is computed again from fresh electrons."""
    state.is_new = True


def on_final_scf(state: State, line: bytes) -> Event:
    """Expect the relaxed geometry once more, in a new basis."""
    state.final_scf = state.is_new = True
    state.volume_bohr3 = None
    state.next_geometry()
    return "final scf"


def on_done(state: State, line: bytes) -> Event:
    """Note the clean end of the run."""
    if state.stopped not in ("time", "user"):
        if state.owes_energy or state.iterations is not None:
            raise state.broken(line, "the end: the last electrons have no energy")
        if state.has_forces and state.owes_forces:
            raise state.broken(line, "the end: the last energy has no forces, as those before have")
    state.end = "done"
    return "done"


def on_error_rule(state: State, line: bytes) -> None:
    """Begin an error message."""
    state.open_block("error message", _error_row)
    if state.error_line is None:
        state.error_line = state.line


def _error_row(state: State, line: bytes) -> Event | None:
    if not line.lstrip().startswith(b"%%%%%%%%"):
        state.words.append(line.decode("utf-8", errors="replace").strip())
        return None
    words = state.words
    state.close_block()
    state.end = "error"
    if state.error_message is None:
        match = re.match(r"Error in routine\s+(\S+)", words[0]) if words else None
        state.error_routine = match.group(1) if match else None
        state.error_message = " ".join(" ".join(words).split())[:_LONGEST_MESSAGE]
    return "error"
