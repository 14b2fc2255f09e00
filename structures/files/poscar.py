"""POSCAR and CONTCAR, as VASP reads them.

pymatgen's reader knows one scale factor where VASP also takes three, multiplies Cartesian positions by a negative
one (the volume of the cell), and invents elements where none are named.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.files.elements import element_of_symbol
from anodeflow.structures.files.opening import MAX_ATOMS, StructureText

_AFTER_THE_ATOMS = "velocities follow an empty line"


def read_poscar(source: StructureText) -> Structure:
    """Read the crystal of a POSCAR or CONTCAR; the title, velocities and what follows them are not used.

    Parameters
    ----------
    source
        The file, with element names (VASP 5 and later, or at the end of each line of coordinates).

    Returns
    -------
    Structure
        With the site property ``selective_dynamics`` where some coordinate is frozen.

    Raises
    ------
    InputError
        It is malformed, names no elements, or holds more or fewer positions than it announces.
    """
    lines = source.lines
    if len(lines) < 8:
        raise source.unreadable(f"a POSCAR has at least 8 lines, this has {len(lines)}")
    scales = _numbers(lines[1])
    vectors = np.array([_three(line) or [np.nan] * 3 for line in lines[2:5]])
    if len(scales) not in (1, 3) or not all(scales) or (len(scales) == 3 and min(scales) < 0):
        raise source.unreadable(f"line 2 is {lines[1].strip()[:40]!r}, not a scale factor")
    if not np.isfinite(vectors).all():
        raise source.unreadable("lines 3 to 5 are not three lattice vectors")
    if not abs(np.linalg.det(vectors)) > 1e-6:
        raise StructureError(
            f"structure file {source.path} has a cell of no volume", "check the lattice vectors and the scale factor"
        )
    names, counts, at = _species(source)
    selective = lines[at].strip()[:1].lower() == "s"
    at += selective
    mode = lines[at].strip() if at < len(lines) else ""
    if mode[:1].lower() not in ("d", "f", "c", "k"):
        raise source.unreadable(f"line {at + 1} is {mode[:30]!r}, not Direct or Cartesian")
    rows = lines[at + 1 : at + 1 + sum(counts)]
    coords = [_three(row) for row in rows]
    if len(coords) < sum(counts) or any(row is None for row in coords):
        bad = next((n for n, row in enumerate(coords) if row is None), len(coords))
        raise source.unreadable(
            f"it announces {sum(counts)} atoms, the position of atom {bad + 1} is missing or not three numbers"
        )
    after = lines[at + 1 + sum(counts)] if at + 1 + sum(counts) < len(lines) else ""
    if len(_numbers(after)) >= 3:
        raise source.unreadable(f"it announces {sum(counts)} atoms and lists more; {_AFTER_THE_ATOMS}")
    if names:
        symbols = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    else:
        symbols = [_name_at_the_end(source, row, 6 if selective else 3) for row in rows]
    factors: NDArray[np.float64] | float = np.array(scales) if len(scales) == 3 else scales[0]
    if scales[0] < 0:
        factors = (-scales[0] / abs(np.linalg.det(vectors))) ** (1 / 3)
    cartesian = mode[0].lower() in "ck"
    positions = np.array(coords, dtype=float)
    structure = Structure(
        Lattice(vectors * factors),
        symbols,
        positions * factors if cartesian else positions,
        coords_are_cartesian=cartesian,
    )
    flags = [_flags(source, row) for row in rows] if selective else []
    if not all(map(all, flags)):
        structure.add_site_property("selective_dynamics", np.array(flags))
    return structure


def _species(source: StructureText) -> tuple[list[str], list[int], int]:
    """Element names (empty if there are none), counts, and the index of the line after them."""
    lines = source.lines
    at = 5
    names: list[str] = []
    while at < min(len(lines), 40) and not _is_counts(lines[at]):
        names += lines[at].split("!")[0].split()
        at += 1
    counts: list[int] = []
    while at < len(lines) and _is_counts(lines[at]) and len(counts) < max(len(names), 1):
        counts += [int(text) for text in lines[at].split("!")[0].split()]
        at += 1
    if not counts or not 0 < sum(counts) <= MAX_ATOMS or min(counts) < 1:
        raise source.unreadable(f"the numbers of atoms are {counts[:20]}, between 1 and {MAX_ATOMS} are read")
    if names and len(names) != len(counts):
        raise source.unreadable(f"it names {len(names)} elements and gives {len(counts)} numbers of atoms")
    return [_element(source, name) for name in names], counts, at


def _is_counts(line: str) -> bool:
    tokens = line.split("!")[0].split()
    return bool(tokens) and all(re.fullmatch(r"\d{1,9}", token, re.ASCII) for token in tokens)


def _element(source: StructureText, name: str) -> str:
    """Element of a name such as ``Li``, ``Li_sv`` or ``Li_sv/a5b1c2d3`` (VASP 6 adds the potential and its hash)."""
    try:
        return element_of_symbol(re.split("[/_]", name)[0])
    except ValueError as error:
        raise source.unreadable(str(error)) from None


def _name_at_the_end(source: StructureText, row: str, column: int) -> str:
    tokens = row.split()
    if len(tokens) <= column:
        raise InputError(
            f"structure file {source.path} cannot be read (it names no elements)",
            "write the element names into the line before the numbers of atoms",
        )
    return _element(source, tokens[column])


def _flags(source: StructureText, row: str) -> list[bool]:
    flags = [token.strip(".").upper()[:1] for token in row.split()[3:6]]
    if len(flags) != 3 or not set(flags) <= {"T", "F"}:
        raise source.unreadable(f"selective dynamics needs three T or F after each position, not {row.split()[3:6]}")
    return [flag == "T" for flag in flags]


def _three(line: str) -> list[float] | None:
    """The three numbers of a vector; None if there are fewer or more (a number broken in two)."""
    numbers = _numbers(line)
    return numbers if len(numbers) == 3 else None


def _numbers(line: str) -> list[float]:
    """The numbers a line begins with."""
    numbers = []
    for token in line.replace(",", " ").split():
        try:
            numbers.append(float(re.sub(r"(?<=[\d.])[dD](?=[-+\d])", "e", token)))
        except ValueError:
            break
    return numbers
