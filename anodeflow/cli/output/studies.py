"""The last document of a study of any kind: find, print and draw it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.errors import InputError
from anodeflow.workflows.studies.registry import kind_of_document, load

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store

    from anodeflow.documents import StudyDoc


def stored_study(store: JobStore | Store, study_hash: str) -> StudyDoc | None:
    """Return the last document of the study with this hash, or None."""
    summary = {"metadata.study_hash": study_hash, "metadata.label": "summary"}
    stored = store.query_one(summary, properties=["output"])
    if stored is None:
        return None
    document: StudyDoc = load(kind_of_document(stored["output"]["doc_type"]).document).model_validate(stored["output"])
    return document


def print_study(document: Any, as_json: bool) -> None:
    """Print a study's last document as tables or JSON."""
    if as_json:
        from anodeflow.cli.output.console import print_json

        print_json(document.model_dump(mode="json"))
        return
    load(kind_of_document(document.doc_type).printer)(document)
    if document.engine.stand_in:
        click.echo(
            f"NOT A RESULT: computed by {document.engine.kind}; these numbers test the workflow and mean nothing"
        )


def write_figure(document: Any, file: Path) -> None:
    """Draw a study's figure to a file, atomically.

    Raises
    ------
    InputError
        If there is nothing to draw, or a stand-in computed it.
    """
    from anodeflow.analysis.figures.style import save_figure

    if document.engine.stand_in:
        raise InputError(f"no figure of what {document.engine.kind} computed", "run the study with the real program")
    save_figure(load(kind_of_document(document.doc_type).figure)(document), file)


def write_figures(document: Any, files: tuple[Path, ...]) -> None:
    """Draw a study's figure to several files and say so."""
    for file in files:
        write_figure(document, file)
        click.echo(f"figure: {file}", err=True)
