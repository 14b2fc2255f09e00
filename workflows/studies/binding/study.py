"""Binding energies of Li in and on crystals, and the descriptor dE between them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job
from pydantic import Field, field_validator, model_validator
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import (
    BindingEnergyDoc,
    BindingStudyDoc,
    Convention,
    descriptor_matrix,
    lithium_references,
)
from anodeflow.analysis.lithium_sites import SiteStart, host_result
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError, EngineError, InputError
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies.base import PlannedCalculation, Study, identify, origin
from anodeflow.workflows.studies.binding.cells import (
    Bulk,
    Cells,
    Environment,
    Host,
    Slab,
    build_host,
    displaced,
    li_sites,
    lithium_atoms,
    with_lithium,
)
from anodeflow.workflows.studies.lithium import catalogue_fixes_cell, is_salt

SETTLED = JobConfig(on_missing_references=OnMissing.NONE)


LITHIUM_METAL = Host(crystal="Li")
# Isolated particles by reference convention: name, spin of the card, charge.
ISOLATED: dict[str, tuple[str, str, int]] = {
    "neutral_atom": ("atom", "collinear", 0),
    "neutral_atom_nonspin": ("atom without spin", "none", 0),
    "ion": ("ion", "none", 1),
}
ATOM_BOX_ANGSTROM = 12.0
ION_TEXT = (
    "E_int(Li+) is against an isolated ion: on a metal it is about E_ads(Li) + work function - ionisation energy, "
    "so ions on two metals also compare work functions"
)


def lithium_in_a_box(edge_angstrom: float) -> Structure:
    """One Li atom in a cubic box."""
    return Structure(Lattice.cubic(edge_angstrom), ["Li"], [[0.5, 0.5, 0.5]])


class BindingStudy(Study):
    """A binding-energy study file.

    Every inequivalent site of every host is relaxed; the lowest is the answer and the list is kept.
    """

    kind: ClassVar[str] = "binding-energy"

    study: Literal["binding-energy"]
    hosts: list[Host] = Field(min_length=1)
    environments: list[Environment] = Field(default=["bulk"], min_length=1)
    anodes: list[str] = Field(default_factory=list)
    interphases: list[str] = Field(default_factory=list)
    references: list[Convention] = Field(default=["bulk_metal", "neutral_atom"], min_length=1)
    lithium_charge: Literal[0, 1] = 0
    charged: Literal["refuse", "neutral"] = "refuse"
    bulk: Bulk = Field(default_factory=Bulk)
    slab: Slab = Field(default_factory=Slab)
    atom_box_angstrom: float | None = Field(
        None, ge=6, le=40, description="edge of the box of isolated Li, for engines with electrons; default 12"
    )
    displacement_angstrom: float = Field(0.05, ge=0, le=0.5)
    seed: int = Field(0, ge=0)

    @field_validator("hosts", mode="before")
    @classmethod
    def _names_are_hosts(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"crystal": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _consistent(self) -> BindingStudy:
        labels = [host.label for host in self.hosts]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"host {twice[0]} is given twice; give each host once")
        for key in ("environments", "references", "anodes", "interphases"):
            given = getattr(self, key)
            if len(set(given)) != len(given):
                raise ValueError(f"{key} {given} names one twice; give each once")
        for host in self.hosts:
            if len(set(self.environments_of(host))) != len(self.environments_of(host)):
                raise ValueError(f"host {host.label}: environments {host.environments} names one twice")
        for key in ("anodes", "interphases"):
            for name in getattr(self, key):
                if name not in labels:
                    raise ValueError(f"{key} names '{name}', which is not among the hosts {labels}")
        for host in self.hosts:
            if "surface" in self.environments_of(host) and host.surface is None:
                raise ValueError(
                    f"host {host.label} has no 'surface: {{miller: [h, k, l]}}'; give one, or 'environments: [bulk]'"
                )
        return self

    def environments_of(self, host: Host) -> list[Environment]:
        """Where Li goes for this host."""
        return host.environments if host.environments is not None else self.environments

    @property
    def cells(self) -> Cells:
        """The options of the cells, with the vacuum settled: the study's, else the card's, else the default."""
        vacuum = self.slab.vacuum_angstrom or self.method.vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM
        return Cells(bulk=self.bulk, slab=self.slab.model_copy(update={"vacuum_angstrom": vacuum}))

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys(["Li", *(host.crystal for host in self.hosts)]))

    # --- charges -------------------------------------------------------------------------------------

    @property
    def charge_mode(self) -> str:
        """In words: which charge Li carries in the calculations."""
        if self.lithium_charge == 0:
            return "neutral"
        if self.who.capabilities.charge:
            return "Li+ (q_AB = +1, q_A = 0, q_Li = +1)"
        return f"neutral Li in place of Li+: engine '{self.engine}' holds no charge"

    @property
    def computed_charge(self) -> int:
        """Charge Li really carries, e."""
        return self.lithium_charge if self.who.capabilities.charge else 0

    def isolated(self) -> dict[Convention, PlannedCalculation]:
        """The isolated Li atoms and ions that the references ask for; empty where the engine has no electrons."""
        if not self.who.capabilities.isolated_atoms:
            return {}
        made: dict[Convention, PlannedCalculation] = {}
        for convention in self.references:
            if convention in ISOLATED:
                name, spin, charge = ISOLATED[convention]
                made[convention] = PlannedCalculation(
                    label=f"Li/{name}",
                    task="static",
                    structure=lithium_in_a_box(self.atom_box_angstrom or ATOM_BOX_ANGSTROM),
                    charge=charge,
                    expected_steps=0,
                    card=self.method.varied("isolated atom", spin=spin, dipole_correction=False),
                )
        return made

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        if self.lithium_charge and not self.who.capabilities.charge:
            if self.charged == "refuse":
                raise EngineError(
                    f"engine '{self.engine}' cannot hold a charge, and the study asks for Li+",
                    "set 'charged: neutral' to run neutral Li (every output will say so), or use an "
                    "engine with electrons",
                )
            notes.append(self.charge_mode)
        if "ion" in self.references and self.computed_charge == 0:
            raise InputError(
                "reference 'ion' with neutral Li: the charges of AB, A and Li+ cannot balance "
                "(q_AB = 0, q_A + q_B = +1)",
                "use bulk_metal or neutral_atom, or an engine that holds a charge with lithium_charge: 1",
            )
        if self.computed_charge and set(self.references) != {"ion"}:
            raise InputError(
                f"references {self.references} with Li+: only 'ion' balances the charges",
                "set 'references: [ion]'",
            )
        return [*notes, *self.check_cells()]

    # --- the flow ------------------------------------------------------------------------------------

    def flow(self) -> Flow:
        """The study as a Flow: bulk relaxations, host cells, Li sites, one document a host, one summary."""
        bulks: dict[str, Job] = {}

        def bulk_job(host: Host) -> Job:
            if host.crystal not in bulks:
                path = f"{host.label}/crystal"
                made = self.maker(self.crystal_task(host)).make(self.crystal(host.crystal), path, host.label)
                bulks[host.crystal] = self.identify(made, path)
            return bulks[host.crystal]

        metal = bulk_job(LITHIUM_METAL)
        atoms: dict[str, Job] = {
            convention: self.identify(
                self.maker("static", planned.card).make(planned.structure, planned.label, "Li", planned.charge),
                planned.label,
            )
            for convention, planned in self.isolated().items()
        }
        references = {convention: made.output for convention, made in atoms.items()}
        jobs: list[Job] = []
        results = []
        common = {
            "study_hash": self.hash,
            "engine": self.engine,
            "card": self.method.model_dump(mode="json"),
            "options": self.model_dump(mode="json", exclude={"hosts", "anodes", "interphases", "title"}),
            "charge": self.computed_charge,
            "charge_mode": self.charge_mode,
            "cells": self.cells.model_dump(mode="json"),
        }
        for host in self.hosts:
            bulk = bulk_job(host)
            for environment in self.environments_of(host):
                path = f"{host.label}/{environment}"
                cell = host_cell(bulk.output, host.model_dump(mode="json"), environment, common)
                jobs.append(self.identify(cell, f"{path}/cell"))
                pristine = self.maker("relax").make(cell.output["structure"], f"{path}/host", host.label)
                jobs.append(self.identify(pristine, f"{path}/host"))
                placed = place_lithium(
                    bulk.output, pristine.output, metal.output, cell.output["description"],
                    host.model_dump(mode="json"), environment, self.caveats(host), common, references,
                )  # fmt: skip
                jobs.append(self.identify(placed, f"{path}/sites"))
                results.append(placed.output)
        summary = summarise(
            results, metal.output, self.model_dump(mode="json"), self.hash, self.sources(),
            self.card_record(),
            [f"{h.label}/{e}" for h in self.hosts for e in self.environments_of(h)],
        )  # fmt: skip
        jobs.append(self.identify(summary, "summary"))
        return Flow([*bulks.values(), *atoms.values(), *jobs], output=summary.output, name=self.title or self.kind)

    def crystal_task(self, host: Host) -> Task:
        """Whether the host crystal's cell is relaxed, or only its atoms."""
        fixed = host.cell == "fixed" or (host.cell is None and catalogue_fixes_cell(host.crystal))
        return "relax" if fixed else "relax_cell"

    def caveats(self, host: Host) -> list[str]:
        """What a reader must know of this host's number, whatever it turns out to be."""
        notes = []
        if not self.who.capabilities.electrons and is_salt(self.crystal(host.crystal)):
            notes.append("neutral Li in a salt: the potential has not been trained on its extra electron")
        if self.crystal_task(host) == "relax":
            why = "dispersion-bound crystal" if catalogue_fixes_cell(host.crystal) else "cell: fixed in the study"
            notes.append(f"cell kept as given ({why})")
        if host.sites is not None:
            notes.append(f"only the sites {', '.join(host.sites)} were computed: the lowest of all may be another")
        if self.computed_charge:
            notes.append(ION_TEXT)
            if "surface" in self.environments_of(host):
                notes.append("a charged periodic slab does not converge with the vacuum: no result for an ion on it")
        return notes

    def _plan(self) -> list[PlannedCalculation]:
        calculations: dict[str, PlannedCalculation] = {}

        def add(label: str, task: Any, structure: Structure, steps: int, estimated: bool, charge: int = 0) -> None:
            calculations.setdefault(
                label,
                PlannedCalculation(
                    label=label,
                    task=task,
                    structure=structure,
                    charge=charge,
                    expected_steps=steps,
                    estimated=estimated,
                ),
            )

        add("Li/crystal", "relax_cell", self.crystal("Li"), 6, False)
        calculations |= {planned.label: planned for planned in self.isolated().values()}
        for host in self.hosts:
            crystal = self.crystal(host.crystal)
            add(f"{host.label}/crystal", self.crystal_task(host), crystal, 8, False)
            for environment in self.environments_of(host):
                path = f"{host.label}/{environment}"
                structure, _ = build_host(crystal, host, environment, self.cells)
                add(f"{path}/host", "relax", structure, 1 if environment == "bulk" else 12, True)
                for site in li_sites(crystal, structure, host, environment, self.cells):
                    charge = self.computed_charge * lithium_atoms(host, environment)
                    filled = with_lithium(structure, site, host, environment)
                    add(f"{path}/{site.label}", "relax", filled, 40, True, charge)
        return list(calculations.values())


