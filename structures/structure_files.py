"""A user's own structure file, read and checked: one crystal, or one line that says why not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

import ase
import ase.io
import ase.io.formats
import numpy as np
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar
from pymatgen.io.vasp.inputs import BadPoscarWarning

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.sites import element_symbols, worst_overlap

CRYSTAL_FORMATS = "a CIF, POSCAR or extended XYZ file of one crystal"


def read_structure(path: Path) -> Structure:
    """Read one ordered crystal from a file.

    Raises
    ------
    InputError
        The file is missing, empty, of an unknown format, malformed, or holds several structures.
    StructureError
        What it holds cannot be a crystal: no cell, overlapping or missing atoms, partial occupancies.
    """
    return _checked(_read(path), path)


def _read(path: Path) -> Structure:
    """Parse one structure from a user's file; every failure names the file and the parser's reason."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"structure file {path} {what}", f"give {CRYSTAL_FORMATS}, or a catalogue name")
    try:
        if not path.stat().st_size:
            raise InputError(f"structure file {path} is empty", f"give {CRYSTAL_FORMATS}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix.lower() == ".cif":
                return _read_cif(path)
            if path.suffix.lower() in (".vasp", ".poscar") or path.name.upper().startswith(("POSCAR", "CONTCAR")):
                # Without element names pymatgen would call the atoms H, He, Li in turn.
                warnings.simplefilter("error", BadPoscarWarning)
                return Poscar.from_str(path.read_text(encoding="utf-8")).structure
            return _read_with_ase(path)
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"structure file {path} announces more atoms than fit into memory", f"give {CRYSTAL_FORMATS}"
        ) from None
    except Exception as error:  # the parsers raise anything on a broken file
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise InputError(f"structure file {path} cannot be read ({reason})", f"give {CRYSTAL_FORMATS}") from error


def _read_cif(path: Path) -> Structure:
    parser = CifParser(path, check_cif=False)
    structures = parser.parse_structures(primitive=False, on_error="raise")
    if len(structures) != 1:
        raise InputError(f"structure file {path} holds {len(structures)} structures", "keep one data block")
    structure = structures[0]
    blocks = [{key.lower(): value for key, value in data.items()} for data in parser.as_dict().values()]
    block = next((block for block in blocks if "_atom_site_fract_x" in block), {})
    written = str(block.get("_chemical_formula_sum", "")).strip()
    if not written or written in "?.":
        return structure
    stated, found = Composition(written), structure.composition
    same = stated.reduced_composition.almost_equals(found.reduced_composition, rtol=0.02, atol=0.02)
    units = found.num_atoms / stated.num_atoms
    z = str(block.get("_cell_formula_units_z", "?")).strip()
    # Some programs write the formula of the whole cell, and Z all the same.
    allowed = {1.0, float(z)} if z.isdigit() else {float(max(1, round(units)))}
    whole = any(abs(units - n) < 0.02 * n for n in allowed)
    if not (same and whole):
        raise StructureError(
            f"structure file {path}: the atoms and symmetry make {found.formula} in the cell,"
            f" its own _chemical_formula_sum says {written!r}",
            "atoms or symmetry operations are missing from the CIF; export it again",
        )
    return structure


def _read_with_ase(path: Path) -> Structure:
    with path.open("rb") as handle:
        first = handle.readline(100).strip()
    if first.isdigit() and int(first) > path.stat().st_size:  # an XYZ file: an atom takes more than a byte
        raise InputError(f"structure file {path} announces {int(first)} atoms and is cut off", "write it again")
    name = ase.io.formats.filetype(str(path))
    kind = ase.io.formats.ioformats[name]
    if kind.isbinary or not kind.acceptsfd or not kind.can_read or name == "py":
        raise InputError(f"structure file {path} is of the format {name!r}", f"give {CRYSTAL_FORMATS}")
    read = ase.io.read(str(path), index=":", format=name, do_not_split_by_at_sign=True)
    frames = cast("list[ase.Atoms]", read)
    if len(frames) != 1:
        raise InputError(f"structure file {path} holds {len(frames)} structures", "keep one frame")
    atoms = frames[0]
    if not (atoms.pbc.all() and abs(atoms.cell.volume) > 0):
        raise StructureError(
            f"structure file {path} is not periodic in three directions (pbc {atoms.pbc.tolist()}, cell"
            f" volume {abs(atoms.cell.volume):.3g})",
            "write the cell into the file, for extended XYZ as Lattice and pbc",
        )
    return AseAtomsAdaptor.get_structure(atoms)


def _checked(structure: Structure, path: Path) -> Structure:
    """The structure, if it can be one of matter."""
    if not len(structure):
        raise StructureError(f"structure file {path} holds no atoms", f"give {CRYSTAL_FORMATS}")
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise StructureError(f"structure file {path} holds a coordinate that is not a number", "write it again")
    if not structure.volume > 0.1 * len(structure):
        raise StructureError(
            f"structure file {path} has a cell of {structure.volume:.3g} cubic angstrom for {len(structure)} atoms",
            "check the lattice vectors and the scale factor",
        )
    if not structure.is_ordered:
        raise StructureError(
            f"structure file {path} has partially occupied positions ({structure.composition.formula})",
            "build an ordered configuration first, for argyrodites with `anodeflow build argyrodite`",
        )
    overlap = worst_overlap(structure)
    if overlap:
        distance, i, j = overlap
        symbols = element_symbols(structure)
        raise StructureError(
            f"structure file {path}: atoms {i + 1} ({symbols[i]}) and {j + 1} ({symbols[j]}) are only"
            f" {distance:.3f} angstrom apart",
            "remove the duplicate or correct the cell",
        )
    return structure
