"""`anodeflow cards`, `engines`, `config`, and the keys of programs that settings may hold."""

import json

import pytest

from anodeflow.errors import InputError
from anodeflow.native_keys import ALLOWED, checked_keys
from anodeflow.settings import load_settings
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import card_names, load_card
from anodeflow.workflows.engines.castep.engine import CastepEngine
from anodeflow.workflows.engines.registry import PROGRAMS, engine_names
from anodeflow.workflows.engines.vasp.engine import VaspEngine


@pytest.fixture
def settings_with(monkeypatch, tmp_path):
    for name in ("ANODEFLOW_VASP_POTENTIALS", "PMG_VASP_PSP_DIR", "ANODEFLOW_VASP_COMMAND"):
        monkeypatch.delenv(name, raising=False)

    def write(text):
        (tmp_path / "settings.yaml").write_text(text)
        monkeypatch.setenv("ANODEFLOW_SETTINGS", str(tmp_path / "settings.yaml"))
        return tmp_path / "settings.yaml"

    return write


def test_cards_are_listed_and_one_is_shown_with_what_it_assumes(command):
    status, out, _ = command("cards", "--json")
    assert status == 0
    rows = json.loads(out)
    assert [row["card"] for row in rows] == card_names()
    assert next(row for row in rows if row["card"] == "lacss2024-bulk")["cutoff_ev"] == 600
    status, out, _ = command("cards", "lacss2024-bulk")
    assert status == 0
    assert load_card("lacss2024-bulk").hash in out
    assert "assumed: kpoints: the mesh 12x12x12 is stated" in out
    status, _, err = command("cards", "lacss2024-bulc")
    assert status == 2
    assert "lacss2024-bulk" in err


def test_engines_are_listed_with_what_they_lack(command, settings_with):
    settings_with("vasp: {command: no-such-program}\n")
    status, out, err = command("engines", "--json")
    assert status == 0, err
    rows = {row["engine"]: row for row in json.loads(out)}
    assert list(rows) == engine_names()
    assert set(PROGRAMS) <= set(rows)
    assert rows["vasp"]["here"] == "no"
    assert any("no-such-program" in item for item in rows["vasp"]["lacks"])
    assert "electrons" in rows["castep"]["can"]
    assert "dispersion" in rows["castep"]["can"]
    assert "dispersion" not in rows["chgnet-r2scan"]["can"]
    assert "no-such-program" in command("engines")[1]


def test_the_configuration_says_where_every_value_is_from(command, settings_with, monkeypatch):
    file = settings_with("vasp: {keys: {ncore: 4}}\nruns: /scratch/me\n")
    monkeypatch.setenv("ANODEFLOW_GPAW_PROCESSES", "2")
    status, out, err = command("config", "--json")
    assert status == 0, err
    content = json.loads(out)
    assert content["file"] == str(file)
    rows = {row["setting"]: row for row in content["settings"]}
    assert rows["vasp.keys"] == {"setting": "vasp.keys", "value": {"NCORE": 4}, "from": "file", "variable": None}
    assert (rows["runs"]["value"], rows["runs"]["from"]) == ("/scratch/me", "file")
    assert (rows["gpaw.processes"]["value"], rows["gpaw.processes"]["from"]) == (2, "environment")
    assert rows["qe.command"]["from"] == "default"
    assert "npool" in command("config")[1]


def test_own_keys_reach_the_inputs_and_no_fingerprint(settings_with, tmp_path):
    lithium, card = load_crystal("Li"), load_card("pbe-slab")
    before = VaspEngine().record_with(card, ["Li"])
    settings_with(
        "vasp: {keys: {NCORE: 4, KPAR: 2, algo: fast}}\ncastep: {keys: {opt_strategy: memory}}\n"
        "qe: {keys: {npool: 2, ndiag: 1}}\n"
    )
    VaspEngine().write_inputs(lithium, "static", card, 0, tmp_path / "vasp")
    incar = (tmp_path / "vasp" / "INCAR").read_text()
    assert all(line in incar.splitlines() for line in ("NCORE = 4", "KPAR = 2", "ALGO = Fast"))
    assert VaspEngine().record_with(card, ["Li"]) == before
    CastepEngine().write_inputs(lithium, "static", card, 0, tmp_path / "castep")
    param = next((tmp_path / "castep").glob("*.param")).read_text()
    assert any(line.split()[:1] == ["opt_strategy"] and line.split()[-1] == "memory" for line in param.splitlines())
    assert load_settings().qe.words == ["-nk", "2", "-nd", "1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vasp: {keys: {ENCUT: 300}}", "ENCUT decides what is computed"),
        ("vasp: {keys: {encut: 300}}", "ENCUT decides what is computed"),
        ("vasp: {keys: {NCOR: 4}}", "NCORE"),
        ("vasp: {keys: {NCORE: four}}", "not a whole number"),
        ("vasp: {keys: {NCORE: true}}", "not a whole number"),
        ("vasp: {keys: {KPAR: 0}}", "not positive"),
        ("vasp: {keys: {ALGO: Exact}}", "not one of Normal"),
        ("qe: {keys: {ecutwfc: 20}}", "ecutwfc decides what is computed"),
        ("qe: {keys: {diagonalization: cg}}", "not a key that may be set for qe"),
        ("castep: {keys: {cut_off_energy: 300}}", "cut_off_energy decides what is computed"),
    ],
)
def test_keys_that_decide_a_number_are_refused_in_one_line(text, words, settings_with, command):
    settings_with(text + "\n")
    with pytest.raises(InputError, match=words):
        load_settings()
    status, _, err = command("config")
    assert status == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_no_key_is_both_allowed_and_written_from_a_card(tmp_path, settings_with):
    """What a card becomes in INCAR or .param cannot be set beside it, but for how the ground state is sought."""
    settings_with("runs: here\n")
    lithium, card = load_crystal("Li"), load_card("lacss2024-bulk")
    VaspEngine().write_inputs(lithium, "relax_cell", card, 0, tmp_path / "vasp")
    written = {line.split(" = ")[0] for line in (tmp_path / "vasp" / "INCAR").read_text().splitlines()}
    assert written & set(ALLOWED["vasp"]) == {"ALGO"}
    for name in written - set(ALLOWED["vasp"]):
        with pytest.raises(ValueError, match=name):
            checked_keys("vasp", {name: 1})
