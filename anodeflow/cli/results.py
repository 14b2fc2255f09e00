"""`anodeflow results`: the results store as rows of a table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.options import json_option, store_option
from anodeflow.errors import InputError
from anodeflow.lithium_states import STATES
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.studies.registry import STUDIES, Table, load, tables
from anodeflow.workflows.studies.stored import hash_of_file, names_a_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobflow import JobStore
    from maggma.core import Store
    from pandas import DataFrame

_SCREENFUL = 200
_DEFAULT, _CALCULATIONS = "binding", "calculations"

_OPERATORS = {
    "$and", "$or", "$nor", "$not", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex",
    "$options", "$elemMatch", "$size", "$all", "$type", "$mod",
}  # fmt: skip


@click.command()
@store_option
@click.option(
    "--what",
    "name",
    type=click.Choice(list(tables())),
    help="Which table.  [default: the first of --study's kind, else binding]",
)
@click.option("--fields", "list_fields", is_flag=True, help="List what --query may name for this table.")
@click.option("--crystal", help="Only this host.")
@click.option("--environment", type=click.Choice(["bulk", "surface"]), help="Only Li in crystals, or only on surfaces.")
@click.option("--state", type=click.Choice(STATES), help="Only Li in this state.")
@click.option("--engine", help="Only this engine.")
@click.option("--card", help="Only this method card.")
@click.option("--study", "study_hash", help="Only this study: its file, or the first digits of its hash.")
@click.option("--tag", help="Only studies that were submitted with this tag.")
@click.option(
    "--since", type=click.DateTime(), help="Only what was finished since then, by the clock that computed it."
)
@click.option("--until", type=click.DateTime(), help="Only what was finished before then.")
@click.option("--converged/--unconverged", default=None, help="Only what did, or did not, converge.")
@click.option("--query", help="A Mongo-style filter on the stored documents, as JSON.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many rows.  [default: all; {_SCREENFUL} in a table]")
@click.option("--distinct", is_flag=True, help="One row where several studies hold the same.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@json_option
def results(
    store: Path,
    name: str | None,
    list_fields: bool,
    as_json: bool,
    as_csv: bool,
    distinct: bool,
    limit: int | None,
    **filters: Any,
) -> None:
    """Query the results store, newest first."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other", "leave one out")
    if list_fields:
        _print_fields(tables()[name or _DEFAULT], as_json)
        return
    from anodeflow.cli.output.console import print_csv
    from anodeflow.cli.output.tables import print_rows
    from anodeflow.workflows.store import open_documents, store_shown

    documents = open_documents(store)
    if filters["study_hash"] is not None and names_a_file(filters["study_hash"]):
        filters["study_hash"] = hash_of_file(documents, filters["study_hash"])
    name = name or _first_table(documents, filters["study_hash"])
    # One row more than is shown tells whether there are more.
    most = limit or (None if as_json or as_csv else _SCREENFUL)
    rows = rows_of(documents, name, limit=most + 1 if most and not distinct else None, **filters)
    if distinct:
        rows = distinct_rows(rows)
    if as_csv:
        print_csv(rows[:limit], empty=tables()[name].columns)
        click.echo(f"{name}: {len(rows[:limit])} rows as CSV", err=True)
        return
    if most and len(rows) > most:
        del rows[most:]
        if limit is None:
            click.echo(f"the newest {most}; --limit shows more, --csv and --json all", err=True)
    absent = [key for key in tables()[name].sometimes if all(row.get(key) is None for row in rows)]
    columns = tuple(key for key in tables()[name].columns if key not in absent)
    if any(row.get("imported") for row in rows):
        columns = (*columns, "imported")
    print_rows(
        rows, as_json, empty="" if rows else _why_empty(documents, name, store_shown(store), filters), columns=columns
    )


def distinct_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest of rows that say the same but for the study, when it ended and where it came from."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        same = {key: value for key, value in row.items() if key not in ("study_hash", "completed_at", "imported")}
        first.setdefault(json.dumps(same, sort_keys=True, default=str), row)
    return list(first.values())


