"""What pw.x printed, read as it grows: geometries with energies, forces and stress, and how the run ended.

What the lines mean is in :mod:`anodeflow.analysis.program_output.espresso`. Here they become steps of a calculation
whose atoms are known, and an outcome that the card's tolerances judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.program_output.espresso import DamagedLineError, End, Event, PwLines
from anodeflow.errors import EngineError
from anodeflow.units import ASE_BOHR_ANGSTROM, ASE_RYDBERG_EV, PWSCF_RY_PER_BOHR3_TO_GPA
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import parts
from anodeflow.workflows.engines.contract import Outcome, Request, Task
from anodeflow.workflows.engines.motion.relax import CELL_COMPONENTS

# Longer lines are not of pw.x: the rest of such a line is skipped.
_LONGEST_LINE = 4096
_CHUNK = 1 << 16
# The start is listed with six digits.
_LISTED_ANGSTROM = 2e-4
# Share of the smearing term -TS that is taken off the free energy F: E0 = F - share * (-TS).
_EXTRAPOLATION = {
    "gaussian": 1 / 2,
    "fermi-dirac": 1 / 2,
    "methfessel-paxton": 1 / 3,
    "marzari-vanderbilt": 0.0,
    "none": 0.0,
}
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class DamagedOutputError(EngineError):
    """An output file holds something else where a number belongs, or contradicts itself."""


@dataclass
class Step:
    """One geometry with its energy and forces. Units: eV, angstrom, GPa.

    Attributes
    ----------
    energy_ev
        The free energy F = E - TS that pw.x minimises and whose forces it prints.
    entropy_ev
        -TS, zero or negative in most cases; zero with fixed occupations.
    dispersion_ev
        The correction for dispersion in `energy_ev`; None where there is none.
    forces_ev_per_angstrom
        (N, 3); zero on what is held.
    stress_gpa
        (3, 3), positive under tension (the sign of ASE: (1/V) dE/d strain); pw.x prints the opposite.
    """

    cell_angstrom: np.ndarray
    fractional: np.ndarray
    energy_ev: float
    entropy_ev: float
    forces_ev_per_angstrom: np.ndarray
    stress_gpa: np.ndarray | None
    line: int
    scf_correction_ev_per_angstrom: float = 0.0
    final_basis: bool = False
    magnetization: float | None = None
    dispersion_ev: float | None = None

    @property
    def largest_force(self) -> float:
        """Return the largest length of the force on an atom, eV/angstrom."""
        return float(np.linalg.norm(self.forces_ev_per_angstrom, axis=1).max())

    def extrapolated_ev(self, smearing: str) -> float:
        """Return the energy at zero smearing width, eV.

        (E + F)/2 for Gaussian and Fermi-Dirac smearing, (E + 2F)/3 for Methfessel-Paxton of first order
        (doi:10.1103/PhysRevB.40.3616, doi:10.1103/PhysRevB.54.11169), F for Marzari-Vanderbilt.
        """
        return self.energy_ev - _EXTRAPOLATION[smearing] * self.entropy_ev

    def relaxed_stress_gpa(self, task: Task) -> float | None:
        """Return the largest component of the stress among those that a task relaxes, GPa."""
        if self.stress_gpa is None or task not in CELL_COMPONENTS:
            return None
        return max(abs(float(self.stress_gpa[_VOIGT[i]])) for i in CELL_COMPONENTS[task])

    def same_geometry(self, cell: np.ndarray, fractional: np.ndarray) -> bool:
        """Return whether a geometry is this step's, to what pw.x prints."""
        return bool(
            np.allclose(self.cell_angstrom, cell, atol=2e-8) and np.allclose(self.fractional, fractional, atol=2e-9)
        )


@dataclass
class Output:
    """What is known of a run so far.

    Attributes
    ----------
    cell_angstrom, fractional
        The newest geometry, computed or not.
    end
        ``open`` while there is no last line of a clean end; ``error`` after an error block.
    """

    cell_angstrom: np.ndarray
    fractional: np.ndarray
    steps: list[Step] = field(default_factory=list)
    end: End = "open"
    version: str | None = None
    lines: int = 0
    scf_failed: bool = False
    optimiser_converged: bool = False
    final_scf: bool = False
    stopped: str | None = None
    error_routine: str | None = None
    error_message: str | None = None
    error_line: int | None = None

    @property
    def last(self) -> Step | None:
        """Return the newest computed geometry."""
        return self.steps[-1] if self.steps else None


