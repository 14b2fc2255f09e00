"""Inputs of VASP: every card's golden files, and what a card means in tags."""

import sys
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.settings import VaspSettings
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.engines.vasp.inputs import (
    check_tags,
    dipole_centre,
    inputs_of,
    species_order,
)
from anodeflow.workflows.engines.vasp.moving_inputs import neb_inputs, vasp_md_tags, vasp_neb_tags

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from paper_cells import PAPER_CARDS, licl_slab, lithium_hops, written
from vasp_setup import environment, potcar, write_potcars

GOLDEN = Path(__file__).parents[1] / "golden" / "vasp"
SPEC = VaspSettings()


def inputs_for(structure, task, card, charge, settings, **options):
    return inputs_of(Request(structure, task, card, charge), settings, **options)


@pytest.mark.parametrize("card", PAPER_CARDS)
def test_golden_inputs(card, tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_VASP_VTST", "true")
    names = written("vasp", card, tmp_path / card)
    golden = GOLDEN / card
    assert sorted(names) == sorted(str(p.relative_to(golden)) for p in golden.rglob("*") if p.is_file())
    for name in names:
        made, kept = (folder / name for folder in (tmp_path / card, golden))
        if name.endswith("POSCAR"):
            assert_same_cell(made.read_text(), kept.read_text())
        else:
            assert made.read_text() == kept.read_text(), name


def assert_same_cell(made, kept):
    """Words the same, numbers within the noise of the last digits; 0 and 1 are one fractional coordinate."""
    a, b = made.split(), kept.split()
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        if "." in one:
            apart = abs(float(one) - float(other))
            assert min(apart, abs(apart - 1.0)) < 1e-9, (one, other)
        else:
            assert one == other


def salt(order):
    """A distorted LiCl cell with its atoms in the order of the string, e.g. 'LCLC'."""
    at = {"L": [[0, 0, 0], [0.5, 0.5, 0.02]], "C": [[0.5, 0, 0.01], [0, 0.5, 0.03]]}
    symbols = {"L": "Li", "C": "Cl"}
    seen = {"L": 0, "C": 0}
    coords = []
    for letter in order:
        coords.append(at[letter][seen[letter]])
        seen[letter] += 1
    return Structure(Lattice.orthorhombic(3.64, 3.64, 5.15), [symbols[x] for x in order], coords)


def test_species_are_grouped_and_the_order_comes_back():
    mixed = salt("CLLC")
    order = species_order(mixed)
    assert order.tolist() == [0, 3, 1, 2]
    inputs = inputs_for(mixed, "relax", load_card("lacss2024-bulk"), 0, SPEC, spec=True)
    assert [s.specie.symbol for s in inputs.structure] == ["Cl", "Cl", "Li", "Li"]
    assert inputs.texts()["POSCAR"].splitlines()[5:7] == ["Cl Li", "2 2"]
    assert inputs.structure.frac_coords[np.argsort(order)] == pytest.approx(mixed.frac_coords)


def test_frozen_atoms_travel_with_their_atoms():
    mixed = salt("LCLC")
    mixed.add_site_property("selective_dynamics", [[True] * 3, [False] * 3, [True, True, False], [True] * 3])
    lines = inputs_for(mixed, "relax", load_card("lacss2024-bulk"), 0, SPEC, spec=True).texts()["POSCAR"].splitlines()
    assert lines[7].lower().startswith("s")
    assert [line.split()[3:6] for line in lines[9:13]] == [
        ["T", "T", "T"], ["T", "T", "F"], ["F", "F", "F"], ["T", "T", "T"],
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "nsw", "isif"), [("static", 0, 2), ("relax", 300, 2), ("relax_cell", 300, 3)])
def test_tasks(task, nsw, isif):
    incar = inputs_for(load_crystal("LiCl"), task, load_card("lacss2024-bulk"), 0, SPEC, spec=True).incar
    assert (incar["NSW"], incar["ISIF"]) == (nsw, isif)
    assert incar["GGA"].upper() == "PE"
    assert ("EDIFFG" in incar) == (task != "static")
    if task != "static":
        assert incar["EDIFFG"] == -0.01
        assert incar["IBRION"] == 2
    assert incar["ISMEAR"] != -5


