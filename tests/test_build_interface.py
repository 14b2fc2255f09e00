"""`anodeflow build interface` finds the registry as studies do, by the named atoms of the two faces."""

import json

import numpy as np
import pytest
from factories import one_line
from morse import Morse, scrambled
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.jobs import recognised
from anodeflow.workflows.studies import registries as study_registries

# the smallest match, five planes of each
THIN = ("--max-strain", 7, "--max-area", 30, "--smallest", "--film-thickness", 6.5, "--substrate-thickness", 9)
PAIR = ("build", "interface", "Li", "LiCl", *THIN)
HELD = ["Li over Cl", "Li over Li", "Li over hollow of 4 (Cl, Li)"]
LOWEST = "Li over hollow of 4 (Cl, Li)"  # of the Morse model


@pytest.fixture(autouse=True)
def morse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recognised, "get_engine", lambda name: Morse())
    monkeypatch.setattr(study_registries, "get_engine", lambda name: Morse())


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_lowest_registry_is_built_at_its_own_gap(tmp_path, command):
    status, out, err = command(*PAIR, "-o", "a", "--figure", "r.png")
    assert status == 0, err
    data = summary(tmp_path / "a")
    assert [contact["label"] for contact in data["registries"]] == [LOWEST] * 2
    search = data["registry_search"]
    assert search["registries"][0]["label"] == LOWEST
    assert data["gaps_angstrom"][0] == pytest.approx(search["registries"][0]["gap_angstrom"], abs=0.051)
    assert all(name in out for name in HELD[:2])  # the third is folded
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    # the store has it: nothing is computed again
    status, _, err = command(*PAIR, "-o", "b")
    assert status == 0, err
    assert summary(tmp_path / "b")["registry_search"]["started_at"] == search["started_at"]


def test_a_registry_is_taken_by_name_and_a_gap_is_kept(tmp_path, command):
    status, _, err = command(*PAIR, "--registry", "Li over Cl", "--gap", 2.7, "-o", "a")
    assert status == 0, err
    data = summary(tmp_path / "a")
    assert data["registries"][0]["label"] == "Li over Cl"
    assert data["gaps_angstrom"] == pytest.approx([2.7, 2.7])


def test_registries_are_listed_without_a_potential(tmp_path, command, monkeypatch):
    def no_engine(self, *arguments):
        raise AssertionError("nothing is scored")

    monkeypatch.setattr(Morse, "compute", no_engine)
    status, out, err = command(*PAIR, "--registries", "--json", "--figure", "r.svg")
    assert status == 0, err
    rows = json.loads(out)
    assert [row["registry"] for row in rows if row["kind"] == "held by symmetry"] == HELD
    assert len({row["shift"] for row in rows}) == len(rows)
    assert [file.name for file in tmp_path.iterdir()] == ["r.svg"]


@pytest.mark.parametrize("seed", [1])
def test_it_does_not_depend_on_origin_order_or_the_sign_of_zero(tmp_path, command, seed):
    for name in ("Li", "LiCl"):
        crystal = scrambled(name, seed)
        CifWriter(Structure.from_sites(crystal.sites), significant_figures=12).write_file(tmp_path / f"{name}.cif")
    faces = ("--film-miller", 1, 0, 0, "--substrate-miller", 1, 0, 0)
    status, _, err = command("build", "interface", "Li.cif", "LiCl.cif", *faces, *THIN, "-o", "moved")
    assert status == 0, err
    status, _, err = command(*PAIR, "-o", "plain")
    assert status == 0, err
    found, wanted = (
        {r["label"]: r["energy_ev"] for r in summary(tmp_path / name)["registry_search"]["registries"] if r["held"]}
        for name in ("moved", "plain")
    )
    assert found == {label: pytest.approx(energy, abs=1e-3) for label, energy in wanted.items()}
    distances = [
        np.sort(load_crystal(tmp_path / name / "POSCAR").distance_matrix.ravel()) for name in ("moved", "plain")
    ]
    assert distances[0] == pytest.approx(distances[1], abs=0.02)


def test_no_two_matches_of_the_list_look_the_same(command):
    status, out, err = command("build", "interface", "Li", "LiCl", "--list", "--json")
    assert status == 0, err
    rows = json.loads(out)
    without = ("n", "default", "film_vectors", "substrate_vectors")
    looks = {tuple(str(value) for key, value in row.items() if key not in without) for row in rows}
    assert len(looks) < len(rows)  # there are twins of equal strain, area and rotation
    everything = {tuple(str(value) for key, value in row.items() if key not in ("n", "default")) for row in rows}
    assert len(everything) == len(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--registry", "Li over S"), "no registry 'Li over S'; it has 'Li over Cl'"),
        (("--registry", "Li over Cl", "--shift", 0, 0), "--registry and --shift both say where the film stands"),
        (("--scan", "--registry", "Li over Cl"), "--registry and --scan both say"),
        (("--shift", 0, 0, "--figure", "r.png"), "--figure draws the registries of a search"),
        (("--figure", "r.txt"), "no known ending"),
        (("--match", 99), "no match 99; use 0 to"),
        (("--substrate-termination", 7), "termination 7"),
    ],
)
def test_what_cannot_be_built_is_one_line(tmp_path, command, options, message):
    status, _, err = command(*PAIR, *options)
    assert status == 2
    assert message in one_line(err.splitlines()[-1])
    assert not [file for file in tmp_path.iterdir() if file.is_dir()]


def test_a_potential_that_is_not_installed_says_how_to_do_without(command, monkeypatch):
    from anodeflow.errors import EngineError

    def missing(self, elements=()):
        raise EngineError("the package sevenn is missing", "install it")

    monkeypatch.setattr(Morse, "record", missing)
    status, _, err = command(*PAIR)
    assert status != 0
    assert "--no-search" in one_line(err.splitlines()[-1])
