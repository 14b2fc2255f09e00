"""`anodeflow build`: what is written is what was built, and what cannot be built writes nothing."""

import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from factories import calculation_doc, card_record, engine_record, one_line
from pymatgen.core import Structure

from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.slabs import build_slab


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def assert_same(found: Structure, wanted: Structure, places: float):
    """The same lattice, and each atom at its place, in the same order; a turn of the whole does not count."""
    assert [s.specie.symbol for s in found] == [s.specie.symbol for s in wanted]
    assert np.allclose(found.lattice.parameters, wanted.lattice.parameters, atol=1e-6)
    shift = (found.frac_coords - wanted.frac_coords + 0.5) % 1 - 0.5
    assert np.abs(shift @ wanted.lattice.matrix).max() < places


def read_all(folder, stem, poscar="POSCAR"):
    return {name: load_crystal(folder / name) for name in (poscar, f"{stem}.cif", f"{stem}.xyz")}


@cache
def lithium_chloride():
    return load_crystal("LiCl")


def stored(file, structure, label, lattice_scale=1.01, **changes):
    """A store with one finished relaxation in it, as `anodeflow run` leaves it."""
    from anodeflow.workflows.store import open_job_store

    final = structure.copy()
    final.scale_lattice(structure.volume * lattice_scale**3)
    fields = {
        "crystal": label.split("/")[0], "task": "relax_cell", "initial_structure": structure,
        "engine": engine_record(name="sevennet-0"), "card": card_record(name="embedded"),
    }  # fmt: skip
    doc = calculation_doc(-1.0, final, **({"label": label} | fields | changes))
    output = json.loads(json.dumps(doc.model_dump(), default=lambda o: o.as_dict()))
    store = open_job_store(file)
    when = changes.get("started_at", "2026-01-01T00:00:00")
    store.update({"uuid": f"{label}{when}", "index": 1, "name": label, "completed_at": when, "output": output})
    store.close()


def test_slab_files_are_the_slab(tmp_path, command):
    status, out, err = command("build", "slab", "LiCl", 1, 0, 0, "--freeze", 2, "--json")
    assert status == 0, err
    folder = tmp_path / "LiCl-100-slab"
    wanted = build_slab(lithium_chloride(), (1, 0, 0), freeze_layers=2, crystal="LiCl")
    for name, found in read_all(folder, "LiCl-100-slab").items():
        assert_same(found, wanted.structure, 1e-3 if name.endswith("cif") else 1e-6)
        if not name.endswith("cif"):
            held = [not any(row) for row in found.site_properties["selective_dynamics"]]
            assert held == [not any(row) for row in wanted.structure.site_properties["selective_dynamics"]]
    summary = summary_of(folder)
    assert {key: summary[key] for key in wanted.as_dict()} == json.loads(json.dumps(wanted.as_dict()))
    assert summary["source"]["catalogue"] == "LiCl"
    assert summary["versions"]["anodeflow"]
    assert sorted(summary["files"]) == sorted(f.name for f in folder.iterdir())
    assert json.loads(out) == {"folder": "LiCl-100-slab", **summary}
    assert [f.name for f in tmp_path.iterdir()] == ["LiCl-100-slab"]


def test_negative_indices_and_options_between_them(tmp_path, command):
    status, out, err = command("build", "slab", "LiCl", "--thickness", 6, 1, -1, 0, "-o", "here")
    assert status == 0, err
    assert summary_of(tmp_path / "here")["miller"] == [1, -1, 0]
    assert "here/: POSCAR" in out
    # (-1 0 0) is the same face as (1 0 0) of this crystal
    status, _, err = command("build", "slab", "LiCl", -1, 0, 0, "--thickness", 6)
    assert status == 0, err
    assert summary_of(tmp_path / "LiCl--1_0_0-slab")["reduced_miller"] == [-1, 0, 0]


