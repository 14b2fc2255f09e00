"""What every process of a GPAW run under mpiexec does: all of them compute, the first one writes.

Run as ``mpiexec -n N python -P -m gpaw python -m anodeflow.workflows.engines.gpaw.mpi_child FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from anodeflow.settings import GpawSettings
from anodeflow.workflows.engines.gpaw.calculation import Calculation
from anodeflow.workflows.engines.gpaw.mpi import read_job, tell_step, write_result


def main(folder: Path) -> None:
    """Compute what was left in a folder, and leave the outcome there."""
    from gpaw.mpi import world

    first = world.rank == 0

    def tell(step: int, energy_ev: float, max_force: float) -> None:
        if first:
            tell_step(folder, step, energy_ev, max_force)

    outcome = Calculation(read_job(folder), folder, tell, GpawSettings()).run_here(writes=first)
    if first:
        write_result(outcome, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
