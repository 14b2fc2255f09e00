"""The last documents of the surface and interface studies."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from anodeflow.analysis.interface_energy import InterfaceEnergyDoc
from anodeflow.analysis.strained_side import StrainedSideDoc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import StudyDoc


class SurfaceStudyDoc(StudyDoc):
    """The end of a surface-energy study."""

    doc_type: Literal["SurfaceStudyDoc"] = "SurfaceStudyDoc"
    surfaces: list[SurfaceEnergyDoc]

    @property
    def complete(self) -> bool:
        """Whether every surface has an energy."""
        return all(surface.converged for surface in self.surfaces)


class InterfaceStudyDoc(StudyDoc):
    """The end of an interface-energy study."""

    doc_type: Literal["InterfaceStudyDoc"] = "InterfaceStudyDoc"
    interface: InterfaceEnergyDoc
    surfaces: list[SurfaceEnergyDoc]
    strained_side: StrainedSideDoc | None = Field(
        None, description="by which moduli the film was chosen; None: the study file says which side it is"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (*StudyDoc.LEFT_OUT_IF_NONE, "strained_side")

    @property
    def complete(self) -> bool:
        """Whether the interface has an energy."""
        return self.interface.converged
