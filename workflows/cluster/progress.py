"""How far every study is, from one document a study; quick however many calculations there are.

Only pymongo and sqlite3 are imported: opening a store through maggma and FireWorks takes longer than the answer.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anodeflow.errors import InputError, StoreError
from anodeflow.files import file_sha256
from anodeflow.workflows.cluster.attempts import summaries
from anodeflow.workflows.cluster.folder import FOLDER_VARIABLE, find_folder
from anodeflow.workflows.cluster.launchpad import ALIVE, STOPPED, error_line
from anodeflow.workflows.store.database import (
    Database,
    config_folder,
    database_file,
    is_uri,
    load_database,
    server_errors,
)
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.store.runs import RUNS, RunRecord

_REASONS = 5
_MOST_UNCONVERGED = 1000
_LOCAL_STORE = Path("anodeflow.sqlite")
_SHORT = 400
# Indexed fields have their columns; true and false are X'2801' and X'2800' there (workflows/store/codec.py).
_COUNTS = f"""
SELECT "k:metadata.study_hash", SUM("k:output.converged" = X'2801'), SUM("k:output.converged" = X'2800'),
    SUM("k:metadata.label" = '{SUMMARY}'), MAX("k:completed_at"), MAX("k:metadata.study")
FROM jobs WHERE "k:metadata.study_hash" IS NOT NULL AND "k:index" = 1 GROUP BY 1 ORDER BY 5 DESC
"""  # noqa: S608 - a label of ours
_LIVE = f"SELECT document FROM {RUNS}"  # noqa: S608 - a name of our own
_UNCONVERGED = """
SELECT "k:metadata.study_hash", "k:metadata.label", json_extract(document, '$.output.error')
FROM jobs WHERE "k:metadata.study_hash" IS NOT NULL AND "k:index" = 1 AND "k:output.converged" = X'2800' LIMIT ?
"""


@dataclass
class Reason:
    """Why one job has no result."""

    job: str
    error: str


@dataclass
class StudyProgress:
    """One study."""

    study_hash: str
    title: str
    state: str
    done: int = 0
    running: int = 0
    queued: int = 0
    waiting: int = 0
    failed: int = 0
    unconverged: int = 0
    core_hours: float | None = None
    seconds_left: float | None = None
    submitted_at: str | None = None
    submitted_by: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def progress(folder: Path | None, store: Path | None) -> list[StudyProgress]:
    """Every study of a cluster folder, or of a results store.

    Parameters
    ----------
    folder
        The cluster folder; None for the usual one, or the store of this folder where there is none.
    store
        A results file, a database or another cluster folder; goes before the folder.

    Raises
    ------
    StoreError, InputError
        If there is neither, or it cannot be read.
    """
    if store is not None:
        named = is_uri(str(store)) or database_file(str(store)) is not None
        return of_database(load_database(store)) if named else of_file(store)
    known = folder or os.environ.get(FOLDER_VARIABLE) or (config_folder() / "cluster").is_dir()
    if known:
        return of_database(find_folder(folder).database)
    if _LOCAL_STORE.is_file():
        return of_file(_LOCAL_STORE)
    raise InputError(
        "no cluster folder is known, and there is no anodeflow.sqlite here", "see anodeflow hpc init --help"
    )


def of_database(database: Database) -> list[StudyProgress]:
    """Every study of a database, newest first: those that were submitted, and those that were run elsewhere."""
    there = database.open()
    with server_errors(database):
        records = list(there.studies.find({}, {"text": 0}).sort("submitted_at", -1))
        states: dict[str, dict[str, str]] = {record["_id"]: {} for record in records}
        wanted = {"fw_states": 1, "metadata.study_hash": 1}
        for workflow in there.workflows.find({"metadata.study_hash": {"$exists": True}}, wanted):
            states.setdefault(workflow["metadata"]["study_hash"], {}).update(workflow["fw_states"])
        unconverged, reasons = _unconverged(there)
        failures = _failures(there, states)
        rows = [
            _row(
                record,
                states[record["_id"]],
                unconverged[record["_id"]],
                [*failures.get(record["_id"], []), *reasons.get(record["_id"], [])][:_REASONS],
            )
            for record in records
        ]
        repeated = _repeated(there)
        for row in rows:
            row.notes += repeated.get(row.study_hash, [])
        others = [name for name in there.jobs.distinct("metadata.study_hash") if name and name not in states]
        counts = there.jobs.aggregate(_counts(others)) if others else []
        columns = ("_id", "done", "bad", "summaries", "last", "study")
        rows += [_stored_row([count[c] for c in columns], reasons.get(count["_id"], [])) for count in counts]
        rows = sorted(rows, key=lambda row: row.submitted_at or "", reverse=True)
        return _with_runs(rows, there[RUNS].find({}))


def _counts(studies: list[str]) -> list[dict[str, Any]]:
    """What `_COUNTS` asks of a file, asked of a server."""

    def number_where(path: str, value: Any) -> dict[str, Any]:
        return {"$sum": {"$cond": [{"$eq": [f"${path}", value]}, 1, 0]}}

    return [
        {"$match": {"metadata.study_hash": {"$in": studies}, "index": 1}},
        {
            "$group": {
                "_id": "$metadata.study_hash",
                "done": number_where("output.converged", True),
                "bad": number_where("output.converged", False),
                "summaries": number_where("metadata.label", SUMMARY),
                "last": {"$max": "$completed_at"},
                "study": {"$max": "$metadata.study"},
            }
        },
    ]


def _unconverged(database: Any) -> tuple[Counter[str], dict[str, list[Reason]]]:
    """How many calculations of each study did not converge, and why the first of them."""
    criteria = {"output.converged": False, "output.doc_type": "CalculationDoc", "index": 1}
    wanted = {"metadata.study_hash": 1, "output.label": 1, "output.error": 1}
    by_study: dict[str, list[Reason]] = {}
    for row in database.jobs.find(criteria, wanted).limit(_MOST_UNCONVERGED):
        reason = Reason(str(row["output"].get("label")), _one_line(row["output"].get("error") or "not converged"))
        by_study.setdefault(row.get("metadata", {}).get("study_hash", ""), []).append(reason)
    numbers = Counter({study: len(reasons) for study, reasons in by_study.items()})
    if numbers.total() == _MOST_UNCONVERGED:
        groups = database.jobs.aggregate([{"$match": criteria},
                                       {"$group": {"_id": "$metadata.study_hash", "number": {"$sum": 1}}}])  # fmt: skip
        numbers = Counter({str(group["_id"]): group["number"] for group in groups})
    return numbers, by_study


def _row(record: dict[str, Any], fw_states: dict[str, str], unconverged: int, reasons: list[Reason]) -> StudyProgress:
    states = Counter(fw_states.values())
    row = StudyProgress(
        study_hash=record["_id"],
        title=record.get("title") or record.get("study", ""),
        state="",
        done=states["COMPLETED"],
        running=states["RUNNING"],
        queued=states["RESERVED"],
        waiting=sum(states[s] for s in ("WAITING", "READY", "RESERVED", "PAUSED", "DEFUSED")),
        failed=states["FIZZLED"],
        unconverged=unconverged,
        core_hours=round(record.get("core_seconds", 0.0) / 3600, 4),
        submitted_at=record["submitted_at"].isoformat(timespec="seconds") + "Z",
        submitted_by=record.get("submitted_by"),
        reasons=reasons,
    )
    row.state = _state(record, row, states)
    row.seconds_left = _seconds_left(record, row)
    row.notes = _stop_notes(record, row, states) + _file_notes(record)
    return row


def _state(record: dict[str, Any], row: StudyProgress, states: Counter[str]) -> str:
    if record.get("state") == "submitting":
        return "being submitted"
    if not states:
        return "removed"
    if record.get(STOPPED) and sum(states[state] for state in ALIVE):
        return "stopping" if states["RUNNING"] or states["RESERVED"] else "stopped"
    if states["RUNNING"]:
        return "running"
    if states["RESERVED"]:
        return "in the queue"
    if states["READY"]:
        return "due"
    if row.failed or row.unconverged:
        return "failed"
    return "done" if states["COMPLETED"] == sum(states.values()) else "stopped"


def _seconds_left(record: dict[str, Any], row: StudyProgress) -> float | None:
    """Mean time of the calculations so far, times those to come, by as many as run at a time now."""
    calculations = record.get("calculations", 0)
    if row.state not in ("running", "in the queue", "due") or not calculations:
        return None
    left = max(int(record.get("planned", 0)) - calculations, row.running, 1)
    return round(record["calculation_seconds"] / calculations * left / max(1, row.running), 1)


def _failures(database: Any, states: dict[str, dict[str, str]]) -> dict[str, list[Reason]]:
    """Why the first failed jobs of every study failed."""
    study_of = {}
    for study, fw_states in states.items():
        failed = [int(fw_id) for fw_id, state in fw_states.items() if state == "FIZZLED"]
        study_of.update(dict.fromkeys(failed[:_REASONS], study))
    if not study_of:
        return {}
    jobs = list(database.fireworks.find({"fw_id": {"$in": list(study_of)}}, {"fw_id": 1, "name": 1, "launches": 1}))
    launch_ids = [launch_id for job in jobs for launch_id in job["launches"][-1:]]
    wanted = {"launch_id": 1, "action.stored_data._exception": 1}
    launches = {job["launch_id"]: job for job in database.launches.find({"launch_id": {"$in": launch_ids}}, wanted)}
    reasons: dict[str, list[Reason]] = {}
    for job in jobs:
        launch = launches.get(next(iter(job["launches"][-1:]), None))
        reason = Reason(str(job["name"]), _one_line(error_line(launch)))
        reasons.setdefault(study_of[job["fw_id"]], []).append(reason)
    return reasons


def _stop_notes(record: dict[str, Any], row: StudyProgress, states: Counter[str]) -> list[str]:
    """Say who stopped a study, and how it is started again."""
    again = f"start it again with anodeflow hpc resume {row.study_hash}"
    note = record.get(STOPPED)
    if note and row.state in ("stopping", "stopped"):
        when = note["at"].strftime("%Y-%m-%d %H:%M UTC")
        return [f"stopped on {when} by {note['by']} from {note['from']}; {again}"]
    held = states["DEFUSED"] + states["PAUSED"]
    return [f"{held} jobs are held by FireWorks' own commands; {again}"] if held else []


def _repeated(database: Any) -> dict[str, list[str]]:
    """Say which jobs are tried again, and how often they got no further; of each study the first few."""
    criteria = {"state": {"$in": ["READY", "RESERVED", "RUNNING"]}, "archived_launches": {"$nin": [None, []]}}
    wanted = {"fw_id": 1, "name": 1, "spec.study_hash": 1, "launches": 1}
    by_study: dict[str, list[dict[str, Any]]] = {}
    for job in database.fireworks.find(criteria, wanted):
        jobs = by_study.setdefault(str((job.get("spec") or {}).get("study_hash", "")), [])
        if len(jobs) < _REASONS:
            jobs.append(job)
    if not by_study:
        return {}
    under_way = {job["fw_id"]: (job["launches"] or [None])[-1] for jobs in by_study.values() for job in jobs}
    counts = summaries(database, under_way)
    notes: dict[str, list[str]] = {}
    for study, jobs in by_study.items():
        for job in jobs:
            attempts, lost = counts[job["fw_id"]]
            further = f", the last {lost} got no further" if lost else ""
            notes.setdefault(study, []).append(f"{job['name']}: {attempts} attempts so far{further}")
    return notes


def _file_notes(record: dict[str, Any]) -> list[str]:
    """Whether the study's file has changed since; only where it was submitted from."""
    if record.get("submitted_from") != socket.gethostname():
        return []
    try:
        now = file_sha256(record["file"])
    except OSError:
        return []
    return [] if now == record.get("file_sha256") else [f"{record['file']} has changed since it was submitted"]


