"""FireWorks' database of workflows, opened with the settings of a cluster folder."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from pymongo.errors import AutoReconnect, DuplicateKeyError, PyMongoError

from anodeflow.errors import StoreError
from anodeflow.workflows.cluster.attempts import forgive, given_up, in_vain
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launches import reservation_of
from anodeflow.workflows.store.database import server_errors

STUDIES = "studies"
# What a study's record holds while it is stopped by hand: when, by whom and from where.
STOPPED = "stopped"
# FireWorks keeps only the trace of what went wrong outside of a task.
_LOST_DATABASE = re.compile(
    r"^(pymongo\.errors\.(AutoReconnect|NetworkTimeout|ServerSelectionTimeoutError|NotPrimaryError)|[\w.]+DatabaseAway):",
    re.MULTILINE,
)
_READ_AGAIN = 3
_AGAIN = 1  # FireWorks' priority of a job that is run again
ALIVE = ("READY", "WAITING", "RUNNING", "RESERVED", "PAUSED")


def studies_of(folder: ClusterFolder) -> Any:
    """The collection that says which studies were submitted, one document each; `_id` is the study's hash."""
    return folder.database.open()[STUDIES]


# long: it holds the LaunchPad of a cluster folder as a class, because FireWorks is imported only here
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
        from fireworks.core.launchpad import LaunchPad, LockedWorkflowError, WFLock

    class ClusterLaunchPad(LaunchPad):
        """Puts a job that was stopped, or lost the database, back into the queue instead of calling it failed."""

        def complete_launch(self, launch_id: int, action: Any = None, state: str = "COMPLETED") -> Any:
            if state == "FIZZLED" and was_stopped(action):
                launch = self.launches.find_one({"launch_id": launch_id}, {"action": 0})
                fw_id = launch["fw_id"]
                if self.study_is_stopped(fw_id):
                    forgive(self, {"launch_id": launch_id})
                number = in_vain(self, fw_id, launch_id)
                if number < folder.settings.attempts:
                    return self.give_back(fw_id, "RUNNING", launch)
                action = failure(given_up(self, fw_id, number, error_line({"action": action.to_dict()})))
            return super().complete_launch(launch_id, action, state)

        def give_back(self, fw_id: int, state: str, launch: dict[str, Any]) -> bool:
            """Run a job again if nothing has happened to it since it was looked at; False where something has.

            Checked and done under the lock of its workflow: of several that find the same job lost, one gives it back.

            Parameters
            ----------
            fw_id, state
                The job, and its state when it was looked at.
            launch
                Its launch as it was then.
            """
            if self._was_orphan(fw_id):
                return True
            with WFLock(self, fw_id):
                job = self.fireworks.find_one({"fw_id": fw_id}, {"state": 1, "launches": 1}) or {}
                now = self.launches.find_one({"launch_id": launch["launch_id"]}, {"action": 0}) or {}
                if (job.get("state"), job.get("launches", [])[-1:]) != (state, [launch["launch_id"]]):
                    return False
                if now.get("state") != launch["state"] or reservation_of(now) != reservation_of(launch):
                    return False
                self.fireworks.update_one({"fw_id": fw_id}, {"$set": {"spec._priority": _AGAIN}})
                workflow = self.get_wf_by_fw_id_lzyfw(fw_id)
                self._update_wf(workflow, workflow.rerun_fw(fw_id))
            return True

        def study_is_stopped(self, fw_id: int) -> bool:
            """Return whether a person has stopped the study of a job."""
            job = self.fireworks.find_one({"fw_id": fw_id}, {"spec.study_hash": 1}) or {}
            return (job.get("spec") or {}).get("study_hash") in stopped_studies(self)

        def rerun_fw(self, fw_id: int, *arguments: Any, **options: Any) -> Any:
            """Run a job again, before those that never ran: others may wait for it."""
            if self._was_orphan(fw_id):
                return []
            self.fireworks.update_one({"fw_id": fw_id}, {"$set": {"spec._priority": _AGAIN}})
            return super().rerun_fw(fw_id, *arguments, **options)

        def get_fw_by_id(self, fw_id: int) -> Any:
            # FireWorks takes whatever goes wrong here for a job that cannot be read, and calls it failed.
            for _ in range(_READ_AGAIN):
                with contextlib.suppress(AutoReconnect):
                    return super().get_fw_by_id(fw_id)
            return super().get_fw_by_id(fw_id)

        def _refresh_wf(self, fw_id: int) -> None:
            # FireWorks calls a job failed if the database breaks while its workflow is brought up to date.
            try:
                with WFLock(self, fw_id):
                    workflow = self.get_wf_by_fw_id_lzyfw(fw_id)
                    self._update_wf(workflow, workflow.refresh(fw_id))
            except LockedWorkflowError:
                pass  # whoever holds the lock brings it up to date
            except PyMongoError:
                raise
            except Exception:
                if self._was_orphan(fw_id):
                    line = f"job {fw_id} was left over from a change that was cut off, and was removed"
                    raise StoreError(line, "nothing to do: it is added again") from None
                try:
                    super()._refresh_wf(fw_id)  # once more; then the job counts as failed
                except RuntimeError as error:
                    why = str(error).strip().splitlines()[-1][:300]
                    raise StoreError(f"the workflow of job {fw_id} is broken: {why}", "see anodeflow status") from None

        def _was_orphan(self, fw_id: int) -> bool:
            """Remove a job that no workflow knows: whoever added it was killed, and it will be added again."""
            if self.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is not None:
                return False
            self.fireworks.delete_one({"fw_id": fw_id})
            self.launches.delete_many({"fw_id": fw_id})
            return True

    database = folder.database
    there = database.open()
    with server_errors(database):
        pad = ClusterLaunchPad(
            host=database.uri,
            uri_mode=True,
            name=database.name,
            strm_lvl="CRITICAL",
            mongoclient_kwargs=database.client_options(),
        )
        if there.fw_id_assigner.count_documents({}) == 0:
            with contextlib.suppress(DuplicateKeyError):
                there.fw_id_assigner.update_one(
                    {"_id": "anodeflow"}, {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}}, upsert=True
                )
            pad.tuneup()
            there.workflows.create_index("metadata.study_hash")
    return pad


