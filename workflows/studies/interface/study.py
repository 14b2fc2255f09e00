"""Interface energies: films of growing thickness on one substrate, the strain taken out by the fit."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job
from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.interface_energy import InterfaceEnergyDoc, InterfaceMember, interface_energy_doc
from anodeflow.analysis.study_documents import InterfaceStudyDoc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.interface_series import thickness_series
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.matching import lattice_matches
from anodeflow.structures.oriented_bulk import strained_film_bulk
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies.base import Options, PlannedCalculation, Study, identify, origin
from anodeflow.workflows.studies.surface.study import SurfaceSpec, estimated, planned_surface, surface_jobs

SETTLED = JobConfig(on_missing_references=OnMissing.NONE)


class Side(Options):
    """One side of the interface."""

    crystal: str
    miller: tuple[int, int, int]
    termination: int | str = 0


class Film(Side):
    """The strained side, in several thicknesses."""

    layers: list[int] = Field(min_length=4, description="planes of atoms; at least four thicknesses")


class Substrate(Side):
    """The side whose in-plane cell is kept."""

    layers: int = Field(ge=2)


class InterfaceStudy(Study):
    """An interface-energy study file: gamma(n) = gamma_true + n sigma, intercept and slope with their intervals."""

    kind: ClassVar[str] = "interface-energy"

    study: Literal["interface-energy"]
    film: Film
    substrate: Substrate
    surfaces: list[SurfaceSpec] = Field(
        default_factory=list, description="free surfaces of both, for the work of adhesion"
    )
    max_strain_percent: float = Field(5.0, gt=0, le=15)
    max_area_angstrom2: float = Field(200.0, gt=1, le=1000)
    gap_angstrom: float = Field(2.5, ge=1, le=6)
    shift: tuple[float, float] = (0.0, 0.0)
    vacuum_angstrom: float | None = Field(None, ge=5, le=100)
    max_atoms: int = Field(400, ge=2, le=2000)

    @model_validator(mode="after")
    def _surfaces_belong(self) -> InterfaceStudy:
        for surface in self.surfaces:
            if surface.crystal not in (self.film.crystal, self.substrate.crystal):
                raise ValueError(f"surface {surface.label} is of neither side of the interface")
        return self

    @property
    def vacuum(self) -> float:
        """Vacuum over the free slabs, angstrom."""
        return self.vacuum_angstrom or self.method.vacuum_angstrom or 15.0

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return [self.film.crystal, self.substrate.crystal]

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        return [*notes, *self.check_cells()]

    def _plan(self) -> list[PlannedCalculation]:
        film, substrate = (self.crystal(name) for name in self.crystals_used())
        planned = [estimated(f"{name}/crystal", "relax_cell", self.crystal(name), 8) for name in self.crystals_used()]
        models = series(film, substrate, self.model_dump(mode="json"))
        planned.append(estimated(f"{self.film.crystal}/strained", "relax_c", strained_film_bulk(models[0]), 10))
        for model in models:
            planned.append(estimated(f"interface/{model.film.layers} layers", "relax_c", model.structure, 30))
        for surface in self.surfaces:
            planned += planned_surface(self, surface)
        return planned

    def flow(self) -> Flow:
        """The study as a Flow: crystals, strained crystal, interface cells, free surfaces, one document."""
        film, substrate = (
            self.identify(self.maker("relax_cell").make(self.crystal(name), f"{name}/crystal", name), f"{name}/crystal")
            for name in self.crystals_used()
        )
        crystals = {self.film.crystal: film, self.substrate.crystal: substrate}
        free = [surface_jobs(self, crystals[surface.crystal], surface) for surface in self.surfaces]
        cells = interface_series(
            film.output,
            substrate.output,
            [made.output for made in free],
            self.model_dump(mode="json"),
            self.method.model_dump(mode="json"),
            self.hash,
        )
        self.identify(cells, "interface/cells")
        summary = summarise(
            cells.output,
            [made.output for made in free],
            self.engine,
            self.card_record(),
            self.model_dump(mode="json"),
            self.hash,
            self.sources(),
        )
        self.identify(summary, "summary")
        return Flow([film, substrate, *free, cells, summary], output=summary.output, name=self.title or self.kind)


def series(film: Structure, substrate: Structure, options: dict[str, Any]) -> list[InterfaceModel]:
    """The interface cells, thinnest film first: the film strained onto the substrate's smallest matching cell.

    Raises
    ------
    InputError, StructureError
        Too much strain, too few thicknesses, contacts that differ: see :mod:`anodeflow.structures.interface_series`.
    """
    side, base = options["film"], options["substrate"]
    film_spec = slab_spec(film, tuple(side["miller"]), layers=min(side["layers"]), termination=side["termination"])
    base_spec = slab_spec(substrate, tuple(base["miller"]), layers=base["layers"], termination=base["termination"])
    grown, kept = film_spec.build(), base_spec.build()
    matches = lattice_matches(
        grown,
        kept,
        max_strain=options["max_strain_percent"] / 100,
        max_area_angstrom2=options["max_area_angstrom2"],
        max_atoms=options["max_atoms"],
        strained="film",
    )
    smallest = min(matches, key=lambda match: (round(match.area_angstrom2, 3), match.strain.von_mises_percent))
    return thickness_series(
        film_spec,
        kept,
        smallest,
        film_layers=sorted(side["layers"]),
        gap_angstrom=options["gap_angstrom"],
        shift=tuple(options["shift"]),
        # relaxed crystals may miss the catalogue's strain by a little
        max_strain=options["max_strain_percent"] / 100,
        max_atoms=options["max_atoms"],
    )


@job(config=SETTLED)
def interface_series(
    film: CalculationDoc | None,
    substrate: CalculationDoc | None,
    surfaces: list[SurfaceEnergyDoc | None],
    options: dict[str, Any],
    card: dict[str, Any],
    study_hash: str,
) -> Response | InterfaceEnergyDoc:
    """Build the cells from the relaxed crystals and relax each along the normal."""
    try:
        if film is None or substrate is None:
            raise EngineError("a crystal was not computed", "see the first failure of this run")
        film.converged_energy_ev()
        substrate.converged_energy_ev()
        models = series(film.structure, substrate.structure, options)
    except AnodeflowError as error:
        return _without_result(options, str(error))
    maker = CalculationMaker(task="relax_c", card=card, engine=options["engine"], warm_start=options["warm_start"])

    def calculation(structure: Structure, path: str, crystal: str | None) -> Job:
        return identify(maker.make(structure, path, crystal), path, study_hash, InterfaceStudy.kind)

    name = options["film"]["crystal"]
    strained = calculation(strained_film_bulk(models[0]), f"{name}/strained", name)
    cells = [calculation(_plain(m.structure), f"interface/{m.film.layers} layers", None) for m in models]
    collected = collect(
        film,
        substrate,
        strained.output,
        [made.output for made in cells],
        [_facts(model) for model in models],
        surfaces,
        options,
    )
    identify(collected, "interface/result", study_hash, InterfaceStudy.kind)
    return Response(replace=Flow([strained, *cells, collected], output=collected.output, name="interface"))


def _plain(structure: Structure) -> Structure:
    return Structure(structure.lattice, structure.species, structure.frac_coords)


def _facts(model: InterfaceModel) -> dict[str, Any]:
    return {
        "n_film": model.n_film_units,
        "n_substrate": model.n_substrate_units,
        "area_angstrom2": model.area_angstrom2,
        "film_thickness_angstrom": model.film.thickness_angstrom,
        "equivalent_contacts": model.contacts_equivalent,
        "strain_percent": model.max_strain_percent,
    }


def _without_result(options: dict[str, Any], why: str) -> InterfaceEnergyDoc:
    return InterfaceEnergyDoc(film=options["film"]["crystal"], substrate=options["substrate"]["crystal"], error=why)


@job(config=SETTLED)
def collect(
    film: CalculationDoc,
    substrate: CalculationDoc,
    strained: CalculationDoc | None,
    cells: list[CalculationDoc | None],
    facts: list[dict[str, Any]],
    surfaces: list[SurfaceEnergyDoc | None],
    options: dict[str, Any],
) -> InterfaceEnergyDoc:
    """Fit gamma(n); unconverged cells are refused, not left out."""
    try:
        members = []
        for cell, known in zip(cells, facts, strict=True):
            if cell is None:
                raise EngineError("an interface cell was not computed", "see the first failure of this run")
            members.append(
                InterfaceMember(calculation=cell, **{k: v for k, v in known.items() if k != "strain_percent"})
            )
        free = {doc.crystal: doc for doc in surfaces if doc is not None and doc.converged}
        sides = options["film"], options["substrate"]
        return interface_energy_doc(
            members,
            film_bulk=film,
            substrate_bulk=substrate,
            film=sides[0]["crystal"],
            substrate=sides[1]["crystal"],
            contact=" || ".join(f"{s['crystal']}({''.join(map(str, s['miller']))})" for s in sides),
            strained_film_bulk=strained if strained is not None and strained.converged else None,
            strain_percent=facts[0]["strain_percent"],
            gamma_film=free.get(sides[0]["crystal"]),
            gamma_substrate=free.get(sides[1]["crystal"]),
        )
    except AnodeflowError as error:
        return _without_result(options, str(error))


@job(config=SETTLED)
def summarise(
    interface: InterfaceEnergyDoc | None,
    surfaces: list[SurfaceEnergyDoc | None],
    engine: str,
    card: dict[str, str],
    settings: dict[str, Any],
    study_hash: str,
    notes: list[str],
) -> InterfaceStudyDoc:
    """The interface and the free surfaces beside it."""
    doc = interface or _without_result(settings, "not computed; see the first failure of this run")
    free = [surface for surface in surfaces if surface is not None]
    return InterfaceStudyDoc(
        **origin(InterfaceStudy.kind, study_hash, settings, notes),
        engine=doc.engine or get_engine(engine).record(),
        card=CardRecord.model_validate(card),
        interface=doc,
        surfaces=free,
        warnings=[f"interface: {w}" for w in ([doc.error] if doc.error else doc.warnings)]
        + [f"{d.crystal}{d.miller}: {w}" for d in free for w in ([d.error] if d.error else d.warnings)],
    )
