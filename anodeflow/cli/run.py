"""Run a study on this machine and hand out its last document: what ``run`` and ``reproduce`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anodeflow.cli.output.presenters import stored_study
from anodeflow.cli.output.progress import RunDisplay
from anodeflow.errors import InputError
from anodeflow.workflows.local.runner import LocalRunner, RunReport, default_workers
from anodeflow.workflows.store import open_job_store, store_place

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.studies.base import Study

INTERRUPTED = 130


def run_study(
    study: Study, store: Path, again: str, workers: int | None, threads: int | None
) -> tuple[StudyDoc, RunReport]:
    """Run a study; Ctrl-C ends the process with status 130 and says how to go on.

    Parameters
    ----------
    study
        A loaded study.
    store
        The results store: a file, a database or a cluster folder, as `open_job_store` takes it.
    again
        The command that goes on with this run.
    workers, threads
        Worker processes and threads each; None for the default.

    Raises
    ------
    AnodeflowError
        If the study cannot be run, a fatal error stopped it, or it gave no result.
    """
    notes = study.preflight()
    job_store = open_job_store(store)
    number, each = default_workers()
    with RunDisplay(study, workers or number, notes) as display:
        flow = study.flow()
        runner = LocalRunner(flow, job_store, store_place(store), workers or number, threads or each, display)
        report = runner.run()
    display.close(report, again, store)
    if report.fatal is not None:
        raise report.fatal
    if report.interrupted:
        raise SystemExit(INTERRUPTED)
    document = stored_study(job_store, study.hash)
    if document is None:
        reasons = "; ".join(f"{label}: {why}" for label, why in list(report.failed.items())[:2])
        raise InputError(f"the study gave no result: {reasons}", "mend the first failure and run it again")
    return document, report
