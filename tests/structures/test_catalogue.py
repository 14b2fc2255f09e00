"""Every crystal against hand-computed numbers, and every way a user's file can be wrong."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import yaml
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from anodeflow.errors import InputError, StructureError
from anodeflow.structures import catalogue
from anodeflow.structures.catalogue import crystal_names, crystal_table, get_entry, load_crystal
from anodeflow.structures.sites import shortest_contact

NAMES = ["Li", "Al", "LiAl", "Li3Al2", "Li9Al4", "LiCl", "Li2S", "Li3P", "P2S5", "Li6PS5Cl"]


def test_the_catalogue_holds_what_the_studies_need():
    assert crystal_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_entries_verify_and_say_where_they_come_from(name):
    entry = get_entry(name)
    assert entry.source
    assert entry.method
    assert "\n" not in entry.title
    assert entry.kind in ("metal", "insulator")
    assert (entry.oxidation_states is None) == (entry.kind == "metal")
    assert shortest_contact(entry.structure)[0] == pytest.approx(entry.shortest_distance_angstrom, abs=0.02)


@pytest.mark.parametrize(
    ("name", "atoms", "distance"),
    [
        ("Li", 2, 3.44 * math.sqrt(3) / 2),
        ("Al", 4, 4.041 / math.sqrt(2)),
        ("LiAl", 16, 6.367 * math.sqrt(3) / 4),
        ("LiCl", 8, 5.148 / 2),
        ("Li2S", 12, 5.729 * math.sqrt(3) / 4),
        ("Li3P", 8, 4.246 / math.sqrt(3)),
        ("Li3Al2", 15, 14.259 * (0.595 - 0.405)),
    ],
)
def test_shortest_distances_follow_from_the_cell(name, atoms, distance):
    structure = load_crystal(name)
    assert len(structure) == atoms
    assert shortest_contact(structure)[0] == pytest.approx(distance, abs=2e-3)


def test_density_of_lithium_from_mass_and_volume():
    row = next(row for row in crystal_table() if row["name"] == "Li")
    assert row["density_g_per_cm3"] == pytest.approx(2 * 6.94 / 6.02214e23 / (3.44e-8) ** 3, rel=1e-3)


def test_li9al4_is_written_with_unique_axis_b():
    structure = load_crystal("Li9Al4")
    assert structure.lattice.b < structure.lattice.c
    assert structure.lattice.alpha == structure.lattice.gamma == 90
    # Exchanged axes keep the space group and lose 0.35 angstrom: only the distance tells.
    cell = structure.lattice
    wrong = Structure(
        Lattice.from_parameters(cell.a, cell.c, cell.b, 90, cell.beta, 90),
        structure.species,
        structure.frac_coords,
    )
    assert wrong.get_space_group_info()[0] == "C2/m"
    assert shortest_contact(wrong)[0] < 2.4


def test_li9al4_with_the_measured_cell_has_the_published_shortest_distance():
    structure = load_crystal("Li9Al4")
    measured = Structure(Lattice.monoclinic(19.155, 4.499, 5.429, 107.67), structure.species, structure.frac_coords)
    assert shortest_contact(measured)[0] == pytest.approx(2.71, abs=0.01)


def test_argyrodite_pairs_and_free_anions():
    structure = get_entry("lpsc").structure
    assert not structure.is_ordered
    assert structure.composition.num_atoms == pytest.approx(52)
    lithium = [k for k, site in enumerate(structure) if "Li" in site.species_string]
    assert len(lithium) == 48
    for k in lithium:  # each has exactly one partner it excludes
        near = [n for n in structure.get_neighbors(structure[k], 2.0) if "Li" in n.species_string]
        assert [round(n.nn_distance, 2) for n in near] == [1.96]
    sulfur = [site for site in structure if site.species_string == "S"]
    bound = [s for s in sulfur if any(n.species_string == "P" for n in structure.get_neighbors(s, 2.5))]
    assert (len(sulfur), len(bound)) == (20, 16)
    distances = [n.nn_distance for n in structure.get_neighbors(bound[0], 2.5) if n.species_string == "P"]
    assert distances == [pytest.approx(2.03, abs=0.01)]


def test_argyrodite_cannot_be_loaded_without_choosing_a_configuration():
    with pytest.raises(StructureError, match=r"ordered configuration is needed; .*anodeflow build argyrodite"):
        load_crystal("Li6PS5Cl")


def test_p2s5_is_two_cages():
    structure = load_crystal("P4S10")
    assert len(structure) == 28
    assert structure.density == pytest.approx(2.09, abs=0.04)
    assert "NOT a refined" in get_entry("P2S5").notes
    for site in structure:
        bonds = sorted(n.nn_distance for n in structure.get_neighbors(site, 2.4))
        if site.species_string == "P":  # one terminal bond, three to bridges
            assert len(bonds) == 4
            assert bonds[0] == pytest.approx(1.92, abs=0.03)
            assert bonds[1:] == [pytest.approx(2.11, abs=0.03)] * 3
        else:
            assert len(bonds) in (1, 2)


def test_p2s5_molecules_do_not_touch():
    structure = load_crystal("P2S5")
    molecule, grown = [], [(0, (0, 0, 0))]
    while grown:
        index, image = grown.pop()
        if (index, image) in molecule:
            continue
        molecule.append((index, image))
        for n in structure.get_neighbors(structure[index], 2.4):
            grown.append((n.index, tuple(int(a + b) for a, b in zip(n.image, image, strict=True))))
    assert len(molecule) == 14
    inside = set(molecule)
    for index, image in molecule:
        for n in structure.get_neighbors(structure[index], 3.4):
            assert (n.index, tuple(int(a + b) for a, b in zip(n.image, image, strict=True))) in inside


def test_the_structure_of_an_entry_is_a_copy():
    get_entry("Al").structure.remove_sites([0])
    assert len(get_entry("Al").structure) == 4


def test_the_table_is_json():
    rows = json.loads(json.dumps(crystal_table()))
    assert [row["name"] for row in rows] == NAMES
    assert next(row for row in rows if row["name"] == "Li6PS5Cl")["atoms"] == 52
    assert not next(row for row in rows if row["name"] == "Li6PS5Cl")["ordered"]


@pytest.mark.parametrize("name", ["lial", " LiAl ", "AlLi", "beta-lial"])
def test_names_are_found_in_any_case_and_by_alias(name):
    assert get_entry(name).name == "LiAl"


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(InputError, match=r"unknown crystal 'LiAll'; nearest: LiAl, .*path to a CIF or POSCAR"):
        load_crystal("LiAll")


BREAK = {
    "axes": lambda raw: raw["cell"].update(b=5.368, c=4.471),
    "group": lambda raw: raw["space_group"].update(symbol="C2", number=5),
    "distance": lambda raw: raw.update(shortest_distance=2.71),
    "formula": lambda raw: raw.update(formula="Li2Al"),
    "orbit": lambda raw: raw["sites"][1].update(wyckoff="8j"),
    "kind": lambda raw: raw.update(kind="semiconductor"),
    "charge": lambda raw: raw.update(kind="insulator", oxidation_states={"Li": 1, "Al": -2}),
    "states": lambda raw: raw.update(kind="insulator", oxidation_states={"Li": 1}),
    "missing": lambda raw: raw.pop("source"),
    "nan": lambda raw: raw["sites"][1].update(coords=["x", 0, 0]),
}


@pytest.mark.parametrize("what", BREAK)
def test_a_broken_entry_is_refused_with_its_name(what):
    raw = copy.deepcopy(yaml.safe_load(catalogue.CATALOGUE.read_text())["Li9Al4"])
    BREAK[what](raw)
    with pytest.raises(StructureError, match=r"crystals\.yaml: entry Li9Al4: "):
        catalogue.build_entry("Li9Al4", raw)


# --- files of the user ---


@pytest.mark.parametrize(
    ("name", "form"),
    [("licl.cif", "cif"), ("POSCAR", "poscar"), ("a.vasp", "poscar"), ("b@c.xyz", "xyz"), ("d.xsf", "xsf")],
)
def test_files_are_read_as_written(tmp_path: Path, name, form):
    structure = load_crystal("LiCl")
    path = tmp_path / name
    structure.to_ase_atoms().write(str(path.with_name("w")), format="extxyz" if form == "xyz" else "xsf")
    if form == "cif":
        CifWriter(structure, symprec=0.01).write_file(path)
    elif form == "poscar":
        structure.to(str(path), fmt="poscar")
    else:
        path.with_name("w").rename(path)
    loaded = load_crystal(str(path))
    assert loaded.composition == structure.composition
    assert shortest_contact(loaded)[0] == pytest.approx(2.574, abs=1e-4)
    assert loaded.get_space_group_info()[1] == 225


def _poscar(lines: str, cell: str = "5 0 0\n0 5 0\n0 0 5") -> str:
    return f"test\n1.0\n{cell}\n{lines}\n"


GOOD = "Li Cl\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5"
CIF = """data_x
_cell_length_a 5.148
_cell_length_b 5.148
_cell_length_c 5.148
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum '{formula}'
{more}
loop_
_symmetry_equiv_pos_as_xyz
{operations}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 {occupancy}
"""
TWO = "'x,y,z'\n'x,y+1/2,z+1/2'"
FACES = "'x,y,z'\n'x,y+1/2,z+1/2'\n'x+1/2,y,z+1/2'\n'x+1/2,y+1/2,z'"


def _cif(formula: str, operations: str, more: str = "", occupancy: float = 1) -> str:
    return CIF.format(formula=formula, more=more, operations=operations, occupancy=occupancy)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("empty.cif", "", InputError, "is empty"),
        ("binary.cif", b"\x00\xff\xfe\x80" * 50, InputError, "cannot be read"),
        ("binary.xyz", b"\x00\xff\xfe\x80" * 50, InputError, "cannot be read"),
        ("words.cif", "this is not a crystal\n", InputError, "cannot be read"),
        ("POSCAR", "LiCl\n1.0\n5 0 0\n", InputError, "cannot be read"),
        ("POSCAR", _poscar("1 1\ndirect\n0 0 0\n0.5 0.5 0.5"), InputError, "cannot be read"),
        ("POSCAR", _poscar("Li Cl\n1 1\ndirect\n0 0 0\nnan 0.5 0.5"), StructureError, "not a number"),
        ("POSCAR", _poscar("Li Cl\n1 1\ndirect\n0 0 0\n0.1 0 0"), StructureError, r"Li.* and 2 .* 0\.500"),
        ("POSCAR", _poscar(GOOD, "5 0 0\n10 0 0\n0 0 5"), StructureError, "cell of|not a number|cannot"),
        ("two.xyz", "1\nLattice='5 0 0 0 5 0 0 0 5'\nLi 0 0 0\n" * 2, InputError, "holds 2 structures"),
        ("mol.xyz", "2\nmolecule\nLi 0 0 0\nCl 0 0 2\n", StructureError, "not periodic"),
        ("slab.xyz", "1\nLattice='5 0 0 0 5 0 0 0 5' pbc='T T F'\nLi 0 0 0", StructureError, "not periodic"),
        ("short.xyz", "3\nLattice='5 0 0 0 5 0 0 0 5'\nLi 0 0 0\n", InputError, "cannot be read"),
        ("half.cif", _cif("Li4 Cl4", FACES, occupancy=0.5), StructureError, "formula|partial"),
        ("less.cif", _cif("Li4 Cl4", "'x,y,z'"), StructureError, "make Li1 Cl1"),
        ("z.cif", _cif("Li Cl", TWO, "_cell_formula_units_Z 4"), StructureError, "own _chemical_formula_sum"),
        ("other.cif", _cif("Li2 Cl", FACES), StructureError, "own _chemical_formula_sum"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_by_name_and_reason(tmp_path: Path, name, content, error, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message) as caught:
        load_crystal(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("formula", "more"), [("Li4 Cl4", ""), ("Li Cl", "_cell_formula_units_Z 4"), ("Li Cl", "")])
def test_a_whole_cif_is_accepted(tmp_path: Path, formula, more):
    path = tmp_path / "whole.cif"
    path.write_text(_cif(formula, FACES, more))
    assert load_crystal(path).composition.formula == "Li4 Cl4"


def test_every_truncation_of_a_cif_is_refused_or_complete(tmp_path: Path):
    text = _cif("Li4 Cl4", FACES).rstrip()
    path = tmp_path / "cut.cif"
    for length in range(0, len(text) - 6, 23):
        path.write_text(text[:length])
        with pytest.raises(InputError, match=r"cut\.cif"):
            load_crystal(path)


def test_missing_files_and_folders(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        load_crystal(tmp_path / "none.cif")
    with pytest.raises(InputError, match="is a folder"):
        load_crystal(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        load_crystal("folder/LiCl")


def test_partial_occupancy_in_a_file_is_refused(tmp_path: Path):
    path = tmp_path / "half.cif"
    structure = Structure(Lattice.cubic(4), [{"Li": 0.5}, {"Cl": 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    CifWriter(structure).write_file(path)
    with pytest.raises(StructureError, match="partially occupied"):
        load_crystal(path)
