"""What GPAW gives: how it says that the electrons did not converge, and the levels of a slab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.workflows.engines.contract import Outcome, Reason, Task
from anodeflow.workflows.engines.gpaw.inputs import LOG
from anodeflow.workflows.engines.plane_waves.levels import leaving_level, levels_on_grid


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


def levels_of(calculator: Any, structure: Structure, axis: int) -> dict[str, Any]:
    """Return the fields of :class:`~anodeflow.documents.SlabLevels` of a slab that was computed.

    All processes of a run take part.

    Parameters
    ----------
    calculator
        GPAW's, converged.
    structure
        The slab.
    axis
        Of the vacuum.
    """
    values = np.asarray(calculator.get_electrostatic_potential())
    frame = Structure(structure.lattice.matrix, structure.species, calculator.atoms.get_scaled_positions(wrap=False))
    homo, lumo = (float(level) for level in calculator.get_homo_lumo())
    fermi = float(calculator.get_fermi_level())
    return levels_on_grid(values, frame, axis, *leaving_level(fermi, homo, lumo))