def test_slab_options_reach_the_builder(tmp_path, command):
    arguments = ("--layers", 4, "--vacuum", 20, "--supercell", 2, 1, "--termination", "Li/Cl")
    status, _, err = command("build", "slab", "LiCl", 1, 1, 1, *arguments, "-o", "x")
    assert status == 0, err
    found = load_crystal(tmp_path / "x" / "POSCAR")
    summary = summary_of(tmp_path / "x")
    assert (summary["layers"], summary["termination"], len(found)) == (4, "Li/Cl", 8)
    heights = found.cart_coords[:, 2]
    assert found.lattice.c - np.ptp(heights) == pytest.approx(20, abs=1e-6)
    assert found[int(np.argmax(heights))].specie.symbol == "Li"


def test_listed_terminations_are_those_that_are_built(tmp_path, command):
    status, out, _ = command("build", "slab", "LiCl", 1, 1, 1, "--list", "--json")
    assert status == 0
    rows = json.loads(out)
    assert [(row["label"], row["polar"]) for row in rows] == [("Cl/Li", True), ("Li/Cl", True)]
    assert not list(tmp_path.iterdir())
    status, _, _ = command("build", "slab", "LiCl", 1, 1, 1, "--termination", 1)
    summary = summary_of(tmp_path / "LiCl-111-slab-t1")
    assert (summary["atoms"], summary["symmetric"]) == (rows[1]["atoms"], rows[1]["symmetric"])
    status, out, _ = command("build", "slab", "LiCl", 1, 1, 1, "--list")
    assert "Cl/Li" in out
    assert "yes" in out


def test_interface_files_are_the_interface(tmp_path, command):
    status, _, err = command("build", "interface", "Li", "LiCl", "--no-search")
    assert status == 0, err
    folder = tmp_path / "Li-100-LiCl-100-interface"
    summary = summary_of(folder)
    found = read_all(folder, folder.name)
    for name, structure in found.items():
        assert_same(structure, found["POSCAR"], 1e-3 if name.endswith("cif") else 1e-6)
        assert len(structure) == summary["atoms"]
    side = np.array(found[f"{folder.name}.xyz"].site_properties["side"])
    assert np.flatnonzero(side == "film").tolist() == summary["film_indices"]
    heights = found["POSCAR"].cart_coords[:, 2]
    gap = heights[side == "film"].min() - heights[side == "substrate"].max()
    assert gap == pytest.approx(summary["gaps_angstrom"][0], abs=1e-6) == pytest.approx(2.2, abs=1e-6)
    assert {site.specie.symbol for site, s in zip(found["POSCAR"], side, strict=True) if s == "film"} == {"Li"}
    header = (folder / "POSCAR").read_text().splitlines()[5].split()
    assert sorted(header) == ["Cl", "Li"]  # each element once
    assert set(summary["source"]) == {"film", "substrate"}


def test_interface_matches_are_listed_and_taken(tmp_path, command):
    common = ("--max-strain", 4, "--max-area", 130, "--film-thickness", 5, "--substrate-thickness", 5)
    status, out, err = command("build", "interface", "Li", "LiCl", *common, "--list", "--json")
    assert status == 0, err
    rows = json.loads(out)
    assert all(abs(row["strain_percent"]) <= 4 and row["area_angstrom2"] <= 130 for row in rows)
    assert [row["n"] for row in rows if row["default"]] == [0]
    assert not list(tmp_path.iterdir())
    more = ("--match", 1, "--strained", "film", "--gap", 2.5, "--vacuum", 12, "-o", "x")
    status, _, err = command("build", "interface", "Li", "LiCl", *common, *more, "--no-search")
    assert status == 0, err
    summary = summary_of(tmp_path / "x")
    assert summary["atoms"] == rows[1]["atoms"]
    assert summary["area_angstrom2"] == pytest.approx(rows[1]["area_angstrom2"])
    assert (summary["gaps_angstrom"], summary["vacuum_angstrom"]) == ([pytest.approx(2.5)], 12)
    status, _, err = command("build", "interface", "Li", "LiCl", *common, "--match", 99, "--no-search")
    assert status == 2
    assert "use 0 to" in one_line(err)