@job
def host_cell(
    crystal: CalculationDoc,
    host: dict[str, Any],
    environment: Environment,
    common: dict[str, Any],
) -> dict[str, Any]:
    """Build the host cell from the relaxed crystal."""
    crystal.converged_energy_ev()
    cells = Cells.model_validate(common["cells"])
    structure, description = build_host(crystal.structure, Host.model_validate(host), environment, cells)
    return {"structure": structure, "description": description}


@job(config=SETTLED)
def place_lithium(
    crystal: CalculationDoc | None,
    pristine: CalculationDoc | None,
    metal: CalculationDoc | None,
    description: dict[str, Any] | None,
    host: dict[str, Any],
    environment: Environment,
    caveats: list[str],
    common: dict[str, Any],
    atoms: dict[str, CalculationDoc | None] | None = None,
) -> Response | BindingEnergyDoc:
    """Enumerate the Li sites of a relaxed host and relax them all."""
    spec = Host.model_validate(host)
    options = common["options"]
    try:
        if metal is None or crystal is None or pristine is None:
            missing = "Li metal" if metal is None else "the crystal" if crystal is None else "the host cell"
            raise EngineError(f"{missing} was not computed", "see the first failure of this run")
        for doc in (metal, crystal, pristine):
            doc.converged_energy_ev()
        sites = li_sites(
            crystal.structure, pristine.structure, spec, environment, Cells.model_validate(common["cells"])
        )
    except AnodeflowError as error:
        return _without_result(spec, environment, description, common, str(error))
    maker = CalculationMaker(
        task="relax", card=common["card"], engine=common["engine"], warm_start=options["warm_start"]
    )
    jobs, starts = [], []
    for number, site in enumerate(sites):
        start = with_lithium(pristine.structure, site, spec, environment)
        seed = options["seed"] + number
        path = f"{spec.label}/{environment}/{site.label}"
        made = maker.make(
            displaced(start, options["displacement_angstrom"], seed),
            path,
            spec.label,
            charge=common["charge"] * lithium_atoms(spec, environment),
        )
        jobs.append(identify(made, path, common["study_hash"], BindingStudy.kind))
        starts.append(SiteStart(**site.as_dict(), seed=seed))
    collected = collect(
        pristine, [made.output for made in jobs], [s.model_dump(mode="json") for s in starts], metal,
        description, spec.label, environment, caveats, lithium_atoms(spec, environment), common, atoms,
        spec.dielectric_constant,
    )  # fmt: skip
    identify(collected, f"{spec.label}/{environment}/result", common["study_hash"], BindingStudy.kind)
    return Response(replace=Flow([*jobs, collected], output=collected.output, name=f"{spec.label}/{environment}"))


