"""How far every study is, from one document a study; quick however many calculations there are.

Only pymongo and sqlite3 are imported: opening a store through maggma and FireWorks takes longer than the answer.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.cluster.database import Database, config_folder, is_uri, load_database, server_errors
from anodeflow.workflows.cluster.folder import FOLDER_VARIABLE, find_folder

REASONS = 5
LOCAL_STORE = Path("anodeflow.sqlite")
SHORT = 400
# Indexed fields have columns of their own; true and false are X'2801' and X'2800' there (workflows/store/codec.py).
COUNTS = """
SELECT "k:metadata.study_hash", SUM("k:output.converged" = X'2801'), SUM("k:output.converged" = X'2800'),
    SUM("k:metadata.label" = 'summary'), MAX("k:completed_at"), MAX("k:metadata.study")
FROM jobs WHERE "k:metadata.study_hash" IS NOT NULL AND "k:index" = 1 GROUP BY 1 ORDER BY 5 DESC
"""
UNCONVERGED = """
SELECT "k:metadata.study_hash", "k:metadata.label", json_extract(document, '$.output.error')
FROM jobs WHERE "k:metadata.study_hash" IS NOT NULL AND "k:index" = 1 AND "k:output.converged" = X'2800' LIMIT 1000
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
        A results file, or a database; goes before the folder.

    Raises
    ------
    StoreError, InputError
        If there is neither, or it cannot be read.
    """
    if store is not None:
        return of_database(load_database(store)) if is_uri(str(store)) else of_file(store)
    known = folder or os.environ.get(FOLDER_VARIABLE) or (config_folder() / "cluster").is_dir()
    if known:
        return of_database(find_folder(folder).database)
    if LOCAL_STORE.is_file():
        return of_file(LOCAL_STORE)
    raise InputError(
        "no cluster folder is known, and there is no anodeflow.sqlite here", "see anodeflow hpc init --help"
    )


def of_database(database: Database) -> list[StudyProgress]:
    """Every study that was submitted to a cluster, newest first."""
    found = database.open()
    with server_errors(database):
        records = list(found.studies.find({}, {"text": 0}).sort("submitted_at", -1))
        workflows: dict[str, list[dict[str, Any]]] = {}
        wanted = {"fw_states": 1, "metadata.study_hash": 1, "state": 1}
        for workflow in found.workflows.find({"metadata.study_hash": {"$exists": True}}, wanted):
            workflows.setdefault(workflow["metadata"]["study_hash"], []).append(workflow)
        unconverged = _unconverged(found)
        return [_row(found, r, workflows.get(r["_id"], []), unconverged.get(r["_id"], [])) for r in records]


def _unconverged(found: Any) -> dict[str, list[Reason]]:
    by_study: dict[str, list[Reason]] = {}
    rows = found.jobs.find({"output.converged": False, "output.doc_type": "CalculationDoc", "index": 1},
                           {"metadata.study_hash": 1, "output.label": 1, "output.error": 1})  # fmt: skip
    for row in rows:
        reason = Reason(str(row["output"].get("label")), _one_line(row["output"].get("error") or "not converged"))
        by_study.setdefault(row.get("metadata", {}).get("study_hash", ""), []).append(reason)
    return by_study


def _row(
    found: Any, record: dict[str, Any], workflows: list[dict[str, Any]], unconverged: list[Reason]
) -> StudyProgress:
    states = Counter(state for workflow in workflows for state in workflow["fw_states"].values())
    failed = [int(f) for w in workflows for f, state in w["fw_states"].items() if state == "FIZZLED"]
    row = StudyProgress(
        study_hash=record["_id"],
        title=record.get("title") or record.get("study", ""),
        state="",
        done=states["COMPLETED"],
        running=states["RUNNING"],
        queued=states["RESERVED"],
        waiting=sum(states[s] for s in ("WAITING", "READY", "RESERVED", "PAUSED", "DEFUSED")),
        failed=len(failed),
        unconverged=len(unconverged),
        core_hours=round(record.get("core_seconds", 0.0) / 3600, 4),
        submitted_at=record["submitted_at"].isoformat(timespec="seconds") + "Z",
        submitted_by=record.get("submitted_by"),
    )
    row.reasons = [*_failures(found, failed[:REASONS]), *unconverged][:REASONS]
    row.state = _state(record, row, states)
    row.seconds_left = _seconds_left(record, row)
    row.notes = _file_notes(record)
    return row


def _state(record: dict[str, Any], row: StudyProgress, states: Counter[str]) -> str:
    if record.get("state") == "submitting":
        return "being submitted"
    if not states:
        return "removed"
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


def _failures(found: Any, fw_ids: list[int]) -> list[Reason]:
    from anodeflow.workflows.cluster.launchpad import error_line

    reasons = []
    for one in found.fireworks.find({"fw_id": {"$in": fw_ids}}, {"name": 1, "launches": 1}):
        launch = found.launches.find_one(
            {"launch_id": {"$in": one["launches"][-1:]}}, {"action.stored_data._exception": 1}
        )
        reasons.append(Reason(str(one["name"]), _one_line(error_line(launch))))
    return reasons


def _file_notes(record: dict[str, Any]) -> list[str]:
    """Whether the study's file has changed since; only where it was submitted from."""
    if record.get("submitted_from") != socket.gethostname():
        return []
    try:
        now = hashlib.sha256(Path(record["file"]).read_bytes()).hexdigest()
    except OSError:
        return []
    return [] if now == record.get("file_sha256") else [f"{record['file']} has changed since it was submitted"]


def _one_line(text: str) -> str:
    return " ".join(str(text).split())[:SHORT]


def of_file(path: Path) -> list[StudyProgress]:
    """Every study in the results file of this machine, newest first: what is there, as nothing waits in a file."""
    if not path.is_file():
        raise StoreError(f"no store at {path}", "run a study first, or name one with --store")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=20.0)
        try:
            counts = connection.execute(COUNTS).fetchall()
            reasons = [
                (study, Reason(str(label), _one_line(error or "not converged")))
                for study, label, error in connection.execute(UNCONVERGED)
            ]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be read ({error})", "check it with anodeflow results") from None
    rows = []
    for study, done, bad, summaries, last, kind in counts:
        row = StudyProgress(str(study), str(kind), "done" if summaries else "unfinished", int(done or 0),
                            unconverged=int(bad or 0), submitted_at=last)  # fmt: skip
        row.reasons = [reason for name, reason in reasons if name == study][:REASONS]
        rows.append(row)
    return rows
