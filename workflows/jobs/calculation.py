"""One calculation as a jobflow job: recognised if it is done already, else computed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jobflow import CURRENT_JOB, Job, JobConfig, Maker, OutputReference, job
from pymatgen.core import Structure

from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import EngineError
from anodeflow.settings import expanded, load_settings
from anodeflow.structures.symmetry import keep_symmetry
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines import get_engine
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Request, Task
from anodeflow.workflows.jobs.folder_lock import alone_in
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


def fingerprint(structure: Structure, task: Task, charge: int, card_hash: str, engine: EngineRecord) -> str:
    """What makes two calculations the same: geometry, task, charge, card, engine and its pseudopotentials."""
    content: list[Any] = [structure_digest(structure), task, charge, card_hash, engine.hash]
    if engine.potentials:
        content.append(dict(sorted(engine.potentials.items())))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def name_of_folder(label: str) -> str:
    """A label as the name of a folder: letters, digits and ``.+-``, the rest an underscore."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", label).strip("_.")


def calculation_folder(label: str, key: str) -> Path:
    """Where an engine leaves the files of one calculation: a readable name and the fingerprint's first digits."""
    return expanded(load_settings().runs).resolve() / f"{name_of_folder(label)[:60] or 'calculation'}-{key[:10]}"


@job(data="arrays", config=JobConfig(expose_store=True))
def calculate(
    structure: Structure,
    task: Task,
    card: dict[str, Any],
    engine: str,
    label: str,
    crystal: str | None = None,
    charge: int = 0,
    warm_start: str | None = None,
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
    record = who.record(structure.symbol_set)
    key = fingerprint(structure, task, charge, method.hash, record)
    directory = calculation_folder(label, key) if who.capabilities.files else None
    fresh = directory is None or not directory.exists()
    with alone_in(directory) as waited:
        if waited:
            earlier = earlier_attempt(CURRENT_JOB.store, structure, task, method, engine, charge)
            if earlier is not None and is_settled(earlier, method):
                return earlier
        warm = warm_start if fresh and earlier is None and task != "static" else None
        return _computed(structure, task, method, who, key, label, crystal, charge, warm, directory, earlier)


def _computed(
    structure: Structure,
    task: Task,
    method: MethodCard,
    who: Engine,
    key: str,
    label: str,
    crystal: str | None,
    charge: int,
    warm_start: str | None,
    directory: Path | None,
    earlier: CalculationDoc | None,
) -> CalculationDoc:
    """The calculation itself, from where an earlier attempt ended."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    steps_before = earlier.ionic_steps if earlier is not None else 0
    start = earlier.structure if earlier is not None else structure
    warm: EngineRecord | None = None
    notes: list[str] = []
    if warm_start is not None:
        curved = directory if who.capabilities.takes_curvatures else None
        start, warm, notes = warmed(structure, task, method, warm_start, curved)
    if directory is not None:
        make_folder(directory)
    outcome = who.compute(
        Request(start, task, method.model_copy(update={"max_steps": method.max_steps - steps_before}), charge),
        directory,
        lambda step, e, f: monitor.report(label, step + steps_before, e, f),
    )
    # a program tells its version only when it has run
    record = who.record(structure.symbol_set)
    if isinstance(outcome.arrays.get("program"), str):
        record.version = outcome.arrays.pop("program")
    outcome.warnings = [*notes, *outcome.warnings]
    if earlier is not None:
        outcome.warnings.append(f"continued at step {steps_before} of an earlier attempt")
    return CalculationDoc(
        fingerprint=key,
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
        card=CardRecord(name=method.name, hash=method.hash, base_hash=method.base_hash),
        warm_start=warm,
        wall_time_s=time.perf_counter() - clock,
        started_at=started,
        computer=platform.node(),
        directory=str(directory or os.getcwd()),
        warnings=outcome.warnings,
        error=outcome.error,
        arrays=outcome.arrays,
    )


def warmed(
    structure: Structure, task: Task, card: MethodCard, engine: str, directory: Path | None = None
) -> tuple[Structure, EngineRecord | None, list[str]]:
    """The geometry that a cheap engine relaxes to, to start a dear one from.

    Parameters
    ----------
    structure, task, card
        Of the dear calculation.
    engine
        Name of the cheap one.
    directory
        Folder of the dear calculation, where the curvatures of the cheap one are left for its optimiser if the cell is
        fixed and not too large; None for an engine that cannot begin with them.

    Returns
    -------
    structure, record, notes
        The start and no record where the cheap engine failed; the notes say why.
    """
    cheap = get_engine(engine)
    outcome = cheap.compute(Request(structure, task, card))
    if not outcome.converged:
        return structure, None, [f"no warm start: {engine}: {outcome.error}"]
    start = keep_symmetry(structure, outcome.structure)
    if directory is not None and task == "relax":
        from anodeflow.workflows.engines.motion.hessian import curvatures, write_curvatures
        from anodeflow.workflows.engines.motion.relax import FIRST_CURVATURE_OF_IONS

        matrix = curvatures(start, cheap.ase_calculator(start, card), FIRST_CURVATURE_OF_IONS)
        if matrix is not None:
            make_folder(directory)
            write_curvatures(directory, matrix)
    return start, cheap.record(structure.symbol_set), []


def make_folder(directory: Path) -> None:
    """Make a calculation's folder.

    Raises
    ------
    EngineError
        If it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"cannot make the folder '{directory}': {error.strerror}", "set ANODEFLOW_RUNS to another place"
        ) from None


def earlier_attempt(
    store: Any, structure: Structure, task: Task, card: MethodCard, engine: str, charge: int = 0
) -> CalculationDoc | None:
    """What the store holds of a calculation: the converged one, else the newest unconverged one, else None."""
    if store is None:
        return None
    try:
        record = get_engine(engine).record(structure.symbol_set)
    except EngineError:
        return None
    key = fingerprint(structure, task, charge, card.hash, record)
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
    warm_start
        Name of a cheap engine whose relaxed geometry a relaxation starts from.
    """

    name: str = "calculation"
    task: Task = "static"
    card: dict[str, Any] | None = None
    engine: str = "sevennet-0"
    warm_start: str | None = None

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
        options = {"warm_start": self.warm_start} if self.warm_start else {}
        made = calculate(structure, self.task, self.card, self.engine, label, crystal, charge, **options)
        made.name = label
        made.update_metadata({"kind": "calculation", "label": label})
        return made
