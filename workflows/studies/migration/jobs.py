"""The calculations of one path: its host, the ends of every hop, a band for each, and their barriers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.master_equation import JumpDoc
from anodeflow.analysis.migration_documents import MigrationBarrierDoc, barrier_doc
from anodeflow.errors import StructureError
from anodeflow.structures.hop_networks import Jump, hop_network
from anodeflow.structures.migration import Hop
from anodeflow.structures.migration_paths import (
    EndPoints,
    interpolated_path,
    matched_end_points,
    mirrored_end,
    number_of_images,
)
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.jobs.band import BandOptions, band_job
from anodeflow.workflows.studies.graph import (
    BuiltCell,
    CalculationStep,
    Documents,
    HostCell,
    Layout,
    Result,
    Setup,
    Stage,
    Step,
    Travelling,
    crystal_label,
)
from anodeflow.workflows.studies.migration.cells import (
    Cell,
    HopCells,
    MigrationPath,
    build_host,
    hop_cells_of,
    standard_contact,
)
from anodeflow.workflows.studies.registries import search_label, with_its_symmetry

if TYPE_CHECKING:
    from jobflow import Job

#: Optimiser steps of a band and of an end point, for the estimate of the cost.
_BAND_STEPS, _END_STEPS = 25, 15


@dataclass(frozen=True, kw_only=True)
class _BandStep(Step):
    """A nudged elastic band.

    Parameters
    ----------
    start, end
        Labels of the relaxations of its end points; no end where symmetry gives it.
    options
        How it begins and moves.
    ends
        Its unrelaxed end points.
    images
        Between the ends, as long as these are not relaxed.
    """

    task: Literal["neb"] = "neb"
    start: str
    end: str | None
    options: BandOptions
    ends: EndPoints
    images: int

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`Step.write_inputs`."""
        path = interpolated_path(
            self.ends,
            self.images,
            displacement_angstrom=self.options.displacement_angstrom,
            seed=self.options.seed,
        )
        return engine.write_band_inputs(path, card, self.charge, directory, climb=self.options.climb)

    def job(self, setup: Setup, outputs: Mapping[str, Any]) -> Job:
        """See :meth:`Step.job`."""
        return band_job(
            outputs[self.start],
            None if self.end is None else outputs[self.end],
            dict(self.options) | {"warm_start": setup.warm_start},
            setup.card_of(self.role).model_dump(mode="json"),
            setup.engine,
            self.label,
            self.crystal,
        )


class PathHost(HostCell):
    """The slab or interface of a path, without a defect."""

    path: MigrationPath
    cell: Cell
    vacuum_angstrom: float
    unrelaxed: list[Structure] = Field(default_factory=list)

    @classmethod
    def of(
        cls, path: MigrationPath, cell: Cell, vacuum_angstrom: float, unrelaxed: Sequence[Structure] = ()
    ) -> PathHost:
        """Return the host of one path.

        Parameters
        ----------
        path, cell
            What the study file says.
        vacuum_angstrom
            Over a slab, where the cell does not say.
        unrelaxed
            Of an interface, the crystals whose symmetry the relaxed ones are brought back to.
        """
        return cls(
            label=f"{path.label}/cell",
            needs=[*_crystals(path), *_search(path)],
            host=f"{path.label}/host",
            task=path.host_task,
            expected_steps=20,
            crystal=path.label,
            role=path.role,
            path=path,
            cell=cell,
            vacuum_angstrom=vacuum_angstrom,
            unrelaxed=list(unrelaxed),
        )

    def build(self, needed: list[Any]) -> BuiltCell:
        """See :meth:`HostCell.build`."""
        crystals, search = _apart(self.path, needed, self.unrelaxed)
        structure, model = build_host(crystals, self.path, self.cell, self.vacuum_angstrom, search)
        return BuiltCell(structure=Structure(structure.lattice, structure.species, structure.frac_coords), model=model)


