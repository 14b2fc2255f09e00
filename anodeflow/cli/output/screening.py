"""The interface-screening study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import interval, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.interface_screening import ScreenedInterfacesDoc, ScreeningStudyDoc

_MOST = 20


def print_screening(document: ScreeningStudyDoc) -> None:
    """Print what the study's engine computed, and the best of the screening."""
    print_heading(document)
    say(f"film {document.film} on {document.substrate}, {document.screened.candidates} candidates")
    if document.strained_side is not None:
        say(document.strained_side.text)
    _print_entries(document.best, "computed")
    _print_entries(document.screened, "screened")
    print_footing(document)


def _print_entries(doc: ScreenedInterfacesDoc, how: str) -> None:
    """Print interfaces, lowest energy first."""
    engine = doc.engine.name if doc.engine else "nothing"
    say(f"\n{how} with {engine}:")
    columns = (
        "film",
        "substrate",
        "match",
        "registry",
        "gamma (J/m²)",
        "W_ad (J/m²)",
        "strain (%)",
        "atoms",
        "remarks",
    )
    table = new_table(
        columns, ("gamma (J/m²)", "W_ad (J/m²)", "strain (%)", "atoms"), spare=("match", "atoms", "registry")
    )
    for entry in doc.entries[:_MOST]:
        remarks = [*entry.problems, *([entry.error] if entry.error else [])]
        if not entry.contacts_equivalent:
            remarks.append("mean of two contacts")
        table.add_row(
            entry.film_termination,
            entry.substrate_termination,
            str(entry.match),
            entry.registry,
            interval(entry.gamma_j_per_m2, entry.gamma_range_j_per_m2),
            number(entry.adhesion_j_per_m2),
            number(entry.strain_percent, 2),
            str(entry.counts.atoms),
            remarks,
        )
    table.print()
    if len(doc.entries) > _MOST:
        say(f"{len(doc.entries) - _MOST} more: anodeflow results --what screened-interfaces")