class Reader:
    """Reads one output file of pw.x, also while it is being written.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    start
        Geometry of the input file; ``selective_dynamics`` tells what is held.
    stress
        Whether a step is whole only with its stress.
    """

    def __init__(self, path: Path, start: Structure, *, stress: bool) -> None:
        self.path = path
        self.result = Output(start.lattice.matrix.copy(), start.frac_coords.copy())
        self._start = start
        self._held = ~np.asarray(
            start.site_properties.get("selective_dynamics", np.ones((len(start), 3))), dtype=bool
        )  # fmt: skip
        self._lines = PwLines(self._held, from_scratch=True)
        self._lines.symbols = [site.specie.symbol for site in start]
        self._whole_with: Event = "stress" if stress else "total force"
        self._offset = 0
        self._rest = b""
        self._skip = False

    def read(self) -> Output:
        """Read what has come since the last call.

        Raises
        ------
        DamagedOutputError
            If the file holds something else where a number belongs, or contradicts itself; file and line are named.
        EngineError
            If it is of other atoms, or cannot be read.
        """
        try:
            with self.path.open("rb") as handle:
                handle.seek(self._offset)
                while chunk := handle.read(_CHUNK):
                    self._offset += len(chunk)
                    self._take(chunk)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EngineError(f"cannot read '{self.path}': {error.strerror}", "check the folder") from None
        return self.result

    def _take(self, chunk: bytes) -> None:
        pieces = (self._rest + chunk).split(b"\n")
        self._rest = pieces.pop()
        try:
            for piece in pieces:
                if self._skip or len(piece) > _LONGEST_LINE:
                    self._pass_over(piece)
                    self._lines.line += 1
                    self._skip = False
                else:
                    self._line(piece)
            if len(self._rest) > _LONGEST_LINE:
                self._pass_over(self._rest)
                self._rest, self._skip = b"", True
        except DamagedLineError as error:
            raise self._damaged(error) from None
        finally:
            self._sum_up()

    def _pass_over(self, piece: bytes) -> None:
        if b"\0" in piece:
            raise self._lines.wrong("NUL bytes stand in place of text")

    def _line(self, line: bytes) -> None:
        lines, result = self._lines, self.result
        event = lines.feed(line)
        if event == "atoms" and lines.atoms != len(self._start):
            raise EngineError(
                f"{self.path}:{lines.line} has {lines.atoms} atoms, the calculation {len(self._start)}",
                "the folder holds another calculation: remove it",
            )
        if event == "sites" and not lines.final_scf:
            self._check_start()
        elif event == "unconverged":
            result.scf_failed = True
        elif event == self._whole_with:
            self._take_step()
        elif event == "positions" and lines.coming is not None:
            coming = lines.coming
            if coming.unit != "crystal" or coming.cell_unit not in (None, "angstrom"):
                raise lines.wrong(f"the geometry is in units ({coming.unit}), not as this calculation asked for")
            result.fractional = coming.positions
            if coming.cell is not None:
                result.cell_angstrom = coming.cell
            lines.next_geometry()

    def _check_start(self) -> None:
        """Refuse the output of another geometry."""
        lines = self._lines
        if lines.axes is None or lines.sites is None or lines.alat_bohr is None:
            return
        unit = lines.alat_bohr * ASE_BOHR_ANGSTROM
        lattice = self._start.lattice
        apart = lattice.get_fractional_coords(lines.sites * unit) - self._start.frac_coords
        moved = lattice.get_cartesian_coords(apart - np.round(apart))
        off = max(float(np.abs(lines.axes * unit - lattice.matrix).max()), float(np.abs(moved).max()))
        if off > _LISTED_ANGSTROM:
            raise lines.wrong(f"the geometry above is not the one that was asked for: it differs by {off:.4f} angstrom")

    def _take_step(self) -> None:
        """Take a geometry that is complete, if its electrons converged and nothing of it is missing."""
        lines, now, result = self._lines, self._lines.now, self.result
        if now.energy is not None and now.converged and now.forces is not None and now.scf_correction is not None:
            stress = None if now.stress is None else -now.stress * PWSCF_RY_PER_BOHR3_TO_GPA
            result.steps.append(
                Step(
                    result.cell_angstrom.copy(),
                    result.fractional.copy(),
                    now.energy * ASE_RYDBERG_EV,
                    now.entropy * ASE_RYDBERG_EV,
                    np.where(self._held, 0.0, now.forces) * (ASE_RYDBERG_EV / ASE_BOHR_ANGSTROM),
                    stress if self._whole_with == "stress" else None,
                    now.line,
                    now.scf_correction * (ASE_RYDBERG_EV / ASE_BOHR_ANGSTROM),
                    lines.final_scf,
                    now.magnetization,
                    None if now.dispersion is None else now.dispersion * ASE_RYDBERG_EV,
                )
            )
        lines.next_geometry()

    def _sum_up(self) -> None:
        lines, result = self._lines, self.result
        result.lines, result.version, result.end = lines.line, lines.version, lines.end
        result.optimiser_converged, result.final_scf = lines.optimiser_converged, lines.final_scf
        result.stopped = lines.stopped
        result.error_routine, result.error_message = lines.error_routine, lines.error_message
        result.error_line = lines.error_line

    def _damaged(self, error: DamagedLineError) -> DamagedOutputError:
        return DamagedOutputError(
            f"{self.path}:{error.line}: {error.problem}",
            "the calculation went astray or the file is damaged; look at its geometry and start it again",
        )


