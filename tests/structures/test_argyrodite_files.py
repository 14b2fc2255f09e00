"""`anodeflow build argyrodite` from the file of a measured, disordered crystal."""

import json

import pytest
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from anodeflow.structures.catalogue import get_entry, load_crystal


def lpsc(inversion: float, halide: str = "Cl", more: float = 0.0, edge: float = 9.9) -> Structure:
    """The average argyrodite with some halide on 4d, and the sulfur it pushes onto 4a."""
    structure = get_entry("Li6PS5Cl").structure
    structure.scale_lattice(edge**3)
    phosphorus = [site.frac_coords for site in structure if "P" in site.species]
    for n, site in enumerate(structure):
        distance = structure.lattice.get_all_distances(site.frac_coords, phosphorus).min()
        if distance > 2.6 and not {"Li", "P"} & {element.symbol for element in site.species.elements}:
            on_4a = distance > 0.466 * structure.lattice.a
            share = 1 - inversion + more if on_4a else inversion
            structure[n] = {name: amount for name, amount in ((halide, share), ("S", 1 - share)) if amount > 0}
    return structure


@pytest.mark.parametrize(
    ("inversion", "formula", "on_4d", "said"),
    [(0.0, "Li6PS5Cl", 0, ""), (0.25, "Li6PS5Cl", 1, ""), (0.615, "Li6PS5Cl", 2, "0.615 of them on 4d")],
)
def test_a_measured_argyrodite_keeps_its_edge_and_inversion(tmp_path, command, inversion, formula, on_4d, said):
    file = tmp_path / "measured.cif"
    CifWriter(lpsc(inversion), symprec=0.01).write_file(file)
    status, out, err = command("build", "argyrodite", file, "--n", 1, "--output", tmp_path / "out", "--json")
    assert status == 0, err
    record = json.loads(out)
    assert record["composition"] == formula
    assert record["cell"]["cubic_edge_angstrom"] == pytest.approx(9.9)
    assert record["configurations"][0]["anion_sites"]["4d"] == {"Cl": on_4d, "S": 4 - on_4d}
    assert record["source"]["file"] == str(file)
    assert said in " ".join(record["warnings"])
    assert bool(record["warnings"]) == bool(said)


def test_a_measured_argyrodite_between_whole_atoms_says_what_was_rounded(tmp_path, command):
    file = tmp_path / "measured.cif"
    CifWriter(lpsc(0.6, "Br", more=0.08, edge=10.0), symprec=0.01).write_file(file)
    options = ["--n", 1, "--formula-units", 4, "--json", "--output", tmp_path / "out"]
    status, out, err = command("build", "argyrodite", file, *options)
    assert status == 0, err
    record = json.loads(out)
    assert record["composition"] == "Li6PS5Br"
    assert any("1.080 Br per P" in line for line in record["warnings"])
    assert any("Li per P" in line for line in record["warnings"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.cif", "does not exist"), ("licl.cif", "is not an argyrodite"), ("empty.cif", "on 4d, not 4, 1")],
)
def test_a_file_that_is_no_argyrodite_is_refused(tmp_path, command, name, message):
    load_crystal("LiCl").to(filename=str(tmp_path / "licl.cif"))
    structure = lpsc(0.5)
    for site in structure:
        if "Cl" in site.species:
            site.species = {element: amount / 2 for element, amount in site.species.items()}
    CifWriter(structure, symprec=0.01).write_file(tmp_path / "empty.cif")
    status, _, err = command("build", "argyrodite", tmp_path / name, "--output", tmp_path / "out")
    assert status == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()
