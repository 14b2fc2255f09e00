"""A study in a store, given by its file, its hash or the first digits of it; its engine need not be there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.store.fields import SUMMARY

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store

    from anodeflow.workflows.studies.base import Study

_HASH = re.compile(r"[0-9a-f]{4,16}")
_SEE = "see anodeflow results --what studies"


def finished_study(store: JobStore | Store, study: str, shown: str) -> str:
    """Return the hash of a finished study.

    Parameters
    ----------
    store
        Where it is.
    study
        Its file, its hash or the first four digits of it or more.
    shown
        The store, for messages.

    Raises
    ------
    InputError
        If there is none, or several begin so.
    """
    if names_a_file(study):
        known = hash_of_file(store, study)
        wanted: Any = known
        remedy = f"run it first: anodeflow run {study}"
    elif _HASH.fullmatch(study):
        wanted, remedy = (study if len(study) == 16 else {"$regex": f"^{study}"}), _SEE
    else:
        raise InputError(f"'{study[:80]}' is not a study file or a hash", _SEE)
    finished = store.query({"metadata.study_hash": wanted, "metadata.label": SUMMARY, "index": 1}, ["metadata"])
    hashes = sorted({str(job["metadata"]["study_hash"]) for job in finished})
    if not hashes:
        raise InputError(f"no finished study '{study}' in {shown}", remedy)
    if len(hashes) > 1:
        raise InputError(f"'{study}' begins the hashes of {len(hashes)} studies", f"give more: {', '.join(hashes)}")
    return hashes[0]


def names_a_file(study: str) -> bool:
    """Return whether a study is given by its file."""
    try:
        return Path(study).suffix.lower() in {".yaml", ".yml"} or Path(study).exists()
    except OSError:  # no name of a file
        return False


def hash_of_file(store: JobStore | Store, file: str) -> str:
    """Return the hash of a study file; where its engine is not here, that of the stored study which says the same.

    A hash holds versions and digests of the engine's potentials, which only a machine with the engine knows. The stored
    study has the same engine, card and settings; a crystal's file is known by its name alone.

    Parameters
    ----------
    store
        Where it may be.
    file
        The study file.

    Raises
    ------
    EngineError
        If the engine is not here and the store holds no such study.
    InputError
        If the file is wrong, or several stored studies say the same.
    """
    from anodeflow.workflows.studies.base import read_study

    study = read_study(file)
    try:
        known = study.hash
        if not study.missing():
            return known
    except EngineError as error:
        alike = _alike(store, study)
        if not alike:
            raise EngineError(f"{file}: {error.problem}, and no stored study says the same", error.remedy) from None
    else:
        alike = {known} if store.query_one({"metadata.study_hash": known}, ["uuid"]) else _alike(store, study)
        if not alike:
            return known
    if len(alike) > 1:
        raise InputError(f"{file}: {len(alike)} stored studies say the same", f"give one: {', '.join(sorted(alike))}")
    return alike.pop()


def _alike(store: JobStore | Store, study: Study) -> set[str]:
    """Return the hashes of finished studies with the engine, the card and the settings of one."""
    criteria = {"metadata.label": SUMMARY, "output.study": study.kind, "output.engine.name": study.engine}
    settings = json.loads(json.dumps(study.model_dump(mode="json")))
    return {
        str(job["metadata"]["study_hash"])
        for job in store.query(criteria, ["metadata", "output"])
        if job["output"]["card"]["hash"] == study.method.hash and _same(settings, job["output"]["settings"])
    }


def _same(ours: Any, other: Any) -> bool:
    """Return whether settings agree in all that both versions of the program know; a title says nothing."""
    if isinstance(ours, dict) and isinstance(other, dict):
        return all(_same(ours[key], other[key]) for key in ours.keys() & other.keys() - {"title"})
    if isinstance(ours, list) and isinstance(other, list):
        return len(ours) == len(other) and all(map(_same, ours, other))
    return bool(ours == other)
