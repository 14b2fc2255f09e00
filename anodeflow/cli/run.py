"""`anodeflow run`: compute a study on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.exits import INTERRUPTED, WITHOUT_RESULT
from anodeflow.cli.options import (
    card_option,
    check_figure_path,
    check_folder,
    engine_option,
    json_option,
    store_option,
    study_argument,
    trust_option,
    workers_option,
)
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.local.runner import RunReport
    from anodeflow.workflows.studies.base import Study


@click.command()
@study_argument
@store_option
@engine_option
@card_option
@workers_option
@click.option("--threads", type=click.IntRange(1, 256), envvar="ANODEFLOW_THREADS", help="Threads a worker.")
@click.option(
    "--figure",
    "figures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Also draw the figure to this file (.png, .pdf, .svg); may be given several times.",
)
@trust_option
@click.option("--force", is_flag=True, help="Also run dynamics with a model file that failed its audit.")
@click.option(
    "--progress",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep what is done, and the step of what runs, in this JSON file.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600),
    help="Seconds that calculations get to stop after Ctrl-C or SIGTERM.  [default: 10]",
)
@click.option("--show", is_flag=True, help="Open the figure when it is done, where there is a screen.")
@json_option
def run(
    study: Path,
    store: Path,
    engine: str | None,
    card: str | None,
    workers: int | None,
    threads: int | None,
    figures: tuple[Path, ...],
    force: bool,
    progress: Path | None,
    patience: float | None,
    show: bool,
    as_json: bool,
) -> None:
    """Compute STUDY on this machine. What is finished already is not computed again."""
    for file in figures:
        check_figure_path(file)
    if progress is not None:
        check_folder(progress, "progress file")
    from anodeflow.cli.output.studies import imported_line, print_study, write_figures
    from anodeflow.workflows.store import open_documents, store_shown
    from anodeflow.workflows.studies import load_study
    from anodeflow.workflows.studies.comparison import disagreements

    again = f"anodeflow run {study} --store {store_shown(store)}"
    again += "".join(f" --{name} {value}" for name, value in (("engine", engine), ("card", card)) if value)
    again += " --force" if force else ""
    loaded = load_study(study).with_changes(engine=engine, card=card)
    document, report = run_study(loaded, store, again, workers, threads, progress, patience, force)
    documents = open_documents(store)
    imported = imported_line(documents, document.study_hash)
    print_study(document, as_json, imported, disagreements(documents, document))
    write_figures(document, figures, imported)
    if show and figures:
        open_on_screen(figures[0])
    if report.failed or not document.complete:
        raise SystemExit(WITHOUT_RESULT)


def run_study(
    study: Study,
    store: Path,
    again: str,
    workers: int | None,
    threads: int | None,
    progress: Path | None = None,
    patience_s: float | None = None,
    force: bool = False,
) -> tuple[StudyDoc, RunReport]:
    """Run a study; Ctrl-C ends the process with status 130 and says how to continue.

    Parameters
    ----------
    study
        A loaded study.
    store
        The results store: a file, a database or a cluster folder, as `open_job_store` takes it.
    again
        The command that continues this run.
    workers, threads
        Worker processes and threads each; None for the default.
    progress
        JSON file that says how far the run is; None for none.
    patience_s
        Seconds that calculations get to stop; None for the default.
    force
        Dynamics with a model that failed its audit are run.

    Returns
    -------
    tuple
        The study's last document, and what was computed, reused and failed.

    Raises
    ------
    AnodeflowError
        If the study cannot be run, a fatal error stopped it, or it gave no result.
    """
    from anodeflow.cli.audit import refuse_failed_model
    from anodeflow.cli.output.progress import RunDisplay
    from anodeflow.cli.output.studies import imported_notes, stored_study
    from anodeflow.workflows.local.defaults import default_workers
    from anodeflow.workflows.local.noted import NotedProgress
    from anodeflow.workflows.local.runner import PATIENCE_S, LocalRunner
    from anodeflow.workflows.store import open_job_store, store_place

    notes = study.preflight()
    job_store = open_job_store(store)
    if not force:
        refuse_failed_model(study, lambda: job_store)
    notes += imported_notes(job_store, study.hash)
    number, each = default_workers()
    with RunDisplay(study, workers or number, notes) as display:
        flow = study.flow()
        noted = None if progress is None else NotedProgress(progress, display)
        runner = LocalRunner(
            flow,
            job_store,
            store_place(store),
            workers or number,
            threads or each,
            noted or display,
            PATIENCE_S if patience_s is None else patience_s,
        )
        report = runner.run()
        if noted is not None:
            noted.close()
    display.close(report, again, store)
    if report.fatal is not None:
        raise report.fatal
    if report.interrupted:
        raise SystemExit(INTERRUPTED)
    document = stored_study(job_store, study.hash)
    if document is None:
        reasons = "; ".join(f"{label}: {why}" for label, why in list(report.failed.items())[:2])
        raise InputError(f"the study gave no result: {reasons}", "fix the first failure and run it again")
    return document, report


def open_on_screen(file: Path | str) -> None:
    """Open a file or address with the desktop's viewer; do nothing where there is no screen."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    click.launch(str(file))
