"""Surface and interface studies on a real potential, numbers recomputed from the stored calculations."""

import json

import numpy as np
import pytest
from factories import write_yaml

from anodeflow.workflows.store import open_job_store

J_PER_M2 = 16.02176634

SURFACES = [
    {"crystal": "LiCl", "miller": [1, 0, 0], "layers": [2, 4, 6]},
    {"crystal": "Li", "miller": [1, 0, 0], "layers": [5, 7, 9]},
]
INTERFACE = {
    "study": "interface-energy",
    "engine": "chgnet",
    "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": [3, 5, 7, 9]},
    "substrate": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3},
    "max_strain_percent": 9,  # CHGNet's Li is 1 % smaller than PBE's
    "max_area_angstrom2": 30,
    "surfaces": SURFACES,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, anodeflow):
    folder = tmp_path_factory.mktemp("interface")
    done = anodeflow("run", write_yaml(folder, INTERFACE), "--json", "--figure", "g.png", cwd=folder)
    assert done.returncode == 0, done.stderr
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True, read_only=True)
    found = store.query({"output.doc_type": "CalculationDoc"}, load=False)
    return folder, json.loads(done.stdout), {d["output"]["label"]: d["output"] for d in found}


def per_unit(calculation, atoms_per_unit):
    return calculation["energy_ev"] / (len(calculation["structure"]["sites"]) / atoms_per_unit)


def area(calculation):
    a, b = np.array(calculation["structure"]["lattice"]["matrix"])[:2]
    return np.linalg.norm(np.cross(a, b))


@pytest.mark.slow
def test_interface_energies_by_hand(finished):
    _, document, calculations = finished
    e_li, e_licl = per_unit(calculations["Li/crystal"], 1), per_unit(calculations["LiCl/crystal"], 2)
    points = []
    for member in document["interface"]["members"]:
        cell = calculations[member["label"]]
        symbols = [site["species"][0]["element"] for site in cell["structure"]["sites"]]
        n_licl = symbols.count("Cl")
        n_li = symbols.count("Li") - n_licl
        assert (member["n_film"], member["n_substrate"]) == (n_li, n_licl)
        gamma = (cell["energy_ev"] - n_li * e_li - n_licl * e_licl) / (2 * area(cell)) * J_PER_M2
        assert member["gamma_j_per_m2"] == pytest.approx(gamma, abs=1e-9)
        points.append((n_li, gamma))
    slope, intercept = np.polyfit(*np.array(points).T, 1)
    assert document["interface"]["gamma_j_per_m2"] == pytest.approx(intercept)
    assert document["interface"]["sigma_j_per_m2_per_unit"] == pytest.approx(slope)


@pytest.mark.slow
def test_the_slope_is_the_strain_energy_of_strained_bulk(finished):
    _, document, calculations = finished
    strained = calculations["Li/strained"]
    cell = calculations[document["interface"]["members"][0]["label"]]
    assert strained["task"] == "relax_c"
    assert area(strained) == pytest.approx(area(cell), abs=1e-3)
    expected = per_unit(strained, 1) - per_unit(calculations["Li/crystal"], 1)
    check = document["interface"]["strain_check"]
    assert check["expected_ev_per_unit"] == pytest.approx(expected)
    assert check["fitted_ev_per_unit"] == pytest.approx(expected, abs=0.01)
    assert expected > 0


@pytest.mark.slow
def test_the_area_is_that_of_the_substrate_in_every_cell(finished):
    _, _, calculations = finished
    a = calculations["LiCl/crystal"]["structure"]["lattice"]["a"]
    for label, calculation in calculations.items():
        if label.startswith("interface/"):
            assert area(calculation) == pytest.approx(a**2 / 2, abs=1e-3)
            assert calculation["max_stress_gpa"] <= 0.05


@pytest.mark.slow
def test_surface_energies_by_hand(finished):
    _, document, calculations = finished
    for surface, per in zip(document["surfaces"], (2, 1), strict=True):
        points = []
        for member in surface["members"]:
            slab = calculations[member["label"]]
            points.append((len(slab["structure"]["sites"]) / per, slab["energy_ev"]))
            cleaved = calculations[f"{member['label']}/cleaved"]
            assert slab["energy_ev"] <= cleaved["energy_ev"] + 1e-6
        intercept = np.polyfit(*np.array(points).T, 1)[1]
        assert surface["gamma_j_per_m2"] == pytest.approx(intercept / (2 * area(slab)) * J_PER_M2, abs=1e-6)
    # CHGNet 0.3.0: LiCl(100) 0.105, Li(100) 0.329 J/m2 with thicker slabs
    assert document["surfaces"][0]["gamma_j_per_m2"] == pytest.approx(0.105, abs=0.03)
    assert document["surfaces"][1]["gamma_j_per_m2"] == pytest.approx(0.329, abs=0.05)


