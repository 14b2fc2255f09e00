"""Binding energies of Li in and on crystals, and the descriptor dE between them."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.binding import (
    BindingStudyDoc,
    Convention,
    check_published_atom,
)
from anodeflow.analysis.binding_convergence import CONVERGED_WITHIN_EV, with_total_error
from anodeflow.analysis.reservoirs import check_reservoir
from anodeflow.errors import EngineError, InputError
from anodeflow.lithium_states import State
from anodeflow.structures.catalogue import crystal_names
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.structures.lattice_sites import replaced_elements, states_of_crystal
from anodeflow.structures.packings import crystal_of
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.binding.cells import (
    Bulk,
    BulkState,
    Cells,
    Environment,
    Host,
    Slab,
    states_of,
    with_packings,
)
from anodeflow.workflows.studies.binding.isolated import HALF_FILLED, isolated_lithium
from anodeflow.workflows.studies.binding.jobs import METAL, EmptyHost, LithiumSites, Place, References
from anodeflow.workflows.studies.binding.rows import (
    SPACING,
    HostRow,
    Row,
    Rows,
    Vary,
    base_values,
    check_rows,
    environments_varied,
    host_rows,
)
from anodeflow.workflows.studies.binding.summing_up import convergences_of, descriptors_of, packings_of
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Entry, Stage, crystal_step
from anodeflow.workflows.studies.lithium import is_metal, is_salt, keeps_cell
from anodeflow.yaml_input import Seed, zero_or_at_least

_ION_TEXT = (
    "E_int(Li+) is against an isolated ion: on a metal it is about E_ads(Li) + work function - ionisation energy, "
    "so ions on two metals also compare work functions"
)
_ION_REMEDY = (
    "take it from a neutral slab: E_int(Li+) = E_ads(Li, free atom) + work function - ionisation energy, with "
    "environments: [surface], references: [neutral_atom] and anodeflow workfunction"
)


class BindingStudy(Study):
    """A binding-energy study file.

    Every inequivalent site of every host and state is relaxed; the lowest is the answer and the list is kept.
    """

    kind: ClassVar[str] = "binding-energy"

    study: Literal["binding-energy"] = Field(description="the kind of study")
    hosts: list[Host] = Field(
        min_length=1, description="crystals that Li is put into or onto; a name stands for {crystal: name}"
    )
    environments: list[Environment] = Field(
        default=["bulk"], min_length=1, description="bulk: in a supercell; surface: on a slab; of hosts that do not say"
    )
    states: list[BulkState] | None = Field(
        None, min_length=1, description="of Li in a crystal, of hosts that can have them; default: all"
    )
    reservoirs: dict[str, str] | None = Field(
        None, description="crystal that an element returns to when Li replaces it; default: the metal of the element"
    )
    anodes: list[str] = Field(default_factory=list, description="rows of dE: hosts that take Li up")
    interphases: list[str] = Field(
        default_factory=list, description="columns of dE: hosts between anode and electrolyte"
    )
    references: list[Convention] = Field(
        default=["bulk_metal", "neutral_atom"],
        min_length=1,
        description="what E_Li is; the first leads tables and figures",
    )
    lithium_charge: Literal[0, 1] = Field(0, description="1: Li+, for engines that hold a charge")
    charged: Literal["refuse", "neutral"] = Field(
        "refuse",
        description="what an engine without charges does when asked for Li+: refuse, or compute neutral Li and say so",
    )
    vary: Vary | None = Field(
        None, description="convergence rows: settings and the values that each is given, the others as stated"
    )
    converged_within_ev: float | None = Field(
        None, gt=0, le=1, description="a change of E_int over convergence rows that counts as none, eV; default 0.02"
    )
    bulk: Bulk = Field(default_factory=Bulk, description="supercells of crystals")
    slab: Slab = Field(default_factory=Slab, description="slabs of hosts that do not say")
    atom_box_angstrom: float | None = Field(
        None, ge=6, le=40, description="edge of the box of isolated Li, for engines with electrons; default 12"
    )
    displacement_angstrom: Annotated[float, zero_or_at_least(1e-4)] = Field(
        0.05, ge=0, le=0.5, description="of every atom at most, seeded, so that no symmetry holds Li on a saddle"
    )
    seed: Seed = Field(0, description="of the displacements")

    @field_validator("hosts", mode="before")
    @classmethod
    def _names_are_hosts(cls, value: Any) -> Any:
        if isinstance(value, list):
            return with_packings([{"crystal": item} if isinstance(item, str) else item for item in value])
        return value

    @model_validator(mode="after")
    def _consistent(self) -> BindingStudy:
        labels = [host.label for host in self.hosts]
        of_files = {host.crystal: host.label for host in self.hosts}
        for names in (self.anodes, self.interphases):  # a file stands for the host that it is
            names[:] = [of_files.get(name, name) for name in names]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"host {twice[0]} is given twice; give each host once")
        for key in ("environments", "references", "anodes", "interphases", "states"):
            given = getattr(self, key) or []
            if len(set(given)) != len(given):
                raise ValueError(f"{key} {given} names one twice; give each once")
        for host in self.hosts:
            if len(set(host.states or [])) != len(host.states or []):
                raise ValueError(f"host {host.label}: states {host.states} names one twice")
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
        everywhere = {environment for host in self.hosts for environment in self.environments_of(host)}
        for setting in self.vary or {}:
            if not everywhere & set(environments_varied(setting)):
                place = environments_varied(setting)[0]
                raise ValueError(f"vary: {setting} matters in the environment {place}, and no host is computed there")
        if self.converged_within_ev is not None and self.vary is None:
            raise ValueError("converged_within_ev is for convergence rows; give vary, too, or leave it out")
        return self

    def environments_of(self, host: Host) -> list[Environment]:
        """Return where Li goes for this host."""
        return host.environments if host.environments is not None else self.environments

    @property
    def cells(self) -> Cells:
        """The options of the cells, with the vacuum settled: the study's, else the card's, else the default."""
        vacuum = self.slab.vacuum_angstrom or self.setup.card_of("slab").vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM
        return Cells(bulk=self.bulk, slab=self.slab.model_copy(update={"vacuum_angstrom": vacuum}))

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        hosts = ["Li", *(host.crystal for host in self.hosts)]
        labels = {host.label for host in self.hosts}
        phases = [phase for host in self.hosts for phase in self.reservoirs_of(host).values() if phase not in labels]
        return list(dict.fromkeys([*hosts, *phases]))

    # --- states --------------------------------------------------------------------------------------

    def states_of(self, host: Host, environment: Environment) -> list[State]:
        """Return the states of Li that a host is computed in.

        Raises
        ------
        InputError
            If the host names one that it cannot have.
        """
        # a charged cell with an atom missing has a charge of its own to be chosen: only added Li+ is computed
        asked: list[BulkState] | None = ["interstitial"] if self.lithium_charge else self.states
        return states_of(host, environment, self.crystal(host.crystal), asked)

    def reservoirs_of(self, host: Host) -> dict[str, str]:
        """Return the crystal that each element of a host returns to where Li replaces it.

        Raises
        ------
        InputError
            If there is none, or if it cannot take the element back.
        """
        if "bulk" not in self.environments_of(host) or "substitution" not in self.states_of(host, "bulk"):
            return {}
        crystal = self.crystal(host.crystal)
        phases = {}
        for element in replaced_elements(crystal):
            given = (self.reservoirs or {}).get(element)
            if given is None and set(crystal.symbol_set) == {element}:
                phases[element] = "Li" if element == "Li" else host.label
                continue
            if given is None and element not in crystal_names():
                raise InputError(
                    f"Li in the place of {element} in {host.label} needs a reservoir of {element}, and the catalogue "
                    f"has no crystal '{element}'",
                    f"name one: 'reservoirs: {{{element}: FILE}}', or leave it out with states: [interstitial]",
                )
            phases[element] = given or element
            labels = {other.label: other.crystal for other in self.hosts}
            held = self.crystal(labels.get(phases[element], phases[element])).symbol_set
            check_reservoir(element, phases[element], list(held))
        return phases

    def hashed_settings(self) -> dict[str, Any]:
        """See :meth:`Study.hashed_settings`: the states as they are computed, if they are not interstitials alone.

        Further packings that keep their cell say so, as they always did.
        """
        settings = super().hashed_settings()
        settings.pop("states", None)
        states = {}
        for host, written in zip(self.hosts, settings["hosts"], strict=True):
            written.pop("states", None)
            if crystal_of(host.crystal) != host.crystal and self._keeps_cell(host):
                written["cell"] = written.get("cell") or "fixed"
            if "bulk" in self.environments_of(host):
                states[host.label] = self.states_of(host, "bulk")
        if any(of_host != ["interstitial"] for of_host in states.values()):
            settings["states"] = states
        if "neutral_atom_nonspin" in self.references and self.loaded_engine.capabilities.isolated_atoms:
            settings["half_filled_width_ev"] = HALF_FILLED.width_ev
        return settings

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

    @property
    def _role_of_atoms(self) -> Role:
        """Whose card isolated Li has: that of the slabs, if there are any, since their energies are subtracted."""
        return "crystal" if self.only_crystals() else "slab"

    def isolated(self) -> dict[Convention, CalculationStep]:
        """Return the isolated Li atoms and ions of the references; nothing where the engine has no electrons."""
        if not self.loaded_engine.capabilities.isolated_atoms:
            return {}
        card = self.setup.card_of(self._role_of_atoms)
        return isolated_lithium(self.references, card, self._role_of_atoms, self.atom_box_angstrom)

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return not any("surface" in self.environments_of(host) for host in self.hosts)

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
        if not self.loaded_engine.capabilities.isolated_atoms:
            for convention in self.references:
                if convention != "bulk_metal":
                    check_published_atom(self.loaded_engine.record(), convention, self.method.dispersion)
        self._check_states()
        if self.vary is not None:
            notes += check_rows(self.rows, list(self.vary))
        return [*notes, *self.check_cells()]

    def _check_states(self) -> None:
        """Refuse states that no host can have, reservoirs that nothing returns to, and Li+ where it has no energy.

        Raises
        ------
        InputError
            What is wrong.
        """
        in_bulk = [host for host in self.hosts if "bulk" in self.environments_of(host)]
        possible = {state for host in in_bulk for state in self.states_of(host, "bulk")}
        asked = {state for host in in_bulk for state in host.states or []} | set(self.states or [])
        if self.lithium_charge and asked - {"interstitial"}:
            raise InputError(
                f"states {sorted(asked)} with Li+: only an added Li+ is computed charged",
                "set 'states: [interstitial]', or 'lithium_charge: 0'",
            )
        metals = [host.label for host in in_bulk if is_metal(self.crystal(host.crystal))]
        if self.computed_charge and metals:
            raise InputError(
                f"Li+ in the bulk metal {metals[0]} has no energy: the charge moves its Fermi level against the mean "
                "potential of the cell, which is not the same in two metals or codes",
                _ION_REMEDY,
            )
        lacking = [state for state in self.states or [] if state not in possible]
        if lacking and in_bulk:
            can_have = {state for host in in_bulk for state in states_of_crystal(self.crystal(host.crystal))}
            raise InputError(
                f"no host of the study can have Li in state '{lacking[0]}' in its crystal",
                f"states of its hosts: {', '.join(sorted(can_have))}",
            )
        empty = [host.label for host in in_bulk if not self.states_of(host, "bulk")]
        if empty:
            raise InputError(
                f"host {empty[0]} can have none of the states {self.states}",
                "add 'interstitial', or leave the host out",
            )
        used = {element for host in self.hosts for element in self.reservoirs_of(host)}
        idle = sorted(set(self.reservoirs or {}) - used)
        if idle:
            raise InputError(
                f"reservoirs names {idle[0]}, which Li replaces in none of the hosts",
                f"elements that it replaces: {', '.join(sorted(used)) or 'none'}",
            )

    # --- what is computed ----------------------------------------------------------------------------

    @cached_property
    def rows(self) -> Rows:
        """The convergence rows, laid out on the catalogue's crystals; none without ``vary``."""
        base = base_values(self.vary or {}, self.cells, self.setup, self.loaded_engine)
        rows: list[HostRow] = []
        for host in self.hosts if self.vary else ():
            crystals = {name: self._crystal_of(name) for name in self._crystals_behind(host)}
            for environment in self.environments_of(host):
                rows += host_rows(
                    host, environment, self.vary or {}, base, crystals, self.cells, self.setup, self.loaded_engine
                )
        return Rows(base=base, rows=rows)

    def _crystals_behind(self, host: Host) -> list[str]:
        """Return the labels of the crystals that the energies of a host rest on."""
        return list(dict.fromkeys([host.label, "Li", *self.reservoirs_of(host).values()]))

    def _crystal_of(self, label: str) -> Structure:
        """Return the crystal of a host's label, or of any other name."""
        return self.crystal({host.label: host.crystal for host in self.hosts}.get(label, label))

    def _crystal_step(self, label: str) -> CalculationStep:
        """Return the relaxation of a crystal, by the label of a host or another name."""
        tasks = {host.label: self.crystal_task(host) for host in self.hosts}
        return crystal_step(label, self._crystal_of(label), self.setup.card_of("crystal"), task=tasks.get(label))

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: Li metal, isolated Li; of each host its crystal, empty cells, and Li in them."""
        isolated = self.isolated()
        references = References(
            conventions=self.references,
            isolated={convention: step.label for convention, step in isolated.items()},
            role=self._role_of_atoms,
        )
        card = self.setup.card_of("crystal")
        entries: list[Entry] = [crystal_step("Li", self.crystal("Li"), card, expected_steps=6), *isolated.values()]
        for host in self.hosts:
            reservoirs = self.reservoirs_of(host)
            entries.append(self._crystal_step(host.label))
            entries += self._reservoir_steps(reservoirs)
            for environment in self.environments_of(host):
                entries += self._places(host, environment, None, references, reservoirs)
                for row in self.rows.of(host.label, environment):
                    if row.setting == SPACING:
                        names = self._crystals_behind(host)
                        entries += [row.crystal_step(self._crystal_step(name), self.setup) for name in names]
                    entries += self._places(host, environment, row, references, reservoirs)
        return entries

    def _places(
        self,
        host: Host,
        environment: Environment,
        row: Row | None,
        references: References,
        reservoirs: dict[str, str],
    ) -> list[Entry]:
        """Return the empty cell of a host in one environment and Li in all its states, of a row or the study itself."""
        places = [
            Place(
                host=host,
                environment=environment,
                state=state,
                charge_mode=self.charge_mode,
                caveats=self.caveats(host, state),
                row=row,
            )
            for state in self.states_of(host, environment)
        ]
        empty = EmptyHost.of(places[0], self.cells, self.setup)
        return [
            empty,
            *(
                LithiumSites.of(
                    empty,
                    place,
                    references,
                    reservoirs=reservoirs if place.state == "substitution" else {},
                    charge=self.computed_charge,
                    displacement_angstrom=self.displacement_angstrom,
                    seed=self.seed,
                )
                for place in places
            ),
        ]

    def _reservoir_steps(self, reservoirs: dict[str, str]) -> list[Entry]:
        """Return the relaxations of reservoirs that are not hosts themselves."""
        hosts = {host.label for host in self.hosts} | {"Li"}
        return [self._crystal_step(phase) for phase in reservoirs.values() if phase not in hosts]

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the metal, too."""
        return [METAL, *(entry.label for entry in entries if isinstance(entry, Stage))]

    def crystal_task(self, host: Host) -> Task:
        """Return how a host crystal is relaxed: its atoms, and its cell unless it is fixed."""
        return "relax" if host.cell == "fixed" or (host.cell is None and self._keeps_cell(host)) else "relax_cell"

    def _keeps_cell(self, host: Host) -> bool:
        return keeps_cell(host.crystal, self.setup.card_of("crystal"))

    def caveats(self, host: Host, state: State) -> list[str]:
        """Return what a reader must know of the numbers of a host and a state, whatever they turn out to be."""
        notes = []
        if not self.loaded_engine.capabilities.electrons and is_salt(self.crystal(host.crystal)):
            notes.append(
                "neutral Li leaves a salt: the potential has not been trained on the hole it leaves"
                if state == "held"
                else "neutral Li in a salt: the potential has not been trained on its extra electron"
            )
        if self.crystal_task(host) == "relax":
            why = "dispersion-bound crystal" if self._keeps_cell(host) else "cell: fixed in the study"
            notes.append(f"cell kept as given ({why})")
        if host.sites is not None:
            notes.append(f"only the sites {', '.join(host.sites)} were computed: the lowest of all may be another")
        if self.computed_charge:
            notes.append(_ION_TEXT)
            if "surface" in self.environments_of(host):
                notes.append(f"a charged periodic slab does not converge with the vacuum, no result: {_ION_REMEDY}")
        return notes

    def facts(self) -> Rows | None:
        """See :meth:`Study.facts`: the convergence rows, which are laid out on files of the study."""
        return None if self.vary is None else self.rows

    def document(self, results: Documents, record: Record, facts: Rows | None) -> BindingStudyDoc:
        """See :meth:`Study.document`: all hosts, dE of every anode/interphase pair, and the convergence rows."""
        metal = results[METAL]
        stages = {label: doc for label, doc in results.items() if label != METAL}
        done = [doc for doc in stages.values() if doc is not None]
        docs = [doc for doc in done if doc.varied is None]
        missing = [label.removesuffix("/sites") for label, doc in stages.items() if doc is None]
        leading = self.references[0]
        within = self.converged_within_ev or CONVERGED_WITHIN_EV
        convergences = [] if facts is None else convergences_of(docs, done, facts, leading, within)
        docs = with_total_error(docs, convergences)
        return last_document(
            BindingStudyDoc,
            self,
            record,
            engine=None if metal is None else metal.engine,
            sources=list(dict.fromkeys([*record.sources, *(s for d in docs for r in d.references for s in r.sources)])),
            hosts=docs,
            descriptors=descriptors_of(docs, self.anodes, self.interphases, leading),
            conventions=self.references,
            packings=packings_of(docs, self.hosts, self.anodes, leading) or None,
            convergence=convergences or None,
            warnings=[f"{label}: no result, see the first failure of the run" for label in missing]
            + [f"{d.where}: {d.error}" for d in docs if d.error]
            + [f"{d.where}: {w}" for d in docs for w in d.warnings]
            + [f"{c.where}, {c.setting}: {c.verdict}" for c in convergences if not c.converged],
        )
