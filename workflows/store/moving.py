"""Copying a study from one store to another, the embedded one or one on a server, and making sure of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util
from jobflow import JobStore

from anodeflow.errors import StoreError
from anodeflow.files import sha256
from anodeflow.workflows.store.archive_documents import MARK
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.store.opening import open_job_store

DATA = "data"
_AT_A_TIME = 100
_OWN = ("_id",)


@dataclass(frozen=True)
class MoveReport:
    """What was copied."""

    study_hash: str
    documents: int
    blobs: int
    copied: int

    @property
    def already_there(self) -> int:
        """Documents and blobs that the target held before, the same."""
        return self.documents + self.blobs - self.copied


def _document_digest(document: dict[str, Any]) -> str:
    """SHA-256 of a document, whichever store it comes from, and whether or not it was imported there."""
    plain = without_mark({key: value for key, value in document.items() if key not in _OWN})
    text = json_util.dumps(_plain(plain), sort_keys=True, json_options=json_util.RELAXED_JSON_OPTIONS)
    return sha256(text)


def without_mark(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the note from which archive it was imported here."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or MARK not in metadata:
        return document
    return {**document, "metadata": {key: value for key, value in metadata.items() if key != MARK}}


def _plain(value: Any) -> Any:
    """Numbers as JSON would give them back: a whole float and an integer differ in BSON, not in meaning."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def study_documents(store: JobStore, study_hash: str) -> Iterator[dict[str, Any]]:
    """Documents of all jobs of a study, the summary last."""
    criteria = {"metadata.study_hash": study_hash}
    # A job's identity is short; documents are fetched one at a time.
    keys = [(d["metadata"].get("label") == SUMMARY, d["uuid"], d["index"])
            for d in store.docs_store.query(criteria, properties=["uuid", "index", "metadata"])]  # fmt: skip
    for _, uuid, index in sorted(keys):
        document = store.docs_store.query_one({"uuid": uuid, "index": index})
        if document is not None:
            yield {key: value for key, value in document.items() if key not in _OWN}


def study_blobs(store: JobStore, documents: list[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Large data of the jobs with these uuids and indexes."""
    stores: Any = store
    data = stores.additional_stores.get(DATA)
    if data is None:
        return
    wanted = set(documents)
    uuids = sorted({uuid for uuid, _ in documents})
    for start in range(0, len(uuids), _AT_A_TIME):
        for blob in data.query({"job_uuid": {"$in": uuids[start : start + _AT_A_TIME]}}):
            if (blob["job_uuid"], blob["job_index"]) in wanted:
                yield {key: value for key, value in blob.items() if key not in _OWN}


def move_study(source: str | Path | JobStore, target: str | Path | JobStore, study_hash: str) -> MoveReport:
    """Copy every document of a study, and its large data, from one store to another; what is there stays as it is.

    The summary is copied last, so that an interrupted copy is not taken for a finished study. Doing it again
    copies what is missing.

    Parameters
    ----------
    source, target
        Open stores, or what `open_job_store` opens.
    study_hash
        Of the study.

    Raises
    ------
    StoreError
        If the source has no such study, the target holds other documents under the same identities, or what was
        written does not read back the same.
    """
    origin: Any = source if isinstance(source, JobStore) else open_job_store(source, must_exist=True, read_only=True)
    goal: Any = target if isinstance(target, JobStore) else open_job_store(target)
    keys = [(d["uuid"], d["index"]) for d in origin.docs_store.query({"metadata.study_hash": study_hash},
                                                                     properties=["uuid", "index"])]  # fmt: skip
    if not keys:
        raise StoreError(f"no study {study_hash} in {origin.docs_store.name}", "see anodeflow results --what studies")
    blobs = copied = 0
    for blob in study_blobs(origin, keys):
        blobs += 1
        copied += put_same(goal.additional_stores[DATA], blob, ("blob_uuid",))
    documents = 0
    for document in study_documents(origin, study_hash):
        documents += 1
        copied += put_same(goal.docs_store, document, ("uuid", "index"))
    there = goal.docs_store.count({"metadata.study_hash": study_hash})
    if documents != len(keys) or there < documents:
        raise StoreError(
            f"{there} of {len(keys)} documents of study {study_hash} arrived in {goal.docs_store.name}",
            "the source changed meanwhile: copy it again",
        )
    return MoveReport(study_hash, documents, blobs, copied)


def is_there(store: Any, document: dict[str, Any], key: tuple[str, ...]) -> bool:
    """Return whether a store holds a document already, imported or not.

    Parameters
    ----------
    store
        One collection.
    document
        The document.
    key
        The fields that identify it.

    Raises
    ------
    StoreError
        If it holds another one with the same identity.
    """
    identity = {name: document[name] for name in key}
    earlier = store.query_one(identity)
    if earlier is None:
        return False
    if _document_digest(earlier) == _document_digest(document):
        return True
    shown = ", ".join(f"{name} {value}" for name, value in identity.items())
    raise StoreError(
        f"{store.name} holds another document with {shown}",
        "it was computed twice; keep one of them (remove_docs) and copy again",
    )


def put_same(store: Any, document: dict[str, Any], key: tuple[str, ...]) -> bool:
    """Write a document and read it back; False where the same one is there already.

    Parameters
    ----------
    store, document, key
        As for :func:`is_there`.

    Raises
    ------
    StoreError
        If another one is there, or what is read back differs.
    """
    if is_there(store, document, key):
        return False
    identity = {name: document[name] for name in key}
    store.update([document], list(key))
    stored = store.query_one(identity)
    if stored is None or _document_digest(stored) != _document_digest(document):
        shown = ", ".join(f"{name} {value}" for name, value in identity.items())
        raise StoreError(f"{store.name}: the document with {shown} does not read back the same", "check the server")
    return True