def test_an_interface_is_shifted_or_scanned_and_tight_contacts_are_told(tmp_path, command):
    common = ("--film-thickness", 5, "--substrate-thickness", 5)
    summaries = {}
    for name, options in (("plain", ("--no-search",)), ("moved", ("--shift", -0.125, 0.1)), ("best", ("--scan",))):
        status, _, err = command("build", "interface", "Li", "LiCl", *common, *options, "-o", name)
        assert status == 0, err
        summaries[name] = summary_of(tmp_path / name)
        (note,) = [text for text in summaries[name]["warnings"] if "touch" in text]
        assert note in err
        assert ("--scan, or --gap 2.59" in note) == (name != "best")
        assert note.endswith("--gap 2.59")
    assert summaries["moved"]["shift"] == [-0.125, 0.1]
    step = [
        load_crystal(tmp_path / name / "POSCAR").frac_coords[summaries["plain"]["film_indices"], :2]
        for name in ("moved", "plain")
    ]
    assert np.abs((step[0] - step[1] - [-0.125, 0.1] + 0.5) % 1 - 0.5).max() < 1e-6
    shortest = {name: summary["shortest_contact_angstrom"] for name, summary in summaries.items()}
    assert shortest["best"] > max(shortest["plain"], shortest["moved"])
    assert "geometry" in summaries["best"]["ranked_by"]
    status, out, err = command("build", "interface", "Li", "LiCl", *common, "--scan", "--gap", 2.59, "-o", "wide")
    assert status == 0, err
    assert "touch" not in err
    assert "best of a scan" in out


def test_argyrodite_files_are_exact_and_can_be_built_on(tmp_path, command):
    status, out, err = command("build", "argyrodite", "Li5.5PS4.5Cl1.5", "--n", 2, "--seed", 3, "--json")
    assert status == 0, err
    folder = tmp_path / "Li5.5PS4.5Cl1.5-argyrodite"
    summary = summary_of(folder)
    assert len(summary["configurations"]) == 2
    assert json.loads(out)["composition"] == "Li5.5PS4.5Cl1.5"
    for n, record in enumerate(summary["configurations"], start=1):
        found = read_all(folder, f"Li5.5PS4.5Cl1.5-{n}", f"POSCAR-{n}")
        for name, structure in found.items():
            assert structure.composition.as_dict() == {"Li": 22, "P": 4, "S": 18, "Cl": 6}
            assert_same(structure, found[f"POSCAR-{n}"], 1e-3 if name.endswith("cif") else 1e-6)
        assert len(record["files"]) == 4
    # The way that a refused disordered crystal is shown: a slab of one of these files.
    status, _, err = command("build", "slab", folder / "Li5.5PS4.5Cl1.5-1.cif", 1, 0, 0)
    assert status == 0, err
    summary = summary_of(tmp_path / "Li5.5PS4.5Cl1.5-1-100-slab")
    assert summary["broken_bonds"] == 0
    assert len(summary["source"]["sha256"]) == 64


