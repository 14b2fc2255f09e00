"""What a document of an archive must be before anything else reads it: of its schema, and of nothing but plain values.

Whatever fits says nothing yet of its numbers: see :mod:`anodeflow.workflows.jobs.imported`.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

from anodeflow.documents import SCHEMA_VERSION, ComputedDoc, Document, StudyDoc
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.store.renamed import DOCUMENT_CLASSES, may_be_named

#: Where a document of a store says which archive it came with: below its metadata.
MARK = "imported"
_OF_A_JOB = {"@class", "@module", "@version", "uuid", "index", "name", "hosts", "metadata", "completed_at", "output"}
_NEEDED = ("uuid", "index", "name", "metadata", "completed_at", "output")
_OF_A_BLOB = {"@class", "@module", "@version", "blob_uuid", "job_uuid", "job_index", "data", "store"}
_IDENTITY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEEPEST, _LONGEST, _LARGEST_INTEGER = 40, 2**24, 2**63
# Arrays in which NaN means that the engine gives no such value.
_MAY_BE_NAN = {"conserved_ev"}


class UnfitError(ValueError):
    """A document is not what it must be; the text says what disagrees, without the name of the document."""


@dataclass(frozen=True)
class Archived:
    """One job of an archive, after the checks of this module.

    Attributes
    ----------
    content
        Its document, as it will be stored.
    blobs
        Its large data.
    doc
        Its output as one of our documents, without its arrays; None for other outputs.
    arrays
        Of that document.
    """

    content: dict[str, Any]
    blobs: list[dict[str, Any]]
    doc: Document | None
    arrays: dict[str, Any]

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.content["name"])

    @property
    def is_summary(self) -> bool:
        """Whether it is the last document of the study."""
        return bool(self.content["metadata"]["label"] == SUMMARY)


def archived(content: Any, blobs: Any, study_hash: str) -> Archived:
    """Return a job of an archive, checked.

    Parameters
    ----------
    content, blobs
        As its files hold it; an empty list where it has no large data.
    study_hash
        Of the study whose archive this is.

    Raises
    ------
    UnfitError
        If it is not a document of this study, of its schema, or holds what no document may.
    """
    _check_plain(content, _names_unfinished(content))
    _check_job(content, study_hash)
    data = _checked_blobs(content, blobs)
    output = content["output"]
    doc = arrays = None
    if isinstance(output, dict) and "doc_type" in output:
        arrays = _resolved(output.get("arrays"), data)
        doc = _validated(_resolved({**output, "arrays": None}, data), output.get("@class"))
    if content["metadata"]["label"] == SUMMARY and not isinstance(doc, StudyDoc):
        raise UnfitError("the summary of a study must be one of its last documents")
    if arrays is not None and not isinstance(arrays, dict):
        raise UnfitError("'arrays' is not an object")
    return Archived(content, blobs, doc, arrays or {})


def _names_unfinished(content: Any) -> bool:
    """Return whether this is a calculation without a result, whose last numbers may be NaN or infinite."""
    output = content.get("output") if isinstance(content, dict) else None
    return isinstance(output, dict) and output.get("converged") is False


def _check_job(content: Any, study_hash: str) -> None:
    if not isinstance(content, dict):
        raise UnfitError(f"it is a {type(content).__name__}, not an object")
    unknown, missing = sorted(set(content) - _OF_A_JOB), [key for key in _NEEDED if key not in content]
    if unknown or missing:
        raise UnfitError(f"it lacks '{missing[0]}'" if missing else f"it has a field '{unknown[0][:40]}' of no job")
    index, metadata = content["index"], content["metadata"]
    if not isinstance(content["uuid"], str) or not _IDENTITY.fullmatch(content["uuid"]):
        raise UnfitError("'uuid' is not the identity of a job")
    if not isinstance(index, int) or isinstance(index, bool) or not 1 <= index < 1000:
        raise UnfitError(f"'index' is {index!r:.40}")
    if not isinstance(content["name"], str) or not isinstance(metadata, dict):
        raise UnfitError("'name' or 'metadata' has another type than a job's")
    if metadata.get("study_hash") != study_hash:
        raise UnfitError("it is of another study")
    if not isinstance(metadata.get("label"), str):
        raise UnfitError("'metadata' lacks the label")
    if MARK in metadata:
        raise UnfitError(f"'metadata' holds '{MARK}', which only an import writes")
    try:
        datetime.fromisoformat(content["completed_at"])
    except (TypeError, ValueError):
        raise UnfitError(f"'completed_at' is {content['completed_at']!r:.40}, not a time") from None


def _check_plain(value: Any, numbers_may_be_missing: bool) -> None:
    """Refuse what is not JSON, not finite, too deep, too long, or names a class that is not ours."""
    waiting: list[tuple[Any, int, bool]] = [(value, 0, numbers_may_be_missing)]
    while waiting:
        item, depth, lenient = waiting.pop()
        if depth > _DEEPEST:
            raise UnfitError(f"it nests deeper than {_DEEPEST} levels")
        if isinstance(item, dict):
            if ("@module" in item or "@class" in item) and not may_be_named(item.get("@module"), item.get("@class")):
                named = f"{item.get('@module')}.{item.get('@class')}"
                raise UnfitError(f"it names the class {named!r:.80}, which no document holds")
            for key, inner in item.items():
                if key.startswith("$") or "\0" in key:
                    raise UnfitError(f"it holds the key {key!r:.40}")
                waiting.append((inner, depth + 1, lenient or key in _MAY_BE_NAN))
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1, lenient) for inner in item)
        elif isinstance(item, float):
            if not lenient and not math.isfinite(item):
                raise UnfitError("it holds a number that is not finite")
        elif type(item) is str:  # not JavaScript, which bson reads as a kind of text
            if len(item) > _LONGEST:
                raise UnfitError("it holds a text longer than any")
            if not item.isascii() and any("\ud800" <= letter <= "\udfff" for letter in item):
                raise UnfitError("it holds half a character")
        elif item is not None and not isinstance(item, bool):
            if not isinstance(item, int):
                raise UnfitError(f"it holds a {type(item).__name__}, which no document does")
            if not -_LARGEST_INTEGER <= item < _LARGEST_INTEGER:
                raise UnfitError("it holds an integer of more than 64 bits")


def _checked_blobs(content: dict[str, Any], blobs: Any) -> dict[str, Any]:
    """Return the large data of a job by its identity; refuse what is missing or of another job."""
    if not isinstance(blobs, list):
        raise UnfitError("its arrays are not a list")
    data: dict[str, Any] = {}
    for blob in blobs:
        _check_plain(blob, _names_unfinished(content))
        if not isinstance(blob, dict) or not {"blob_uuid", "job_uuid", "job_index", "data"} <= set(blob) <= _OF_A_BLOB:
            raise UnfitError("its arrays have other fields than arrays have")
        identity = blob["blob_uuid"]
        if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity) or identity in data:
            raise UnfitError("two of its arrays have one identity, or one has none")
        if (blob["job_uuid"], blob["job_index"]) != (content["uuid"], content["index"]):
            raise UnfitError("its arrays are of another job")
        data[identity] = blob["data"]
    for identity in _references(content["output"]):
        if identity not in data:
            raise UnfitError(f"its arrays {identity!r:.50} are missing")
    return data


def _references(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "blob_uuid" in item:
                yield item["blob_uuid"] if isinstance(item["blob_uuid"], str) else repr(item["blob_uuid"])
            else:
                waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _resolved(value: Any, data: dict[str, Any]) -> Any:
    """Return a value with its large data in place of references to them."""
    if isinstance(value, dict):
        if "blob_uuid" in value:
            return data[value["blob_uuid"]]
        return {key: _resolved(item, data) for key, item in value.items()}
    return [_resolved(item, data) for item in value] if isinstance(value, list) else value


def _validated(output: dict[str, Any], class_name: Any) -> Document:
    name = output["doc_type"]
    kind = _document_class(name) if isinstance(name, str) else None
    if kind is None or class_name != name:
        raise UnfitError(f"its 'doc_type' is {name!r:.40}, its class {class_name!r:.40}")
    version = output.get("schema_version")
    if issubclass(kind, ComputedDoc) and (
        isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION
    ):
        raise UnfitError(
            f"its schema has version {version!r:.40}, this anodeflow knows 1 to {SCHEMA_VERSION}: update anodeflow"
        )
    _check_types(output)
    try:
        return kind.model_validate(output)
    except Exception as error:  # whatever pymatgen makes of a stranger's structure
        why = " ".join(str(error).split())
        raise UnfitError(f"it is not a {name} ({why[:160]})") from None


# Fields that pydantic would make numbers of, or numbers that it would make flags of.
_NUMBERS = re.compile(r".*_(ev|gpa|angstrom|s|k|ps|fs|v)|charge|ionic_steps|steps|frames|seed")


def _check_types(output: dict[str, Any]) -> None:
    for key, value in output.items():
        if key == "converged" and not isinstance(value, bool):
            raise UnfitError(f"'{key}' is {value!r:.40}")
        if _NUMBERS.fullmatch(key) and isinstance(value, str | bool):
            raise UnfitError(f"'{key}' is {value!r:.40}, not a number")


@cache
def _document_class(name: str) -> type[Document] | None:
    for module, names in DOCUMENT_CLASSES.items():
        if name in names:
            return cast("type[Document]", getattr(importlib.import_module(module), name))
    return None
