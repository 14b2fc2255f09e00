"""Crystals that dispersion holds together: every study keeps their cell, or relaxes it with dispersion and says so."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from factories import calculation_doc, card_record, engine_record
from needs import needs_dftd3

from anodeflow.analysis.crystal_properties import CrystalDoc, crystal_doc
from anodeflow.analysis.figures.crystals import crystal_figure
from anodeflow.analysis.figures.style import footer_lines
from anodeflow.errors import InputError
from anodeflow.structures.catalogue import crystal_names, get_entry, load_crystal
from anodeflow.structures.packings import held_by_dispersion
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.jobs import audit_interfaces
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.graph import CalculationStep
from anodeflow.workflows.studies.lithium import crystal_task
from anodeflow.workflows.studies.notes import kept_cells

STUDIES = {
    "crystal-properties": {"crystals": ["AlCl3"]},
    "surface-energy": {"surfaces": [{"crystal": "Cl2", "miller": [0, 1, 0], "layers": [3, 4, 5]}]},
    "molecular-dynamics": {
        "systems": [{"crystal": "Cl2", "name": "Cl2"}], "duration_ps": 1.0, "relax_crystals": True,
    },
    "interface-energy": {
        "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": [3, 5, 7, 9]},
        "substrate": {"crystal": "P", "miller": [0, 1, 0], "layers": [2]},
        "max_strain_percent": 12,
    },
}  # fmt: skip


def relaxations(study):
    """Return how each crystal of the catalogue that dispersion holds together is relaxed, by name."""
    steps = [step for step in study.declare() if isinstance(step, CalculationStep)]
    return {step.crystal: step.task for step in steps if held_by_dispersion(step.crystal)}


@pytest.fixture
def study(tmp_path):
    def written(kind, card, **changes):
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({"study": kind, "engine": "sevennet-0", "card": card} | changes))
        return load_study(file)

    return written


@pytest.mark.parametrize("kind", STUDIES)
def test_every_study_keeps_the_cell_unless_its_card_adds_dispersion(kind, study):
    kept = relaxations(study(kind, "embedded", **STUDIES[kind]))
    free = relaxations(study(kind, "embedded-d3-bj", **STUDIES[kind]))
    assert kept
    assert set(kept.values()) == {"relax"}
    assert free == dict.fromkeys(kept, "relax_cell")


def test_a_result_rests_on_the_cells_that_were_kept(study):
    surfaces = {"surfaces": [{"crystal": name, "miller": [0, 1, 0], "layers": [2, 3, 4]} for name in ("P", "Li", "Cl")]}
    assert kept_cells(study("surface-energy", "embedded", **surfaces).declare()) == [
        "cells kept as given, of crystals that dispersion holds together: P, Cl"
    ]
    assert kept_cells(study("surface-energy", "embedded-d3-bj", **surfaces).declare()) == []


def test_an_alias_or_a_further_packing_is_the_crystal_and_a_file_is_not():
    plain, with_it = load_card("embedded"), load_card("embedded-d3-bj")
    fixed = [name for name in crystal_names() if get_entry(name).cell_is_fixed]
    names = [*fixed, *(alias for name in fixed for alias in get_entry(name).aliases), "p2s5", "P2S5 packing 2"]
    assert {"P", "S8", "P2S5", "black-P", "P4S10", "S"} <= set(names)
    for name in names:
        assert crystal_task(name, plain) == "relax"
        assert crystal_task(name, with_it) == "relax_cell"
    for name in ("Li2S", "LiCl packing 2", "mine/P2S5.cif"):
        assert crystal_task(name, plain) == "relax_cell"


@needs_dftd3
def test_the_plan_says_which_and_that_dispersion_is_on(study):
    crystals = {"crystals": ["P4S10", "P2S5 packing 2", "Li2S"]}
    kept = study("crystal-properties", "embedded", **crystals).preflight()
    free = study("crystal-properties", "embedded-d3-bj", **crystals).preflight()
    for name in ("P4S10", "P2S5 packing 2"):
        assert f"{name}: cell kept as given (dispersion-bound crystal)" in kept
        assert f"{name}: cell relaxed with dispersion, PBE-D3(BJ) (dispersion-bound crystal)" in free
    assert not any("Li2S" in note for note in (*kept, *free))
    assert not any(note.startswith("dispersion") for note in kept)
    assert "dispersion: PBE-D3(BJ), two-body terms, in every energy, force and stress (doi:10.1002/jcc.21759)" in free


def test_what_a_result_rests_on_names_the_correction_whatever_the_card_is_called(study, tmp_path):
    card = load_card("embedded-d3-bj").model_dump(mode="json", exclude_none=True) | {"name": "mine", "source": "me"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    sources = study("crystal-properties", "mine.yaml", crystals=["P"]).sources()
    assert any(source.startswith("dispersion: PBE-D3(BJ)") for source in sources)


@pytest.mark.parametrize(("scale", "warned"), [(0.94, True), (0.96, False), (1.04, False), (1.06, True)])
def test_a_volume_more_than_five_percent_off_is_warned_of(scale, warned):
    start = load_crystal("P")
    end = start.copy()
    end.scale_lattice(scale * start.volume)
    relaxed = calculation_doc(
        -1.0, end, task="relax_cell", initial_structure=start, card=card_record(dispersion="d3-bj")
    )
    doc = crystal_doc("P", relaxed)
    words = f"with dispersion its volume is {100 * (scale - 1):+.1f} % from the one it began with, more than 5 %"
    assert (words in doc.warnings) == warned
    assert doc.began_with.volume_change == pytest.approx(scale - 1)


def test_a_figure_is_drawn_of_crystals_without_reference_and_names_the_correction():
    formed = {"energy_per_atom_ev": -4.9, "formation_energy_ev_per_atom": -0.17, "cell_angstrom": (8.8, 8.9, 9.1)}
    doc = CrystalDoc(crystal="P2S5", formula="P2S5", **formed)
    card = card_record("h", name="mine", dispersion="d3-bj")
    study = SimpleNamespace(crystals=[doc], elastic=[], engine=engine_record(), card=card, study_hash="0" * 16)
    figure = crystal_figure(study)
    assert not figure.axes[0].axison
    assert "mine with D3(BJ)" in " ".join(footer_lines(figure))
    doc.formation_energy_ev_per_atom = None
    with pytest.raises(InputError, match="no crystal of this study has a reference or a formation energy"):
        crystal_figure(study)


def test_cards_are_written_with_their_correction():
    plain, with_it = card_record(name="mine"), card_record(name="mine", dispersion="d3-zero")
    assert (plain.text, with_it.text) == ("mine", "mine with D3(0)")
    assert "text" not in with_it.model_dump()


def test_an_audit_refuses_an_archive_with_dispersion(monkeypatch):
    card = card_record(name="mine", dispersion="d3-bj")
    doc = calculation_doc(-1.0, load_crystal("Li"), engine=engine_record(name="gpaw"), card=card)
    monkeypatch.setattr(audit_interfaces, "read_archive", lambda file: (None, [SimpleNamespace(doc=doc)]))
    with pytest.raises(
        InputError, match=r"'a.zip' has energies with dispersion \(card mine with D3\(BJ\)\), those of an audit are"
    ):
        audit_interfaces.known_interfaces([Path("a.zip")])
