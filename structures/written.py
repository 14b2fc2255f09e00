"""A structure as the text of a file: CIF, POSCAR or extended XYZ, with every digit that matters."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from anodeflow.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

#: Ending of each format; a POSCAR may also be a file whose name begins so.
ENDINGS = {"cif": ".cif", "poscar": ".vasp", "extxyz": ".xyz"}


def format_of(file: Path) -> str:
    """Return the format that the name of a file asks for.

    Raises
    ------
    InputError
        If it asks for none.
    """
    if file.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    known = {ending: name for name, ending in ENDINGS.items()} | {".extxyz": "extxyz", ".poscar": "poscar"}
    if file.suffix.lower() not in known:
        raise InputError(f"'{file}' has no ending of a structure file", "use .cif, .vasp, .xyz, or name it POSCAR")
    return known[file.suffix.lower()]


def structure_text(structure: Structure, kind: str, name: str, energy_ev: float | None = None) -> str:
    """Return a structure as text, with the atoms in its order.

    Parameters
    ----------
    structure
        Ordered; sides of an interface and held atoms go into extended XYZ, held atoms into POSCAR.
    kind
        A key of :data:`ENDINGS`.
    name
        Comment of a POSCAR.
    energy_ev
        Of the cell, for extended XYZ; None where there is none.

    Returns
    -------
    str
        The content of the file.
    """
    if kind == "poscar":
        from pymatgen.io.vasp import Poscar

        return str(Poscar(structure, comment=" ".join(name.split())).get_str(significant_figures=12))
    if kind == "cif":
        from pymatgen.io.cif import CifWriter

        return str(CifWriter(structure, significant_figures=10))
    import ase.io

    atoms = _atoms(structure)
    if energy_ev is not None:
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms.calc = SinglePointCalculator(atoms, energy=energy_ev)
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    return text.getvalue()


def _atoms(structure: Structure) -> Atoms:
    import numpy as np
    from ase import Atoms
    from ase.constraints import FixAtoms

    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    properties = structure.site_properties
    if "side" in properties:
        atoms.new_array("side", np.array(properties["side"], dtype=str))
    if "selective_dynamics" in properties:
        atoms.set_constraint(FixAtoms([n for n, free in enumerate(properties["selective_dynamics"]) if not any(free)]))
    return atoms
