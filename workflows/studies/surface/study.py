"""Surface energies: slabs of several thicknesses, cut from the relaxed crystal of the same engine and card."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job
from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.analysis.surface_energy import SlabMember, SurfaceEnergyDoc, surface_energy_doc
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.oriented_bulk import crystal_in_slab_cell
from anodeflow.structures.slabs import SlabModel, build_slab
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies.base import Options, PlannedCalculation, Study, identify, origin

ALIGNED = "crystal in the cell of the slabs"
SETTLED = JobConfig(on_missing_references=OnMissing.NONE)


class SurfaceSpec(Options):
    """One face of one crystal. The Miller index refers to the catalogue's cell (or the user's)."""

    crystal: str
    miller: tuple[int, int, int]
    termination: int | str = 0
    layers: list[int] = Field(min_length=1, description="planes of atoms of each slab")
    symmetric: bool = Field(True, description="equal faces are preferred, even at the price of stoichiometry")
    chemical_potentials_ev: dict[str, float] | None = Field(
        None, description="eV per atom, for slabs that are not stoichiometric"
    )

    @model_validator(mode="after")
    def _one_or_a_fit(self) -> SurfaceSpec:
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"{self.label}: a thickness is given twice in layers {self.layers}")
        if len(self.layers) == 2:
            raise ValueError(f"{self.label}: two thicknesses {self.layers} make no fit; give one, or three and more")
        return self

    @property
    def label(self) -> str:
        """Such as ``LiCl(100)``."""
        return f"{self.crystal}({''.join(str(i) for i in self.miller)})"


class SurfaceStudy(Study):
    """A surface-energy study file: gamma from each slab, and from the fit over thickness where there are three."""

    kind: ClassVar[str] = "surface-energy"

    study: Literal["surface-energy"]
    surfaces: list[SurfaceSpec] = Field(min_length=1)
    vacuum_angstrom: float | None = Field(None, ge=5, le=100, description="default: that of the card, else 15")
    max_atoms: int = Field(400, ge=2, le=2000)

    @property
    def vacuum(self) -> float:
        """Vacuum over the slabs, angstrom."""
        return self.vacuum_angstrom or self.method.vacuum_angstrom or 15.0

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys(surface.crystal for surface in self.surfaces))

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        return [*notes, *self.check_cells()]

    def _plan(self) -> list[PlannedCalculation]:
        planned = []
        for name in self.crystals_used():
            planned.append(estimated(f"{name}/crystal", "relax_cell", self.crystal(name), 8))
        for surface in self.surfaces:
            planned += planned_surface(self, surface)
        return planned

    def flow(self) -> Flow:
        """The study as a Flow: crystals, slabs as cleaved and relaxed, one document a surface, one summary."""
        crystals = {
            name: self.identify(
                self.maker("relax_cell").make(self.crystal(name), f"{name}/crystal", name), f"{name}/crystal"
            )
            for name in self.crystals_used()
        }
        series = [surface_jobs(self, crystals[surface.crystal], surface) for surface in self.surfaces]
        summary = summarise(
            [made.output for made in series],
            self.engine,
            self.card_record(),
            self.model_dump(mode="json"),
            self.hash,
            self.sources(),
        )
        self.identify(summary, "summary")
        return Flow([*crystals.values(), *series, summary], output=summary.output, name=self.title or self.kind)


def planned_surface(study: Any, surface: SurfaceSpec) -> list[PlannedCalculation]:
    """What :func:`surface_jobs` will compute, cut from the crystal as it is before it is relaxed."""
    planned = []
    for slab in slabs(study.crystal(surface.crystal), surface, study.vacuum, study.max_atoms):
        path, structure = f"{surface.label}/{slab.layers} layers", Structure.from_sites(slab.structure)
        planned.append(estimated(f"{path}/cleaved", "static", structure, 0))
        planned.append(estimated(path, "relax", structure, 12))
    crystal = aligned_crystal(slab, surface, study.engine, study.method)
    if crystal is not None:
        planned.append(estimated(f"{surface.label}/{ALIGNED}", "static", crystal, 0))
    return planned


def estimated(label: str, task: Task, structure: Structure, steps: int) -> PlannedCalculation:
    """A calculation of the dry run whose geometry depends on a relaxation, with its usual number of steps."""
    return PlannedCalculation(label=label, task=task, structure=structure, expected_steps=steps, estimated=True)


def surface_jobs(study: Any, crystal: Job, surface: SurfaceSpec) -> Job:
    """The job that cuts and computes one series of slabs, for this and for the interface study."""
    made = slab_series(
        crystal.output,
        surface.model_dump(mode="json"),
        study.vacuum,
        study.max_atoms,
        study.engine,
        study.method.model_dump(mode="json"),
        study.hash,
        study.kind,
        study.warm_start,
    )
    return study.identify(made, f"{surface.label}/slabs")


def slabs(crystal: Structure, surface: SurfaceSpec, vacuum_angstrom: float, max_atoms: int) -> list[SlabModel]:
    """The slabs of one surface, thinnest first."""
    return [
        build_slab(
            crystal,
            surface.miller,
            termination=surface.termination,
            layers=layers,
            vacuum_angstrom=vacuum_angstrom,
            symmetric_preferred=surface.symmetric,
            crystal=surface.crystal,
            max_atoms=max_atoms,
        )
        for layers in sorted(surface.layers)
    ]


def aligned_crystal(slab: SlabModel, surface: SurfaceSpec, engine: str, card: MethodCard) -> Structure | None:
    """The crystal in the slabs' cell, where it tells more than the crystal: k-points by a spacing, three slabs or more.

    A card with one mesh for all cells has but a point or two along the normal, which a thin crystal cannot use.
    """
    by_spacing = card.kpoints is not None and card.kpoints.mesh is None
    if not (get_engine(engine).capabilities.kpoints and by_spacing) or len(surface.layers) < 3 or slab.excess:
        return None
    return crystal_in_slab_cell(slab)


@job(config=SETTLED)
def slab_series(
    crystal: CalculationDoc | None,
    surface: dict[str, Any],
    vacuum_angstrom: float,
    max_atoms: int,
    engine: str,
    card: dict[str, Any],
    study_hash: str,
    kind: str,
    warm_start: str | None = None,
) -> Response | SurfaceEnergyDoc:
    """Cut the slabs from the relaxed crystal and compute each as cleaved and relaxed."""
    spec = SurfaceSpec.model_validate(surface)
    try:
        if crystal is None:
            raise EngineError(f"the crystal {spec.crystal} was not computed", "see the first failure of this run")
        crystal.converged_energy_ev()
        models = slabs(crystal.structure, spec, vacuum_angstrom, max_atoms)
    except AnodeflowError as error:
        return _without_result(spec, str(error))
    jobs: list[Job] = []
    pairs = []
    for model in models:
        structure, path = Structure.from_sites(model.structure), f"{spec.label}/{model.layers} layers"
        made = []
        tasks: tuple[tuple[Task, str], ...] = (("static", f"{path}/cleaved"), ("relax", path))
        for task, where in tasks:
            maker = CalculationMaker(task=task, card=card, engine=engine, warm_start=warm_start)
            made.append(identify(maker.make(structure, where, spec.crystal), where, study_hash, kind))
        jobs += made
        pairs.append([m.output for m in made])
    aligned = None
    cell = aligned_crystal(models[-1], spec, engine, MethodCard.model_validate(card))
    if cell is not None:
        where = f"{spec.label}/{ALIGNED}"
        found = CalculationMaker(task="static", card=card, engine=engine).make(cell, where, spec.crystal)
        jobs.append(identify(found, where, study_hash, kind))
        aligned = found.output
    collected = collect(crystal, pairs, [_facts(model) for model in models], surface, models[0].cell, aligned)
    identify(collected, f"{spec.label}/result", study_hash, kind)
    return Response(replace=Flow([*jobs, collected], output=collected.output, name=spec.label))


def _facts(model: SlabModel) -> dict[str, Any]:
    return {
        "layers": model.layers,
        "n_units": model.formula_units,
        "excess": dict(model.excess),
        "thickness_angstrom": model.thickness_angstrom,
        "area_angstrom2": model.area_angstrom2,
        "symmetric": model.symmetric,
        "termination": model.termination,
    }


def _without_result(spec: SurfaceSpec, why: str) -> SurfaceEnergyDoc:
    return SurfaceEnergyDoc(
        crystal=spec.crystal,
        miller=spec.miller,
        termination=str(spec.termination),
        method="fit" if len(spec.layers) > 1 else "single",
        error=why,
    )


@job(config=SETTLED)
def collect(
    crystal: CalculationDoc,
    pairs: list[list[CalculationDoc | None]],
    facts: list[dict[str, Any]],
    surface: dict[str, Any],
    cell: str,
    aligned: CalculationDoc | None = None,
) -> SurfaceEnergyDoc:
    """One surface energy from its slabs; unconverged slabs are refused, not left out."""
    spec = SurfaceSpec.model_validate(surface)
    try:
        members = []
        for (cleaved, relaxed), known in zip(pairs, facts, strict=True):
            if relaxed is None:
                raise EngineError(f"the slab of {known['layers']} layers was not computed", "see the first failure")
            usable = cleaved is not None and cleaved.converged
            members.append(
                SlabMember(
                    calculation=relaxed,
                    unrelaxed=cleaved if usable else None,
                    **{k: v for k, v in known.items() if k != "termination"},
                )
            )
        return surface_energy_doc(
            members,
            crystal=spec.crystal,
            miller=spec.miller,
            termination=facts[0]["termination"],
            cell=cell,
            bulk=crystal,
            aligned_bulk=aligned if aligned is not None and aligned.converged else None,
            chemical_potentials_ev=spec.chemical_potentials_ev,
            method="fit" if len(members) > 1 else "single",
        )
    except AnodeflowError as error:
        return _without_result(spec, str(error))


@job(config=SETTLED)
def summarise(
    surfaces: list[SurfaceEnergyDoc | None],
    engine: str,
    card: dict[str, str],
    settings: dict[str, Any],
    study_hash: str,
    notes: list[str],
) -> SurfaceStudyDoc:
    """All surfaces of a study."""
    docs = [doc for doc in surfaces if doc is not None]
    return SurfaceStudyDoc(
        **origin(SurfaceStudy.kind, study_hash, settings, notes),
        engine=next((d.engine for d in docs if d.engine), None) or get_engine(engine).record(),
        card=CardRecord.model_validate(card),
        surfaces=docs,
        warnings=[f"{d.crystal}{d.miller}: {w}" for d in docs for w in ([d.error] if d.error else d.warnings)],
    )