class PathHops(Stage):
    """Every hop of one path: its relaxed ends, each once, and a band between them.

    Parameters
    ----------
    path, cell, vacuum_angstrom
        See :meth:`PathHost.of`.
    band
        How the bands begin and move; its charge and displacement are those of the ends, too.
    charge_mode, caveats
        What is to be said of the barriers.
    unrelaxed
        Of an interface, the crystals in whose contact hops are found and named.
    """

    path: MigrationPath
    cell: Cell
    vacuum_angstrom: float
    band: BandOptions
    charge_mode: str
    caveats: list[str]
    unrelaxed: list[Structure] = Field(default_factory=list)

    @classmethod
    def of(cls, path: MigrationPath, **options: Any) -> PathHops:
        """Return the hops of one path.

        Parameters
        ----------
        path
            What the study file says.
        **options
            The other parameters.
        """
        host = [f"{path.label}/host"] if path.needs_host else []
        return cls(label=f"{path.label}/hops", needs=[*_crystals(path), *_search(path), *host], path=path, **options)

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        path = self.path
        crystals, search = _apart(path, needed, self.unrelaxed)
        built, model = build_host(crystals, path, self.cell, self.vacuum_angstrom, search)
        standard = standard_contact(self.unrelaxed, built, path, self.cell, search) if self.unrelaxed else None
        steps: dict[str, Step] = {}
        results = []
        relaxed = needed[-1] if path.needs_host else built
        cells = hop_cells_of(built, relaxed, path, self.cell, standard)
        networks = _networks(relaxed, [hop.hop for hop in cells], path)
        for hop, jumps in zip(cells, networks, strict=True):
            mirror = mirrored_end(hop.start, hop.end, hop.start) is not None
            start = self._relaxed(steps, hop.start_name, hop.start)
            end = None if mirror else self._relaxed(steps, hop.end_name, hop.end)
            band = self._band(hop, start, end)
            steps[band.label] = band
            results.append(
                Barrier(
                    label=f"{path.label}/{hop.hop.label}/barrier",
                    of=[*self.needs, band.label, start, *([] if end is None else [end])],
                    path=path,
                    band=band.label,
                    start=start,
                    end=end,
                    facts=_HopFacts.of(hop, path, model, self.charge_mode, jumps),
                    caveats=[*self.caveats, *hop.notes],
                )
            )
        return Layout(list(steps.values()), results)

    def _relaxed(self, steps: dict[str, Step], name: str, structure: Structure) -> str:
        """Add the relaxation of an end point, if it is not there, and return its label."""
        label = f"{self.path.label}/{name}"
        if label not in steps:
            number = sum(isinstance(step, CalculationStep) for step in steps.values())
            steps[label] = CalculationStep(
                label=label,
                task="relax",
                structure=structure,
                expected_steps=_END_STEPS,
                crystal=self.path.label,
                role=self.path.role,
                charge=self.band.charge,
                displacement_angstrom=self.band.displacement_angstrom,
                seed=self.band.seed + number,
            )
        return label

    def _band(self, hop: HopCells, start: str, end: str | None) -> _BandStep:
        ends = matched_end_points(hop.start, hop.end)
        images = self.band.images or number_of_images(ends.path_angstrom)
        mirror = (hop.start, hop.end) if end is None else None
        return _BandStep(
            label=f"{self.path.label}/{hop.hop.label}/band",
            structure=hop.start,
            expected_steps=images * _BAND_STEPS,
            crystal=self.path.label,
            role=self.path.role,
            charge=self.band.charge,
            start=start,
            end=end,
            options=self.band.model_copy(update={"mirror": mirror}),
            ends=ends,
            images=images,
        )

    def without_result(self, why: str, docs: list[Any]) -> list[MigrationBarrierDoc]:
        """See :meth:`Stage.without_result`."""
        path = self.path
        return [
            MigrationBarrierDoc(crystal=path.name, mechanism=path.mechanism, charge_mode=self.charge_mode, error=why)
        ]

    def output(self, results: list[Any]) -> list[Any]:
        """See :meth:`Stage.output`: all barriers."""
        return results


