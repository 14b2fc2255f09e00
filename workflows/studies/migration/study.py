"""Migration barriers: lithium hopping between vacancies, interstitial and surface sites, and across an interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job
from pydantic import Field, field_validator, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.migration_documents import BandDoc, MigrationBarrierDoc, MigrationStudyDoc, barrier_doc
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.structures.migration import Hop
from anodeflow.structures.migration_paths import (
    EndPoints,
    interpolated_path,
    matched_end_points,
    mirrored_end,
    number_of_images,
)
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.band import NO_CLIMB, band_job
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies.base import PlannedCalculation, Study, identify, origin
from anodeflow.workflows.studies.binding.cells import displaced
from anodeflow.workflows.studies.lithium import crystal_task, is_salt
from anodeflow.workflows.studies.migration.cells import Cell, HopCells, MigrationPath, build_host, hop_cells_of

SETTLED = JobConfig(on_missing_references=OnMissing.NONE)
#: Optimiser steps of a band and of an end point, for the estimate of the cost.
BAND_STEPS, END_STEPS = 25, 15


class PlannedBand(PlannedCalculation):
    """A band of the dry run."""

    task: Literal["neb"] = "neb"  # type: ignore[assignment]
    ends: EndPoints
    images: int = Field(description="between the ends")
    options: dict[str, Any] = Field(description="of band_job")

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`PlannedCalculation.write_inputs`."""
        bend = {key: self.options[key] for key in ("displacement_angstrom", "seed")}
        path = interpolated_path(self.ends, self.images, **bend)
        return engine.write_band_inputs(path, card, self.charge, directory, climb=self.options["climb"])


