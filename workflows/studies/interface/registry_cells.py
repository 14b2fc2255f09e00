"""The best registries of an interface, computed by the study's engine in one pair of thicknesses."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.interface_registries import (
    ContactDoc,
    InterfaceRegistriesDoc,
    RegistryEntry,
    RegistrySearchDoc,
    ScoredRegistry,
    ranked_registries,
)
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError
from anodeflow.structures.interface_contacts import distances_across
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.registry import OPEN_GAP_ANGSTROM, contact_gap, contact_problems, registry_at
from anodeflow.workflows.studies.graph import (
    CalculationStep,
    Documents,
    Layout,
    Result,
    Setup,
    Stage,
    crystal_label,
)
from anodeflow.workflows.studies.interface.cells import Pair
from anodeflow.workflows.studies.registries import built_gap, found_registries, search_label

REGISTRIES = "interface/registries"


class RegistryCells(Stage):
    """Cells of the best registries of a search, each relaxed along its normal.

    Parameters
    ----------
    pair
        What the study file says.
    count
        How many registries.
    """

    pair: Pair
    count: int

    @classmethod
    def of(cls, pair: Pair, count: int) -> RegistryCells:
        """Return the calculations of the best registries."""
        needs = [*crystal_labels(pair), search_label("interface")]
        return cls(label=REGISTRIES, needs=needs, pair=pair, count=count)

    def _built(self, needed: list[Any]) -> list[tuple[ScoredRegistry, InterfaceModel]]:
        crystals, search = needed[:2], needed[2]
        return [
            (registry, self.pair.model(crystals, self.pair.base_layers, registry.shift, built_gap(registry)))
            for registry in found_registries(search, self.count)
        ]

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        steps = [
            cell_step(f"interface/registry {number}", model) for number, (_, model) in enumerate(self._built(needed), 1)
        ]
        result = _Ranking(
            label=f"{self.label}/result",
            of=[*self.needs, *(step.label for step in steps)],
            pair=self.pair,
            cells=[step.label for step in steps],
        )
        return Layout(steps, [result])

    def foreseen(self, needed: list[Any], setup: Setup) -> InterfaceRegistriesDoc:
        """See :meth:`Stage.foreseen`: the first one, whatever the energies."""
        film, substrate = self.pair.base_layers
        entries = [_entry(registry, model) for registry, model in self._built(needed)]
        return InterfaceRegistriesDoc(entries=entries, film_layers=film, substrate_layers=substrate)

    def without_result(self, why: str, docs: list[Any]) -> InterfaceRegistriesDoc:
        """See :meth:`Stage.without_result`."""
        return _without_result(self.pair, why)


class _Ranking(Result):
    """The registries by the energies of the study's engine."""

    pair: Pair
    cells: list[str]

    def document(self, docs: Documents) -> InterfaceRegistriesDoc:
        """See :meth:`Result.document`."""
        try:
            crystals = [docs[label].structure for label in crystal_labels(self.pair)]
            search: RegistrySearchDoc = docs[search_label("interface")]
            entries, area = [], search.area_angstrom2
            for registry, label in zip(found_registries(search, len(self.cells)), self.cells, strict=True):
                model = self.pair.model(crystals, self.pair.base_layers, registry.shift, built_gap(registry))
                entries.append(_computed(_entry(registry, model), model, docs[label], label))
            film, substrate = self.pair.base_layers
            return ranked_registries(entries, search, film_layers=film, substrate_layers=substrate, area_angstrom2=area)
        except AnodeflowError as error:
            return _without_result(self.pair, str(error))


def _entry(registry: ScoredRegistry, model: InterfaceModel) -> RegistryEntry:
    return RegistryEntry(
        label=registry.label,
        shift=registry.shift,
        gap_built_angstrom=model.gaps_angstrom[0],
        search_above_lowest_j_per_m2=registry.above_lowest_j_per_m2,
    )


def _computed(
    entry: RegistryEntry, model: InterfaceModel, calculation: CalculationDoc | None, label: str
) -> RegistryEntry:
    entry.calculation = label
    if calculation is None:
        entry.error = "it was not computed; see the first failure of this run"
        return entry
    entry.fingerprint = calculation.fingerprint
    if not calculation.converged or calculation.energy_ev is None:
        entry.error = calculation.error or "it did not converge"
        return entry
    entry.energy_ev = calculation.energy_ev
    entry.contacts = contacts_of(model, calculation.structure)
    entry.problems = contact_problems(model, calculation.structure)
    if entry.contacts[0].registry != entry.label:
        entry.problems.append(f"the film slid while it relaxed, from {entry.label} to {entry.contacts[0].registry}")
    return entry


def contacts_of(model: InterfaceModel, relaxed: Structure) -> list[ContactDoc]:
    """Return registry, gap and shortest distance of every contact of a relaxed cell.

    Parameters
    ----------
    model, relaxed
        The interface as it was built, and its cell, atoms in the same order.
    """
    sides = relaxed.copy(site_properties={"side": model.structure.site_properties["side"]})
    distances = distances_across(sides)
    pair = min(distances, key=lambda key: distances[key])
    gaps = [contact_gap(model, relaxed, contact) for contact in range(1, model.contacts + 1)]
    return [
        ContactDoc(
            registry=registry_at(model, contact, relaxed).label,
            gap_angstrom=gap,
            shortest_angstrom=distances[pair],
            elements=f"{pair[1]}-{pair[0]}",
            open=gap > OPEN_GAP_ANGSTROM,
        )
        for contact, gap in enumerate(gaps, 1)
    ]


def cell_step(label: str, model: InterfaceModel) -> CalculationStep:
    """Return the relaxation of an interface cell along its normal."""
    cell = model.structure
    plain = Structure(cell.lattice, cell.species, cell.frac_coords)
    return CalculationStep(label=label, task="relax_c", structure=plain, expected_steps=30, role="interface")


def crystal_labels(pair: Pair) -> list[str]:
    """Return the labels of the two crystals."""
    return [crystal_label(pair.film.crystal), crystal_label(pair.substrate.crystal)]


def _without_result(pair: Pair, why: str) -> InterfaceRegistriesDoc:
    """Return the document of registries that were not computed, and why."""
    film, substrate = pair.base_layers
    return InterfaceRegistriesDoc(film_layers=film, substrate_layers=substrate, error=why)