def test_a_poscar_has_no_name_of_its_own(tmp_path, command):
    lithium_chloride().to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    status, _, err = command("build", "slab", "POSCAR", 1, 0, 0, "--thickness", 6)
    assert status == 0, err
    read_all(tmp_path / "LiCl-100-slab", "LiCl-100-slab")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["slab", "LiCl", 0, 0, 0], ["(0, 0, 0)", "no plane"]),
        (["slab", "LiCl", 1, 0], ["1 0", "three integers"]),
        (["slab", "LiCl", 1, 0, "x"], ["1 0 x", "three integers"]),
        (["slab", "LiCl", 1, 0, -1, 0], ["four numbers", "leave out the third"]),
        (["slab", "LiCll", 1, 0, 0], ["unknown crystal 'LiCll'", "LiCl"]),
        (["slab", "no.cif", 1, 0, 0], ["no.cif", "does not exist"]),
        (["slab", "LiCl", 1, 0, 0, "--termination", "Cl"], ["no termination 'Cl'", "LiCl/LiCl"]),
        (["slab", "LiCl", 1, 0, 0, "--termination", 7], ["no termination 7", "LiCl/LiCl"]),
        (["slab", "LiCl", 1, 0, 0, "--layers", 1], ["layers is 1", "--layers 2"]),
        (["slab", "LiCl", 1, 0, 0, "--vacuum", 1], ["--vacuum is 1"]),
        (["slab", "LiCl", 1, 0, 0, "--thickness", -3], ["--thickness is -3"]),
        (["slab", "LiCl", 1, 0, 0, "--freeze", 50], ["--freeze is 50"]),
        (["slab", "LiCl", 1, 0, 0, "--supercell", 9, 9], ["more than --max-atoms"]),
        (["slab", "Li6PS5Cl", 1, 0, 0], ["anodeflow build argyrodite Li6PS5Cl", "CIF"]),
        (["slab", "lpsc", 1, 0, 0], ["anodeflow build argyrodite"]),
        (["slab", "Li5.4PS4.4Cl1.6", 1, 0, 0], ["anodeflow build argyrodite Li5.4PS4.4Cl1.6"]),
        (["slab", "LiCl", 1, 0, 0, "--relaxed"], ["anodeflow.sqlite", "anodeflow run"]),
        (["slab", "LiCl", 1, 0, 0, "-o", "no/folder"], ["does not exist", "--output"]),
        (["interface", "Li", "LiCl", "--max-strain", 0.01, "--max-area", 50], ["--max-strain", "the best has"]),
        (["interface", "Li", "LiCl", "--max-strain", 0.01], ["within 0.01 % strain", "the best has 0.197 % strain"]),
        (["interface", "Li", "LiCl", "--scan", "--shift", 0.5, 0], ["--scan", "--shift", "leave out"]),
        (["interface", "Li", "LiCl", "--shift", "nan", 0], ["--shift is (nan, 0.0)"]),
        (["interface", "Li", "LiCl", "--gap", 0.5, "--no-search"], ["overlap", "widen --gap or change --shift"]),
        (["interface", "Li", "LiCl", "--max-area", -1], ["--max-area is -1"]),
        (["interface", "Li", "LiCl", "--gap", 0.1], ["--gap is 0.1"]),
        (["interface", "Li", "Cu"], ["unknown crystal 'Cu'"]),
        (["interface", "Li", "LiCl", "--film-miller", 0, 0, 0], ["no plane"]),
        (["interface", "Li", "Li6PS5Cl", "--relaxed", "--store", "x.sqlite"], ["x.sqlite", "anodeflow run"]),
        (["argyrodite", "Li5.5PS4.5Cl1.5", "--formula-units", 3], ["3 formula units cannot hold", "use one of"]),
        (["argyrodite", "Li6PS4Cl"], ["charge balanced"]),
        (["argyrodite", "LiCl"], ["give Li, P, S"]),
        (["argyrodite", "Li6PS5Cl", "--lattice", 5], ["5.0", "between 9 and 11"]),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_line_and_nothing_is_written(tmp_path, command, arguments, words):
    status, out, err = command("build", *arguments)
    assert status in (2, 6)
    line = one_line(err)
    for word in words:
        assert word in line
    assert "max_strain" not in line
    assert not out
    assert not list(tmp_path.iterdir())


def test_a_misspelt_option_is_no_index(tmp_path, command):
    status, _, err = command("build", "slab", "LiCl", 1, 0, 0, "--vacum", 20)
    assert status == 2
    assert "--vacum" in err
    assert "--vacuum" in err
    status, _, err = command("build", "slabs")
    assert "did you mean 'slab'" in err
    assert not list(tmp_path.iterdir())