class MigrationStudy(Study):
    """A migration study file: every inequivalent hop of every path, or those named."""

    kind: ClassVar[str] = "migration"

    study: Literal["migration"]
    paths: list[MigrationPath] = Field(min_length=1)
    cell: Cell = Field(default_factory=Cell)
    images: int | None = Field(None, ge=1, le=21, description="default: from the length of the path")
    climb: bool = True
    allow_concerted: bool = Field(False, description="accept hops on which a second atom moves far")
    lithium_charge: Literal[0, 1] = 0
    charged: Literal["refuse", "neutral"] = "refuse"
    displacement_angstrom: float = Field(
        0.03, ge=0, le=0.3, description="of every atom, seeded, so that no symmetry holds an end point or a path"
    )
    seed: int = Field(0, ge=0)

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

    # --- charges -------------------------------------------------------------------------------------

    @property
    def charge_mode(self) -> str:
        """In words: which charge the hopping lithium carries."""
        if self.lithium_charge == 0:
            return "neutral cell: a vacancy is a missing Li atom, an interstitial an added one"
        if self.who.capabilities.charge:
            return "Li+ hops: cells with a vacancy have charge -1, cells with an added Li +1"
        return f"neutral cell in place of Li+: engine '{self.engine}' holds no charge"

    def charge_of(self, path: MigrationPath) -> int:
        """Charge of the cells of a path, e."""
        if not self.who.capabilities.charge:
            return 0
        return -self.lithium_charge if path.mechanism in ("vacancy", "interface") else self.lithium_charge

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        if not self.who.capabilities.neb:
            raise EngineError(
                f"engine '{self.engine}' computes no nudged elastic band here",
                "use one that does: a potential, gpaw, qe, castep or vasp",
            )
        if self.climb and not self.who.climbs():
            notes.append(NO_CLIMB.format(engine=self.engine))
        if self.lithium_charge and not self.who.capabilities.charge:
            if self.charged == "refuse":
                raise EngineError(
                    f"engine '{self.engine}' cannot hold a charge, and the study asks for Li+",
                    "set 'charged: neutral' to run neutral cells (every output will say so), or use an engine with "
                    "electrons",
                )
            notes.append(self.charge_mode)
        return [*notes, *self.check_cells()]

    def caveats(self, path: MigrationPath) -> list[str]:
        """What a reader must know of this path's barriers, whatever they turn out to be."""
        notes = []
        if not self.who.capabilities.electrons and any(is_salt(self.crystal(name)) for name in path.crystals):
            notes.append("defect in a salt: a potential does not know whether its vacancy or added Li is charged")
        return notes

    # --- the flow ------------------------------------------------------------------------------------

    def flow(self) -> Flow:
        """The study as a Flow: crystals, hosts, end points, bands, one document a hop, one summary."""
        crystals = {
            name: self.identify(
                self.maker(crystal_task(name)).make(self.crystal(name), f"{name}/crystal", name),
                f"{name}/crystal",
            )
            for name in self.crystals_used()
        }
        jobs: list[Job] = []
        results = []
        for path in self.paths:
            common = {
                "study_hash": self.hash,
                "engine": self.engine,
                "card": self.method.model_dump(mode="json"),
                "warm_start": self.warm_start,
                "path": path.model_dump(mode="json"),
                "cell": self.cell.model_dump(mode="json"),
                "vacuum_angstrom": self.method.vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM,
                "band": self.band_options(path),
                "charge_mode": self.charge_mode,
                "caveats": self.caveats(path),
            }
            own = [crystals[name].output for name in path.crystals]
            host_output = None
            if path.needs_host:
                built = host_cell(own, common)
                jobs.append(self.identify(built, f"{path.label}/cell"))
                relaxed = self.maker(path.host_task).make(built.output["structure"], f"{path.label}/host", path.label)
                jobs.append(self.identify(relaxed, f"{path.label}/host"))
                host_output = relaxed.output
            found = path_hops(own, host_output, common)
            jobs.append(self.identify(found, f"{path.label}/hops"))
            results.append(found.output)
        summary = summarise(
            results,
            self.model_dump(mode="json"),
            self.hash,
            self.sources(),
            self.card_record(),
            [path.label for path in self.paths],
        )
        jobs.append(self.identify(summary, "summary"))
        return Flow([*crystals.values(), *jobs], output=summary.output, name=self.title or self.kind)

    def band_options(self, path: MigrationPath) -> dict[str, Any]:
        """What every band of a path needs besides its end points."""
        return {
            "images": self.images,
            "climb": self.climb,
            "displacement_angstrom": self.displacement_angstrom,
            "seed": self.seed,
            "allow_concerted": self.allow_concerted,
            "charge": self.charge_of(path),
        }

    def _plan(self) -> list[PlannedCalculation]:
        calculations: dict[str, PlannedCalculation] = {}

        def add(
            label: str, task: Any, structure: Structure, steps: int, charge: int = 0, kind: Any = PlannedCalculation,
            **more: Any,
        ) -> None:  # fmt: skip
            made = kind(
                label=label, task=task, structure=structure, charge=charge, expected_steps=steps, estimated=True, **more
            )
            calculations.setdefault(label, made)

        for name in self.crystals_used():
            add(f"{name}/crystal", crystal_task(name), self.crystal(name), 8)
        for path in self.paths:
            host, _ = build_host(
                [self.crystal(n) for n in path.crystals],
                path,
                self.cell,
                self.method.vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM,
            )
            if path.needs_host:
                add(f"{path.label}/host", path.host_task, host, 20)
            charge = self.charge_of(path)
            for made in hop_cells_of(host, host, path, self.cell):
                ends = matched_end_points(made.start, made.end)
                for where, structure in made.to_relax():
                    add(f"{path.label}/{where}", "relax", structure, END_STEPS, charge)
                images = self.images or number_of_images(ends.path_angstrom)
                add(
                    f"{path.label}/{made.hop.label}/band", "neb", made.start, images * BAND_STEPS, charge, PlannedBand,
                    ends=ends, images=images, options=self.band_options(path),
                )  # fmt: skip
        return list(calculations.values())


@job
def host_cell(crystals: list[CalculationDoc], common: dict[str, Any]) -> dict[str, Any]:
    """Build the slab or interface from the relaxed crystals."""
    for crystal in crystals:
        crystal.converged_energy_ev()
    path, cell = MigrationPath.model_validate(common["path"]), Cell.model_validate(common["cell"])
    structure, model = build_host([c.structure for c in crystals], path, cell, common["vacuum_angstrom"])
    return {"structure": Structure(structure.lattice, structure.species, structure.frac_coords), "model": model}


@job(config=SETTLED)
def path_hops(
    crystals: list[CalculationDoc | None], host: CalculationDoc | None, common: dict[str, Any]
) -> Response | list[MigrationBarrierDoc]:
    """Find the hops of one path in the relaxed host, relax their ends, and compute a band for each."""
    path, cell = MigrationPath.model_validate(common["path"]), Cell.model_validate(common["cell"])
    rests_on: dict[str, str] = {}
    try:
        for name, crystal in zip(path.crystals, crystals, strict=True):
            if crystal is None:
                raise EngineError(f"the crystal {name} was not computed", "see the first failure of this run")
            crystal.converged_energy_ev()
            rests_on[f"crystal {name}"] = crystal.fingerprint
        structures = [crystal.structure for crystal in crystals if crystal is not None]
        built, model = build_host(structures, path, cell, common["vacuum_angstrom"])
        relaxed = built
        if path.needs_host:
            if host is None:
                raise EngineError("the host cell was not computed", "see the first failure of this run")
            host.converged_energy_ev()
            rests_on["host"], relaxed = host.fingerprint, host.structure
        hops = hop_cells_of(built, relaxed, path, cell)
        jobs, barriers = _hop_jobs(hops, path, model, rests_on, common)
    except AnodeflowError as error:
        return [_without_result(path, common, str(error))]
    return Response(replace=Flow([*jobs, *barriers], output=[made.output for made in barriers], name=path.label))


