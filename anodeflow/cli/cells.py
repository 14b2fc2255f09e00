"""`anodeflow cells`: N/P ratio, areal capacity and Wh/kg of cells, beside a published table of anodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.options import check_figure_path, json_option

if TYPE_CHECKING:
    from anodeflow.analysis.cell_arithmetic import CellRow


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--figure",
    "figures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Draw N/P against current density to this file (.png, .pdf, .svg); may be given several times.",
)
@json_option
def cells(file: Path | None, figures: tuple[Path, ...], as_json: bool) -> None:
    """Print the cells of FILE beside a published table of anodes; nothing is computed but arithmetic."""
    for figure in figures:
        check_figure_path(figure)
    from anodeflow.analysis.cell_arithmetic import anode_rows
    from anodeflow.cli.output.cells import print_cells, write_cells_figure
    from anodeflow.cli.output.console import print_json

    own = [] if file is None else rows_of_file(file)
    rows = [*own, *anode_rows()]
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        print_cells(rows)
    write_cells_figure(rows, figures)


def rows_of_file(file: Path) -> list[CellRow]:
    """Return the rows of a file of cells.

    Raises
    ------
    InputError
        If it cannot be read, or a value is wrong.
    """
    from anodeflow.analysis.cell_arithmetic import Cells, cell_row
    from anodeflow.yaml_input import read_yaml, validate

    return [cell_row(cell) for cell in validate(Cells, read_yaml(file), file).cells]
