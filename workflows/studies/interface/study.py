"""Interface energies: films of growing thickness on one substrate, the strain taken out by the fit."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from anodeflow.analysis.strained_side import StrainedSideDoc
from anodeflow.analysis.study_documents import InterfaceStudyDoc
from anodeflow.structures.defaults import VACUUM_ANGSTROM
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, Stage, crystal_step
from anodeflow.workflows.studies.interface.cells import Film, Pair, Side, Substrate
from anodeflow.workflows.studies.interface.jobs import INTERFACE, InterfaceSeries, without_result
from anodeflow.workflows.studies.interface.registry_cells import REGISTRIES, RegistryCells
from anodeflow.workflows.studies.registries import RegistryStage, check_search_engine, search_engine, search_label
from anodeflow.workflows.studies.strained_side import (
    SOFTER,
    BySide,
    check_stress,
    decided,
    moduli_of,
    moduli_stages,
    without_film,
)
from anodeflow.workflows.studies.surface.cells import SurfaceSpec
from anodeflow.workflows.studies.surface.jobs import SlabSeries
from anodeflow.workflows.studies.surface.study import surface_warnings
from anodeflow.yaml_input import Shift

_REGISTRIES = 3


class _InterfaceBySide(BySide):
    """A stage of an interface whose softer side is the film."""

    film: RegistryStage | RegistryCells | InterfaceSeries
    substrate: RegistryStage | RegistryCells | InterfaceSeries


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
    strained: Literal["film", "softer"] = Field(
        "film", description="softer: the side with the smaller Young's modulus by the study's engine is the film"
    )

    @model_validator(mode="after")
    def _either_may_be_the_film(self) -> InterfaceStudy:
        if self.strained != SOFTER:
            return self
        if self.shift != (0.0, 0.0) or self.registry is not None:
            raise ValueError(
                "registry and shift say where the film is: with strained: softer either side may be the film; leave "
                "them out, or strained"
            )
        try:
            _ = self.swapped_pair
        except ValidationError:
            raise ValueError(
                f"with strained: softer either side may be the film: substrate layers {self.substrate.layers} must be "
                f"one thickness or at least four, film layers {self.film.layers} two planes or more"
            ) from None
        return self

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
        return self._pair_of(self.film, self.substrate)

    @property
    def swapped_pair(self) -> Pair:
        """The two sides where the substrate of the study file is the softer one, and so the film."""
        return self._pair_of(Film(**_written(self.substrate)), Substrate(**_written(self.film)))

    def _pair_of(self, film: Film, substrate: Substrate) -> Pair:
        return Pair(
            film=film,
            substrate=substrate,
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
        if self.strained == SOFTER:
            notes += check_stress(self.loaded_engine)
        return [*notes, *self.check_cells()]

    def hashed_settings(self) -> dict[str, Any]:
        """See :meth:`Study.hashed_settings`: without the strained side where it is the film, as it always was."""
        return without_film(super().hashed_settings())

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: both crystals, registries, interface cells, the slabs of the free surfaces."""
        free = [SlabSeries.of(surface, self.vacuum, self.max_atoms) for surface in self.surfaces]
        card = self.setup.card_of("crystal")
        crystals = [crystal_step(name, self.crystal(name), card) for name in self.crystals_used()]
        slabs = [surface.label for surface in free]
        stages = self._stages(self.pair, slabs)
        if self.strained != SOFTER:
            return [*crystals, *stages, *free]
        names = self.crystals_used()
        forms = zip(stages, self._stages(self.swapped_pair, slabs), strict=True)
        by_side = [_InterfaceBySide.of(as_written, swapped, names) for as_written, swapped in forms]
        return [*crystals, *moduli_stages(names), *by_side, *free]

    def _stages(self, pair: Pair, slabs: list[str]) -> list[Stage]:
        """Return the search, if there is one, the registries and the series of one film on one substrate.

        `slabs` are the labels of the free surfaces.
        """
        layers = next((s.layers for s in self.surfaces if s.crystal == pair.film.crystal), [])
        series = InterfaceSeries.of(
            pair,
            slabs,
            self.searched,
            film_slabs=sorted(layers),
            vacuum_angstrom=self.vacuum,
        )
        if not self.searched:
            return [series]
        sides, options = [pair.film.crystal, pair.substrate.crystal], pair.options(pair.base_layers)
        search = RegistryStage.of("interface", sides, options, self.scorer, only=self.registry)
        return [search, RegistryCells.of(pair, self.registries or 1), series]

    def is_state(self, label: str) -> bool:
        """See :meth:`Study.is_state`: interface cells, not the strained references or free slabs."""
        return label.startswith("interface/") and ("registry" in label or "layers" in label)

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: without the search, which the interface holds."""
        return [label for label in super().summarised(entries) if label not in (REGISTRIES, search_label("interface"))]

    def document(self, results: Documents, record: Record, facts: None) -> InterfaceStudyDoc:
        """See :meth:`Study.document`: the interface and the free surfaces beside it."""
        doc = results[INTERFACE] or without_result(self.pair, "not computed; see the first failure of this run")
        names = self.crystals_used()
        beside = {INTERFACE, *moduli_of(results, names)}
        free = [surface for label, surface in results.items() if label not in beside and surface is not None]
        sides: list[StrainedSideDoc] = []
        if self.strained == SOFTER:
            sides, _ = decided([(None, names)], results, self.engine, record.setup.card_of("crystal").name)
        return last_document(
            InterfaceStudyDoc,
            self,
            record,
            engine=doc.engine,
            interface=doc,
            surfaces=free,
            strained_side=next(iter(sides), None),
            warnings=[f"interface: {w}" for w in ([doc.error] if doc.error else doc.warnings)] + surface_warnings(free),
        )


def _written(side: Film | Substrate) -> dict[str, Any]:
    """Return what a study file says of a side, for the other side."""
    return {key: getattr(side, key) for key in Side.model_fields} | {"layers": side.layers}
