"""CIF, read by two independent ways: gemmi's grammar and symmetry with our expansion, and pymatgen.

The file is refused where the two disagree, where its statements contradict each other (symbol, number, operations,
cell, formula, multiplicities), or where its symmetry cannot be known.
"""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from anodeflow.errors import AnodeflowError, InputError
from anodeflow.structures.files.cif_block import CifBlock, number_of, operation_of, the_block_with_atoms
from anodeflow.structures.files.expansion import (
    ExpansionError,
    ListedSite,
    disagreement,
    expand,
    space_group_numbers,
)
from anodeflow.structures.files.opening import StructureText
from anodeflow.structures.files.overlaps import overlap_of
from anodeflow.structures.files.second_reading import MAX_SITES, by_pymatgen, by_pymatgen_from_sites
from anodeflow.structures.files.space_groups import (
    MAX_OPERATIONS,
    Operations,
    Setting,
    operations_of_hall_number,
)
from anodeflow.structures.files.symmetry_statement import Resolved, SymmetryError, SymmetryStatement

_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_SYMBOLS = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m_full",
            "_space_group_name_h-m", "_symmetry_space_group_name_h_m")  # fmt: skip
_HALLS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_UNKNOWN = (None, "?", ".")  # also where a program has put them into quotes
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")


def read_cif(source: StructureText) -> Structure:
    """Read the one crystal of a CIF, by two ways.

    Parameters
    ----------
    source
        The file.

    Returns
    -------
    Structure
        The cell as written; with partial occupancies where the file has them; without oxidation states.

    Raises
    ------
    InputError
        It breaks the grammar, lacks something, or holds what is not read.
    StructureError
        It contradicts itself, its symmetry cannot be known, or the two ways disagree.
    """
    block = the_block_with_atoms(source)
    lattice, sites = block.lattice(), block.sites()
    if not sites:
        raise block.error("it lists no atoms")
    try:
        statement = _symmetry_statement(block)
        resolved = statement.resolve(lattice)
    except SymmetryError as error:
        raise block.contradiction(str(error), "write its symmetry operations into the CIF") from None
    setting, ours = _decided(block, resolved, sites, lattice)
    if resolved.unconfirmed:
        _confirm(block, resolved, setting, ours)
    structure = _second_reading(block, sites, setting, ours, listed=statement.operations is not None)
    structure.remove_oxidation_states()
    return structure


def _symmetry_statement(block: CifBlock) -> SymmetryStatement:
    """What a block states about its symmetry.

    Parameters
    ----------
    block
        The block.

    Returns
    -------
    SymmetryStatement

    Raises
    ------
    InputError
        A listed operation is not one, or a number is not a space group's.
    """
    numbers = []
    for name in _NUMBERS:
        text = block.value(name)
        number = number_of(text) if text else None
        if text and (number is None or number != round(number) or not 1 <= number <= 230):
            raise block.error(f"its space group number {text[:20]!r} is not one of 1 to 230")
        if number is not None:
            numbers.append(int(number))
    symbols = dict.fromkeys(text for name in _SYMBOLS if (text := block.value(name)) not in _UNKNOWN)
    halls = dict.fromkeys(text for name in _HALLS if (text := block.value(name)) not in _UNKNOWN)
    lists = [column for name in _OPERATIONS if (column := block.column(name)) and any(column)]
    operations = None
    for listed in lists:
        if len(listed) > MAX_OPERATIONS or any(text is None for text in listed):
            raise block.error(f"its list of {len(listed)} symmetry operations cannot be used")
        try:
            group = Operations.of([operation_of(text or "") for text in listed])
        except ValueError as error:
            raise block.error(str(error)) from None
        if operations is not None and not operations.same_as(group):
            raise block.contradiction("its two lists of symmetry operations differ")
        operations = operations or group
    return SymmetryStatement(
        symbols=tuple(symbols),
        halls=tuple(halls),
        numbers=tuple(dict.fromkeys(numbers)),
        setting=block.value("_space_group_it_coordinate_system_code"),
        operations=operations,
    )


# --- the first way ------------------------------------------------------------------------------------


def _decided(
    block: CifBlock, resolved: Resolved, sites: Sequence[ListedSite], lattice: Lattice
) -> tuple[Setting, Structure]:
    """The setting and the cell it makes; where several are possible, the only one the atoms allow."""
    candidates: list[tuple[Setting, Structure]] = []
    first: AnodeflowError | None = None
    for setting in resolved.settings:
        try:
            structure, sizes = expand(sites, setting.operations, lattice)
        except ExpansionError as error:
            first = first or block.contradiction(str(error))
            continue
        problem = _content_problem(block, sites, sizes, setting.operations, structure)
        if problem is None and len(resolved.settings) > 1:
            problem = overlap_of(structure)
        if problem is None:
            candidates.append((setting, structure))
        else:
            first = first or block.contradiction(
                problem, "atoms or symmetry operations are missing from the CIF; export it again"
            )
    if not candidates:
        assert first is not None  # noqa: S101
        raise first
    setting, structure = candidates[0]
    others = [(other, cell) for other, cell in candidates[1:] if not _same_crystal(structure, cell)]
    if others:
        other, cell = others[0]
        raise block.contradiction(
            f"its {resolved.named} leaves the setting open: {setting.symbol} makes {structure.composition.formula},"
            f" {other.symbol} makes {cell.composition.formula}",
            f"write the setting into the symbol, such as '{setting.symbol}', or the symmetry operations into the CIF",
        )
    return setting, structure


