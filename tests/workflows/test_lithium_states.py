"""States of Li in a study file: which are computed, what the reservoirs are, and what is refused in one line."""

import math

import pytest
from factories import write_yaml

from anodeflow.errors import AnodeflowError, InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.studies import load_study

AL_AND_LICL = {
    "study": "binding-energy",
    "engine": "chgnet",
    "hosts": ["Al", "LiAl", "LiCl"],
    "bulk": {"min_image_distance_angstrom": 6},
}


@pytest.fixture
def study(tmp_path):
    def written(**changes):
        return load_study(write_yaml(tmp_path, AL_AND_LICL | changes, "study.yaml"))

    return written


def labels(study):
    return {step.label for step in study.planned if "/bulk/" in step.label and not step.label.endswith("/host")}


def test_every_state_that_a_host_can_have_is_computed(study):
    assert labels(study()) == {
        "Al/bulk/i1", "Al/bulk/i2", "Al/bulk/sub-Al1",
        "LiAl/bulk/i1", "LiAl/bulk/sub-Al1", "LiAl/bulk/held-1",
        "LiCl/bulk/i1", "LiCl/bulk/held-1",
    }  # fmt: skip


def test_cells_of_a_state_differ_from_the_host_by_the_atoms_that_left(study):
    planned = {step.label: step.structure.composition for step in study().planned}
    host = planned["LiAl/bulk/host"]
    changes = {label: {e: planned[f"LiAl/bulk/{label}"][e] - host[e] for e in ("Li", "Al")}
               for label in ("i1", "sub-Al1", "held-1")}  # fmt: skip
    assert changes == {"i1": {"Li": 1, "Al": 0}, "sub-Al1": {"Li": 1, "Al": -1}, "held-1": {"Li": -1, "Al": 0}}


def test_lithium_in_the_place_of_lithium_needs_no_calculation(study):
    metal = study(hosts=["Li"], states=["substitution"])
    assert labels(metal) == set()
    assert metal.reservoirs_of(metal.hosts[0]) == {"Li": "Li"}


def test_states_are_those_of_the_study_or_of_the_host(study):
    assert labels(study(states=["held"], hosts=["LiAl", "LiCl"])) == {"LiAl/bulk/held-1", "LiCl/bulk/held-1"}
    only = study(states=["interstitial"], hosts=["LiCl", {"crystal": "Al", "states": ["substitution"]}])
    assert labels(only) == {"LiCl/bulk/i1", "Al/bulk/sub-Al1"}
    assert labels(study(hosts=[{"crystal": "Al", "sites": ["sub-Al1"]}])) == {"Al/bulk/sub-Al1"}


def test_reservoirs_are_the_metals_unless_others_are_named(study):
    loaded = study(hosts=["LiAl", "LiCl"])
    assert loaded.reservoirs_of(loaded.hosts[0]) == {"Al": "Al"}
    assert loaded.reservoirs_of(loaded.hosts[1]) == {}
    assert "Al/crystal" in {step.label for step in loaded.planned}
    other = study(hosts=["LiAl"], reservoirs={"Al": "Li9Al4"})
    assert other.reservoirs_of(other.hosts[0]) == {"Al": "Li9Al4"}
    assert "Li9Al4/crystal" in {step.label for step in other.planned}
    assert other.hash != study(hosts=["LiAl"]).hash


