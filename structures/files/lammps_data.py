"""LAMMPS data files: one cell of atoms whose types are numbers, named by masses, labels or an option."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.structures.files.elements import element_of_label, element_of_symbol
from anodeflow.structures.files.opening import MAX_ATOMS, StructureText

TypeNames = Sequence[str] | Mapping[int, str]
"""Element of each LAMMPS type: ``["Li", "Cl"]`` names types 1 and 2."""
_MASS_TOLERANCE = 0.06
"""Unified atomic mass units; the closest two elements whose masses could be confused, Co and Ni, differ by 0.24."""
_COLUMNS = {  # where type, x stand in a line of the section Atoms; every style begins with the id of the atom
    "atomic": (1, 2, 5),
    "charge": (1, 3, 6),
    "bond": (2, 3, 6),
    "angle": (2, 3, 6),
    "molecular": (2, 3, 6),
    "full": (2, 4, 7),
}
_HEADER = re.compile(r"\s*(\d+)\s+(atoms|atom types)\s*(?:#.*)?$")
_SECTIONS = ("Atoms", "Masses", "Atom Type Labels")


def looks_like_lammps_data(source: StructureText) -> bool:
    """Whether a file begins as a LAMMPS data file does.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    bool
    """
    head = source.lines[1:60]
    return any(re.match(r"\s*\d+\s+atoms\b", line) for line in head) and any(
        re.search(r"\bxlo\s+xhi\b|\bavec\b", line) for line in head
    )


def read_lammps_data(source: StructureText, types: TypeNames | None = None) -> Structure:
    """Read the crystal of a LAMMPS data file in units of angstrom (`metal`, `real`).

    Parameters
    ----------
    source
        The file.
    types
        Element of each type; needed where the file has neither masses nor type labels that name them.

    Returns
    -------
    Structure
        Atoms in the order of their ids.

    Raises
    ------
    InputError
        It is malformed, its types name no elements, or masses and `types` contradict each other.
    """
    units = re.search(r"\bunits\s*=\s*(\w+)", source.lines[0])
    if units and units[1] not in ("metal", "real"):
        raise source.unreadable(f"its units are {units[1]!r}, not angstrom", "write it in metal or real units")
    counts, box, sections = _parsed(source)
    names = _names(source, counts, sections, types)
    atoms = _atoms(source, counts["atoms"], sections)
    matrix = _matrix(source, box)
    unknown = sorted({kind for kind, _ in atoms.values()} - set(names))
    if unknown:
        raise source.unreadable(f"atoms are of type {unknown[0]}, which is not among {sorted(names)}")
    return Structure(
        Lattice(matrix),
        [names[kind] for kind, _ in atoms.values()],
        np.array([position for _, position in atoms.values()]),
        coords_are_cartesian=True,
    )


def _parsed(
    source: StructureText,
) -> tuple[dict[str, int], dict[str, list[float]], dict[str, list[tuple[list[str], str]]]]:
    """Counts of the header, numbers of the box, and the lines of the sections read here, each with its comment."""
    counts: dict[str, int] = {}
    box: dict[str, list[float]] = {}
    sections: dict[str, list[tuple[list[str], str]]] = {}
    section = None
    for line in source.lines[1:]:
        text, _, comment = line.partition("#")
        if not text.strip():
            continue
        header = _HEADER.match(line)
        bounds = re.match(r"([-+.\deE\s]+?)\s+(xlo xhi|ylo yhi|zlo zhi|xy xz yz|avec|bvec|cvec|abc origin)\s*$", text)
        if section is None and header:
            counts[header[2]] = int(header[1][:12])
        elif section is None and bounds:
            box[bounds[2]] = [float(word) for word in bounds[1].split()]
        elif re.match(r"\s*[A-Z][A-Za-z ]+$", text.rstrip()):
            section = " ".join(text.split())
            if section in sections:
                raise source.unreadable(f"it has two sections {section}")
            sections[section] = [([], comment.strip())]
        elif section is not None and section in _SECTIONS:
            sections[section].append((text.split(), comment.strip()))
    if "atoms" not in counts or "Atoms" not in sections:
        raise source.unreadable("it has no number of atoms or no section Atoms")
    if not 0 < counts["atoms"] <= MAX_ATOMS or not 0 < counts.get("atom types", 1) <= 118:
        raise source.unreadable(f"it announces {counts['atoms']} atoms; 1 to {MAX_ATOMS} are read")
    return counts, box, sections


def _names(
    source: StructureText,
    counts: dict[str, int],
    sections: dict[str, list[tuple[list[str], str]]],
    types: TypeNames | None,
) -> dict[int, str]:
    """Element by type, from the option, the labels or the masses; what contradicts another is refused."""
    kinds = range(1, counts.get("atom types", 1) + 1)
    given: dict[int, str] = {}
    if types is not None:
        pairs = types.items() if isinstance(types, Mapping) else enumerate(types, start=1)
        try:
            given = {int(kind): element_of_symbol(str(name)) for kind, name in pairs}
        except ValueError as error:
            raise InputError(f"types: {error}", "name each type by a chemical symbol, such as Li,Cl") from None
        if set(given) != set(kinds):
            raise InputError(
                f"structure file {source.path} has {len(kinds)} atom types, {len(given)} are named",
                "name each of them once, in their order",
            )
    by_mass: dict[int, str] = {}
    for words, comment in sections.get("Masses", [])[1:]:
        kind, mass = int(words[0]), float(words[1])
        elements = [element for element in Element if abs(element.atomic_mass - mass) < _MASS_TOLERANCE]
        nearest = min(elements, key=lambda element: abs(element.atomic_mass - mass), default=None)
        named = _element_or_none(comment)
        if nearest is not None and (named is None or named == nearest.symbol):
            by_mass[kind] = nearest.symbol
        elif named is not None and nearest is not None:
            raise source.unreadable(f"type {kind} is called {named}, its mass {mass:g} is that of {nearest.symbol}")
    labels = {int(words[0]): words[1] for words, _ in sections.get("Atom Type Labels", [])[1:] if len(words) == 2}
    by_label = {kind: element for kind, label in labels.items() if (element := _element_or_none(label))}
    for found_by, others in (("labels", by_label), ("masses", by_mass)):
        for kind, element in others.items():
            if given.setdefault(kind, element) != element:
                raise source.unreadable(f"type {kind} is named {given[kind]}, its {found_by} say {element}")
    missing = [kind for kind in kinds if kind not in given]
    if missing:
        raise source.unreadable(
            f"nothing says which elements its types {missing} are", "name the types, one element each, in their order"
        )
    return given


def _element_or_none(text: str) -> str | None:
    try:
        return element_of_label(text.split()[0]) if text else None
    except ValueError:
        return None


def _atoms(
    source: StructureText, count: int, sections: dict[str, list[tuple[list[str], str]]]
) -> dict[int, tuple[int, list[float]]]:
    """Type and position of each atom, by id."""
    (_, style), *lines = sections["Atoms"]
    if len(lines) != count:
        raise source.unreadable(f"it announces {count} atoms and lists {len(lines)}")
    labels = {words[1]: int(words[0]) for words, _ in sections.get("Atom Type Labels", [])[1:] if len(words) == 2}
    style = style.split()[0] if style else _style(source, [words for words, _ in lines])
    if style not in _COLUMNS:
        raise source.unreadable(f"its atom style {style!r} is not one of {', '.join(_COLUMNS)}")
    kind_at, x_at, width = _COLUMNS[style]
    atoms: dict[int, tuple[int, list[float]]] = {}
    columns = len(lines[0][0])
    for words, _ in lines:
        try:
            if len(words) != columns or columns not in (width, width + 3):
                raise ValueError
            kind = labels[words[kind_at]] if words[kind_at] in labels else int(words[kind_at])
            atoms[int(words[0])] = (kind, [float(word) for word in words[x_at : x_at + 3]])
        except ValueError:
            raise source.unreadable(
                f"'{' '.join(words)[:60]}' is not an atom of style {style}",
                "write the style behind the section, such as 'Atoms # charge'",
            ) from None
    if len(atoms) != count:
        raise source.unreadable(f"{count - len(atoms)} of its atoms have the id of another")
    return dict(sorted(atoms.items()))


def _style(source: StructureText, lines: list[list[str]]) -> str:
    """The style of a section that names none, where the columns leave one."""
    widths = {len(words) for words in lines}
    whole = all(re.fullmatch(r"\d+", words[2]) for words in lines if len(words) > 2)  # a type, not a charge
    if widths <= {5, 8}:
        return "atomic"
    if widths <= {6, 9} and not whole:
        return "charge"
    if widths <= {7, 10} and whole:
        return "full"
    raise source.unreadable(
        f"its section Atoms names no style, and {'/'.join(map(str, sorted(widths)))} columns fit several",
        "write the style behind the section, such as 'Atoms # charge'",
    )


def _matrix(source: StructureText, box: dict[str, list[float]]) -> list[list[float]]:
    try:
        if "avec" in box:
            return [box["avec"], box["bvec"], box["cvec"]]
        x, y, z = (high - low for low, high in (box["xlo xhi"], box["ylo yhi"], box["zlo zhi"]))
        xy, xz, yz = box.get("xy xz yz", [0.0, 0.0, 0.0])
        if not min(x, y, z) > 0:
            raise ValueError
    except (KeyError, ValueError):
        raise source.unreadable("its box is not given by xlo xhi, ylo yhi, zlo zhi, or avec, bvec, cvec") from None
    return [[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]]
