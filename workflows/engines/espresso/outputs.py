"""What pw.x printed, read line by line as it grows: geometries, energies, forces, stress, and how it ended.

Only whole lines and whole blocks count, so a file cut off anywhere gives fewer steps, never a wrong number.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from ase.units import Bohr, Rydberg
from pymatgen.core import Structure

from anodeflow.errors import EngineError

# Longer lines are not of pw.x: the rest of such a line is skipped.
LONGEST_LINE = 4096
_CHUNK = 1 << 16
GPA_PER_RY_BOHR3 = 14710.50763
# Share of the smearing term -TS that is taken off the free energy F: E0 = F - share * (-TS).
EXTRAPOLATION = {
    "gaussian": 1 / 2,
    "fermi-dirac": 1 / 2,
    "methfessel-paxton": 1 / 3,
    "marzari-vanderbilt": 0.0,
    "none": 0.0,
}

_NUMBER = r"([+-]?\d+\.\d*(?:[EeDd][+-]?\d+)?)"
_ENERGY = re.compile(rf"!\s+total energy\s+=\s*{_NUMBER} Ry")
_ENTROPY = re.compile(rf"\s+smearing contrib\. \(-TS\)\s+=\s*{_NUMBER} Ry")
_FORCE = re.compile(rf"\s+atom\s+(\d+)\s+type\s+\d+\s+force =\s*{_NUMBER}\s*{_NUMBER}\s*{_NUMBER}")
_TOTAL_FORCE = re.compile(rf"\s+Total force =\s*{_NUMBER}\s+Total SCF correction =\s*{_NUMBER}")
_STRESS_ROW = re.compile(r"\s*" + r"\s*".join([_NUMBER] * 6))
_VECTOR = re.compile(rf"\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}")
_POSITION = re.compile(rf"([A-Z][a-z]?)\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}(?:\s+[01]\s+[01]\s+[01])?")
_MAGNETIZATION = re.compile(rf"\s+total magnetization\s+=\s*{_NUMBER} Bohr mag/cell")
_VERSION = re.compile(r"\s+Program PWSCF v\.(\S+)\s+starts")
_ATOMS = re.compile(r"\s+number of atoms/cell\s+=\s+(\d+)")

End = Literal["open", "done", "error"]


class DamagedOutputError(EngineError):
    """An output file holds something that is no number where one belongs."""


@dataclass
class Step:
    """One geometry with its energy and forces. Units: eV, angstrom, GPa.

    Attributes
    ----------
    energy_ev
        The free energy F = E - TS that pw.x minimises and whose forces it prints.
    entropy_ev
        -TS, zero or negative in most cases; zero with fixed occupations.
    forces_ev_per_angstrom
        (N, 3); components held by ``if_pos`` are printed as zero.
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

    @property
    def largest_force(self) -> float:
        """Largest length of the force on an atom, eV/angstrom."""
        return float(np.linalg.norm(self.forces_ev_per_angstrom, axis=1).max())

    def extrapolated_ev(self, smearing: str) -> float:
        """Energy at zero smearing width, eV.

        (E + F)/2 for Gaussian and Fermi-Dirac smearing, (E + 2F)/3 for Methfessel-Paxton of first order
        (doi:10.1103/PhysRevB.40.3616, doi:10.1103/PhysRevB.54.11169), F for Marzari-Vanderbilt.
        """
        return self.energy_ev - EXTRAPOLATION[smearing] * self.entropy_ev

    def same_geometry(self, cell: np.ndarray, fractional: np.ndarray) -> bool:
        """Whether a geometry is this step's, to what pw.x prints."""
        return bool(
            np.allclose(self.cell_angstrom, cell, atol=2e-8) and np.allclose(self.fractional, fractional, atol=2e-9)
        )


@dataclass
class PwOutput:
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
        """The newest computed geometry."""
        return self.steps[-1] if self.steps else None


