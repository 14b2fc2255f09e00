"""Structure files of strangers other than CIF, and packed ones: the right crystal, or one line that says why not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re

import numpy as np
import pytest
from file_texts import cif, facts, written
from pymatgen.core import Element
from pymatgen.io.vasp import Poscar

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.structure_files import read_disordered, read_structure

# --- packed files -------------------------------------------------------------------------------------

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.CIF"])
def test_packed_files_are_read_like_unpacked_ones(tmp_path, suffix, name):
    plain = cif(symbol="F m -3 m") if "cif" in name.lower() else load_crystal("LiCl").to(fmt="poscar")
    path = written(tmp_path, PACK[suffix](plain.encode()), name + suffix)
    assert facts(read_structure(path)) == ("Li4 Cl4", 225)
    assert facts(read_structure(written(tmp_path, PACK[suffix](plain.encode()), name))) == ("Li4 Cl4", 225)


@pytest.mark.parametrize("suffix", PACK)
def test_damaged_and_oversized_packed_files_are_refused(tmp_path, suffix):
    packed = PACK[suffix](cif(symbol="F m -3 m").encode() * 50)
    for content in (packed[: len(packed) // 2], packed[:20] + b"\x00\x01\x02" + packed[23:], packed[:8]):
        with pytest.raises(InputError, match="cannot be read"):
            read_structure(written(tmp_path, content, "a.cif" + suffix))
    bomb = written(tmp_path, PACK[suffix](bytes(100 << 20)), "b.cif" + suffix)
    with pytest.raises(InputError, match="more than 32 MiB"):
        read_structure(bomb)
    with pytest.raises(InputError, match="twice compressed"):
        read_structure(written(tmp_path, PACK[suffix](gzip.compress(b"x")), "c.cif" + suffix))


@pytest.mark.parametrize(
    ("magic", "kind"), [(b"PK\x03\x04", "ZIP"), (b"7z\xbc\xaf", "7z"), (b"\x28\xb5\x2f\xfd", "Zst")]
)
def test_other_archives_are_named(tmp_path, magic, kind):
    with pytest.raises(InputError, match=f"is a {kind}"):
        read_structure(written(tmp_path, magic + b"rest", "a.cif"))


# --- POSCAR -------------------------------------------------------------------------------------------


def poscar(scale="1.0", mode="Direct", cell="5.148 0 0\n0 5.148 0\n0 0 5.148", names="Li Cl\n4 4", title="LiCl") -> str:
    licl = load_crystal("LiCl")
    factors = [float(x.replace("D", "e")) for x in scale.split()]
    edge = 5.148 if factors[0] > 0 else 1.0
    rows = licl.frac_coords * (1 if mode[0] == "D" else edge / np.array(factors if factors[0] > 0 else [1.0]))
    return f"{title}\n{scale}\n{cell}\n{names}\n{mode}\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\n"


@pytest.mark.parametrize("mode", ["Direct", "Cartesian"])
@pytest.mark.parametrize(
    ("scale", "edges"),
    [("1.0", (5.148,) * 3), ("2.0 2.0 2.0", (2.574,) * 3), ("1 2 4", (5.148, 2.574, 1.287)), ("-136.43", (1,) * 3)],
)
def test_every_scale_factor_of_a_poscar_is_applied(tmp_path, scale, edges, mode):
    rows = [[edge if i == j else 0 for j in range(3)] for i, edge in enumerate(edges)]
    cell = "\n".join(" ".join(map(str, row)) for row in rows)
    structure = read_structure(written(tmp_path, poscar(scale, mode, cell), "POSCAR"))
    assert structure.lattice.abc == pytest.approx((5.148,) * 3, abs=1e-3)
    assert facts(structure) == ("Li4 Cl4", 225)


def test_a_poscar_is_read_as_pymatgen_reads_it_where_that_is_right(tmp_path):
    licl = load_crystal("LiCl").copy()
    licl.perturb(0.1, seed=1)
    licl.add_site_property("selective_dynamics", [[True, False, True]] * 8)
    path = written(tmp_path, Poscar(licl).get_str(significant_figures=12), "POSCAR")
    ours, theirs = read_structure(path), Poscar.from_file(path).structure
    assert np.array_equal(ours.frac_coords, theirs.frac_coords)
    assert np.array_equal(ours.lattice.matrix, theirs.lattice.matrix)
    assert ours.species == theirs.species
    assert np.array_equal(ours.site_properties["selective_dynamics"], theirs.site_properties["selective_dynamics"])


@pytest.mark.parametrize(
    "text",
    [
        poscar(title="LiCl bei 25 \xb0C").encode("latin-1"),
        poscar().replace("\n", "\r\n").encode(),
        poscar(names="Li_sv/a5b1c2d3 Cl/79d9987a\n4 4").encode(),
        re.sub(r"(?<=Direct\n)(?s:.*)", lambda rows: rows[0].replace("\n", " T T T\n"),
               poscar(names="Li Cl\n4 4\nSelective dynamics")).encode(),
        poscar().encode() + b"\n 1.0 2.0 3.0\n" * 8,
        poscar(scale="0.1D+01").encode(),
    ],
)  # fmt: skip
def test_poscars_as_programs_write_them(tmp_path, text):
    assert facts(read_structure(written(tmp_path, text, "POSCAR.vasp"))) == ("Li4 Cl4", 225)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (poscar(names="4 4"), "names no elements"),
        (poscar(names="Li X\n4 4"), "'X' is not a chemical element"),
        (poscar(names="Li Cl\n4"), "names 2 elements and gives 1"),
        (poscar(names="Li Cl\n4 3"), "announces 7 atoms and lists more"),
        (poscar(names="Li Cl\n4 5"), "position of atom 9 is missing"),
        (poscar(names="Li Cl\n4 999999999"), "between 1 and 20000 are read"),
        (poscar(names="Li Cl\n4 -4"), "cannot be read"),
        (poscar(mode="Direct").replace("Direct", "0 0 0"), "not Direct or Cartesian"),
        (poscar(scale="1.0", title="x").replace("\n1.0\n", "\n1 1\n"), "not a scale factor"),
        (poscar(scale="1.0", title="x").replace("\n1.0\n", "\n0\n"), "not a scale factor"),
        (poscar(scale="1.0", title="x").replace("\n1.0\n", "\n1 -1 1\n"), "not a scale factor"),
        (poscar(cell="5 0 0\n0 5 0\n0 0 nan"), "not three lattice vectors"),
        (poscar(cell="5 0 0\n0 5 0\n0 0 1e308"), "longer than 1000 angstrom"),
        (poscar(names="Li Cl\n4 4\nSelective dynamics"), "three T or F"),
        (poscar().replace("0.5", "0. 5", 1), "not three numbers"),
        (poscar(cell="5 0 0\n0 5. 1 0\n0 0 5"), "not three lattice vectors"),
    ],
)
def test_poscars_that_cannot_be_trusted_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(written(tmp_path, text, "POSCAR"))
    assert "\n" not in str(caught.value)


# --- extended XYZ -------------------------------------------------------------------------------------


def xyz(names, properties="species:S:1:pos:R:3", extra="") -> str:
    licl = load_crystal("LiCl")
    lattice = " ".join(map(str, licl.lattice.matrix.ravel()))
    head = f'8\nLattice="{lattice}" Properties={properties} pbc="T T T"\n'
    return head + "".join(
        f"{name} {x} {y} {z}{extra}\n" for name, (x, y, z) in zip(names, licl.cart_coords, strict=True)
    )


@pytest.mark.parametrize(
    ("names", "properties"),
    [
        (["Li"] * 4 + ["Cl"] * 4, "species:S:1:pos:R:3"),
        ([f"Li{n}" for n in range(4)] + [f"Cl{n}" for n in range(4)], "species:S:1:pos:R:3"),
        (["Li+"] * 4 + ["Cl-"] * 4, "species:S:1:pos:R:3"),
        (["Li1+"] * 4 + ["CL"] * 4, "species:S:1:pos:R:3"),
        ([3] * 4 + [17] * 4, "Z:I:1:pos:R:3"),
        ([3] * 4 + [17] * 4, "numbers:I:1:pos:R:3"),
        ([3] * 4 + [17] * 4, "species:S:1:pos:R:3"),
        (["Li"] * 4 + ["Cl"] * 4, "element:S:1:pos:R:3"),
        (["Li 3"] * 4 + ["Cl 17"] * 4, "species:S:1:Z:I:1:pos:R:3"),
    ],
)
def test_extended_xyz_names_elements_in_many_ways(tmp_path, names, properties):
    structure = read_structure(written(tmp_path, xyz(names, properties), "a.xyz"))
    assert facts(structure) == ("Li4 Cl4", 225)
    assert [site.specie.symbol for site in structure] == ["Li"] * 4 + ["Cl"] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xyz(["Li 17"] * 8, "species:S:1:Z:I:1:pos:R:3"), "atom 1 is Cl and Li"),
        (xyz(["X"] * 8), "'X' names no chemical element"),
        (xyz(["D"] * 8), "isotope of hydrogen"),
        (xyz(["119"] * 8, "Z:I:1:pos:R:3"), "atomic number 119"),
        (xyz(["0"] * 8, "Z:I:1:pos:R:3"), "atomic number 0"),
        (xyz(["Li"] * 8, "mark:S:1:pos:R:3"), "names the elements"),
        (xyz(["Li"] * 8, "species:S:x:pos:R:3"), "not name:type:columns"),
        (xyz(["Li"] * 8).replace("8\n", "9\n", 1), "atom 9 of 9 is missing"),
        (xyz(["Li"] * 8).replace("8\n", "7\n", 1), "announces 7 atoms and lists more"),
        (xyz(["Li"] * 8).replace(" 2.574", " 2. 574", 1), "has 5 columns, not 4"),
        (xyz(["Li"] * 8).replace("2.574", "2.5.74", 1), "'2.5.74' is not a number"),
        (xyz(["Li"] * 8).replace("8\n", "9" * 5000 + "\n", 1), "is cut off"),
        (xyz(["Li"] * 8) * 2, "holds 2 structures"),
        (xyz(["Li"] * 8).replace("T T T", "T T F"), "not periodic"),
    ],
)
def test_extended_xyz_that_cannot_be_trusted_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(written(tmp_path, text, "a.xyz"))
    assert "\n" not in str(caught.value)


# --- pymatgen's JSON ----------------------------------------------------------------------------------


def document(**changes):
    licl = load_crystal("LiCl").copy()
    licl.add_oxidation_state_by_element({"Li": 1, "Cl": -1})
    data = json.loads(json.dumps(licl.as_dict()))
    return data | changes


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: data,
        lambda data: [data],
        lambda data: {"material_id": "mp-22905", "structure": data, "energy_per_atom": -3.6},
        lambda data: {"data": [{"material_id": "mp-22905", "structure": data}]},
        lambda data: {"@class": "ComputedStructureEntry", "structure": data},
    ],
)  # fmt: skip
def test_structures_of_pymatgen_and_the_materials_project_are_read(tmp_path, wrap):
    structure = read_structure(written(tmp_path, json.dumps(wrap(document())), "a.json"))
    assert facts(structure) == ("Li4 Cl4", 225)
    assert structure.species[0] == Element("Li")


def test_a_file_names_no_module_that_is_imported(tmp_path):
    data = document()
    data["sites"][0]["properties"] = {"x": {"@module": "antigravity_of_anodeflow", "@class": "X"}}
    (tmp_path / "antigravity_of_anodeflow.py").write_text("raise SystemExit(9)")
    data["properties"] = {"@module": "os", "@callable": "system"}
    assert facts(read_structure(written(tmp_path, json.dumps(data), "a.json"))) == ("Li4 Cl4", 225)


def changed(path, value):
    data = document()
    where = data
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "holds 0 structures"),
        ([document(), document()], "holds 2 structures"),
        ({"a": 1}, "no pymatgen Structure"),
        (3, "no pymatgen Structure"),
        (document(**{"@class": "Molecule"}), "'Molecule', not a Structure"),
        (document(sites=[]), "no list of 1 to"),
        (document(sites={"a": 1}), "no list of 1 to"),
        (changed(["lattice", "matrix"], [[1, 2], [3, 4]]), "no matrix of three vectors"),
        (changed(["lattice", "matrix"], [[1, 0, 0], [2, 0, 0], [0, 0, 1]]), "no matrix of three vectors"),
        (changed(["lattice", "a"], 6.0), "states a 6"),
        (changed(["lattice", "pbc"], [True, True, False]), "not in three directions"),
        (changed(["sites", 0, "abc"], [0, 0, float("inf")]), "site 1 has no position"),
        (changed(["sites", 0, "abc"], [0, 0, 10**400]), "site 1 has no position"),
        (changed(["sites", 0, "abc"], [0.3, 0, 0]), "two positions, abc and xyz"),
        (changed(["sites", 0, "species"], [{"element": "Xx", "occu": 1}]), "not a chemical element"),
        (changed(["sites", 0, "species"], [{"element": "Li", "occu": True}]), "site 1 has the species"),
        (changed(["sites", 0, "species"], [{"element": "Li", "occu": 1}, {"element": "Na", "occu": 1}]), "occupied 2"),
        (changed(["sites", 0, "species"], [{"element": "Li", "occu": 0.5}]), "partially occupied"),
    ],
)
def test_json_that_cannot_be_trusted_is_refused(tmp_path, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(written(tmp_path, json.dumps(data), "a.json"))
    assert "\n" not in str(caught.value)


def test_json_that_is_none_or_has_no_bottom_is_refused(tmp_path):
    for text in ('{"lattice": ', "[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(InputError, match="cannot be read"):
            read_structure(written(tmp_path, text, "a.json"))


# --- SHELX --------------------------------------------------------------------------------------------

AIRSS = """TITL licl-1 0.00 136.4 -10.1 0.00 0.00 8 (Fm-3m) n - 1
CELL 1.54180 5.148 5.148 5.148 90 90 90
LATT -1
SFAC Li Cl
""" + "".join(
    f"{e} {n} {x} {y} {z} 1.0\n"
    for e, n, o in (("Li", 1, 0), ("Cl", 2, 0.5))
    for x, y, z in ((o, o, o), (o, o + 0.5, o + 0.5), (o + 0.5, o, o + 0.5), (o + 0.5, o + 0.5, o))
) + "END\n"  # fmt: skip
SHELX = """TITL Li2S in Fm-3m, the subgroup F 2 2 2 with inversion
CELL 0.71073 5.700 5.700 5.700 90 90 90
ZERR 4 0.001 0.001 0.001 0 0 0
LATT 4
SYMM -X, -Y, Z
SYMM -X, Y, -Z
SYMM X, -Y, -Z
SFAC Li S
UNIT 8 4
REM a remark
FVAR 1.0 0.5
Li1   1  10.25000  10.25000  10.25000  {li}  0.02
S1    2  0.00000  0.00000 =
         0.00000  10.12500  0.01
