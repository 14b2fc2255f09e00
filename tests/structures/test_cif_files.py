"""CIFs of strangers: the right crystal, or one line that says why not."""

from __future__ import annotations

import time
from pathlib import Path

import gemmi
import pytest
from file_texts import LIAL_ORIGIN_2, cell, cif, facts, operations, sites, written
from pymatgen.io.cif import CifWriter

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import get_entry, load_crystal
from anodeflow.structures.files.expansion import space_group_numbers
from anodeflow.structures.sites import shortest_contact
from anodeflow.structures.structure_files import read_disordered, read_structure

DATA = Path(__file__).parents[1] / "data" / "structures"
FM3M = [operation.triplet() for operation in gemmi.SpaceGroup("F m -3 m").operations()]
HEXAGONAL = cell(4.27, 4.27, 7.6, gamma=120)


# --- CIF: the right crystal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "right", "distance"),
    [
        ("licl_oxidation_states.cif", ("Li4 Cl4", 225), 2.575),
        ("li2s_old_symbol.cif", ("Li8 S4", 225), 2.468),
        ("lial_origin_2.cif", ("Li8 Al8", 227), 2.758),
        ("li2s_occupancy_dot.cif", ("Li8 S4", 225), 2.468),
        ("licl.cif.gz", ("Li4 Cl4", 225), 2.57),
    ],
)
def test_public_files_that_were_read_wrong_are_read_right(name, right, distance):
    structure = load_crystal(DATA / name)
    assert facts(structure) == right
    assert shortest_contact(structure)[0] == pytest.approx(distance, abs=0.01)


