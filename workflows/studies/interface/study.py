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
from anodeflow.workflows.studies.interface.registry_cells import REGISTRIES, RegistryCells
from anodeflow.workflows.studies.registries import RegistryStage, check_search_engine, search_engine, search_label
from anodeflow.workflows.studies.surface.cells import SurfaceSpec
from anodeflow.workflows.studies.surface.jobs import SlabSeries
from anodeflow.workflows.studies.surface.study import surface_warnings
from anodeflow.yaml_input import Shift

_REGISTRIES = 3


class InterfaceStudy(Study):
    """An interface-energy study file: gamma(n) = gamma_true + n sigma, intercept and slope with their intervals."""

    kind: ClassVar[str] = "interface-energy"

    study: Literal["interface-energy"] = Field(description="the kind of study")
    film: Film = Field(description="side that is strained onto the other")
    substrate: Substrate = Field(description="side that keeps its lattice")
    surfaces: list[SurfaceSpec] = Field(
        default_factory=list, description="free surfaces of both, for the work of adhesion"
    )
    max_strain_percent: float = Field(5.0, ge=1e-3, le=15, description="largest strain of a lattice match")
    max_area_angstrom2: float = Field(200.0, gt=1, le=1000, description="largest area of a lattice match")
    gap_angstrom: float = Field(2.5, ge=1, le=6, description="that cells are planned with, or built with a shift")
    registries: int | None = Field(None, ge=1, le=12, description="best of the search that are computed; default: 3")
    registry: str | None = Field(None, description="the only one to compute, such as 'Li over Cl'")
    search_engine: str | None = Field(None, description="potential that scores registries")
    shift: Shift = Field((0.0, 0.0), description="in place of a search, in fractions of the cell")
    vacuum_angstrom: float | None = Field(
        None, ge=5, le=100, description="over free surfaces; default: that of the card"
    )
    max_atoms: int = Field(400, ge=2, le=2000, description="a larger cell is refused")

    @model_validator(mode="after")
    def _surfaces_belong(self) -> InterfaceStudy:
        for surface in self.surfaces:
            if surface.crystal not in (self.film.crystal, self.substrate.crystal):
                raise ValueError(f"surface {surface.label} is of neither side of the interface")
        return self

    @model_validator(mode="after")
    def _searched_or_given(self) -> InterfaceStudy:
        if self.registries is None and "shift" not in self.model_fields_set:
            self.registries = _REGISTRIES if self.registry is None else 1
        if self.registries is None and (self.registry is not None or self.search_engine is not None):
            raise ValueError("give either shift, or registry and search_engine")
        if self.registries is not None and self.shift != (0.0, 0.0):
            raise ValueError(f"shift {list(self.shift)} is one registry: leave out shift, or registries")
        return self

    @property
    def searched(self) -> bool:
        """Whether registries are searched."""
        return self.registries is not None

    @property
    def scorer(self) -> str:
        """The potential that scores registries."""
        return search_engine(self.engine, self.warm_start, self.search_engine)

    @property
    def vacuum(self) -> float:
        """Vacuum over the free slabs, angstrom."""
        return self.vacuum_angstrom or self.setup.card_of("slab").vacuum_angstrom or VACUUM_ANGSTROM

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
        if self.searched:
            notes += check_search_engine(self.scorer, self._dry)
        return [*notes, *self.check_cells()]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: both crystals, registries, interface cells, the slabs of the free surfaces."""
        free = [SlabSeries.of(surface, self.vacuum, self.max_atoms) for surface in self.surfaces]
        crystals = [crystal_step(name, self.crystal(name)) for name in self.crystals_used()]
        layers = next((s.layers for s in self.surfaces if s.crystal == self.film.crystal), [])
        series = InterfaceSeries.of(
            self.pair,
            [slabs.label for slabs in free],
            self.searched,
            film_slabs=sorted(layers),
            vacuum_angstrom=self.vacuum,
        )
        if not self.searched:
            return [*crystals, series, *free]
        options = self.pair.options(self.pair.base_layers)
        search = RegistryStage.of("interface", self.crystals_used(), options, self.scorer, only=self.registry)
        return [*crystals, search, RegistryCells.of(self.pair, self.registries or 1), series, *free]

    def is_state(self, label: str) -> bool:
        """See :meth:`Study.is_state`: interface cells, not the strained references or free slabs."""
        return label.startswith("interface/") and ("registry" in label or "layers" in label)

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: without the search, which the interface holds."""
        return [label for label in super().summarised(entries) if label not in (REGISTRIES, search_label("interface"))]

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
