"""The migration study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.console import console
from anodeflow.cli.output.tables import SharedWarnings, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.migration_documents import MigrationStudyDoc

_NUMBERS = ("d, Å", "from each", "forward, eV", "backward, eV", "± num.", "path, Å", "images")


def print_migration(document: MigrationStudyDoc) -> None:
    """Print barriers, one row a hop."""
    print_heading(document)
    table = new_table(("path", "hop", *_NUMBERS, "notes"), _NUMBERS)
    shared = SharedWarnings(doc.warnings for doc in document.barriers)
    for doc in document.barriers:
        table.add_row(
            f"{doc.crystal}, {doc.mechanism}",
            doc.hop or "–",
            number(doc.distance_angstrom, 2),
            f"{doc.multiplicity}" if doc.multiplicity else "–",
            number(doc.forward_ev),
            "same" if doc.converged and doc.symmetric else number(doc.backward_ev),
            number(doc.uncertainty_ev),
            number(doc.path_length_angstrom, 2),
            str(doc.images or "–"),
            doc.error or shared.cell(doc.warnings),
        )
    console().print(table)
    shared.print()
    for mode in dict.fromkeys(doc.charge_mode for doc in document.barriers):
        click.echo(mode[:1].upper() + mode[1:] + ".")
    click.echo("± num.: of fit and residual forces; it says nothing of the method.")
    print_footing(document)
