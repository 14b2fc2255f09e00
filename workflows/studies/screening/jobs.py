"""The two stages of a screening: all candidates with a potential, then the best of them with the study's engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.comparable import check_comparable, energy_per_unit
from anodeflow.analysis.interface_registries import RegistrySearchDoc, ScoredRegistry
from anodeflow.analysis.interface_screening import (
    ScreenedInterface,
    ScreenedInterfacesDoc,
    fill_energies,
    ranked_interfaces,
)
from anodeflow.analysis.reservoirs import reservoir_of
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, ConvergenceError, EngineError, ReferenceMismatchError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.oriented_bulk import strained_film_bulk, strained_film_slab
from anodeflow.structures.registry import contact_problems
from anodeflow.structures.shifts import with_shift
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.jobs.registry_search import (
    RegistrySearch,
    expected_evaluations,
    scored_shifts,
    search_card,
    unscored,
)
from anodeflow.workflows.studies.graph import (
    CalculationStep,
    Documents,
    Layout,
    Result,
    Setup,
    Stage,
    Step,
    Travelling,
    crystal_label,
)
from anodeflow.workflows.studies.interface.registry_cells import cell_step, contacts_of
from anodeflow.workflows.studies.registries import SearchStep, gap_of, named_crystal
from anodeflow.workflows.studies.screening.cells import Candidate, ScreenedPair, candidates, cell_of, counts_of

SCREENED, BEST = "screening/interfaces", "screening/best"
_CRYSTAL_STEPS, _SLAB_STEPS = 10, 15


class Reservoirs(Travelling):
    """Where atoms beyond whole formula units come from: by element, one phase or several, which are a range."""

    phases: dict[str, list[str]]

    @property
    def crystals(self) -> list[str]:
        """Names of all phases, and of bcc Li beside which they stand; none where there are no reservoirs."""
        named = [name for phases in self.phases.values() for name in phases]
        return list(dict.fromkeys([*named, "Li"])) if named else []

    def potentials_ev(self, docs: Documents, labels: Mapping[str, str]) -> dict[str, list[float]]:
        """Return the chemical potentials, eV per atom.

        Parameters
        ----------
        docs
            Documents by label.
        labels
            Of the crystals, by name.

        Raises
        ------
        AnodeflowError
            A phase has no energy or holds too much else.
        """
        return {
            element: [
                reservoir_of(element, phase, docs[labels[phase]], docs[labels["Li"]]).chemical_potential_ev
                for phase in phases
            ]
            for element, phases in self.phases.items()
        }


class _Facts(Travelling):
    """One candidate, and the labels of what was computed for it."""

    key: str
    described: dict[str, Any]
    search: str
    strained: str
    film_slab: str
    substrate_slab: str


class Screening(Stage):
    """Registries of all candidates, the strained film and both sides alone, by the potential.

    Parameters
    ----------
    pair
        What the study file says.
    reservoirs
        For atoms beyond whole formula units.
    labels
        Of the crystals' relaxations by the potential, by name.
    engine
        The potential.
    most
        Registries scored per candidate.
    own
        The potential is the study's engine, too.
    gap_angstrom
        That a plan builds cells with.
    """

    pair: ScreenedPair
    reservoirs: Reservoirs
    labels: dict[str, str]
    engine: str
    most: int
    own: bool
    gap_angstrom: float
    best: int

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        sides = self._sides(needed)
        tried, left_out = candidates(self.pair, sides)
        steps: dict[str, Step] = {}
        shared: dict[tuple[Any, ...], str] = {}
        facts = []
        for candidate in tried:
            search = self._search(candidate, sides)
            count = len(scored_shifts(candidate.model, self.most))
            steps[search.label] = SearchStep(
                label=search.label, task="registries", structure=candidate.model.structure,
                expected_steps=expected_evaluations(count, self.most), card=search.card, engine=self.engine,
                search=search,
            )  # fmt: skip
            labels = [self._shared(part, candidate, steps, shared) for part in _PARTS]
            facts.append(_Facts(key=candidate.key, described=candidate.described(), search=search.label, **dict(
                zip(("strained", "film_slab", "substrate_slab"), labels, strict=True)
            )))  # fmt: skip
        result = _Screened(
            label=f"{self.label}/result", of=[*self.needs, *self.also, *steps], pair=self.pair,
            reservoirs=self.reservoirs, crystals=self.labels, facts=facts, left_out=left_out,
        )  # fmt: skip
        return Layout(list(steps.values()), [result])

    def _sides(self, needed: Sequence[Any]) -> list[Structure]:
        known = dict(zip(self.needs, needed, strict=True))
        return [known[self.labels[side.crystal]] for side in (self.pair.film, self.pair.substrate)]

    def _search(self, candidate: Candidate, crystals: Sequence[Structure]) -> RegistrySearch:
        film, substrate = (
            named_crystal(crystal, side.crystal)
            for crystal, side in zip(crystals, (self.pair.film, self.pair.substrate), strict=True)
        )
        return RegistrySearch(
            card=search_card(), engine=self.engine, label=f"screening/{candidate.key}/registries", film=film,
            substrate=substrate, options=candidate.options, most=self.most,
        )  # fmt: skip

    def _shared(
        self, part: str, candidate: Candidate, steps: dict[str, Step], shared: dict[tuple[Any, ...], str]
    ) -> str:
        """Return the label of a calculation that several candidates may share, declared with the first of them."""
        model = candidate.model
        match = (model.match.film_matrix, model.match.substrate_matrix)
        key = {
            "strained film": (part, match),
            "film alone": (part, match, model.film.termination_index, model.film.layers),
            "substrate alone": (part, model.substrate.termination_index, model.substrate.layers),
        }[part]
        if key not in shared:
            label = shared[key] = f"screening/{candidate.key}/{part}"
            step = _part_step(part, model, label)
            steps[label] = step if self.own else replace(step, **potential(self.engine))
        return shared[key]

    def foreseen(self, needed: list[Any], setup: Setup) -> ScreenedInterfacesDoc:
        """See :meth:`Stage.foreseen`: the first ones, without energies."""
        entries: list[ScreenedInterface] = []
        tried, _ = candidates(self.pair, self._sides(needed))
        for candidate in tried:
            if len(entries) >= self.best:
                break
            for registry in unscored(candidate.model, self.gap_angstrom, most=self.most):
                entries.append(_entry(candidate.described(), registry))
        return ScreenedInterfacesDoc(entries=entries)

    def without_result(self, why: str, docs: list[Any]) -> ScreenedInterfacesDoc:
        """See :meth:`Stage.without_result`."""
        return ScreenedInterfacesDoc(error=why)


_PARTS = ("strained film", "film alone", "substrate alone")


def potential(engine: str) -> dict[str, Any]:
    """Return engine and card of a step by the potential of the screening."""
    return {"engine": engine, "card": load_card("embedded")}


def _part_step(part: str, model: InterfaceModel, label: str) -> CalculationStep:
    """Return the calculation of the strained film's crystal, or of one side alone."""
    task: Task = "relax"
    steps, crystal = _SLAB_STEPS, model.film.crystal
    if part == "strained film":
        task, steps, structure = "relax_c", _CRYSTAL_STEPS, strained_film_bulk(model)
    elif part == "film alone":
        structure = strained_film_slab(model, model.film.vacuum_angstrom)
    else:
        slab = model.substrate.structure
        structure, crystal = Structure(slab.lattice, slab.species, slab.frac_coords), model.substrate.crystal
    return CalculationStep(label=label, task=task, structure=structure, expected_steps=steps, crystal=crystal)


