"""Crystal properties: formation energies and voltages by hand, and the study from file to figure."""

import json

import pytest
from factories import calculation_doc, card_record, engine_record, write_yaml
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.crystal_properties import (
    crystal_doc,
    formation_energies,
    known_lattice,
    left_structure_type,
    voltages,
)
from anodeflow.errors import ReferenceMismatchError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.added_keys import without_unset


def calculation(name, energy_per_atom, **changes):
    structure = load_crystal(name)
    known = {"energy_ev": energy_per_atom * len(structure), "structure": structure, "initial_structure": structure,
             "task": "relax_cell", "fingerprint": name, "label": f"{name}/crystal"}  # fmt: skip
    return calculation_doc(**(known | changes))


def documents(**energies):
    made = {name: calculation(name, energy) for name, energy in energies.items()}
    return [crystal_doc(name, doc) for name, doc in made.items()], made


def test_formation_energies_and_voltages_by_hand():
    # E_f(LiAl) = -2.9 - (-1.9 - 3.7)/2 = -0.1; Li9Al4: -2.6 - (9 (-1.9) + 4 (-3.7))/13 = -0.146154
    docs, made = documents(Li=-1.9, Al=-3.7, LiAl=-2.9, Li9Al4=-2.6)
    formation_energies(docs, made)
    by_name = {doc.crystal: doc.formation_energy_ev_per_atom for doc in docs}
    assert by_name["Li"] == pytest.approx(0.0)
    assert by_name["LiAl"] == pytest.approx(-0.1)
    assert by_name["Li9Al4"] == pytest.approx(-2.6 + (9 * 1.9 + 4 * 3.7) / 13)
    steps = voltages(docs)
    assert [(s.poor, s.rich) for s in steps] == [("Al", "LiAl"), ("LiAl", "Li9Al4")]
    # V = -(E_f per Al, rich - poor)/(y - x): -(2 (-0.1) - 0)/1 = 0.2
    assert steps[0].voltage_v == pytest.approx(0.2)
    per_al = 13 / 4 * by_name["Li9Al4"]
    assert steps[1].voltage_v == pytest.approx(-(per_al + 0.2) / 1.25)


def test_a_compound_without_its_elements_has_no_formation_energy():
    docs, made = documents(Li=-1.9, LiCl=-3.0)
    formation_energies(docs, made)
    assert docs[1].formation_energy_ev_per_atom is None
    assert voltages(docs) == []


def test_engines_are_not_mixed():
    docs, made = documents(Li=-1.9, Al=-3.7)
    made["Al"].engine = engine_record("other")
    with pytest.raises(ReferenceMismatchError, match="other"):
        formation_energies(docs, made)


def test_an_unconverged_crystal_has_an_error_and_no_number():
    doc = crystal_doc("Al", calculation("Al", -3.7, converged=False, error="step limit"))
    assert not doc.converged
    assert doc.energy_per_atom_ev is None
    assert doc.cell_angstrom is None
    assert "step limit" in doc.error
    assert crystal_doc("Al", None).error.startswith("not computed")


def test_a_change_of_symmetry_is_named():
    strained = Structure(Lattice.orthorhombic(4.0, 4.0, 4.3), ["Al"] * 4, load_crystal("Al").frac_coords)
    doc = crystal_doc("Al", calculation("Al", -3.7, structure=strained))
    assert doc.warnings == ["space group changed from Fm-3m (225) to I4/mmm (139)"]


def test_known_values_have_their_axis():
    assert known_lattice("Li9Al4") == {"a": 18.95, "b": 4.471, "c": 5.368}
    assert known_lattice("P2S5") == {}


