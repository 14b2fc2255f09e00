"""The check of a study as jobs: structures are chosen when everything else is computed, then computed twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from anodeflow.analysis.checks import CheckDoc, CheckedStructure, check_document, environments_of
from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.trajectories.compact import CompactTrajectory
from anodeflow.documents import CalculationDoc, StudyDoc
from anodeflow.errors import AnodeflowError
from anodeflow.settings import places_of_run
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.deferred import deferred_job
from anodeflow.workflows.studies.checking.choosing import (
    Chosen,
    MovingFrame,
    State,
    chosen_structures,
    grouped,
    varied_frames,
)
from anodeflow.workflows.studies.checking.options import Check, check_card, check_counts, check_engines
from anodeflow.workflows.studies.graph import (
    CalculationStep,
    Entry,
    HostCell,
    Identity,
    Setup,
    Stage,
    Step,
    Travelling,
)

if TYPE_CHECKING:
    from jobflow import Job, JobStore, Response

    from anodeflow.workflows.studies.base import Study

CHECK = "check"
_Doc = TypeVar("_Doc", bound=StudyDoc)
#: Of a run with more frames, so many at equal distances are looked at.
_MOST_FRAMES = 400
#: Atoms that move have no symmetry, which shortens electrons a lot; frames are planned without it.
_PLANNED_DISPLACEMENT_ANGSTROM = 0.05


class _CheckRun(Travelling):
    """What the jobs of a check are told.

    Parameters
    ----------
    check, card
        What the study file says, and the card of the engine with electrons.
    setup, identity
        Of the study.
    """

    check: Check
    card: MethodCard
    setup: Setup
    identity: Identity

    def second(self, state: State) -> CalculationStep:
        """Return a state's energy by the second potential."""
        return CalculationStep(
            label=f"{CHECK}/{state.label} by the second potential", task="static", structure=state.structure,
            expected_steps=0, engine=self.check.disputed_by, card=self.setup.card,
        )  # fmt: skip

    def points(self, chosen: Chosen) -> tuple[CalculationStep, CalculationStep]:
        """Return the single points of a structure: by the study's engine, and with electrons."""
        shared: dict[str, Any] = {"task": "static", "structure": chosen.structure, "expected_steps": 0, "warm": False}
        return (
            CalculationStep(label=f"{chosen.label} by the study's engine", **shared),
            CalculationStep(label=chosen.label, engine=self.check.engine, card=self.card, **shared),
        )


# --- what a plan shows


def _references_of(entries: Iterable[Entry]) -> list[str]:
    """Return labels of calculations that are references of states: all outside of stages, where there are stages."""
    listed = list(entries)
    if not any(isinstance(entry, Stage) for entry in listed):
        return []
    return [e.host if isinstance(e, HostCell) else e.label for e in listed if not isinstance(e, Stage)]


def _planned_states(study: Study) -> list[State]:
    references = _references_of(study.declare())
    return [
        State(label=step.label, structure=step.structure)
        for step in study.planned_without_check
        if isinstance(step, CalculationStep)
        and step.engine in (None, study.engine)
        and step.charge == 0
        and step.label not in references
        and study.is_state(step.label)
    ]


def planned_points(study: Study, check: Check) -> list[Step]:
    """Return the single points of the check of a study as they are planned, on unrelaxed structures."""
    run = _check_run(study, check)
    states = _planned_states(study) if check.states else []
    frames: list[MovingFrame] = []
    moving = [step for step in study.planned_without_check if step.task == "dynamics"]
    for system in study.moving_frames() if check.frames else ():
        cell = next(step.structure for step in moving if _system_of(step.label, [system]) is not None)
        moved = cell.copy().perturb(_PLANNED_DISPLACEMENT_ANGSTROM, 0.0, seed=check.seed)
        frames += [MovingFrame(system=system, of="", structure=moved)] * check.frames
    points: list[Step] = [run.second(state) for state in states] if check.disputed_by else []
    for chosen in chosen_structures(check, states, frames):
        points += run.points(chosen)
    return points


def _check_run(study: Study, check: Check) -> _CheckRun:
    return _CheckRun(check=check, card=check_card(study, check), setup=study.setup, identity=study.identity)


def check_preflight(study: Study, check: Check, dry: bool) -> list[str]:
    """Refuse a check that cannot be made; return notes.

    Parameters
    ----------
    study, check
        Of which study.
    dry
        Nothing is computed.

    Raises
    ------
    AnodeflowError
        See :mod:`~.options`.
    """
    notes = check_engines(study, check, dry)
    sizes = {formula: len(members) for formula, members in grouped(_planned_states(study)).items()}
    check_counts(check, sizes, study.moving_frames(), study.kind)
    return notes


