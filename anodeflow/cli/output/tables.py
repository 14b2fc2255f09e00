"""Tables, and the parts that the output of every study shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anodeflow.cli.output.console import print_json, wide
from anodeflow.cli.output.grid import Grid, say
from anodeflow.columns import cell_text, head

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc

# Columns that say the same of most rows: they go into a line below the table where all rows agree.
_SHARED = ("engine", "card", "study_hash", "completed_at", "imported", "environment", "charge", "kpoints")


def new_table(columns: Iterable[str], right: Sequence[str] = (), spare: Sequence[str] = ()) -> Grid:
    """Return an empty table; ``spare`` names the columns a narrow terminal does without, the first one first."""
    return Grid(columns, right, spare, context=spare)


def print_rows(
    rows: list[dict[str, Any]],
    as_json: bool,
    empty: str = "nothing found",
    columns: tuple[str, ...] | None = None,
    heads: Mapping[str, str] | None = None,
) -> None:
    """Print rows as JSON with everything, or as a table that fits the terminal.

    Parameters
    ----------
    rows
        One dictionary each.
    as_json
        JSON instead of a table.
    empty
        What to say when there is none.
    columns
        Those of the table, the ones that matter most first; by default all of the first row with one value a cell.
    heads
        Of columns whose names do not say it; the others are made of the names, with units.
    """
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(empty)
        return
    shown = list(columns or [key for key in rows[0] if not isinstance(rows[0][key], list | dict)])
    cells = {name: [cell_text(name, row.get(name)) for row in rows] for name in shown}
    shared = [name for name in shown if name in _SHARED and len(set(cells[name])) == 1] if len(rows) > 1 else []
    if not wide():
        shown = [name for name in shown if name not in shared]
    named = {name: (heads or {}).get(name) or head(name) for name in shown}
    spare = [named[name] for name in reversed(shown[2:])]
    context = [named[name] for name in shown if name in _SHARED]
    table = Grid(named.values(), spare=sorted(spare, key=lambda name: name not in context), context=context)
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*row)
    table.print()
    same = [f"{(heads or {}).get(name) or head(name)} {cells[name][0]}" for name in shared if cells[name][0] != "–"]
    if same and not wide():
        say(f"all rows: {', '.join(same)}")


def number(value: float | None, digits: int = 3, error: float | None = None) -> str:
    """Return a number with so many decimals and its standard error, or a dash.

    Parameters
    ----------
    value
        None becomes a dash.
    digits
        Decimals.
    error
        Standard error, where there is one.

    Returns
    -------
    str
        For a cell of a table.

    Examples
    --------
    >>> number(1.23456), number(1.5, 1, 0.25), number(None)
    ('1.235', '1.5 ± 0.2', '–')
    """
    if value is None:
        return "–"
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def interval(value: float | None, limits: tuple[float, float] | None, factor: float = 1.0) -> str:
    """Return a number with its confidence interval, both times a factor, or a dash.

    Parameters
    ----------
    value
        None becomes a dash.
    limits
        Of the interval, where there is one.
    factor
        1000 prints thousandths of the unit.

    Returns
    -------
    str
        For a cell of a table.
    """
    if value is None:
        return "–"
    text = f"{factor * value:.3f}"
    return text if limits is None else f"{text} [{factor * limits[0]:.3f}, {factor * limits[1]:.3f}]"


def print_heading(document: StudyDoc) -> None:
    """Print title, engine and card of a study."""
    engine = document.engine
    say(f"\n{document.title or document.study}")
    say(f"{engine.name} ({engine.kind}, {engine.version}), card {document.cards_text}")


def print_footing(document: StudyDoc) -> None:
    """Print what a study rests on, and its hash."""
    for source in document.sources:
        say(f"rests on: {source}")
    say(f"Study {document.study_hash}.")