def _why_empty(store: JobStore | Store, name: str, where: str, filters: dict[str, Any]) -> str:
    """Return why a table has no rows: what the filters left out, or what the store holds in its place."""
    asked = {"study_hash": "study"}
    given = [f"--{asked.get(key, key)} {value}" for key, value in filters.items() if value is not None]
    if given and rows_of(store, name, limit=1):
        return f"nothing in {where} matches {' '.join(given)} in the table {name}"
    stored = store.count({"index": 1, "output.doc_type": "CalculationDoc"})
    if not stored:
        return f"{where}: nothing is stored yet"
    kinds = dict.fromkeys(row["study"] for row in rows_of(store, "studies"))
    others = [f"--what {load(kind.results)[0].name}" for kind in STUDIES if kind.name in kinds and kind.results]
    text = f"{where}: {stored} calculations stored, no rows of --what {name} yet"
    return f"{text}; there are {', '.join([*(o for o in others if o != f'--what {name}'), f'--what {_CALCULATIONS}'])}"


def _print_fields(table: Table, as_json: bool) -> None:
    from anodeflow.cli.output.tables import print_rows
    from anodeflow.cli.query_fields import query_fields

    rows = [{"field": key, "holds": text} for key, text in query_fields(table).items()]
    print_rows(rows, as_json, empty="", columns=("field", "holds"))


def _first_table(store: JobStore | Store, study: str | None) -> str:
    """Return the first table with rows of a study, given by its hash; the default where none or no kind is known."""
    if study is None:
        return _DEFAULT
    summary = store.query_one({"metadata.study_hash": {"$regex": f"^{_hex(study)}"}}, ["metadata.study"])
    kind = summary["metadata"].get("study") if summary else None
    tables_of_kind = [t.name for k in STUDIES if k.name == kind and k.results for t in load(k.results)]
    filled = (table for table in tables_of_kind if rows_of(store, table, study_hash=study, limit=1))
    return next(filled, tables_of_kind[0] if tables_of_kind else _DEFAULT)


def frame(store: str | Path, name: str = _DEFAULT, **filters: Any) -> DataFrame:
    """Return one table of a store as a pandas DataFrame.

    Parameters
    ----------
    store
        Results file, database or cluster folder.
    name
        Name of the table, as ``anodeflow results --what`` has it.
    **filters
        See :func:`rows_of`.

    Returns
    -------
    DataFrame
        One row each, newest first; empty with the table's columns where there is none.

    Raises
    ------
    InputError, StoreError
        If the table does not exist, a filter says nothing of it, or the store cannot be read.
    """
    import pandas

    from anodeflow.workflows.store import open_documents

    if name not in tables():
        raise InputError(f"no table '{name}'", f"known: {', '.join(tables())}")
    rows = rows_of(open_documents(Path(store)), name, **filters)
    return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=list(tables()[name].columns))


