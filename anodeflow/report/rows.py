"""Tables of a report: rows as ``anodeflow results`` has them, with units in the heads and links to calculations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from anodeflow.columns import cell_text, head
from anodeflow.report.record import StudyRecord
from anodeflow.workflows.studies.tables import TABLES as SHARED_TABLES

# What every row of one study says in the same way.
_COMMON = {"study_hash", "engine", "engine_kind", "engine_version", "card", "dispersion", "completed_at", "doc_type"}


@dataclass(frozen=True)
class Cell:
    """One cell: what it shows, what it is sorted by, and the calculations it names.

    Parameters
    ----------
    text
        What stands in it.
    value
        A number in full, where it is one.
    links
        Fingerprints of calculations of this report.
    """

    text: str
    value: str | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column: its name in documents, its head, and whether it is shown from the beginning."""

    name: str
    head: str
    numeric: bool
    shown: bool


@dataclass(frozen=True)
class PageTable:
    """One table of a page."""

    name: str
    columns: list[Column]
    rows: list[list[Cell]]


def tables_of(record: StudyRecord) -> list[PageTable]:
    """Return the tables of the study's kind that have rows; each row with the calculations it rests on."""
    known, page_tables = set(record.computed), []
    checks = [table for table in SHARED_TABLES if table.doc_type == "CheckDoc"]
    for table in (*record.kind.tables, *checks):
        rows = []
        for output in record.outputs(table.doc_type):
            rests_on = tuple(sorted(_fingerprints_in(output, known)))
            for row in table.rows(output):
                own = _fingerprints_in(row, known)
                rows.append({**row, "rests_on": list(own or rests_on)})
        if rows:
            page_tables.append(page_table(table.name, rows, known, first=table.columns))
    return page_tables


def page_table(name: str, rows: list[dict[str, Any]], known: set[str], first: Iterable[str] = ()) -> PageTable:
    """Return rows as a table.

    Parameters
    ----------
    name
        Its heading.
    rows
        One dictionary each.
    known
        Fingerprints that can be linked to.
    first
        Columns to show from the beginning, and first; by default all.

    Returns
    -------
    PageTable
        Without columns that are empty in every row.
    """
    wanted = [key for key in first if key not in _COMMON]
    every = list(dict.fromkeys([*wanted, *(key for row in rows for key in row)]))
    names = [key for key in every if key not in _COMMON and any(row.get(key) not in (None, "", [], {}) for row in rows)]
    shown = {*wanted, "rests_on", "error", "warnings"} if wanted else set(names)
    columns = [Column(key, head(key), any(_is_number(row.get(key)) for row in rows), key in shown) for key in names]
    return PageTable(
        name.replace("-", " "), columns, [[_cell(key, row.get(key), known) for key in names] for row in rows]
    )


def _cell(name: str, value: Any, known: set[str]) -> Cell:
    """Return a value of a row as a cell."""
    links = tuple(sorted(_fingerprints_in(value, known)))
    if links and isinstance(value, str | list | dict):
        return Cell("", links=links)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if _is_number(value):
        return Cell(cell_text(name, value).replace("-", "−"), value=repr(value))
    if value is None or value in ("", [], {}):
        return Cell("–")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return Cell("; ".join(value))
    return Cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _fingerprints_in(value: Any, known: set[str]) -> set[str]:
    """Return the known fingerprints anywhere in a value."""
    fingerprints, waiting = set(), [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, str) and item in known:
            fingerprints.add(item)
    return fingerprints


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
