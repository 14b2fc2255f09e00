"""Sending a study to a cluster, once."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pymongo.errors import DuplicateKeyError

from anodeflow.errors import InputError
from anodeflow.files import sha256
from anodeflow.workflows.cluster.attempts import forgive
from anodeflow.workflows.cluster.folder import LIGHT, ClusterFolder, walltime_text
from anodeflow.workflows.cluster.launchpad import open_launchpad, studies_of, use_environment
from anodeflow.workflows.cluster.resources import SHARE_OF_TIME, SHORTEST_S
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.database import server_errors
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.studies.base import Study

SUBMITTING, SUBMITTED = "submitting", "submitted"
# A submission that is not complete after this long was cut off.
_CUT_OFF = timedelta(minutes=10)
_TAG = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"


@dataclass
class PlannedJob:
    """A calculation, and what it will ask of the scheduler."""

    label: str
    task: str
    atoms: int
    size: str
    nodes: int
    cores: int
    walltime: str


@dataclass
class SubmissionReport:
    """What was sent, or would be."""

    study_hash: str
    title: str
    jobs: int
    already_finished: int
    planned: list[PlannedJob]
    notes: list[str] = field(default_factory=list)
    submitted: bool = False
    run_again: int = 0


def submit_study(
    study: Study,
    file: Path,
    folder: ClusterFolder,
    *,
    tags: Sequence[str] = (),
    dry_run: bool = False,
    again: bool = False,
    trust_imported: bool = False,
) -> SubmissionReport:
    """Send a study to the cluster, or refuse if it is there already.

    Parameters
    ----------
    study
        The study, loaded from `file`.
    file
        Kept word for word with its hash, so that a later change is noticed.
    folder
        The cluster folder.
    tags
        Put on every job and document.
    dry_run
        Only say what would be sent.
    again
        Run the failed jobs of a study that was submitted before.
    trust_imported
        Let its jobs use imported calculations of other studies.

    Raises
    ------
    InputError
        If it is finished, queued, running, or being submitted by somebody else; if a tag cannot be used.
    AnodeflowError
        If the study cannot be run.
    """
    for tag in tags:
        if not re.fullmatch(_TAG, tag, re.ASCII):
            raise InputError(f"--tag {tag[:70]!r} cannot be used", "it may hold letters, digits, . _ : -")
    use_environment(folder)
    text = _read(file)
    notes = study.preflight()
    if _engine_differs(folder.settings.engine, study.engine):
        notes.append(f"the cluster folder was made for {folder.settings.engine}, the study uses {study.engine}")
    store = open_job_store(folder.store)
    flow = study.flow()
    finished = _finished_calculations(flow, store)
    report = SubmissionReport(study.hash, study.title, sum(1 for _ in flow.iterflow()), len(finished),
                              _planned_jobs(study, folder), notes)  # fmt: skip
    studies = studies_of(folder)
    with server_errors(folder.database):
        notes.extend(_changes(studies, file, text, study.hash))
        earlier = studies.find_one({"_id": study.hash})
        if again:
            report.run_again = 0 if dry_run else _run_again(folder, study.hash, earlier, file)
            return report
        _refuse_if_done(store, study, file)
        if dry_run:
            if earlier is not None:
                notes.append(f"would be refused: {_who(earlier)}")
            return report
        pad = open_launchpad(folder)
        _claim(studies, pad, study, file, text, tags, folder)
        try:
            _add(pad, flow, study, folder, finished, tags, trust_imported)
        except BaseException:
            _remove_traces(pad, study.hash)
            studies.delete_one({"_id": study.hash, "state": SUBMITTING})
            raise
        studies.update_one({"_id": study.hash}, {"$set": {"state": SUBMITTED}})
    report.submitted = True
    return report


def _engine_differs(folder_engine: str, study_engine: str) -> bool:
    """Whether a folder was made for another kind of engine than the study's."""
    programs = ("vasp", "castep", "qe", "gpaw")
    kind = study_engine if study_engine in programs else "potential"
    return bool(folder_engine) and folder_engine != kind


def _planned_jobs(study: Study, folder: ClusterFolder) -> list[PlannedJob]:
    """Every calculation of a study with what it will ask for."""
    rows = []
    for planned in study.planned:
        size = folder.size_for(len(planned.structure))
        share = SHARE_OF_TIME.get(planned.task, 1.0)
        seconds = max(min(SHORTEST_S, size.walltime_s), int(size.walltime_s * share))
        rows.append(
            PlannedJob(planned.label, planned.task, len(planned.structure), size.name, size.nodes, size.cores,
                       walltime_text(seconds))
        )  # fmt: skip
    return rows


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}") from None


def _finished_calculations(flow: Any, store: Any) -> set[str]:
    """Uuids of calculations that the store holds already: they need no place in the queue."""
    finished = set()
    for job, _ in flow.iterflow():
        work = recognised_of(job)
        if work is not None and not job.input_references and work.is_finished(store):
            finished.add(job.uuid)
    return finished


def _refuse_if_done(store: Any, study: Study, file: Path) -> None:
    done = store.query_one({"metadata.study_hash": study.hash, "metadata.label": SUMMARY}, properties=["completed_at"])
    if done is not None:
        raise InputError(
            f"study {study.hash} of {file} is finished ({done.get('completed_at')})",
            f"see anodeflow results --study {file}; what failed in it runs again with --again",
        )


