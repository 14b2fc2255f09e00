"""What GPAW gives: how it says that the electrons did not converge, and the slab back where it was."""

from __future__ import annotations

from pathlib import Path

from pymatgen.core import Structure

from anodeflow.workflows.engines.contract import Outcome, Reason, Task
from anodeflow.workflows.engines.gpaw.inputs import LOG


def is_scf_failure(error: Exception) -> bool:
    """Return whether GPAW gave up on the electrons; its exception's module has moved between versions."""
    return type(error).__name__ in {"SCFConvergenceError", "KohnShamConvergenceError", "ConvergenceError"}


def unconverged(structure: Structure, task: Task, iterations: int, folder: Path | None) -> Outcome:
    """Return the outcome of a calculation whose electrons did not converge: no energy.

    Parameters
    ----------
    structure, task
        What was asked for.
    iterations
        How many were allowed.
    folder
        Where GPAW's text is, if it wrote any.
    """
    file = None if folder is None else folder / LOG
    where = "no log" if file is None or not file.is_file() else f"see {file}"
    return Outcome(
        structure,
        None,
        None if task == "static" else False,
        electronic_converged=False,
        error=f"electrons not converged in {iterations} iterations ({where})",
        reason=Reason.ELECTRONS,
    )
