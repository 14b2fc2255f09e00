"""The stability study from file to figure, and what it refuses."""

import json

import pytest
import yaml

from anodeflow.analysis.stability.documents import StabilityStudyDoc
from anodeflow.analysis.stability.window import WindowDoc
from anodeflow.cli.output.stability import print_stability
from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.base import Record
from anodeflow.workflows.studies.stability.published import compared


@pytest.fixture
def study(tmp_path):
    def written(**settings):
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({"study": "stability", "engine": "chgnet"} | settings))
        return file

    return written


SMALL = {"electrolytes": ["Li3P"], "anodes": ["Li", "LiP"], "coatings": [], "phases": ["P"], "potentials_v": [0.3]}


@pytest.mark.slow
def test_the_study_from_file_to_figure(command, study, tmp_path, capsys):
    file, store, figure = study(**SMALL), tmp_path / "s.sqlite", tmp_path / "f.png"
    status, out, err = command("run", file, "--store", store, "--figure", figure, "--json")
    assert status == 0
    assert "the hull lacks known phases of these elements: Li3P7, LiP7, LiP5" in err
    document = json.loads(out)
    raw, corrected = document["windows"]
    assert raw["electrolyte"] == corrected["electrolyte"] == "Li3P"
    # it is on the hull and at the end of it: nothing is left to be reduced
    assert raw["above_hull_ev_per_atom"] == pytest.approx(0.0, abs=1e-9)
    assert raw["reduction_limit_v"] == 0.0
    assert 0.6 < raw["oxidation_limit_v"] < 1.2
    assert raw["oxidised_to"] == "LiP"
    # no anion that is corrected: both kinds of energies are the same
    assert corrected["oxidation_limit_v"] == pytest.approx(raw["oxidation_limit_v"])
    assert document["engine_corrects"]
    by_name = {doc["crystal"]: doc for doc in document["phases"]}
    assert by_name["P"]["warnings"] == ["held together by dispersion; cell kept"]
    assert figure.stat().st_size > 10000
    print_stability(StabilityStudyDoc.model_validate(document))
    out = capsys.readouterr().out
    assert "Windows against Li" in out
    assert "Li3P -> LiP + 2 Li" in out
    for table, rows in (("windows", 2), ("mixing", 8), ("phases", 4)):
        status, out, _ = command("results", "--store", store, "--what", table, "--json")
        assert status == 0
        assert len(json.loads(out)) == rows, table
    status, out, _ = command("results", "--store", store, "--what", "decomposition", "--crystal", "Li3P")
    assert status == 0
    assert "Li3P" in out


def test_the_calculations_are_those_of_crystal_properties(study, tmp_path):
    file = tmp_path / "crystals.yaml"
    file.write_text("study: crystal-properties\nengine: chgnet\ncells: primitive\ncrystals: [Li3P, Li, LiP, P]\n")
    ours, theirs = load_study(study(**SMALL)).planned, load_study(file).planned
    assert [(s.label, s.task, s.structure) for s in ours] == [(s.label, s.task, s.structure) for s in theirs]


def test_the_hull_is_every_ordered_crystal_of_the_elements(study):
    used = load_study(study(electrolytes=["gamma-Li3PS4"], anodes=["Li"], coatings=[])).crystals_used()
    assert used[:2] == ["gamma-Li3PS4", "Li"]
    assert {"P", "S8", "Li2S", "Li3P", "Li7P3S11", "P2S5"} < set(used)
    assert not {"Al", "LiCl", "Cl2", "Li6PS5Cl"} & set(used)
    fewer = load_study(study(electrolytes=["Li3PS4"], anodes=["Li"], coatings=[], without=["LiP7"]))
    assert sorted([*fewer.crystals_used(), "LiP7"]) == sorted(used)
    # what is left out on purpose is not missed
    assert fewer.facts().notes == []


def test_a_phase_may_be_a_file(study, tmp_path):
    load_crystal("LiP").to(str(tmp_path / "mine.cif"))
    loaded = load_study(study(electrolytes=["mine.cif"], anodes=["Li"], coatings=[], phases=["P", "Li3P"]))
    assert loaded.crystals_used() == ["mine.cif", "Li", "P", "Li3P"]
    (mine,) = (step for step in loaded.planned if step.crystal == "mine.cif")
    assert mine.structure.composition == load_crystal("LiP").composition
    assert loaded.facts().notes == ["the hull lacks known phases of these elements: LiP, Li3P7, LiP7, LiP5"]


