"""Binding energies of Li in and on crystals, and the descriptor dE between them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import BindingStudyDoc, Convention, descriptor_matrix
from anodeflow.errors import EngineError, InputError
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.binding.cells import Bulk, Cells, Environment, Host, Slab
from anodeflow.workflows.studies.binding.jobs import METAL, EmptyHost, LithiumSites, Place, References
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Entry, Stage, crystal_step
from anodeflow.workflows.studies.lithium import catalogue_fixes_cell, is_salt

# Isolated particles by reference convention: name, spin of the card, charge.
_ISOLATED: dict[str, tuple[str, str, int]] = {
    "neutral_atom": ("atom", "collinear", 0),
    "neutral_atom_nonspin": ("atom without spin", "none", 0),
    "ion": ("ion", "none", 1),
}
_ATOM_BOX_ANGSTROM = 12.0
_ION_TEXT = (
    "E_int(Li+) is against an isolated ion: on a metal it is about E_ads(Li) + work function - ionisation energy, "
    "so ions on two metals also compare work functions"
)


def _lithium_in_a_box(edge_angstrom: float) -> Structure:
    """Return one Li atom in a cubic box."""
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
        """Return where Li goes for this host."""
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
        """Which charge Li carries in the calculations, as text."""
        if self.lithium_charge == 0:
            return "neutral"
        if self.loaded_engine.capabilities.charge:
            return "Li+ (q_AB = +1, q_A = 0, q_Li = +1)"
        return f"neutral Li in place of Li+: engine '{self.engine}' holds no charge"

    @property
    def computed_charge(self) -> int:
        """Charge Li really carries, e."""
        return self.lithium_charge if self.loaded_engine.capabilities.charge else 0

    def isolated(self) -> dict[Convention, CalculationStep]:
        """Return the isolated Li atoms and ions of the references; nothing where the engine has no electrons."""
        if not self.loaded_engine.capabilities.isolated_atoms:
            return {}
        steps: dict[Convention, CalculationStep] = {}
        for convention in self.references:
            if convention in _ISOLATED:
                name, spin, charge = _ISOLATED[convention]
                steps[convention] = CalculationStep(
                    label=f"Li/{name}",
                    task="static",
                    structure=_lithium_in_a_box(self.atom_box_angstrom or _ATOM_BOX_ANGSTROM),
                    expected_steps=0,
                    crystal="Li",
                    charge=charge,
                    card=self.method.varied("isolated atom", spin=spin, dipole_correction=False),
                )
        return steps

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        notes = super().preflight()
        if self.lithium_charge and not self.loaded_engine.capabilities.charge:
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

    # --- what is computed ----------------------------------------------------------------------------

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: Li metal, isolated Li; of each host its crystal, empty cells, and Li in them."""
        isolated = self.isolated()
        references = References(
            conventions=self.references, isolated={convention: step.label for convention, step in isolated.items()}
        )
        entries: list[Entry] = [crystal_step("Li", self.crystal("Li"), expected_steps=6), *isolated.values()]
        for host in self.hosts:
            crystal = self.crystal(host.crystal)
            entries.append(crystal_step(host.label, crystal, task=self.crystal_task(host)))
            for environment in self.environments_of(host):
                place = Place(
                    host=host,
                    environment=environment,
                    charge_mode=self.charge_mode,
                    caveats=self.caveats(host),
                )
                empty = EmptyHost.of(place, self.cells)
                sites = LithiumSites.of(
                    empty,
                    references,
                    charge=self.computed_charge,
                    displacement_angstrom=self.displacement_angstrom,
                    seed=self.seed,
                )
                entries += [empty, sites]
        return entries

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the metal, too."""
        return [METAL, *(entry.label for entry in entries if isinstance(entry, Stage))]

    def crystal_task(self, host: Host) -> Task:
        """Return how a host crystal is relaxed: its atoms, and its cell unless it is fixed."""
        fixed = host.cell == "fixed" or (host.cell is None and catalogue_fixes_cell(host.crystal))
        return "relax" if fixed else "relax_cell"

    def caveats(self, host: Host) -> list[str]:
        """Return what a reader must know of this host's number, whatever it turns out to be."""
        notes = []
        if not self.loaded_engine.capabilities.electrons and is_salt(self.crystal(host.crystal)):
            notes.append("neutral Li in a salt: the potential has not been trained on its extra electron")
        if self.crystal_task(host) == "relax":
            why = "dispersion-bound crystal" if catalogue_fixes_cell(host.crystal) else "cell: fixed in the study"
            notes.append(f"cell kept as given ({why})")
        if host.sites is not None:
            notes.append(f"only the sites {', '.join(host.sites)} were computed: the lowest of all may be another")
        if self.computed_charge:
            notes.append(_ION_TEXT)
            if "surface" in self.environments_of(host):
                notes.append("a charged periodic slab does not converge with the vacuum: no result for an ion on it")
        return notes

    def document(self, results: Documents, record: Record, facts: None) -> BindingStudyDoc:
        """See :meth:`Study.document`: all hosts and the dE of every anode/interphase pair."""
        metal = results[METAL]
        hosts = {label: doc for label, doc in results.items() if label != METAL}
        docs = [doc for doc in hosts.values() if doc is not None]
        missing = [label.removesuffix("/sites") for label, doc in hosts.items() if doc is None]
        sources = list(dict.fromkeys(s for doc in docs for ref in doc.references for s in ref.sources))
        environments = list(dict.fromkeys(doc.environment for doc in docs))
        return last_document(
            BindingStudyDoc,
            self,
            record,
            engine=None if metal is None else metal.engine,
            sources=[*record.sources, *sources],
            hosts=docs,
            descriptors=[
                descriptor_matrix(docs, self.anodes, self.interphases, self.references[0], environment)
                for environment in environments
                if self.anodes and self.interphases
            ],
            conventions=self.references,
            warnings=[f"{label}: no result, see the first failure of the run" for label in missing]
            + [f"{d.crystal}/{d.environment}: {d.error}" for d in docs if d.error]
            + [f"{d.crystal}/{d.environment}: {w}" for d in docs for w in d.warnings],
        )
