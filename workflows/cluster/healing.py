"""Finding jobs that the scheduler killed, preempted or forgot, and giving them back to the queue.

FireWorks believes that a job runs until it says otherwise, and a killed one never does. Here the scheduler is asked:
a job it does not know any more has ended, however. No clock decides about those; where a job left no id of the
scheduler, it counts as lost when it has been silent while this process watched.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from anodeflow.errors import AnodeflowError
from anodeflow.workflows.cluster.attempts import forgive, given_up, in_vain
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.cluster.launches import SENDER, is_alive, last_line, reservation_of, this_process
from anodeflow.workflows.cluster.launching import job_name
from anodeflow.workflows.cluster.launchpad import STUDIES, give_up, stopped_studies
from anodeflow.workflows.cluster.scheduler import DELAYED, cancel, name_in_queue, queued_jobs, start_now
from anodeflow.workflows.store.database import server_errors

HERE = "here"
# A reservation that has got no job after this long was cut off while it was sent; so many times longer where the
# process that sends it may be alive, because a scheduler may take a minute to answer.
RESERVED_S = 30.0
_SENDER_LIVES = 5
# Silence after which a job without an id counts as lost, while somebody watches, and by the clocks alone.
SILENT_S, SILENT_BY_CLOCK_S = 150.0, 900.0
# How long a contradiction between a job and its workflow must last before it is fixed.
SETTLE_S = 15.0
# How long the lock of a workflow is waited for before it is taken over.
LOCK_S = 30.0
_SEEN = ("fw_id", "state", "launches", "name", "spec.study_hash", "spec.cores")


@dataclass
class Healed:
    """One job that was given back, recorded or given up."""

    job: str
    study_hash: str
    what: str
    why: str


@dataclass
class Healer:
    """Heals the jobs of one cluster folder, again and again; it remembers what it saw the time before.

    Parameters
    ----------
    folder
        Only jobs that were sent from this folder's worker are touched.
    pad
        Its LaunchPad.
    queue
        Ids and states of the jobs at the scheduler; asks the scheduler if None.
    """

    folder: ClusterFolder
    pad: Any
    queue: Callable[[], dict[str, str]] | None = None
    _pings: dict[int, tuple[str, float]] = field(default_factory=dict)
    _odd: dict[tuple[Any, ...], float] = field(default_factory=dict)
    _requeued: set[int] = field(default_factory=set)

    def heal(self) -> list[Healed]:
        """Look once.

        Raises
        ------
        EngineError
            If the scheduler does not answer; then nothing is touched.
        """
        with server_errors(self.folder.database):
            suspects = list(
                self.pad.fireworks.find({"state": {"$in": ["RUNNING", "RESERVED"]}}, dict.fromkeys(_SEEN, 1))
            )
            numbers = [job["launches"][-1] for job in suspects if job["launches"]]
            records = self.pad.launches.find({"launch_id": {"$in": numbers}}, {"action": 0})
            launches = {launch["launch_id"]: launch for launch in records}
            # After the jobs and their launches are read: an id that is known by now was in the queue before it was
            # noted, and what ends meanwhile is still in the queue, or has said so. A launch that is read later may name
            # a job that was sent after the queue was looked at.
            queue = self._ask_scheduler()
            healed = [
                done
                for job in suspects
                if job["launches"] and (done := self._judged(job, launches.get(job["launches"][-1]), queue)) is not None
            ]
            return healed + self._cancel_leftovers(queue) + self._mend_workflows()

    def _ask_scheduler(self) -> dict[str, str]:
        return self.queue() if self.queue else queued_jobs(self.folder.settings.scheduler)

    def _judged(self, seen: dict[str, Any], launch: dict[str, Any] | None, queue: dict[str, str]) -> Healed | None:
        """Judge one job; one that cannot be healed does not keep the others from it."""
        try:
            return self._judge(seen, launch, queue)
        except (AnodeflowError, PyMongoError):
            raise
        except Exception as error:  # whatever FireWorks raises of a workflow that is broken
            return Healed(seen["name"], _study(seen), "cannot be healed", f"{type(error).__name__}: {error}"[:300])

    def _judge(self, seen: dict[str, Any], launch: dict[str, Any] | None, queue: dict[str, str]) -> Healed | None:
        if launch is None or (launch.get("fworker") or {}).get("name") != self.folder.settings.worker:
            return None  # of another cluster, or somebody else's
        why = self._why_lost(launch, queue)
        if why is None:
            return self._hurry(seen, launch, queue)
        # Read again, now that its process is known to have ended: what it wrote last is here, or never will be.
        again = self.pad.launches.find_one({"launch_id": launch["launch_id"]}, {"action": 0})
        now = self.pad.fireworks.find_one({"fw_id": seen["fw_id"]}, {"state": 1, "launches": 1})
        if again is None or now is None or now["state"] != seen["state"] or now["launches"] != seen["launches"]:
            return None  # something happened to it meanwhile
        if again["state"] in ("COMPLETED", "FIZZLED"):
            self.pad._refresh_wf(seen["fw_id"])
            return Healed(seen["name"], _study(seen), "recorded", "it had ended, but its workflow did not know")
        if again["state"] != launch["state"] or reservation_of(again) != reservation_of(launch):
            return None  # it was just sent, or started
        return self._give_back(seen, again, why)

    def _cancel_leftovers(self, queue: dict[str, str]) -> list[Healed]:
        """Cancel jobs that SLURM requeued and makes wait, where their work is done in another job by now."""
        cancelled = []
        for number in (number for number, state in queue.items() if state == DELAYED):
            criteria = {"state_history.reservation_id": number, "fworker.name": self.folder.settings.worker}
            launch = self.pad.launches.find_one(criteria, {"fw_id": 1})
            if launch is None:
                continue
            job = self.pad.fireworks.find_one({"fw_id": launch["fw_id"]}, dict.fromkeys(_SEEN, 1)) or {}
            current = self.pad.launches.find_one({"launch_id": {"$in": job.get("launches", [])[-1:]}}, {"action": 0})
            waits = job.get("state") == "READY" and _study(job) not in stopped_studies(self.pad)
            if waits or (current is not None and reservation_of(current) == number):
                continue  # it will be started for that job
            if name_in_queue(number) != job_name(str(job.get("name")), launch["fw_id"]):
                continue  # not sent from here: ids of jobs are used again
            cancel(self.folder.settings.scheduler, number)
            why = f"the scheduler had put job {number} back, and its work is in another job, done or stopped"
            cancelled.append(Healed(str(job.get("name", number)), _study(job), "cancelled", why))
        return cancelled

    def _hurry(self, seen: dict[str, Any], launch: dict[str, Any], queue: dict[str, str]) -> Healed | None:
        """Let a job that SLURM requeued start at once: SLURM itself makes it wait for two minutes."""
        job = reservation_of(launch)
        if job is None or queue.get(job) != DELAYED:
            return None
        if launch["launch_id"] in self._requeued:
            return None
        self._requeued.add(launch["launch_id"])
        start_now(job)
        return Healed(seen["name"], _study(seen), "started again", f"the scheduler will start job {job} again")

    def _why_lost(self, launch: dict[str, Any], queue: dict[str, str]) -> str | None:
        reservation = reservation_of(launch)
        if reservation is None:
            return self._why_silent(launch)
        if reservation.startswith(f"{HERE}:"):
            _, host, pid = reservation.split(":")
            if host != socket.gethostname():
                return self._why_silent(launch)
            return None if _is_rocket(int(pid)) else "its process ended silently"
        if reservation in queue:
            return None
        return f"the scheduler does not know job {reservation} any more"

    def _why_silent(self, launch: dict[str, Any]) -> str | None:
        last = str(launch["state_history"][-1].get("updated_on"))
        clock = time.monotonic()
        before = self._pings.setdefault(launch["launch_id"], (last, clock))
        if before[0] != last:
            self._pings[launch["launch_id"]] = (last, clock)
            return None
        limit, by_clock = SILENT_S, SILENT_BY_CLOCK_S
        if launch["state"] == "RESERVED":
            sender = launch.get(SENDER)
            # This process is not sending while it looks here.
            over = sender is not None and (sender == this_process() or is_alive(sender) is False)
            limit = RESERVED_S if over else RESERVED_S * _SENDER_LIVES
            by_clock = limit * 5
        age = _age_s(last)
        if clock - before[1] < limit and age < by_clock:
            return None
        return "it was never sent" if launch["state"] == "RESERVED" else f"it has been silent for {age:.0f} s"

    def _give_back(self, seen: dict[str, Any], launch: dict[str, Any], why: str) -> Healed | None:
        if self.pad.study_is_stopped(seen["fw_id"]):
            forgive(self.pad, {"launch_id": launch["launch_id"]})
        number = in_vain(self.pad, seen["fw_id"], launch["launch_id"])
        if number >= self.folder.settings.attempts:
            output = last_line(Path(launch.get("launch_dir") or "/nowhere"))
            line = given_up(self.pad, seen["fw_id"], number, why, output)
            give_up(self.pad, launch["launch_id"], line)
            done = Healed(seen["name"], _study(seen), "given up", line)
        elif self.pad.give_back(seen["fw_id"], seen["state"], launch):
            done = Healed(seen["name"], _study(seen), "run again", why)
        else:
            return None  # another process gave it back, or it began after all
        self._account(seen, launch)
        return done

    def _account(self, seen: dict[str, Any], launch: dict[str, Any]) -> None:
        started = next((h["created_on"] for h in launch["state_history"] if h["state"] == "RUNNING"), None)
        if started is None:
            return
        seconds = max(0.0, _age_s(str(started)) - _age_s(str(launch["state_history"][-1]["updated_on"])))
        cores = int((seen.get("spec") or {}).get("cores") or 1)
        self.pad.db[STUDIES].update_one({"_id": _study(seen)}, {"$inc": {"core_seconds": seconds * cores}})

    # --- workflows that were cut off in the middle of a change ----------------------------------------

    def _mend_workflows(self) -> list[Healed]:
        """Jobs whose end their workflow has missed, because the process that was to write it was killed."""
        mended = []
        odd = self._contradictions()
        clock = time.monotonic()
        self._odd = {key: self._odd.get(key, clock) for key in odd}
        for key, since in list(self._odd.items()):
            fw_id, name, study_hash, old, _, concerned = key
            if clock - since < SETTLE_S or any(self._may_be_writing(number) for number in concerned):
                continue
            del self._odd[key]
            if not self._make_change_again(fw_id, study_hash, old):
                continue
            mended.append(Healed(name, study_hash, "recorded", "its workflow was cut off in the middle of a change"))
        return mended

    def _make_change_again(self, fw_id: int, study_hash: str, old: str | None) -> bool:
        """Let a workflow take in the end of a job once more; False where it has done so meanwhile."""
        # Here, because FireWorks reads its settings when it is imported: the folder's environment has to be set.
        from fireworks.core.launchpad import WFLock

        # Whoever holds the lock is waited for; a dead one's is taken over, as FireWorks does.
        with WFLock(self.pad, fw_id, expire_secs=LOCK_S, kill=True):
            if old is not None:
                workflow = self.pad.workflows.find_one({"nodes": fw_id}, {"fw_states": 1})
                job = self.pad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
                if workflow is None or job is None:
                    return False
                if workflow["fw_states"].get(str(fw_id)) != old or job["state"] == old:
                    return False
                self.pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": old}})
            self._remove_orphans(study_hash)
        self.pad._refresh_wf(fw_id)
        return True

    def _may_be_writing(self, fw_id: int) -> bool:
        """Whether the process that ran a firework last is alive: then it still makes its change, however slowly."""
        job = self.pad.fireworks.find_one({"fw_id": fw_id}, {"launches": 1}) or {}
        launch = self.pad.launches.find_one({"launch_id": {"$in": job.get("launches", [])[-1:]}}, {"action": 0})
        if launch is None:
            return False
        if (launch.get("fworker") or {}).get("name") != self.folder.settings.worker:
            return True  # another cluster's: its own healer knows
        return self._why_lost(launch, self._ask_scheduler()) is None

    def settling(self) -> bool:
        """Whether a contradiction was seen that may settle by itself."""
        return bool(self._odd)

    def _contradictions(self) -> list[tuple[Any, ...]]:
        contradictions = []
        active = {"state": {"$nin": ["COMPLETED", "ARCHIVED", "DEFUSED"]}, "metadata.study_hash": {"$exists": True}}
        for workflow in self.pad.workflows.find(active, {"nodes": 1, "fw_states": 1, "metadata": 1, "parent_links": 1}):
            study_hash, noted = workflow["metadata"]["study_hash"], workflow["fw_states"]
            states = {
                job["fw_id"]: job
                for job in self.pad.fireworks.find(
                    {"fw_id": {"$in": workflow["nodes"]}}, {"fw_id": 1, "state": 1, "name": 1}
                )
            }
            for fw_id, job in states.items():
                parents = workflow.get("parent_links", {}).get(str(fw_id), [])
                before = noted.get(str(fw_id))
                if before != job["state"]:
                    contradictions.append((fw_id, job["name"], study_hash, before, job["state"], (fw_id,)))
                elif (
                    job["state"] == "WAITING"
                    and parents
                    # The workflow knows what its parents added to it once it says that they are completed.
                    and all(noted.get(str(p)) == states.get(p, {}).get("state") == "COMPLETED" for p in parents)
                ):
                    contradictions.append((fw_id, job["name"], study_hash, None, job["state"], (*parents, fw_id)))
        return contradictions

    def _remove_orphans(self, study_hash: str) -> None:
        nodes = [
            n for w in self.pad.workflows.find({"metadata.study_hash": study_hash}, {"nodes": 1}) for n in w["nodes"]
        ]
        self.pad.fireworks.delete_many(
            {"spec.study_hash": study_hash, "fw_id": {"$nin": nodes}, "state": {"$in": ["WAITING", "READY"]}}
        )


def _study(seen: dict[str, Any]) -> str:
    return str((seen.get("spec") or {}).get("study_hash", ""))


def _is_rocket(pid: int) -> bool:
    """Whether this process is alive and one of ours: ids of processes are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if not Path("/proc/self").exists():  # no Linux
            try:
                os.kill(pid, 0)
            except OSError:
                return False
            return True
        return False
    return b"anodeflow.workflows.cluster.rocket" in words


def _age_s(text: str) -> float:
    """Seconds since a time of FireWorks', by this machine's clock."""
    then = datetime.fromisoformat(text)
    return (datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()