@pytest.mark.slow
def test_the_study_from_file_to_figure(command, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("study: crystal-properties\ntitle: anodes\nengine: chgnet\ncrystals: [Li, Al, LiAl]\n")
    store, figure = tmp_path / "s.sqlite", tmp_path / "f.png"
    status, out, _ = command("run", study, "--store", store, "--figure", figure, "--json")
    assert status == 0
    document = json.loads(out)
    found = {doc["crystal"]: doc for doc in document["crystals"]}
    assert found["Al"]["cell_angstrom"][0] == pytest.approx(4.04, rel=0.01)
    assert found["LiAl"]["space_group"] == "Fd-3m (227)"
    assert -0.3 < found["LiAl"]["formation_energy_ev_per_atom"] < -0.1
    assert document["voltages"][0]["poor"] == "Al"
    assert figure.stat().st_size > 10000
    status, out, _ = command("run", study, "--store", store)
    assert status == 0
    assert "PBE known" in out


def test_a_crystal_given_twice_is_refused(command, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("study: crystal-properties\ncrystals: [Li, Li]\n")
    status, _, err = command("plan", study)
    assert status == 2
    assert "given twice" in err


@pytest.mark.parametrize("name", ["Li", "LiAl", "Li9Al4", "Li2S"])
def test_a_primitive_cell_is_reported_in_the_setting_of_the_catalogue(name, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"study: crystal-properties\nengine: chgnet\ncrystals: [{name}]\ncells: primitive\n")
    study, given = load_study(file), load_crystal(name)
    (planned,) = study.planned
    assert len(given) % len(planned.structure) == 0
    assert len(planned.structure) < len(given)
    swollen = planned.structure.copy()
    swollen.scale_lattice(1.03 * swollen.volume)
    relaxed = calculation(
        name, -2.0, structure=swollen, energy_ev=-2.0 * len(swollen), initial_structure=planned.structure
    )
    doc = crystal_doc(name, relaxed, study.setting(name))
    assert doc.cell_angstrom == pytest.approx([1.03 ** (1 / 3) * x for x in given.lattice.abc], abs=1e-6)
    assert doc.angles_degree == pytest.approx(given.lattice.angles, abs=1e-6)
    assert doc.energy_per_atom_ev == pytest.approx(-2.0)
    # A study that does not say which cell keeps the hash it had before there was a choice.
    plain = study.model_dump(mode="json") | {"cells": None}
    assert "cells" not in without_unset(plain)


@pytest.mark.slow
def test_moduli_from_file_to_table_and_figure(command, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: crystal-properties\ntitle: moduli\nengine: chgnet\ncells: primitive\nelastic: true\n"
        "strains: [0.01]\ncrystals: [LiCl]\n"
    )
    store, figure = tmp_path / "s.sqlite", tmp_path / "f.png"
    status, out, _ = command("plan", study, "--json")
    assert status == 0
    labels = [row["calculation"] for row in json.loads(out)["jobs"]]
    assert labels == ["LiCl/crystal"] + [f"LiCl/elastic/{way} {sign}1 %" for way in ("xx", "yz") for sign in "+-"]
    status, out, _ = command("run", study, "--store", store, "--figure", figure, "--json")
    assert status == 0
    document = json.loads(out)
    (moduli,) = document["elastic"]
    # Between the two published values and the error of this potential.
    assert 30 < moduli["young_gpa"]["Hill"] < 75
    assert moduli["stable"]
    assert moduli["unexplained"] < 0.02
    status, out, _ = command("results", "--what", "moduli", "--store", store, "--json")
    assert json.loads(out)[0]["young_gpa"] == pytest.approx(moduli["young_gpa"]["Hill"])
    status, out, _ = command("results", "--what", "crystals", "--store", store, "--json")
    assert json.loads(out)[0]["a_angstrom"] == pytest.approx(5.14, rel=0.02)
    assert figure.stat().st_size > 10000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("elastic: true\nstrains: [0.2]", "0.2"),
        ("elastic: true\nstrains: [0.01, 0.01]", "different"),
        ("elastic: true\nstrains: [-0.01]", "-0.01"),
        ("elastic: true\nstrains: []", "strains"),
        ("strains: [0.01]", "elastic: true"),
    ],
)
def test_strains_outside_the_linear_range_are_refused(command, tmp_path, text, says):
    study = tmp_path / "study.yaml"
    study.write_text(f"study: crystal-properties\ncrystals: [Li]\n{text}\n")
    status, _, err = command("plan", study)
    assert status == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_a_crystal_that_leaves_its_structure_type_is_named():
    """B1 to B2 by the path of Buerger: the cell alone changes. A molecule that turns in P1 changes neither group."""
    rock_salt = Structure(Lattice.rhombohedral(3.6, 60), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    caesium = Structure(Lattice.cubic(3.2), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert "angle of its cell changed by +30.0 degrees" in left_structure_type(rock_salt, caesium)
    swollen = rock_salt.copy()
    swollen.scale_lattice(1.15 * rock_salt.volume)
    assert left_structure_type(rock_salt, swollen) is None
    shifted = rock_salt.copy()
    shifted.translate_sites([0, 1], [0.3, 0.1, 0.0])
    assert left_structure_type(rock_salt, shifted) is None
    moved = rock_salt.copy()
    moved.translate_sites([1], [0.2, 0.2, 0.2])
    assert left_structure_type(rock_salt, moved).startswith(("Cl moved", "Li moved"))
    stretched = Structure(Lattice.tetragonal(3, 4.5), ["Li"], [[0, 0, 0]])
    assert "length" in left_structure_type(Structure(Lattice.cubic(3), ["Li"], [[0, 0, 0]]), stretched)
    doc = crystal_doc("LiCl", calculation("LiCl", -2.0, structure=caesium, initial_structure=rock_salt, energy_ev=-4.0))
    assert any("left its structure type" in warning for warning in doc.warnings)


def test_a_cell_relaxed_with_dispersion_stands_beside_the_known_one():
    known = load_crystal("P")
    end = known.copy()
    end.scale_lattice(0.9 * known.volume)
    for dispersion, task in ((None, "relax_cell"), ("d3-bj", "relax")):
        kept = calculation("P", -5.0, structure=end, task=task, card=card_record(dispersion=dispersion))
        assert crystal_doc("P", kept).began_with is None
        assert "began_with" not in crystal_doc("P", kept).model_dump()
    doc = crystal_doc("P", calculation("P", -5.0, structure=end, card=card_record(dispersion="d3-bj")))
    assert doc.began_with.volume_change == pytest.approx(-0.1)
    assert doc.began_with.cell_angstrom == pytest.approx(known.lattice.abc)
    # black phosphorus: 2.69 to 2.71 g/cm3
    assert doc.began_with.density_g_per_cm3 == pytest.approx(2.70, abs=0.02)
    assert doc.began_with.relaxed_density_g_per_cm3 == pytest.approx(doc.began_with.density_g_per_cm3 / 0.9)
    assert "(volume -10.0 %)" in doc.began_with.text
    # reported in the setting of the catalogue
    twice = crystal_doc(
        "P",
        calculation("P", -5.0, structure=end, card=card_record(dispersion="d3-bj")),
        [[2, 0, 0], [0, 1, 0], [0, 0, 1]],
    )
    assert twice.began_with.cell_angstrom[0] == pytest.approx(2 * known.lattice.a)


@pytest.mark.parametrize(
    "content",
    [
        {"study": "crystal-properties", "crystals": ["P", "AlCl3"]},
        pytest.param(
            {
                "study": "stability",
                "electrolytes": ["LiAlCl4"],
                "phases": ["Li", "Al", "Cl2"],
                "anodes": ["Li"],
                "coatings": ["LiCl"],
            },
            marks=pytest.mark.slow,  # it looks through the whole catalogue
        ),
        {"study": "voltage", "host": "P", "crystals": ["P", "Li3P", "Li"]},
        {
            "study": "binding-energy",
            "hosts": [{"crystal": "P2S5", "environments": ["bulk"]}],
            "references": ["bulk_metal"],
        },
    ],
    ids=lambda content: content["study"],
)
def test_crystals_held_by_dispersion_relax_their_cell_with_it(content, tmp_path):
    for card, task in (("embedded", "relax"), ("embedded-d3-bj", "relax_cell")):
        study = load_study(write_yaml(tmp_path, content | {"card": card}))
        held = [step for step in study.planned if step.label.split("/")[0] in ("P", "AlCl3", "LiAlCl4", "Cl2", "P2S5")]
        relaxed = [step.task for step in held if step.label.endswith("/crystal")]
        assert set(relaxed) == {task}
        notes = study.as_dry_run().preflight()
        if content["study"] == "binding-energy":
            notes = study.caveats(study.hosts[0], "interstitial")
        assert any("cell kept as given" in note for note in notes) == (card == "embedded")