def test_the_hash_says_which_states_are_computed(study):
    """Interstitials alone have the hash that they had before there were other states; the rest have another."""
    before = study(states=["interstitial"])
    assert "states" not in before.hashed_settings()
    assert "reservoirs" not in before.hashed_settings()
    assert study().hash != before.hash
    assert study(states=["interstitial", "substitution", "held"]).hash == study().hash
    surfaces = [{"crystal": "Al", "surface": {"miller": [1, 1, 1]}}]
    on_surface = study(hosts=surfaces, environments=["surface"])
    assert "states" not in on_surface.hashed_settings()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hosts": [{"crystal": "LiCl", "states": ["substitution"]}]}, "cannot be in state 'substitution' in LiCl"),
        ({"hosts": [{"crystal": "P2S5", "states": ["held"]}]}, "cannot be in state 'held' in P2S5: it holds no Li"),
        ({"hosts": ["LiCl"], "states": ["substitution"]}, "no host of the study can have Li in state 'substitution'"),
        ({"hosts": ["Al", "LiCl"], "states": ["held"]}, "host Al can have none of the states"),
        ({"reservoirs": {"Cl": "LiCl"}}, "reservoirs names Cl, which Li replaces in none"),
        ({"reservoirs": {"Al": "AlCl3"}}, "reservoir 'AlCl3' of Al holds Cl, too"),
        ({"reservoirs": {"Al": "Li2S"}}, "reservoir 'Li2S' of Al holds no Al"),
        ({"reservoirs": {"Al": "Unobtainium"}}, "Unobtainium"),
        ({"states": ["held", "held"]}, "names one twice"),
        ({"states": ["vacancy"]}, "interstitial"),
        ({"states": []}, "at least 1"),
        ({"hosts": [{"crystal": "Al", "states": ["substitution", "substitution"]}]}, "names one twice"),
        ({"hosts": [{"crystal": "Al", "sites": ["sub-Cl1"]}]}, "host Al has no site 'sub-Cl1'"),
        ({"hosts": [{"crystal": "Al", "sites": ["hollow-1"]}]}, "none of its sites (hollow-1) is there; add one of i1"),
    ],
)
def test_bad_states_are_refused_in_one_line(study, changes, words):
    with pytest.raises(AnodeflowError) as caught:
        study(**changes).preflight()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_metal_without_a_crystal_needs_a_reservoir(study, tmp_path):
    magnesium = load_crystal("LiAl")
    magnesium.replace_species({"Al": "Mg"})
    magnesium.to(filename=str(tmp_path / "LiMg.cif"))
    hosts = ["LiMg.cif"]
    with pytest.raises(InputError, match="needs a reservoir of Mg, and the catalogue has no crystal 'Mg'"):
        study(hosts=hosts).preflight()
    named = study(hosts=hosts, reservoirs={"Mg": "LiMg.cif"})
    assert named.reservoirs_of(named.hosts[0]) == {"Mg": "LiMg.cif"}
    assert study(hosts=hosts, states=["interstitial", "held"]).preflight() is not None


def test_a_cell_so_small_that_li_makes_another_phase_is_refused(study):
    with pytest.raises(StructureError, match="makes another phase of Al, not a solution in it"):
        study(hosts=["Al"], states=["substitution"], bulk={"min_image_distance_angstrom": 4}).preflight()


def test_an_ion_in_a_bulk_metal_is_refused_with_its_remedy(study, monkeypatch):
    ions = {"engine": "gpaw", "card": "pbe-slab", "lithium_charge": 1, "references": ["ion"]}
    with pytest.raises(
        InputError, match=r"bulk metal Al has no energy.*E_ads\(Li, free atom\) \+ work function"
    ) as caught:
        study(hosts=["LiCl", "Al"], **ions)._check_states()
    assert "\n" not in str(caught.value)
    study(hosts=["LiCl"], **ions)._check_states()  # an insulator can hold it
    assert labels(study(hosts=["LiCl"], **ions)) == {"LiCl/bulk/i1"}
    with pytest.raises(InputError, match="only an added Li\\+ is computed charged"):
        study(hosts=["LiCl"], states=["held"], **ions)._check_states()


def test_a_half_filled_level_is_not_smeared(study):
    """Extrapolated to zero width, it is too low by sigma/(2 sqrt(pi)); full and empty levels are not."""
    conventions = ["bulk_metal", "neutral_atom", "neutral_atom_nonspin"]
    atoms = study(engine="gpaw", card="pbe-slab", references=conventions, states=["interstitial"])
    widths = {convention: step.card.smearing.width_ev for convention, step in atoms.isolated().items()}
    assert widths == {"neutral_atom": 0.1, "neutral_atom_nonspin": 0.001}
    assert widths["neutral_atom_nonspin"] / (2 * math.sqrt(math.pi)) < 0.0005
    assert atoms.method.smearing.width_ev == 0.1
    assert atoms.hashed_settings()["half_filled_width_ev"] == 0.001
    assert "half_filled_width_ev" not in study(references=conventions).hashed_settings()  # a potential has no levels