def _without_result(
    host: Host, environment: Environment, description: dict[str, Any] | None, common: dict[str, Any], why: str
) -> BindingEnergyDoc:
    return BindingEnergyDoc(
        crystal=host.label,
        environment=environment,
        model=(description or {}).get("model", "not built"),
        host_formula="",
        host_atoms=0,
        charge_mode=common["charge_mode"],
        error=why,
    )


@job(config=SETTLED)
def collect(
    pristine: CalculationDoc,
    with_li: list[CalculationDoc | None],
    starts: list[dict[str, Any]],
    metal: CalculationDoc,
    description: dict[str, Any],
    label: str,
    environment: Environment,
    caveats: list[str],
    n_li: int,
    common: dict[str, Any],
    atoms: dict[Convention, CalculationDoc | None] | None = None,
    dielectric_constant: float | None = None,
) -> BindingEnergyDoc:
    """One host's binding energies from its calculations."""
    lost = [convention for convention, doc in (atoms or {}).items() if doc is None or not doc.converged]
    conventions = [c for c in common["options"]["references"] if c not in lost]
    caveats = [*caveats, *(f"no {c} reference: its isolated Li was not computed" for c in lost)]
    if not conventions:
        return BindingEnergyDoc(
            crystal=label, environment=environment, model=description["model"], host_formula="", host_atoms=0,
            charge_mode=common["charge_mode"], error=caveats[-1],
        )  # fmt: skip
    computed = {c: doc for c, doc in (atoms or {}).items() if doc is not None and doc.converged}
    references = lithium_references(metal, conventions, computed)
    return host_result(
        pristine=pristine,
        with_li=with_li,
        starts=[SiteStart.model_validate(s) for s in starts],
        references=references,
        metal=metal,
        crystal=label,
        environment=environment,
        description=description["model"],
        face=description.get("face"),
        charge_mode=common["charge_mode"],
        caveats=caveats,
        n_li=n_li,
        dielectric_constant=dielectric_constant,
    )


