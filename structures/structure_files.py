"""A user's own structure file, read and checked: one crystal, or one line that says why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.files.ase_formats import read_with_ase
from anodeflow.structures.files.cif import read_cif
from anodeflow.structures.files.lammps_data import TypeNames, looks_like_lammps_data, read_lammps_data
from anodeflow.structures.files.opening import ACCEPTED, MAX_ATOMS, StructureText, open_structure
from anodeflow.structures.files.overlaps import overlap_of
from anodeflow.structures.files.poscar import read_poscar
from anodeflow.structures.files.pymatgen_json import read_pymatgen_json
from anodeflow.structures.files.shelx import looks_like_shelx, read_shelx

_MAX_EDGE_ANGSTROM = 1000.0
_MAX_COORDINATE = 1000.0
"""Furthest fractional coordinate: beyond, too few digits are left for the place in the cell."""
_MIN_VOLUME_PER_ATOM = 1.0
"""In cubic angstrom. The densest crystal at ambient pressure, diamond, has 5.7."""

_MAX_VOLUME_PER_ATOM = 20_000.0
"""In cubic angstrom; a cell in picometres has more."""


def read_structure(path: Path, types: TypeNames | None = None) -> Structure:
    """Read one ordered crystal from a file.

    Parameters
    ----------
    path
        A CIF, POSCAR, extended XYZ, SHELX .res, pymatgen JSON or LAMMPS data file, or another that ASE reads; also
        packed with gzip, bzip2 or xz.
    types
        Element of each type of a LAMMPS data file, such as ``["Li", "Cl"]``; needed where its masses do not tell.

    Returns
    -------
    Structure
        The cell as written, without oxidation states.

    Raises
    ------
    InputError
        The file is missing, empty, of an unknown format, malformed, or holds several structures.
    StructureError
        What it holds cannot be a crystal (no cell, overlapping or missing atoms, partial occupancies), or its
        statements contradict each other, or its symmetry cannot be known.
    """
    structure = read_disordered(path, types)
    if not structure.is_ordered:
        raise StructureError(
            f"structure file {path} has partially occupied positions ({structure.composition.formula})",
            "build an ordered configuration first, for argyrodites with `anodeflow build argyrodite`",
        )
    return structure


def read_disordered(path: Path, types: TypeNames | None = None) -> Structure:
    """Read one crystal from a file; its positions may be partly occupied or shared.

    Parameters
    ----------
    path, types
        As of :func:`read_structure`.

    Returns
    -------
    Structure
        The cell as written, without oxidation states.

    Raises
    ------
    InputError
        As of :func:`read_structure`.
    StructureError
        As of :func:`read_structure`, except that partial occupancies are allowed.
    """
    source = open_structure(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries warn of what is checked here
            structure = _read(source, types)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"structure file {path} announces more atoms than fit into memory", ACCEPTED) from None
    except Exception as error:  # the parsers raise anything on a broken file
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise source.unreadable(reason) from error
    return _checked(structure, path)


def _read(source: StructureText, types: TypeNames | None) -> Structure:
    """Read the structure by the reader that the name and the first lines call for."""
    name, text = source.name, source.text.lstrip()
    if types is not None:
        if not looks_like_lammps_data(source):
            raise InputError(
                f"structure file {source.path} is not a LAMMPS data file", "types are named for those only"
            )
        return read_lammps_data(source, types)
    if name.endswith((".cif", ".mcif", ".mmcif")):
        return read_cif(source)
    if name.endswith(".json") or text.startswith(("{", "[")):
        return read_pymatgen_json(source)
    if name.endswith((".xyz", ".extxyz")):
        return read_with_ase(source)
    if "poscar" in name or "contcar" in name or name.endswith(".vasp"):
        return read_poscar(source)
    if name.endswith((".res", ".ins")) or looks_like_shelx(source):
        return read_shelx(source)
    if looks_like_lammps_data(source):
        return read_lammps_data(source)
    begin = next((line for line in source.lines if line.strip() and not line.lstrip().startswith("#")), "")
    return read_cif(source) if begin.lower().startswith("data_") else read_with_ase(source)


def _checked(structure: Structure, path: Path) -> Structure:
    """Return the structure, if it can be one of matter."""
    if not len(structure):
        raise StructureError(f"structure file {path} holds no atoms", ACCEPTED)
    if len(structure) > MAX_ATOMS:
        raise StructureError(f"structure file {path} holds {len(structure)} atoms", f"{MAX_ATOMS} are the most")
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise StructureError(f"structure file {path} holds a coordinate that is not a number", "write it again")
    if max(map(abs, structure.lattice.matrix.ravel().tolist())) > _MAX_EDGE_ANGSTROM:
        raise StructureError(
            f"structure file {path} has a cell longer than {_MAX_EDGE_ANGSTROM:g} angstrom", "check the lattice vectors"
        )
    if abs(structure.frac_coords).max() > _MAX_COORDINATE:
        raise StructureError(f"structure file {path} holds an atom far outside of its cell", "write it again")
    volume = structure.volume / structure.composition.num_atoms
    if not _MIN_VOLUME_PER_ATOM < volume < _MAX_VOLUME_PER_ATOM:
        raise StructureError(
            f"structure file {path} has a cell of {structure.volume:.3g} cubic angstrom for {len(structure)} atoms",
            "check the lattice vectors, their unit and the scale factor",
        )
    overlap = overlap_of(structure)
    if overlap:
        raise StructureError(f"structure file {path}: {overlap}", "remove the duplicate or correct the cell")
    return structure
