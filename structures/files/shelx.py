"""SHELX .res and .ins files, and those of AIRSS: cell, symmetry, and the atoms up to HKLF or END."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import gemmi
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.errors import StructureError
from anodeflow.structures.files.cif_block import operation_of
from anodeflow.structures.files.elements import element_of_symbol
from anodeflow.structures.files.expansion import (
    FULL_OCCUPANCY,
    ExpansionError,
    ListedSite,
    disagreement,
    expand,
    orbit,
    uncertainty_of,
)
from anodeflow.structures.files.opening import MAX_ATOMS, StructureText
from anodeflow.structures.files.second_reading import by_pymatgen_from_sites
from anodeflow.structures.files.space_groups import Operations

_CENTRINGS = {  # in sixths of the lattice vectors
    1: [(0, 0, 0)],
    2: [(0, 0, 0), (3, 3, 3)],
    3: [(0, 0, 0), (4, 2, 2), (2, 4, 4)],
    4: [(0, 0, 0), (0, 3, 3), (3, 0, 3), (3, 3, 0)],
    5: [(0, 0, 0), (0, 3, 3)],
    6: [(0, 0, 0), (3, 0, 3)],
    7: [(0, 0, 0), (3, 3, 0)],
}
# Instructions that may stand where an atom may; an atom's name must be none of them.
_INSTRUCTIONS = frozenset(re.findall(
    r"\S+",
    "ABIN ACTA AFIX ANIS ANSC ANSR BASF BIND BLOC BOND BUMP CELL CGLS CHIV CONF CONN DAMP DANG DEFS DELU DFIX DISP"
    " DNIZ DSUL EADP END EQIV EXTI EXYZ FEND FLAT FMAP FRAG FREE FVAR GRID HFIX HKLF HTAB ISOR LATT LAUE LIST L.S."
    " MERG MORE MOVE MPLA NCSY NEUT OMIT PART PLAN PRIG REM RESI RIGU RTAB SADI SAME SFAC SHEL SIMU SIZE SPEC STIR"
    " SUMP SWAT SYMM TEMP TITL TWIN TWST UNIT WGHT WIGL WPDB XNPD ZERR",
))  # fmt: skip
_NOT_READ = {"MOVE", "FRAG"}
"""Instructions that change the atoms that follow, and are not read."""


def looks_like_shelx(source: StructureText) -> bool:
    """Whether a file has the instructions CELL and SFAC at the beginning of lines.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    bool
    """
    return all(re.search(rf"^{name}\s", source.text, re.MULTILINE | re.IGNORECASE) for name in ("CELL", "SFAC"))


def read_shelx(source: StructureText) -> Structure:
    """Read the crystal of a SHELX file.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    Structure
        With partial occupancies where the file has them.

    Raises
    ------
    InputError
        An instruction is missing, malformed, or not read here.
    StructureError
        The atoms do not add up to the file's own UNIT, or are listed twice.
    """
    if not re.search(r"^(END|HKLF)\b", source.text, re.MULTILINE | re.IGNORECASE):
        raise source.unreadable("it has neither HKLF nor END, so it is cut off", "write it again")
    cards = list(_cards(source))
    cell = _numbers(source, _one(source, cards, "CELL"), 7)[1:]
    if not all(0.5 <= x <= 1000 for x in cell[:3]) or not all(5 <= x <= 175 for x in cell[3:]):
        raise source.unreadable(f"its CELL {cell} is not that of a crystal")
    lattice = Lattice.from_parameters(*cell)
    if not (math.isfinite(lattice.volume) and lattice.volume > 1):
        raise source.unreadable(f"its CELL {cell} encloses no volume")
    operations = _operations(source, cards, lattice)
    elements = _elements(source, cards)
    free = [1.0]
    for card in cards:
        if card[0] == "FVAR":
            free += _numbers(source, card[1:], len(card) - 1)
    sites = [
        _site(source, card, elements, free)
        for card in cards
        if card[0] not in _INSTRUCTIONS and not card[0].startswith(("REM", "+"))
    ]
    if not 0 < len(sites) <= MAX_ATOMS:
        raise source.unreadable(f"it lists {len(sites)} atoms")
    try:
        sites = [_with_occupancy(source, site, operations, lattice) for site in sites]
        structure, _ = expand(sites, operations, lattice)
    except ExpansionError as error:
        raise StructureError(f"structure file {source.path}: {error}", "correct the file or export it again") from None
    _compare_with_unit(source, cards, elements, structure)
    _compare_with_title(source, structure)
    second = by_pymatgen_from_sites(lattice, sites, operations)
    difference = "nothing" if second is None else disagreement(structure, second)
    if difference:
        raise StructureError(
            f"structure file {source.path}: two readings of it (anodeflow, pymatgen) disagree: {difference}",
            "write all atoms of the cell as a CIF in P 1 and give that file",
        )
    return structure


def _cards(source: StructureText) -> Iterator[list[str]]:
    """The instructions and atoms up to HKLF or END, continuation lines joined, the first word in capitals."""
    joined = ""
    for line in source.lines:
        line = line.split("!")[0].rstrip()
        if not joined and (not line or line[0] == " "):
            continue
        joined += line
        if joined.endswith("="):
            joined = joined[:-1] + " "
            continue
        words, joined = joined.split(), ""
        name = words[0].upper()
        if name[:4] in ("HKLF", "END"):
            return
        instruction = name.split("_")[0][:4]
        if instruction in _NOT_READ:
            raise source.unreadable(f"it has the instruction {instruction}, which is not read here")
        yield [instruction if instruction in _INSTRUCTIONS else words[0], *words[1:]]


def _one(source: StructureText, cards: Sequence[list[str]], name: str) -> list[str]:
    instructions = [card[1:] for card in cards if card[0] == name]
    if len(instructions) != 1:
        raise source.unreadable(f"it has {len(instructions)} {name} instructions, one is needed")
    return instructions[0]


def _numbers(source: StructureText, words: Sequence[str], count: int) -> list[float]:
    try:
        numbers = [float(word) for word in words[:count]]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise source.unreadable(f"'{' '.join(words)[:60]}' is not {count} numbers")
    return numbers


def _operations(source: StructureText, cards: Sequence[list[str]], lattice: Lattice) -> Operations:
    """The space group: LATT gives centring and inversion, each SYMM one more operation."""
    kind = _numbers(source, _one(source, cards, "LATT"), 1)[0]
    if abs(kind) not in range(1, 8):
        raise source.unreadable(f"its LATT {kind:g} is not one of 1 to 7 or their negatives")
    listed = ["x,y,z", *(" ".join(card[1:]) for card in cards if card[0] == "SYMM")]
    if len(listed) > 192:
        raise source.unreadable(f"it has {len(listed)} SYMM instructions")
    try:
        listed_operations = [operation_of(text) for text in listed]
        if kind > 0:
            listed_operations += [gemmi.Op("-x,-y,-z") * operation for operation in listed_operations]
        shifts = [gemmi.Op(f"x+{x}/6,y+{y}/6,z+{z}/6") for x, y, z in _CENTRINGS[int(abs(kind))]]
        operations = Operations.of([(shift * operation).wrap() for shift in shifts for operation in listed_operations])
    except ValueError as error:
        raise source.unreadable(str(error)) from None
    if not operations.is_group() or not operations.fit(lattice):
        problem = "do not form a group" if not operations.is_group() else "do not fit its cell"
        raise StructureError(
            f"structure file {source.path}: its LATT and SYMM make {len(operations)} operations that {problem}",
            "correct the file or export it again",
        )
    return operations


def _elements(source: StructureText, cards: Sequence[list[str]]) -> list[str]:
    """The elements in the order of SFAC, which names several, or one followed by its scattering factors."""
    names: list[str] = []
    for card in cards:
        if card[0] == "SFAC":
            scattering = len(card) > 2 and re.fullmatch(r"[-+.\d].*", card[2])
            names += card[1:2] if scattering else card[1:]
    try:
        return [element_of_symbol(name.lstrip("$")) for name in names]
    except ValueError as error:
        raise source.unreadable(f"SFAC: {error}") from None


def _site(source: StructureText, card: list[str], elements: Sequence[str], free: Sequence[float]) -> ListedSite:
    """An atom; its occupancy is that of SHELX, which counts the share of a special position."""
    name, words = card[0], card[1:]
    if not re.fullmatch(r"[A-Za-z][\w'\"*+-]{0,7}", name) or len(words) < 4:
        raise source.unreadable(f"'{' '.join(card)[:60]}' is neither an instruction nor an atom")
    if re.fullmatch(r"Q\d+", name, re.IGNORECASE):
        raise source.unreadable(f"{name} is a peak of the electron density, not an atom", "remove its line")
    index, *coords = _numbers(source, words, 4)
    if index != round(index) or not 1 <= index <= len(elements):
        raise source.unreadable(f"atom {name} is of type {index:g}, SFAC names {len(elements)}")
    fixed = [x - 10 if 5 < x < 15 else x for x in coords]  # 10 is added to a parameter that is held
    if any(abs(x) > 5 for x in fixed):
        raise source.unreadable(f"atom {name} has coordinates tied to a free variable, which are not read here")
    share = _numbers(source, words[4:], 1)[0] if len(words) > 4 else 1.0
    if abs(share) > 5:
        variable, part = round(abs(share) / 10), abs(share) - 10 * round(abs(share) / 10)
        if variable > 1:
            if variable > len(free) - 1:
                raise source.unreadable(f"atom {name} refers to free variable {variable}, FVAR has {len(free) - 1}")
            part *= free[variable] if share > 0 else 1 - free[variable]
        share = part
    if not 0 < share <= FULL_OCCUPANCY:
        raise source.unreadable(f"atom {name} has the occupancy {share:g}")
    texts = [text if abs(x) <= 5 else str(x - 10) for text, x in zip(words[1:4], coords, strict=True)]
    return ListedSite(
        name,
        elements[int(index) - 1],
        share,
        (fixed[0], fixed[1], fixed[2]),
        tuple(map(uncertainty_of, texts)),  # type: ignore[arg-type]
    )


def _with_occupancy(source: StructureText, site: ListedSite, operations: Operations, lattice: Lattice) -> ListedSite:
    """The atom with its occupancy proper: SHELX divides it by the order of the site symmetry."""
    occupancy = site.occupancy * len(operations) / len(orbit(site, operations, lattice))
    if occupancy > FULL_OCCUPANCY:
        raise source.unreadable(f"atom {site.label} is occupied {occupancy:.4g} times")
    return replace(site, occupancy=1.0 if abs(occupancy - 1) < 5e-3 else min(occupancy, 1.0))


def _compare_with_unit(
    source: StructureText, cards: Sequence[list[str]], elements: Sequence[str], structure: Structure
) -> None:
    """Refuse a cell that does not hold what UNIT says it holds."""
    cards = [card for card in cards if card[0] == "UNIT"]
    if not cards:
        return
    numbers = _numbers(source, cards[0][1:], len(cards[0]) - 1)
    stated: dict[str, float] = {}
    for element, amount in zip(elements, numbers, strict=False):
        stated[element] = stated.get(element, 0.0) + amount
    if len(numbers) != len(elements) or not structure.composition.almost_equals(
        Composition(stated), rtol=0.02, atol=0.1
    ):
        raise StructureError(
            f"structure file {source.path}: the atoms and symmetry make {structure.composition.formula} in the cell,"
            f" its own UNIT says {Composition(stated).formula}",
            "atoms or symmetry operations are missing; export it again",
        )


def _compare_with_title(source: StructureText, structure: Structure) -> None:
    """Refuse a cell that has not the volume and number of atoms that AIRSS writes into TITL."""
    title = re.search(
        r"^TITL +\S+ +\S+ +([\d.]+) +[-\d.eE]+ +\S+ +\S+ +(?:(\d{1,6}) +)?\([^)]*\) +n +-", source.text, re.MULTILINE
    )
    if title is None:
        return
    volume = float(title[1]) if title[1].count(".") < 2 else math.nan
    count = int(title[2]) if title[2] else len(structure)
    if not abs(structure.volume / volume - 1) < 0.02 or count != len(structure):
        raise StructureError(
            f"structure file {source.path}: it holds {len(structure)} atoms in {structure.volume:.1f} cubic angstrom,"
            f" its own TITL says {count} in {volume:.1f}",
            "atoms are missing; export it again",
        )
