"""One calculation as a jobflow job: recognised if it is done already, else computed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jobflow import CURRENT_JOB, Job, JobConfig, Maker, OutputReference, job
from pymatgen.core import Structure

from anodeflow.analysis.documents import CalculationDoc, CardRecord
from anodeflow.errors import EngineError
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.base import Task
from anodeflow.workflows.store import find_finished


def structure_digest(structure: Structure) -> str:
    """Hash of cell, species, positions (to 1e-5 angstrom), and frozen degrees of freedom."""
    data: list[Any] = [
        np.round(structure.lattice.matrix, 5).tolist(),
        [str(s) for s in structure.species_and_occu],
        np.round(np.mod(np.round(structure.frac_coords, 7), 1.0), 6).tolist(),
    ]
    frozen = structure.site_properties.get("selective_dynamics")
    if frozen is not None and not np.all(frozen):
        data.append(np.asarray(frozen, dtype=bool).tolist())
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def fingerprint(structure: Structure, task: Task, charge: int, card_hash: str, engine_hash: str) -> str:
    """What makes two calculations the same: geometry, task, charge, card and engine."""
    text = json.dumps([structure_digest(structure), task, charge, card_hash, engine_hash])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@job(data="arrays", config=JobConfig(expose_store=True))
def calculate(
    structure: Structure,
    task: Task,
    card: dict[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
    charge: int = 0,
) -> CalculationDoc:
    """Run one calculation, or hand out the finished one with the same fingerprint.

    A calculation that does not converge, or whose forces explode, ends in a document with
    ``converged`` False; only a missing or broken engine raises.
    """
    method = MethodCard.model_validate(card)
    earlier = earlier_attempt(CURRENT_JOB.store, structure, task, method, engine, charge)
    if earlier is not None and is_settled(earlier, method):
        return earlier
    who = get_engine(engine)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    steps_before = earlier.ionic_steps if earlier is not None else 0
    outcome = who.compute(
        earlier.structure if earlier is not None else structure,
        task,
        method.model_copy(update={"max_steps": method.max_steps - steps_before}),
        charge,
        monitor=lambda step, e, f: monitor.report(label, step + steps_before, e, f),
    )
    if earlier is not None:
        outcome.warnings.append(f"continued at step {steps_before} of an earlier attempt")
    record = who.record()
    return CalculationDoc(
        fingerprint=fingerprint(structure, task, charge, method.hash, record.hash),
        label=label,
        crystal=crystal,
        task=task,
        energy_ev=outcome.energy_ev,
        structure=outcome.structure,
        initial_structure=structure,
        charge=charge,
        converged=outcome.converged,
        electronic_converged=outcome.electronic_converged,
        ionic_converged=outcome.ionic_converged,
        ionic_steps=outcome.ionic_steps + steps_before,
        max_force_ev_per_angstrom=outcome.max_force_ev_per_angstrom,
        max_stress_gpa=outcome.max_stress_gpa,
        energy_change_last_step_ev=outcome.energy_change_last_step_ev,
        engine=record,
        card=CardRecord(name=method.name, hash=method.hash),
        wall_time_s=time.perf_counter() - clock,
        started_at=started,
        computer=platform.node(),
        directory=os.getcwd(),
        warnings=outcome.warnings,
        error=outcome.error,
        arrays=outcome.arrays,
    )


def earlier_attempt(
    store: Any, structure: Structure, task: Task, card: MethodCard, engine: str, charge: int = 0
) -> CalculationDoc | None:
    """What the store holds of a calculation: the converged one, else the newest unconverged one, else None."""
    if store is None:
        return None
    try:
        record = get_engine(engine).record()
    except EngineError:
        return None
    key = fingerprint(structure, task, charge, card.hash, record.hash)
    found = find_finished(store, key)
    if found is None:
        attempt = store.query_one(
            {
                "output.fingerprint": key,
                "output.doc_type": "CalculationDoc",
                "output.converged": False,
                "output.energy_ev": {"$ne": None},
            },
            properties=["output"],
            sort={"completed_at": -1},
            load=True,
        )
        found = attempt["output"] if attempt else None
    return None if found is None else CalculationDoc.model_validate(found)


def is_settled(doc: CalculationDoc, card: MethodCard) -> bool:
    """Whether computing again could change nothing: converged, or already given as many steps as the card allows."""
    return doc.converged or doc.ionic_steps >= card.max_steps


@dataclass
class CalculationMaker(Maker):
    """Makes calculation jobs of one task with one engine and one card.

    Parameters
    ----------
    name
        Name of the jobs; the label is appended.
    task
        ``static``, ``relax`` (ions) or ``relax_cell`` (ions and cell).
    card
        The method card, as a plain mapping so that the job can travel.
    engine
        Name of the engine.
    """

    name: str = "calculation"
    task: Task = "static"
    card: dict[str, Any] | None = None
    engine: str = "sevennet-0"

    def make(
        self, structure: Structure | OutputReference, label: str, crystal: str | None = None, charge: int = 0
    ) -> Job:
        """One job; its output is a :class:`CalculationDoc`.

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
        made = calculate(structure, self.task, self.card, self.engine, label, crystal, charge)
        made.name = label
        made.update_metadata({"kind": "calculation", "label": label})
        return made
