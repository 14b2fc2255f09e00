"""The documents that calculations end in: one schema for every engine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pymatgen.core import Structure

SCHEMA_VERSION = 1


class Document(BaseModel):
    """Base of all stored documents."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    # Fields that a kind of document did not always have: left out where they say nothing, as in documents of before.
    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if v is not None or k not in self.LEFT_OUT_IF_NONE}


# Engines whose records do not state the functional, or did not always.
_FUNCTIONAL_BEFORE = dict.fromkeys(("sevennet-0", "sevennet-l3i5", "chgnet", "vasp", "castep", "qe", "gpaw"), "PBE")


class EngineRecord(Document):
    """The engine of a calculation: everything that says which program and model a number comes from."""

    name: str = Field(description="name of the engine, as in the study file")
    kind: str = Field(description="e.g. 'machine-learning potential' or 'plane-wave DFT'")
    version: str = Field(description="package or program and its version")
    model: str | None = Field(None, description="file name of the model or the pseudopotential set")
    hash: str = Field(description="SHA-256 (first 16 hex digits) of the model, or of program and potential library")
    potentials: dict[str, str] = Field(
        default_factory=dict, description="element: pseudopotential or PAW data set, and its digest"
    )
    stand_in: bool = Field(False, description="a test program behind a licensed code's files: no result of that code")
    mode: str = Field("full", description="what of the card the engine does not honour, as text")
    device: str = Field("cpu", description="cpu or cuda")
    functional: str | None = Field(
        None, description="exchange-correlation functional of a potential's energies; None: see `energies_of`"
    )
    training_data: str | None = Field(None, description="what a potential was trained on, with its source")
    licence: str | None = Field(None, description="of a potential's weights")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("functional", "training_data", "licence")

    @property
    def energies_of(self) -> str | None:
        """The functional that its energies are of; None for a model file that does not say."""
        return self.functional or _FUNCTIONAL_BEFORE.get(self.name)


#: Corrections for dispersion that a card may ask for, and how they are written behind a functional.
Dispersion = Literal["d3-bj", "d3-zero"]
DISPERSIONS: dict[Dispersion, str] = {"d3-bj": "D3(BJ)", "d3-zero": "D3(0)"}


