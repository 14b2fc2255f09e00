"""Studies from run to archive, into another store, and run again there: nothing is lost, nothing is computed."""

import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from factories import one_line, write_yaml
from jobflow.managers.local import run_locally
from toy_pairs import Pairs

from anodeflow.documents import EngineRecord
from anodeflow.errors import InputError
from anodeflow.files import short_digest
from anodeflow.workflows.engines import registry
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import verify_archive
from anodeflow.workflows.studies import load_study

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
from archives import edit, rewrite

SURFACE = {"miller": [1, 1, 1], "supercell": [1, 1]}
BINDING = {
    "study": "binding-energy", "engine": "gpaw", "card": "pbe-slab",
    "slab": {"min_thickness_angstrom": 4, "vacuum_angstrom": 15},
}  # fmt: skip
STUDIES = {
    # rows without a work function (10 Å), and with other k-points, whose crystals are other ones, too
    "rows": BINDING
    | {
        "hosts": [{"crystal": "Al", "sites": ["hollow-1"], "environments": ["surface"], "surface": SURFACE}],
        "references": ["bulk_metal", "neutral_atom"],
        "vary": {"slab.vacuum_angstrom": [10, 15], "kpoints.spacing_per_angstrom": [0.04, 0.03]},
    },
    "dispersion": {"study": "crystal-properties", "engine": "gpaw", "card": "pbe-bulk-d3-bj",
                   "crystals": ["LiCl", "P"]},
    "stability": {"study": "stability", "engine": "gpaw", "card": "pbe-bulk", "electrolytes": ["Li3P"],
                  "anodes": ["Li"], "coatings": [], "phases": ["P", "LiP"]},
    "voltage": {"study": "voltage", "engine": "gpaw", "card": "pbe-bulk", "crystals": ["Al", "LiAl", "Li"]},
}  # fmt: skip


class NotGpaw(Engine):
    """Has the name and record of GPAW and nothing of its physics: pairs, whose atoms stay where they are."""

    name = "gpaw"
    capabilities = Capabilities(
        electrons=True, kpoints=True, isolated_atoms=True, vacuum_level=True, dispersion=True, charge=True
    )
    computed = 0

    def record(self, elements=()):
        return EngineRecord(
            name="gpaw", kind="plane-wave DFT (PAW)", version="0", hash=short_digest("gpaw plane waves PBE"),
            potentials=dict.fromkeys(sorted(elements), "none"), functional="PBE",
        )  # fmt: skip

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        type(self).computed += 1
        cell, atoms = request.structure, len(request.structure)
        _, _, _, distance = cell.get_neighbor_list(3.5)
        energy = -2.0 * atoms - float(np.exp(-distance / 2).sum()) / 2
        arrays = {
            "forces_ev_per_angstrom": np.zeros((atoms, 3)), "energies_ev": np.array([energy]),
            "positions_angstrom": cell.cart_coords[None], "cells_angstrom": cell.lattice.matrix[None],
        }  # fmt: skip
        if request.stress:
            arrays["stress_gpa"] = 100 * (cell.lattice.matrix / np.linalg.norm(cell.lattice.matrix, axis=1) - np.eye(3))
        done = Outcome(cell, energy, None if request.task == "static" else True, True, 1, 0.0, arrays=arrays)
        if cell.lattice.c > 15:
            done.levels = {"level_ev": 0.0, "level": "Fermi level", "top_ev": 4 + math.exp(-cell.lattice.c / 10)}
        if request.card.dispersion is not None:
            done.dispersion = {"method": "PBE-D3(BJ)", "energy_ev": -0.1 * atoms, "program": "none", "source": "none",
                               "electronic_ev": energy + 0.1 * atoms}  # fmt: skip
        return done


@pytest.fixture(autouse=True)
def not_gpaw(monkeypatch):
    """Take GPAW's place."""
    monkeypatch.setitem(sys.modules, "not_gpaw", sys.modules[__name__])
    monkeypatch.setattr(registry, "PROGRAMS", registry.PROGRAMS | {"gpaw": ("not_gpaw", "NotGpaw")})
    registry.get_engine.cache_clear()
    yield
    registry.get_engine.cache_clear()


def summary(store):
    """Return the newest last document, without when it was made."""
    found = store.query_one({"metadata.label": "summary"}, load=True, sort={"completed_at": -1})["output"]
    return {key: value for key, value in found.items() if key != "finished_at"}


