"""One calculation with GPAW: in this process, or under mpiexec."""

from __future__ import annotations

from pathlib import Path

from anodeflow.settings import GpawSettings
from anodeflow.workflows.engines.contract import Monitor, Outcome, Request
from anodeflow.workflows.engines.gpaw.inputs import inputs_of, moved_for_gpaw, put_back
from anodeflow.workflows.engines.gpaw.mpi import run_with_mpi
from anodeflow.workflows.engines.gpaw.outputs import is_scf_failure, levels_of, unconverged
from anodeflow.workflows.engines.motion.dispersion import with_dispersion
from anodeflow.workflows.engines.motion.relax import run_ase
from anodeflow.workflows.engines.plane_waves.levels import add_levels


class Calculation:
    """One calculation.

    Parameters
    ----------
    request
        What to compute.
    folder
        Where GPAW's text and the last step are kept; None for nowhere, which takes one process.
    monitor
        Called after every ionic step; may raise to stop.
    settings
        How many processes.
    """

    def __init__(self, request: Request, folder: Path | None, monitor: Monitor | None, settings: GpawSettings) -> None:
        self._request, self._folder, self._monitor, self._settings = request, folder, monitor, settings

    def run(self) -> Outcome:
        """Compute, or continue an earlier attempt in the same folder.

        Raises
        ------
        EngineError
            If a data set, mpiexec or the result of a run under mpiexec is missing.
        """
        if self._settings.processes > 1 and self._folder is not None:
            return run_with_mpi(self._settings.processes, self._request, self._folder, self._monitor)
        return self.run_here()

    def run_here(self, *, writes: bool = True) -> Outcome:
        """Compute in this process.

        Parameters
        ----------
        writes
            Whether this process keeps the last step: one of several that compute together does.
        """
        structure, task = self._request.structure, self._request.task
        inputs = inputs_of(self._request)
        settings, card, calculator = inputs.settings, self._request.card, inputs.calculator(self._folder)
        start, moved = moved_for_gpaw(structure, settings.dipole_axis)
        try:
            outcome = run_ase(
                start,
                with_dispersion(calculator, card),
                task,
                card,
                self._monitor,
                self._folder,
                writes,
                self._request.stress,
            )
        except Exception as error:
            if not is_scf_failure(error):
                raise
            outcome = unconverged(structure, task, inputs.keywords["maxiter"], self._folder)
        else:
            outcome.electronic_converged = True
        if moved is not None:
            outcome.structure = put_back(outcome.structure, structure, moved)
            if "positions_angstrom" in outcome.arrays:
                outcome.arrays["positions_angstrom"] -= moved @ structure.lattice.matrix
        outcome.warnings = [*settings.notes, *outcome.warnings]
        add_levels(outcome, settings, lambda axis: levels_of(calculator, structure, axis))
        if settings.spin_polarised and outcome.energy_ev is not None:
            outcome.arrays["magnetic_moment_bohr"] = float(calculator.get_magnetic_moment())
        return outcome