@pytest.mark.slow
def test_adhesion_and_the_published_difference_use_the_same_numbers(finished):
    _, document, _ = finished
    gammas = {s["crystal"]: s["gamma_j_per_m2"] for s in document["surfaces"]}
    doc = document["interface"]
    assert doc["work_of_adhesion_unstrained_j_per_m2"] == pytest.approx(sum(gammas.values()) - doc["gamma_j_per_m2"])
    with_strain = doc["gamma_film_strained_j_per_m2"] + gammas["LiCl"] - doc["gamma_j_per_m2"]
    assert doc["work_of_adhesion_j_per_m2"] == pytest.approx(with_strain)
    assert [entry["label"] for entry in doc["registries"]["entries"]] != []
    row = doc["published"][0]
    assert row["published_j_per_m2"] == -0.42
    assert row["ours_j_per_m2"] == pytest.approx(gammas["LiCl"] - doc["gamma_j_per_m2"])


@pytest.mark.slow
def test_it_is_stored_reused_drawn_and_listed(finished, command):
    folder, document, _ = finished
    status, out, err = command("run", "study.yaml", cwd=folder)
    assert status == 0
    assert "0 calculations computed" in err
    assert "work of adhesion" in out
    assert (folder / "g.png").stat().st_size > 20_000
    for what, rows in (("surfaces", 2), ("interfaces", 1), ("studies", 1)):
        status, out, _ = command("results", "--json", "--what", what, "--store", folder / "anodeflow.sqlite")
        assert status == 0
        assert len(json.loads(out)) == rows
    surfaces = {"study": "surface-energy", "engine": "chgnet", "surfaces": SURFACES}
    file = write_yaml(folder, surfaces, "surfaces.yaml")
    _, out, err = command("run", file, "--json", "--figure", "s.png", cwd=folder)
    assert "0 calculations computed" in err  # the interface study has computed them all
    made = [s["gamma_j_per_m2"] for s in json.loads(out)["surfaces"]]
    assert made == [s["gamma_j_per_m2"] for s in document["surfaces"]]


@pytest.mark.slow
def test_both_sides_of_a_slab_bind_alike(tmp_path, anodeflow):
    base = {
        "study": "binding-energy",
        "engine": "chgnet",
        "environments": ["surface"],
        "slab": {"min_thickness_angstrom": 10, "min_lateral_angstrom": 6},
    }
    energies = {}
    for sides in ("top", "both"):
        host = {"crystal": "Li", "surface": {"miller": [1, 0, 0], "sides": sides}}
        done = anodeflow("run", write_yaml(tmp_path, base | {"hosts": [host]}), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["hosts"][0]
        assert found["n_li"] == (2 if sides == "both" else 1)
        assert found["face"] == "(100)"
        energies[sides] = found["binding_energy_ev"]["bulk_metal"]
    assert energies["both"] == pytest.approx(energies["top"], abs=0.03)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"film": INTERFACE["film"] | {"layers": [3, 5, 7]}}, ["film.layers", "at least 4"]),
        ({"film": INTERFACE["film"] | {"layers": [1, 3, 5, 7]}}, ["layers is 1", "at least two"]),
        ({"max_strain_percent": 1.0}, ["strain"]),
        ({"film": INTERFACE["film"] | {"miller": [0, 0, 0]}}, ["(0, 0, 0)"]),
        (
            {"substrate": INTERFACE["substrate"] | {"crystal": "LiCI"}, "surfaces": []},
            ["unknown crystal 'LiCI'", "LiCl"],
        ),
        ({"surfaces": [{"crystal": "Al", "miller": [1, 1, 1], "layers": [4]}]}, ["Al(111)", "neither side"]),
        ({"registry": "Li over S"}, ["no registry 'Li over S'", "Li over Cl"]),
        ({"registries": 2, "shift": [0.5, 0]}, ["shift", "one registry"]),
        ({"shift": [0, 0], "search_engine": "chgnet"}, ["either shift"]),
        ({"search_engine": "gpaw"}, ["gpaw has electrons"]),
        ({"substrate": INTERFACE["substrate"] | {"layers": [3, 1]}}, ["substrate.layers", "2"]),
        ({"surfaces": [SURFACES[0] | {"layers": [4, 6]}]}, ["two thicknesses"]),
        ({"surfaces": [SURFACES[0] | {"layers": [4, 4, 6]}]}, ["twice"]),
    ],
)
def test_refused_before_anything_runs(tmp_path, command, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("run", write_yaml(tmp_path, INTERFACE | changes))
    assert status == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "anodeflow.sqlite").exists()


def test_reproduce_refuses_what_it_does_not_know(command):
    for arguments, words in [
        (["lacss204", "--part", "surface"], "did you mean lacss2024"),
        (["lacss2024", "--part", "surfaces"], "surface, interface, adsorption"),
    ]:
        status, _, err = command("reproduce", *arguments)
        assert status == 2
        assert words in err
