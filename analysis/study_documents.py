"""The last documents of the surface and interface studies."""

from __future__ import annotations

from typing import Literal

from anodeflow.analysis.interface_energy import InterfaceEnergyDoc
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

    @property
    def complete(self) -> bool:
        """Whether the interface has an energy."""
        return self.interface.converged
