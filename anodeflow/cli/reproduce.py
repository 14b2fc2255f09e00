"""The numbers of a paper beside ours: run its study files, set published and computed values side by side."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from anodeflow.cli.output.presenters import print_study, write_figures
from anodeflow.cli.output.tables import print_json, print_rows
from anodeflow.cli.run import run_study
from anodeflow.errors import InputError
from anodeflow.workflows.store import store_shown
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.registry import load, study_kind

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.studies.base import Study

COLUMNS = ("paper", "quantity", "published", "ours", "difference", "unit", "convention", "engine", "card")


def papers() -> dict[str, Any]:
    """The papers and their parts."""
    return yaml.safe_load(_folder().joinpath("papers.yaml").read_text("utf-8"))


def _folder() -> Any:
    return files("anodeflow.workflows").joinpath("papers")


def study_of(paper: str, part: str, engine: str | None, card: str | None) -> Study:
    """The study of one part of a paper, with another engine or card if asked for.

    Raises
    ------
    InputError
        If there is no such paper or part.
    """
    known = papers()
    if paper not in known:
        near = difflib.get_close_matches(paper, list(known), n=1, cutoff=0.3)
        raise InputError(
            f"unknown paper '{paper}'", f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        )
    parts = known[paper]["parts"]
    if part not in parts:
        raise InputError(f"{paper} has no part '{part}'", f"its parts: {', '.join(parts)}")
    return load_study(Path(str(_folder().joinpath(parts[part])))).with_changes(engine=engine, card=card)


def reproduce(
    paper: str,
    parts: list[str],
    *,
    engine: str | None,
    card: str | None,
    store: Path,
    output: Path,
    workers: int | None,
    as_json: bool,
) -> bool:
    """Run the parts, print published beside computed, draw the figures; whether every part has a result."""
    studies = {part: study_of(paper, part, engine, card) for part in parts}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder '{output}': {error.strerror}", "choose another with --output") from None
    rows: list[dict[str, Any]] = []
    complete = True
    for part, study in studies.items():
        again = f"anodeflow reproduce {paper} --part {','.join(parts)} --store {store_shown(store)}"
        document, report = run_study(study, store, again, workers, None)
        complete = complete and document.complete and not report.failed
        if not as_json:
            print_study(document, False)
        if document.complete:
            write_figures(document, tuple(output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")))
        rows += comparison(document)
    if as_json:
        print_json(rows)
    else:
        click.echo("\nPublished beside computed")
        print_rows(rows, False, columns=COLUMNS, empty="no published number to compare with")
        for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
            click.echo(f"note: {note}")
    return complete


def comparison(document: StudyDoc) -> list[dict[str, Any]]:
    """Rows of published and computed values for one study."""
    compared = study_kind(document.study).comparisons
    return [] if compared is None or document.engine.stand_in else load(compared)(document)
