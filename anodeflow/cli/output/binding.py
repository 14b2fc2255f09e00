"""The binding-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.console import console
from anodeflow.cli.output.tables import SharedWarnings, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.binding import BindingStudyDoc, DescriptorMatrix


def print_binding(document: BindingStudyDoc) -> None:
    """Print binding energies by host, and the dE matrices."""
    from anodeflow.analysis.binding import CONVENTION_TEXT

    print_heading(document)
    _print_hosts(document)
    for matrix in document.descriptors:
        _print_matrix(matrix)
    for convention in document.conventions:
        click.echo(f"{convention}: E_int against {CONVENTION_TEXT[convention]}")
    if document.hosts:
        click.echo(f"Li charge: {document.hosts[0].charge_mode}. Negative is bound.")
    print_footing(document)


def _print_hosts(document: BindingStudyDoc) -> None:
    energies = [f"E_int, eV/Li\n{convention}" for convention in document.conventions]
    table = new_table(
        ["host", "where", *energies, "± num.", "best site", "Li neighbours", "sites", "notes"], [*energies, "± num."]
    )
    shared = SharedWarnings(host.warnings for host in document.hosts)
    for host in document.hosts:
        best = next((site for site in host.sites if site.label == host.best_site), None)
        converged = sum(site.status == "converged" for site in host.sites)
        table.add_row(
            host.crystal,
            host.environment + (f" {host.face}" if host.face else ""),
            *[f"{host.binding_energy_ev[c]:+.3f}" if host.converged else "–" for c in document.conventions],
            number(host.numerical_uncertainty_ev),
            host.best_site or "–",
            (best.coordination_end or "–") if best else "–",
            f"{converged}/{len(host.sites)}",
            host.error or shared.cell(host.warnings),
        )
    console().print(table)
    shared.print()


def _print_matrix(matrix: DescriptorMatrix) -> None:
    click.echo(f"dE(anode, interphase) = E_int(interphase) - E_int(anode), eV, {matrix.environment}")
    table = new_table(["anode", *matrix.interphases], matrix.interphases)
    for name, row in zip(matrix.anodes, matrix.d_e_ev, strict=True):
        table.add_row(name, *["–" if value is None else f"{value:+.2f}" for value in row])
    console().print(table)
    for line in matrix.refused:
        click.echo(line)