def _hop_jobs(
    hops: list[HopCells], path: MigrationPath, model: str, rests_on: dict[str, str], common: dict[str, Any]
) -> tuple[list[Job], list[Job]]:
    """Jobs of the end points and bands, each end point once, and those of the barriers."""
    options = common["band"] | ({"warm_start": common["warm_start"]} if common["warm_start"] else {})
    maker = CalculationMaker(
        task="relax", card=common["card"], engine=common["engine"], warm_start=common["warm_start"]
    )
    ends: dict[str, Job] = {}
    jobs: list[Job] = []
    barriers: list[Job] = []
    kind = MigrationStudy.kind

    def relaxation(where: str, structure: Structure) -> Job:
        if where not in ends:
            label = f"{path.label}/{where}"
            start = displaced(structure, options["displacement_angstrom"], options["seed"] + len(ends))
            made = maker.make(start, label, path.label, charge=options["charge"])
            ends[where] = identify(made, label, common["study_hash"], kind)
            jobs.append(made)
        return ends[where]

    for cells in hops:
        mirror = mirrored_end(cells.start, cells.end, cells.start) is not None
        start = relaxation(cells.start_name, cells.start)
        end = None if mirror else relaxation(cells.end_name, cells.end)
        label = f"{path.label}/{cells.hop.label}"
        band = band_job(
            start.output,
            end.output if end is not None else None,
            options | ({"mirror": [cells.start, cells.end]} if mirror else {}),
            common["card"],
            common["engine"],
            f"{label}/band",
            path.label,
        )
        jobs.append(identify(band, f"{label}/band", common["study_hash"], kind))
        made = barrier(
            band.output,
            start.output,
            end.output if end is not None else None,
            _facts(cells.hop, path, model, len(cells.start), common),
            rests_on,
            [*common["caveats"], *cells.notes],
        )
        barriers.append(identify(made, f"{label}/barrier", common["study_hash"], kind))
    return jobs, barriers


def _facts(hop: Hop, path: MigrationPath, model: str, atoms: int, common: dict[str, Any]) -> dict[str, Any]:
    return {
        "crystal": path.name,
        "mechanism": path.mechanism,
        "hop": hop.label,
        "start_site": hop.start_site,
        "end_site": hop.end_site,
        "model": model,
        "atoms": atoms,
        "distance_angstrom": hop.distance_angstrom,
        "multiplicity": hop.multiplicity,
        "multiplicity_back": hop.multiplicity_back,
        "symmetric": hop.symmetric,
        "charge_mode": common["charge_mode"],
    }


def _without_result(path: MigrationPath, common: dict[str, Any], why: str) -> MigrationBarrierDoc:
    return MigrationBarrierDoc(
        crystal=path.name, mechanism=path.mechanism, charge_mode=common["charge_mode"], error=why
    )


@job(config=SETTLED)
def barrier(
    band: BandDoc | None,
    start: CalculationDoc | None,
    end: CalculationDoc | None,
    facts: dict[str, Any],
    rests_on: dict[str, str],
    caveats: list[str],
) -> MigrationBarrierDoc:
    """The barrier of one hop; an unconverged band gives none."""
    return barrier_doc(band, start, end, facts=facts, rests_on=rests_on, caveats=caveats)


@job(config=SETTLED)
def summarise(
    paths: list[list[MigrationBarrierDoc] | None],
    settings: dict[str, Any],
    study_hash: str,
    notes: list[str],
    card: dict[str, str],
    labels: list[str],
) -> MigrationStudyDoc:
    """All hops of all paths."""
    docs = [doc for found in paths for doc in found or []]
    missing = [label for label, found in zip(labels, paths, strict=True) if found is None]
    return MigrationStudyDoc(
        **origin(MigrationStudy.kind, study_hash, settings, notes),
        engine=next((d.engine for d in docs if d.engine), None) or get_engine(settings["engine"]).record(),
        card=CardRecord.model_validate(card),
        barriers=docs,
        warnings=[f"{label}: no result, see the first failure of the run" for label in missing]
        + [
            f"{d.crystal} {d.mechanism} {d.hop}: {w}" for d in docs for w in ([d.error] if d.error else []) + d.warnings
        ],
    )
