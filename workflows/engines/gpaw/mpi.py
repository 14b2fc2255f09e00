"""GPAW on several processes: a program of its own under mpiexec, which tells its steps through a file."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

from monty.json import MontyDecoder, MontyEncoder

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Monitor, Outcome, Reason, Request
from anodeflow.workflows.engines.external import find_program, mpi_as_root, run_program, write_whole

JOB, STEPS, RESULT, OUTPUT = "gpaw_job.json", "gpaw_steps.jsonl", "gpaw_result.json", "gpaw_mpi.out"
_CHILD = "anodeflow.workflows.engines.gpaw.mpi_child"
PROGRAM = "GPAW on several processes"


def run_with_mpi(processes: int, request: Request, folder: Path, monitor: Monitor | None) -> Outcome:
    """Run one calculation under mpiexec.

    The children import nothing from the folder they run in (``python -P``).

    Parameters
    ----------
    processes
        How many.
    request
        What to compute.
    folder
        Of this calculation.
    monitor
        Called after every ionic step; may raise to stop.

    Raises
    ------
    EngineError
        If mpiexec is missing, or the run ends without a result.
    """
    find_program(["mpiexec"], PROGRAM)
    for name in (STEPS, RESULT):
        (folder / name).unlink(missing_ok=True)
    _write_job(request, folder)
    reported = 0

    def poll() -> None:
        nonlocal reported
        if monitor is None or not (folder / STEPS).is_file():
            return
        lines = (folder / STEPS).read_text().splitlines(keepends=True)
        for line in [complete for complete in lines[reported:] if complete.endswith("\n")]:
            reported += 1
            step, energy, force = json.loads(line)
            monitor(step, energy, force)

    status = run_program(
        ["mpiexec", "-n", str(processes), sys.executable, "-P", "-m", "gpaw", "python", "-m", _CHILD, str(folder)],
        folder,
        output=OUTPUT,
        program=PROGRAM,
        environment={"OMP_NUM_THREADS": "1"} | mpi_as_root(),
        poll=poll,
    )
    if not (folder / RESULT).is_file():
        output = (folder / OUTPUT).read_text(errors="replace").strip().splitlines()
        raise EngineError(
            f"GPAW ended with status {status} and without a result: {output[-1] if output else 'it said nothing'}",
            f"see {folder / OUTPUT}",
        )
    return read_result(folder)


def _write_job(request: Request, folder: Path) -> None:
    """Leave what is to be computed."""
    job = {
        "structure": request.structure,
        "task": request.task,
        "card": request.card.model_dump(mode="json"),
        "charge": request.charge,
        "stress": request.stress,
    }
    write_whole(folder / JOB, json.dumps(job, cls=MontyEncoder))


def read_job(folder: Path) -> Request:
    """Return what was left by :func:`_write_job`."""
    job = MontyDecoder().decode((folder / JOB).read_text(encoding="utf-8"))
    card = MethodCard.model_validate(job["card"])
    return Request(job["structure"], job["task"], card, job["charge"], job.get("stress", False))


def tell_step(folder: Path, step: int, energy_ev: float, max_force: float) -> None:
    """Add one ionic step to the file of steps."""
    with (folder / STEPS).open("a") as sink:
        sink.write(json.dumps([step, energy_ev, max_force]) + "\n")


def write_result(outcome: Outcome, folder: Path) -> None:
    """Leave the outcome, all fields of it."""
    content = {field.name: getattr(outcome, field.name) for field in fields(Outcome)}
    content["reason"] = None if outcome.reason is None else outcome.reason.value
    write_whole(folder / RESULT, json.dumps(content, cls=MontyEncoder))


def read_result(folder: Path) -> Outcome:
    """Return what was left by :func:`write_result`."""
    content = MontyDecoder().decode((folder / RESULT).read_text(encoding="utf-8"))
    content["reason"] = None if content["reason"] is None else Reason(content["reason"])
    return Outcome(**content)
