"""The interface-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.console import console
from anodeflow.cli.output.surfaces import print_surface_table
from anodeflow.cli.output.tables import interval, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.interface_energy import InterfaceEnergyDoc
    from anodeflow.analysis.study_documents import InterfaceStudyDoc


def print_interface(document: InterfaceStudyDoc) -> None:
    """Print the interface energy with its fit, and what it is compared with."""
    print_heading(document)
    doc = document.interface
    if doc.error:
        click.echo(f"no interface energy: {doc.error}")
    columns = ("n film", "atoms", "gamma(n), J/m2")
    table = new_table(columns, columns, fold=False)
    for member in doc.members:
        table.add_row(f"{member.n_film:g}", str(member.atoms), f"{member.gamma_j_per_m2:.4f}")
    console().print(table)
    for name, value in _facts(doc):
        if value not in (None, "–"):
            click.echo(f"{name:<42}{value}")
    if document.surfaces:
        print_surface_table(document.surfaces)
    for line in [*doc.notes, *doc.warnings]:
        click.echo(f"note: {line}")
    print_footing(document)


def _facts(doc: InterfaceEnergyDoc) -> list[tuple[str, str | None]]:
    expected = doc.strain_check.expected_ev_per_unit if doc.strain_check else None
    return [
        ("contact", doc.contact),
        ("strain of the film, %", number(doc.strain_percent, 2)),
        ("gamma, intercept, J/m2 [95 %]", interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2)),
        ("sum of both contacts, J/m2", interval(doc.gamma_sum_j_per_m2, doc.gamma_sum_ci_j_per_m2)),
        ("sigma, slope, mJ/m2 per unit", interval(doc.sigma_j_per_m2_per_unit, doc.sigma_ci_j_per_m2_per_unit, 1e3)),
        ("strain energy, slope, meV/unit",
         interval(doc.strain_energy_ev_per_unit, doc.strain_energy_ci_ev_per_unit, 1e3)),
        ("strain energy, strained bulk, meV/unit", interval(expected, None, 1e3)),
        (f"gamma({doc.film}) - gamma, J/m2", interval(doc.film_minus_interface_j_per_m2, None)),
        (f"gamma({doc.substrate}) - gamma, J/m2", interval(doc.substrate_minus_interface_j_per_m2, None)),
        ("work of adhesion, J/m2", interval(doc.work_of_adhesion_j_per_m2, None)),
    ]  # fmt: skip
