"""The answers of several engines to one study, out of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.analysis.comparison import (
    ComparedTable,
    ComparisonDoc,
    EngineAnswer,
    compared_quantities,
    missing_numbers,
    spread_warnings,
)
from anodeflow.documents import CardRecord, EngineRecord, StudyDoc
from anodeflow.errors import InputError
from anodeflow.files import json_sha256
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.studies.registry import StudyKind, study_kind

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store

    from anodeflow.workflows.studies.base import Study

#: Settings that say how a study is answered, not what it asks.
_HOW = {"engine", "card", "cards", "title", "warm_start", "coarse_start", "search_engine", "check"}
_OF_ANSWERS = ["output.settings", "output.engine.name", "metadata.study_hash", "completed_at"]


def question_of(settings: Mapping[str, Any]) -> str:
    """Return a hash of what a study asks, whichever engine and card answer it."""
    asked = {key: value for key, value in settings.items() if key not in _HOW and value is not None}
    return json_sha256(_without_none(asked), sort_keys=True)[:16]


def _without_none(value: Any) -> Any:
    """Return settings without what is not set: a key that was added later is not in older documents."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def compare_documents(outputs: Sequence[Mapping[str, Any]]) -> ComparisonDoc:
    """Return the comparison of the last documents of one study by several engines.

    Parameters
    ----------
    outputs
        Last documents as they are stored; of one kind.

    Returns
    -------
    ComparisonDoc
        With the engines in this order.

    Raises
    ------
    InputError
        If one answer is given twice.
    """
    kind = study_kind(outputs[0]["study"])
    answers = _answers(outputs)
    quantities = [
        quantity
        for table in _compared_tables(kind, dict(zip((a.label for a in answers), outputs, strict=True)))
        for quantity in compared_quantities(table, answers)
    ]
    warnings = {answer.label: output.get("warnings") or [] for answer, output in zip(answers, outputs, strict=True)}
    return ComparisonDoc(
        study=kind.name,
        title=outputs[0]["title"] or kind.name,
        answers=answers,
        quantities=quantities,
        against=next((answer.label for answer in answers if _has_electrons(answer.engine.name)), None),
        notes=missing_numbers(answers, quantities, warnings),
    )


def _has_electrons(name: str) -> bool:
    try:
        return get_engine(name).capabilities.electrons
    except InputError:  # an engine of a document that is not known here
        return False


def archived_answer(archive: Path, study: Study) -> dict[str, Any]:
    """Return the last document of an archive of a study, which another engine may have computed.

    Parameters
    ----------
    archive
        The file.
    study
        The study that is compared.

    Raises
    ------
    InputError
        If it is not an archive, or answers another question.
    StoreError
        If it fails a check.
    """
    from anodeflow.workflows.store.archive import read_archive

    outputs = [job.content["output"] for job in read_archive(archive)[1] if job.content["index"] == 1
               and job.content["metadata"].get("label") == SUMMARY]  # fmt: skip
    if not outputs:
        raise InputError(f"archive '{archive}' holds no last document", "export a finished study")
    answer: dict[str, Any] = outputs[0]
    if question_of(answer["settings"]) != question_of(study.model_dump(mode="json")):
        raise InputError(
            f"archive '{archive}' is of another question than the study: {answer['title'] or answer['study']}",
            "give the study file that it was computed from",
        )
    return answer


def _answers(outputs: Sequence[Mapping[str, Any]]) -> list[EngineAnswer]:
    names = [output["engine"]["name"] for output in outputs]
    given = [(output["study_hash"], output["engine"]["name"], output.get("finished_at")) for output in outputs]
    twice = next((output for output, key in zip(outputs, given, strict=True) if given.count(key) > 1), None)
    if twice is not None:
        raise InputError(
            f"study {twice['study_hash']} ({twice['engine']['name']}, card {twice['card']['name']}) is given twice",
            "name each archive and engine once",
        )
    answers: list[EngineAnswer] = []
    for name, output in zip(names, outputs, strict=True):
        label = name if names.count(name) == 1 else f"{name}, {output['card']['name']}"
        if any(answer.label == label for answer in answers):
            label = f"{label}, {output['study_hash'][:6]}"
        answers.append(
            EngineAnswer(
                label=label,
                engine=EngineRecord.model_validate(output["engine"]),
                card=CardRecord.model_validate(output["card"]),
                study_hash=output["study_hash"],
                finished_at=output.get("finished_at"),
            )
        )
    return answers


def _compared_tables(kind: StudyKind, outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[ComparedTable]:
    for table in kind.tables:
        if table.compared:
            rows = {
                label: [
                    row for part in _parts(output) if part["doc_type"] == table.doc_type for row in table.rows(part)
                ]
                for label, output in outputs.items()
            }
            yield ComparedTable(table.name, table.keys, table.compared, rows)


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a document and every document in it, in the order they stand in."""
    if isinstance(value, Mapping):
        if "doc_type" in value:
            yield dict(value)
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _other_answers(store: JobStore | Store, document: StudyDoc) -> list[dict[str, Any]]:
    """Return the newest last document of every other engine that answered the question of this one.

    Parameters
    ----------
    store
        Open.
    document
        The last document of a study.

    Returns
    -------
    list of dict
        As they are stored; stand-ins are left out.
    """
    question, newest = question_of(document.settings), {}
    finished = {"metadata.label": SUMMARY, "index": 1, "output.study": document.study}
    for job in store.query(finished, _OF_ANSWERS, sort={"completed_at": 1}):
        name = job["output"]["engine"]["name"]
        if name != document.engine.name and question_of(job["output"].get("settings") or {}) == question:
            newest[name] = job["metadata"]["study_hash"]
    wanted = [
        {"metadata.study_hash": study_hash, "metadata.label": SUMMARY, "index": 1} for study_hash in newest.values()
    ]
    stored = [store.query_one(criteria, ["output"]) for criteria in wanted]
    outputs = [job["output"] for job in stored if job is not None]
    return [output for output in outputs if not output["engine"].get("stand_in")]


def disagreements(store: JobStore | Store, document: StudyDoc) -> list[str]:
    """Return what a result must say of the other engines of the store that answered the same question.

    Parameters
    ----------
    store
        Open.
    document
        The result that is shown.

    Returns
    -------
    list of str
        See :func:`anodeflow.analysis.comparison.spread_warnings`.
    """
    if document.engine.stand_in:
        return []
    others = _other_answers(store, document)
    if not others:
        return []
    comparison = compare_documents([document.model_dump(mode="json"), *others])
    return spread_warnings(comparison, comparison.answers[0].label)
