"""What is known of a run of pw.x while its lines are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anodeflow.analysis.program_output.lines import Array, Numbered
from anodeflow.units import BOHR_ANGSTROM

End = Literal["open", "done", "error"]
#: What a line completes; a consumer looks at those it needs. ``again``: it ended a block, and is itself read next.
Event = Literal[
    "program", "atoms", "sites", "converged", "unconverged", "total force", "stress", "positions", "motion", "written",
    "part", "done", "final scf", "error", "again",
]  # fmt: skip
Row = Callable[["State", bytes], Event | None]

_ELEMENT = re.compile(r"[A-Z][a-z]?")


@dataclass
class Printed:
    """What pw.x printed for one geometry. Energies in Ry, forces in Ry/Bohr, stress in Ry/Bohr^3.

    Attributes
    ----------
    line
        Of the energy.
    energy, entropy
        The free energy F that the forces belong to, and -TS (0 with fixed occupations).
    dispersion
        The correction for it, which is part of both; None where none is printed.
    converged
        None until pw.x says whether the electrons converged.
    forces
        (N, 3).
    scf_correction
        How much the forces may be off, Ry/Bohr.
    stress
        (3, 3), as printed: positive under compression.
    kinetic, temperature_k, iteration, time_ps
        Of dynamics.
    """

    line: int = 0
    energy: float | None = None
    entropy: float = 0.0
    dispersion: float | None = None
    converged: bool | None = None
    magnetization: float | None = None
    forces: Array | None = None
    scf_correction: float | None = None
    stress: Array | None = None
    kinetic: float | None = None
    temperature_k: float | None = None
    iteration: int | None = None
    time_ps: float | None = None


@dataclass(frozen=True)
class Geometry:
    """Positions (N, 3) and, where it is printed again, the cell (3, 3), each in the unit that stands above it."""

    unit: str
    positions: Array
    cell_unit: str | None = None
    cell: Array | None = None


@dataclass
class Terms:
    """The terms of one energy, Ry."""

    of_internal: bool = False
    values: dict[bytes, float] = field(default_factory=dict)
    internal: float | None = None
    entropy: float | None = None


@dataclass(frozen=True)
class ForceDoubt:
    """Forces that fit what is printed of them only if some of them are held, which the file has not said yet."""

    line: int
    forces: Array
    total: float


class State(Numbered):
    """What is known of the run.

    Attributes
    ----------
    line
        Number of lines taken.
    atoms, symbols
        Their number, and their elements where a list of them was printed.
    alat_bohr, axes, sites
        Length unit, cell vectors (3, 3) and positions (N, 3) in it, as listed at the start.
    now
        What was printed since the last :meth:`next_geometry`.
    coming
        The newest geometry that a step was made to.
    timestep
        Of dynamics, Rydberg atomic units.
    held
        Which components of which atoms are held, (N, 3); None until a list of positions shows it.

    Parameters
    ----------
    held
        The same, where it is known from the input.
    from_scratch
        Whether the run is known not to continue another one.
    """

    def __init__(self, held: NDArray[np.bool_] | None = None, *, from_scratch: bool = False) -> None:
        super().__init__()
        self.held = held
        self.from_scratch = from_scratch
        self.version: str | None = None
        self.atoms: int | None = None
        self.symbols: list[str] = []
        self.alat_bohr: float | None = None
        self.axes: Array | None = None
        self.sites: Array | None = None
        self.now = Printed()
        self.coming: Geometry | None = None
        self.timestep: float | None = None
        self.end: End = "open"
        self.stopped: Literal["steps", "time", "user", "optimiser"] | None = None
        self.scf_failed_line: int | None = None
        self.optimiser_converged = False
        self.final_scf = False
        self.error_routine: str | None = None
        self.error_message: str | None = None
        self.error_line: int | None = None
        # a block: its name, who takes its rows, the rows so far, and what may not follow its last one
        self.block = ""
        self.row: Row | None = None
        self.rows: list[list[float]] = []
        self.words: list[str] = []
        self.flags: list[list[bool]] = []
        self.no_more: re.Pattern[bytes] | None = None
        # energies
        self.terms = Terms()
        self.adds_up = True
        self.last_energy: float | None = None
        # whether electrons have come to their end and no energy of them was printed; whether they are refined
        self.owes_energy = self.refines = False
        # number of the last iteration of electrons that have not come to their end
        self.iterations: int | None = None
        self.has_iterations = False
        self.iteration_energy: float | None = None
        self.accuracy = math.inf
        # forces and stress
        self.doubt: ForceDoubt | None = None
        self.pressure_kbar: float | None = None
        # geometries: the newest cell and positions in Bohr, and whether forces of it are still to come
        self.cell_bohr: Array | None = None
        self.positions_bohr: Array | None = None
        self.is_new = True
        # whether the last energy has no forces yet, and whether any energy has
        self.owes_forces = self.has_forces = False
        self.unit = ""
        self.card_cell: tuple[str, Array] | None = None
        self.cell_moves = False
        self.volume_bohr3: float | None = None
        # of dynamics in a cell that moves: cell and positions in units of alat, before they stand in the lists
        self.told: dict[str, Array] = {}
        self.in_final_block = False
        # steps
        self.cycles: int | None = None
        self.steps: int | None = None
        self.kinetic_of: int | None = None
        # of dynamics in a cell that moves, Ry/Bohr^3
        self.pressure: float | None = None
        # temperature of a kinetic energy, and how far it may be off
        self.kelvin_per_ry: tuple[float, float] | None = None

    def next_geometry(self) -> None:
        """Forget what was printed for the geometry so far."""
        self.now = Printed()

    def unsettled(self) -> str | None:
        """Return what the file leaves open: forces that fit only if some of them are held."""
        if self.doubt is None:
            return None
        return (
            f"line {self.doubt.line}: the length of all forces is said to be {self.doubt.total:.6f} Ry/Bohr, that of "
            f"those listed is {float(np.linalg.norm(self.doubt.forces)):.6f}: atoms are held, or a number is damaged"
        )

    def open_block(self, name: str, row: Row) -> None:
        """Give the following lines to a function, until it closes the block."""
        self.block, self.row, self.rows, self.words, self.flags = name, row, [], [], []

    def close_block(self, no_more: re.Pattern[bytes] | None = None) -> Array:
        """Return the rows of the block; the line after it must not be another one, which `no_more` matches."""
        self.block, self.row, self.no_more = "", None, no_more
        return np.array(self.rows)

    def count(self, line: bytes) -> int:
        """Return the number of atoms.

        Raises
        ------
        DamagedLineError
            If it has not been printed.
        """
        if self.atoms is None:
            raise self.broken(line, "anything of use before the number of atoms")
        return self.atoms

    def element(self, line: bytes, label: bytes) -> str:
        """Return the element of a label such as Fe1 or Li_a.

        Raises
        ------
        DamagedLineError
            If there is none.
        """
        text = label.decode("utf-8", errors="replace")
        match = _ELEMENT.match(text.capitalize() if len(text) <= 2 else text)
        if match is None:
            raise self.broken(line, "an element")
        return match.group()

    def in_bohr(self, unit: str, values: Array) -> Array:
        """Return lengths in Bohr; not a number where the length unit was not printed."""
        return values * {"bohr": 1.0, "angstrom": 1 / BOHR_ANGSTROM, "alat": self.alat_bohr or math.nan}[unit]
