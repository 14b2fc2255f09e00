"""One data block of a CIF: its values by name, its cell and its sites, checked one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import gemmi
from gemmi import cif
from pymatgen.core import Composition, Lattice

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.files.elements import element_of_label, element_of_symbol
from anodeflow.structures.files.expansion import ListedSite, uncertainty_of
from anodeflow.structures.files.opening import MAX_ATOMS, StructureText, shortened

_CELL = ("_cell_length_a", "_cell_length_b", "_cell_length_c", "_cell_angle_alpha", "_cell_angle_beta",
         "_cell_angle_gamma")  # fmt: skip
_COORDINATES = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_MULTIPLICITIES = (
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_order",
)
_DESCRIPTIONS = (
    "_atom_site_label",
    "_atom_site_type_symbol",
    "_atom_site_occupancy",
    "_atom_site_calc_flag",
    "_atom_site_attached_hydrogens",
    "_atom_site_disorder_group",
)
_NOT_READ = (
    (("_space_group_magn", "_space_group_symop_magn", "_atom_site_moment"), "is a magnetic CIF",
     "export the structure without its moments and magnetic symmetry"),
    (("_cell_modulation_dimension", "_space_group_ssg", "_cell_wave_vector", "_cell_subsystem"),
     "holds a modulated structure", "give a commensurate approximant"),
)  # fmt: skip
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})


@dataclass(frozen=True)
class CifBlock:
    """A data block of a CIF.

    Parameters
    ----------
    source
        The file.
    name
        Name of the block.
    values
        The values of each item as text, None for ``?`` and ``.``; names in lower case with ``.`` as ``_``, so
        that names of both generations of the dictionary are one.
    loops
        Number of the loop that holds each item, -1 for an item outside of loops.
    raw
        gemmi's block.
    """

    source: StructureText
    name: str
    values: dict[str, list[str | None]]
    loops: dict[str, int]
    raw: cif.Block

    def error(self, problem: str, remedy: str = "correct the CIF or export it again") -> InputError:
        """Error that names the file."""
        return InputError(f"structure file {self.source.path}: {shortened(problem)}", remedy)

    def contradiction(self, problem: str, remedy: str = "correct the CIF or export it again") -> StructureError:
        """Error of a file that states two things which cannot both be true."""
        return StructureError(f"structure file {self.source.path}: {shortened(problem)}", remedy)

    def column(self, name: str) -> list[str | None] | None:
        """All values of an item; None where it is missing."""
        return self.values.get(name)

    def value(self, *names: str) -> str | None:
        """The one value of the first of these items that has one.

        Raises
        ------
        InputError
            It has several.
        """
        for name in names:
            values = [text.strip() for text in self.values.get(name, []) if text is not None and text.strip()]
            if len(set(values)) > 1:
                raise self.error(f"{name} has {len(values)} values")
            if values:
                return values[0]
        return None

    def number(self, name: str) -> float:
        """The value of an item as a number.

        Raises
        ------
        InputError
            It is missing or not a number.
        """
        text = self.value(name)
        if text is None:
            raise self.error(f"{name} is missing")
        number = number_of(text)
        if number is None:
            raise self.error(f"{name} is {text[:40]!r}, not a number")
        return number

    def lattice(self) -> Lattice:
        """The cell.

        Raises
        ------
        InputError
            A length or angle is missing, or they make no cell.
        StructureError
            The stated volume is another.
        """
        lengths_and_angles = [self.number(name) for name in _CELL]
        if not all(0.5 <= x <= 1000 for x in lengths_and_angles[:3]) or not all(
            5 <= x <= 175 for x in lengths_and_angles[3:]
        ):
            raise self.error(f"its cell lengths and angles {lengths_and_angles} are not those of a crystal")
        lattice = Lattice.from_parameters(*lengths_and_angles)
        if not (math.isfinite(lattice.volume) and lattice.volume > 1):
            raise self.error(f"its cell lengths and angles {lengths_and_angles} enclose no volume")
        stated = number_of(self.value("_cell_volume") or "")
        if stated is not None and abs(stated / lattice.volume - 1) > 0.02:
            raise self.contradiction(
                f"its cell has {lattice.volume:.2f} cubic angstrom, its own _cell_volume says {stated:g}"
            )
        return lattice

    def formula(self) -> Composition | None:
        """The stated ``_chemical_formula_sum``; None if there is none.

        Raises
        ------
        InputError
            It is not a formula.
        """
        written = self.value("_chemical_formula_sum")
        if written is None:
            return None
        try:
            if len(written) > 500:
                raise ValueError(written)
            formula = Composition(written)
            elements = {element.symbol for element in formula.elements}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self.error(f"its _chemical_formula_sum {written[:40]!r} is not a formula") from None
        if not formula or not elements:
            raise self.error(f"its _chemical_formula_sum {written[:40]!r} is not a formula")
        return formula

    def sites(self) -> list[ListedSite]:
        """The listed sites.

        Raises
        ------
        InputError
            A site has no element, no coordinates or an impossible occupancy, or stands for missing atoms.
        """
        columns = [self.column(name) for name in _COORDINATES]
        if any(column is None for column in columns):
            if any(name.startswith("_atom_site_cartn_") for name in self.values):
                raise self.error("its atoms have Cartesian coordinates only", "export it with fractional coordinates")
            raise self.error("it has no fractional coordinates")
        used = [name for name in (*_COORDINATES, *_DESCRIPTIONS, *_MULTIPLICITIES) if name in self.loops]
        if len({self.loops[name] for name in used}) > 1:
            raise self.error("what it says of its sites is spread over several loops")
        labels, symbols = self.column("_atom_site_label"), self.column("_atom_site_type_symbol")
        count = len(columns[0] or [])
        if labels is None and symbols is None:
            raise self.error("its sites have neither a label nor a type symbol")
        if count > MAX_ATOMS:
            raise self.error(f"it lists {count} sites, more than {MAX_ATOMS} are not read")
        stated = self.formula()
        elements = {str(element.symbol) for element in stated.elements} if stated else set()
        occupancies = self.column("_atom_site_occupancy") or [None] * count
        multiplicities = next((self.values[name] for name in _MULTIPLICITIES if name in self.values), [None] * count)
        sites = []
        for n in range(count):
            label = (labels or symbols or [])[n] or f"number {n + 1}"
            self._refuse_what_is_not_listed(n, label)
            texts = [(column or [])[n] for column in columns]
            coords = [number_of(text or "") for text in texts]
            if any(x is None or abs(x) > 1000 for x in coords):
                raise self.error(f"site {label} has the coordinates {', '.join(str(text) for text in texts)}")
            sites.append(
                ListedSite(
                    label=label,
                    element=self._element(labels[n] if labels else None, symbols[n] if symbols else None, elements),
                    occupancy=self._occupancy(label, occupancies[n]),
                    coords=tuple(x or 0.0 for x in coords),  # type: ignore[arg-type]
                    uncertainty=tuple(uncertainty_of(text or "") for text in texts),  # type: ignore[arg-type]
                    multiplicity=_whole(multiplicities[n]),
                )
            )
        self._refuse_alternatives(sites)
        return sites

    def _element(self, label: str | None, symbol: str | None, elements: Collection[str]) -> str:
        try:
            return element_of_symbol(symbol) if symbol else element_of_label(label or "", elements)
        except ValueError as error:
            raise self.error(f"site {label or symbol}: {error}") from None

    def _occupancy(self, label: str, text: str | None) -> float:
        """Occupancy; 1 is the default of the standard, for a missing value too."""
        occupancy = 1.0 if text is None else number_of(text)
        if occupancy is None or not 0 < occupancy <= 1.02:
            raise self.error(f"site {label} has the occupancy {text}", "occupancies are above 0 and at most 1")
        return min(occupancy, 1.0)

    def _refuse_what_is_not_listed(self, n: int, label: str) -> None:
        """Refuse dummy sites, and atoms that carry hydrogen without listing it."""
        flag = (self.column("_atom_site_calc_flag") or {n: None})[n]
        if flag and flag.lower() == "dum":
            raise self.error(f"site {label} is marked as a dummy", "remove its line")
        hydrogens = (self.column("_atom_site_attached_hydrogens") or {n: None})[n]
        if hydrogens and (number_of(hydrogens) or 0) > 0:
            raise self.error(f"site {label} has {hydrogens} hydrogen atoms attached that are not listed")

    def _refuse_alternatives(self, sites: list[ListedSite]) -> None:
        groups = self.column("_atom_site_disorder_group") or []
        full = {group for group, site in zip(groups, sites, strict=False) if group and site.occupancy == 1}
        if len(full - {"0"}) > 1:
            raise self.error(
                f"its disorder groups {', '.join(sorted(full))} are alternatives, yet fully occupied",
                "keep one of them, or give their occupancies",
            )


def number_of(text: str) -> float | None:
    """A number of a CIF, such as ``5.15(2)``, without its uncertainty.

    Parameters
    ----------
    text
        The value.

    Returns
    -------
    float or None
        None if it is not a finite number.
    """
    number = cif.as_number(text.strip()) if len(text) < 60 else math.nan
    return float(number) if math.isfinite(number) else None


def _whole(text: str | None) -> int | None:
    number = number_of(text or "")
    return int(number) if number is not None and number == round(number) and 0 < number < 10_000 else None


def the_block_with_atoms(source: StructureText) -> CifBlock:
    """The one data block of a CIF that lists atoms.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    CifBlock

    Raises
    ------
    InputError
        The CIF breaks the grammar, has none or several such blocks, or is of a kind that is not read.
    """
    blocks = [block for block in _blocks(source) if any(name.startswith("_atom_site_") for name in block.values)]
    blocks = [block for block in blocks if set(_COORDINATES) & set(block.values)] or blocks
    if len(blocks) != 1:
        problem = f"structure file {source.path} holds {len(blocks)} structures"
        raise InputError(problem, "keep one data block" if blocks else "list the atoms of the crystal")
    block = blocks[0]
    if "_atom_site_group_pdb" in block.values:
        raise block.error("it is an mmCIF of a macromolecule", "give a crystal of inorganic matter")
    for prefixes, problem, remedy in _NOT_READ:
        if any(name.startswith(prefixes) for name in block.values):
            raise InputError(f"structure file {source.path} {problem}", remedy)
    return block


def _blocks(source: StructureText) -> list[CifBlock]:
    try:
        document = cif.read_string(source.text)
    except (ValueError, RuntimeError) as error:
        try:  # quotes that a word processor has made typographic
            document = cif.read_string(source.text.translate(_QUOTES))
        except (ValueError, RuntimeError):
            reason = " ".join(re.sub(r"^string:\s*(?=(\d)?)", lambda m: "line " if m[1] else "", str(error)).split())
            raise source.unreadable(f"not a CIF: {reason[:160]}", "correct the CIF or export it again") from None
    return [CifBlock(source, block.name.strip(), *_values(block), block) for block in document]


def _values(block: cif.Block) -> tuple[dict[str, list[str | None]], dict[str, int]]:
    """Values of each item, and the number of its loop."""
    values: dict[str, list[str | None]] = {}
    loops: dict[str, int] = {}
    for number, item in enumerate(block):
        if item.pair is not None:
            tag, text = cast("tuple[str, str]", item.pair)
            values[_name(tag)], loops[_name(tag)] = [_text(text)], -1
        elif item.loop is not None:
            tags, flat = item.loop.tags, item.loop.values
            for n, tag in enumerate(tags):
                values[_name(tag)], loops[_name(tag)] = [_text(text) for text in flat[n :: len(tags)]], number
    return values, loops


def _name(tag: str) -> str:
    return re.sub(r"_+$", "", tag.lower().replace(".", "_"))


def _text(raw: str) -> str | None:
    return None if cif.is_null(raw) else str(cif.as_string(raw))


def operation_of(text: str) -> gemmi.Op:
    """One symmetry operation as a CIF writes it.

    Parameters
    ----------
    text
        Such as ``-x, 1/2+y, z``.

    Returns
    -------
    gemmi.Op

    Raises
    ------
    ValueError
        It is not an operation.
    """
    clean = "".join(text.translate({0x2212: "-", 0x2013: "-"}).split()).lower()
    if len(clean) > 100 or not re.fullmatch(r"[-+xyz0-9./,*]+", clean):
        raise ValueError(f"'{text[:40]}' is not a symmetry operation")
    try:
        return gemmi.Op(clean)
    except RuntimeError:
        raise ValueError(f"'{text[:40]}' is not a symmetry operation") from None
