"""A table that fits the terminal: columns it can spare are left out and named, long remarks stand below."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

import click

from anodeflow.cli.output.console import console, wide

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Columns of remarks: what is longer than a few words stands below the table.
_REMARKS = ("notes", "remarks", "warnings", "error")
_SHORT_REMARK = 14
#: Cells that are rather not broken between words.
_SHORT_CELL = 17
_BETWEEN = 2
#: Longest word that is never broken.
_UNBROKEN = 26
_NUMBER = re.compile(r"[-+−±]?\d[\d.]*([eE][-+]?\d+)?( ± [\d.e+-]+)?( \[[^a-z]*\])?( (%|s|min|h))?$|–$|$")


class Grid:
    """Rows of text under heads.

    Parameters
    ----------
    columns
        Heads; two columns may have the same.
    right
        Heads of columns that stand flush right; columns of numbers alone do in any case.
    spare
        Heads of columns to leave out where the terminal is too narrow, the first one first.
    context
        Those of ``spare`` that go before a short cell is broken into lines.
    """

    def __init__(
        self, columns: Iterable[str], right: Sequence[str] = (), spare: Sequence[str] = (), context: Iterable[str] = ()
    ) -> None:
        self._columns = list(columns)
        self._right, self._context = set(right), set(context)
        self._spare = [name for name in spare if name in self._columns]
        self._rows: list[list[str]] = []
        self._letters: dict[str, str] = {}

    def add_row(self, *cells: str | Sequence[str]) -> None:
        """Add a row; a cell of remarks may be a list of them."""
        named = zip(self._columns, cells, strict=True)
        self._rows.append([self._remarks(cell) if name in _REMARKS else str(cell) for name, cell in named])

    def _remarks(self, cell: str | Sequence[str]) -> str:
        """Return what the table shows of remarks: a letter for each that is long."""
        texts = [cell] if isinstance(cell, str) else cell
        return ", ".join(text if len(text) <= _SHORT_REMARK else self._letter(text) for text in texts if text)

    def _letter(self, text: str) -> str:
        count = len(self._letters)
        return self._letters.setdefault(text, (_LETTERS[count // 26 - 1] if count >= 26 else "") + _LETTERS[count % 26])

    def print(self) -> None:
        """Print the table, the remarks that its letters stand for, and which columns were left out."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        terminal = console()
        kept, widths = self._fitted(terminal.width)
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for index, width in zip(kept, widths, strict=True):
            right = self._columns[index] in self._right or self._is_numeric(index)
            table.add_column(
                Text(self._columns[index]), justify="right" if right else "left", overflow="fold", width=width
            )
        for row in self._rows:
            table.add_row(*(Text(row[index]) for index in kept))
        click.echo()
        terminal.print(table)
        click.echo()
        for text, letter in self._letters.items():
            say(f"{letter}: {text}")
        left_out = [name for index, name in enumerate(self._columns) if index not in kept and self._filled(index)]
        if left_out:
            say(f"not shown: {', '.join(' '.join(name.split()) for name in left_out)}; --wide shows them")

    def _is_numeric(self, index: int) -> bool:
        return any(row[index] for row in self._rows) and all(_NUMBER.match(row[index]) for row in self._rows)

    def _filled(self, index: int) -> bool:
        return any(row[index] not in ("", "–") for row in self._rows)

    def _fitted(self, room: int) -> tuple[list[int], list[int]]:
        """Return the columns that fit, and how wide each is."""
        kept = [index for index, name in enumerate(self._columns) if name not in _REMARKS or self._filled(index)]
        least = {index: self._width(index, broken=True) for index in kept}
        unbroken = {index: self._width(index, broken=True, short=_SHORT_CELL) for index in kept}
        first = [name for name in self._spare if name in self._context]
        for names, widths in ((first, unbroken), (self._spare, least)):
            for name in names:
                index = self._columns.index(name)
                if index in kept and sum(widths[i] + _BETWEEN for i in kept) - _BETWEEN > room and not wide():
                    kept.remove(index)
        widths = {index: least[index] for index in kept}
        left = room - sum(widths[index] + _BETWEEN for index in kept) + _BETWEEN
        # The columns that want least get it first.
        wants = sorted((self._width(index, broken=False) - widths[index], index) for index in kept)
        for position, (want, index) in enumerate(wants):
            given = max(0, min(want, left // (len(wants) - position) if want > left else want))
            widths[index] += given
            left -= given
        return kept, [widths[index] for index in kept]

    def _width(self, index: int, *, broken: bool, short: int = 0) -> int:
        """Return the width of a column, or the least that breaks no word, number with its uncertainty or short cell."""
        numeric = self._is_numeric(index)
        cells = [row[index] for row in self._rows]
        head = [len(line) for line in (self._columns[index].split() if broken else self._columns[index].split("\n"))]
        if not broken or (numeric and max(map(len, cells), default=0) <= _UNBROKEN):
            return max([*head, *map(len, cells), 1])
        parts = [part for cell in cells for part in ([cell] if len(cell) <= short else cell.split())]
        words = [min(len(part), _UNBROKEN) for part in parts]
        return max([*head, *words, 1])


def say(text: str, indent: int = 3) -> None:
    """Print lines of text; on a terminal they are broken between words, and continue so many columns to the right."""
    terminal = console()
    if not terminal.is_terminal or wide():
        click.echo(text)
        return
    wrapper = textwrap.TextWrapper(
        terminal.width, subsequent_indent=indent * " ", break_on_hyphens=False, break_long_words=False
    )
    for line in text.split("\n"):
        click.echo("\n".join(wrapper.wrap(line)))