def read_output(path: Path, start: Structure, *, stress: bool = False) -> Output:
    """Read a whole output file; see :class:`Reader`.

    Raises
    ------
    EngineError
        If there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise EngineError(f"no file '{path}'", "run the calculation")
    return Reader(path, start, stress=stress).read()


def shortfall(step: Step, task: Task, card: MethodCard) -> str | None:
    """Return in what a step misses the card's tolerances; None where it meets them.

    Parameters
    ----------
    step
        The last one of a relaxation. One of a cell that was relaxed counts only in the basis of that cell.
    task, card
        What was asked for.
    """
    force, stress = step.largest_force, step.relaxed_stress_gpa(task)
    if (
        (task not in CELL_COMPONENTS or step.final_basis)
        and force <= card.force_tolerance_ev_per_angstrom
        and (stress is None or stress <= card.stress_tolerance_gpa)
    ):
        return None
    pressing = "" if stress is None else f", stress {stress:.3f} GPa (tolerance {card.stress_tolerance_gpa})"
    return f"force {force:.3f} eV/angstrom (tolerance {card.force_tolerance_ev_per_angstrom}){pressing}"


def outcome_of(
    steps: Sequence[Step], request: Request, smearing: str, *, last_change_ev: float = 0.0, point: bool = False
) -> Outcome:
    """Return what the steps of a calculation give; whether the last one is the end is the caller's to say.

    Parameters
    ----------
    steps
        At least one.
    request
        What was asked for.
    smearing
        Kind of smearing, for the energy at zero width.
    last_change_ev
        Change of the energy in the last step.
    point
        Whether it is one geometry of a band or of dynamics, which needs the free energy.
    """
    step = steps[-1]
    energies = [each.extrapolated_ev(smearing) for each in steps]
    arrays: dict[str, Any] = {
        "forces_ev_per_angstrom": step.forces_ev_per_angstrom,
        "energies_ev": np.array(energies),
        "positions_angstrom": np.array([each.fractional @ each.cell_angstrom for each in steps]),
        "cells_angstrom": np.array([each.cell_angstrom for each in steps]),
    }
    if point:
        arrays["free_energy_ev"] = step.energy_ev
    if step.stress_gpa is not None:
        arrays["stress_gpa"] = step.stress_gpa
    start = request.structure
    return Outcome(
        structure=Structure(step.cell_angstrom, start.species, step.fractional, site_properties=start.site_properties),
        energy_ev=energies[-1],
        ionic_converged=None,
        electronic_converged=True,
        ionic_steps=len(steps) - 1,
        max_force_ev_per_angstrom=step.largest_force,
        max_stress_gpa=step.relaxed_stress_gpa(request.task),
        energy_change_last_step_ev=last_change_ev,
        arrays=arrays,
        dispersion=parts(request.card, energies[-1], step.dispersion_ev, "pw.x"),
    )