# long: a third or more of it is documentation
def rows_of(
    store: JobStore | Store,
    name: str,
    *,
    crystal: str | None = None,
    environment: str | None = None,
    state: str | None = None,
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
    """Return rows of one table, newest first.

    Each row is flat but for its notes, so ``pandas.DataFrame(rows_of(store, "binding"))`` is a table.

    Parameters
    ----------
    store
        An open store: of jobs, or of their documents alone.
    name
        Name of the table: see :func:`anodeflow.workflows.studies.registry.tables`.
    crystal, environment, state, engine, card, study_hash
        Only these; of descriptors, those with this crystal or state on either side.
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

    Returns
    -------
    list of dict
        One row each.

    Raises
    ------
    InputError
        If ``query`` is not a JSON object, or the table knows no states.
    """
    table = tables()[name]
    if state is not None and not table.state_columns:
        known = ", ".join(other.name for other in tables().values() if other.state_columns)
        raise InputError(f"--state says nothing of --what {name}", f"ask for {known}")
    if crystal is not None and not (table.by_crystal or table.crystal_columns):
        raise InputError(f"--crystal says nothing of --what {name}", "leave it out")
    if environment is not None and not (table.by_environment or table.environment_column):
        raise InputError(f"--environment says nothing of --what {name}", "leave it out")
    # A host's document also stands under the job that asked for it (index 2): count it once.
    criteria: dict[str, Any] = {"index": 1}
    criteria |= {"metadata.label": SUMMARY} if table.doc_type is None else {"output.doc_type": table.doc_type}
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
        known = hash_of_file(store, study_hash) if names_a_file(study_hash) else study_hash
        criteria["metadata.study_hash"] = known if len(known) == 16 else {"$regex": f"^{_hex(known)}"}
    if query is not None:
        from anodeflow.cli.query_fields import check_fields  # its library of models takes longer than --help may

        asked = _filter(query)
        check_fields(asked, table)
        criteria = {"$and": [criteria, asked]}
    fields: Any = [*(f"output.{key}" for key in table.fields), *_FIELDS_OF_JOBS] if table.fields else None
    # One document may give many rows, and some of them are left out below.
    left_out = state is not None or (table.convergence == "row" and converged is not None)
    at_once = 0 if left_out else limit or 0
    try:
        documents = list(store.query(criteria, fields, sort={"completed_at": -1}, limit=at_once))
    except (TypeError, ValueError, AttributeError, re.error, RecursionError) as error:
        if query is None:
            raise
        raise InputError(f"--query cannot be used: {error}", "check the operators and their values") from None
    imported = _imported(store)
    rows = [{**row, **_common(doc), **imported(doc)} for doc in documents for row in table.rows(doc["output"])]
    if converged is not None and table.convergence == "row":
        rows = [row for row in rows if (row[table.converged_column] in (True, "converged")) is converged]
    if environment is not None and table.environment_column is not None:
        rows = [row for row in rows if row[table.environment_column] == environment]
    if state is not None:
        rows = [row for row in rows if state in (row[column] for column in table.state_columns)]
    if crystal is not None and table.crystal_columns:
        rows = [row for row in rows if crystal in (row[column] for column in table.crystal_columns)]
    return rows[:limit] if limit else rows


# What every table says of a document besides its own columns.
_FIELDS_OF_JOBS = ("metadata.study_hash", "metadata.imported", "completed_at")


def _imported(store: JobStore | Store) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what tells the column ``imported`` of a document: empty where the store holds nothing imported."""
    from anodeflow.workflows.store import imported_by_study

    studies = imported_by_study(store)

    def column(doc: dict[str, Any]) -> dict[str, Any]:
        metadata = doc.get("metadata", {})
        mark = metadata.get("imported")
        if mark is not None:
            return {"imported": mark["archive_sha256"][:12]}
        marks = studies.get(metadata.get("study_hash"), [])
        archives = dict.fromkeys(mark["archive_sha256"][:12] for mark in marks)
        return {"imported": f"rests on {', '.join(archives)}" if archives else None}

    return column if studies else lambda doc: {}


def _convergence(table: Table, converged: bool) -> dict[str, Any]:
    """Return criteria of documents that did, or did not, converge."""
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
        criteria = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--query is not JSON: {error}", """e.g. '{"output.energy_ev": {"$lt": -100}}'""") from None
    if not isinstance(criteria, dict):
        raise InputError(f"--query is a {type(criteria).__name__}, not an object", 'e.g. \'{"name": "summary"}\'')
    _check_operators(criteria)
    return criteria


def _check_operators(part: Any) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            if key.startswith("$") and key not in _OPERATORS:
                raise InputError(f"--query: unknown operator '{key}'", f"known: {', '.join(sorted(_OPERATORS))}")
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
        "engine_version": engine.get("version"),
        "card": card.get("name"),
        **({"dispersion": card["dispersion"]} if card.get("dispersion") else {}),
        "study_hash": doc.get("metadata", {}).get("study_hash"),
        "completed_at": doc.get("completed_at"),
    }