def _entry(described: dict[str, Any], registry: ScoredRegistry) -> ScreenedInterface:
    return ScreenedInterface(
        **described, registry=registry.label, shift=registry.shift, gap_angstrom=registry.gap_angstrom
    )


def _energies(docs: Documents, labels: Sequence[str]) -> list[CalculationDoc]:
    """Return converged calculations.

    Raises
    ------
    EngineError, ConvergenceError
        One was not computed, or did not converge.
    """
    calculations = []
    for label in labels:
        doc: CalculationDoc | None = docs[label]
        if doc is None:
            raise EngineError(f"'{label}' was not computed", "see the first failure of this run")
        doc.converged_energy_ev()
        calculations.append(doc)
    return calculations


def _slabs_ev(docs: Documents, labels: tuple[str, str], entry: ScreenedInterface) -> tuple[float, float] | None:
    """Return the energies of the two sides alone; None with a problem noted where one has none."""
    try:
        film, substrate = _energies(docs, labels)
    except AnodeflowError as error:
        entry.problems.append(f"no work of adhesion: {error}")
        return None
    return film.converged_energy_ev(), substrate.converged_energy_ev()


class _Screened(Result):
    """All registries of all candidates, ranked."""

    pair: ScreenedPair
    reservoirs: Reservoirs
    crystals: dict[str, str]
    facts: list[_Facts]
    left_out: list[str]

    def document(self, docs: Documents) -> ScreenedInterfacesDoc:
        """See :meth:`Result.document`."""
        try:
            film, substrate = _energies(
                docs, [self.crystals[self.pair.film.crystal], self.crystals[self.pair.substrate.crystal]]
            )
            check_comparable([film, substrate])
            potentials = self.reservoirs.potentials_ev(docs, self.crystals)
        except AnodeflowError as error:
            return ScreenedInterfacesDoc(error=str(error))
        entries: list[ScreenedInterface] = []
        warnings = [f"left out: {line}" for line in self.left_out]
        for facts in self.facts:
            try:
                entries += self._registries(facts, docs, film, substrate, potentials)
            except AnodeflowError as error:
                warnings.append(f"{facts.key}: {error}")
        return ScreenedInterfacesDoc(
            entries=ranked_interfaces(entries), candidates=len(self.facts), chemical_potentials_ev=potentials,
            engine=film.engine, card=film.card, warnings=warnings,
            error=None if entries else "no interface has an energy: see the warnings",
        )  # fmt: skip

    def _registries(
        self, facts: _Facts, docs: Documents, film: CalculationDoc, substrate: CalculationDoc,
        potentials: dict[str, list[float]],
    ) -> list[ScreenedInterface]:  # fmt: skip
        search: RegistrySearchDoc | None = docs[facts.search]
        if search is None:
            raise EngineError("its registries were not scored", "see the first failure of this run")
        if search.error is not None:
            raise ConvergenceError(search.error, "take another match")
        if search.engine.hash != film.engine.hash:
            raise ReferenceMismatchError(
                f"registries are scored with {search.engine.name}, crystals relaxed with {film.engine.name}",
                "compute all of them with one potential",
            )
        (strained,) = _energies(docs, [facts.strained])
        tried, _ = candidates(self.pair, [film.structure, substrate.structure])
        model = next((candidate.model for candidate in tried if candidate.key == facts.key), None)
        entries = []
        for registry in search.registries:
            if not registry.relaxed or not registry.stationary:
                continue
            entry = _entry(facts.described, registry)
            entry.calculations = [search.fingerprint]
            if model is not None:
                entry.contacts_equivalent = with_shift(model, registry.shift).contacts_equivalent
            unit = film.structure.composition.reduced_composition
            fill_energies(
                entry,
                e_cell_ev=registry.energy_ev or 0.0,
                e_film_ev_per_unit=energy_per_unit(film),
                e_strained_ev_per_unit=energy_per_unit(strained, unit),
                e_substrate_ev_per_unit=energy_per_unit(substrate),
                slabs_ev=_slabs_ev(docs, (facts.film_slab, facts.substrate_slab), entry),
                chemical_potentials_ev=potentials,
            )
            entries.append(entry)
        if not entries:
            raise ConvergenceError("none of its registries relaxes", "take another match or thicker slabs")
        return entries