def test_a_full_folder_is_not_touched_without_force(tmp_path, command):
    folder = tmp_path / "x"
    folder.mkdir()
    assert command("build", "slab", "LiCl", 1, 0, 0, "-o", "x")[0] == 0  # an empty one may be used
    (folder / "mine.txt").write_text("mine")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    status, _, err = command("build", "slab", "Al", 1, 1, 1, "-o", "x")
    assert status == 2
    assert "--force" in one_line(err)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    status, _, err = command("build", "slab", "Al", 1, 1, 1, "-o", "x", "--force")
    assert status == 0, err
    # The files of the earlier build went, the user's own stayed.
    assert sorted(f.name for f in folder.iterdir()) == sorted([*summary_of(folder)["files"], "mine.txt"])
    assert summary_of(folder)["crystal"] == "Al"
    (tmp_path / "file").write_text("")
    status, _, err = command("build", "slab", "Al", 1, 1, 1, "-o", "file", "--force")
    assert status == 2
    assert "not a folder" in one_line(err)


def test_a_summary_cannot_name_files_elsewhere_to_be_removed(tmp_path, command):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "summary.json").write_text(json.dumps({"files": ["../precious", "/etc/x", 3]}))
    assert command("build", "slab", "Al", 1, 1, 1, "-o", "x", "--force")[0] == 0
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_appears_whole_or_not_at_all(tmp_path, command, monkeypatch):
    from anodeflow.analysis.figures import style as figures

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "save_figure", full)
    status, _, err = command("build", "slab", "LiCl", 1, 0, 0)
    assert status == 2
    assert "No space left" in one_line(err)
    assert not list(tmp_path.iterdir())


