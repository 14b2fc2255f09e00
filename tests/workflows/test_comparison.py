"""One study by several engines: spreads by hand, what is one question, and every kind of study through its tables."""

import csv
import io
import json
from copy import deepcopy
from pathlib import Path

import pytest
from factories import card_record, engine_record

from anodeflow.analysis.comparison import (
    ComparedTable,
    EngineAnswer,
    compared_quantities,
    half_width,
    missing_numbers,
    significant,
    spread_warnings,
)
from anodeflow.analysis.figures.comparison import comparison_figure
from anodeflow.analysis.stability.mixing import MixingDoc
from anodeflow.analysis.stability.window import WindowDoc
from anodeflow.analysis.voltage_profile import LithiatedDoc, Plateau
from anodeflow.cli.compare import asked_engines
from anodeflow.errors import InputError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.comparison import compare_documents, disagreements, question_of
from anodeflow.workflows.studies.registry import kind_of_document, load, tables

GOLDEN = Path(__file__).parent.parent / "golden" / "documents"
STUDIES = ("BindingStudyDoc", "CrystalStudyDoc", "SurfaceStudyDoc", "InterfaceStudyDoc", "MigrationStudyDoc")


def answer(label, functional="PBE"):
    engine = engine_record(f"h{label}", name=label, functional=functional)
    return EngineAnswer(label=label, engine=engine, card=card_record(), study_hash="0" * 16)


def quantities(**numbers):
    """Quantities of one table: by engine a list of rows (face, gamma, claim); engines that begin with r are r2SCAN."""
    rows = {name: [dict(zip(("face", "gamma", "ci"), row, strict=True)) for row in of] for name, of in numbers.items()}
    answers = [answer(name, "r2SCAN" if name.startswith("r") else "PBE") for name in numbers]
    table = ComparedTable("surfaces", ("face",), {"gamma": "ci"}, rows)
    return answers, compared_quantities(table, answers)


def comparison(answers, found):
    stored = [
        {"study": "surface-energy", "title": "", "engine": a.engine.model_dump(), "card": a.card.model_dump(),
         "study_hash": a.study_hash}
        for a in answers
    ]  # fmt: skip
    made = compare_documents(stored)
    made.quantities = found
    return made


def test_the_spread_is_that_of_one_functional():
    answers, found = quantities(
        a=[("100", 0.30, [0.28, 0.32]), ("110", 0.50, None)],
        b=[("110", 0.56, 0.01), ("100", 0.45, 0.02)],
        r=[("100", 0.90, 0.01)],
    )
    first, second = found
    assert (first.place, second.place) == ("100", "110")
    assert first.spread == {"PBE": pytest.approx(0.15)}
    assert second.spread == {"PBE": pytest.approx(0.06)}
    assert [v.claimed for v in first.values] == [pytest.approx(0.02), 0.02, 0.01]
    lines = spread_warnings(comparison(answers, found), "a")
    assert len(lines) == 1
    assert "0.3 here, 0.45 by b (PBE, too); this result claims ± 0.02; likewise 1 more" in lines[0]
    assert spread_warnings(comparison(answers, found), "r") == []


def test_an_engine_without_numbers_says_why_and_has_no_mark_in_the_figure():
    answers, found = quantities(
        a=[("100", 0.3, None), ("110", 8.9e-16, None)], b=[("100", 0.4, None)], c=[],
    )  # fmt: skip
    warnings = {"c": ["no crystal of Cl", "Cl2 did not converge", "P did not"]}
    lines = missing_numbers(answers, found, warnings)
    assert lines == [
        "b lacks 1 of 2 numbers",
        "c lacks 2 of 2 numbers: no crystal of Cl; Cl2 did not converge; 1 more",
    ]
    figure = comparison_figure(comparison(answers, found))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (PBE)", "b (PBE)"]
    assert (significant(-8.9e-16), significant(0.5, 2), significant(1234567.0)) == ("0", "0.5", "1.235e+06")


def test_a_result_that_claims_enough_is_not_warned_of():
    answers, found = quantities(a=[("100", 0.30, 0.2)], b=[("100", 0.45, 0.01)])
    assert spread_warnings(comparison(answers, found), "a") == []
    assert len(spread_warnings(comparison(answers, found), "b")) == 1


def test_rows_that_are_there_twice_are_numbered_and_what_is_no_number_is_left_out():
    _, found = quantities(a=[("100", 0.3, None), ("100", 0.4, None), ("111", None, None)], b=[("100", float("nan"), 1)])
    assert [q.place for q in found] == ["100", "100, number 2"]
    assert all(q.spread == {} for q in found)


def test_claims_are_half_widths():
    assert half_width([1.0, 3.0]) == 1.0
    assert half_width(0.5) == 0.5
    assert half_width(True) is half_width("x") is half_width(None) is None


def test_a_question_is_the_same_whichever_engine_answers(tmp_path):
    def question(**settings):
        file = tmp_path / "study.yaml"
        file.write_text(json.dumps({"study": "voltage", "crystals": ["Al", "LiAl", "Li"]} | settings))
        return question_of(load_study(file).model_dump(mode="json"))

    same = question()
    assert question(engine="chgnet", title="x") == same == question(card="pbe-bulk", warm_start="chgnet")
    assert question(crystals=["Al", "Li9Al4", "Li"]) != same
    # a setting that an older document does not have
    assert question_of({"study": "voltage", "added": None, "host": {"new": None}}) == question_of(
        {"study": "voltage", "host": {}}
    )


