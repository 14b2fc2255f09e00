"""Migration barriers: lithium hopping between vacancies, interstitial and surface sites, and across an interface."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from anodeflow.analysis.migration_documents import MigrationStudyDoc, diffusion_by_hops, landscapes
from anodeflow.errors import EngineError
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.workflows.jobs.band import NO_CLIMB, BandOptions
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, crystal_step
from anodeflow.workflows.studies.lithium import is_metal, is_salt
from anodeflow.workflows.studies.migration.cells import Cell, MigrationPath, interface_options
from anodeflow.workflows.studies.migration.jobs import PathHops, PathHost
from anodeflow.workflows.studies.registries import RegistryStage, check_search_engine, search_engine
from anodeflow.yaml_input import Seed, zero_or_at_least


class MigrationStudy(Study):
    """A migration study file: every inequivalent hop of every path, or those named."""

    kind: ClassVar[str] = "migration"

    study: Literal["migration"] = Field(description="the kind of study")
    paths: list[MigrationPath] = Field(min_length=1, description="where lithium moves")
    cell: Cell = Field(default_factory=Cell, description="how large the cells are")
    images: int | None = Field(None, ge=1, le=21, description="default: from the length of the path")
    climb: bool = Field(True, description="the highest image climbs to the saddle")
    allow_concerted: bool = Field(False, description="accept hops on which a second atom moves far")
    lithium_charge: Literal[0, 1] = Field(0, description="1: Li+, for engines that hold a charge")
    charged: Literal["refuse", "neutral"] = Field(
        "refuse",
        description="what an engine without charges does when asked for Li+: refuse, or compute neutral Li and say so",
    )
    displacement_angstrom: Annotated[float, zero_or_at_least(1e-4)] = Field(
        0.03,
        ge=0,
        le=0.3,
        description="of every atom at most, seeded, so that no symmetry holds an end point or a path",
    )
    seed: Seed = Field(0, description="of the displacements")

    @field_validator("paths", mode="before")
    @classmethod
    def _names_are_vacancy_paths(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"crystal": item, "mechanism": "vacancy"} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _once(self) -> MigrationStudy:
        labels = [path.label for path in self.paths]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"path {twice[0]} is given twice; give each once, and name its hops in 'hops'")
        return self

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys(name for path in self.paths for name in path.crystals))

    def elements(self) -> list[str]:
        """See :meth:`Study.elements`; lithium hops in any case."""
        return sorted({*super().elements(), "Li"})

    def hashed_settings(self) -> dict[str, Any]:
        """See :meth:`Study.hashed_settings`: paths that are neutral though Li+ is asked for and could be held."""
        settings = super().hashed_settings()
        if self.lithium_charge and self.loaded_engine.capabilities.charge:
            neutral = [path.label for path in self.paths if self.metals_of(path)]
            settings |= {"neutral": neutral} if neutral else {}
        return settings

    # --- charges -------------------------------------------------------------------------------------

    def metals_of(self, path: MigrationPath) -> list[str]:
        """Return the metals of a path: a cell that holds one is neutral, for the metal takes or gives the electron."""
        return [name for name in path.crystals if is_metal(self.crystal(name))]

    def charge_mode(self, path: MigrationPath) -> str:
        """Return which charge the lithium that hops on a path carries, as text."""
        if self.lithium_charge == 0:
            return "neutral cell: a vacancy is a missing Li atom, an interstitial an added one"
        metals = self.metals_of(path)
        if metals:
            return f"neutral cell: Li moves as Li+ where it is one, and {metals[0]}, a metal, keeps its electron"
        if self.loaded_engine.capabilities.charge:
            return "Li+ hops: cells with a vacancy have charge -1, cells with an added Li +1"
        return f"neutral cell in place of Li+: engine '{self.engine}' holds no charge"

    def charge_of(self, path: MigrationPath) -> int:
        """Return the charge of the cells of a path, e."""
        if not self.loaded_engine.capabilities.charge or self.metals_of(path):
            return 0
        return -self.lithium_charge if path.mechanism in ("vacancy", "interface") else self.lithium_charge

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return not any(path.needs_host for path in self.paths)

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        if not self.loaded_engine.capabilities.neb:
            raise EngineError(
                f"engine '{self.engine}' computes no nudged elastic band here",
                "use one that does: a potential, gpaw, qe, castep or vasp",
            )
        if self.climb and not self.loaded_engine.climbs():
            notes.append(NO_CLIMB.format(engine=self.engine))
        insulators = [path for path in self.paths if not self.metals_of(path)]
        if self.lithium_charge and len(insulators) < len(self.paths):
            notes += dict.fromkeys(self.charge_mode(path) for path in self.paths if self.metals_of(path))
        if self.lithium_charge and insulators and not self.loaded_engine.capabilities.charge:
            if self.charged == "refuse":
                raise EngineError(
                    f"engine '{self.engine}' cannot hold a charge, and the study asks for Li+",
                    "set 'charged: neutral' to run neutral cells (every output will say so), or use an engine with "
                    "electrons",
                )
            notes.append(self.charge_mode(insulators[0]))
        for path in self.paths:
            if path.registries:
                engine = search_engine(self.engine, self.warm_start, path.search_engine)
                notes += check_search_engine(engine, self._dry)
        return [*notes, *self.check_cells()]

    def caveats(self, path: MigrationPath) -> list[str]:
        """Return what a reader must know of this path's barriers, whatever they turn out to be."""
        notes = []
        if not self.loaded_engine.capabilities.electrons and any(is_salt(self.crystal(name)) for name in path.crystals):
            notes.append("defect in a salt: a potential does not know whether its vacancy or added Li is charged")
        return notes

    # --- what is computed ----------------------------------------------------------------------------

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: the crystals; of each path its host, if it has one, and its hops."""
        vacuum = self.setup.card_of("slab").vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM
        entries: list[Entry] = [
            crystal_step(name, self.crystal(name), self.setup.card_of("crystal")) for name in self.crystals_used()
        ]
        for path in self.paths:
            unrelaxed = [self.crystal(name) for name in path.crystals] if path.mechanism == "interface" else []
            if path.registries:
                entries.append(self._search(path))
            if path.needs_host:
                entries.append(PathHost.of(path, self.cell, vacuum, unrelaxed))
            hops = PathHops.of(
                path,
                cell=self.cell,
                vacuum_angstrom=vacuum,
                band=self.band_options(path),
                charge_mode=self.charge_mode(path),
                caveats=self.caveats(path),
                unrelaxed=unrelaxed,
            )
            entries.append(hops)
        return entries

    def _search(self, path: MigrationPath) -> RegistryStage:
        """Return the search of the registry of an interface."""
        engine = search_engine(self.engine, self.warm_start, path.search_engine)
        sides = [side.crystal for side in (path.film, path.substrate) if side is not None]
        options = interface_options(path, self.cell)
        exact = [(name, self.crystal(name)) for name in path.crystals]
        return RegistryStage.of(path.label, sides, options, engine, only=path.registry, exact=exact)

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the hops of every path."""
        return [entry.label for entry in entries if isinstance(entry, PathHops)]

    def band_options(self, path: MigrationPath) -> BandOptions:
        """Return how every band of a path begins and moves."""
        return BandOptions(
            images=self.images,
            climb=self.climb,
            displacement_angstrom=self.displacement_angstrom,
            seed=self.seed,
            allow_concerted=self.allow_concerted,
            charge=self.charge_of(path),
        )

    def document(self, results: Documents, record: Record, facts: None) -> MigrationStudyDoc:
        """See :meth:`Study.document`: all hops of all paths."""
        docs = [doc for barriers in results.values() for doc in barriers or []]
        missing = [label.removesuffix("/hops") for label, barriers in results.items() if barriers is None]
        return last_document(
            MigrationStudyDoc,
            self,
            record,
            engine=next((doc.engine for doc in docs if doc.engine), None),
            barriers=docs,
            diffusion=diffusion_by_hops(docs) or None,
            landscapes=landscapes(docs) or None,
            warnings=[f"{label}: no result, see the first failure of the run" for label in missing]
            + [
                f"{d.crystal} {d.mechanism} {d.hop}: {w}"
                for d in docs
                for w in ([d.error] if d.error else []) + d.warnings
            ],
        )