def test_a_read_only_folder_is_one_line(tmp_path, command, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    status, _, err = command("build", "slab", "LiCl", 1, 0, 0)
    assert status == 2
    assert "read-only" in one_line(err)
    assert not list(tmp_path.iterdir())


def test_relaxed_starts_from_the_newest_relaxation_in_the_store(tmp_path, command):
    stored(tmp_path / "s.sqlite", lithium_chloride(), "LiCl/crystal", 1.05)
    newer = {"started_at": "2026-02-01T00:00:00"}
    stored(tmp_path / "s.sqlite", lithium_chloride(), "LiCl/crystal", 1.02, **newer)
    stored(tmp_path / "s.sqlite", load_crystal("Li"), "Li/crystal", 0.98)
    status, _, err = command("build", "slab", "LiCl", 1, 0, 0, "--relaxed", "--store", "s.sqlite")
    assert status == 0, err
    summary = summary_of(tmp_path / "LiCl-100-slab-relaxed")
    catalogue = build_slab(lithium_chloride(), (1, 0, 0))
    assert summary["area_angstrom2"] == pytest.approx(catalogue.area_angstrom2 * 1.02**2)
    assert summary["source"]["fingerprint"] == "fp-LiCl/crystal"
    assert summary["source"]["engine"]["name"] == "sevennet-0"
    status, _, err = command("build", "interface", "Li", "LiCl", "--relaxed", "--store", "s.sqlite", "--no-search")
    assert status == 0, err
    summary = summary_of(tmp_path / "Li-100-LiCl-100-interface-relaxed")
    assert summary["film"]["d_spacing_angstrom"] == pytest.approx(load_crystal("Li").lattice.a * 0.98)


def test_relaxed_refuses_what_is_not_the_same_calculation(tmp_path, command):
    file = tmp_path / "s.sqlite"
    stored(file, lithium_chloride(), "LiCl/crystal", converged=False)
    stored(file, load_crystal("Al"), "Al/crystal")
    strained = load_crystal("Li")
    strained.scale_lattice(strained.volume * 1.1)
    stored(file, strained, "Li/crystal")
    for arguments, words in [
        (("LiCl", 1, 0, 0), ["no converged 'LiCl/crystal'", "anodeflow run", "sevennet-0", "embedded"]),
        (("Al", 1, 1, 1, "--engine", "chgnet"), ["chgnet", "anodeflow run"]),
        (("Al", 1, 1, 1, "--card", "mine"), ["card mine"]),
        (("Li", 1, 0, 0), ["1 of another structure of this name"]),
    ]:
        status, _, err = command("build", "slab", *arguments, "--relaxed", "--store", "s.sqlite")
        assert status == 2
        assert all(word in one_line(err) for word in words), err
    status, _, err = command("build", "interface", "Li", "Li6PS5Cl", "--relaxed", "--store", "s.sqlite")
    assert status == 2
    assert {f.name.partition("-")[0] for f in tmp_path.iterdir()} == {"s.sqlite"}


def test_a_crystal_that_keeps_its_cell_is_relaxed_within_it(tmp_path, command):
    stored(tmp_path / "s.sqlite", load_crystal("P2S5"), "P2S5/crystal", 1.0, task="relax")
    status, _, err = command("build", "slab", "P2S5", 0, 0, 1, "--relaxed", "--store", "s.sqlite")
    assert status == 0, err
    assert summary_of(tmp_path / "P2S5-001-slab-relaxed")["source"]["task"] == "relax"


def test_relaxed_argyrodites_are_found_by_the_file_that_a_study_read(tmp_path, command):
    arguments = ("build", "argyrodite", "Li5.5PS4.5Cl1.5", "--n", 1)
    assert command(*arguments)[0] == 0
    cif = tmp_path / "Li5.5PS4.5Cl1.5-argyrodite" / "Li5.5PS4.5Cl1.5-1.cif"
    stored(tmp_path / "s.sqlite", load_crystal(cif), "Li5.5PS4.5Cl1.5-1/crystal", 1.03)
    status, _, err = command(*arguments, "--relaxed", "--store", "s.sqlite")
    assert status == 0, err
    folder = tmp_path / "Li5.5PS4.5Cl1.5-argyrodite-relaxed"
    assert load_crystal(folder / "POSCAR-1").lattice.a == pytest.approx(load_crystal(cif).lattice.a * 1.03)
    status, _, err = command(*arguments, "--seed", 5, "--relaxed", "--store", "s.sqlite", "-o", "y")
    assert status == 2
    assert "Li5.5PS4.5Cl1.5-1.cif" in one_line(err)


def test_help_of_build_loads_nothing_heavy():
    code = (
        "import sys; from anodeflow.cli.main import cli; cli.main(['build', 'slab', '--help'], standalone_mode=False);"
        "print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "anodeflow build slab LiCl 1 0 0" in out
    assert not {"numpy", "pymatgen", "ase", "jobflow", "torch", "matplotlib", "rich"} & set(out.split())


LAMMPS = """a salt without masses

8 atoms
2 atom types
0 5.1 xlo xhi
0 5.1 ylo yhi
0 5.1 zlo zhi

Atoms # atomic

1 1 0.0 0.0 0.0
2 1 2.55 2.55 0.0
3 1 2.55 0.0 2.55
4 1 0.0 2.55 2.55
5 2 2.55 0.0 0.0
6 2 0.0 2.55 0.0
7 2 0.0 0.0 2.55
8 2 2.55 2.55 2.55
"""


def test_types_of_a_lammps_file_are_named(command, tmp_path):
    (tmp_path / "salt.lmp").write_text(LAMMPS)
    status, _, err = command("build", "slab", "salt.lmp", "1", "0", "0")
    assert status == 2
    assert "types" in err
    status, out, err = command("build", "slab", "salt.lmp", "1", "0", "0", "--types", "Li,Cl", "--json")
    assert status == 0, err
    assert json.loads(out)["formula"].split() == ["Li5", "Cl5"]
    status, _, err = command("build", "slab", "LiCl", "1", "0", "0", "--types", "Li,Cl")
    assert status == 2
    assert "leave out --types" in err
