"""Labelled cells as trainers take them, and what a model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.labelled_frames import LabelledCell, stress_gpa
from anodeflow.analysis.tuning import Prediction
from anodeflow.files import atomic_path
from anodeflow.units import ASE_EV_PER_A3_TO_GPA


def atoms_of(cell: LabelledCell) -> Any:
    """Return a cell as ASE's atoms, whose calculator gives the labels."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms: Any = AseAtomsAdaptor.get_atoms(cell.structure, msonable=False)
    labels: dict[str, Any] = {"energy": cell.energy_ev, "forces": cell.forces_ev_per_angstrom}
    if cell.stress_gpa is not None:
        labels["stress"] = full_3x3_to_voigt_6_stress(cell.stress_gpa / ASE_EV_PER_A3_TO_GPA)
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def write_cells(file: Path, cells: Sequence[LabelledCell]) -> None:
    """Write cells as extended XYZ, atomically.

    Parameters
    ----------
    file
        To be written.
    cells
        With labels; a stress that is not known is left out.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from ase.io import write

    with atomic_path(file) as temporary:
        write(temporary, [atoms_of(cell) for cell in cells], format="extxyz")


def predicted(calculator: Any, structures: Sequence[Structure]) -> list[Prediction]:
    """Return what an ASE calculator says of cells.

    Parameters
    ----------
    calculator
        Of a model.
    structures
        The cells.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    predictions: list[Prediction] = []
    for structure in structures:
        atoms: Any = AseAtomsAdaptor.get_atoms(structure, msonable=False)
        atoms.calc = calculator
        energy, forces = float(atoms.get_potential_energy()), np.asarray(atoms.get_forces(), dtype=float)
        try:
            stress = stress_gpa(np.asarray(atoms.get_stress(voigt=False), dtype=float))
        except NotImplementedError:
            stress = None
        predictions.append((energy, forces, stress))
    return predictions
