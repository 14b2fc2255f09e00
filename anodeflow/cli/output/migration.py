"""Migration barriers for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from anodeflow.cli.output.tables import _console, _footing, _heading

if TYPE_CHECKING:
    from anodeflow.analysis.migration_documents import MigrationStudyDoc


def print_migration(document: MigrationStudyDoc) -> None:
    """Barriers, one row a hop."""
    _heading(document)
    table = Table(box=SIMPLE_HEAD)
    left = ("path", "hop", "notes")
    for name in ("path", "hop", "d, Å", "from each", "forward, eV", "backward, eV", "± num.", "path, Å", "images",
                 "notes"):  # fmt: skip
        table.add_column(name, overflow="fold", justify="left" if name in left else "right")
    said = [warning for doc in document.barriers for warning in doc.warnings]
    shared = [warning for warning in dict.fromkeys(said) if said.count(warning) > 1]
    letters = dict(zip(shared, "abcdefghijklmnopqrstuvwxyz", strict=False))
    for doc in document.barriers:
        table.add_row(
            f"{doc.crystal}, {doc.mechanism}",
            doc.hop or "–",
            _number(doc.distance_angstrom, 2),
            f"{doc.multiplicity}" if doc.multiplicity else "–",
            _number(doc.forward_ev, 3),
            "same" if doc.converged and doc.symmetric else _number(doc.backward_ev, 3),
            _number(doc.uncertainty_ev, 3),
            _number(doc.path_length_angstrom, 2),
            str(doc.images or "–"),
            doc.error or "; ".join(letters.get(warning, warning) for warning in doc.warnings),
        )
    _console().print(table)
    for warning, letter in letters.items():
        click.echo(f"{letter}: {warning}")
    for mode in dict.fromkeys(doc.charge_mode for doc in document.barriers):
        click.echo(mode[:1].upper() + mode[1:] + ".")
    click.echo("± num.: of fit and residual forces; it says nothing of the method.")
    _footing(document)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
