"""What a vasprun.xml says: its head, its ionic steps, and where they contradict themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from anodeflow.analysis.trajectories.frames import Array, Symbols
from anodeflow.analysis.trajectories.text import number

# Above it forces (eV/angstrom, for each atom) have not been freed of their mean.
_NET_FORCE = 1e-6
# Energies (eV), coordinates (fractions) and cells (angstrom) of one thing agree to this; files have eight decimals.
SAME = 1e-6
ITEM = re.compile(rb'<i(?: type="([^"]*)")? name="([^"]+)"(?: type="([^"]*)")? *>([^<]*)</i>')
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
_VOLUME = re.compile(rb'<i name="volume"> *([^<]*?) *</i>')
_DIGITS = re.compile(rb"\.(\d+)")

_MAX_DIGITS = 60

Value = bool | int | float | str


@dataclass
class VasprunHead:
    """What stands before the first step.

    Attributes
    ----------
    program, version
        What wrote the file.
    incar
        The tags that were set; a value that cannot be read stays text.
    parameters
        All tags with the values used; values that cannot be read are left out.
    mesh
        Divisions of an automatic k-point mesh.
    species
        Chemical symbols in the order of the file, (N,).
    titles
        TITEL of the POTCAR of each kind of atom.
    initial
        Cell (angstrom) and fractional coordinates of the start.
    odd
        Values that could not be read, each with its line.
    """

    program: str = ""
    version: str = ""
    incar: dict[str, Value] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)
    mesh: tuple[int, ...] | None = None
    species: Symbols | None = None
    titles: list[str] = field(default_factory=list)
    initial: tuple[Array, Array] | None = None
    odd: list[str] = field(default_factory=list)

    def number(self, tag: str) -> float | None:
        """Return the value of a tag that was used, else the one in INCAR; None where there is none to be read."""
        for values in (self.parameters, self.incar):
            value = values.get(tag)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return None

    @property
    def dynamics(self) -> bool:
        """Whether the atoms move in time."""
        return self.number("IBRION") == 0

    @property
    def cell_is_fixed(self) -> bool:
        """Whether the cell is kept; so it is where dynamics do not say."""
        stated = self.number("ISIF")
        return stated in (0, 1, 2) or (stated is None and self.dynamics)

    @property
    def responds(self) -> bool:
        """Whether the response to fields or displacements follows in the same calculation."""
        tags = ("LEPSILON", "LCALCEPS", "LCALCPOL", "LCHIMAG")
        return self.number("IBRION") in (7, 8) or any(self.parameters.get(tag) is True for tag in tags)

    def electrons_converged(self, step: VasprunStep) -> bool | None:
        """Return whether the electrons of a step converged, by the values used; None where the file does not tell.

        Electronic steps of a response to fields or displacements, which are not told apart, count as well.
        """
        return None if self.responds else step.electrons_converged(self.number("NELM"), self.number("EDIFF"))

    @property
    def version_number(self) -> tuple[int, int, int]:
        """(6, 4, 2) of 6.4.2; zeros where there is none."""
        match = _VERSION.match(self.version)
        return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)

    @property
    def problems(self) -> Iterator[str]:
        """Where the tags set and the values used disagree, of those that reading needs."""
        for tag in ("POTIM", "IBRION", "NSW", "NELM"):
            wanted, used = self.incar.get(tag), self.parameters.get(tag)
            if tag == "IBRION" and used == -1:
                continue  # VASP's own choice where no steps are asked for
            if used is not None and wanted is not None and wanted != used and not isinstance(wanted, str):
                yield f"{tag} is {wanted} in INCAR and {used} among the parameters"

    @property
    def learned(self) -> bool:
        """Whether the run has a machine-learned force field."""
        return self.incar.get("ML_LMLFF", self.parameters.get("ML_LMLFF")) is True


@dataclass(slots=True, eq=False)
class VasprunStep:
    """One ionic step. Energies in eV, forces in eV/angstrom, stress in kbar as VASP has it (compression positive).

    Attributes
    ----------
    number
        From 1, in the order of the file.
    line
        Where it begins.
    learned
        Whether it stands outside of ``<calculation>``: a step of a machine-learned force field.
    cell, fractional
        Cell vectors as rows, angstrom, and coordinates as the file has them.
    energies
        Behind the step, by name.
    electronic_steps
        How many were taken.
    last_iterations
        The energies of the last two of them, by name.
    problems
        Where the step contradicts itself.
    """

    number: int
    line: int
    learned: bool
    cell: Array
    fractional: Array
    forces: Array | None = None
    stress_kbar: Array | None = None
    energies: dict[str, float] = field(default_factory=dict)
    electronic_steps: int = 0
    last_iterations: list[dict[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def last_change_ev(self) -> float | None:
        """What the last electronic step changed the energy by; None where there are no two."""
        energies = [iteration.get("e_fr_energy", math.nan) for iteration in self.last_iterations]
        return abs(energies[1] - energies[0]) if len(energies) == 2 else None

    def electrons_converged(self, most: float | None, tolerance_ev: float | None) -> bool | None:
        """Return whether the electrons converged; None where that cannot be told.

        Parameters
        ----------
        most
            NELM: as many electronic steps are taken only if they did not.
        tolerance_ev
            EDIFF: if the last electronic step changed the energy by more, VASP was stopped between them.
        """
        if not self.electronic_steps or not most:
            return None
        change = self.last_change_ev
        small = change is None or not tolerance_ev or tolerance_ev < 0 or change <= tolerance_ev * 1.01 + 1e-8
        return self.electronic_steps < most and small

    @property
    def energy_sigma0_ev(self) -> float | None:
        """The energy extrapolated to zero smearing; None where it is not given.

        The entropy is that of the last electronic step: VASP 5.4 writes a wrong e_0_energy behind an ionic step.
        """
        free, last = self.energies.get("e_fr_energy"), self.last_iterations[-1] if self.last_iterations else {}
        if free is None:
            return None
        if "e_0_energy" in last and "e_fr_energy" in last:
            return free + last["e_0_energy"] - last["e_fr_energy"]
        return self.energies.get("e_0_energy") if self.learned else None

    @property
    def added_ev(self) -> float | None:
        """What was added to the energy of the last electronic step (dispersion), eV; None where that is not given."""
        free, last = self.energies.get("e_fr_energy"), self.last_iterations[-1] if self.last_iterations else {}
        return None if free is None or "e_fr_energy" not in last else free - last["e_fr_energy"]


def contradictions(step: VasprunStep, before: VasprunStep | None, head: VasprunHead) -> list[str]:
    """Return what of a step contradicts other numbers of the same file.

    Parameters
    ----------
    step
        A step.
    before
        The step before it; None for the first.
    head
        Of the file.

    Returns
    -------
    list of str
        One line each.
    """
    problems = []
    if _total_of_parts(step) is False:
        problems.append("the total energy is not the sum of its parts")
    if before is None:
        if head.initial is not None and not _same_geometry(step, *head.initial):
            problems.append("the geometry is not that of initialpos")
        return problems
    now, then = _corrected(step, head), _corrected(before, head)
    if now is not None and then is not None and now != then:
        problems.append("the energy is that of the last electronic step here or one step before, not in both")
    if head.cell_is_fixed and np.abs(step.cell - before.cell).max() > SAME:
        problems.append("the cell is not that of the step before, though it was to be kept (ISIF)")
    net, earlier = _net_force(step), _net_force(before)
    if net is not None and earlier is not None and net > _NET_FORCE >= earlier:
        problems.append("the forces do not sum up to zero, as one step before")
    if step.energies == before.energies and _same_geometry(step, before.cell, before.fractional, exactly=True):
        problems.append("everything is as one step before")
    return problems


def _corrected(step: VasprunStep, head: VasprunHead) -> bool | None:
    """Return whether something (as dispersion) was added to the energy of the last electronic step, or None."""
    if head.learned or head.responds or not step.last_iterations:
        return None
    same = _equal(step.energies.get("e_fr_energy"), step.last_iterations[-1].get("e_fr_energy"))
    return None if same is None else not same


def _total_of_parts(step: VasprunStep) -> bool | None:
    energies = step.energies
    if "kinetic" not in energies:
        return None
    parts = [energies.get(name, 0.0) for name in ("lattice kinetic", "nosepot", "nosekinetic")]
    return _equal(energies.get("e_fr_energy", math.nan) + energies["kinetic"] + sum(parts), energies.get("total"))


def _same_geometry(step: VasprunStep, cell: Array, fractional: Array, *, exactly: bool = False) -> bool:
    """Return whether a step has this cell and these atoms, in any image."""
    if exactly:
        return bool((step.fractional == fractional).all() and (step.cell == cell).all())
    moved = step.fractional - fractional
    return bool(np.abs(moved - np.round(moved)).max() <= SAME and np.abs(cell - step.cell).max() <= SAME)


def _net_force(step: VasprunStep) -> float | None:
    """Return the net force of an atom on average, eV/angstrom; VASP takes it off, but not from learned forces."""
    return None if step.forces is None or step.learned else float(np.abs(step.forces.mean(axis=0)).max())


def _equal(first: float | None, second: float | None) -> bool | None:
    """Return whether two energies are the same but for rounding; None where one is not known."""
    if first is None or second is None or not (math.isfinite(first) and math.isfinite(second)):
        return None
    return abs(first - second) <= SAME


def cell_problem(cell: Array, text: bytes) -> str:
    """Return how a cell contradicts the volume or the reciprocal cell beside it, within the digits printed; or nothing.

    Parameters
    ----------
    cell
        Cell vectors as rows, angstrom.
    text
        The ``<crystal>`` it was read from.
    """
    rows: list[list[float]] = cell.tolist()
    edge = 10.0 ** -max((len(m[1]) for m in _DIGITS.finditer(text[: text.find(b"</varray>")])), default=0)
    volume = _VOLUME.search(text)
    if volume is not None and math.isfinite(stated := number(volume[1])):
        normals = [_cross(rows[i], rows[i - 1]) for i in range(3)]
        computed = abs(sum(a * b for a, b in zip(rows[2], normals[1], strict=True)))
        if abs(computed - stated) > 1.5 * 10.0 ** -_decimals(volume[1]) + 3 * edge * sum(
            math.hypot(*n) for n in normals
        ):
            return f"the cell has a volume of {computed:.4f} cubic angstrom, the file says {stated:g}"
    start = text.find(b'<varray name="rec_basis"')
    words = text[text.find(b">", start) + 1 : text.find(b"</varray>", start)].replace(b"<v>", b" ")
    values = [number(word) for word in words.replace(b"</v>", b" ").split()] if start >= 0 else []
    if len(values) == 9 and all(map(math.isfinite, values)):
        unit = 10.0 ** -_decimals(words)
        reciprocal = [values[0:3], values[3:6], values[6:9]]
        for i, row in enumerate(rows):
            for j, other in enumerate(reciprocal):
                product = sum(a * b for a, b in zip(row, other, strict=True))
                slack = 1.5 * (unit * sum(map(abs, row)) + edge * sum(map(abs, other)))
                if abs(product - (i == j)) > slack:
                    return "the cell is not the inverse of the reciprocal cell beside it"
    return ""


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _decimals(text: bytes) -> int:
    """Return how many digits behind the point a text shows at most, zeros at the end left out."""
    return max((len(match[1].rstrip(b"0")) for match in _DIGITS.finditer(text)), default=0)


def typed(kind: str, text: str) -> Value | None:
    """Return a value by the type that the file gives it; None where it is not of that type."""
    if kind == "string":
        return text
    if kind == "logical":
        return {"T": True, "F": False}.get(text[:1].upper())
    if len(text) > _MAX_DIGITS or "_" in text:
        return None
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def values_of(text: bytes) -> dict[str, float]:
    """Return the numbers of ``<i>`` elements by name; NaN where one is not a number."""
    return {match[2].decode("latin-1"): number(match[4]) for match in ITEM.finditer(text)}