def _same_crystal(structure: Structure, other: Structure) -> bool:
    if len(structure) != len(other) or len(structure) > 500:
        return False
    matcher = StructureMatcher(ltol=1e-3, stol=1e-2, angle_tol=0.1, primitive_cell=False, scale=False)
    return bool(matcher.fit(structure, other))


def _content_problem(
    block: CifBlock, sites: Sequence[ListedSite], sizes: Sequence[int], operations: Operations, structure: Structure
) -> str | None:
    """Where the cell contradicts the formula or the multiplicities of the file; None where it does not."""
    stated, composition = block.formula(), structure.composition
    confirmed = False
    if stated is not None:
        same = stated.reduced_composition.almost_equals(composition.reduced_composition, rtol=0.02, atol=0.02)
        units = composition.num_atoms / stated.num_atoms
        z = block.value("_cell_formula_units_z") or ""
        # Some programs write the formula of the whole cell, and Z all the same.
        allowed = {1.0, float(z)} if z.isascii() and z.isdigit() and len(z) < 6 else {float(max(1, round(units)))}
        if not (same and any(abs(units - n) < 0.02 * n for n in allowed)):
            written = block.value("_chemical_formula_sum")
            return (
                f"the atoms and symmetry make {composition.formula} in the cell, its own _chemical_formula_sum says"
                f" {written!r}" + (f" and Z {z}" if z and same else "")
            )
        confirmed = len(allowed) > 1
    wrong = None
    for order in (False, True):  # SHELXL-97 writes the order of the site symmetry instead
        wrong = next(
            (
                (site, size)
                for site, size in zip(sites, sizes, strict=True)
                if site.multiplicity not in (None, len(operations) // size if order else size)
            ),
            None,
        )
        if wrong is None:
            return None
        if not order:
            worst = wrong
    site, size = worst
    if confirmed:
        return None
    return f"the symmetry makes {size} atoms of site {site.label}, its own multiplicity says {site.multiplicity}"


def _confirm(block: CifBlock, resolved: Resolved, setting: Setting, structure: Structure) -> None:
    """Refuse a stated space group that neither the operations nor the atoms have."""
    if len(structure) > 3000:
        raise block.contradiction(f"its operations are not those of {next(iter(resolved.unconfirmed.values()))!r}")
    numbers = space_group_numbers(structure)
    for number, text in resolved.unconfirmed.items():
        if number not in numbers:
            raise block.contradiction(
                f"it states {text!r}, its {len(setting.operations)} operations are those of space group"
                f" {setting.number}, and its atoms have {', '.join(map(str, sorted(numbers))) or 'none'}",
                "atoms or symmetry operations are missing from the CIF; export it again",
            )


# --- the second way -----------------------------------------------------------------------------------


def _second_reading(
    block: CifBlock, sites: Sequence[ListedSite], setting: Setting, ours: Structure, listed: bool
) -> Structure:
    """The cell, read a second time; pymatgen's where it reads the file as it stands, for its order of atoms.

    Where the file leaves something to the reader that pymatgen is known to settle otherwise (it takes an unknown
    symbol for P 1 and one origin for the other, an occupancy '.' for none, 0.333 for no special position), it is
    given the operations, occupancies and elements, the operations from spglib's database where the file has none.
    """
    if max(len(ours), len(sites)) > MAX_SITES:
        from_gemmi = _by_gemmi(block, ours.lattice)
        difference = disagreement(ours, from_gemmi)
        if difference:
            raise _disagreement(block, "gemmi's own expansion", difference)
        return ours
    as_it_stands = by_pymatgen(block.source.text)
    difference = None if as_it_stands is None else disagreement(ours, as_it_stands)
    if as_it_stands is not None and difference is None:
        return as_it_stands
    occupancies = block.column("_atom_site_occupancy") or []
    known = not listed or any(text is None for text in occupancies) or any(any(site.uncertainty) for site in sites)
    if difference is not None and not known:
        raise _disagreement(block, "pymatgen", difference)
    hall = setting.hall_number if not listed else None
    operations = setting.operations if hall is None else operations_of_hall_number(hall)
    from_sites = by_pymatgen_from_sites(ours.lattice, sites, operations)
    difference = "nothing" if from_sites is None else disagreement(ours, from_sites)
    if difference:
        raise _disagreement(block, "pymatgen", difference)
    return ours


def _disagreement(block: CifBlock, reader: str, difference: str) -> InputError:
    return block.contradiction(
        f"two readings of it (anodeflow on gemmi, {reader}) disagree: {difference}",
        "write all atoms of the cell in P 1 and give that file",
    )


def _by_gemmi(block: CifBlock, lattice: Lattice) -> Structure:
    small = gemmi.make_small_structure_from_block(block.raw)
    small.determine_and_set_spacegroup("s.h2")
    sites = small.get_all_unit_cell_sites()
    return Structure(
        lattice,
        [{site.element.name: min(site.occ, 1.0)} for site in sites],
        [site.fract.tolist() for site in sites],
    )