def test_only_the_height_is_free_in_relax_c():
    inputs = inputs_for(load_crystal("LiCl"), "relax_c", load_card("lacss2024-bulk"), 0, SPEC, spec=True)
    assert "LATTICE_CONSTRAINTS = False False True" in str(inputs.incar)
    tilted = Structure(Lattice([[3, 0, 1], [0, 3, 0], [0, 0, 5]]), ["Li"], [[0, 0, 0]])
    with pytest.raises(InputError, match="plane z = 0"):
        inputs_for(tilted, "relax_c", load_card("lacss2024-bulk"), 0, SPEC, spec=True)


@pytest.mark.parametrize(("charge", "electrons"), [(0, None), (1, 39), (-2, 42)])
def test_electrons_are_named_for_charged_cells_only(charge, electrons):
    inputs = inputs_for(load_crystal("LiCl"), "static", load_card("lacss2024-bulk"), charge, SPEC, spec=True)
    assert inputs.incar.get("NELECT") == electrons  # 4 x 3 + 4 x 7 = 40
    assert any("table of valences" in note for note in inputs.notes) == (charge != 0)
    assert inputs.incar["ISPIN"] == (2 if charge % 2 else 1)


def test_electrons_come_from_the_potcar(tmp_path):
    settings = VaspSettings(potentials=write_potcars(tmp_path), potentials_of={"Li": "Li"})
    inputs = inputs_for(load_crystal("LiCl"), "static", load_card("lacss2024-bulk"), 1, settings)
    assert inputs.incar["NELECT"] == 4 * 1 + 4 * 7 - 1
    assert inputs.symbols == ["Li", "Cl"]


