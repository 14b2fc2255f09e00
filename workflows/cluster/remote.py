"""Sending a study through jobflow-remote: for clusters whose nodes cannot reach a database.

jobflow-remote's own runner, a process on a machine of yours, copies inputs and results over ssh. What a worker is, and
where results go, stands in its project file; see https://matgenix.github.io/jobflow-remote/.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from pymongo.errors import PyMongoError

from anodeflow.errors import EngineError, InputError, StoreError
from anodeflow.workflows.cluster.folder import ClusterFolder, Size
from anodeflow.workflows.cluster.resources import size_of
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.studies.base import Study


def submit_remote(
    study: Study,
    worker: str,
    project: str | None,
    folder: ClusterFolder | None,
    *,
    tags: Sequence[str] = (),
    dry_run: bool = False,
) -> list[str]:
    """Hand a study to jobflow-remote, or refuse if it is there already.

    Parameters
    ----------
    study
        The study.
    worker, project
        As jobflow-remote's project file names them; None for its default project.
    folder
        A cluster folder, whose sizes say what each calculation asks for; None leaves that to the worker.
    tags
        Put on every job and document.
    dry_run
        Only check that it would be taken.

    Returns
    -------
    list of str
        Identities of the jobs in jobflow-remote's database; none of a dry run.

    Raises
    ------
    EngineError
        If jobflow-remote is not installed.
    InputError
        If the study is there already, or project or worker are unknown.
    StoreError
        If its database does not answer.
    """
    if importlib.util.find_spec("jobflow_remote") is None:
        raise EngineError(
            "jobflow-remote is not installed beside anodeflow",
            "pip install jobflow-remote, in a separate environment",
        )
    from jobflow_remote import set_run_config, submit_flow
    from jobflow_remote.config.base import ConfigError
    from jobflow_remote.config.manager import ConfigManager

    study.preflight()
    flow = study.flow()
    for job, _ in flow.iterflow():
        job.update_metadata({"tags": list(tags)}, dynamic=True)
        work = recognised_of(job)
        if folder is not None and work is not None:
            _, size, seconds = size_of(folder, work)
            set_run_config(job, resources=resources(size, seconds), dynamic=False)
    try:
        known = ConfigManager()
        known.get_worker(worker_name=worker, project_name=project)
        controller = known.get_project(project).get_job_controller()
        there = controller.count_jobs(metadata={"study_hash": study.hash})
        if there:
            raise InputError(
                f"study {study.hash} is there already: {there} jobs in jobflow-remote", "see jf job list; jf job retry"
            )
        return [] if dry_run else submit_flow(flow, worker=worker, project=project)
    except (ConfigError, ValueError) as error:
        raise InputError(f"jobflow-remote: {' '.join(str(error).split())[:300]}", "see jf project check") from None
    except PyMongoError as error:
        raise StoreError(f"jobflow-remote's database: {type(error).__name__}", "see jf project check") from None


def resources(size: Size, seconds: int) -> dict[str, Any]:
    """A size as qtoolkit, which jobflow-remote uses, calls it."""
    return {
        "nodes": size.nodes,
        "processes_per_node": size.tasks_per_node,
        "threads_per_process": size.cpus_per_task,
        "gpus_per_job": size.gpus * size.nodes or None,
        "time_limit": seconds,
    }