HKLF 4
Q1    1  0.1 0.2 0.3 11.0 0.05 1.2
"""


def test_shelx_files_are_read_with_their_symmetry(tmp_path):
    assert facts(read_structure(written(tmp_path, AIRSS, "a.res"))) == ("Li4 Cl4", 225)
    for li in ("10.25000", "0.25"):
        assert facts(read_structure(written(tmp_path, SHELX.format(li=li), "a.RES"))) == ("Li8 S4", 225)
    half = SHELX.format(li="10.12500").replace("UNIT 8 4", "UNIT 4 4")
    assert read_disordered(written(tmp_path, half, "a.ins")).composition.formula == "Li4 S4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHELX.format(li="10.25").replace("UNIT 8 4", "UNIT 8 8"), "its own UNIT says Li8 S8"),
        (SHELX.format(li="10.25").replace("LATT 4", "LATT 1"), "its own UNIT says"),
        (SHELX.format(li="10.25").replace("LATT 4\n", ""), "0 LATT instructions"),
        (SHELX.format(li="10.25").replace("LATT 4", "LATT 9"), "LATT 9"),
        (SHELX.format(li="10.25").replace("SYMM X, -Y, -Z\n", ""), "do not form a group"),
        (SHELX.format(li="10.25").replace("5.700 90 90 90", "5.700 90 90 95"), "do not fit its cell"),
        (SHELX.format(li="11.00"), "occupied 4 times"),
        (SHELX.format(li="10.25").replace("Li1   1", "Li1   3"), "is of type 3"),
        (SHELX.format(li="10.25").replace("Li1   1", "Q1    1"), "peak of the electron density"),
        (SHELX.format(li="10.25").replace("SFAC Li S", "SFAC Li X"), "'X' is not a chemical element"),
        (SHELX.format(li="10.25").replace("CELL 0.71073 5.700", "CELL 0.71073 nan"), "is not 7 numbers"),
        (SHELX.format(li="10.25").replace("HKLF 4", ""), "cut off"),
        (AIRSS.replace("Cl 2 1.0 1.0 0.5 1.0\n", ""), "holds 7 atoms in .* TITL says 8 in 136.4"),
        (AIRSS.replace("5.148 90", "5.3 90"), "its own TITL says 8 in 136.4"),
        (SHELX.format(li="91.0"), "free variable 9"),
        (SHELX.format(li="10.25").replace("REM a remark", "MOVE 1 1 1 -1"), "instruction MOVE"),
    ],
)  # fmt: skip
def test_shelx_files_that_cannot_be_trusted_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(written(tmp_path, text, "a.res"))
    assert "\n" not in str(caught.value)


# --- LAMMPS data --------------------------------------------------------------------------------------


def lammps(style="atomic", masses="", types=(1, 2), head="", labels="", tilt="") -> str:
    licl = load_crystal("LiCl")
    edge = licl.lattice.a
    middle = {"atomic": "{t}", "charge": "{t} 0.5", "full": "1 {t} 0.5", "": "{t}", "molecular": "1 {t}"}[style]
    rows = [
        f"{n} {middle.format(t=types[0] if n < 5 else types[1])} {x + 1} {y + 1} {z + 1} 0 0 0"
        for n, (x, y, z) in enumerate(licl.cart_coords, start=1)
    ]
    bounds = "".join(f"1 {edge + 1} {axis}lo {axis}hi\n" for axis in "xyz")
    sections = f"{labels}{masses}Atoms{' # ' + style if style else ''}\n\n" + "\n".join(rows[::-1])
    return f"LAMMPS data file{head}\n\n8 atoms\n2 atom types\n\n{bounds}{tilt}\n{sections}\n"


MASSES = "Masses\n\n1 6.941\n2 35.453 # Cl\n\n"


@pytest.mark.parametrize(
    ("text", "types"),
    [
        (lammps(masses=MASSES), None),
        (lammps("charge", masses=MASSES), None),
        (lammps("full", masses=MASSES), ["Li", "Cl"]),
        (lammps("molecular"), ["Li", "Cl"]),
        (lammps("charge").replace(" # charge", ""), ["Li", "Cl"]),
        (lammps("full").replace(" # full", ""), ["Li", "Cl"]),
        (lammps(""), {1: "Li", 2: "Cl"}),
        (lammps(masses="Masses\n\n1 1.0 # Li\n2 1.0 # Cl\n\n".replace("1.0", "12.5")), ["Li", "Cl"]),
        (lammps(labels="Atom Type Labels\n\n1 Li\n2 Cl\n\n", types=("Li", "Cl")), None),
        (lammps(masses=MASSES, head=" via write_data, version 2 Aug 2023, timestep = 0, units = metal"), None),
        (lammps(masses=MASSES, tilt="0 0 0 xy xz yz\n"), None),
    ],
)
def test_lammps_data_files_are_read(tmp_path, text, types):
    structure = read_structure(written(tmp_path, text, "data.licl"), types=types)
    assert facts(structure) == ("Li4 Cl4", 225)
    assert [site.specie.symbol for site in structure] == ["Li"] * 4 + ["Cl"] * 4


@pytest.mark.parametrize(
    ("text", "types", "message"),
    [
        (lammps(), None, r"which elements its types \[1, 2\] are"),
        (lammps(), ["Li"], "has 2 atom types, 1 are named"),
        (lammps(), ["Li", "Qq"], "'Qq' is not a chemical element"),
        (lammps(masses=MASSES), ["Cl", "Li"], "type 1 is named Cl, its masses say Li"),
        (lammps(masses=MASSES.replace("# Cl", "# S")), None, "type 2 is called S, its mass 35.453 is that of Cl"),
        (lammps("molecular").replace(" # molecular", ""), ["Li", "Cl"], "names no style, and 9 columns fit several"),
        (lammps("full").replace("# full", "# atomic"), ["Li", "Cl"], "is not an atom of style atomic"),
        (lammps().replace("# atomic", "# body"), ["Li", "Cl"], "style 'body' is not one of"),
        (lammps(masses=MASSES).replace(" 0 0 0\n", "\n", 1), None, "is not an atom of style atomic"),
        (lammps(types=(1, 3), masses=MASSES), None, "of type 3"),
        (lammps(masses=MASSES).replace("8 atoms", "9 atoms"), None, "announces 9 atoms and lists 8"),
        (lammps(masses=MASSES).replace("8 atoms", "99999999999999999999 atoms"), None, "to 20000 are read"),
        (lammps(masses=MASSES).replace("\n8 1", "\n7 1").replace("\n8 2", "\n7 2"), None, "have the id of another"),
        (lammps(masses=MASSES, head=", units = lj"), None, "units are 'lj'"),
        (lammps(masses=MASSES).replace("xlo xhi", "xlo"), None, "cannot be read|format"),
        (lammps(masses=MASSES).replace("6.148 zlo zhi", "1 zlo zhi"), None, "box is not given"),
        (cif(symbol="P 1"), ["Li"], "is not a LAMMPS data file"),
    ],
)
def test_lammps_data_files_that_cannot_be_trusted_are_refused(tmp_path, text, types, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structure(written(tmp_path, text, "data.licl"), types=types)
    assert "\n" not in str(caught.value)


# --- other formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xsf", "CRYSTAL\nPRIMVEC\n5 0 0\n0 5 0\n0 0 5\nPRIMCOORD\n1 1\n3 0 0 0\n3 2 2 2\n", "announces 1 atoms"),
        ("a.abi", "ntypat 1 znucl 3\nspgroup 225\n", "spgroup"),
        ("a.pdb", "CRYST1    5.148    5.148    5.148  90.00  90.00  90.00 P 1\n", "format 'proteindatabank'"),
        ("a.dump", "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\n", "is a LAMMPS dump"),
        ("a.pwi", "&SYSTEM\n space_group = 225\n/\n", "'space_group =' is not read here"),
        ("b.pwi", "&SYSTEM\n nat = 1\n/\nATOMIC_POSITIONS crystal\nLi 0 0 0\nCl 0 0 0.5\n\nK_POINTS\n", "it lists 2"),
        ("a.cell", "%BLOCK POSITIONS_FRAC\nLi 0 0 0 MIXTURE:(1 0.5)\n%ENDBLOCK POSITIONS_FRAC\n", "MIXTURE"),
    ],
)  # fmt: skip
def test_formats_whose_meaning_would_be_lost_are_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_structure(written(tmp_path, text, name))


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.cif")
    with pytest.raises(InputError, match="is not a regular file"):
        read_structure(tmp_path / "pipe.cif")