def test_a_core_of_odd_electrons_is_refused(tmp_path):
    folder = write_potcars(tmp_path)
    (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Li_sv").write_text(potcar("Li_sv", 2, "Li", 499, 374))
    with pytest.raises(EngineError, match="odd number in its core"):
        inputs_for(load_crystal("LiCl"), "static", load_card("lacss2024-bulk"), 0, VaspSettings(potentials=folder))


def test_an_isolated_ion_without_electrons_is_refused():
    box = Structure(Lattice.cubic(12), ["Li"], [[0.5, 0.5, 0.5]])
    one = VaspSettings(potentials_of={"Li": "Li"})
    with pytest.raises(InputError, match="0 valence electrons"):
        inputs_for(box, "static", load_card("lacss2024-bulk"), 1, one, spec=True)
    atom = inputs_for(box, "static", load_card("lacss2024-bulk"), 0, SPEC, spec=True)
    assert (atom.incar["ISPIN"], atom.incar["NUPDOWN"], atom.incar["ISYM"]) == (2, 1, 0)
    assert atom.incar["MAGMOM"] == [1.0]
    assert atom.gamma_only


def test_the_dipole_sits_in_the_middle_of_the_slab():
    slab = Structure(Lattice.orthorhombic(4, 4, 20), ["Li", "Li", "Li"], [[0, 0, 0.9], [0, 0, 0.0], [0.5, 0.5, 0.1]])
    assert dipole_centre(slab, 2) == pytest.approx([0.5, 0.5, 0.0])
    incar = inputs_for(licl_slab(), "relax", load_card("lacss2024-surface"), 0, SPEC, spec=True).incar
    assert incar["LDIPOL"] is True
    assert incar["IDIPOL"] == 3


def test_what_vasp_has_not_is_refused():
    card = load_card("lacss2024-bulk")
    cold = card.varied("cold", smearing={"kind": "marzari-vanderbilt", "width_ev": 0.1})
    with pytest.raises(EngineError, match="no marzari-vanderbilt"):
        inputs_for(load_crystal("LiCl"), "static", cold, 0, SPEC, spec=True)
    wide = card.varied("fd", smearing={"kind": "fermi-dirac", "width_ev": 0.1})
    assert inputs_for(load_crystal("LiCl"), "static", wide, 0, SPEC, spec=True).incar["ISMEAR"] == -1


def test_a_misspelt_tag_is_an_error():
    from pymatgen.io.vasp.inputs import Incar

    for wrong in ({"ENCUTT": 400}, {"ISIF": 12}, {"NSW": "many"}):
        with pytest.raises(EngineError, match="INCAR"):
            check_tags(Incar(wrong))


def moving(card, **changes):
    return card.model_copy(update={"dynamics": card.dynamics.model_copy(update=changes)})


def test_molecular_dynamics():
    cell, card = load_crystal("LiCl") * (2, 2, 2), load_card("lacss2024-aimd")
    tags = vasp_md_tags(cell, moving(card, thermostat="nose-hoover"))
    assert (tags["NSW"], tags["POTIM"], tags["TEBEG"], tags["TEEND"]) == (25000, 2.0, 300.0, 300.0)
    assert (tags["IBRION"], tags["MDALGO"], tags["SMASS"], tags["ISYM"]) == (0, 2, 0, 0)
    langevin = vasp_md_tags(cell, moving(card, thermostat="langevin", friction_per_ps=5), steps=100)
    assert (langevin["MDALGO"], langevin["LANGEVIN_GAMMA"], langevin["NSW"]) == (3, [5, 5], 100)
    assert vasp_md_tags(cell, card)["LANGEVIN_GAMMA"] == [2, 2]  # the thermostat of a card that names none
    assert vasp_md_tags(cell, moving(card, ensemble="nve"))["SMASS"] == -3
    with pytest.raises(InputError, match="no dynamics"):
        vasp_md_tags(cell, load_card("lacss2024-bulk"))


def test_the_mass_of_the_thermostat_gives_the_period_asked_for():
    cell, card = load_crystal("LiCl") * (2, 2, 2), load_card("lacss2024-aimd")
    found = vasp_md_tags(cell, moving(card, thermostat="nose-hoover", damping_fs=80.0))["SMASS"]
    # 2 (3*64 - 3) k 300 K = 9.772 eV = 9.772 * 0.0096485 amu A2/fs2; times (80 fs/2 pi)^2 = 162.11 fs2, over a^2
    assert found == pytest.approx(9.772 * 0.0096485 * 162.11 / cell.lattice.a**2, rel=1e-3)


def test_bands():
    images, card = lithium_hops(3), load_card("cui2026-migration")
    tags = vasp_neb_tags(card, images=3)
    assert (tags["IMAGES"], tags["SPRING"], tags["LCLIMB"], tags["IOPT"], tags["ICHAIN"]) == (3, -5, True, 1, 0)
    assert (tags["IBRION"], tags["POTIM"]) == (3, 0)
    plain = vasp_neb_tags(card, images=3, climbing=False, vtst=False)
    assert "IOPT" not in plain
    with pytest.raises(InputError, match="VTST"):
        vasp_neb_tags(card, images=3, vtst=False)
    swapped = [images[0], images[1], Structure.from_sites(list(reversed(images[2])))]
    with pytest.raises(InputError, match="another order"):
        neb_inputs(swapped, card, 0, SPEC, spec=True, climbing=False)
    charged = neb_inputs([load_crystal("LiCl")] * 3, load_card("lacss2024-bulk"), -1, SPEC, spec=True, climbing=False)
    assert charged.incar["NELECT"] == 41  # 4 x 3 + 4 x 7 + 1


def test_cutoff_against_the_potcar(tmp_path):
    settings = VaspSettings(potentials=write_potcars(tmp_path))
    with pytest.raises(EngineError, match=r"280 eV, and POTCAR Li_sv needs at least 374"):
        inputs_for(load_crystal("Li"), "static", load_card("lacss2024-bulk").varied("low", cutoff_ev=280), 0, settings)
    low = inputs_for(licl_slab(), "static", load_card("lacss2024-surface"), 0, settings)
    assert any("below ENMAX of POTCAR Li_sv" in note for note in low.notes)
    high = inputs_for(load_crystal("LiCl"), "static", load_card("lacss2024-bulk"), 0, settings)
    assert not any("ENMAX" in note for note in high.notes)


def test_every_missing_potcar_is_named_with_the_path_tried(tmp_path, monkeypatch):
    for name, value in environment(tmp_path, command=["no-such-vasp"]).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "potcars" / "POT_GGA_PAW_PBE_54" / "POTCAR.Cl").unlink()
    absent = get_engine("vasp").missing(["Li", "Cl", "Na"], load_card("lacss2024-bulk"))
    assert len(absent) == 3
    assert "no-such-vasp" in absent[0]
    assert "no POTCAR for Cl" in absent[1]
    assert str(tmp_path / "potcars") in absent[1]
    assert "Na_pv" in absent[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (potcar("Cl", 7, "Cl", 262, 196, functional="CA"), "another functional: LEXCH = CA"),
        ("nothing of the kind\n", "not a POTCAR that can be read"),
        (potcar("Cl", 7, "Cl", 262, 196)[:300], "not a POTCAR that can be read|cut off"),
        (potcar("Cl", 7, "S", 262, 196), "is of S, not of Cl"),
        (potcar("Cl", 7, "Cl", 262, 196).replace("ENMAX", "ENXAM"), "no usable header"),
    ],
)
def test_a_wrong_potcar_is_one_clear_line(tmp_path, text, words):
    folder = write_potcars(tmp_path)
    (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Cl").write_text(text)
    with pytest.raises(EngineError, match=words) as caught:
        inputs_for(load_crystal("LiCl"), "static", load_card("lacss2024-bulk"), 0, VaspSettings(potentials=folder))
    assert "\n" not in str(caught.value)
    assert "made up" not in str(caught.value)  # no text of a POTCAR


def test_potcars_enter_the_record_by_digest_alone(tmp_path, monkeypatch):
    for name, value in environment(tmp_path, stand_in=False).items():
        monkeypatch.setenv(name, value)
    engine = get_engine("vasp")
    record = engine.record(["Li", "Cl"])
    assert record.kind == "plane-wave DFT (PAW)"
    assert not record.stand_in
    assert [value.split()[0] for value in record.potentials.values()] == ["Cl", "Li_sv"]
    file = tmp_path / "potcars" / "POT_GGA_PAW_PBE_54" / "POTCAR.Cl"
    file.write_text(file.read_text().replace("1.0 2.0 3.0", "1.0 2.0 3.1"))
    assert engine.record(["Cl"]).potentials["Cl"] != record.potentials["Cl"]
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    other = engine.record(["Li", "Cl"])
    assert other.stand_in
    assert other.kind == "stand-in for VASP: not DFT"
    assert other.hash != record.hash


def test_preflight(tmp_path, monkeypatch):
    engine, card = get_engine("vasp"), load_card("lacss2024-bulk")
    monkeypatch.setenv("ANODEFLOW_VASP_COMMAND", "no-such-vasp")
    with pytest.raises(EngineError, match="no-such-vasp"):
        engine.preflight(card)
    monkeypatch.setenv("ANODEFLOW_VASP_COMMAND", sys.executable)
    with pytest.raises(EngineError, match="PMG_VASP_PSP_DIR"):
        engine.preflight(card)
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    assert engine.preflight(card) == []
    assert "PAW data sets in place of" in engine.preflight(load_card("cui2026-binding"))[0]
    with pytest.raises(EngineError, match="no cutoff"):
        engine.preflight(load_card("embedded"))
    assert "6.4.0" in engine.check(load_crystal("LiCl"), "relax_c", card)[-1]


def test_cost_grows_with_the_cell():
    engine, card = get_engine("vasp"), load_card("lacss2024-aimd")
    small, large = (engine.seconds_per_step(load_crystal("LiCl") * n, card) for n in ((2, 2, 2), (3, 3, 2)))
    assert 1.0 < small < large
    assert engine.valence_electrons(["Li", "Al", "P", "S", "Cl"]) == {"Li": 3, "Al": 3, "P": 5, "S": 6, "Cl": 7}
