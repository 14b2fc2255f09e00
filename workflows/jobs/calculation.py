"""One calculation: a static energy or a relaxation of one cell."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from pymatgen.core import Structure

from anodeflow.documents import CalculationDoc, DispersionPart, SlabLevels
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.fingerprints import fingerprint as fingerprint
from anodeflow.workflows.fingerprints import structure_digest as structure_digest
from anodeflow.workflows.jobs.first_geometry import FirstGeometry, first_geometry, kept_first_geometry
from anodeflow.workflows.jobs.folders import make_folder
from anodeflow.workflows.jobs.recognised import Attempt, Recognised, job_of

if TYPE_CHECKING:
    from jobflow import Job, OutputReference


@dataclass(frozen=True, eq=False)
class Calculation(Recognised[CalculationDoc]):
    """A static energy or a relaxation.

    Parameters
    ----------
    card, engine, label
        See :class:`Recognised`.
    structure
        The geometry.
    task
        ``static``, ``relax`` (ions), ``relax_cell`` (ions and cell) or ``relax_c`` (ions and the cell along z).
    crystal
        Catalogue name of the host.
    charge
        Charge of the cell, e.
    warm_start
        Name of a cheap engine whose relaxed geometry a relaxation starts from.
    coarse_start
        A relaxation starts from the geometry that the engine itself relaxes to with a coarser k-mesh: see
        :mod:`~anodeflow.workflows.jobs.first_geometry`.
    stress
        The stress tensor at the end is wanted. It is not part of the fingerprint: a stored document without one is
        completed.
    """

    structure: Structure
    task: Task = "static"
    crystal: str | None = None
    charge: int = 0
    warm_start: str | None = None
    coarse_start: bool = False
    stress: bool = False

    document = CalculationDoc
    continued: ClassVar = {"output.energy_ev": {"$ne": None}}

    @cached_property
    def key(self) -> str:
        """See :class:`Recognised`."""
        return fingerprint(self.structure, self.task, self.charge, self.card.hash, self.engine_record())

    @property
    def elements(self) -> tuple[str, ...]:
        """See :class:`Recognised`."""
        return tuple(self.structure.symbol_set)

    @property
    def atoms(self) -> int | None:
        """See :class:`Recognised`."""
        return len(self.structure) if isinstance(self.structure, Structure) else None

    @property
    def folder(self) -> Path | None:
        """See :class:`Recognised`."""
        return super().folder if self._engine.capabilities.files else None

    def is_settled(self, doc: CalculationDoc) -> bool:
        """Return whether it is converged, or was already given as many steps as the card allows."""
        if doc.converged and self.stress:
            return doc.stress_gpa is not None
        return doc.converged or doc.ionic_steps >= self.card.max_steps

    def compute(self, attempt: Attempt[CalculationDoc]) -> CalculationDoc:
        """See :class:`Recognised`; what does not converge ends in a document with ``converged`` False."""
        earlier, folder = attempt.earlier, attempt.folder
        steps_before = earlier.ionic_steps if earlier is not None else 0
        start = earlier.structure if earlier is not None else self.structure
        first = FirstGeometry(start)
        if earlier is None and self.task != "static":
            first = self._first_geometry(folder)
        start, notes = first.structure, first.notes
        if folder is not None:
            make_folder(folder)
        card = self.card.model_copy(update={"max_steps": self.card.max_steps - steps_before})
        outcome = self._engine.compute(
            Request(start, self.task, card, self.charge, self.stress),
            folder,
            lambda step, energy, force: monitor.report(self.label, step + steps_before, energy, force),
        )
        provenance = self.provenance(attempt)
        if isinstance(outcome.arrays.get("program"), str):
            provenance["engine"].version = outcome.arrays.pop("program")
        notes += outcome.warnings
        stress = outcome.arrays.get("stress_gpa")
        if earlier is not None:
            notes.append(f"continued at step {steps_before} of an earlier attempt")
        return CalculationDoc(
            **provenance,
            crystal=self.crystal,
            task=self.task,
            energy_ev=outcome.energy_ev,
            structure=outcome.structure,
            initial_structure=self.structure,
            charge=self.charge,
            converged=outcome.converged,
            electronic_converged=outcome.electronic_converged,
            ionic_converged=outcome.ionic_converged,
            ionic_steps=outcome.ionic_steps + steps_before,
            max_force_ev_per_angstrom=outcome.max_force_ev_per_angstrom,
            max_stress_gpa=outcome.max_stress_gpa,
            stress_gpa=None if stress is None else np.asarray(stress, dtype=float).tolist(),
            energy_change_last_step_ev=outcome.energy_change_last_step_ev,
            warm_start=first.engine,
            coarse_mesh=first.mesh,
            kept_space_group=first.space_group,
            directory=str(folder or os.getcwd()),
            warnings=notes,
            error=outcome.error,
            reason=outcome.reason,
            levels=None if outcome.levels is None else SlabLevels(**outcome.levels),
            dispersion=None if outcome.dispersion is None else DispersionPart(**outcome.dispersion),
            arrays=outcome.arrays,
        )

    def _first_geometry(self, folder: Path | None) -> FirstGeometry:
        """Return where the relaxation begins, or began in an earlier attempt in the same folder."""
        if folder is not None and folder.exists():
            return kept_first_geometry(folder, self.structure)
        return first_geometry(
            Request(self.structure, self.task, self.card, self.charge),
            self._engine,
            folder,
            self.warm_start,
            self.coarse_start,
            lambda step, energy, force: monitor.report(self.label, step, energy, force),
        )


@dataclass
class CalculationMaker:
    """Make calculation jobs of one task with one engine and one card.

    Parameters
    ----------
    task
        ``static``, ``relax`` (ions) or ``relax_cell`` (ions and cell).
    card
        How accurately.
    engine
        Name of the engine.
    warm_start
        Name of a cheap engine whose relaxed geometry a relaxation starts from.
    coarse_start
        Whether a relaxation starts from the geometry of a coarser k-mesh.
    stress
        The stress tensor at the end is wanted.
    """

    task: Task = "static"
    card: MethodCard | dict[str, Any] | None = None
    engine: str = "sevennet-0"
    warm_start: str | None = None
    coarse_start: bool = False
    stress: bool = False

    def make(
        self, structure: Structure | OutputReference, label: str, crystal: str | None = None, charge: int = 0
    ) -> Job:
        """Return one job; its output is a :class:`CalculationDoc`.

        Parameters
        ----------
        structure
            The geometry, or a reference to one.
        label
            What a person calls it, e.g. ``Al/bulk/i1``.
        crystal
            Catalogue name of the host.
        charge
            Charge of the cell, e.
        """
        return job_of(
            Calculation(
                card=MethodCard.model_validate(self.card),
                engine=self.engine,
                label=label,
                structure=cast(Structure, structure),
                task=self.task,
                crystal=crystal,
                charge=charge,
                warm_start=self.warm_start,
                coarse_start=self.coarse_start,
                stress=self.stress,
            )
        )
