"""Cells and the table of anodes on a terminal and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number

if TYPE_CHECKING:
    from anodeflow.analysis.cell_arithmetic import CellRow


def print_cells(rows: Sequence[CellRow]) -> None:
    """Print one line a cell, those of the user's file first."""
    table = new_table(
        (
            "anode",
            "cathode",
            "N/P",
            "mAh/cm²",
            "mA/cm²",
            "rate (1/h)",
            "cycles",
            "mg/cm²",
            "mAh/g",
            "V",
            "Wh/kg",
            "ICE (%)",
        ),
        spare=("rate (1/h)", "mA/cm²", "mg/cm²", "V"),
    )
    for row in rows:
        table.add_row(
            row.anode,
            row.cathode,
            number(row.n_to_p, 2),
            number(row.areal_capacity_mah_per_cm2, 2),
            number(row.current_ma_per_cm2, 2),
            number(row.c_rate_per_h, 2),
            "–" if row.cycles is None else str(row.cycles),
            number(row.cathode_loading_mg_per_cm2, 1),
            number(row.cathode_mah_per_g, 0),
            number(row.voltage_v, 2),
            number(row.wh_per_kg, 0),
            number(row.efficiency_percent, 1),
        )
    table.print()
    say("mg/cm² and mAh/g: of the cathode's active material. Wh/kg: of the masses that are given.")
    for row in rows:
        for warning in row.warnings:
            say(f"{row.anode}: {warning}")
    for source in dict.fromkeys(row.source for row in rows if row.source):
        say(f"source: {source}")


def write_cells_figure(rows: Sequence[CellRow], files: Sequence[Path]) -> None:
    """Draw the figure to each of the files, and say so."""
    if not files:
        return
    from anodeflow.analysis.figures.cells import cells_figure
    from anodeflow.analysis.figures.style import save_figure

    for file in files:
        save_figure(cells_figure(rows), file)
        click.echo(f"figure: {file}", err=True)