def add_check(study: Study, check: Check, settings: Study, jobs: list[Job], outputs: list[Any]) -> Any:
    """Add the job of a check to those of its study; return a reference to its document.

    Parameters
    ----------
    study, check
        Of which study.
    settings
        The study without what it has loaded.
    jobs, outputs
        Of the study; the check waits for them.
    """
    run = _check_run(study, check)
    job = _choose(settings, run, _references_of(study.declare()), outputs)
    jobs.append(run.identity.identify(job, CHECK))
    return job.output


def with_check(document: _Doc, check: CheckDoc | None) -> _Doc:
    """Return the last document of a study with what its check says; None was not computed."""
    if check is None:
        document.warnings.append("check: not computed; see the first failure of this run")
        return document
    document.check = check.model_dump(mode="json")
    document.warnings += [f"check: {text}" for text in [*check.warnings, *filter(None, [check.error])]]
    return document


# --- what a run does


@deferred_job(takes_missing=True, expose_store=True)
def _choose(study: Study, run: _CheckRun, references: list[str], waits_for: list[Any]) -> Response | CheckDoc:
    """Choose what is checked among what the store holds of this study.

    Parameters
    ----------
    study
        What the study file says.
    run
        Who checks.
    references
        Labels that are not states.
    waits_for
        The other outputs of the study: they are computed before.
    """
    from jobflow import CURRENT_JOB, Flow, Response

    check, store = run.check, CURRENT_JOB.store
    states = list(_computed_states(store, study, run, references)) if check.states else []
    frames, lost = _computed_frames(store, study, run) if check.frames else ([], [])
    if check.disputed_by is None or not states:
        return _points(run, states, frames, lost, None)
    jobs = [run.identity.identify(step.job(run.setup, {}), step.label) for step in map(run.second, states)]
    last = _compute_points(run, states, frames, lost, [job.output for job in jobs])
    run.identity.identify(last, f"{CHECK}/choice")
    return Response(replace=Flow([*jobs, last], output=last.output, name=CHECK))


@deferred_job(takes_missing=True)
def _compute_points(
    run: _CheckRun, states: list[State], frames: list[MovingFrame], lost: list[str], second: list[Any]
) -> Response | CheckDoc:
    """Choose, now that the second potential has its energies: see :func:`_points`."""
    return _points(run, states, frames, lost, second)


def _points(
    run: _CheckRun, states: list[State], frames: list[MovingFrame], lost: list[str], second: list[Any] | None
) -> Response | CheckDoc:
    """Return the single points of what is chosen, and the document they end in.

    Parameters
    ----------
    run, states, frames
        What there is to be checked.
    lost
        What cannot be, as text.
    second
        Documents of the states by the second potential, None where one was not computed.
    """
    from jobflow import Flow, Response

    known = None
    if second is not None:
        pairs = zip(states, second, strict=True)
        known = {state.label: doc.energy_ev for state, doc in pairs if doc is not None and doc.converged}
    chosen = chosen_structures(run.check, states, frames, known)
    if not chosen:
        return _conclude_check.original(run, [], [], lost)  # type: ignore[attr-defined, no-any-return]
    jobs: list[Job] = []
    outputs = []
    for structure in chosen:
        both = [run.identity.identify(step.job(run.setup, {}), step.label) for step in run.points(structure)]
        jobs += both
        outputs.append([job.output for job in both])
    last = _conclude_check(run, chosen, outputs, lost)
    run.identity.identify(last, f"{CHECK}/result")
    return Response(replace=Flow([*jobs, last], output=last.output, name=CHECK))


@deferred_job(takes_missing=True)
def _conclude_check(run: _CheckRun, chosen: list[Chosen], docs: list[list[Any]], lost: list[str]) -> CheckDoc:
    """Make the document of a check.

    Parameters
    ----------
    run
        Who checks.
    chosen
        What was computed.
    docs
        Of each structure by the study's engine and with electrons; None for what was not computed.
    lost
        What could not be checked, as text.
    """
    elements = sorted({element for structure in chosen for element in structure.structure.symbol_set})
    second = run.check.disputed_by
    doc = check_document(
        [_compared(structure, *pair) for structure, pair in zip(chosen, docs, strict=True)],
        engine=get_engine(run.setup.engine).record_with(run.setup.card, elements),
        card=run.setup.card.record,
        check_engine=get_engine(run.check.engine).record_with(run.card, elements),
        check_card=run.card.record,
        disputed_by=None if second is None else get_engine(second).record(),
    )
    if not chosen:
        doc.error = "nothing to check: no state and no frame was computed"
    doc.warnings += lost
    return doc


