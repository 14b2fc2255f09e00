"""What every engine offers, whoever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pymatgen.core import Structure

from anodeflow.analysis.documents import EngineRecord
from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard

if TYPE_CHECKING:
    from anodeflow.workflows.engines.ase_neb import Band

# static energy; ions; ions and cell; ions and the component of the cell along z (in-plane lattice kept)
Task = Literal["static", "relax", "relax_cell", "relax_c"]
# Called after every ionic step with (step, energy eV, largest force eV/angstrom).
Monitor = Callable[[int, float, float], None]


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
    # works in a folder of its own, whose files stay
    files: bool = False
    # native inputs can be written without running
    inputs: bool = False


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
    warnings: list[str] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def converged(self) -> bool:
        """Neither electrons nor ions are unconverged, and there is an energy."""
        return (
            self.error is None
            and self.energy_ev is not None
            and self.ionic_converged is not False
            and self.electronic_converged is not False
        )


class Engine(ABC):
    """Somebody who computes energies and forces. An engine knows no study."""

    name: str
    capabilities: Capabilities
    # how sure seconds_per_step is, in words, and what it rests on
    cost_uncertainty: str = "a factor of 2: steps are typical values, times per atom were measured on one server core"

    @abstractmethod
    def record(self, elements: Iterable[str] = ()) -> EngineRecord:
        """Name, version and model hash, without loading the model.

        Parameters
        ----------
        elements
            Whose pseudopotentials are to be recorded; nothing for an engine without.

        Raises
        ------
        EngineError
            If the program or model is not there.
        """

    @abstractmethod
    def preflight(self, card: MethodCard) -> list[str]:
        """Check that calculations can be run; what the card asks for and will not be honoured comes back.

        Raises
        ------
        EngineError
            If a calculation could not be run at all.
        """

    @abstractmethod
    def compute(
        self,
        structure: Structure,
        task: Task,
        card: MethodCard,
        charge: int = 0,
        monitor: Monitor | None = None,
        directory: Path | None = None,
    ) -> Outcome:
        """Run one calculation.

        Parameters
        ----------
        structure
            The geometry; ``selective_dynamics`` is honoured.
        task
            What to do.
        card
            How accurately.
        charge
            Charge of the cell, e.
        monitor
            Called after every ionic step; may raise to stop.
        directory
            Folder of this calculation alone, for engines with ``capabilities.files``. It may hold what an
            earlier, killed attempt left; the engine goes on from there.
        """

    @abstractmethod
    def seconds_per_step(self, structure: Structure, card: MethodCard | None = None) -> float:
        """Estimated time of one energy and force evaluation on one thread, s."""

    def ase_calculator(
        self, structure: Structure, card: MethodCard, charge: int = 0, directory: Path | None = None
    ) -> Any:
        """An ASE calculator for any geometry of these atoms in this cell.

        Raises
        ------
        EngineError
            If the engine has none.
        """
        raise EngineError(f"engine '{self.name}' has no calculator that can move a band", "use a potential, or gpaw")

    def neb(
        self,
        images: Sequence[Structure],
        card: MethodCard,
        charge: int = 0,
        *,
        directory: Path | None = None,
        **options: Any,
    ) -> Band:
        """Relax a nudged elastic band, ends included in `images`; the options are those of
        :func:`anodeflow.workflows.engines.ase_neb.run_neb`. An engine with a band of its own overrides this.
        """  # fmt: skip
        from anodeflow.workflows.engines.ase_neb import run_neb

        return run_neb(images, self.ase_calculator(images[0], card, charge, directory), card, **options)

    def check(self, structure: Structure, task: Task, card: MethodCard, charge: int = 0) -> list[str]:
        """Whether one cell can be computed with the card; what is worth saying of it comes back.

        Raises
        ------
        InputError
            For k-points along the vacuum, an odd number of electrons that nothing can hold, and the like.
        """
        if not self.capabilities.electrons:
            return []
        from anodeflow.workflows.engines.electronic import electronic

        return list(electronic(structure, task, card, charge).notes)

    def mesh(self, structure: Structure, card: MethodCard) -> tuple[int, int, int] | None:
        """The k-point mesh of one cell: the card's, and one point along a vacuum."""
        if not self.capabilities.electrons:
            return card.kpoint_mesh(structure)
        from anodeflow.workflows.engines.electronic import electronic

        return electronic(structure, "static", card).mesh

    def missing(self, elements: Iterable[str], card: MethodCard) -> list[str]:
        """What is not there and will be needed: programs, pseudopotentials; each with the path tried."""
        return []

    def write_inputs(
        self, structure: Structure, task: Task, card: MethodCard, charge: int, directory: Path
    ) -> list[str]:
        """Write the native inputs of one calculation; names of the files.

        Raises
        ------
        EngineError
            If the engine has no input files.
        """
        raise EngineError(f"engine '{self.name}' has no input files to write", "choose vasp, castep, qe or gpaw")

    def valence_electrons(self, elements: Iterable[str]) -> dict[str, int]:
        """Electrons an atom of each element brings; empty for an engine without electrons."""
        return {}