class BestInterfaces(Stage):
    """The best of a screening, computed by the study's engine.

    Parameters
    ----------
    pair, reservoirs
        As of :class:`Screening`.
    crystals
        Names of the crystals that were relaxed by this engine: film, substrate, phases of reservoirs.
    count
        How many.
    """

    pair: ScreenedPair
    reservoirs: Reservoirs
    crystals: list[str]
    count: int

    @classmethod
    def of(cls, pair: ScreenedPair, reservoirs: Reservoirs, count: int) -> BestInterfaces:
        """Return the calculations of the best interfaces.

        Parameters
        ----------
        pair, reservoirs, count
            See the class.
        """
        sides = [pair.film.crystal, pair.substrate.crystal]
        names = list(dict.fromkeys([*sides, *reservoirs.crystals]))
        needs = [*(crystal_label(name) for name in names), SCREENED]
        return cls(label=BEST, needs=needs, pair=pair, reservoirs=reservoirs, crystals=names, count=count)

    def _sides(self, needed: Sequence[Any]) -> list[Any]:
        known = dict(zip(self.crystals, needed, strict=False))
        return [known[self.pair.film.crystal], known[self.pair.substrate.crystal]]

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        screened: ScreenedInterfacesDoc = needed[-1]
        if not screened.entries:
            raise ConvergenceError(f"the screening has no result: {screened.error}", "see its warnings")
        entries, steps = screened.entries[: self.count], []
        refused: dict[int, str] = {}
        for number, entry in enumerate(entries, 1):
            try:
                model = cell_of(self.pair, self._sides(needed), entry, gap_of(entry.gap_angstrom))
            except AnodeflowError as error:
                refused[number] = str(error)
                continue
            steps.append(cell_step(_cell_label(number), model))
            steps += [_part_step(part, model, f"best {number}/{part}") for part in _PARTS]
        result = _Computed(
            label=f"{self.label}/result", of=[*self.needs, *(step.label for step in steps)], pair=self.pair,
            reservoirs=self.reservoirs, entries=entries, refused=refused,
        )  # fmt: skip
        return Layout(steps, [result])

    def without_result(self, why: str, docs: list[Any]) -> ScreenedInterfacesDoc:
        """See :meth:`Stage.without_result`."""
        return ScreenedInterfacesDoc(error=why)