class CardRecord(Document):
    """How accurately: the name and hash of the method card."""

    name: str = Field(description="of the method card")
    hash: str = Field(description="of what decides a converged result")
    base_hash: str | None = Field(None, description="hash of the study's card where this one is varied from it")
    dispersion: Dispersion | None = Field(
        None, description="the correction for dispersion in every energy, force and stress; None: none"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("dispersion",)

    @property
    def family(self) -> str:
        """Hash of the card of the study, whether or not it was varied (spin and k-points of an isolated atom)."""
        return self.base_hash or self.hash

    @property
    def text(self) -> str:
        """The name, and the correction for dispersion where there is one."""
        return self.name if self.dispersion is None else f"{self.name} with {DISPERSIONS[self.dispersion]}"


class Reason(StrEnum):
    """Why a calculation has no converged result; decisions rest on this, never on the text of an error."""

    NOT_RELAXED = "not relaxed"
    ELECTRONS = "electrons not converged"
    EXPLODED = "forces exploded"
    BAD_PATH = "path gone bad"
    OUT_OF_TIME = "out of time"
    STOPPED = "stopped by the user"
    FAILED = "program failed"
    DAMAGED = "output damaged"
    MISSING_INPUT = "something it needs was not computed"


class ComputedDoc(Document):
    """Base of the documents that say what was computed: who did it, how, when, where, and how it ended."""

    schema_version: int = Field(SCHEMA_VERSION, description="of the document")
    fingerprint: str = Field(description="hash of all that decides the result; equal ones are the same calculation")
    label: str = Field(description="what it is in its study")
    converged: bool = False
    engine: EngineRecord = Field(description="what computed")
    card: CardRecord = Field(description="how accurately")
    warm_start: EngineRecord | None = Field(None, description="the cheap engine whose result this one started from")
    wall_time_s: float = Field(0.0, description="how long it took, s")
    started_at: str | None = Field(None, description="when it was started")
    computer: str | None = Field(None, description="host name of the machine")
    directory: str | None = Field(None, description="folder of its files")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no converged result")
    reason: Reason | None = Field(None, description="the same for a program to read; None in documents of before")
    arrays: dict[str, Any] | None = Field(None, description="large data, stored apart")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("reason",)


class SlabLevels(Document):
    """Levels of the electrons of a slab: in the vacuum over its faces, and of the last that it holds."""

    level_ev: float = Field(description="of the electrons that leave first, on the scale of the vacuum levels")
    level: Literal["Fermi level", "highest occupied level"] = Field(description="which of the two `level_ev` is")
    top_ev: float | None = Field(None, description="vacuum level over the top; None: the vacuum is not flat")
    bottom_ev: float | None = Field(None, description="under the bottom; None: not flat there")
    spread_ev: float | None = Field(
        None, description="largest minus smallest potential where the vacuum counts as flat"
    )
    height_angstrom: float | None = Field(None, description="of the lower one of the flat layers")
    error: str | None = Field(None, description="why there is no vacuum level")

    @property
    def work_function_ev(self) -> float | None:
        """W = V_vacuum - E_level over the top, the face that carries Li."""
        return None if self.top_ev is None else self.top_ev - self.level_ev


class DispersionPart(Document):
    """The two parts of an energy with a correction for dispersion, which add up to it."""

    method: str = Field(description="e.g. PBE-D3(BJ)")
    energy_ev: float = Field(description="the correction, eV; part of the energy of the document")
    electronic_ev: float = Field(description="the rest of that energy, eV")
    program: str = Field(description="what computed the correction")
    source: str = Field(description="where its parameters are published")


class CalculationDoc(ComputedDoc):
    """The end of every calculation, whatever the engine."""

    doc_type: Literal["CalculationDoc"] = Field("CalculationDoc", description="class of the document")
    crystal: str | None = Field(None, description="crystal the calculation belongs to")
    task: Literal["static", "relax", "relax_cell", "relax_c"] = Field(description="what was asked for")
    energy_ev: float | None = Field(None, description="total energy of the cell, eV; None if it failed")
    structure: Structure = Field(description="final geometry")
    initial_structure: Structure | None = Field(None, description="geometry the calculation started from")
    charge: int = Field(0, description="charge of the cell, e")
    converged: bool = Field(description="electronic and ionic convergence reached")
    electronic_converged: bool | None = Field(None, description="None: the engine has no electrons")
    ionic_converged: bool | None = Field(None, description="None: no relaxation was asked for")
    ionic_steps: int = Field(0, description="steps of the relaxation")
    max_force_ev_per_angstrom: float | None = Field(None, description="largest force on a free atom")
    max_stress_gpa: float | None = Field(None, description="largest component of the stress tensor")
    stress_gpa: list[list[float]] | None = Field(
        None, description="stress tensor at the end, (3, 3) GPa, positive under tension; None where it was not wanted"
    )
    energy_change_last_step_ev: float | None = Field(None, description="how far the last step lowered the energy, eV")
    warm_start: EngineRecord | None = Field(
        None, description="the engine that relaxed the geometry this one started from"
    )
    coarse_mesh: tuple[int, int, int] | None = Field(
        None, description="k-mesh with which the engine relaxed the geometry this one started from; None: it did not"
    )
    kept_space_group: str | None = Field(
        None,
        description="symmetry that displaced atoms came back to on the coarser k-mesh, within 0.05 angstrom, and that "
        "the rest of the relaxation kept; None: there was none, or the start was not displaced",
    )
    levels: SlabLevels | None = Field(None, description="of a slab, from engines that give its potential")
    dispersion: DispersionPart | None = Field(None, description="of a card with dispersion: the parts of the energy")
    arrays: dict[str, Any] | None = Field(
        None, description="forces (N, 3) eV/angstrom; per step: energies eV, positions, cells; stored apart"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (
        *ComputedDoc.LEFT_OUT_IF_NONE, "coarse_mesh", "kept_space_group", "levels", "dispersion",
    )  # fmt: skip

    @property
    def energy_per_atom_ev(self) -> float:
        """Energy per atom, eV. Only for converged calculations."""
        return self.converged_energy_ev() / len(self.structure)

    def converged_energy_ev(self) -> float:
        """Return the total energy, eV, or ConvergenceError if the calculation did not converge."""
        from anodeflow.errors import ConvergenceError

        if not self.converged or self.energy_ev is None:
            raise ConvergenceError(
                f"'{self.label}' did not converge ({self.error or 'no reason recorded'})",
                "no energy difference is made of it; raise max_steps in the card or look at its geometry",
            )
        return self.energy_ev


class StudyDoc(Document):
    """What the end of every study says of itself."""

    study: str = Field(description="kind of study")
    study_hash: str = Field(description="hash of the study file's content")
    title: str = Field(description="as the study file has it")
    engine: EngineRecord = Field(description="what computed")
    card: CardRecord = Field(description="how accurately")
    cards: dict[str, CardRecord] | None = Field(None, description="of the roles that have another card")
    settings: dict[str, Any] = Field(default_factory=dict, description="the study file, validated")
    sources: list[str] = Field(default_factory=list, description="what the numbers rest on besides calculations")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    software: dict[str, str] = Field(default_factory=dict, description="versions of packages")
    finished_at: str | None = Field(None, description="when the last result was put together")
    check: dict[str, Any] | None = Field(
        None, description="what an engine with electrons says of it: the content of an analysis.checks.CheckDoc"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("cards", "check")

    @property
    def cards_text(self) -> str:
        """The card, and those of the roles that have another, such as ``a; crystal: b``."""
        return "; ".join([self.card.text, *(f"{role}: {card.text}" for role, card in (self.cards or {}).items())])

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for has a result."""
        return True
