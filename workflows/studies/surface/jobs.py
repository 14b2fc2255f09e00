"""The calculations of one surface, and its energy. Interface studies have them, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.surface_energy import SlabMember, SurfaceEnergyDoc, surface_energy_doc
from anodeflow.analysis.work_functions import work_function_doc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, EngineError
from anodeflow.structures.slabs import SlabModel
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
from anodeflow.workflows.studies.surface.cells import SurfaceSpec, aligned_crystal, slabs

_ALIGNED = "crystal in the cell of the slabs"


class SlabSeries(Stage):
    """Slabs of one surface, cut from the relaxed crystal: each as cleaved and relaxed."""

    surface: SurfaceSpec
    vacuum_angstrom: float
    max_atoms: int
    vacuums_angstrom: list[float] = Field(default_factory=list)

    @classmethod
    def of(
        cls, surface: SurfaceSpec, vacuum_angstrom: float, max_atoms: int, vacuums_angstrom: Sequence[float] = ()
    ) -> SlabSeries:
        """Return the slabs of one surface.

        Parameters
        ----------
        surface
            What the study file says.
        vacuum_angstrom
            Over each slab.
        max_atoms
            A larger slab is refused.
        vacuums_angstrom
            The thickest slab as cleaved is computed under each of these, too.
        """
        return cls(
            label=f"{surface.label}/slabs",
            needs=[crystal_label(surface.crystal)],
            surface=surface,
            vacuum_angstrom=vacuum_angstrom,
            max_atoms=max_atoms,
            vacuums_angstrom=list(vacuums_angstrom),
        )

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        models = slabs(needed[0], self.surface, self.vacuum_angstrom, self.max_atoms)
        steps = []
        for model in models:
            label, structure = _slab_label(self.surface, model.layers), model.structure
            steps += [self._step(f"{label}/cleaved", structure), self._step(label, structure, relaxed=True)]
        thickest = f"{_slab_label(self.surface, models[-1].layers)}/cleaved"
        vacuums = {thickest: models[-1].vacuum_angstrom}
        for vacuum in self.vacuums_angstrom:
            label = f"{thickest}, vacuum {vacuum:g}"
            steps.append(self._step(label, slabs(needed[0], self.surface, vacuum, self.max_atoms)[-1].structure))
            vacuums[label] = vacuum
        crystal = aligned_crystal(models[-1], self.surface, setup)
        if crystal is not None:
            steps.append(self._step(_aligned_label(self.surface), crystal))
        result = _SurfaceResult(
            label=f"{self.surface.label}/result",
            of=[*self.needs, *(step.label for step in steps)],
            surface=self.surface,
            slabs=[_SlabFacts.of(model) for model in models],
            termination=models[0].termination,
            cell=models[0].cell,
            other_card=setup.unlike("slab", "crystal"),
            vacuum_angstrom=models[-1].vacuum_angstrom,
            vacuums=vacuums,
        )
        return Layout(steps, [result])

    def _step(self, label: str, structure: Structure, relaxed: bool = False) -> CalculationStep:
        return CalculationStep(
            label=label,
            task="relax" if relaxed else "static",
            structure=structure,
            expected_steps=12 if relaxed else 0,
            crystal=self.surface.crystal,
            role="slab",
        )

    def without_result(self, why: str, docs: list[Any]) -> SurfaceEnergyDoc:
        """See :meth:`Stage.without_result`."""
        return _without_result(self.surface, why)


class _SlabFacts(Travelling):
    """What the builder of a slab knew, for :class:`~anodeflow.analysis.surface_energy.SlabMember`."""

    layers: int
    n_units: float
    excess: dict[str, float]
    thickness_angstrom: float
    area_angstrom2: float
    symmetric: bool

    @classmethod
    def of(cls, model: SlabModel) -> _SlabFacts:
        """Return what is known of one slab."""
        return cls(
            layers=model.layers,
            n_units=model.formula_units,
            excess=dict(model.excess),
            thickness_angstrom=model.thickness_angstrom,
            area_angstrom2=model.area_angstrom2,
            symmetric=model.symmetric,
        )


class _SurfaceResult(Result):
    """The energy of one surface; unconverged slabs are refused, not left out."""

    surface: SurfaceSpec
    slabs: list[_SlabFacts]
    termination: str
    cell: str
    other_card: str | None = None
    vacuum_angstrom: float = 0.0
    vacuums: dict[str, float] = Field(default_factory=dict)

    def document(self, docs: Documents) -> SurfaceEnergyDoc:
        """See :meth:`Result.document`."""
        doc = self._energy(docs)
        doc.work_function = work_function_doc(self._slabs(docs))
        if doc.work_function is not None and doc.work_function.work_function_ev is None:
            doc.warnings.append(doc.work_function.text)
        return doc

    def _slabs(self, docs: Documents) -> list[tuple[CalculationDoc, int, float]]:
        """Return the slabs that were computed: all relaxed ones, and the thickest as cleaved under every vacuum."""
        relaxed = [
            (_slab_label(self.surface, facts.layers), facts.layers, self.vacuum_angstrom) for facts in self.slabs
        ]
        cleaved = [(label, self.slabs[-1].layers, vacuum) for label, vacuum in self.vacuums.items()]
        computed = [(docs.get(label), layers, vacuum) for label, layers, vacuum in [*relaxed, *cleaved]]
        return [(doc, layers, vacuum) for doc, layers, vacuum in computed if doc is not None]

    def _energy(self, docs: Documents) -> SurfaceEnergyDoc:
        aligned = docs.get(_aligned_label(self.surface))
        try:
            members = [self._member(facts, docs) for facts in self.slabs]
            return surface_energy_doc(
                members,
                crystal=self.surface.crystal,
                miller=self.surface.miller,
                termination=self.termination,
                cell=self.cell,
                bulk=docs[crystal_label(self.surface.crystal)],
                aligned_bulk=aligned if aligned is not None and aligned.converged else None,
                chemical_potentials_ev=self.surface.chemical_potentials_ev,
                method="fit" if len(members) > 1 else "single",
                other_card=self.other_card,
            )
        except AnodeflowError as error:
            return _without_result(self.surface, str(error))

    def _member(self, facts: _SlabFacts, docs: Documents) -> SlabMember:
        label = _slab_label(self.surface, facts.layers)
        relaxed: CalculationDoc | None = docs[label]
        cleaved: CalculationDoc | None = docs[f"{label}/cleaved"]
        if relaxed is None:
            raise EngineError(f"the slab of {facts.layers} layers was not computed", "see the first failure")
        usable = cleaved if cleaved is not None and cleaved.converged else None
        return SlabMember(calculation=relaxed, unrelaxed=usable, **facts.model_dump())


def _slab_label(surface: SurfaceSpec, layers: int) -> str:
    return f"{surface.label}/{layers} layers"


def _aligned_label(surface: SurfaceSpec) -> str:
    return f"{surface.label}/{_ALIGNED}"


def _without_result(surface: SurfaceSpec, why: str) -> SurfaceEnergyDoc:
    return SurfaceEnergyDoc(
        crystal=surface.crystal,
        miller=surface.miller,
        termination=str(surface.termination),
        method="fit" if len(surface.layers) > 1 else "single",
        error=why,
    )