def use_environment(folder: ClusterFolder) -> None:
    """Set the variables of a cluster folder in this process."""
    os.environ.update(folder.environment())


def fireworker(folder: ClusterFolder, category: str | list[str] = "", stopped: Sequence[str] = ()) -> Any:
    """Return this cluster as FireWorks knows it.

    Parameters
    ----------
    folder
        The cluster folder.
    category
        Only for jobs of these categories; all if empty.
    stopped
        Hashes of studies whose jobs it leaves alone.
    """
    from fireworks.core.fworker import FWorker  # here, as in run_firework

    query = {"spec.study_hash": {"$nin": list(stopped)}} if stopped else None
    return FWorker(folder.settings.worker, category=category, query=query)


def stopped_studies(pad: Any) -> list[str]:
    """Return the hashes of the studies that a person has stopped."""
    return [record["_id"] for record in pad.db[STUDIES].find({STOPPED: {"$exists": True}}, {"_id": 1})]


def run_firework(pad: Any, folder: ClusterFolder, fw_id: int | None) -> bool:
    """Run one firework in this process; False where it is not there to be run.

    Parameters
    ----------
    pad
        The LaunchPad.
    folder
        Its cluster folder.
    fw_id
        Which; None for any that is due.
    """
    # Here, because FireWorks reads its settings when it is imported: the folder's environment has to be set.
    from fireworks.core.rocket_launcher import launch_rocket

    return bool(launch_rocket(pad, fireworker(folder), fw_id, strm_lvl="ERROR"))


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
    """Whether a launch ended because the scheduler asked it to, or because the database was away for a moment."""
    data = getattr(action, "stored_data", None) or (action or {}).get("stored_data", {})
    failure = data.get("_exception") or {}
    details = failure.get("_details")
    if details:  # the job itself says why it ended
        return bool(details.get("stopped"))
    return bool(_LOST_DATABASE.search(str(failure.get("_stacktrace", ""))))


def give_up(pad: Any, launch_id: int, line: str) -> None:
    """Call a launch failed, for a reason in one line."""
    pad.complete_launch(launch_id, failure(line), "FIZZLED")


def failure(line: str) -> Any:
    """Return what FireWorks keeps of a launch that failed, for a reason in one line."""
    from fireworks.core.firework import FWAction  # here, as in run_firework

    return FWAction(stored_data={"_exception": {"_details": {"error": line}, "_stacktrace": line}}, exit=True)


def error_line(launch: dict[str, Any] | None) -> str:
    """Why a launch failed, in one line."""
    stored = ((launch or {}).get("action") or {}).get("stored_data") or {}
    failure = stored.get("_exception") or {}
    details = failure.get("_details") or {}
    if details.get("error"):
        return str(details["error"])
    lines = [line for line in str(failure.get("_stacktrace", "")).splitlines() if line.strip()]
    return lines[-1].strip()[:400] if lines else "no reason was recorded"
