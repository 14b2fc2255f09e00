"""The calculations of an interface with films of growing thickness, and its energy."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.interface_energy import InterfaceEnergyDoc, InterfaceMember, interface_energy_doc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.oriented_bulk import strained_film_bulk
from anodeflow.workflows.studies.graph import (
    CalculationStep,
    Documents,
    Layout,
    Result,
    Setup,
    Stage,
    Travelling,
    crystal_label,
)
from anodeflow.workflows.studies.interface.cells import Pair, series

INTERFACE = "interface/cells"


class InterfaceSeries(Stage):
    """The interface cells, each relaxed along its normal, and the film's crystal strained as the film is."""

    pair: Pair

    @classmethod
    def of(cls, pair: Pair, surfaces: list[str]) -> InterfaceSeries:
        """Return the calculations of one interface.

        Parameters
        ----------
        pair
            What the study file says.
        surfaces
            Labels of the stages of its free surfaces, for the work of adhesion.
        """
        needs = [crystal_label(pair.film.crystal), crystal_label(pair.substrate.crystal)]
        return cls(label=INTERFACE, needs=needs, also=surfaces, pair=pair)

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        models = series(needed[0], needed[1], self.pair)
        film = self.pair.film.crystal
        steps = [_step(f"{film}/strained", strained_film_bulk(models[0]), 10, film)]
        for model in models:
            cell = model.structure
            plain = Structure(cell.lattice, cell.species, cell.frac_coords)
            steps.append(_step(f"interface/{model.film.layers} layers", plain, 30))
        labels = [step.label for step in steps]
        result = _InterfaceResult(
            label="interface/result",
            of=[*self.needs, *labels, *self.also],
            pair=self.pair,
            strained=labels[0],
            surfaces=self.also,
            cells=[_CellFacts.of(label, model) for label, model in zip(labels[1:], models, strict=True)],
            strain_percent=models[0].max_strain_percent,
        )
        return Layout(steps, [result])

    def without_result(self, why: str, docs: list[Any]) -> InterfaceEnergyDoc:
        """See :meth:`Stage.without_result`."""
        return without_result(self.pair, why)


def _step(label: str, structure: Structure, expected_steps: int, crystal: str | None = None) -> CalculationStep:
    return CalculationStep(
        label=label, task="relax_c", structure=structure, expected_steps=expected_steps, crystal=crystal
    )


class _CellFacts(Travelling):
    """What the builder of a cell knew, for :class:`~anodeflow.analysis.interface_energy.InterfaceMember`."""

    label: str
    n_film: float
    n_substrate: float
    area_angstrom2: float
    film_thickness_angstrom: float
    equivalent_contacts: bool

    @classmethod
    def of(cls, label: str, model: InterfaceModel) -> _CellFacts:
        """Return what is known of one cell and the calculation of this label."""
        return cls(
            label=label,
            n_film=model.n_film_units,
            n_substrate=model.n_substrate_units,
            area_angstrom2=model.area_angstrom2,
            film_thickness_angstrom=model.film.thickness_angstrom,
            equivalent_contacts=model.contacts_equivalent,
        )


class _InterfaceResult(Result):
    """The fit of gamma(n); unconverged cells are refused, not left out."""

    pair: Pair
    strained: str
    surfaces: list[str]
    cells: list[_CellFacts]
    strain_percent: float

    def document(self, docs: Documents) -> InterfaceEnergyDoc:
        """See :meth:`Result.document`."""
        film, substrate = self.pair.film, self.pair.substrate
        free = [docs[label] for label in self.surfaces]
        gamma: dict[str, SurfaceEnergyDoc] = {d.crystal: d for d in free if d is not None and d.converged}
        strained: CalculationDoc | None = docs[self.strained]
        try:
            return interface_energy_doc(
                [self._member(facts, docs[facts.label]) for facts in self.cells],
                film_bulk=docs[crystal_label(film.crystal)],
                substrate_bulk=docs[crystal_label(substrate.crystal)],
                film=film.crystal,
                substrate=substrate.crystal,
                contact=f"{film.face} || {substrate.face}",
                strained_film_bulk=strained if strained is not None and strained.converged else None,
                strain_percent=self.strain_percent,
                gamma_film=gamma.get(film.crystal),
                gamma_substrate=gamma.get(substrate.crystal),
            )
        except AnodeflowError as error:
            return without_result(self.pair, str(error))

    def _member(self, facts: _CellFacts, calculation: CalculationDoc | None) -> InterfaceMember:
        if calculation is None:
            raise EngineError("an interface cell was not computed", "see the first failure of this run")
        return InterfaceMember(calculation=calculation, **facts.model_dump(exclude={"label"}))


def without_result(pair: Pair, why: str) -> InterfaceEnergyDoc:
    """Return the document of an interface that has no energy, and why."""
    return InterfaceEnergyDoc(film=pair.film.crystal, substrate=pair.substrate.crystal, error=why)
