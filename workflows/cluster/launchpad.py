"""FireWorks' database of workflows, opened with the settings of a cluster folder."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from pymongo.errors import DuplicateKeyError

from anodeflow.workflows.cluster.database import server_errors
from anodeflow.workflows.cluster.folder import ClusterFolder

STUDIES = "studies"
ALIVE = ("READY", "WAITING", "RUNNING", "RESERVED", "PAUSED")


def studies_of(folder: ClusterFolder) -> Any:
    """The collection that says which studies were submitted, one document each; `_id` is the study's hash."""
    return folder.database.open()[STUDIES]


def open_launchpad(folder: ClusterFolder) -> Any:
    """The LaunchPad of a cluster folder, ready for use.

    FireWorks reads its settings when it is imported, so this sets the folder's environment first.

    Raises
    ------
    StoreError
        If the database does not answer or refuses the user.
    """
    use_environment(folder)
    with contextlib.redirect_stdout(sys.stderr):  # FireWorks prints which settings it found
        from fireworks.core.launchpad import LaunchPad

    class ClusterLaunchPad(LaunchPad):
        """Puts a job that the scheduler stopped back into the queue instead of calling it failed."""

        def complete_launch(self, launch_id: int, action: Any = None, state: str = "COMPLETED") -> Any:
            if state == "FIZZLED" and was_stopped(action):
                fw_id = self.launches.find_one({"launch_id": launch_id}, {"fw_id": 1})["fw_id"]
                if tries(self, fw_id) < folder.settings.attempts:
                    return self.rerun_fw(fw_id)
            return super().complete_launch(launch_id, action, state)

    database = folder.database
    found = database.open()
    with server_errors(database):
        pad = ClusterLaunchPad(
            host=database.uri,
            uri_mode=True,
            name=database.name,
            strm_lvl="CRITICAL",
            mongoclient_kwargs=database.client_options(),
        )
        if found.fw_id_assigner.count_documents({}) == 0:
            with contextlib.suppress(DuplicateKeyError):
                found.fw_id_assigner.update_one(
                    {"_id": "anodeflow"}, {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}}, upsert=True
                )
            pad.tuneup()
            found.workflows.create_index("metadata.study_hash")
    return pad


def use_environment(folder: ClusterFolder) -> None:
    """Set the variables of a cluster folder in this process."""
    os.environ.update(folder.environment())


def fireworker(folder: ClusterFolder, category: str | list[str] = "") -> Any:
    """This cluster as FireWorks knows it, for jobs of these categories (all if empty)."""
    from fireworks.core.fworker import FWorker

    return FWorker(folder.settings.worker, category=category)


def set_reservation(pad: Any, launch_id: int, job: str) -> bool:
    """Note the scheduler's id of a reserved launch; False where it has one already.

    FireWorks' own way writes the whole launch back, and undoes what a job that has started meanwhile wrote.
    """
    without = {"$elemMatch": {"state": "RESERVED", "reservation_id": {"$exists": False}}}
    done = pad.launches.update_one(
        {"launch_id": launch_id, "state_history": without}, {"$set": {"state_history.$.reservation_id": job}}
    )
    return bool(done.modified_count)


def was_stopped(action: Any) -> bool:
    """Whether a launch ended because the scheduler asked it to."""
    data = getattr(action, "stored_data", None) or (action or {}).get("stored_data", {})
    details = (data.get("_exception") or {}).get("_details") or {}
    return bool(details.get("stopped"))


def tries(pad: Any, fw_id: int) -> int:
    """How often a firework was started."""
    found = pad.fireworks.find_one({"fw_id": fw_id}, {"launches": 1, "archived_launches": 1}) or {}
    return len(found.get("launches", [])) + len(found.get("archived_launches", []))


def error_line(launch: dict[str, Any] | None) -> str:
    """Why a launch failed, in one line."""
    stored = ((launch or {}).get("action") or {}).get("stored_data") or {}
    failure = stored.get("_exception") or {}
    details = failure.get("_details") or {}
    if details.get("error"):
        return str(details["error"])
    lines = [line for line in str(failure.get("_stacktrace", "")).splitlines() if line.strip()]
    return lines[-1].strip()[:400] if lines else "no reason was recorded"
