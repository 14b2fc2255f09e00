"""Stored studies are shown, drawn and archived where their engine is not installed; hashes are given by their start."""

import importlib.util
import json
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from anodeflow.workflows.engines.gpaw import engine as gpaw_engine
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study

DFT = Path(__file__).parents[2] / "examples" / "dft"
FILE = DFT / "crystals-primitive.yaml"


@pytest.fixture
def hidden(monkeypatch):
    """GPAW, SevenNet and CHGNet are not installed."""
    find = importlib.util.find_spec

    def find_spec(name, package=None):
        return None if name in ("gpaw", "sevenn", "chgnet") else find(name, package)

    def no_version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(gpaw_engine, "version", no_version)
    for name in ("ANODEFLOW_SETTINGS", "ANODEFLOW_VASP_POTENTIALS", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    get_engine.cache_clear()
    yield
    get_engine.cache_clear()


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A store with a study of GPAW, and the study's hash."""
    place = tmp_path_factory.mktemp("imported") / "store.sqlite"
    contents = import_study(DFT / "results" / "crystals-primitive.zip", open_job_store(place))
    return place, contents.study_hash


@pytest.mark.parametrize("named", ["file", "prefix"])
@pytest.mark.usefixtures("hidden")
def test_a_stored_study_needs_no_engine(named, imported, command, tmp_path):
    store, study_hash = imported
    study = FILE if named == "file" else study_hash[:6]
    for arguments in (
        ("figure", study, "-o", tmp_path / "f.png", "--json"),
        ("export", study, "-o", tmp_path / "e.zip", "--json"),
        ("report", study, "-o", tmp_path / "r.html", "--json"),
    ):
        status, out, err = command(*arguments, "--store", store)
        assert status == 0, err
        assert json.loads(out)["study_hash"] == study_hash
    status, out, err = command("results", "--study", study, "--what", "calculations", "--json", "--store", store)
    assert status == 0, err
    rows = json.loads(out)
    assert rows
    assert {row["study_hash"] for row in rows} == {study_hash}


@pytest.mark.usefixtures("hidden")
def test_another_study_is_not_taken_for_it(imported, command, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(re.sub(r"crystals: *\[", "crystals: [P, ", FILE.read_text()))
    assert other.read_text() != FILE.read_text()
    status, _, err = command("figure", other, "-o", tmp_path / "f.png", "--store", imported[0])
    assert status != 0
    assert "no stored study says the same" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("0000", "no finished study"), ("zz", "not a study file or a hash"), ("abc", "not a study file")],
)
def test_a_wrong_hash_is_one_line(name, words, imported, command, tmp_path):
    for arguments in (("figure", name, "-o", tmp_path / "f.png"), ("export", name, "-o", tmp_path / "e.zip")):
        status, _, err = command(*arguments, "--store", imported[0])
        assert status == 2
        assert words in err
        assert len(err.strip().splitlines()) == 1


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("engine", ["gpaw", "sevennet-0", "chgnet"])
def test_a_plan_lists_a_package_that_is_not_there(engine, command, tmp_path):
    study = tmp_path / "study.yaml"
    surfaces = "surfaces: [{crystal: LiCl, miller: [1, 0, 0], layers: [2, 4, 6]}]\n"
    study.write_text(f"study: surface-energy\nengine: {engine}\n{surfaces}")
    status, out, err = command("plan", study, "--json")
    assert status == 0, err
    plan = json.loads(out)
    (line,) = [note for note in plan["notes"] if note.startswith("missing:")]
    assert "not installed" in line
    assert sum(job["expected_core_seconds"] for job in plan["jobs"]) > 0
    assert len(plan["jobs"]) == 7 + (engine == "gpaw")
    status, _, err = command("run", study, "--store", tmp_path / "s.sqlite")
    assert status == 3
    assert "not installed" in err
    assert len(err.strip().splitlines()) == 1
