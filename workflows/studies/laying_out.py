"""How what a study declares is laid out: on unrelaxed structures for a plan, as jobflow jobs for a run.

:func:`plan` takes the structures of the catalogue, and relaxed ones where it is given them. :func:`jobs_of` makes jobs;
the job of a host cell or a stage lays it out when what it needs is relaxed, by the same method that the plan called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from anodeflow.documents import CalculationDoc, Document
from anodeflow.errors import AnodeflowError, EngineError, InputError
from anodeflow.workflows.jobs.calculation import structure_digest
from anodeflow.workflows.jobs.deferred import deferred_job
from anodeflow.workflows.studies.graph import (
    BuiltCell,
    CalculationStep,
    Entry,
    HostCell,
    Identity,
    Result,
    Setup,
    Stage,
    Step,
)

if TYPE_CHECKING:
    from jobflow import Job, OutputReference, Response


#: The relaxed geometry of a calculation; None where there is none yet.
Relaxed = Callable[[Step], Structure | None]


def plan(entries: Iterable[Entry], setup: Setup, relaxed: Relaxed | None = None) -> list[Step]:
    """Lay out every calculation of a study on unrelaxed structures, each label once.

    Parameters
    ----------
    entries
        What it declares.
    setup
        Engine and card.
    relaxed
        Gives the geometries that are relaxed already, on which the rest is laid out.

    Raises
    ------
    AnodeflowError
        If a cell cannot be built.
    """
    known: dict[str, Any] = {}
    steps: dict[str, Step] = {}

    def add(step: Step) -> None:
        if step.label not in steps:
            steps[step.label] = step
            known[step.label] = (relaxed(step) if relaxed else None) or step.structure

    for entry in _once(entries):
        needed = [] if isinstance(entry, Step) else [known[label] for label in entry.needs]
        match entry:
            case Step():
                add(entry)
            case HostCell():
                built = entry.build(needed)
                known[entry.label] = built
                add(
                    CalculationStep(
                        label=entry.host,
                        task=entry.task,
                        structure=built.structure,
                        expected_steps=entry.expected_steps,
                        crystal=entry.crystal,
                        role=entry.role,
                        card=entry.card,
                    )
                )
            case Stage():
                for step in entry.lay_out(needed, setup).steps:
                    add(step)
                known[entry.label] = entry.foreseen(needed, setup)
    return list(steps.values())


def jobs_of(entries: Iterable[Entry], setup: Setup, identity: Identity) -> tuple[list[Job], dict[str, OutputReference]]:
    """Make the jobs of everything a study declares.

    Parameters
    ----------
    entries
        What it declares.
    setup
        Engine and card.
    identity
        Of the study.

    Returns
    -------
    jobs, outputs
        The jobs, and a reference to the output of each calculation, host cell and stage by its label.
    """
    from jobflow import OutputReference

    kept = _once(entries)
    # A job's uuid follows from its label, so that one can be referred to before it is made.
    labels = [
        label
        for entry in kept
        for label in ([entry.label, entry.host] if isinstance(entry, HostCell) else [entry.label])
    ]
    outputs = {label: OutputReference(identity.uuid(label)) for label in labels}
    jobs: list[Job] = []
    for entry in kept:
        match entry:
            case Step():
                first = entry.job(setup, outputs)
            case HostCell():
                first = _build_cell(entry, [outputs[label] for label in entry.needs])
                maker = setup.maker(entry.task, entry.card or setup.card_of(entry.role))
                relaxation = maker.make(outputs[entry.label].structure, entry.host, entry.crystal)
                jobs.append(identity.identify(relaxation, entry.host))
            case Stage():
                needed, also = ([outputs[label] for label in labels] for labels in (entry.needs, entry.also))
                first = _lay_out_stage(entry, setup, identity, needed, also)
        jobs.append(identity.identify(first, entry.label))
    return jobs, outputs


@deferred_job()
def _build_cell(cell: HostCell, docs: list[Any]) -> BuiltCell:
    """Build a host cell of relaxed crystals.

    Raises
    ------
    ConvergenceError
        If one of them did not converge.
    InputError, StructureError
        If there is no such cell.
    """
    return cell.build([_settled(doc, label) for doc, label in zip(docs, cell.needs, strict=True)])


@deferred_job(takes_missing=True)
def _lay_out_stage(
    stage: Stage, setup: Setup, identity: Identity, docs: list[Any], also: list[Any]
) -> Response | Document | list[Document]:
    """Lay out a stage on what is relaxed now.

    Parameters
    ----------
    stage, setup, identity
        What, by which engine and card, for which study.
    docs, also
        The documents of ``stage.needs`` and ``stage.also``; None for what was not computed.

    Returns
    -------
    Response
        With the jobs of its calculations and results; or its document without a result, where something it needs is
        missing.
    """
    from jobflow import Flow, Response

    try:
        needed = [_settled(doc, label) for doc, label in zip(docs, stage.needs, strict=True)]
        layout = stage.lay_out(needed, setup)
    except AnodeflowError as error:
        nothing: Document | list[Document] = stage.without_result(str(error), docs)
        return nothing
    outputs = dict(zip([*stage.needs, *stage.also], [*docs, *also], strict=True))
    jobs = []
    for step in layout.steps:
        jobs.append(identity.identify(step.job(setup, outputs), step.label))
        outputs[step.label] = jobs[-1].output
    results = [
        identity.identify(_conclude(result, [outputs[label] for label in result.of]), result.label)
        for result in layout.results
    ]
    return Response(
        replace=Flow(
            [*jobs, *results], output=stage.output([conclusion.output for conclusion in results]), name=stage.label
        )
    )


@deferred_job(takes_missing=True)
def _conclude(result: Result, docs: list[Any]) -> Document:
    """Make one document of a stage of the documents of ``result.of``; None for what was not computed."""
    return result.document(dict(zip(result.of, docs, strict=True)))


def _settled(doc: Any, label: str) -> Any:
    """Return the relaxed structure of a calculation, or a built cell as it is.

    Raises
    ------
    EngineError
        If there is none.
    ConvergenceError
        If the calculation did not converge.
    """
    if doc is None:
        raise EngineError(f"'{label}' was not computed", "see the first failure of this run")
    if not isinstance(doc, CalculationDoc):
        return doc
    doc.converged_energy_ev()
    return doc.structure


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries with each label once.

    Raises
    ------
    InputError
        If two of one label are not the same.
    """
    kept: dict[str, Entry] = {}
    for entry in entries:
        first = kept.setdefault(entry.label, entry)
        if isinstance(first, Step) and isinstance(entry, Step):
            same = structure_digest(first.structure) == structure_digest(entry.structure)
        else:
            same = first == entry
        if not same:
            raise InputError(
                f"two different parts of the study are called '{entry.label}'",
                "give one of its crystals another name, or put it in another study",
            )
    return list(kept.values())
