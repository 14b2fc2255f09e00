"""What a ``.castep`` file says of a run: ground states, steps of a relaxation, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from anodeflow.analysis.program_output.lines import Array

#: Symbol and number within its species, from 1: CASTEP's name of an atom.
Atom = tuple[str, int]
Vectors = dict[Atom, Array]

# What two printed geometries may differ by: seven decimals of a lattice vector, six of a coordinate.
_SAME = 2e-6


@dataclass
class Evaluation:
    """One ground state: a geometry, its energy, and what was computed for it. Units: eV, angstrom, GPa.

    ``stress_gpa`` is positive under tension, as CASTEP prints it. ``free_ev`` is E - TS, ``zero_ev`` the estimate
    E - TS/2 for no smearing; both None with fixed occupations. ``dispersion_ev``, the correction for dispersion
    (None: there is none), is in none of the three, but part of `total_ev` and `variational_ev`.
    """

    line: int
    energy_ev: float
    matrix: Array
    fractional: Vectors
    cutoff_ev: float | None
    scf_converged: bool
    free_ev: float | None = None
    zero_ev: float | None = None
    dispersion_ev: float | None = None
    forces: Vectors = field(default_factory=dict)
    stress_gpa: Array | None = None

    @property
    def total_ev(self) -> float:
        """Return the energy that results are made of: at no smearing where there is one."""
        return (self.energy_ev if self.zero_ev is None else self.zero_ev) + (self.dispersion_ev or 0.0)

    @property
    def variational_ev(self) -> float:
        """Return the energy that the forces are derivatives of."""
        return (self.energy_ev if self.free_ev is None else self.free_ev) + (self.dispersion_ev or 0.0)

    def largest_force(self) -> float:
        """Return the largest printed force, eV/angstrom."""
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
    final_matrix: Array | None = None
    final_fractional: Vectors | None = None
    final_forces: Vectors | None = None
    final_stress_gpa: Array | None = None
    finished: bool = False
    warnings: list[str] = field(default_factory=list)

    def final_evaluation(self) -> Evaluation | None:
        """Return the ground state of the final configuration; None where no energy belongs to that geometry.

        The last ground state in the file need not be it: a line search may end on an earlier trial.
        """
        if self.final_enthalpy_ev is None or self.final_matrix is None or self.final_fractional is None:
            return None
        for evaluation in reversed(self.evaluations):
            if _same_cell(evaluation.matrix, self.final_matrix) and _same_places(
                evaluation.fractional, self.final_fractional
            ):
                return evaluation
        return None


def _same_cell(a: Array, b: Array) -> bool:
    """Return whether two cells, angstrom, are the same to what is printed."""
    return bool(np.abs(a - b).max() <= _SAME)


def _same_places(a: Vectors, b: Vectors) -> bool:
    """Return whether fractional coordinates are the same to what is printed, up to lattice vectors."""
    if set(a) != set(b):
        return False
    difference = np.array([a[atom] - b[atom] for atom in a])
    return bool(np.abs(difference - np.round(difference)).max() <= _SAME)
