"""The strained side of an interface: stated, or the softer by moduli of the study's engine; hashes of before stay."""

import json

import pytest
import yaml
from monty.json import MontyDecoder, MontyEncoder

from anodeflow.analysis.elasticity import ElasticDoc
from anodeflow.analysis.strained_side import strained_side
from anodeflow.errors import AnodeflowError, ConvergenceError
from anodeflow.structures.interface_sides import softer_by_publication
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.graph import Step
from anodeflow.workflows.studies.strained_side import BySide

STUDIES = {
    "interface-energy": {
        "film": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3},
        "substrate": {"crystal": "Li", "miller": [1, 0, 0], "layers": [3, 5, 7, 9]},
        "surfaces": [{"crystal": "Li", "miller": [1, 0, 0], "layers": [5]}],
        "max_strain_percent": 9,
    },
    "interface-screening": {
        "film": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3},
        "substrate": {"crystal": "Li", "miller": [1, 0, 0], "layers": 3},
        "max_strain_percent": 9,
        "max_area_angstrom2": 30,
    },
    "molecular-dynamics": {
        "systems": [{
            "film": {"crystal": "LiCl", "miller": [1, 0, 0]}, "substrate": {"crystal": "Li", "miller": [1, 0, 0]},
            "min_thickness_angstrom": 5, "max_strain_percent": 9,
        }],
        "duration_ps": 0.02, "segment_ps": 0.02,
    },
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    def written(kind, strained=None, **changes):
        data = {"study": kind, "engine": "chgnet"} | json.loads(json.dumps(STUDIES[kind])) | changes
        if strained is not None:
            (data["systems"][0] if kind == "molecular-dynamics" else data)["strained"] = strained
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(data))
        return load_study(file)

    return written


def moduli(**young):
    return [ElasticDoc(crystal=name, young_gpa={"Hill": value}) for name, value in young.items()]


def travelled(thing):
    return json.loads(json.dumps(thing, cls=MontyEncoder), cls=MontyDecoder)


def test_the_softer_side_is_named_with_both_moduli_and_their_source():
    doc = strained_side("LiCl", "Li", moduli(LiCl=49.9, Li=7.8), "elastic moduli by chgnet, card embedded")
    assert doc.strained == "substrate"
    assert doc.text == (
        "Li is strained: Young's modulus 7.8 GPa, LiCl 49.9 GPa (elastic moduli by chgnet, card embedded)"
    )
    assert strained_side("Li", "LiCl", moduli(Li=7.8, LiCl=49.9), "").strained == "film"
    assert strained_side("Li", "Li", moduli(Li=7.8) * 2, "").strained == "film"


def test_without_a_modulus_nothing_is_guessed():
    failed = ElasticDoc(crystal="Li", error="a cell did not converge")
    with pytest.raises(
        ConvergenceError, match=r"Li has no Young's modulus \(a cell did not converge\).*strained: film"
    ):
        strained_side("LiCl", "Li", [*moduli(LiCl=50), failed], "")
    with pytest.raises(ConvergenceError, match="LiCl has no Young's modulus"):
        strained_side("LiCl", "Li", [None, *moduli(Li=8)], "")


def test_published_moduli_are_named_where_they_decide():
    assert softer_by_publication("LiCl", "Li") == ("substrate", "published Young's moduli, LiCl 49.9 and Li 7.8 GPa")
    assert softer_by_publication("Li", "Li3P") is None


@pytest.mark.parametrize("kind", ["interface-energy", "interface-screening"])
def test_the_film_stated_is_the_study_that_it_was(kind, study):
    pytest.importorskip("chgnet")
    assert study(kind, "film").hash == study(kind).hash != study(kind, "softer").hash
    assert [e.label for e in study(kind, "film").declare()] == [e.label for e in study(kind).declare()]


