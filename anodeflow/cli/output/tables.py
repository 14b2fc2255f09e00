"""Tables, and the parts that the output of every study shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.output.console import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from anodeflow.documents import StudyDoc

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def new_table(columns: Iterable[str], right: Sequence[str] = (), *, fold: bool = True) -> Table:
    """Return an empty table with a line under its head.

    Parameters
    ----------
    columns
        Their names.
    right
        Those of numbers, which stand flush right.
    fold
        Break long cells into lines; else they are cut.

    Returns
    -------
    Table
        Of rich.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold" if fold else "ellipsis")
    return table


def print_rows(
    rows: list[dict[str, Any]],
    as_json: bool,
    empty: str = "nothing found",
    columns: tuple[str, ...] | None = None,
) -> None:
    """Print rows as JSON with everything, or as a table.

    Parameters
    ----------
    rows
        One dictionary each.
    as_json
        JSON instead of a table.
    empty
        What to say when there is none.
    columns
        Those of the table; by default all of the first row with one value a cell.
    """
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(empty)
        return
    shown = columns or [key for key in rows[0] if not isinstance(rows[0][key], list | dict)]
    table = new_table(name.replace("_", " ") for name in shown)
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in shown])
    console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


class SharedWarnings:
    """Warnings of several rows: what more than one row says becomes a letter, explained under the table.

    Parameters
    ----------
    warnings
        Those of each row.
    """

    def __init__(self, warnings: Iterable[Sequence[str]]) -> None:
        every = [warning for row in warnings for warning in row]
        repeated = [warning for warning in dict.fromkeys(every) if every.count(warning) > 1]
        self._letters = dict(zip(repeated, _LETTERS, strict=False))

    def cell(self, warnings: Sequence[str]) -> str:
        """Return what a row shows."""
        return "; ".join(self._letters.get(warning, warning) for warning in warnings)

    def print(self) -> None:
        """Print what the letters stand for."""
        for warning, letter in self._letters.items():
            click.echo(f"{letter}: {warning}")


def print_heading(document: StudyDoc) -> None:
    """Print title, engine and card of a study."""
    engine = document.engine
    click.echo(f"\n{document.title or document.study}")
    click.echo(f"{engine.name} ({engine.kind}, {engine.version}), card {document.cards_text}")


def print_footing(document: StudyDoc) -> None:
    """Print what a study rests on, and its hash."""
    for source in document.sources:
        click.echo(f"rests on: {source}")
    click.echo(f"Study {document.study_hash}.")