def _one_line(text: str) -> str:
    return " ".join(str(text).split())[:_SHORT]


def of_file(path: Path) -> list[StudyProgress]:
    """Return every study in the results file of this machine, newest first: what is there, and what runs now."""
    if not path.is_file():
        raise StoreError(f"no store at {path}", "run a study first, or name one with --store")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=20.0)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            runs = [json.loads(text) for (text,) in connection.execute(_LIVE)] if RUNS in tables else []
            if runs and "jobs" not in tables:  # nothing of the first run is finished yet
                return _with_runs([], runs)
            counts = connection.execute(_COUNTS).fetchall()
            reasons = [
                (study, Reason(str(label), _one_line(error or "not converged")))
                for study, label, error in connection.execute(_UNCONVERGED, (_MOST_UNCONVERGED,))
            ]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"the store {path} cannot be read ({error})", "check it with anodeflow results") from None
    rows = [_stored_row(count, [reason for name, reason in reasons if name == count[0]]) for count in counts]
    return _with_runs(rows, runs)


def _with_runs(rows: list[StudyProgress], runs: Iterable[dict[str, Any]]) -> list[StudyProgress]:
    """Return the rows with what runs on some machine now; a study that has no result yet comes first."""
    known = {row.study_hash: row for row in rows}
    for content in runs:
        record = RunRecord.read(content)
        if record is None or not record.goes_on():
            continue
        row = known.get(record.study_hash)
        if row is None:
            row = known[record.study_hash] = StudyProgress(record.study_hash, record.study, "running")
            rows = [row, *rows]
        row.state = "running"
        row.running += record.running
        row.waiting += record.waiting
        row.failed += record.failed
    return rows


def _stored_row(counts: Sequence[Any], reasons: list[Reason]) -> StudyProgress:
    """A study of which only results are known, from the columns of `_COUNTS`."""
    study, done, bad, summaries, last, kind = counts
    return StudyProgress(str(study), str(kind), "done" if summaries else "unfinished", int(done or 0),
                         unconverged=int(bad or 0), submitted_at=last, reasons=reasons[:_REASONS])  # fmt: skip
