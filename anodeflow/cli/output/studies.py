"""The last document of a study of any kind: find, print and draw it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.errors import InputError
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.studies.registry import kind_of_document, load

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store
    from matplotlib.figure import Figure

    from anodeflow.documents import StudyDoc


def stored_study(store: JobStore | Store, study_hash: str) -> StudyDoc | None:
    """Return the last document of the study with this hash, or None."""
    summary = {"metadata.study_hash": study_hash, "metadata.label": SUMMARY}
    stored = store.query_one(summary, properties=["output"])
    if stored is None:
        return None
    document: StudyDoc = load(kind_of_document(stored["output"]["doc_type"]).document).model_validate(stored["output"])
    return document


def imported_line(job_store: Any, study_hash: str) -> str | None:
    """Return what a table or figure says of results that were imported; None where all were computed here."""
    from anodeflow.workflows.store import imported_by_study

    marks = imported_by_study(job_store).get(study_hash, [])
    archives = {mark["archive_sha256"]: mark for mark in marks}
    archived = []
    for archive, mark in archives.items():
        hosts = sorted({m["computer"] for m in marks if m["archive_sha256"] == archive and m.get("computer")})
        archived.append(
            f"{archive[:12]} (anodeflow {mark['anodeflow']} on {', '.join(hosts) or '?'}; {mark['at'][:10]})"
        )
    return f"rests on results imported from archive {', '.join(archived)}" if archived else None


def imported_notes(job_store: Any, study_hash: str) -> list[str]:
    """Return the note that imported calculations of other studies are used, or are not."""
    from anodeflow.settings import load_settings
    from anodeflow.workflows.store import imported_by_study

    others = len(set(imported_by_study(job_store)) - {study_hash})
    if not others:
        return []
    imported = f"calculations of {others} imported {'study' if others == 1 else 'studies'}"
    if load_settings().trust_imported:
        return [f"{imported} are used where they are the same (--trust)"]
    return [f"{imported} are not used; --trust would use those that are the same"]


def print_study(document: Any, as_json: bool, imported: str | None = None, disagreements: Sequence[str] = ()) -> None:
    """Print a study's last document as tables or JSON, and what of it was imported.

    Parameters
    ----------
    document
        Last document of the study.
    as_json
        JSON instead of tables.
    imported
        What is said of imported results, or None.
    disagreements
        Where other engines of the store differ by more than the document claims; in JSON they end its warnings.
    """
    if as_json:
        from anodeflow.cli.output.console import print_json

        content = document.model_dump(mode="json")
        print_json(content | {"warnings": [*content["warnings"], *disagreements]})
        return
    from anodeflow.analysis.checks import check_of
    from anodeflow.cli.output.grid import say

    load(kind_of_document(document.doc_type).printer)(document)
    if (check := check_of(document)) is not None:
        from anodeflow.cli.output.checks import print_check

        print_check(check)
    if document.engine.stand_in:
        say(f"NOT A RESULT: computed by {document.engine.kind}; these numbers test the workflow and mean nothing")
    for line in disagreements:
        say(line)
    if imported is not None:
        say(imported)


def write_figure(document: Any, file: Path, imported: str | None = None) -> None:
    """Draw a study's figure to a file, atomically.

    Parameters
    ----------
    document
        The last document of a study.
    file
        The figure.
    imported
        What it says below of imported results.

    Raises
    ------
    InputError
        If there is nothing to draw, or a stand-in computed it.
    """
    from anodeflow.analysis.checks import check_of
    from anodeflow.analysis.figures.style import add_to_footer, save_figure

    figure = _figure(document)
    if (check := check_of(document)) is not None:
        add_to_footer(figure, check.text)
    if imported is not None:
        add_to_footer(figure, imported)
    save_figure(figure, file)


def _figure(document: Any) -> Figure:
    if document.engine.stand_in:
        raise InputError(f"no figure of what {document.engine.kind} computed", "run the study with the real program")
    drawn: Figure = load(kind_of_document(document.doc_type).figure)(document)
    return drawn


def write_figure_data(document: Any, file: Path, check: bool = False) -> None:
    """Write the numbers that a study's figure shows as CSV, atomically.

    Parameters
    ----------
    document
        The last document of a study.
    file
        The CSV file.
    check
        Those of the figure of its check, not of the study.

    Raises
    ------
    InputError
        If there is nothing to draw, or the file cannot be written.
    """
    import csv

    import matplotlib.pyplot as plt

    from anodeflow.files import atomic_path
    from anodeflow.report.figure_data import COLUMNS, figure_rows

    figure = _check_figure(document) if check else _figure(document)
    try:
        rows = figure_rows(figure)
    finally:
        plt.close(figure)
    try:
        with atomic_path(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write '{file}': {error.strerror}", "choose another folder") from None


def write_check_figure(document: StudyDoc, file: Path) -> None:
    """Draw the check of a study to a file, atomically.

    Raises
    ------
    InputError
        If the study has none, or a stand-in computed it.
    """
    from anodeflow.analysis.figures.style import save_figure

    save_figure(_check_figure(document), file)


def _check_figure(document: StudyDoc) -> Figure:
    from anodeflow.analysis.checks import check_of
    from anodeflow.analysis.figures.checks import check_figure

    check = check_of(document)
    if check is None:
        raise InputError("the study has no check", "add check: {engine: gpaw, lowest: 1} to its file, and run it")
    return check_figure(check)


def write_figures(document: Any, files: tuple[Path, ...], imported: str | None = None) -> None:
    """Draw a study's figure to several files and say so; the rest as for :func:`write_figure`.

    Parameters
    ----------
    document
        Last document of the study.
    files
        Where to; the suffix decides the format.
    imported
        What is said of imported results, or None.
    """
    for file in files:
        write_figure(document, file, imported)
        click.echo(f"figure: {file}", err=True)
