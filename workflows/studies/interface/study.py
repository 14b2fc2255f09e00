"""Interface energies: films of growing thickness on one substrate, the strain taken out by the fit."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from anodeflow.analysis.study_documents import InterfaceStudyDoc
from anodeflow.structures.defaults import VACUUM_ANGSTROM
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, crystal_step
from anodeflow.workflows.studies.interface.cells import Film, Pair, Substrate
from anodeflow.workflows.studies.interface.jobs import INTERFACE, InterfaceSeries, without_result
from anodeflow.workflows.studies.surface.cells import SurfaceSpec
from anodeflow.workflows.studies.surface.jobs import SlabSeries
from anodeflow.workflows.studies.surface.study import surface_warnings


class InterfaceStudy(Study):
    """An interface-energy study file: gamma(n) = gamma_true + n sigma, intercept and slope with their intervals."""

    kind: ClassVar[str] = "interface-energy"

    study: Literal["interface-energy"]
    film: Film
    substrate: Substrate
    surfaces: list[SurfaceSpec] = Field(
        default_factory=list, description="free surfaces of both, for the work of adhesion"
    )
    max_strain_percent: float = Field(5.0, gt=0, le=15)
    max_area_angstrom2: float = Field(200.0, gt=1, le=1000)
    gap_angstrom: float = Field(2.5, ge=1, le=6)
    shift: tuple[float, float] = (0.0, 0.0)
    vacuum_angstrom: float | None = Field(None, ge=5, le=100)
    max_atoms: int = Field(400, ge=2, le=2000)

    @model_validator(mode="after")
    def _surfaces_belong(self) -> InterfaceStudy:
        for surface in self.surfaces:
            if surface.crystal not in (self.film.crystal, self.substrate.crystal):
                raise ValueError(f"surface {surface.label} is of neither side of the interface")
        return self

    @property
    def vacuum(self) -> float:
        """Vacuum over the free slabs, angstrom."""
        return self.vacuum_angstrom or self.method.vacuum_angstrom or VACUUM_ANGSTROM

    @property
    def pair(self) -> Pair:
        """The two sides and what may be done to match them."""
        return Pair(
            film=self.film,
            substrate=self.substrate,
            max_strain_percent=self.max_strain_percent,
            max_area_angstrom2=self.max_area_angstrom2,
            gap_angstrom=self.gap_angstrom,
            shift=self.shift,
            max_atoms=self.max_atoms,
        )

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return [self.film.crystal, self.substrate.crystal]

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        return [*notes, *self.check_cells()]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: both crystals, the interface cells, the slabs of the free surfaces."""
        free = [SlabSeries.of(surface, self.vacuum, self.max_atoms) for surface in self.surfaces]
        crystals = [crystal_step(name, self.crystal(name)) for name in self.crystals_used()]
        return [*crystals, InterfaceSeries.of(self.pair, [slabs.label for slabs in free]), *free]

    def document(self, results: Documents, record: Record, facts: None) -> InterfaceStudyDoc:
        """See :meth:`Study.document`: the interface and the free surfaces beside it."""
        doc = results[INTERFACE] or without_result(self.pair, "not computed; see the first failure of this run")
        free = [surface for label, surface in results.items() if label != INTERFACE and surface is not None]
        return last_document(
            InterfaceStudyDoc,
            self,
            record,
            engine=doc.engine,
            interface=doc,
            surfaces=free,
            warnings=[f"interface: {w}" for w in ([doc.error] if doc.error else doc.warnings)] + surface_warnings(free),
        )