@pytest.mark.parametrize(
    "kind",
    [k if k == "interface-screening" else pytest.param(k, marks=pytest.mark.slow) for k in STUDIES],
)
def test_the_moduli_decide_which_side_is_strained(kind, study):
    """The same labels in both forms, in a plan that of the strained film; everything travels as JSON."""
    loaded = study(kind, "softer")
    for young, film in ((None, "LiCl"), ({"LiCl": 50.0, "Li": 8.0}, "Li"), ({"LiCl": 8.0, "Li": 50.0}, "LiCl")):
        found, labels = {}, []
        for entry in loaded.declare():
            if isinstance(entry, Step):
                found[entry.label] = entry.structure
                continue
            arrived = travelled(entry)
            assert arrived == entry
            needed = [found[label] for label in entry.needs]
            labels += [step.label for step in arrived.lay_out(needed, loaded.setup).steps]
            foreseen = arrived.foreseen(needed, loaded.setup)
            if young is not None and entry.label.endswith("/elastic"):
                foreseen = moduli(**{entry.crystal: young[entry.crystal]})[0]
            found[entry.label] = foreseen
            if isinstance(entry, BySide):
                chosen, _ = arrived._chosen(needed)
                assert _strained(chosen) == film
        assert "Li/elastic/xx +0.5 %" in labels
        assert len(set(labels)) == len(labels)


def _strained(stage):
    """Crystal of the strained side of a stage."""
    if hasattr(stage, "pair"):
        return stage.pair.film.crystal
    if hasattr(stage, "system"):
        return getattr(stage.system, stage.system.strained).crystal
    return {"film": stage.film, "substrate": stage.substrate}[stage.options["strained"]]


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("interface-energy", {"registry": "Li over Cl"}, "registry and shift"),
        ("interface-energy", {"shift": [0.5, 0]}, "registry and shift"),
        ("interface-energy", {"substrate": STUDIES["interface-energy"]["substrate"] | {"layers": [3, 5]}}, r"\[3, 5\]"),
        ("molecular-dynamics", {"relax_crystals": False}, "relax_crystals"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_refused_in_one_line(kind, changes, words, study):
    with pytest.raises(AnodeflowError, match=words) as refused:
        study(kind, "softer", **changes)
    assert "\n" not in str(refused.value)


def test_an_engine_without_stress_is_refused(study, monkeypatch):
    pytest.importorskip("chgnet")
    loaded = study("interface-screening", "softer")
    capabilities = loaded.loaded_engine.capabilities
    monkeypatch.setattr(type(loaded.loaded_engine), "capabilities", type(capabilities)(stress=False))
    with pytest.raises(AnodeflowError, match=r"gives no stress.*strained: film"):
        loaded.preflight()


@pytest.mark.slow
def test_the_softer_side_of_a_run_is_the_film_and_its_moduli_are_found_again(command, tmp_path):
    """CHGNet: Li is softer than LiCl by far, so the substrate of the file becomes the film."""
    pytest.importorskip("chgnet")
    changes = {"study": "interface-energy", "engine": "chgnet", "strained": "softer", "registries": 1, "surfaces": []}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDIES["interface-energy"] | changes))
    crystals = {"study": "crystal-properties", "engine": "chgnet", "crystals": ["Li", "LiCl"], "elastic": True}
    (tmp_path / "moduli.yaml").write_text(yaml.safe_dump(crystals))
    status, out, err = command("run", "study.yaml", "--json", cwd=tmp_path)
    assert status == 0, err
    document = json.loads(out)
    side = document["strained_side"]
    assert (side["strained"], document["interface"]["film"]) == ("substrate", "Li")
    assert side["substrate_young_gpa"] < side["film_young_gpa"]
    assert document["interface"]["gamma_j_per_m2"] is not None
    status, out, err = command("run", "moduli.yaml", "--json", cwd=tmp_path)
    assert "0 calculations computed" in err
    young = {doc["crystal"]: doc["young_gpa"]["Hill"] for doc in json.loads(out)["elastic"]}
    assert young == pytest.approx({"LiCl": side["film_young_gpa"], "Li": side["substrate_young_gpa"]})
    status, out, _ = command("run", "study.yaml", cwd=tmp_path)
    assert "Li is strained: Young's modulus" in out
