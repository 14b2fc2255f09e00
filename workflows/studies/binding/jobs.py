"""The calculations of one host: its cell without Li, Li on every site, and the binding energies that follow."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.binding import BindingEnergyDoc, Convention, lithium_references
from anodeflow.analysis.binding_rows import VariedSetting
from anodeflow.analysis.cell_beside import cell_beside
from anodeflow.analysis.lithium_sites import SiteStart, cell_against_crystal, host_result, mesh_warnings
from anodeflow.analysis.reservoirs import Reservoir, reservoir_of
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.lithium_states import State
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.studies.binding.cells import (
    Cells,
    Environment,
    Host,
    build_host,
    li_sites,
    lithium_atoms,
    removed_by,
    with_lithium,
)
from anodeflow.workflows.studies.binding.rows import Row
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.graph import (
    BuiltCell,
    CalculationStep,
    Documents,
    HostCell,
    Layout,
    Result,
    Setup,
    Stage,
    Travelling,
    crystal_label,
)

#: Label of the metal, which is the reference and gives the numerical uncertainty.
METAL = crystal_label("Li")


class Place(Travelling):
    """One environment of one host, one state of Li there, and what is to be said of the numbers.

    Parameters
    ----------
    host, environment, state
        Where Li is.
    charge_mode
        Which charge it carries, as text.
    caveats
        What is to be said of every number there.
    row
        The convergence row that it is of; None: the study itself.
    """

    host: Host
    environment: Environment
    state: State
    charge_mode: str
    caveats: list[str]
    row: Row | None = None

    @property
    def role(self) -> Role:
        """Which card its cells have."""
        return "slab" if self.environment == "surface" else "crystal"

    @property
    def label(self) -> str:
        """Such as ``LiCl/surface``, in a row ``LiCl/surface, vacuum 15 A``; all states share the cell without Li."""
        return f"{self.host.label}/{self.environment}" + ("" if self.row is None else f", {self.row.text}")

    def crystal(self, name: str) -> str:
        """Return the label of the relaxation of a crystal that its energies rest on."""
        return crystal_label(name) if self.row is None else self.row.crystal(name)

    def card(self, setup: Setup) -> MethodCard | None:
        """Return the card of its cells where it is not that of their role."""
        return None if self.row is None else self.row.card(setup, self.role)

    @property
    def varied(self) -> VariedSetting | None:
        """The setting of the row, as documents say it."""
        return None if self.row is None else VariedSetting(setting=self.row.setting, value=self.row.value)

    @property
    def state_label(self) -> str:
        """The same with the state, unless it is that of an added Li."""
        return self.label if self.state in ("interstitial", "adsorbed") else f"{self.label}/{self.state}"

    def without_result(self, model: str, why: str) -> BindingEnergyDoc:
        """Return the document of a host that has no binding energy.

        Parameters
        ----------
        model
            What its cell is.
        why
            The reason.
        """
        return BindingEnergyDoc(
            crystal=self.host.label,
            environment=self.environment,
            state=self.state,
            model=model,
            host_formula="",
            host_atoms=0,
            charge_mode=self.charge_mode,
            varied=self.varied,
            error=why,
        )


class References(Travelling):
    """What the energy of Li is taken against: conventions, and the labels of isolated Li of those that need it.

    Parameters
    ----------
    conventions, isolated
        Which, and by which calculations.
    role
        Whose card isolated Li has; the metal has that of crystals.
    """

    conventions: list[Convention]
    isolated: dict[Convention, str]
    role: Role = "crystal"


class EmptyHost(HostCell):
    """The host cell without Li."""

    place: Place
    cells: Cells

    @classmethod
    def of(cls, place: Place, cells: Cells, setup: Setup) -> EmptyHost:
        """Return the cell of one environment of one host."""
        return cls(
            label=f"{place.label}/cell",
            needs=[place.crystal(place.host.label)],
            host=f"{place.label}/host",
            task="relax",
            expected_steps=1 if place.environment == "bulk" else 12,
            crystal=place.host.label,
            role=place.role,
            card=place.card(setup),
            place=place,
            cells=cells if place.row is None else place.row.cells(cells),
        )

    def build(self, structures: list[Structure]) -> BuiltCell:
        """See :meth:`HostCell.build`."""
        return build_host(structures[0], self.place.host, self.place.environment, self.cells)


class LithiumSites(Stage):
    """Li on every site of a relaxed host.

    Parameters
    ----------
    place, cells, references
        Where, in which cells, against what.
    reservoirs
        The crystal that each element returns to which Li replaces: by element, the crystal's name.
    charge
        Of each Li, e.
    displacement_angstrom, seed
        Of every atom before a relaxation; the seed of the first site.
    """

    place: Place
    cells: Cells
    references: References
    reservoirs: dict[str, str]
    charge: int
    displacement_angstrom: float
    seed: int

    @classmethod
    def of(cls, host: EmptyHost, place: Place, references: References, **options: Any) -> LithiumSites:
        """Return the Li sites of one host.

        Parameters
        ----------
        host
            Its cell without Li.
        place
            The host, and the state of Li.
        references
            What the energy of Li is taken against.
        **options
            ``reservoirs``, ``charge``, ``displacement_angstrom`` and ``seed``.
        """
        needs = [place.crystal("Li"), *host.needs, host.label, host.host]
        phases = [place.crystal(phase) for phase in options["reservoirs"].values()]
        return cls(
            label=f"{place.state_label}/sites",
            needs=needs,
            also=[*references.isolated.values(), *(label for label in phases if label not in needs)],
            place=place,
            cells=host.cells,
            references=references,
            **options,
        )

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        _, crystal, built, empty = needed
        host, environment, card = self.place.host, self.place.environment, self.place.card(setup)
        sites = li_sites(crystal, empty, host, self.place.state, self.cells)
        removed = [removed_by(empty, site) for site in sites]
        steps = {
            site.label: CalculationStep(
                label=f"{self.place.label}/{site.label}",
                task="relax",
                structure=with_lithium(empty, site, host, environment),
                expected_steps=40,
                crystal=host.label,
                role=self.place.role,
                charge=self.charge * lithium_atoms(host, environment),
                displacement_angstrom=self.displacement_angstrom,
                seed=self.seed + number,
                card=card,
            )
            for number, site in enumerate(sites)
            if not (site.kind == "substitution" and removed[number] == "Li")  # Li for Li: the host itself
        }
        labels = [steps[site.label].label if site.label in steps else self.needs[-1] for site in sites]
        with_dispersion = [] if setup.card_of("crystal").dispersion is None else [self.needs[1]]
        result = _HostResult(
            label=f"{self.place.state_label}/result",
            of=list(dict.fromkeys([self.needs[0], self.needs[-1], *labels, *self.also, *with_dispersion])),
            place=self.place,
            empty=self.needs[-1],
            references=self.references,
            reservoirs=self.reservoirs,
            model=built.model,
            face=built.face,
            calculations=labels,
            other_card=setup.unlike("slab", "crystal") if "slab" in (self.place.role, self.references.role) else None,
            starts=[
                SiteStart(**site.as_dict(), seed=self.seed + number, removed=removed[number])
                for number, site in enumerate(sites)
            ],
        )
        return Layout(list(steps.values()), [result])

    def without_result(self, why: str, docs: list[Any]) -> BindingEnergyDoc:
        """See :meth:`Stage.without_result`."""
        built: BuiltCell | None = docs[2]
        return self.place.without_result("not built" if built is None else built.model, why)


class _HostResult(Result):
    """The binding energies of one host.

    Parameters
    ----------
    place, references
        Where, against what.
    empty
        Label of the host without Li.
    reservoirs
        The crystal that each element returns to which Li replaces.
    model, face
        What its cell is.
    calculations, starts
        Labels of the cells of the sites, and where Li was put or was.
    other_card
        How the cards of slabs and crystals differ, as text, where both are needed.
    """

    place: Place
    references: References
    empty: str
    reservoirs: dict[str, str]
    model: str
    face: str | None
    calculations: list[str]
    starts: list[SiteStart]
    other_card: str | None = None

    def document(self, docs: Documents) -> BindingEnergyDoc:
        """See :meth:`Result.document`; a reference without its isolated Li is left out, and that is said."""
        place, host = self.place, self.place.host
        metal = docs[place.crystal("Li")]
        atoms: dict[Convention, CalculationDoc] = {
            convention: docs[label]
            for convention, label in self.references.isolated.items()
            if docs[label] is not None and docs[label].converged
        }
        lost = [convention for convention in self.references.isolated if convention not in atoms]
        conventions = [convention for convention in self.references.conventions if convention not in lost]
        caveats = [*place.caveats, *(f"no {c} reference: its isolated Li was not computed" for c in lost)]
        if not conventions:
            return place.without_result(self.model, caveats[-1])
        try:
            reservoirs = self._reservoirs(docs)
        except AnodeflowError as error:
            return place.without_result(self.model, str(error))
        result = host_result(
            pristine=docs[self.empty],
            with_li=[docs[label] for label in self.calculations],
            starts=self.starts,
            references=lithium_references(metal, conventions, atoms, other_card=self.other_card is not None),
            metal=metal,
            crystal=host.label,
            environment=place.environment,
            description=self.model,
            face=self.face,
            charge_mode=place.charge_mode,
            caveats=caveats,
            n_li=lithium_atoms(host, place.environment),
            dielectric_constant=host.dielectric_constant,
            state=place.state,
            reservoirs=reservoirs or None,
            other_card=self.other_card,
        )
        result.varied = place.varied
        crystal = docs.get(place.crystal(host.label))
        if place.environment == "bulk":
            result.cell_against_crystal_ev = cell_against_crystal(docs[self.empty], crystal)
            result.warnings += mesh_warnings(result.cell_against_crystal_ev, result.host_atoms)
        result.began_with = cell_beside(crystal)
        result.warnings += [] if result.began_with is None else result.began_with.warnings
        return result

    def _reservoirs(self, docs: Documents) -> list[Reservoir]:
        """Return the reservoirs of the atoms that Li replaces; a metal's own crystal is the cell that Li goes into.

        Raises
        ------
        AnodeflowError
            If one was not computed, did not converge, or is not one.
        """
        if self.place.state != "substitution":
            return []
        reservoirs = []
        for element in sorted({start.removed for start in self.starts if start.removed}):
            phase = self.reservoirs[element]
            # the same cell and k-points as with Li, whose errors then cancel; of Li bcc Li, against which E_int is
            of_host = phase == self.place.host.label and element != "Li"
            label = self.empty if of_host else self.place.crystal(phase)
            if docs[label] is None:
                raise EngineError(f"'{label}', the reservoir of {element}, was not computed", "see the first failure")
            reservoirs.append(reservoir_of(element, phase, docs[label], docs[self.place.crystal("Li")]))
        return reservoirs
