"""What GPAW gives: how it says that the electrons did not converge, and the levels of a slab."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.vacuum_level import PlanarPotential, slab_levels
from anodeflow.structures.supercells import face_distances_angstrom
from anodeflow.workflows.engines.contract import Outcome, Reason, Task
from anodeflow.workflows.engines.gpaw.inputs import LOG
from anodeflow.workflows.engines.plane_waves.electronic import widest_gap

#: A slab whose levels are this far apart is an insulator, and its smeared Fermi level lies anywhere between.
_GAP_EV = 0.5


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
    atoms = calculator.atoms
    frame = Structure(structure.lattice.matrix, structure.species, atoms.get_scaled_positions(wrap=False))
    average = values.mean(axis=tuple(other for other in range(3) if other != axis))
    height = face_distances_angstrom(structure.lattice)[axis]
    homo, lumo = (float(level) for level in calculator.get_homo_lumo())
    level: Literal["Fermi level", "highest occupied level"] = "highest occupied level"
    if not lumo - homo > _GAP_EV:
        homo, level = float(calculator.get_fermi_level()), "Fermi level"
    potential = PlanarPotential(np.arange(len(average)) * height / len(average), average, height)
    gap, middle = widest_gap(frame, axis)
    return slab_levels(potential, ((middle - gap / 2) * height, gap * height), homo, level).model_dump()
