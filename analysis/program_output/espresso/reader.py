"""Which line of pw.x goes to which function."""

from __future__ import annotations

import re
from collections.abc import Callable

from anodeflow.analysis.program_output.espresso import energies, forces, geometry, steps
from anodeflow.analysis.program_output.espresso.state import Event, State

# By the first words of a line, without the blanks before them; most lines begin with none of these.
_HANDLERS: dict[bytes, Callable[[State, bytes], Event | None]] = {
    b"!": energies.on_energy,
    b"%%%%%%%%": steps.on_error_rule,
    b"End of self-consistent calculation": energies.on_end,
    b"energy   new": energies.on_repeated,
    b"energy             new": energies.on_repeated,
    b"Final energy   ": energies.on_repeated,
    b"EXX: now go back": energies.on_refined,
    b"lsda relaxation": steps.on_checked_again,
    b"iteration #": energies.on_iteration,
    b"total energy   ": energies.on_iteration_energy,
    b"estimated scf accuracy": energies.on_accuracy,
    b"smearing contrib.": energies.on_term,
    b"internal energy E=F+TS": energies.on_term,
    b"The total energy is": energies.on_terms,
    b"Using Berry phase electric field": energies.on_field,
    b"total magnetization": energies.on_magnetization,
    b"convergence has been achieved": energies.on_converged,
    b"convergence NOT achieved": energies.on_unconverged,
    b"Forces acting on atoms": forces.on_forces,
    b"Total force =": forces.on_total_force,
    b"total   stress": forces.on_stress,
    b"number of scf cycles": steps.on_cycles,
    b"CELL_PARAMETERS": geometry.on_cell,
    b"ATOMIC_POSITIONS": geometry.on_positions,
    b"new unit-cell volume": geometry.on_new_volume,
    b"new lattice vectors (alat unit)": geometry.on_told_cell,
    b"new positions in cart coord (alat unit)": geometry.on_told_positions,
    b"Begin final coordinates": steps.on_begin_final,
    b"End final coordinates": steps.on_end_final,
    b"Entering Dynamics": steps.on_dynamics,
    b"Time step   ": steps.on_time_step,
    b"time      =": steps.on_time,
    b"kinetic energy (Ekin)": steps.on_kinetic,
    b"temperature  ": steps.on_temperature,
    b"Ekin =": steps.on_cell_motion,
    b"Ekin + Etot": steps.on_conserved,
    b"Writing output data file": steps.on_written,
    b"bfgs converged in": steps.on_optimised,
    b"bfgs failed": steps.on_optimiser_failed,
    b"history already reset at previous step": steps.on_optimiser_failed,
    b"The maximum number of steps": steps.on_steps_used_up,
    b"End of BFGS": steps.on_part,
    b"End of damped dynamics": steps.on_part,
    b"End of molecular dynamics": steps.on_part,
    b"PWSCF        :": steps.on_part,
    b"Maximum CPU time exceeded": steps.on_out_of_time,
    b"Program stopped by user request": steps.on_user_stop,
    b"JOB DONE.": steps.on_done,
    b"Final scf calculation at the relaxed": steps.on_final_scf,
    b"A final scf calculation at the relaxed": steps.on_final_scf,
    b"Program PWSCF": steps.on_version,
    b"number of atoms/cell": geometry.on_atoms,
    b"celldm(1)=": geometry.on_alat,
    b"unit-cell volume": geometry.on_volume,
    b"crystal axes:": geometry.on_axes,
    b"reciprocal axes:": geometry.on_axes,
    b"site n.": geometry.on_sites,
}
_RELEVANT = re.compile(rb"\s*(" + rb"|".join(map(re.escape, _HANDLERS)) + rb")")


class PwLines(State):
    """Take the lines of one output of pw.x one after the other; what they say is in the attributes of :class:`State`.

    Examples
    --------
    >>> lines = PwLines()
    >>> lines.feed(b"!    total energy              =     -14.81514138 Ry")
    >>> lines.feed(b"     convergence has been achieved in   7 iterations")
    'converged'
    >>> lines.now.energy
    -14.81514138
    """

    def feed(self, line: bytes) -> Event | None:
        """Take one line, without its end; return what it completes, if anything.

        Raises
        ------
        DamagedLineError
            If it cannot be true.
        """
        self.line += 1
        if b"\0" in line:
            raise self.wrong("NUL bytes stand in place of text")
        if self.row is not None:
            event = self.row(self, line)
            if event != "again":
                return event
        elif self.no_more is not None:
            if self.no_more.fullmatch(line.rstrip()):
                raise self.broken(line, "the end of the block: it is a row too many")
            self.no_more = None
        match = _RELEVANT.match(line)
        return None if match is None else _HANDLERS[match[1]](self, line)
