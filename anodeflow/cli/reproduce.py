"""`anodeflow reproduce`: the numbers of a paper beside ours."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.options import card_option, engine_option, json_option, store_option, workers_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.studies.base import Study

_COLUMNS = ("paper", "quantity", "published", "ours", "difference", "unit", "convention", "engine", "card")


@click.command()
@click.argument("paper")
@click.option("--part", "parts", required=True, help="Part of the paper; several with commas. See the documentation.")
@engine_option
@card_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="this folder",
    help="Folder for the figures.",
)
@workers_option
@store_option
@json_option
def reproduce(
    paper: str,
    parts: str,
    engine: str | None,
    card: str | None,
    output: Path,
    workers: int | None,
    store: Path,
    as_json: bool,
) -> None:
    """Compute what PAPER reports, and print published values beside ours."""
    from anodeflow.cli.output.console import print_json

    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    arithmetic = {part: file for part, file in _cells_of(paper).items() if part in wanted}
    studies = {part: study_of(paper, part, engine, card) for part in wanted if part not in arithmetic}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder '{output}': {error.strerror}", "choose another with --output") from None
    rows, complete = _run_parts(paper, studies, store, output, workers, as_json)
    for part, file in arithmetic.items():
        rows += _cells_part(paper, part, file, output, as_json)
    if as_json:
        print_json(rows)
    else:
        _print_comparison(rows)
    if not complete:
        raise SystemExit(WITHOUT_RESULT)


def study_of(paper: str, part: str, engine: str | None, card: str | None) -> Study:
    """Return the study of one part of a paper.

    Parameters
    ----------
    paper, part
        As `papers.yaml` names them.
    engine, card
        In place of those of the study file, unless None.

    Returns
    -------
    Study
        Ready to be run.

    Raises
    ------
    InputError
        If there is no such paper or part.
    """
    from anodeflow.workflows.studies import load_study

    study_files = _paper(paper)["parts"]
    if part not in study_files:
        known = [*study_files, *_cells_of(paper)]
        raise InputError(f"{paper} has no part '{part}'", f"its parts: {', '.join(known)}")
    return load_study(_papers_folder() / study_files[part]).with_changes(engine=engine, card=card)


def _papers_folder() -> Path:
    return Path(str(files("anodeflow.workflows").joinpath("papers")))


def _paper(paper: str) -> dict[str, Any]:
    """Return what `papers.yaml` says of a paper, or InputError if it is unknown."""
    from anodeflow.files import read_package_yaml
    from anodeflow.suggest import did_you_mean

    papers = read_package_yaml((_papers_folder() / "papers.yaml").read_text("utf-8"))
    if paper not in papers:
        raise InputError(f"unknown paper '{paper}'", did_you_mean(paper, papers, most=1, cutoff=0.3))
    entry: dict[str, Any] = papers[paper]
    return entry


def _cells_of(paper: str) -> dict[str, Path | None]:
    """Return the parts of a paper that are arithmetic, with their files; None for the published table alone."""
    named = _paper(paper).get("cells", {})
    return {part: None if file is None else _papers_folder() / file for part, file in named.items()}


def _cells_part(paper: str, part: str, file: Path | None, output: Path, as_json: bool) -> list[dict[str, Any]]:
    """Print cells and their figure; rows of published beside computed."""
    from anodeflow.analysis.cell_arithmetic import anode_rows, published_beside, table_beside
    from anodeflow.cli.cells import rows_of_file
    from anodeflow.cli.output.cells import print_cells, write_cells_figure

    if file is None:
        rows = anode_rows()
        write_cells_figure(rows, [output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")])
        compared = table_beside(paper, rows)
    else:
        rows = rows_of_file(file)
        compared = published_beside(paper, rows)
    if not as_json:
        print_cells(rows)
    return compared


def _run_parts(
    paper: str, studies: dict[str, Study], store: Path, output: Path, workers: int | None, as_json: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Run every part and draw its figure; rows of published beside computed, and whether every part has a result."""
    from anodeflow.cli.output.studies import print_study, write_figures
    from anodeflow.cli.run import run_study
    from anodeflow.workflows.store import store_shown

    rows: list[dict[str, Any]] = []
    complete = True
    for part, study in studies.items():
        again = f"anodeflow reproduce {paper} --part {','.join(studies)} --store {store_shown(store)}"
        document, report = run_study(study, store, again, workers, None)
        complete = complete and document.complete and not report.failed
        if not as_json:
            print_study(document, False)
        if document.complete:
            write_figures(document, tuple(output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")))
        rows += _compared(document)
    return rows, complete


def _compared(document: StudyDoc) -> list[dict[str, Any]]:
    """Return rows of published and computed values for one study."""
    from anodeflow.workflows.studies.registry import load, study_kind

    comparisons = study_kind(document.study).comparisons
    return [] if comparisons is None or document.engine.stand_in else load(comparisons)(document)


def _print_comparison(rows: list[dict[str, Any]]) -> None:
    from anodeflow.cli.output.tables import print_rows

    click.echo("\nPublished beside computed")
    print_rows(rows, False, columns=_COLUMNS, empty="no published number to compare with")
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        click.echo(f"note: {note}")