FACES = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
ALL_LI = [f"Li{n} Li {x} {y} {z}" for n, (x, y, z) in enumerate(FACES)]
ALL_CL = [f"Cl{n} Cl {x + 0.5} {y + 0.5} {z + 0.5}" for n, (x, y, z) in enumerate(FACES)]
OCCUPANCY = "label type_symbol fract_x fract_y fract_z occupancy"
LIAL = sites(LIAL_ORIGIN_2)
RIGHT = {
    "old symbol without blanks": (cif(symbol="Fm3m"), "Li4 Cl4", 225),
    "symbol in capitals": (cif(symbol="FM-3M"), "Li4 Cl4", 225),
    "full symbol": (cif(symbol="F 4/m -3 2/m"), "Li4 Cl4", 225),
    "symbol with a typographic minus": (cif(symbol="F m \u22123 m"), "Li4 Cl4", 225),
    "symbol with its number": (cif(symbol="Fm-3m (No. 225)"), "Li4 Cl4", 225),
    "Hall symbol alone": (cif("_space_group_name_Hall '-F 4 2 3'"), "Li4 Cl4", 225),
    "Hall symbol by its old name": (cif("_symmetry_space_group_name_Hall '-F 4 2 3'"), "Li4 Cl4", 225),
    "number alone, of a group of one setting": (cif("_space_group_IT_number 225"), "Li4 Cl4", 225),
    "origin 2 as ICSD writes it": (cif(LIAL, symbol="F d -3 m Z", a=6.37), "Li8 Al8", 227),
    "origin 1 as ICSD writes it": (
        cif(sites(["Al Al 0 0 0", "Li Li 0.5 0.5 0.5"]), symbol="F d 3 m S", a=6.37), "Li8 Al8", 227),
    "origin by Hall symbol": (
        cif(LIAL, "_space_group_name_Hall '-F 4vw 2vw 3'", symbol="F d -3 m", a=6.37), "Li8 Al8", 227),
    "origin by code": (
        cif(LIAL, "_space_group_IT_coordinate_system_code 2", symbol="F d -3 m", a=6.37), "Li8 Al8", 227),
    "origin by formula and Z": (
        cif(LIAL, "_chemical_formula_sum 'Al Li'\n_cell_formula_units_Z 8", symbol="F d -3 m", a=6.37), "Li8 Al8", 227),
    "origin by multiplicities": (
        cif(sites(["Al Al 0.125 0.125 0.125 8", "Li Li 0.375 0.375 0.375 8"],
                  "label type_symbol fract_x fract_y fract_z symmetry_multiplicity"), symbol="F d -3 m", a=6.37),
        "Li8 Al8", 227),
    "hexagonal axes by the cell": (
        cif(cell(4, 4, 12, gamma=120), sites(["Li Li 0 0 0", "Cl Cl 0 0 0.25"]), symbol="R -3 m"), "Li3 Cl6", 166),
    "rhombohedral axes by the cell": (
        cif(cell(4.6, 4.6, 4.6, 50, 50, 50), sites(["Li Li 0 0 0", "Cl Cl 0.25 0.25 0.25"]), symbol="R -3 m"),
        "Li1 Cl2", 166),
    "unique axis c by the cell": (
        cif(cell(5, 6, 7, gamma=105), sites(["Li Li 0.1 0.2 0.3", "Cl Cl 0.4 0.4 0.1"]), symbol="P 21/n"),
        "Li4 Cl4", 14),
    "operations in another order": (cif(operations(FM3M[::-1])), "Li4 Cl4", 225),
    "operations as decimals": (
        cif(cell(4, 4, 12, gamma=120), sites(["Li Li 0 0 0", "Cl Cl 0 0 0.5"]),
            operations(["x,y,z", "x+.66667,y+.33333,z+.33333", "x+.33333,.66667+y,z+.66667"])), "Li3 Cl3", 166),
    "operations and a symbol nobody knows": (cif(operations(FM3M), symbol="F m x m"), "Li4 Cl4", 225),
    "all atoms in P 1 beside the group they have": (
        cif(operations(["x,y,z"]), sites([*ALL_LI, *ALL_CL]), symbol="F m -3 m"), "Li4 Cl4", 225),
    "four digits on special positions": (
        cif(HEXAGONAL, sites(["Li1 Li 0.3333 0.6667 0.583", "Li2 Li 0 0 0.25", "P P 0.3333 0.6667 0.25"]),
            symbol="P 63/m m c"), "Li6 P2", 194),
    "three digits on special positions": (
        cif(HEXAGONAL, sites(["Li1 Li 0.333 0.667 0.583", "Li2 Li 0 0 0.25", "P P 0.333 0.667 0.25"]),
            symbol="P 63/m m c"), "Li6 P2", 194),
    "digits that differ by less than atoms move": (
        cif(cell(5.3, 5.3, 30, gamma=120), sites(["K K 0.11111 0.05560 0.0"]), symbol="P 31 1 2"), "K3", None),
    "uncertainties": (cif(sites(["Li1 Li 0.0 0 0", "Cl1 Cl 0.500(1) 0.5 0.5"]), symbol="F m -3 m", a="5.148(2)"),
                      "Li4 Cl4", 225),
    "occupancy unknown": (
        cif(sites(["Li Li 0 0 0 ?", "Cl Cl 0.5 0.5 0.5 1.0(2)"],
                  OCCUPANCY), symbol="F m -3 m"), "Li4 Cl4", 225),
    "charges in type symbols": (cif(sites(["a Li1+ 0 0 0", "b Cl1- 0.5 0.5 0.5"]), symbol="Fm3m"), "Li4 Cl4", 225),
    "labels alone": (cif(sites(["Li1 0 0 0", "Cl1 0.5 0.5 0.5"], "label fract_x fract_y fract_z"), symbol="F m -3 m"),
                     "Li4 Cl4", 225),
    "labels in capitals, decided by the formula": (
        cif(sites(["LI1 0 0 0", "CL1 0.5 0.5 0.5"], "label fract_x fract_y fract_z"), "_chemical_formula_sum 'Cl Li'",
            symbol="F m -3 m"), "Li4 Cl4", 225),
    "names of the new dictionary": (
        cif(symbol="Fm3m").replace("_atom_site_", "_atom_site.").replace("_cell_", "_cell."), "Li4 Cl4", 225),
    "names in capitals": (cif(symbol="Fm3m").replace("_cell", "_CELL").replace("_fract", "_Fract"), "Li4 Cl4", 225),
    "a block without atoms before": ("data_global\n_journal_year 1999\n" + cif(symbol="Fm3m"), "Li4 Cl4", 225),
    "byte order mark and line ends of Windows": (
        b"\xef\xbb\xbf" + cif(symbol="Fm3m").replace("\n", "\r\n").encode(), "Li4 Cl4", 225),
    "line ends of an old Macintosh": (cif(symbol="Fm3m").replace("\n", "\r"), "Li4 Cl4", 225),
    "UTF-16": (cif(symbol="Fm3m").encode("utf-16"), "Li4 Cl4", 225),
    "typographic quotes": (cif(symbol="F m 3 m").replace("'", "\u2019"), "Li4 Cl4", 225),
    "a name in Latin-1": (b"#\xfc\n" + cif(symbol="Fm3m").encode(), "Li4 Cl4", 225),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_a_cif_is_read_as_the_standard_means_it(tmp_path, what):
    text, formula, number = RIGHT[what]
    found = facts(read_structure(written(tmp_path, text)))
    assert found == (formula, number or found[1])


# --- CIF: refused, in one line ------------------------------------------------------------------------

REFUSED = {
    "symbol unknown, no operations": (DATA / "unknown_symbol.cif", "'I m x m' is not known"),
    "symbol that lacks a blank": (cif(cell(4, 4, 6, gamma=120), symbol="P 31 2"), "'P 31 2' is not known"),
    "symmetry not stated": (cif(), "states no symmetry"),
    "symmetry stated as unknown": (cif(symbol="?"), "states no symmetry"),
    "Hall symbol that is none": (cif("_space_group_name_Hall 'F m -3 m'"), "Hall symbol 'F m -3 m' is not known"),
    "origin left open": (cif(LIAL, symbol="F d -3 m", a=6.37), "leaves the setting open: F d -3 m:1"),
    "setting left open": (
        cif(cell(6, 4, 10), sites(["Li Li 0.1 0.25 0.3", "Cl Cl 0.3 0.25 0.1"]), "_space_group_IT_number 62"),
        "number 62 leaves the setting open"),
    "symbol against number": (cif("_space_group_IT_number 221", symbol="F m -3 m"), "contradict each other"),
    "symbol against Hall symbol": (
        cif(LIAL, "_space_group_name_Hall '-F 4vw 2vw 3'", symbol="F d -3 m :1", a=6.37), "contradict each other"),
    "cell against symbol": (cif(cell(5.148, 5.2), symbol="F m -3 m"), "does not have the symmetry"),
    "cell against operations": (cif(cell(5.148, 5.2), operations(FM3M)), "does not have the symmetry"),
    "rhombohedral cell, hexagonal symbol": (cif(cell(4, 4, 4, 50, 50, 50), symbol="R -3 m :H"), "symmetry of its"),
    "an operation missing": (cif(operations(FM3M[:-1])), "191 symmetry operations do not form a group"),
    "centring missing": (cif(operations(FM3M[:48]), symbol="F m -3 m"), "48 operations are those of space group 221"),
    "operations of P 1, symbol of Fm-3m, one atom each": (
        cif(operations(["x,y,z"]), symbol="F m -3 m"), "its atoms have 221"),
    "two lists of operations": (
        cif(operations(["x,y,z"]), "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,y,z"), "two lists"),
    "operations of the other origin": (
        cif(LIAL, operations(o.triplet() for o in gemmi.SpaceGroup("F d -3 m:1").operations()), symbol="F d -3 m :2",
            a=6.37), "operations are not those of 'F d -3 m :2'"),
    "operations of another setting than the Hall symbol": (
        cif(cell(6, 4, 10), sites(["Li Li 0.1 0.25 0.3"]), "_space_group_name_Hall '-P 2c 2ab'",
            operations(o.triplet() for o in gemmi.SpaceGroup("P n m a").operations())), "operations are not those of"),
    "sites in two loops": (
        cif(sites(["Li1 0 0 0", "Cl1 0.5 0.5 0.5"], "label fract_x fract_y fract_z"),
            "loop_\n_atom_site_type_symbol\nCl\nLi", symbol="F m -3 m"), "spread over several loops"),
    "picometres": (cif(symbol="F m -3 m", a=514.8), "cubic angstrom for 8 atoms"),
    "not an operation": (cif(operations(["x,y,z", "x,y,q"])), "'x,y,q' is not a symmetry operation"),
    "an operation that flattens": (cif(operations(["x,y,z", "x,x,z"])), "'x,x,z' is not a symmetry operation"),
    "all atoms and the symmetry too": (cif(sites(ALL_LI), symbol="F m -3 m"), "listed twice"),
    "multiplicity": (
        cif(sites(["Li Li 0 0 0 8", "Cl Cl 0.5 0.5 0.5 4"],
                  "label type_symbol fract_x fract_y fract_z symmetry_multiplicity"), symbol="F m -3 m"),
        "makes 4 atoms of site Li, its own multiplicity says 8"),
    "volume": (cif("_cell_volume 200", symbol="F m -3 m"), "_cell_volume says 200"),
    "Z": (cif("_chemical_formula_sum 'Li Cl'\n_cell_formula_units_Z 8", symbol="F m -3 m"), "and Z 8"),
    "formula": (cif("_chemical_formula_sum 'Li2 Cl'", symbol="F m -3 m"), "own _chemical_formula_sum says 'Li2 Cl'"),
    "formula that is none": (cif("_chemical_formula_sum 'Li, Cl'", symbol="F m -3 m"), "is not a formula"),
    "two structures": (cif(symbol="Fm3m") + cif(symbol="Fm3m", name="y"), "holds 2 structures"),
    "magnetic": (cif("_space_group_magn.number_BNS 1.1", symbol="P 1"), "is a magnetic CIF"),
    "modulated": (cif("_cell_modulation_dimension 1", symbol="P 1"), "modulated"),
    "macromolecule": (cif("loop_\n_atom_site.group_PDB\nATOM", symbol="P 1"), "mmCIF"),
    "Cartesian": (cif(sites(["Li 0 0 0"], "label Cartn_x Cartn_y Cartn_z") + "_atom_site_fract_xx 1\n", symbol="P 1")
                  .replace(sites(), ""), "Cartesian coordinates only"),
    "deuterium": (cif(sites(["D1 D 0 0 0"]), symbol="P 1"), "isotope of hydrogen"),
    "dummy": (cif(sites(["X1 X 0 0 0"]), symbol="P 1"), "'X' is not a chemical element"),
    "marked as dummy": (
        cif(sites(["Li1 Li 0 0 0 dum"], "label type_symbol fract_x fract_y fract_z calc_flag"), symbol="P 1"), "dummy"),
    "hydrogen that is not listed": (
        cif(sites(["O1 O 0 0 0 2"], "label type_symbol fract_x fract_y fract_z attached_hydrogens"), symbol="P 1"),
        "2 hydrogen atoms attached"),
    "alternatives": (
        cif(sites(["Li1 Li 0 0 0 A", "Li2 Li 0.5 0 0 B"], "label type_symbol fract_x fract_y fract_z disorder_group"),
            symbol="P 1"), "are alternatives"),
    "two elements in one label": (
        cif(sites(["CL1 0.5 0.5 0.5"], "label fract_x fract_y fract_z"), symbol="P 1"), "may be Cl or C"),
    "coordinate unknown": (cif(sites(["Li1 Li ? 0 0"]), symbol="P 1"), "has the coordinates None, 0, 0"),
    "coordinate as a fraction": (cif(sites(["Li1 Li 1/2 0 0"]), symbol="P 1"), "has the coordinates 1/2, 0, 0"),
    "coordinate not finite": (cif(sites(["Li1 Li 1e999 0 0"]), symbol="P 1"), "has the coordinates 1e999"),
    "angle missing": (cif(symbol="F m -3 m").replace("_cell_angle_gamma 90\n", ""), "_cell_angle_gamma is missing"),
    "angle unknown": (cif(symbol="F m -3 m").replace("gamma 90", "gamma ?"), "_cell_angle_gamma is missing"),
    "no volume": (cif(cell(4, 4, 4, 60, 60, 150), symbol="P 1"), "enclose no volume"),
    "two digits near a special position": (
        cif(HEXAGONAL, sites(["P P 0.33 0.67 0.25"]), symbol="P 63/m m c"), "from its own image"),
    "occupancy 0": (
        cif(sites(["Li Li 0 0 0 0"], OCCUPANCY), symbol="P 1"), "occupancy 0"),
    "occupancy 2": (
        cif(sites(["Li Li 0 0 0 2"], OCCUPANCY), symbol="P 1"), "occupancy 2"),
    "an item twice": (cif("_cell_volume 1\n_cell_volume 2", symbol="P 1"), "duplicate tag"),
    "cut in a loop": (cif(symbol="F m -3 m").rstrip()[:-4], "Wrong number of values"),
    "5,000 operations": (cif(operations(["x,y,z"] * 5000)), "cannot be used"),
    "25,000 sites": (cif(sites(f"Li Li 0 0 {n / 25000}" for n in range(25000)), symbol="P 1"), "lists 25000 sites"),
    "15,000 atoms at one place": (cif(sites(["Li1 Li 0 0 0"] * 15000), symbol="P 1"), "share one position"),
    "a symbol without end": (cif(symbol="F m -3 m" + " x" * 50000), "is not known"),
    "a formula of brackets": (cif(f"_chemical_formula_sum '{'(' * 400}'", symbol="P 1"), "is not a formula"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_cif_that_cannot_be_trusted_is_refused_in_one_line(tmp_path, what):
    content, message = REFUSED[what]
    path = content if isinstance(content, Path) else written(tmp_path, content)
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        read_structure(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert time.process_time() - start < 10


# --- partial occupancies ------------------------------------------------------------------------------


def test_partial_occupancies_are_read_where_they_are_asked_for(tmp_path):
    entry = get_entry("Li6PS5Cl")
    path = written(tmp_path, CifWriter(entry.structure, symprec=0.01).__str__())
    structure = read_disordered(path)
    assert structure.composition.almost_equals(entry.structure.composition)
    assert space_group_numbers(structure) == {216}
    with pytest.raises(StructureError, match="partially occupied"):
        read_structure(path)


def test_elements_that_share_a_position_add_up(tmp_path):
    rows = ["S1 S 0 0 0 0.615", "Cl1 Cl 0 0 0 0.385", "Li1 Li 0.25 0.25 0.25 ."]
    structure = read_disordered(written(tmp_path, cif(sites(rows, OCCUPANCY), symbol="F m -3 m", a=5.7)))
    assert structure.composition.as_dict() == pytest.approx({"S": 2.46, "Cl": 1.54, "Li": 8})
    assert len(structure) == 12
    rows[1] = "Cl1 Cl 0 0 0 0.5"
    with pytest.raises(InputError, match=r"S1 and Cl1 is occupied 1\.115 times"):
        read_disordered(written(tmp_path, cif(sites(rows, OCCUPANCY), symbol="F m -3 m", a=5.7)))