@job(config=SETTLED)
def summarise(
    hosts: list[BindingEnergyDoc | None],
    metal: CalculationDoc | None,
    settings: dict[str, Any],
    study_hash: str,
    notes: list[str],
    card: dict[str, str],
    labels: list[str],
) -> BindingStudyDoc:
    """All hosts and the dE of every anode/interphase pair."""
    study = BindingStudy.model_validate(settings)
    docs = [doc for doc in hosts if doc is not None]
    missing = [label for label, doc in zip(labels, hosts, strict=True) if doc is None]
    conventions = list(dict.fromkeys(study.references))
    environments = list(dict.fromkeys(doc.environment for doc in docs))
    sources = list(dict.fromkeys(s for doc in docs for ref in doc.references for s in ref.sources))
    return BindingStudyDoc(
        **origin(study.kind, study_hash, settings, [*notes, *sources]),
        engine=metal.engine if metal is not None else get_engine(study.engine).record(),
        card=CardRecord.model_validate(card),
        hosts=docs,
        descriptors=[
            descriptor_matrix(docs, study.anodes, study.interphases, conventions[0], environment)
            for environment in environments
            if study.anodes and study.interphases
        ],
        conventions=conventions,
        warnings=[f"{label}: no result, see the first failure of the run" for label in missing]
        + [f"{d.crystal}/{d.environment}: {d.error}" for d in docs if d.error]
        + [f"{d.crystal}/{d.environment}: {w}" for d in docs for w in d.warnings],
    )
