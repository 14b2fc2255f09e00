"""The results store as rows of a table."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from jobflow import JobStore

from anodeflow.errors import InputError
from anodeflow.workflows.studies.registry import Table, tables

OPERATORS = {
    "$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex",
    "$options", "$elemMatch", "$size", "$all", "$type", "$mod",
}  # fmt: skip


def study_hash_of(study: str) -> str:
    """The hash of a study given by its file or by the hash itself."""
    if Path(study).suffix in {".yaml", ".yml"} or Path(study).exists():
        from anodeflow.workflows.studies import load_study

        return load_study(study).hash
    return study


def rows_of(
    store: JobStore,
    what: str,
    *,
    crystal: str | None = None,
    environment: str | None = None,
    engine: str | None = None,
    card: str | None = None,
    study_hash: str | None = None,
    tag: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    converged: bool | None = None,
    query: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of one table, newest first.

    Each row is flat but for its notes, so ``pandas.DataFrame(rows_of(store, "binding"))`` is a table.

    Parameters
    ----------
    store
        An open store.
    what
        Name of the table: see :func:`anodeflow.workflows.studies.registry.tables`.
    crystal, environment, engine, card, study_hash
        Only these; of descriptors, those with this crystal on either side.
    tag
        Only of studies that were submitted with this tag.
    since, until
        Only what was finished in between, by the clock of the machine that computed it.
    converged
        Only what did, or did not, converge.
    query
        A Mongo-style filter on the stored documents, as JSON.
    limit
        At most so many rows.

    Raises
    ------
    InputError
        If ``query`` is not a JSON object.
    """
    table = tables()[what]
    # A host's document also stands under the job that asked for it (index 2): count it once.
    criteria: dict[str, Any] = {"index": 1}
    criteria |= {"metadata.label": "summary"} if table.doc_type is None else {"output.doc_type": table.doc_type}
    wanted = {"output.engine.name": engine, "output.card.name": card}
    if table.by_crystal:
        wanted["output.crystal"] = crystal
    if table.by_environment:
        wanted["output.environment"] = environment
    wanted["metadata.tags"] = tag
    if converged is not None:
        criteria |= _convergence(table, converged)
    criteria |= {key: value for key, value in wanted.items() if value is not None}
    if since is not None or until is not None:
        # Times are stored as text, which sorts as they do.
        limits = {"$gte": since, "$lt": until}
        criteria["completed_at"] = {key: value.isoformat() for key, value in limits.items() if value is not None}
    if study_hash is not None:
        known = study_hash_of(study_hash)
        criteria["metadata.study_hash"] = known if len(known) == 16 else {"$regex": f"^{_hex(known)}"}
    if query is not None:
        criteria = {"$and": [criteria, _filter(query)]}
    fields: Any = [*(f"output.{key}" for key in table.fields), *_FIELDS_OF_JOBS] if table.fields else None
    # One document may give many rows, and some of them are left out below.
    at_once = 0 if table.convergence == "row" and converged is not None else limit or 0
    try:
        documents = list(store.query(criteria, fields, sort={"completed_at": -1}, limit=at_once))
    except (TypeError, ValueError, AttributeError, re.error, RecursionError) as error:
        if query is None:
            raise
        raise InputError(f"--query cannot be used: {error}", "check the operators and their values") from None
    rows = [{**row, **_common(doc)} for doc in documents for row in table.rows(doc["output"])]
    if converged is not None and table.convergence == "row":
        rows = [row for row in rows if (row[table.converged_column] in (True, "converged")) is converged]
    if environment is not None and table.environment_column is not None:
        rows = [row for row in rows if row[table.environment_column] == environment]
    if crystal is not None and table.crystal_columns:
        rows = [row for row in rows if crystal in (row[column] for column in table.crystal_columns)]
    return rows[:limit] if limit else rows


# What every table says of a document besides its own columns.
_FIELDS_OF_JOBS = ("metadata.study_hash", "completed_at")


def _convergence(table: Table, converged: bool) -> dict[str, Any]:
    """Criteria of documents that did, or did not, converge."""
    match table.convergence:
        case "converged":
            return {"output.converged": converged}
        case "row":
            return {}
        case "error":
            return {"output.error": None if converged else {"$ne": None}}
    raise InputError(f"--converged says nothing of --what {table.name}", "ask for binding, sites or calculations")


def _hex(text: str) -> str:
    if not text or any(c not in "0123456789abcdef" for c in text):
        raise InputError(f"study '{text}' is neither a file nor a hash", "see anodeflow results --what studies")
    return text


def _filter(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--query is not JSON: {error}", """e.g. '{"output.energy_ev": {"$lt": -100}}'""") from None
    if not isinstance(found, dict):
        raise InputError(f"--query is a {type(found).__name__}, not an object", 'e.g. \'{"name": "summary"}\'')
    _check_operators(found)
    return found


def _check_operators(part: Any) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            if key.startswith("$") and key not in OPERATORS:
                raise InputError(f"--query: unknown operator '{key}'", f"known: {', '.join(sorted(OPERATORS))}")
            _check_operators(value)
    elif isinstance(part, list):
        for item in part:
            _check_operators(item)


def _common(doc: dict[str, Any]) -> dict[str, Any]:
    output = doc["output"]
    engine = output.get("engine") or {}
    card = output.get("card") or {}
    return {
        "engine": f"{engine['name']} (STAND-IN)" if engine.get("stand_in") else engine.get("name"),
        "engine_kind": engine.get("kind"),
        "card": card.get("name"),
        "study_hash": doc.get("metadata", {}).get("study_hash"),
        "completed_at": doc.get("completed_at"),
    }
