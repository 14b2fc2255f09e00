"""The check of a study by an engine with electrons, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number

if TYPE_CHECKING:
    from anodeflow.analysis.checks import CheckDoc


def print_check(document: CheckDoc) -> None:
    """Print errors of forces by element and environment, of energies by structure, and of differences of states."""
    say(document.text)
    if document.forces:
        columns = ["atoms", "force RMSE (eV/Å)", "forces, RMS (eV/Å)", "slope"]
        table = new_table(["forces on", *columns], columns, spare=["atoms"])
        for errors in document.forces:
            name = errors.name if errors.scope in ("all", "kind") else f"{errors.name} ({errors.scope})"
            rms = (number(errors.rmse_ev_per_angstrom), number(errors.rms_ev_per_angstrom))
            table.add_row(name, str(errors.atoms), *rms, errors.slope_text)
        table.print()
    if document.structures:
        columns = ["atoms", "energy error (meV/atom)"]
        table = new_table(["checked", "structure", *columns, "notes"], columns, spare=["atoms"])
        for structure in document.structures:
            error = structure.error_ev_per_atom
            shown = "–" if error is None else f"{1000 * error:+.2f}"
            name = structure.label.removeprefix("check/")
            table.add_row(name, structure.of, str(len(structure.species)), shown, structure.error or "")
        table.print()
    for pair in document.differences:
        say(
            f"{pair.higher} above {pair.lower}: {pair.difference_ev:+.3f} eV, by {document.check_engine.name} "
            f"{pair.check_difference_ev:+.3f} eV"
        )
    for warning in document.warnings:
        say(f"check: {warning}")
