"""The formats that are read by ASE, as far as it reads everything they say about a crystal.

Formats of which ASE leaves out a part that changes the crystal (symmetry of a PDB, types of a LAMMPS dump, partial
occupancies) are not among them.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import cast

import ase
import ase.io
import ase.io.formats
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.files.elements import element_of_label, element_of_number, element_of_symbol
from anodeflow.structures.files.opening import ACCEPTED, StructureText

_READABLE = frozenset({
    "extxyz", "xyz", "xsf", "castep-cell", "castep-castep", "espresso-in", "espresso-out", "vasp-out", "vasp-xml",
    "vasp-xdatcar", "cube", "gen", "siesta-xv", "struct_out", "magres", "abinit-in", "abinit-out", "v-sim", "turbomole",
})  # fmt: skip
_SYMMETRY = {
    "espresso-in": re.compile(r"^\s*space_group\s*=|crystal_sg", re.IGNORECASE | re.MULTILINE),
    "abinit-in": re.compile(r"\b(spgroup|natrd|spgaxor)\b", re.IGNORECASE),
    "castep-cell": re.compile(r"\bMIXTURE\s*[:=]", re.IGNORECASE),
}
"""What ASE passes over in a format: sites that stand for several atoms, or for part of one."""
_SYMBOL_COLUMNS = ("species", "symbols", "symbol", "element", "elements", "type", "name", "label")
_NUMBER_COLUMNS = ("z", "numbers", "number", "atomic_numbers", "atomic_number")


def read_with_ase(source: StructureText) -> Structure:
    """Read the one crystal of a file by ASE.

    Parameters
    ----------
    source
        The file; its format is found by content and name.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        Its format is unknown or not read, or it holds several structures.
    StructureError
        It is not periodic in three directions.
    """
    name = _format(source)
    pattern = _SYMMETRY.get(name)
    if pattern is not None and (match := pattern.search(source.text)):
        raise source.unreadable(f"{match[0].strip()!r} is not read here", "write all atoms of the cell, or give a CIF")
    if name == "xsf":
        _refuse_other_count(source)
    if name == "espresso-in":
        _refuse_other_nat(source)
    text = _xyz_with_symbols(source) if name in ("extxyz", "xyz") else source.text
    kind = ase.io.formats.ioformats[name]
    stream = io.BytesIO(text.encode()) if kind.isbinary else io.StringIO(text)
    read = ase.io.read(stream, index=":", format="extxyz" if name == "xyz" else name)
    frames = cast("list[ase.Atoms]", read)
    if len(frames) != 1:
        raise InputError(f"structure file {source.path} holds {len(frames)} structures", "keep one frame")
    atoms = frames[0]
    if not (atoms.pbc.all() and abs(atoms.cell.volume) > 0):
        raise StructureError(
            f"structure file {source.path} is not periodic in three directions (pbc {atoms.pbc.tolist()}, cell"
            f" volume {abs(atoms.cell.volume):.3g})",
            "write the cell into the file, for extended XYZ as Lattice and pbc",
        )
    if (atoms.numbers < 1).any():
        raise source.unreadable(f"atom {int((atoms.numbers < 1).argmax()) + 1} is of no element")
    return AseAtomsAdaptor.get_structure(atoms)


def _format(source: StructureText) -> str:
    """ASE's name of the format, one of `_READABLE`."""
    first = source.lines[0].strip()
    if source.text.lstrip().startswith("ITEM:"):
        raise InputError(
            f"structure file {source.path} is a LAMMPS dump, a trajectory", "give a data file, or use `analyse`"
        )
    if first.isdigit():
        return "extxyz"
    stream = io.BytesIO(source.text.encode())
    name = source.path.name
    for suffix in (".gz", ".bz2", ".xz"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    stream.name = str(Path("no such folder", name))
    file_type = ase.io.formats.filetype(stream)
    if file_type not in _READABLE:
        raise InputError(f"structure file {source.path} is of the format {file_type!r}", ACCEPTED)
    return file_type


def _xyz_with_symbols(source: StructureText) -> str:
    """An XYZ file with its elements as symbols, where it has labels, charged symbols or atomic numbers."""
    lines = source.lines
    first = lines[0].strip()
    if not first.isdigit() or len(first) > 9 or int(first) > len(lines):
        shown = first[:20] if first.isdigit() else 0
        raise InputError(f"structure file {source.path} announces {shown} atoms and is cut off", "write it again")
    count, comment = int(first), lines[1] if len(lines) > 1 else ""
    match = re.search(r"\bProperties=(\"[^\"]*\"|'[^']*'|\S+)", comment)
    fields = (match[1].strip("\"'") if match else "species:S:1:pos:R:3").split(":")
    names, kinds, widths = fields[::3], fields[1::3], fields[2::3]
    if len(fields) % 3 or not all(width.isdigit() and int(width) < 100 for width in widths):
        raise source.unreadable(f"its Properties {':'.join(fields)[:60]!r} are not name:type:columns")
    starts = [sum(map(int, widths[:n])) for n in range(len(names))]
    symbols = [n for n, name in enumerate(names) if name.lower() in _SYMBOL_COLUMNS and kinds[n] == "S"]
    numbers = [n for n, name in enumerate(names) if name.lower() in _NUMBER_COLUMNS and kinds[n] == "I"]
    symbols = [n for n in symbols if names[n].lower() == "species"] or symbols
    if not symbols and not numbers:
        raise source.unreadable(f"no column of {':'.join(fields)[:60]!r} names the elements", "write a column species")
    rows = []
    for n, line in enumerate(lines[2 : 2 + count], start=1):
        words = line.split()
        columns = starts[-1] + int(widths[-1])
        if len(words) < columns or (match and len(words) > columns):
            raise source.unreadable(f"atom {n} of {count} is missing or has {len(words)} columns, not {columns}")
        for k in (k for k, kind in enumerate(kinds) if kind == "R"):
            _refuse_no_number(source, n, words[starts[k] : starts[k] + int(widths[k])])
        read = {_element(source, n, words[starts[k]]) for k in [*symbols[:1], *numbers[:1]]}
        if len(read) != 1:
            raise source.unreadable(f"atom {n} is {' and '.join(sorted(read))}")
        for k in [*symbols[:1], *numbers[:1]]:
            words[starts[k]] = "0"
        rows.append(" ".join([read.pop(), *words]))
    after = next((line for line in lines[2 + count :] if line.strip()), "")
    if after and not after.strip().isdigit():
        raise source.unreadable(f"it announces {count} atoms and lists more")
    # The columns that named the elements become numbers that nothing reads.
    for n, k in enumerate([*symbols[:1], *numbers[:1]]):
        names[k], kinds[k] = f"element_{n}", "I"
    properties = ":".join(["species:S:1", *map(":".join, zip(names, kinds, widths, strict=True))])
    plain = comment.replace(match[0], "") if match else comment
    plain = re.sub(r"\bProperties=\S*", "", plain)
    return "\n".join([first, f"{plain} Properties={properties}", *rows, *lines[2 + count :]])


def _refuse_no_number(source: StructureText, n: int, words: list[str]) -> None:
    for word in words:
        try:
            float(word)
        except ValueError:
            raise source.unreadable(f"atom {n}: {word[:20]!r} is not a number") from None


def _refuse_other_count(source: StructureText) -> None:
    """Refuse an XSF that lists more atoms than it announces: ASE leaves them out."""
    lines = [line.split() for line in source.lines]
    for n, words in enumerate(lines):
        if words[:1] in (["PRIMCOORD"], ["CONVCOORD"]):
            count = lines[n + 1][0] if n + 1 < len(lines) and lines[n + 1] else ""
            listed = lines[n + 2 :]
            end = next((k for k, row in enumerate(listed) if len(row) < 4), len(listed))
            if count != str(end):
                raise source.unreadable(f"it announces {count[:20] or 'no'} atoms and lists {end}")


def _refuse_other_nat(source: StructureText) -> None:
    """Refuse an input of pw.x that lists more or fewer atoms than its `nat`: ASE reads so many."""
    nat = re.search(r"\bnat\s*=\s*(\d{1,7})\b", source.text)
    start = next((n for n, line in enumerate(source.lines) if line.split()[:1] == ["ATOMIC_POSITIONS"]), None)
    if nat is None or start is None:
        return
    rows = [line.split("!")[0].split("#")[0].split() for line in source.lines[start + 1 :]]
    rows = [row for row in rows if row]
    listed = next((n for n, row in enumerate(rows) if len(row) < 4 or not row[0][0].isalpha()), len(rows))
    if listed != int(nat[1]):
        raise source.unreadable(f"its nat is {nat[1]}, it lists {listed} atoms")


def _element(source: StructureText, n: int, text: str) -> str:
    """Element of a symbol, a label such as ``Li1``, or an atomic number."""
    try:
        if text.isdigit():
            return element_of_number(int(text))
        try:
            return element_of_symbol(text)
        except ValueError:
            return element_of_label(text)
    except ValueError as error:
        raise source.unreadable(f"atom {n}: {error}") from None
