"""What a compute node runs: one jobflow job, its result to the store, its time to the accounts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jobflow
from fireworks import explicit_serialize
from jobflow.managers.fireworks import JobFiretask

from anodeflow.errors import AnodeflowError, EngineError, out_of_memory
from anodeflow.settings import VARIABLE_OF_TRUST
from anodeflow.workflows.cluster.attempts import write_steps
from anodeflow.workflows.cluster.folder import ClusterFolder, find_folder
from anodeflow.workflows.cluster.launchpad import studies_of
from anodeflow.workflows.cluster.resources import job_spec
from anodeflow.workflows.cluster.stopping import calculation
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.database import DatabaseAway, server_errors

#: Key of a firework's spec.
TRUST = "trust_imported"


class JobFailed(Exception):  # noqa: N818 - FireWorks stores what to_dict gives
    """Why a job failed, in one line; `again` where another start may well succeed."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again

    def to_dict(self) -> dict[str, Any]:
        """For FireWorks' record of the launch."""
        return {"error": str(self), "stopped": self.again}


@explicit_serialize
class StudyTask(JobFiretask):
    """Runs a job of a study with the results store of the cluster folder.

    Jobs that it makes while it runs get resources by their size, as those that were submitted.
    """

    def run_task(self, fw_spec: dict[str, Any]) -> Any:
        """See FireWorks.

        Raises
        ------
        JobFailed
            With one line that says why.
        """
        folder = find_folder()
        clock, done = time.monotonic(), False
        try:
            with calculation(), _imported_trusted(bool(fw_spec.get(TRUST))):
                jobflow.SETTINGS.JOB_STORE = open_job_store(folder.store)
                action = super().run_task(fw_spec)
            done = True
        except EngineError as error:
            raise JobFailed(f"{error} (on {os.uname().nodename})") from error
        except AnodeflowError as error:
            raise JobFailed(str(error), again=isinstance(error, DatabaseAway)) from error
        except (MemoryError, RuntimeError) as error:
            raise JobFailed(_one_line(out_of_memory(error) or error)) from error
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            line = f"cannot write or read{where}: {error.strerror or error} (on {os.uname().nodename})"
            raise JobFailed(f"{line}; free space, or set 'runs' in settings.yaml to another disk") from error
        except Exception as error:
            raise JobFailed(_one_line(error)) from error
        finally:
            write_steps()
            account(folder, fw_spec, time.monotonic() - clock, done)
        for workflow in (*action.detours, *action.additions):
            dress(workflow, folder, lambda label: None, fw_spec.get("tags"), bool(fw_spec.get(TRUST)))
        return action


def _one_line(error: Exception) -> str:
    if isinstance(error, AnodeflowError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


@contextmanager
def _imported_trusted(trusted: bool) -> Iterator[None]:
    """Use imported calculations of other studies in this block, if whoever submitted the study asked for it."""
    before = os.environ.get(VARIABLE_OF_TRUST)
    if trusted:
        os.environ[VARIABLE_OF_TRUST] = "true"
    try:
        yield
    finally:
        if trusted and before is None:
            del os.environ[VARIABLE_OF_TRUST]
        elif trusted:
            os.environ[VARIABLE_OF_TRUST] = str(before)


def dress(
    workflow: Any, folder: ClusterFolder, atoms_of: Any, tags: list[str] | None, trust_imported: bool = False
) -> None:
    """Give the fireworks of a workflow this task, their resources, their tags, and whether they trust imports.

    Parameters
    ----------
    workflow
        Of FireWorks.
    folder
        The cluster folder, which knows the resources.
    atoms_of
        Returns the number of atoms by the label of a job; None where it is not known.
    tags
        Put on every job.
    trust_imported
        Use imported calculations of other studies.
    """
    for firework in workflow.fws:
        job = firework.tasks[0]["job"]
        firework.tasks = [StudyTask(job=job, store=None)]
        firework.spec.update(job_spec(folder, job, atoms_of))
        if tags:
            firework.spec["tags"] = list(tags)
        if trust_imported:
            firework.spec[TRUST] = True


def account(folder: ClusterFolder, fw_spec: dict[str, Any], seconds: float, done: bool) -> None:
    """Add a job's time to its study, and the calculation if it is done. A lost record must not lose the job."""
    try:
        calculation = done and fw_spec.get("kind") == "calculation"
        with server_errors(folder.database):
            studies_of(folder).update_one(
                {"_id": fw_spec.get("study_hash")},
                {
                    "$inc": {
                        "core_seconds": seconds * int(fw_spec.get("cores") or 1),
                        "calculation_seconds": seconds if calculation else 0.0,
                        "calculations": int(calculation),
                    }
                },
            )
    except AnodeflowError:
        pass
