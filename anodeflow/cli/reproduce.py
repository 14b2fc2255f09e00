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
    studies = {part: study_of(paper, part, engine, card) for part in wanted}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder '{output}': {error.strerror}", "choose another with --output") from None
    rows, complete = _run_parts(paper, studies, store, output, workers, as_json)
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
    from anodeflow.files import read_package_yaml
    from anodeflow.suggest import did_you_mean
    from anodeflow.workflows.studies import load_study

    folder = files("anodeflow.workflows").joinpath("papers")
    papers = read_package_yaml(folder.joinpath("papers.yaml").read_text("utf-8"))
    if paper not in papers:
        raise InputError(f"unknown paper '{paper}'", did_you_mean(paper, papers, most=1, cutoff=0.3))
    study_files = papers[paper]["parts"]
    if part not in study_files:
        raise InputError(f"{paper} has no part '{part}'", f"its parts: {', '.join(study_files)}")
    return load_study(Path(str(folder.joinpath(study_files[part])))).with_changes(engine=engine, card=card)


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
