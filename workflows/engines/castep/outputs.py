"""Read a ``.castep`` file line by line: a run that is still going, was killed, or is one of several in the file.

The package castep-outputs reads far more of these files, but only whole ones: a truncated file gives nothing (no
geometry to go on from), and its errors name no line. It serves the tests as the second opinion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anodeflow.errors import EngineError

Atom = tuple[str, int]
Vectors = dict[Atom, np.ndarray]

_BANNER = re.compile(r"^ \| Welcome to .*CASTEP version ([\w.]+)")
_SETTING = re.compile(r"^ {1,3}(\S.*?)\s*: +(\S.*?)\s*$")
_SECTION = re.compile(r"^ \*+ ([A-Z][\w &-]*) Parameters \*+\s*$")
_COORDINATES = re.compile(r"^\s*x  Element\s+Atom\s+Fractional coordinates of atoms")
_FORCES = re.compile(r"^\s*\*{5,} (?:(\w[\w ]*) )?Forces \*{5,}\s*$")
_STRESS = re.compile(r"^\s*\*{5,} (?:(\w[\w ]*) )?Stress Tensor \*{5,}\s*$")
_STARS = re.compile(r"^\s*\*{20,}\s*$")
_HELD = re.compile(r"\(cons'd\)|\(mixed\)")
_ENERGY = re.compile(r"^\s*Final energy(?:, E)?\s+=(.*)$")
_FREE = re.compile(r"^\s*Final free energy \(E-TS\)\s+=(.*)$")
_ZERO = re.compile(r"^\s*NB est\. 0K energy \(E-0\.5TS\)\s+=(.*)$")
_CORRECTED = re.compile(r"^\s*Total energy corrected for finite basis set =(.*)$")
_CUTOFF = re.compile(r"^\s*Calculating total energy with cut-off of\s+(\S+?)\s*eV")
_FINISHED = re.compile(r"^\s*(\w+): finished iteration\s+(\d+)\s+with enthalpy=(.*)$")
_FINAL_ENTHALPY = re.compile(r"^\s*\w+: Final Enthalpy\s+=(.*)$")
_TABLE = re.compile(r"^\s*\|\s+(\S+)\s+\|\s+(\S+)\s+\|\s+(\S+)\s+\|\s+\S+\s+\|\s+(Yes|No)\s+\|\s+<-- \w+")
_SCF_ROW = re.compile(r"^\s*(Initial|\d+)\s+.*<-- SCF\s*$")
_IONS = re.compile(r"^\s*Total number of ions in cell =\s*(\d+)")
_MESH = re.compile(r"^\s*MP grid size for SCF calculation is\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
_POTENTIAL = re.compile(r"^\s+([A-Z][a-z]?)\s+(\S+)\s*$")


class CastepFileError(EngineError):
    """A ``.castep`` file says something that cannot be."""


@dataclass
class Evaluation:
    """One ground state: a geometry, its energy, and what was computed for it. Units: eV, angstrom, GPa.

    ``stress_gpa`` is positive under tension, as CASTEP prints it. ``free_ev`` is E - TS, ``zero_ev`` the estimate
    E - TS/2 for no smearing; both None with fixed occupations.
    """

    line: int
    energy_ev: float
    matrix: np.ndarray
    fractional: Vectors
    cutoff_ev: float | None
    scf_converged: bool
    free_ev: float | None = None
    zero_ev: float | None = None
    forces: Vectors = field(default_factory=dict)
    stress_gpa: np.ndarray | None = None

    @property
    def total_ev(self) -> float:
        """The energy that results are made of: at no smearing where there is one."""
        return self.energy_ev if self.zero_ev is None else self.zero_ev

    @property
    def variational_ev(self) -> float:
        """The energy that the forces are derivatives of."""
        return self.energy_ev if self.free_ev is None else self.free_ev

    def largest_force(self) -> float:
        """Largest printed force, eV/angstrom."""
        return max((float(np.linalg.norm(f)) for f in self.forces.values()), default=0.0)


@dataclass
class Iteration:
    """One accepted step of a relaxation; ``table`` holds CASTEP's own criteria: value, tolerance, met."""

    number: int
    enthalpy_ev: float
    line: int
    evaluation: Evaluation
    table: dict[str, tuple[float, float, bool]] = field(default_factory=dict)