class _HopFacts(Travelling):
    """What is known of a hop beforehand, for :class:`~anodeflow.analysis.migration_documents.MigrationBarrierDoc`."""

    crystal: str
    mechanism: str
    hop: str
    start_site: str
    end_site: str
    model: str
    atoms: int
    distance_angstrom: float
    multiplicity: int
    multiplicity_back: int
    symmetric: bool
    charge_mode: str
    jumps: list[JumpDoc] | None = None
    place: str | None = None

    @classmethod
    def of(
        cls, cells: HopCells, path: MigrationPath, model: str, charge_mode: str, jumps: list[Jump] | None
    ) -> _HopFacts:
        """Return what is known of one hop.

        Parameters
        ----------
        cells, path
            Which.
        model
            What its cell is.
        charge_mode
            Which charge the hopping lithium carries.
        jumps
            All that are equivalent to it.
        """
        hop = cells.hop
        return cls(
            crystal=path.name,
            mechanism=path.mechanism,
            hop=hop.label,
            start_site=hop.start_site,
            end_site=hop.end_site,
            model=model,
            atoms=len(cells.start),
            distance_angstrom=hop.distance_angstrom,
            multiplicity=hop.multiplicity,
            multiplicity_back=hop.multiplicity_back,
            symmetric=hop.symmetric,
            charge_mode=charge_mode,
            jumps=None if jumps is None else [JumpDoc(**asdict(jump)) for jump in jumps],
            place=cells.place,
        )


class Barrier(Result):
    """The barrier of one hop; an unconverged band gives none.

    Parameters
    ----------
    path
        Whose hop it is.
    band, start, end
        Labels of its calculations.
    facts, caveats
        What is known beforehand and what is to be said of it.
    """

    path: MigrationPath
    band: str
    start: str
    end: str | None
    facts: _HopFacts
    caveats: list[str]

    def document(self, docs: Documents) -> MigrationBarrierDoc:
        """See :meth:`Result.document`."""
        rests_on = {f"crystal {name}": docs[crystal_label(name)].fingerprint for name in self.path.crystals}
        if self.path.registries:
            rests_on["registry search"] = docs[search_label(self.path.label)].fingerprint
        if self.path.needs_host:
            rests_on["host"] = docs[f"{self.path.label}/host"].fingerprint
        return barrier_doc(
            docs[self.band],
            docs[self.start],
            None if self.end is None else docs[self.end],
            facts=self.facts.model_dump(),
            rests_on=rests_on,
            caveats=self.caveats,
        )


def _networks(host: Structure, hops: list[Hop], path: MigrationPath) -> Sequence[list[Jump] | None]:
    """Return all jumps equivalent to each hop; None for each across an interface, or where symmetry is not exact."""
    if path.mechanism == "interface":
        return [None] * len(hops)
    try:
        return hop_network(host, hops)
    except StructureError:
        return [None] * len(hops)


def _search(path: MigrationPath) -> list[str]:
    """Return the label of the search of its registry, if there is one."""
    return [search_label(path.label)] if path.registries else []


def _apart(path: MigrationPath, needed: list[Any], unrelaxed: list[Structure]) -> tuple[list[Structure], Any]:
    """Return the crystals of what a path needs, and the search of its registry, if there is one."""
    crystals = needed[: len(path.crystals)]
    if unrelaxed:
        crystals = [with_its_symmetry(given, relaxed) for given, relaxed in zip(unrelaxed, crystals, strict=True)]
    return crystals, needed[len(path.crystals)] if path.registries else None


def _crystals(path: MigrationPath) -> list[str]:
    return [crystal_label(name) for name in path.crystals]
