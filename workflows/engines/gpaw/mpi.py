"""GPAW on several processes: a program of its own under mpiexec, which tells its steps through a file.

Run as ``mpiexec -n N gpaw python gpaw_mpi.py FOLDER``; every process computes, the first one writes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Monitor, Outcome, Task
from anodeflow.workflows.engines.external import find_program, mpi_as_root, run_program, write_whole

JOB, STEPS, RESULT, OUTPUT = "gpaw_job.json", "gpaw_steps.jsonl", "gpaw_result.json", "gpaw_mpi.out"
FIELDS = (
    "structure", "energy_ev", "ionic_converged", "electronic_converged", "ionic_steps", "max_force_ev_per_angstrom",
    "max_stress_gpa", "energy_change_last_step_ev", "error", "warnings", "arrays",
)  # fmt: skip


def compute_with_mpi(
    processes: int,
    structure: Structure,
    task: Task,
    card: MethodCard,
    charge: int,
    monitor: Monitor | None,
    directory: Path,
) -> Outcome:
    """Compute one calculation under mpiexec.

    Raises
    ------
    EngineError
        If mpiexec or the ``gpaw`` command is missing, or the run ends without a result.
    """
    find_program(["mpiexec"], "GPAW on several processes")
    gpaw = shutil.which("gpaw", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if gpaw is None:
        raise EngineError("the command gpaw is missing", "reinstall the package gpaw, or set gpaw: {processes: 1}")
    for name in (STEPS, RESULT):
        (directory / name).unlink(missing_ok=True)
    job = {"structure": structure, "task": task, "card": card.model_dump(mode="json"), "charge": charge}
    (directory / JOB).write_text(json.dumps(job, cls=MontyEncoder))
    told = 0

    def poll() -> None:
        nonlocal told
        if monitor is None or not (directory / STEPS).is_file():
            return
        lines = (directory / STEPS).read_text().splitlines(keepends=True)
        for line in [whole for whole in lines[told:] if whole.endswith("\n")]:
            told += 1
            step, energy, force = json.loads(line)
            monitor(step, energy, force)

    status = run_program(
        ["mpiexec", "-n", str(processes), gpaw, "python", __file__, str(directory)],
        directory,
        output=OUTPUT,
        what="GPAW on several processes",
        environment={"OMP_NUM_THREADS": "1"} | mpi_as_root(),
        poll=poll,
    )
    if not (directory / RESULT).is_file():
        said = (directory / OUTPUT).read_text(errors="replace").strip().splitlines()
        raise EngineError(
            f"GPAW ended with status {status} and without a result: {said[-1] if said else 'it said nothing'}",
            f"see {directory / OUTPUT}",
        )
    return Outcome(**MontyDecoder().decode((directory / RESULT).read_text()))


def main(folder: str) -> None:
    """What every process of the MPI run does."""
    from gpaw.mpi import world

    from anodeflow.workflows.engines.gpaw.engine import GpawEngine

    directory = Path(folder)
    job: dict[str, Any] = MontyDecoder().decode((directory / JOB).read_text())
    first = world.rank == 0

    def tell(step: int, energy: float, force: float) -> None:
        if first:
            with (directory / STEPS).open("a") as sink:
                sink.write(json.dumps([step, energy, force]) + "\n")

    outcome = GpawEngine().compute_here(
        job["structure"], job["task"], MethodCard.model_validate(job["card"]), job["charge"], tell, directory, first
    )
    if first:
        result = {name: getattr(outcome, name) for name in FIELDS}
        write_whole(directory / RESULT, json.dumps(result, cls=MontyEncoder))


if __name__ == "__main__":
    main(sys.argv[1])