def test_an_argyrodite_is_an_ensemble_of_ordered_configurations(study):
    spec = {"argyrodite": "Li6PS5Cl", "configurations": 2, "formula_units": 2}
    loaded = load_study(study(electrolytes=[spec], anodes=["Li"], coatings=[], temperature_k=300))
    names = [f"Li6PS5Cl configuration {n}" for n in (1, 2)]
    assert loaded.crystals_used()[:3] == [*names, "Li"]
    assert {"Cl2", "S8", "P", "Li3PS4", "LiCl"} & set(loaded.crystals_used()) >= {"Cl2", "S8", "P", "LiCl"}
    first, second = (step for step in loaded.planned if step.crystal in names)
    assert (len(first.structure), first.task) == (26, "relax_cell")
    assert first.structure != second.structure
    assert loaded.roles.ensembles == {"Li6PS5Cl": names}
    single = spec | {"formula_units": 1}
    fewer = load_study(study(electrolytes=[single], anodes=["Li"], coatings=[])).facts().notes
    assert "Li6PS5Cl: only 1 of 2 configurations are distinct" in fewer
    assert loaded.hash == load_study(study(**loaded.model_dump(exclude_unset=True))).hash


def test_published_limits_stand_beside_both_kinds_of_energies(study):
    loaded = load_study(study(**SMALL))
    record = Record(identity=loaded.identity, setup=loaded.setup, sources=[])
    document = loaded.document({f"{name}/crystal": None for name in loaded.crystals_used()}, record, loaded.facts())
    limits = {"reduction_limit_v": 1.7, "oxidation_limit_v": 2.0}
    document.windows = [
        WindowDoc(electrolyte=name, formula=formula, energies=energies, **limits)
        for name, formula in (("Li6PS5Cl-ordered", "Li6PS5Cl"), ("LiP", "LiP"))
        for energies in ("raw", "corrected")
    ]
    rows = compared(document)
    assert [(row["published"], row["convention"]) for row in rows] == [
        (1.71, "raw, Li6PS5Cl-ordered"), (1.71, "corrected, Li6PS5Cl-ordered"),
        (2.01, "raw, Li6PS5Cl-ordered"), (2.01, "corrected, Li6PS5Cl-ordered"),
    ]  # fmt: skip
    assert [row["difference"] for row in rows] == pytest.approx([-0.01, -0.01, -0.01, -0.01])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"electrolytes": [{"argyrodite": "Li6PS5"}]}, "Li6PS5"),
        ({"electrolytes": ["Li2S"], "anodes": ["Li"], "coatings": [], "phases": []}, "no crystal of the element S.*S8"),
        ({"electrolytes": ["AlP"], "anodes": ["Al"], "coatings": [], "phases": ["P"]}, "no crystal.* holds Li"),
        (SMALL | {"without": ["LiP"]}, "'LiP' is to be left out, but"),
        (SMALL | {"without": ["LiP77"]}, "unknown crystal 'LiP77'; nearest: LiP7"),
        ({"electrolytes": ["Li6PS5Cl"]}, "partially occupied"),
        ({"electrolytes": ["Li3P0"]}, "unknown crystal 'Li3P0'"),
    ],
)
def test_what_makes_no_hull_is_refused_before_anything_is_computed(study, settings, message):
    with pytest.raises(InputError, match=message):
        load_study(study(**settings)).preflight()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SMALL | {"electrolytes": ["Li3P", "Li3P"]}, "given twice"),
        (SMALL | {"potentials_v": [-1]}, "not between 0 and 10 V"),
        ({}, "electrolytes"),
        (
            {"electrolytes": [{"argyrodite": "Li6PS5Cl", "configurations": 0}]},
            "'electrolytes.0.configurations' is 0 (and 1 more); Input should be greater than or equal to 1",
        ),
        ({"electrolytes": [{}]}, "key 'electrolytes.0.argyrodite' is missing"),
    ],
)
def test_bad_settings_are_one_line(command, study, settings, message):
    status, _, err = command("plan", study(**settings))
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_phases_that_failed_are_missing_from_the_hull_and_named(study):
    loaded = load_study(study(**SMALL))
    record = Record(identity=loaded.identity, setup=loaded.setup, sources=[])
    results = {f"{name}/crystal": None for name in loaded.crystals_used()}
    document = loaded.document(results, record, loaded.facts())
    assert not document.complete
    assert document.windows == []
    assert "no phase of the set holds Li" in document.warnings[1]
    assert any(warning.startswith("Li3P: not computed") for warning in document.warnings)
