"""The contract of every engine: what is asked of it, what it can do, what it gives back. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.documents import Reason as Reason  # what an outcome and its document say alike
from anodeflow.workflows.cards import MethodCard

if TYPE_CHECKING:
    from ase import Atoms

# static energy; ions; ions and cell; ions and the component of the cell along z (in-plane lattice kept)
Task = Literal["static", "relax", "relax_cell", "relax_c"]
# Called after every ionic step with (step, energy eV, largest force eV/angstrom).
Monitor = Callable[[int, float, float], None]

Array = NDArray[np.float64]
#: Called with (step, climbing, coordinates of all images) after every step.
Keeper = Callable[[int, bool, NDArray[np.float64]], None]


@dataclass(frozen=True)
class Request:
    """One calculation as it is asked of an engine.

    Attributes
    ----------
    structure
        The geometry; ``selective_dynamics`` is honoured.
    task
        What to do.
    card
        How accurately.
    charge
        Charge of the cell, e.
    stress
        The stress tensor at the end is wanted, whatever the task: ``arrays["stress_gpa"]`` of the outcome.
    """

    structure: Structure
    task: Task
    card: MethodCard
    charge: int = 0
    stress: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do."""

    electrons: bool = False
    charge: bool = False
    spin: bool = False
    stress: bool = True
    kpoints: bool = False
    neb: bool = False
    md: bool = False
    isolated_atoms: bool = False
    # works in a separate folder, whose files stay
    files: bool = False
    # native inputs can be written without running
    inputs: bool = False
    # relaxes ions with anodeflow's optimiser, which can begin with the curvatures of another engine
    takes_curvatures: bool = False
    # gives the levels of a slab with its energy: vacuum and Fermi level
    vacuum_level: bool = False
    # adds the correction for dispersion that a card may ask for
    dispersion: bool = False


@dataclass
class Outcome:
    """What one calculation gave, before it becomes a document. Units: eV, angstrom, GPa."""

    structure: Structure
    energy_ev: float | None
    ionic_converged: bool | None
    electronic_converged: bool | None
    ionic_steps: int = 0
    max_force_ev_per_angstrom: float | None = None
    max_stress_gpa: float | None = None
    energy_change_last_step_ev: float | None = None
    error: str | None = None
    reason: Reason | None = None
    warnings: list[str] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)
    #: Fields of :class:`~anodeflow.documents.SlabLevels`, of slabs, where the engine knows the potential.
    levels: dict[str, Any] | None = None
    #: Fields of :class:`~anodeflow.documents.DispersionPart`, with a card that asks for a correction.
    dispersion: dict[str, Any] | None = None

    @property
    def converged(self) -> bool:
        """Neither electrons nor ions are unconverged, and there is an energy."""
        return (
            self.error is None
            and self.energy_ev is not None
            and self.ionic_converged is not False
            and self.electronic_converged is not False
        )


@dataclass
class Band:
    """What a band calculation gave. Units: eV, angstrom.

    Attributes
    ----------
    images
        All geometries, ends included; coordinates unfolded.
    energies_ev
        One an image; empty if it failed.
    forces_ev_per_angstrom
        Shape (images, N, 3), on free atoms only.
    residuals_ev_per_angstrom
        Largest force across the path on an atom of each image between the ends; on the climbing image, the largest
        force.
    climbing_image
        Index, or None if none climbed.
    """

    images: list[Structure]
    energies_ev: list[float] = field(default_factory=list)
    forces_ev_per_angstrom: NDArray[np.float64] | None = None
    residuals_ev_per_angstrom: list[float] = field(default_factory=list)
    climbing_image: int | None = None
    steps: int = 0
    converged: bool = False
    electronic_converged: bool | None = None
    error: str | None = None
    reason: Reason | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass
class DynamicsState:
    """Where a trajectory is between two steps.

    Attributes
    ----------
    step
        Steps made; negative during equilibration, 0 where production begins.
    numbers, cell, positions, momenta
        Atomic numbers (N,), cell (3, 3) and unwrapped positions (N, 3) in angstrom, momenta (N, 3) in ASE's unit.
    thermostat
        Its variables by name: ``heat`` (eV, given to the atoms) for Langevin, ``eta`` and ``p_eta`` (chain) for
        Nose-Hoover, none for NVE.
    rng
        State of the random numbers: ``bit_generator.state`` of a numpy generator.
    """

    step: int
    numbers: NDArray[np.int64]
    cell: Array
    positions: Array
    momenta: Array
    thermostat: dict[str, Array] = field(default_factory=dict)
    rng: dict[str, Any] = field(default_factory=dict)

    def atoms(self) -> Atoms:
        """Return atoms with these positions and momenta, bit for bit."""
        from ase import Atoms

        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=True)
        atoms.set_momenta(self.momenta, apply_constraint=False)
        return atoms


@dataclass(frozen=True)
class Sample:
    """One moment of a trajectory. Energies in eV of the cell; forces are not kept."""

    step: int
    positions: Array
    potential_ev: float
    kinetic_ev: float
    conserved_ev: float


class FrameSink(Protocol):
    """Where frames go."""

    def append(self, sample: Sample) -> None:
        """Take one frame."""

    def flush(self) -> None:
        """Put everything taken so far safely on disk."""
