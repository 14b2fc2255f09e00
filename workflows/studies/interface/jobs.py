"""The calculations of an interface with films of growing thickness, and its energy."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.comparable import OtherCards
from anodeflow.analysis.interface_energy import InterfaceEnergyDoc, InterfaceMember, interface_energy_doc
from anodeflow.analysis.interface_registries import InterfaceRegistriesDoc, RegistryEntry
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, ConvergenceError, EngineError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.workflows.studies.graph import (
    Documents,
    Layout,
    Result,
    Setup,
    Stage,
    Travelling,
    crystal_label,
)
from anodeflow.workflows.studies.interface.cells import Pair, series
from anodeflow.workflows.studies.interface.references import (
    StrainedSlab,
    aligned_labels,
    crystals_in_plane,
    strained_label,
    strained_slabs,
    strained_surface,
)
from anodeflow.workflows.studies.interface.registry_cells import (
    REGISTRIES,
    cell_step,
    contacts_of,
    crystal_labels,
)

INTERFACE = "interface/cells"


class InterfaceSeries(Stage):
    """The interface cells, each relaxed along its normal, and the film's crystal strained as the film is.

    Parameters
    ----------
    pair
        What the study file says.
    searched
        Whether the registry is the lowest of :class:`~.registry_cells.RegistryCells`; else that of ``pair.shift``, and
        what is computed is what was before there was a search: references are not aligned, nor the film's surface
        strained.
    film_slabs, vacuum_angstrom
        Planes of the strained film's slabs, and the vacuum over them.
    """

    pair: Pair
    searched: bool
    film_slabs: list[int]
    vacuum_angstrom: float

    @classmethod
    def of(cls, pair: Pair, surfaces: list[str], searched: bool, **slabs: Any) -> InterfaceSeries:
        """Return the calculations of one interface.

        Parameters
        ----------
        pair
            What the study file says.
        surfaces
            Labels of the stages of its free surfaces, for the work of adhesion.
        searched
            See the class.
        slabs
            ``film_slabs`` and ``vacuum_angstrom``.
        """
        needs = [*crystal_labels(pair), *([REGISTRIES] if searched else [])]
        return cls(label=INTERFACE, needs=needs, also=surfaces, pair=pair, searched=searched, **slabs)

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        shift, gap = self.pair.shift, self.pair.gap_angstrom
        if self.searched:
            lowest = _lowest_registry(needed[2])
            shift, gap = lowest.shift, lowest.gap_built_angstrom
        cells = series(needed[:2], self.pair, shift, gap)
        references = crystals_in_plane(cells[0][1], self.pair, setup, align=self.searched)
        computed = [cell_step(self._cell_label(layers), model) for layers, model in cells]
        films = [self.pair.film_model(needed[:2], layers) for layers in self.film_slabs] if self.searched else []
        slabs, slab_facts = strained_slabs(films, self.pair.film, self.vacuum_angstrom)
        steps = [*references, *computed, *slabs]
        labels = [step.label for step in computed]
        result = _InterfaceResult(
            label="interface/result",
            of=[*self.needs, *(step.label for step in steps), *self.also],
            pair=self.pair,
            searched=self.searched,
            aligned=(aligned := len(references) > 1),
            crystals=setup.unlike("interface", "crystal"),
            surface_cells=setup.unlike("interface", "slab"),
            strained_card=setup.unlike("slab", "interface" if aligned else "crystal"),
            surfaces=self.also,
            cells=[_CellFacts.of(label, *cell) for label, cell in zip(labels, cells, strict=True)],
            slabs=slab_facts,
            strain_percent=cells[0][1].max_strain_percent,
        )
        return Layout(steps, [result])

    def _cell_label(self, layers: tuple[int, int]) -> str:
        on = "" if layers[1] == self.pair.base_layers[1] else f" on {layers[1]}"
        return f"interface/{layers[0]} layers{on}"

    def without_result(self, why: str, docs: list[Any]) -> InterfaceEnergyDoc:
        """See :meth:`Stage.without_result`."""
        return without_result(self.pair, why)


def _converged(doc: CalculationDoc | None) -> CalculationDoc | None:
    return doc if doc is not None and doc.converged else None


def _lowest_registry(doc: InterfaceRegistriesDoc) -> RegistryEntry:
    """Return the registry of the lowest energy.

    Raises
    ------
    ConvergenceError
        None has one.
    """
    if doc.lowest is None:
        raise ConvergenceError(f"no registry was found: {doc.error}", "give shift: [x, y], or look at the cells")
    return doc.lowest


class _CellFacts(Travelling):
    """What the builder of a cell knew, for :class:`~anodeflow.analysis.interface_energy.InterfaceMember`."""

    label: str
    layers: tuple[int, int]
    shift: tuple[float, float]
    gap_angstrom: float
    n_film: float
    n_substrate: float
    area_angstrom2: float
    film_thickness_angstrom: float
    substrate_thickness_angstrom: float
    equivalent_contacts: bool

    @classmethod
    def of(cls, label: str, layers: tuple[int, int], model: InterfaceModel) -> _CellFacts:
        """Return what is known of one cell and the calculation of this label.

        Parameters
        ----------
        label
            Of the calculation.
        layers
            Planes of film and substrate.
        model
            The cell as built.
        """
        return cls(
            label=label,
            layers=layers,
            shift=model.shift,
            gap_angstrom=model.gaps_angstrom[0],
            n_film=model.n_film_units,
            n_substrate=model.n_substrate_units,
            area_angstrom2=model.area_angstrom2,
            film_thickness_angstrom=model.film.thickness_angstrom,
            substrate_thickness_angstrom=model.substrate.thickness_angstrom,
            equivalent_contacts=model.contacts_equivalent,
        )


class _InterfaceResult(Result):
    """The fit of gamma(n, m); unconverged cells are refused, not left out.

    Parameters
    ----------
    crystals, surface_cells
        How the cards of the relaxed crystals and of the free surfaces differ from that of the cells, as text.
    strained_card
        How that of the strained crystal differs from that of the strained slabs.
    """

    pair: Pair
    searched: bool
    aligned: bool
    surfaces: list[str]
    cells: list[_CellFacts]
    slabs: list[StrainedSlab]
    strain_percent: float
    crystals: str | None = None
    surface_cells: str | None = None
    strained_card: str | None = None

    def document(self, docs: Documents) -> InterfaceEnergyDoc:
        """See :meth:`Result.document`."""
        film, substrate = self.pair.film, self.pair.substrate
        free = [docs[label] for label in self.surfaces]
        gamma: dict[str, SurfaceEnergyDoc] = {d.crystal: d for d in free if d is not None and d.converged}
        strained = _converged(docs[strained_label(self.pair)])
        aligned = [_converged(docs[label]) if self.aligned else None for label in aligned_labels(self.pair)]
        surface = strained_surface(self.slabs, film, strained, docs, self.aligned, self.strained_card)
        registries: InterfaceRegistriesDoc | None = docs[REGISTRIES] if self.searched else None
        try:
            return interface_energy_doc(
                [self._member(facts, docs) for facts in self.cells],
                film_bulk=docs[crystal_label(film.crystal)],
                substrate_bulk=docs[crystal_label(substrate.crystal)],
                film=film.crystal,
                substrate=substrate.crystal,
                contact=f"{film.face} || {substrate.face}",
                strained_film_bulk=strained,
                aligned_film_bulk=aligned[0],
                aligned_substrate_bulk=aligned[1],
                strain_percent=self.strain_percent,
                gamma_film=gamma.get(film.crystal),
                gamma_substrate=gamma.get(substrate.crystal),
                gamma_film_strained=surface,
                registries=registries,
                other_cards=OtherCards(crystals=self.crystals, slabs=self.surface_cells),
            )
        except AnodeflowError as error:
            return without_result(self.pair, str(error), registries)

    def _member(self, facts: _CellFacts, docs: Documents) -> InterfaceMember:
        calculation: CalculationDoc | None = docs[facts.label]
        if calculation is None:
            raise EngineError("an interface cell was not computed", "see the first failure of this run")
        crystals = [docs[label].structure for label in crystal_labels(self.pair)]
        model = self.pair.model(crystals, facts.layers, facts.shift, facts.gap_angstrom)
        known = facts.model_dump(exclude={"label", "layers", "shift", "gap_angstrom"})
        return InterfaceMember(
            calculation=calculation,
            film_layers=facts.layers[0],
            substrate_layers=facts.layers[1],
            contacts=contacts_of(model, calculation.structure) if calculation.converged else [],
            **known,
        )


def without_result(pair: Pair, why: str, registries: InterfaceRegistriesDoc | None = None) -> InterfaceEnergyDoc:
    """Return the document of an interface that has no energy, and why.

    Parameters
    ----------
    pair
        The two sides.
    why
        The reason.
    registries
        What was found before.
    """
    return InterfaceEnergyDoc(
        film=pair.film.crystal, substrate=pair.substrate.crystal, error=why, registries=registries
    )
