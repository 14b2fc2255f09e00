"""Surface energies: slabs of several thicknesses, cut from the relaxed crystal of the same engine and card."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.errors import EngineError
from anodeflow.structures.defaults import VACUUM_ANGSTROM
from anodeflow.structures.slabs import face_text
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, crystal_step
from anodeflow.workflows.studies.surface.cells import SurfaceSpec
from anodeflow.workflows.studies.surface.jobs import SlabSeries

_Vacuum = Annotated[float, Field(ge=5, le=100)]


class SurfaceStudy(Study):
    """A surface-energy study file: gamma from each slab, and from the fit over thickness where there are three."""

    kind: ClassVar[str] = "surface-energy"

    study: Literal["surface-energy"] = Field(description="the kind of study")
    surfaces: list[SurfaceSpec] = Field(min_length=1, description="faces whose energy is wanted")
    vacuum_angstrom: float | None = Field(
        None, ge=5, le=100, description=f"default: that of the card, else {VACUUM_ANGSTROM:g}"
    )
    vacuums_angstrom: list[_Vacuum] | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="the thickest slab as cleaved is computed under each of these, too",
    )
    max_atoms: int = Field(400, ge=2, le=2000, description="a larger slab is refused")

    @model_validator(mode="after")
    def _other_vacuums(self) -> SurfaceStudy:
        given = self.vacuums_angstrom or []
        if len(set(given)) != len(given):
            raise ValueError(f"vacuums_angstrom {given} names one twice; give each once")
        return self

    @property
    def vacuum(self) -> float:
        """Vacuum over the slabs, angstrom."""
        return self.vacuum_angstrom or self.setup.card_of("slab").vacuum_angstrom or VACUUM_ANGSTROM

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys(surface.crystal for surface in self.surfaces))

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        if self.vacuums_angstrom and not self.loaded_engine.capabilities.vacuum_level:
            raise EngineError(
                f"vacuums_angstrom: engine '{self.engine}' gives no vacuum level of a slab",
                "leave it out, or use an engine with electrons: gpaw, qe, vasp or castep",
            )
        return [*notes, *self.check_cells()]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: the crystals, then the slabs of each surface."""
        card = self.setup.card_of("crystal")
        return [
            *(crystal_step(name, self.crystal(name), card) for name in self.crystals_used()),
            *(
                SlabSeries.of(surface, self.vacuum, self.max_atoms, self._further_vacuums())
                for surface in self.surfaces
            ),
        ]

    def _further_vacuums(self) -> list[float]:
        """Return the vacuums of :attr:`vacuums_angstrom` but for that of all slabs."""
        return sorted(v for v in self.vacuums_angstrom or [] if v != self.vacuum)

    def document(self, results: Documents, record: Record, facts: None) -> SurfaceStudyDoc:
        """See :meth:`Study.document`: all surfaces."""
        docs = [doc for doc in results.values() if doc is not None]
        return last_document(
            SurfaceStudyDoc,
            self,
            record,
            engine=next((doc.engine for doc in docs if doc.engine), None),
            surfaces=docs,
            warnings=surface_warnings(docs),
        )


def surface_warnings(surfaces: list[SurfaceEnergyDoc]) -> list[str]:
    """Return why a surface has no energy, or what must be known of its energy, each with its surface."""
    return [f"{d.crystal}{face_text(d.miller)}: {w}" for d in surfaces for w in ([d.error] if d.error else d.warnings)]