def _cell_label(number: int) -> str:
    return f"best {number}/cell"


class _Computed(Result):
    """The best interfaces by the study's engine, ranked again."""

    pair: ScreenedPair
    reservoirs: Reservoirs
    entries: list[ScreenedInterface]
    refused: dict[int, str]

    def document(self, docs: Documents) -> ScreenedInterfacesDoc:
        """See :meth:`Result.document`."""
        labels = {name: crystal_label(name) for name in (self.pair.film.crystal, self.pair.substrate.crystal)}
        labels |= {name: crystal_label(name) for name in self.reservoirs.crystals}
        try:
            film, substrate = _energies(docs, [labels[s.crystal] for s in (self.pair.film, self.pair.substrate)])
            potentials = self.reservoirs.potentials_ev(docs, labels)
        except AnodeflowError as error:
            return ScreenedInterfacesDoc(error=str(error))
        computed, warnings = [], []
        for number, screened in enumerate(self.entries, 1):
            entry = screened.model_copy(
                update={
                    "screened_rank": number, "energy_ev": None, "gamma_j_per_m2": None, "gamma_range_j_per_m2": None,
                    "strain_j_per_m2": None, "adhesion_j_per_m2": None, "calculations": [], "problems": [],
                }
            )  # fmt: skip
            try:
                self._fill(entry, number, docs, film, substrate, potentials)
            except AnodeflowError as error:
                entry.error = str(error)
                warnings.append(f"{entry.name}: {error}")
            computed.append(entry)
        return ScreenedInterfacesDoc(
            entries=ranked_interfaces(computed), candidates=len(computed), chemical_potentials_ev=potentials,
            engine=film.engine, card=film.card, warnings=warnings,
        )  # fmt: skip

    def _fill(
        self, entry: ScreenedInterface, number: int, docs: Documents, film: CalculationDoc, substrate: CalculationDoc,
        potentials: dict[str, list[float]],
    ) -> None:  # fmt: skip
        if number in self.refused:
            raise ConvergenceError(self.refused[number], "")
        cell, strained = _energies(docs, [_cell_label(number), f"best {number}/strained film"])
        check_comparable([film, substrate, strained, cell])
        model = cell_of(self.pair, [film.structure, substrate.structure], entry, gap_of(entry.gap_angstrom))
        entry.counts, entry.contacts_equivalent = counts_of(model), model.contacts_equivalent
        entry.contacts = contacts_of(model, cell.structure)
        entry.gap_angstrom = entry.contacts[0].gap_angstrom
        entry.problems = contact_problems(model, cell.structure)
        if entry.contacts[0].registry != entry.registry:
            entry.problems.append(f"the film slid from {entry.registry} to {entry.contacts[0].registry}")
        entry.calculations = [cell.fingerprint, strained.fingerprint]
        fill_energies(
            entry,
            e_cell_ev=cell.converged_energy_ev(),
            e_film_ev_per_unit=energy_per_unit(film),
            e_strained_ev_per_unit=energy_per_unit(strained, film.structure.composition.reduced_composition),
            e_substrate_ev_per_unit=energy_per_unit(substrate),
            slabs_ev=_slabs_ev(docs, (f"best {number}/film alone", f"best {number}/substrate alone"), entry),
            chemical_potentials_ev=potentials,
        )