def travelled(study, folder, command):
    """Run a study, export it, import it into another store, and run it again there; return the last documents."""
    file = write_yaml(folder, study)
    loaded = load_study(file)
    loaded.preflight()
    here = open_job_store(folder / "a.sqlite")
    run_locally(loaded.flow(), store=here, ensure_success=True, log=False)
    for arguments in (
        ("export", file, "-o", "a.zip", "--store", "a.sqlite"),
        ("import", "--check", "a.zip"),
        ("import", "a.zip", "--store", "b.sqlite"),
        ("export", file, "-o", "b.zip", "--store", "b.sqlite"),
    ):
        status, _, err = command(*arguments, cwd=folder)
        assert status == 0, err
    assert (folder / "a.zip").read_bytes() == (folder / "b.zip").read_bytes()
    there, computed = open_job_store(folder / "b.sqlite"), NotGpaw.computed
    run_locally(load_study(file).flow(), store=there, ensure_success=True, log=False)
    assert NotGpaw.computed == computed
    return summary(here), summary(there)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_travels_and_is_not_computed_again(name, tmp_path, monkeypatch, command):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    here, there = travelled(STUDIES[name], tmp_path, command)
    assert there == here
    assert not [host for host in here.get("hosts", []) if host["error"]]


def test_a_hull_whose_engine_holds_anion_corrections_travels(tmp_path, monkeypatch, command):
    """Its raw energies are those of the calculations less the corrections; others are refused."""
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    pairs = potentials.Potential("ase", None, lambda path, device: Pairs(), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "chgnet", pairs)
    (tmp_path / "model").write_text("pairs")
    study = {"study": "stability", "engine": f"chgnet:{tmp_path}/model", "electrolytes": ["LiCl"], "anodes": ["Li"],
             "coatings": [], "phases": ["Cl2"]}  # fmt: skip
    here, there = travelled(study, tmp_path, command)
    assert there == here
    phase = next(phase for phase in here["phases"] if phase["crystal"] == "LiCl")
    assert phase["correction_per_atom_ev"] == pytest.approx(-0.614 / 2)

    def as_computed(content):
        of_salt = next(phase for phase in content["output"]["phases"] if phase["crystal"] == "LiCl")
        of_salt["energy_per_atom_ev"] += of_salt["correction_per_atom_ev"]

    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        last = max(name for name in archive.namelist() if name.startswith("documents/") and "data" not in name)
    bad = rewrite(tmp_path / "a.zip", tmp_path / "bad.zip", edit(last, as_computed), sums=True)
    with pytest.raises(InputError, match="says energy_per_atom_ev"):
        verify_archive(bad)


def no_card(output):
    output["card"]["dispersion"] = None


def larger_part(output):
    output["dispersion"]["energy_ev"] -= 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_card, "holds a correction for dispersion, and its card has none"),
        (larger_part, "that of electrons and dispersion"),
        (lambda output: no_card(output) or output.update(dispersion=None), "has the dispersion .*, elsewhere"),
    ],
)
def test_energies_with_and_without_dispersion_are_told_apart(change, words, tmp_path, monkeypatch, command):
    """Else those with it would be combined with others."""
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    travelled(STUDIES["dispersion"] | {"crystals": ["P"]}, tmp_path, command)
    changed = edit("documents/00000.json", lambda content: change(content["output"]))
    bad = rewrite(tmp_path / "a.zip", tmp_path / "bad.zip", changed, sums=True)
    with pytest.raises(InputError, match=words):
        verify_archive(bad)


@pytest.mark.parametrize(("key", "value"), [("spread_ev", 0.0), ("ion_spread_ev", None), ("converged", None)])
def test_a_verdict_on_convergence_is_that_of_its_rows(key, value, examples, tmp_path):
    def changed(content):
        content["output"]["convergence"][0][key] = value

    archive = examples / "dft" / "results" / "binding-converge-1.zip"
    bad = rewrite(archive, tmp_path / "bad.zip", edit("documents/00027.json", changed), sums=True)
    with pytest.raises(InputError, match=r"Al/surface, slab\.vacuum_angstrom is '.*', which its rows are not"):
        verify_archive(bad)


def test_a_work_function_is_that_of_its_calculation(examples, tmp_path):
    def changed(content):
        content["output"]["sites"][0]["work_function_ev"] += 0.01

    archive = examples / "dft" / "results" / "binding-converge-1.zip"
    bad = rewrite(archive, tmp_path / "bad.zip", edit("documents/00022.json", changed), sums=True)
    with pytest.raises(InputError, match=r"says work_function_ev = 2\.13188, the calculation it rests on 2\.12188"):
        verify_archive(bad)


def test_what_cannot_be_written_or_is_not_there_is_one_line(tmp_path, monkeypatch, command):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    travelled(STUDIES["voltage"], tmp_path, command)
    file = tmp_path / "study.yaml"
    for option, name in (("-o", "/proc/x.zip"), ("--optimade", "/proc/x.jsonl")):
        status, _, err = command("export", file, option, name, "--store", "a.sqlite", cwd=tmp_path)
        assert (status, f"'{name}': " in one_line(err)) == (2, True)
    asked = ("compare", file, "--archive", "a.zip", "--engines", "gpaw", "--stored", "--store", "none.sqlite")
    status, _, err = command(*asked, cwd=tmp_path)
    assert (status, "no store at" in one_line(err)) == (2, True)
    assert not (tmp_path / "none.sqlite").exists()
