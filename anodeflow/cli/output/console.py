"""JSON, CSV and the terminal itself."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

# Wide enough for every table where the output is not a terminal but a file or a pipe.
_FILE_WIDTH = 150
_WIDE = "anodeflow.wide"
_WIDEST = 400


def console() -> Console:
    """Return the terminal, or something as wide as every table where there is none, or with --wide."""
    from rich.console import Console

    terminal = Console()
    if wide():
        return Console(width=max(terminal.width, _WIDEST))
    return terminal if terminal.is_terminal else Console(width=_FILE_WIDTH)


def wide() -> bool:
    """Return whether the command was called with --wide."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_WIDE))


def widen(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Note that the command was called with --wide."""
    if value:
        context.meta[_WIDE] = True


def print_json(data: Any) -> None:
    """Print JSON with two spaces, keys in the order given; a number that is not finite becomes null."""
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(data), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    click.echo(text)


def _without_nan(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    return [_without_nan(item) for item in data] if isinstance(data, list | tuple) else data


def print_csv(rows: list[dict[str, Any]], empty: Sequence[str] = ()) -> None:
    """Print rows as CSV with every column, lists as JSON; without rows, a head with the columns ``empty``."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or empty
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
            for name, value in row.items()
        })  # fmt: skip