class OutputReader:
    """Reads one output file of pw.x, also while it is being written.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    start
        Geometry of the input file.
    stress
        Whether a step is whole only with its stress.
    """

    def __init__(self, path: Path, start: Structure, *, stress: bool) -> None:
        self.path = path
        self.result = PwOutput(start.lattice.matrix.copy(), start.frac_coords.copy())
        self._symbols = [site.specie.symbol for site in start]
        self._with_stress = stress
        self._offset = 0
        self._rest = b""
        self._skip = False
        self._block: str | None = None
        self._rows: list[list[float]] = []
        self._error: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self._energy: float | None = None
        self._entropy = 0.0
        self._magnetization: float | None = None
        self._converged = False
        self._forces: np.ndarray | None = None
        self._correction: float | None = None
        self._energy_line = 0

    def read(self) -> PwOutput:
        """Read what has come since the last call.

        Raises
        ------
        DamagedOutputError
            If the file holds something that is no number where one belongs; file and line are named.
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
        for piece in pieces:
            self.result.lines += 1
            if self._skip:
                self._skip = False
            elif len(piece) <= LONGEST_LINE:
                self._line(piece.decode("utf-8", errors="replace").rstrip("\r"))
        if len(self._rest) > LONGEST_LINE:
            self._rest, self._skip = b"", True

    # --- one line ------------------------------------------------------------------------------------

    def _line(self, line: str) -> None:
        result = self.result
        if line.lstrip().startswith("%%%%%%%%"):
            self._error_rule()
        elif self._block == "error":
            self._error.append(line.strip())
        elif self._block is not None:
            self._in_block(line)
        elif line.startswith("!"):
            self._energy = self._match(_ENERGY, line)[0] * Rydberg
            self._energy_line = result.lines
        elif line.startswith("CELL_PARAMETERS"):
            self._open("cell", line, "(angstrom)")
        elif line.startswith("ATOMIC_POSITIONS"):
            self._open("positions", line, "(crystal)")
        elif "smearing contrib." in line:
            self._entropy = self._match(_ENTROPY, line)[0] * Rydberg
        elif "total magnetization" in line and "Bohr" in line and (found := _MAGNETIZATION.match(line)):
            self._magnetization = float(found.group(1))
        elif "convergence has been achieved in" in line:
            self._converged = True
        elif "convergence NOT achieved" in line:
            result.scf_failed = True
        elif "Forces acting on atoms" in line:
            self._block, self._rows = "forces", []
        elif "Total force =" in line:
            self._total_force(line)
        elif "total   stress" in line:
            self._block, self._rows = "stress", []
        else:
            self._milestones(line)

    def _milestones(self, line: str) -> None:
        result = self.result
        if "JOB DONE." in line:
            result.end = "done"
        elif "bfgs converged in" in line:
            result.optimiser_converged = True
        elif "inal scf calculation at the relaxed structure" in line:
            result.final_scf = True
            self._clear()
        elif "The maximum number of steps has been reached" in line:
            result.stopped = "steps"
        elif "Maximum CPU time exceeded" in line:
            result.stopped = "time"
        elif "Program stopped by user request" in line:
            result.stopped = "user"
        elif "bfgs failed" in line or "history already reset at previous step" in line:
            result.stopped = "optimiser"
        elif "number of atoms/cell" in line and (found := _ATOMS.match(line)):
            if int(found.group(1)) != len(self._symbols):
                raise EngineError(
                    f"{self._where()} has {found.group(1)} atoms, the calculation {len(self._symbols)}",
                    "the folder holds another calculation: remove it",
                )
        elif (found := _VERSION.match(line)) is not None:
            result.version = found.group(1)

    def _in_block(self, line: str) -> None:
        if self._block == "forces":
            if not line.strip() and not self._rows:
                return
            number, *force = self._match(_FORCE, line)
            if int(number) != len(self._rows) + 1:
                raise self._broken(line, f"the force of atom {len(self._rows) + 1}")
            self._rows.append(force)
            if len(self._rows) == len(self._symbols):
                self._forces = np.array(self._rows) * (Rydberg / Bohr)
                self._block = None
        elif self._block == "stress":
            self._rows.append(self._match(_STRESS_ROW, line)[:3])
            if len(self._rows) == 3:
                self._block = None
                self._finish(-np.array(self._rows) * GPA_PER_RY_BOHR3)
        elif self._block == "cell":
            self._rows.append(self._match(_VECTOR, line))
            if len(self._rows) == 3:
                self._new_cell = np.array(self._rows)
                self._block = None
        elif self._block == "positions":
            found = _POSITION.fullmatch(line.rstrip())
            if found is None or found.group(1) != self._symbols[len(self._rows)]:
                raise self._broken(line, f"the position of {self._symbols[len(self._rows)]}")
            self._rows.append([float(found.group(i)) for i in (2, 3, 4)])
            if len(self._rows) == len(self._symbols):
                self.result.fractional = np.array(self._rows)
                if self._new_cell is not None:
                    self.result.cell_angstrom = self._new_cell
                self._block = None

    _new_cell: np.ndarray | None = None

    def _open(self, block: str, line: str, unit: str) -> None:
        if unit not in line:
            raise self._broken(line, f"coordinates in units {unit}")
        self._block, self._rows = block, []
        if block == "cell":
            self._new_cell = None

    def _total_force(self, line: str) -> None:
        _total, correction = self._match(_TOTAL_FORCE, line)
        self._correction = correction * (Rydberg / Bohr)
        if not self._with_stress:
            self._finish(None)

    def _finish(self, stress: np.ndarray | None) -> None:
        """A geometry is complete: take it, if its electrons converged and nothing of it is missing."""
        result = self.result
        if self._energy is not None and self._converged and self._forces is not None and self._correction is not None:
            result.steps.append(
                Step(
                    result.cell_angstrom.copy(),
                    result.fractional.copy(),
                    self._energy,
                    self._entropy,
                    self._forces,
                    stress,
                    self._energy_line,
                    self._correction,
                    result.final_scf,
                    self._magnetization,
                )
            )
        self._clear()

    def _error_rule(self) -> None:
        result = self.result
        if self._block != "error":
            self._block, self._error = "error", []
            if result.error_line is None:
                result.error_line = result.lines
            return
        self._block = None
        result.end = "error"
        if result.error_message is None:
            found = re.match(r"Error in routine\s+(\S+)", self._error[0]) if self._error else None
            result.error_routine = found.group(1) if found else None
            result.error_message = " ".join(" ".join(self._error).split())[:500]

    # --- numbers -------------------------------------------------------------------------------------

    def _match(self, pattern: re.Pattern[str], line: str) -> list[float]:
        found = pattern.fullmatch(line.rstrip())
        if found is None:
            raise self._broken(line, "a number")
        numbers = [float(re.sub("[dD]", "e", text)) for text in found.groups()]
        if not all(math.isfinite(n) for n in numbers):
            raise self._broken(line, "a finite number")
        return numbers

    def _where(self) -> str:
        return f"{self.path}:{self.result.lines}"

    def _broken(self, line: str, wanted: str) -> DamagedOutputError:
        return DamagedOutputError(
            f"{self._where()}: '{' '.join(line.split())[:80]}' does not hold {wanted}",
            "the calculation went astray or the file is damaged; look at its geometry and start it again",
        )


def read_output(path: Path, start: Structure, *, stress: bool = False) -> PwOutput:
    """Read a whole output file; see :class:`OutputReader`.

    Raises
    ------
    EngineError
        If there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise EngineError(f"no file '{path}'", "run the calculation")
    return OutputReader(path, start, stress=stress).read()
