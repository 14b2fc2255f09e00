"""What happened to the jobs of all studies since the last look, for a command that watches them."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launchpad import error_line, stopped_studies
from anodeflow.workflows.cluster.progress import StudyProgress, of_database
from anodeflow.workflows.store.database import server_errors

_ACTIVE = ("READY", "RESERVED", "RUNNING")
_ENDED = ("COMPLETED", "FIZZLED")
_States = dict[str, str]


class Watch:
    """Remembers the states of all jobs, and says what changed.

    Parameters
    ----------
    folder, pad
        The cluster folder and its LaunchPad.

    Attributes
    ----------
    ended : dict of str to StudyProgress
        The studies that had something to do while it watched, and have nothing any more.
    """

    def __init__(self, folder: ClusterFolder, pad: Any) -> None:
        self._folder, self._pad = folder, pad
        self._states: dict[str, _States] = {}
        self._active: set[str] = set()
        self.ended: dict[str, StudyProgress] = {}

    @property
    def without_result(self) -> list[StudyProgress]:
        """Studies that ended while it watched, and failed or were stopped."""
        return [row for row in self.ended.values() if row.state != "done"]

    def changes(self) -> list[str]:
        """Look once: one line for each calculation that was done, job that failed and study that ended.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        with server_errors(self._folder.database):
            stopped = stopped_studies(self._pad)
            lines, over = [], []
            for study_hash, states in self._look().items():
                before = self._states.get(study_hash)
                self._states[study_hash] = states
                held = study_hash in stopped
                if any(state in _ACTIVE and not (held and state == "READY") for state in states.values()):
                    self._active.add(study_hash)
                    self.ended.pop(study_hash, None)
                elif study_hash in self._active:
                    over.append(study_hash)
                if before is not None:
                    lines += self._ends(before, states)
        return lines + self._studies(over)

    def _look(self) -> dict[str, _States]:
        unfinished: dict[str, Any] = {"metadata.study_hash": {"$exists": True}, "state": {"$ne": "COMPLETED"}}
        criteria = {"$or": [unfinished, {"metadata.study_hash": {"$in": sorted(self._active)}}]}
        wanted = {"fw_states": 1, "metadata.study_hash": 1}
        states: dict[str, _States] = {}
        for workflow in self._pad.workflows.find(criteria, wanted):
            states.setdefault(workflow["metadata"]["study_hash"], {}).update(workflow["fw_states"])
        return states

    def _ends(self, before: _States, states: _States) -> list[str]:
        """Return what ended between two looks at a study; of what is done, only the calculations."""
        numbers = [int(n) for n, state in states.items() if state in _ENDED and state != before.get(n)]
        if not numbers:
            return []
        wanted = {"fw_id": 1, "name": 1, "launches": 1, "spec.kind": 1}
        lines = []
        for job in self._pad.fireworks.find({"fw_id": {"$in": numbers}}, wanted):
            if states[str(job["fw_id"])] == "FIZZLED":
                launch = self._pad.launches.find_one(
                    {"launch_id": {"$in": job["launches"][-1:]}}, {"action.stored_data._exception": 1}
                )
                lines.append(f"failed {job['name']}: {error_line(launch)}")
            elif (job.get("spec") or {}).get("kind") == "calculation":
                lines.append(f"done {job['name']}")
        return lines

    def _studies(self, over: list[str]) -> list[str]:
        if not over:
            return []
        rows = {row.study_hash: row for row in of_database(self._folder.database)}
        lines = []
        for study_hash in over:
            self._active.discard(study_hash)
            row = rows.get(study_hash)
            if row is None:
                lines.append(f"study {study_hash} was removed")
                continue
            self.ended[study_hash] = row
            numbers = f"{row.done} jobs done, {row.failed} failed, {row.unconverged} calculations not converged"
            lines.append(f"study {study_hash} ({row.title}) is {row.state}: {numbers}")
        return lines