@dataclass
class Run:
    """One run of the program, from its banner on."""

    line: int
    version: str = "unknown"
    settings: dict[str, str] = field(default_factory=dict)
    potentials: dict[str, str] = field(default_factory=dict)
    ions: int | None = None
    mesh: tuple[int, int, int] | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    iterations: list[Iteration] = field(default_factory=list)
    corrections_ev: list[float] = field(default_factory=list)
    # None: no verdict in the file
    relaxed: bool | None = None
    nothing_to_relax: bool = False
    final_enthalpy_ev: float | None = None
    final_matrix: np.ndarray | None = None
    final_fractional: Vectors | None = None
    final_forces: Vectors | None = None
    final_stress_gpa: np.ndarray | None = None
    finished: bool = False
    warnings: list[str] = field(default_factory=list)

    def final_evaluation(self) -> Evaluation | None:
        """The ground state of the final configuration; None where no energy belongs to that geometry.

        The last ground state in the file need not be it: a line search may end on an earlier trial.
        """
        if self.final_enthalpy_ev is None or self.final_matrix is None or self.final_fractional is None:
            return None
        for evaluation in reversed(self.evaluations):
            if _same(evaluation.matrix, self.final_matrix) and _alike(evaluation.fractional, self.final_fractional):
                return evaluation
        return None


