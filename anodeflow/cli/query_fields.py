"""The fields that `anodeflow results --query` may name: those of the stored documents, with what they hold."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from anodeflow.errors import InputError
from anodeflow.suggest import nearest
from anodeflow.workflows.studies.registry import Table

#: Of every stored document, beside its output.
_OF_JOBS = {
    "completed_at": "when it was computed, as text that sorts as times do",
    "name": "label of the job",
    "metadata.label": "what it is in its study",
    "metadata.study": "kind of study",
    "metadata.study_hash": "which study",
    "metadata.tags": "given by submit --tag",
    "metadata.imported": "the archive that it came in",
    "hosts": "uuids of the flows it belongs to",
    "index": "1 where it was computed",
    "uuid": "of the job",
}


def query_fields(table: Table) -> dict[str, str]:
    """Return what a filter on the documents of one table may name, and what it holds.

    Fields of fields are named where they have names; lists and mappings of numbers have indices and keys below them.
    """
    return {f"output.{key}": text for key, text in _fields(_document(table))} | _OF_JOBS


def check_fields(criteria: Any, table: Table) -> None:
    """Refuse a filter that names a field which no document of the table has: it could never match.

    Raises
    ------
    InputError
        With the nearest names.
    """
    known = query_fields(table)
    open_ended = table.doc_type is None  # last documents of every kind: only some of their fields are shared
    for name in _names(criteria):
        parts = name.split(".")
        if parts[0] == "output" and (open_ended or len(parts) == 1 or parts[1].startswith("@")):
            continue
        below = (known.keys() & {".".join(parts[:n]) for n in range(1, len(parts) + 1)}) - _with_names_below(known)
        if name in known or below or (parts[0] in ("metadata", "hosts", "output") and len(parts) == 1):
            continue
        near = nearest(name, known) or nearest(f"output.{name}", known)
        guess = f"nearest: {', '.join(near)}; " if near else ""
        raise InputError(
            f"--query: no document of --what {table.name} has the field '{name}'",
            f"{guess}anodeflow results --what {table.name} --fields lists them",
        )


def _with_names_below(known: dict[str, str]) -> set[str]:
    """Return fields whose own fields are in the list, too: a name below them that is not there does not exist."""
    return {key.rpartition(".")[0] for key in known}


def _names(criteria: Any) -> Iterator[str]:
    """Yield the names of fields in a filter, and in filters that operators join."""
    if isinstance(criteria, list):
        for part in criteria:
            yield from _names(part)
    if not isinstance(criteria, dict):
        return
    for key, value in criteria.items():
        if key.startswith("$"):
            yield from _names(value)
        else:
            yield key


def _document(table: Table) -> type[BaseModel]:
    """Return the class of a table's documents; what all last documents share, for that of studies."""
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.store.renamed import DOCUMENT_CLASSES

    for module, names in DOCUMENT_CLASSES.items():
        if table.doc_type in names:
            document: type[BaseModel] = getattr(importlib.import_module(module), str(table.doc_type))
            return document
    return StudyDoc


def _fields(model: type[BaseModel], before: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        yield before + name, field.description or ""
        inner = _model_in(field.annotation)
        if inner is not None and depth < 1:
            yield from _fields(inner, f"{before}{name}.", depth + 1)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds; None for lists and mappings of them, and for other values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return _model_in(parts[0]) if len(parts) == 1 and type(None) in get_args(annotation) else None
