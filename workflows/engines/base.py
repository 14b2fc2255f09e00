"""What every engine offers, whoever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pymatgen.core import Structure

from anodeflow.analysis.documents import EngineRecord
from anodeflow.workflows.cards import MethodCard

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

    @abstractmethod
    def record(self) -> EngineRecord:
        """Name, version and model hash, without loading the model.

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
    ) -> Outcome:
        """Run one calculation in this process."""

    @abstractmethod
    def seconds_per_step(self, structure: Structure) -> float:
        """Estimated time of one energy and force evaluation on one thread, s."""