class CastepReader:
    """Takes lines one after the other.

    Parameters
    ----------
    name
        File, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs: list[Run] = []
        self.line = 0
        self._block: str | None = None
        self._rows: list[str] = []
        self._block_line = 0
        self._section: str | None = None
        self._seen_sections: set[str] = set()
        self._matrix: np.ndarray | None = None
        self._fractional: Vectors = {}
        self._cutoff: float | None = None
        self._scf: int | None = None
        self._scf_failed = False
        self._in_final = False
        self._reading_potentials = False
        self._pending: list[Evaluation] = []

    @property
    def run(self) -> Run:
        """The run that is being read."""
        return self.runs[-1]

    def feed(self, line: str) -> None:
        """Read one line.

        Raises
        ------
        CastepFileError
            If it makes no sense where it stands; file and line are named.
        """
        self.line += 1
        line = line.rstrip("\n\r")
        banner = _BANNER.match(line)
        if banner:
            self._start(banner.group(1))
            return
        if not self.runs:
            return
        if self._block is not None:
            self._continue_block(line)
            return
        if self._scf_line(line) or self._opens_block(line):
            return
        self._single(line)

    def _fail(self, problem: str) -> CastepFileError:
        return CastepFileError(
            f"{self.name}, line {self.line}: {problem}",
            "the file is damaged, or two programs wrote to it; run the calculation again in an empty folder",
        )

    def _number(self, word: str, what: str) -> float:
        try:
            value = float(word)
        except ValueError:
            raise self._fail(f"{what} is '{word}', no number") from None
        if not math.isfinite(value):
            raise self._fail(f"{what} is {word}")
        return value

    def _start(self, version: str) -> None:
        self.runs.append(Run(self.line, version))
        self._block, self._section, self._rows = None, None, []
        self._seen_sections = set()
        self._matrix, self._fractional, self._cutoff, self._scf = None, {}, None, None
        self._scf_failed = self._in_final = self._reading_potentials = False
        self._pending = []

    # --- blocks ------------------------------------------------------------------------------------------

    def _opens_block(self, line: str) -> bool:
        kind = None
        if line.lstrip().startswith("Real Lattice(A)"):
            kind = "lattice"
        elif _COORDINATES.match(line):
            kind = "coordinates"
        elif found := _FORCES.match(line):
            kind = "forces" if "Unconstrained" not in (found.group(1) or "") else "unconstrained"
        elif _STRESS.match(line):
            kind = "stress"
        if kind is None:
            return False
        self._block, self._rows, self._block_line = kind, [], self.line
        return True

    def _continue_block(self, line: str) -> None:
        kind, text = self._block, line.strip()
        if kind == "lattice":
            self._rows.append(text)
            if len(self._rows) == 3:
                self._close(np.array([self._triple(row.split(), "a lattice vector", 6) for row in self._rows]))
            return
        if kind == "coordinates":
            if re.match(r"x{20,}\Z", text):
                if self._rows:
                    self._close(self._vectors(self._rows, "coordinate"))
                else:
                    raise self._fail("a list of coordinates without atoms")
            elif text.startswith("x") and text.endswith("x") and len(text) > 2:
                inner = text[1:-1].strip()
                if inner and not inner.startswith(("---", "Number")):
                    self._rows.append(inner)
            else:
                raise self._fail(f"'{text[:60]}' inside a list of coordinates")
            return
        if _STARS.match(line):
            self._close_starred(kind)
        elif text.startswith("*") and text.endswith("*"):
            self._rows.append(text[1:-1].strip())
        else:
            raise self._fail(f"'{text[:60]}' inside a table of {'the stress' if kind == 'stress' else 'forces'}")

    def _close_starred(self, kind: str | None) -> None:
        rows = self._rows
        if kind == "stress":
            lines = [row.split() for row in rows if re.match(r"[xyz]\s+\S+\s+\S+\s+\S", row)]
            lines = [words for words in lines if words[1] not in "xyz"]
            if [words[0] for words in lines] != ["x", "y", "z"]:
                raise self._fail("a stress tensor without its three rows")
            self._close(np.array([self._triple(words[1:], "a stress", 3) for words in lines]))
        else:
            atoms = [_HELD.sub(" ", row) for row in rows if re.match(r"[A-Z][a-z]?\s+\d+\s", row)]
            self._close(self._vectors(atoms, "force"))

    def _triple(self, words: list[str], what: str, size: int) -> list[float]:
        if len(words) != size:
            raise self._fail(f"{what} has {len(words)} numbers in place of {size}")
        return [self._number(word, what) for word in words][:3]

    def _vectors(self, rows: list[str], what: str) -> Vectors:
        found: Vectors = {}
        for row in rows:
            words = row.split()
            if len(words) < 5 or not words[1].isdigit():
                raise self._fail(f"'{row[:60]}' is no {what} of an atom")
            atom = (words[0], int(words[1]))
            if atom in found:
                raise self._fail(f"two {what}s of atom {words[0]} {words[1]}")
            found[atom] = np.array(self._triple(words[2:5], f"a {what}", 3))
        known = self._fractional if what == "force" else {}
        if known and set(found) != set(known):
            raise self._fail(f"{len(found)} forces of {len(known)} atoms")
        if self.run.ions is not None and len(found) != self.run.ions:
            raise self._fail(f"{len(found)} {what}s of {self.run.ions} atoms")
        return found

    def _close(self, value: np.ndarray | Vectors) -> None:
        kind, self._block, self._rows = self._block, None, []
        if isinstance(value, np.ndarray) and kind == "lattice":
            self._matrix = value
            if self._in_final:
                self.run.final_matrix = value
        elif isinstance(value, np.ndarray):
            if self.run.final_enthalpy_ev is not None:
                self.run.final_stress_gpa = value
            elif self.run.evaluations:
                self.run.evaluations[-1].stress_gpa = value
        elif kind == "coordinates":
            self._fractional = value
            if self._in_final:
                self.run.final_fractional = value
        elif kind == "forces":
            if self.run.final_enthalpy_ev is not None:
                self.run.final_forces = value
            elif self.run.evaluations:
                self.run.evaluations[-1].forces = value

    # --- lines -------------------------------------------------------------------------------------------

    def _scf_line(self, line: str) -> bool:
        if not line.rstrip().endswith("<-- SCF"):
            return False
        row = _SCF_ROW.match(line)
        if row is None:
            return True
        number = 0 if row.group(1) == "Initial" else int(row.group(1))
        expected = 0 if self._scf is None else self._scf + 1
        if number not in (expected, 0) or (number == 0 and self._scf == 0):
            raise self._fail(f"SCF cycle {row.group(1)} where cycle {expected} is due")
        if number == 0:
            self._scf_failed = False
        self._scf = number
        return True

    def _single(self, line: str) -> None:
        run, text = self.run, line.strip()
        if not text:
            return
        if section := _SECTION.match(line):
            self._section = section.group(1)
            if self._section in self._seen_sections:
                raise self._fail(f"the section '{self._section} Parameters' for the second time in one run")
            self._seen_sections.add(self._section)
        elif self._section is not None:
            if _STARS.match(line):
                self._section = None
            elif setting := _SETTING.match(line):
                run.settings.setdefault(setting.group(1), setting.group(2))
            elif text.startswith("treating system as"):
                run.settings["spin treatment"] = text.removeprefix("treating system as ")
        elif self._reading_potentials:
            found = _POTENTIAL.match(line)
            if found:
                run.potentials[found.group(1)] = found.group(2)
            else:
                self._reading_potentials = False
        elif text == "Files used for pseudopotentials:":
            self._reading_potentials = True
        elif found := _IONS.match(line):
            run.ions = int(found.group(1))
        elif found := _MESH.match(line):
            run.mesh = (int(found.group(1)), int(found.group(2)), int(found.group(3)))
        elif found := _CUTOFF.match(line):
            self._cutoff = self._number(found.group(1), "a cut-off")
        elif "SCF cycles performed but system has not reached the groundstate" in line:
            self._scf_failed = True
            if run.evaluations and self._scf is None:
                run.evaluations[-1].scf_converged = False
        elif not self._energy(line):
            self._relaxation(line, text)

    def _electron_volts(self, text: str, what: str) -> float:
        text = text.strip()
        if not text.endswith("eV"):
            raise self._fail(f"{what} is '{text}', which is not in eV")
        return self._number(text.removesuffix("eV").strip(), what)

    def _energy(self, line: str) -> bool:
        run = self.run
        if found := _ENERGY.match(line):
            if self._matrix is None or not self._fractional:
                raise self._fail("an energy before any geometry")
            run.evaluations.append(
                Evaluation(
                    self.line,
                    self._electron_volts(found.group(1), "the energy"),
                    self._matrix,
                    self._fractional,
                    self._cutoff,
                    not self._scf_failed,
                )
            )
            self._pending.append(run.evaluations[-1])
            self._scf = None
        elif found := _FREE.match(line):
            latest = self._latest("free")
            if latest.free_ev is not None:
                raise self._fail("two free energies of one ground state")
            latest.free_ev = self._electron_volts(found.group(1), "the free energy")
        elif found := _ZERO.match(line):
            # with more verbose output one also stands before every SCF cycle, of a state that is no ground state
            state = run.evaluations[-1] if run.evaluations else None
            if self._scf is None and state and state.free_ev is not None and state.zero_ev is None:
                state.zero_ev = self._electron_volts(found.group(1), "the energy at 0 K")
        elif found := _CORRECTED.match(line):
            corrected = self._electron_volts(found.group(1), "the corrected energy")
            run.corrections_ev.append(corrected - self._latest("corrected").variational_ev)
        else:
            return False
        return True

    def _latest(self, what: str) -> Evaluation:
        if not self.run.evaluations:
            raise self._fail(f"a {what} energy before any energy")
        return self.run.evaluations[-1]

    def _relaxation(self, line: str, text: str) -> None:
        run = self.run
        if found := _FINISHED.match(line):
            number, enthalpy = int(found.group(2)), self._electron_volts(found.group(3), "the enthalpy")
            expected = run.iterations[-1].number + 1 if run.iterations else number
            if number != expected:
                raise self._fail(f"iteration {number} where iteration {expected} is due")
            run.iterations.append(Iteration(number, enthalpy, self.line, self._accepted(enthalpy)))
            self._pending = []
        elif (found := _TABLE.match(line)) and run.iterations:
            value, tolerance = (self._number(found.group(i), found.group(1)) for i in (2, 3))
            run.iterations[-1].table[found.group(1)] = (value, tolerance, found.group(4) == "Yes")
        elif "Geometry optimization completed successfully" in line:
            run.relaxed = True
        elif "Geometry optimization failed to converge" in line:
            run.relaxed = False
        elif "there is nothing to optimise - skipping relaxation" in line:
            run.nothing_to_relax = True
        elif re.match(r"\w+: Final Configuration:", text):
            self._in_final = True
            run.final_matrix, run.final_fractional = self._matrix, self._fractional
            if run.iterations:
                # where a part of the geometry is not printed again it has not moved, or is that of the last step
                last = run.iterations[-1].evaluation
                run.final_matrix, run.final_fractional = last.matrix, last.fractional
        elif found := _FINAL_ENTHALPY.match(line):
            run.final_enthalpy_ev = self._electron_volts(found.group(1), "the final enthalpy")
            self._in_final = False
        elif text.startswith("Total time") and "=" in text:
            if run.finished:
                raise self._fail("the end of one run for the second time")
            run.finished = True
        elif "warning" in text.lower() and not text.startswith("***") and len(run.warnings) < 20:
            run.warnings.append(" ".join(text.split())[:200])

    def _accepted(self, enthalpy: float) -> Evaluation:
        """The trial of a line search that a step ended on: the one whose energy fits the enthalpy best.

        The two differ by the finite-basis correction, which changes little between trials.
        """
        if not self._pending:
            if not self.run.iterations:
                raise self._fail("a step of the relaxation without an energy")
            return self.run.iterations[-1].evaluation
        shift = self.run.corrections_ev[-1] if self.run.corrections_ev else 0.0
        if self.run.iterations:
            last = self.run.iterations[-1]
            shift = last.enthalpy_ev - last.evaluation.variational_ev
        return min(reversed(self._pending), key=lambda e: abs(e.variational_ev + shift - enthalpy))


def read_castep(path: Path, lines: Iterable[str] | None = None) -> list[Run]:
    """All runs of a ``.castep`` file, in order; the last one is the newest.

    Parameters
    ----------
    path
        The file.
    lines
        Its lines, if they are at hand already.

    Raises
    ------
    CastepFileError
        If the file cannot be read, is none of CASTEP's, or contradicts itself; file and line are named.
    """
    reader = CastepReader(str(path))
    try:
        if lines is None:
            with path.open(encoding="utf-8", errors="replace") as handle:
                for line in handle:
                    if line.endswith("\n"):
                        reader.feed(line)
        else:
            for line in lines:
                if line.endswith("\n"):
                    reader.feed(line)
    except OSError as error:
        raise CastepFileError(f"cannot read '{path}': {error.strerror}", "check the file") from None
    if not reader.runs:
        raise CastepFileError(f"'{path}' holds no CASTEP run ({reader.line} lines, no banner)", "look at its folder")
    return reader.runs


def _same(a: np.ndarray, b: np.ndarray, tolerance: float = 2e-6) -> bool:
    return bool(np.abs(a - b).max() <= tolerance)


def _alike(a: Vectors, b: Vectors) -> bool:
    if set(a) != set(b):
        return False
    difference = np.array([a[atom] - b[atom] for atom in a])
    return bool(np.abs(difference - np.round(difference)).max() <= 2e-6)