def _compared(chosen: Chosen, own: CalculationDoc | None, check: CalculationDoc | None) -> CheckedStructure:
    """Return one structure with the energies and forces of both, or why it has none."""
    structure = chosen.structure
    entry = CheckedStructure(
        label=chosen.label, kind=chosen.kind, of=chosen.of, group=chosen.group, formula=structure.composition.formula,
        species=[site.specie.symbol for site in structure], environments=environments_of(structure),
    )  # fmt: skip
    try:
        for doc in (own, check):
            if doc is not None:
                doc.converged_energy_ev()
    except AnodeflowError as error:
        entry.error = str(error)
        return entry
    if own is None or check is None:
        entry.error = "it was not computed; see the first failure of this run"
        return entry
    entry.energy_ev, entry.check_energy_ev = own.energy_ev, check.energy_ev
    entry.calculations = [own.fingerprint, check.fingerprint]
    forces = [(doc.arrays or {}).get("forces_ev_per_angstrom") for doc in (own, check)]
    if all(values is not None for values in forces):
        entry.forces_ev_per_angstrom, entry.check_forces_ev_per_angstrom = (
            np.round(np.asarray(values, dtype=float), 6).tolist() for values in forces
        )
    return entry


# --- what the store holds


def _stored(store: JobStore, run: _CheckRun, doc_type: str) -> list[tuple[str, dict[str, Any]]]:
    """Return labels and outputs of the documents of a class in this study (a stage gives its label to all its jobs)."""
    criteria = {"metadata.study_hash": run.identity.study_hash, "index": 1, "output.doc_type": doc_type}
    jobs = store.query(criteria, ["name", "output"])
    return sorted(((job["name"], job["output"]) for job in jobs), key=lambda pair: pair[0])


def _computed_states(store: JobStore, study: Study, run: _CheckRun, references: Sequence[str]) -> Iterator[State]:
    for label, output in _stored(store, run, "CalculationDoc"):
        if label.startswith(f"{CHECK}/") or label in references or not study.is_state(label):
            continue
        doc = CalculationDoc.model_validate(output)
        if doc.converged and doc.charge == 0:
            yield State(label=label, structure=doc.structure, energy_ev=doc.energy_ev)


def _computed_frames(store: JobStore, study: Study, run: _CheckRun) -> tuple[list[MovingFrame], list[str]]:
    """Return the most different frames of each system, and why some segments have none."""
    systems = list(study.moving_frames())
    frames: dict[str, list[MovingFrame]] = {}
    lost = []
    segments = [(label, DynamicsSegmentDoc.model_validate(o)) for label, o in _stored(store, run, "DynamicsSegmentDoc")]
    for label, segment in sorted(segments, key=lambda pair: (pair[0].rpartition("/")[0], pair[1].first_step)):
        system = _system_of(label, systems)
        if system is None or segment.phase != "production":
            continue
        try:
            frames.setdefault(system, []).extend(_frames_of(system, label, segment))
        except (AnodeflowError, OSError) as error:
            lost.append(f"{label}: its frames cannot be read: {error}")
    chosen = []
    for system in systems:
        every = frames.get(system, [])
        few = every[:: max(1, -(-len(every) // _MOST_FRAMES))]
        chosen += varied_frames(few, run.check.frames)
    return chosen, lost


def _frames_of(system: str, label: str, segment: DynamicsSegmentDoc) -> Iterator[MovingFrame]:
    places = [Path(folder) / segment.trajectory for folder in places_of_run(segment.directory)]
    file = next((place for place in places if place.is_file()), places[0])
    for frame in CompactTrajectory(file, strict=True):
        structure = frame.structure().copy(site_properties={})
        of = f"{label.rpartition('/')[0]}, step {frame.step}"
        yield MovingFrame(system=system, of=of, structure=structure)


def _system_of(label: str, systems: Iterable[str]) -> str | None:
    """Return the system that a segment belongs to; the longest name, where one begins another."""
    fitting = [name for name in systems if label.startswith(f"{name}/")]
    return max(fitting, key=len) if fitting else None