@pytest.mark.parametrize("name", STUDIES)
def test_every_kind_is_compared_through_its_tables(name):
    output = json.loads((GOLDEN / f"{name}.json").read_text())["document"]["output"]
    other = deepcopy(output)
    other["engine"] |= {"name": "another", "functional": "PBE", "hash": "f" * 16}
    made = compare_documents([output, other])
    compared = {t.name for t in kind_of_document(name).tables if t.compared}
    assert compared
    assert {q.table for q in made.quantities} <= compared
    assert made.quantities
    for quantity in made.quantities:
        assert quantity.of("another").value == quantity.of(output["engine"]["name"]).value
    assert spread_warnings(made, "another") == []
    comparison_figure(made).savefig(io.BytesIO())


def test_columns_that_are_compared_are_columns_of_the_tables():
    models = {"windows": WindowDoc, "mixing": MixingDoc, "plateaus": Plateau, "capacities": LithiatedDoc}
    for name, model in models.items():
        table = tables()[name]
        assert {*table.keys, *table.compared} - {"host", "energies"} <= set(model.model_fields), name
    for table in tables().values():
        assert bool(table.keys) == bool(table.compared), table.name


def stored_study(store, output, engine, shift=0.0):
    content = deepcopy(output)
    content["engine"] |= {"name": engine, "functional": "PBE", "hash": f"{abs(hash(engine)):016x}"[:16]}
    content["study_hash"] = f"{abs(hash((engine, shift))):016x}"[:16]
    for surface in content["surfaces"]:
        surface["gamma_j_per_m2"] += shift
    metadata = {"study_hash": content["study_hash"], "label": "summary", "study": "surface-energy"}
    job = {"uuid": content["study_hash"], "index": 1, "name": "summary", "metadata": metadata, "output": content}
    store.docs_store.update(
        [job | {"completed_at": f"2026-01-01T00:00:0{int(abs(shift) * 10)}"}], key=["uuid", "index"]
    )
    return load(kind_of_document("SurfaceStudyDoc").document).model_validate(content)


def test_a_result_says_what_other_engines_of_the_store_say(tmp_path):
    output = json.loads((GOLDEN / "SurfaceStudyDoc.json").read_text())["document"]["output"]
    store = open_job_store(tmp_path / "s.sqlite")
    first = stored_study(store, output, "one")
    assert disagreements(store, first) == []
    stored_study(store, output, "two", 0.3)
    last = stored_study(store, output, "two", 0.5)  # the newer of the two counts
    (line, *_) = disagreements(store, first)
    gamma = last.surfaces[0].gamma_j_per_m2
    assert f"{gamma:.4g} by two (PBE, too)" in line
    last.settings["title"] = "another name of the same question"
    assert disagreements(store, last)
    last.settings["surfaces"] = []
    assert disagreements(store, last) == []


def test_one_answer_given_twice_is_refused():
    answers, found = quantities(a=[("100", 0.3, None)], b=[("100", 0.4, None)])
    with pytest.raises(InputError, match=r"study 0{16} \(a, card card c1\) is given twice; name each"):
        comparison([*answers, answers[0]], found)


@pytest.mark.parametrize(
    ("text", "message"),
    [("chgnet", "is 1 engine"), ("", "is 0 engine"), ("chgnet,chgnet", "names 'chgnet' twice")],
)
def test_fewer_than_two_engines_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        asked_engines(text)
    assert asked_engines("a, gpaw=pbe-slab,") == [("a", None), ("gpaw", "pbe-slab")]


@pytest.mark.slow
def test_two_engines_from_study_to_figure(command, tmp_path):
    pytest.importorskip("chgnet")
    study, store = tmp_path / "study.yaml", tmp_path / "s.sqlite"
    study.write_text("study: crystal-properties\ncrystals: [Al]\n")
    engines = "chgnet,chgnet-0.2.0"
    status, _, err = command("compare", study, "--engines", engines, "--store", store, "--stored")
    assert status != 0
    assert "no store at" in err
    assert not store.exists()
    status, out, err = command(
        "compare", study, "--engines", f"{engines},vasp", "--store", store, "--json", "--figure", tmp_path / "f.png"
    )
    assert status == 4  # vasp is not there
    made = json.loads(out)
    assert list(made["refused"]) == ["vasp"]
    assert "\n" not in made["refused"]["vasp"]
    edge = next(q for q in made["quantities"] if q["quantity"] == "a_angstrom")
    low, high = sorted(value["value"] for value in edge["values"])
    assert edge["spread"] == {"PBE": pytest.approx(high - low)}
    assert 0 < high - low < 0.3
    assert (tmp_path / "f.png").stat().st_size > 5000
    status, out, _ = command("compare", study, "--engines", engines, "--store", store, "--stored", "--csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["engine"] for row in rows} == set(engines.split(","))
    assert {row["functional"] for row in rows} == {"PBE"}
