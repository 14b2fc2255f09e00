"""`anodeflow figure`: draw what a store holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.options import check_figure_path, check_folder, json_option, store_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc


@click.command()
@click.argument("study")
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    required=True,
    help="File to write: .png, .pdf, .svg, or .csv for the numbers that it shows; may be given several times.",
)
@store_option
@click.option("--check", is_flag=True, help="Draw its check by an engine with electrons instead: forces and energies.")
@json_option
def figure(study: str, outputs: tuple[Path, ...], store: Path, check: bool, as_json: bool) -> None:
    """Draw the figure of STUDY (its file, the first digits of its hash, or an archive of it); nothing is computed."""
    for file in outputs:
        if file.suffix.lower() == ".csv":
            check_folder(file, "figure")
        else:
            check_figure_path(file)
    from anodeflow.cli.output.studies import write_check_figure, write_figure, write_figure_data

    document, below = _document(study, store)
    for file in outputs:
        if file.suffix.lower() == ".csv":
            write_figure_data(document, file, check)
        elif check:
            write_check_figure(document, file)
        else:
            write_figure(document, file, below)
    if as_json:
        click.echo(json.dumps({"study_hash": document.study_hash, "files": [str(file) for file in outputs]}))
    else:
        for file in outputs:
            click.echo(f"figure: {file}")


def _document(study: str, store: Path) -> tuple[StudyDoc, str | None]:
    """Return the last document of a study, and what stands below its figure of where it comes from."""
    from anodeflow.cli.output.studies import imported_line, stored_study

    if Path(study).suffix.lower() == ".zip":
        from anodeflow.report.record import read_record

        record = read_record(study, store, imported_line)
        return record.document, record.imported
    from anodeflow.workflows.store import open_documents, store_shown
    from anodeflow.workflows.studies.comparison import disagreements
    from anodeflow.workflows.studies.stored import finished_study

    documents = open_documents(store)
    document = stored_study(documents, finished_study(documents, study, store_shown(store)))
    if document is None:
        raise InputError(f"no finished study '{study}' in {store_shown(store)}", f"run it first: anodeflow run {study}")
    below = imported_line(documents, document.study_hash)
    if disagreements(documents, document):
        line = "engines of the store disagree by more than this result claims: anodeflow compare"
        below = line if below is None else f"{below}\n{line}"
    return document, below