def _who(record: dict[str, Any]) -> str:
    when = record["submitted_at"].strftime("%Y-%m-%d %H:%M UTC")
    return f"submitted on {when} by {record['submitted_by']} from {record['submitted_from']} ({record['file']})"


def _claim(
    studies: Any, pad: Any, study: Study, file: Path, text: str, tags: Sequence[str], folder: ClusterFolder
) -> None:
    """Put the study's record in; the database lets one of several win."""
    now = datetime.now(UTC) + timedelta(seconds=folder.database.clock_difference_s())
    record = {
        "_id": study.hash,
        "state": SUBMITTING,
        "study": study.kind,
        "title": study.title,
        "engine": study.engine,
        "card": study.method.name,
        "file": str(file.resolve()),
        "file_sha256": sha256(text),
        "text": text,
        "tags": list(tags),
        "submitted_at": now,
        "submitted_by": getpass.getuser(),
        "submitted_from": socket.gethostname(),
        "anodeflow": version("anodeflow"),
        "planned": len(study.planned),
        "core_seconds": 0.0,
        "calculation_seconds": 0.0,
        "calculations": 0,
    }
    try:
        studies.insert_one(record)
        return
    except DuplicateKeyError:
        other: dict[str, Any] = studies.find_one({"_id": study.hash}) or record
    cut_off = other["state"] == SUBMITTING and now.replace(tzinfo=None) - other["submitted_at"] > _CUT_OFF
    if not cut_off:
        raise InputError(
            f"study {study.hash} of {file} is there already: {_who(other)}",
            "see anodeflow status; what failed in it runs again with --again",
        )
    taken = studies.find_one_and_replace(
        {"_id": study.hash, "state": SUBMITTING, "submitted_at": other["submitted_at"]}, record
    )
    if taken is None:
        raise InputError(f"study {study.hash} is being submitted by somebody else", "see anodeflow status")
    _remove_traces(pad, study.hash)


def _remove_traces(pad: Any, study_hash: str) -> None:
    """Remove fireworks of a submission that was cut off before its workflow was complete."""
    if pad.workflows.find_one({"metadata.study_hash": study_hash}) is not None:
        pad.workflows.delete_many({"metadata.study_hash": study_hash})
    pad.fireworks.delete_many({"spec.study_hash": study_hash})


def _add(
    pad: Any,
    flow: Any,
    study: Study,
    folder: ClusterFolder,
    finished: set[str],
    tags: Sequence[str],
    trust_imported: bool,
) -> None:
    # Here, because FireWorks reads its settings when it is imported: the folder's environment has to be set.
    from jobflow.managers.fireworks import flow_to_workflow

    from anodeflow.workflows.cluster.task import dress

    atoms = {planned.label: len(planned.structure) for planned in study.planned}
    metadata = {"study_hash": study.hash, "study": study.kind, "tags": list(tags)}
    workflow = flow_to_workflow(flow, name=study.title or study.kind, metadata=metadata)
    dress(workflow, folder, atoms.get, list(tags), trust_imported)
    for firework in workflow.fws:
        if firework.tasks[0]["job"].uuid in finished:
            firework.spec["_category"] = LIGHT
            firework.spec.pop("_queueadapter", None)
    pad.add_wf(workflow)


def _run_again(folder: ClusterFolder, study_hash: str, earlier: dict[str, Any] | None, file: Path) -> int:
    if earlier is None:
        raise InputError(f"study {study_hash} of {file} was never submitted", "leave --again out")
    pad = open_launchpad(folder)
    failed = 0
    for workflow in pad.workflows.find({"metadata.study_hash": study_hash}, {"fw_states": 1}):
        for fw_id, state in workflow["fw_states"].items():
            if state == "FIZZLED":
                forgive(pad, {"fw_id": int(fw_id)})
                pad.rerun_fw(int(fw_id))
                failed += 1
    if not failed:
        raise InputError(f"nothing in study {study_hash} has failed", "see anodeflow status")
    return failed


def _changes(studies: Any, file: Path, text: str, study_hash: str) -> list[str]:
    """What changed in a file since it was submitted as another study."""
    notes = []
    for record in studies.find({"file": str(file.resolve()), "submitted_from": socket.gethostname()},
                               {"text": 1, "submitted_at": 1}):  # fmt: skip
        if record["_id"] == study_hash or record["text"] == text:
            continue
        when = record["submitted_at"].strftime("%Y-%m-%d %H:%M")
        notes.append(f"{file} has changed since it was submitted as {record['_id']} on {when} UTC: "
                     f"{_first_difference(record['text'], text)}")  # fmt: skip
    return notes


def _first_difference(before: str, after: str) -> str:
    """Return the first line that differs."""
    old, new = before.splitlines(), after.splitlines()
    for number in range(max(len(old), len(new))):
        was = old[number].strip() if number < len(old) else "nothing"
        is_now = new[number].strip() if number < len(new) else "nothing"
        if was != is_now:
            return f"line {number + 1} was '{was[:60]}', is '{is_now[:60]}'"
    return "only white space"
