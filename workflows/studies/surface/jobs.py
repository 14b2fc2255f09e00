"""The calculations of one surface, and its energy. Interface studies have them, too."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.surface_energy import SlabMember, SurfaceEnergyDoc, surface_energy_doc
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

    @classmethod
    def of(cls, surface: SurfaceSpec, vacuum_angstrom: float, max_atoms: int) -> SlabSeries:
        """Return the slabs of one surface.

        Parameters
        ----------
        surface
            What the study file says.
        vacuum_angstrom
            Over each slab.
        max_atoms
            A larger slab is refused.
        """
        return cls(
            label=f"{surface.label}/slabs",
            needs=[crystal_label(surface.crystal)],
            surface=surface,
            vacuum_angstrom=vacuum_angstrom,
            max_atoms=max_atoms,
        )

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        models = slabs(needed[0], self.surface, self.vacuum_angstrom, self.max_atoms)
        steps = []
        for model in models:
            label, structure = _slab_label(self.surface, model.layers), model.structure
            steps += [self._step(f"{label}/cleaved", structure), self._step(label, structure, relaxed=True)]
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

    def document(self, docs: Documents) -> SurfaceEnergyDoc:
        """See :meth:`Result.document`."""
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
