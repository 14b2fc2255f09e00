"""The levels of a slab that VASP has computed, from its LOCPOT, OUTCAR and EIGENVAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.program_output.potentials import read_grid, read_level
from anodeflow.workflows.engines.plane_waves.levels import leaving_level_of, levels_on_grid


def levels_of(folder: Path, structure: Structure, axis: int) -> dict[str, Any]:
    """Return the fields of :class:`~anodeflow.documents.SlabLevels` of a slab that VASP has converged in a folder.

    Parameters
    ----------
    folder
        With LOCPOT and OUTCAR.
    structure
        The slab.
    axis
        Of the vacuum.

    Raises
    ------
    InputError
        If one of them is missing or damaged.
    """
    level = leaving_level_of(read_level(folder / "OUTCAR"), _levels(folder / "EIGENVAL"))
    return levels_on_grid(read_grid(folder / "LOCPOT").values_ev, structure, axis, *level)


def _levels(file: Path) -> list[float]:
    """Return all levels of an EIGENVAL, eV; none where there is no such file."""
    from pymatgen.io.vasp.outputs import Eigenval

    if not file.is_file():
        return []
    return [float(level) for spin in Eigenval(str(file)).eigenvalues.values() for level in spin[..., 0].ravel()]
