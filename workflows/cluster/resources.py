"""What a job asks of the scheduler, from the size and kind of its calculation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobflow import Job

from anodeflow.workflows.cluster.folder import LIGHT, ClusterFolder, Size, walltime_text
from anodeflow.workflows.jobs.recognised import Recognised, recognised_of

# Time of a kind of task relative to a relaxation of the ions.
SHARE_OF_TIME = {"static": 0.25, "relax": 1.0, "relax_c": 1.0, "relax_cell": 1.0}
SHORTEST_S = 600


def adapter_values(scheduler: str, size: Size, walltime: str) -> dict[str, Any]:
    """Values of the queue adapter for a size."""
    cores = size.tasks_per_node * size.cpus_per_task
    if scheduler == "pbs":
        gpus = f":ngpus={size.gpus}" if size.gpus else ""
        return {
            "select": f"{size.nodes}:ncpus={cores}:mpiprocs={size.tasks_per_node}{gpus}",
            "walltime": walltime,
        }
    if scheduler == "sge":
        slots = size.nodes * cores
        return {
            "slots": slots,
            "parallel_environment": size.parallel_environment if slots > 1 else None,
            "walltime": walltime,
        }
    return {
        "nodes": size.nodes,
        "ntasks_per_node": size.tasks_per_node,
        "cpus_per_task": size.cpus_per_task,
        "gpus_per_node": size.gpus or None,
        "walltime": walltime,
    }


def job_spec(folder: ClusterFolder, job: Job, atoms_of: Callable[[str], int | None]) -> dict[str, Any]:
    """Return what a jobflow job adds to its firework: category, resources and cores.

    Parameters
    ----------
    folder
        The cluster folder.
    job
        The job.
    atoms_of
        Atoms of a calculation by its label, where its geometry is not known yet.

    Returns
    -------
    dict
        ``_category``, ``_queueadapter``, ``cores``, ``atoms``, ``walltime_s``.
    """
    work = recognised_of(job)
    if work is None:
        return {"_category": LIGHT, "cores": 1}
    atoms, size, seconds = size_of(folder, work, atoms_of(job.name))
    return {
        "_category": size.name,
        "_queueadapter": adapter_values(folder.settings.scheduler, size, walltime_text(seconds)),
        "cores": size.cores,
        "atoms": atoms,
        "walltime_s": seconds,
    }


def size_of(
    folder: ClusterFolder, work: Recognised[Any], planned_atoms: int | None = None
) -> tuple[int | None, Size, int]:
    """Return the number of atoms of a calculation if it is known, the size for so many, and the time it gets, s.

    Parameters
    ----------
    folder
        The cluster folder.
    work
        The calculation, band or segment.
    planned_atoms
        Atoms it was planned with, for one whose geometry is not known yet.
    """
    atoms = work.atoms or planned_atoms
    size = folder.settings.sizes[-1] if atoms is None else folder.size_for(atoms)
    share = SHARE_OF_TIME.get(work.task, 1.0)
    return atoms, size, max(min(SHORTEST_S, size.walltime_s), int(size.walltime_s * share))
