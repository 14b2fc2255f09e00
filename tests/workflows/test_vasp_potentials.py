"""Potentials that a card names, and what is published of them, with and without POTCARs on the machine."""

import sys
from pathlib import Path

import pytest

from anodeflow.settings import VaspSettings
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.vasp.engine import VaspEngine
from anodeflow.workflows.engines.vasp.potcar import potcar_symbol, settings_for

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from vasp_setup import write_potcars


@pytest.fixture
def without_potcars(monkeypatch, tmp_path):
    """A machine without any POTCAR."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("ANODEFLOW_SETTINGS", "ANODEFLOW_VASP_POTENTIALS", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_card_names_the_potential_of_each_element(without_potcars, tmp_path):
    lithium = load_crystal("Li")
    engine = VaspEngine()
    for card, symbol, electrons in (("lacss2024-bulk", "Li", 1), ("pbe-bulk", "Li_sv", 3)):
        folder = tmp_path / card
        engine.write_inputs(lithium, "static", load_card(card), 0, folder)
        assert (folder / "POTCAR.spec").read_text().split() == [symbol]
        assert engine.valence_electrons(["Li"], load_card(card)) == {"Li": electrons}


def test_the_cards_potential_goes_before_that_of_the_machine():
    machine = VaspSettings(potentials_of={"Li": "Li_sv", "P": "P_h"})
    named = settings_for(load_card("lacss2024-surface"), machine)
    assert (potcar_symbol("Li", named), potcar_symbol("P", named), potcar_symbol("Na", named)) == ("Li", "P", "Na_pv")
    assert potcar_symbol("Li", settings_for(load_card("pbe-slab"), machine)) == "Li_sv"


def test_the_potential_is_no_part_of_the_cards_hash_but_of_the_engines_record(tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_VASP_POTENTIALS", str(write_potcars(tmp_path / "potcars")))
    card = load_card("lacss2024-bulk")
    plain = card.model_copy(update={"potentials_of": None})
    assert card.hash == plain.hash
    symbols = [VaspEngine().record_with(c, ["Li"]).potentials["Li"].split()[0] for c in (card, plain)]
    assert symbols == ["Li", "Li_sv"]


def test_a_cutoff_below_a_published_one_is_named_without_any_potcar(without_potcars):
    lithium = load_crystal("Li")
    named = VaspEngine().check(lithium, "static", load_card("pbe-slab"))
    assert any("400 eV" in note and "ENMAX of Li_sv (499.034 eV, VASP Wiki" in note for note in named)
    for card in ("pbe-bulk", "lacss2024-bulk"):  # 500 eV with Li_sv, 600 eV with Li
        assert not any("ENMAX" in note for note in VaspEngine().check(lithium, "static", load_card(card)))
    soft = load_card("lacss2024-aimd")
    assert not any("ENMAX" in note for note in VaspEngine().check(load_crystal("LiCl"), "static", soft))


def test_a_potential_that_the_folder_does_not_hold_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_VASP_POTENTIALS", str(write_potcars(tmp_path / "potcars")))
    card = load_card("pbe-bulk").model_copy(update={"potentials_of": {"Li": "Li_GW"}})
    (line,) = [text for text in VaspEngine().missing(["Li"], card) if "POTCAR" in text]
    assert "no POTCAR for Li_GW (Li)" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("named", "words"), [({"Li": "Al"}, "not a potential of Li"), ({"Xy": "Xy"}, "not an element")]
)
def test_a_wrong_potential_is_refused_in_a_card(named, words):
    with pytest.raises(ValueError, match=words):
        MethodCard.model_validate(load_card("pbe-bulk").model_dump() | {"potentials_of": named})
