"""The document of a trajectory's analysis: everything that was asked of it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from anodeflow.analysis.coordination import IntactTetrahedraDoc
from anodeflow.analysis.diffusion import DiffusionDoc
from anodeflow.analysis.drift import RunChecksDoc
from anodeflow.analysis.interphase import InterphaseDoc
from anodeflow.analysis.profiles import ProfileDoc
from anodeflow.analysis.rdf import RdfDoc
from anodeflow.analysis.transport import TransportDoc
from anodeflow.documents import Document


class TrajectoryAnalysisDoc(Document):
    """Structure and transport of one trajectory."""

    doc_type: Literal["TrajectoryAnalysisDoc"] = "TrajectoryAnalysisDoc"
    file: str
    format: str | None = Field(None, description="of the file")
    atoms: int
    elements: dict[str, int] = Field(description="element: number of atoms")
    frames: int = Field(description="frames that were used")
    selection: str = Field("all", description="START:STOP:STEP of the frames of the file")
    timestep_fs: float | None = Field(None, description="between frames that were used; None: not known")
    truncated: str | None = Field(None, description="what is missing at the end of a file that was cut off")
    rdf: list[RdfDoc] = Field(default_factory=list)
    tetrahedra: list[IntactTetrahedraDoc] = Field(default_factory=list)
    diffusion: list[DiffusionDoc] = Field(default_factory=list)
    profile: ProfileDoc | None = None
    interphase: InterphaseDoc | None = None
    transport: list[TransportDoc] | None = Field(None, description="of the elements followed, with a temperature")
    checks: RunChecksDoc | None = None
    settings: dict[str, Any] = Field(default_factory=dict, description="the options of the analysis")
    software: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("interphase", "transport")
