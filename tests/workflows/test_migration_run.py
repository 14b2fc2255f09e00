"""The migration study on a real potential: run, stored, reused, killed and resumed; refused where it makes no sense."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from factories import write_yaml
from pymatgen.core import Structure

from anodeflow.analysis.barriers import fit_barrier
from anodeflow.analysis.figures.migration import migration_figure
from anodeflow.analysis.migration_documents import (
    BandDoc,
    MigrationBarrierDoc,
    MigrationStudyDoc,
    barrier_doc,
    landscapes,
)
from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.errors import InputError
from anodeflow.structures.shifts import standard_shift
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.jobs.band import band_job
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive_documents import Archived, UnfitError
from anodeflow.workflows.store.archive_numbers import NumbersCheck
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.migration.cells import build_host, hop_cells_of, standard_contact
from anodeflow.workflows.studies.registries import RegistryStage, with_its_symmetry

TINY = {
    "study": "migration",
    "title": "tiny",
    "engine": "chgnet",
    "paths": [{"crystal": "Li", "mechanism": "vacancy", "max_distance_angstrom": 3.2}],
    "cell": {"min_image_distance_angstrom": 6},
    "images": 3,
}
LARGER = {"min_image_distance_angstrom": 7.5}
INTERFACE = {
    "mechanism": "interface",
    "film": {"crystal": "LiAl", "miller": [1, 1, 0], "layers": 4},
    "substrate": {"crystal": "Li2S", "miller": [1, 1, 0], "layers": 4},
    "max_area_angstrom2": 110,
    "max_distance_angstrom": 4.5,
    "shortest": 1,
}


def write(folder, **changes):
    return write_yaml(folder, TINY | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, anodeflow):
    folder = tmp_path_factory.mktemp("migration")
    done = anodeflow("run", write(folder), "--json", "--figure", "f.png", "--workers", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_the_barrier_can_be_traced_and_recomputed(finished):
    folder, document = finished
    barrier = document["barriers"][0]
    assert len(document["barriers"]) == 1
    assert barrier["converged"]
    assert (barrier["hop"], barrier["multiplicity"], barrier["symmetric"]) == ("Li1-Li1", 8, True)
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True, read_only=True)
    band = store.query_one({"output.fingerprint": barrier["rests_on"]["band"]}, load=True)["output"]
    start = store.query_one({"output.fingerprint": barrier["rests_on"]["start"]})["output"]
    assert "end" not in barrier["rests_on"]  # the same by symmetry
    assert len(start["structure"]["sites"]) == barrier["atoms"]
    assert band["converged"]
    assert max(band["residuals_ev_per_angstrom"]) <= load_card("embedded").force_tolerance_ev_per_angstrom
    # the band computes its ends afresh, and they are the relaxed ones
    assert band["energies_ev"][0] == pytest.approx(start["energy_ev"], abs=1e-4)
    assert band["energies_ev"][-1] == pytest.approx(start["energy_ev"], abs=1e-3)
    again = fit_barrier(
        band["arrays"]["coords_angstrom"],
        band["energies_ev"],
        band["arrays"]["forces_ev_per_angstrom"],
        climbing_image=band["climbing_image"],
    )
    assert barrier["forward_ev"] == pytest.approx(again.forward_ev)
    assert barrier["forward_ev"] >= max(band["energies_ev"]) - band["energies_ev"][0] - 1e-9
    # CHGNet 0.3.0: 0.085 eV in a large cell; this one has 14 atoms
    assert 0.03 < barrier["forward_ev"] < 0.2
    assert barrier["backward_ev"] == pytest.approx(barrier["forward_ev"], abs=2e-3)
    assert barrier["uncertainty_ev"] < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"seed": 7}, "ends, card and engine give"),
        ({"displacement_angstrom": 0.5}, "ends, card and engine give"),
        ({"charge": 1}, "ends, card and engine give"),
        ({"climb": False}, "ends, card and engine give"),
        ({"energies_ev": [-30.0, -25.9, -25.8, -25.9, -25.98]}, "has an end of -30.0000 eV"),
    ],
)
def test_an_edited_band_is_found_out(finished, changes, words):
    folder, document = finished
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True, read_only=True)
    rests_on = document["barriers"][0]["rests_on"]
    check = NumbersCheck()
    for key, doc_class, edits in (("start", CalculationDoc, {}), ("band", BandDoc, changes)):
        job = store.query_one({"output.fingerprint": rests_on[key]}, load=True)
        arrays = job["output"].pop("arrays")
        doc = doc_class.model_validate({k: v for k, v in job["output"].items() if k[0] != "@"} | edits)
        archived = Archived(job | {"output": doc.model_dump()}, [], doc, arrays)
        if key == "band" and words and "give" in words:
            with pytest.raises(UnfitError, match=words):
                check.add("file", archived)
            return
        check.add("file", archived)
    with pytest.raises(UnfitError, match=words or "it has no summary"):
        check.finish()


@pytest.mark.slow
def test_nothing_is_computed_twice_and_it_is_listed_and_drawn(finished, command):
    folder, document = finished
    status, out, err = command("run", "study.yaml", cwd=folder)
    assert status == 0, err
    assert "0 calculations computed, 3 reused" in err
    for words in ("Li, vacancy", "Li1-Li1", "same", "nothing of the method", "neutral cell"):
        assert words.lower() in out.lower()
    status, out, _ = command("results", "--json", "--what", "barriers", "--store", folder / "anodeflow.sqlite")
    rows = json.loads(out)
    assert status == 0
    assert [row["forward_ev"] for row in rows] == [document["barriers"][0]["forward_ev"]]
    assert (folder / "f.png").read_bytes().startswith(b"\x89PNG")
    kept = list((folder / "anodeflow-runs").glob("[!.]*"))
    assert kept == []  # what a killed band would go on from is gone; locks may stay


def test_the_plan_names_every_calculation(command, tmp_path):
    status, out, _ = command("plan", write(tmp_path, paths=["LiCl", "Li2S"], cell=LARGER), "--json")
    plan = json.loads(out)
    assert status == 0
    assert [(row["calculation"], row["task"], row["atoms"]) for row in plan["jobs"]] == [
        ("LiCl/crystal", "relax_cell", 8),
        ("Li2S/crystal", "relax_cell", 12),
        ("LiCl/vacancy/no Li on Li1", "relax", 25),
        ("LiCl/vacancy/Li1-Li1/band", "neb", 25),
        ("Li2S/vacancy/no Li on Li1", "relax", 23),
        ("Li2S/vacancy/Li1-Li1/band", "neb", 23),
    ]


def test_surface_and_interface_are_planned(tmp_path):
    surface = {"crystal": "Al", "mechanism": "surface", "surface": {"miller": [1, 1, 1]}, "max_distance_angstrom": 2}
    planned = load_study(write(tmp_path, paths=[surface, INTERFACE], cell={"min_thickness_angstrom": 6})).planned
    labels = [calculation.label for calculation in planned]
    assert "Al(111)/surface/hollow1-hollow2/band" in labels
    assert "Al(111)/surface/Li on hollow1" in labels
    assert "Al(111)/surface/hollow1-hollow2/end" in labels  # not equivalent: both ends are relaxed
    host = next(c for c in planned if c.label == "LiAl(110) || Li2S(110)/interface/host")
    band = next(c for c in planned if c.label.startswith("LiAl(110)") and c.label.endswith("/band"))
    assert host.task == "relax_c"
    assert len(band.structure) == len(host.structure) - 1


def crystals_as_relaxed(study, scale, seed):
    """The crystals of a study as an engine leaves them: larger or smaller, their symmetry broken by its last digits."""
    noise = np.random.default_rng(seed)
    return [
        Structure(
            crystal.lattice.matrix * scale + noise.normal(scale=1e-7, size=(3, 3)), crystal.species,
            crystal.frac_coords + noise.normal(scale=1e-7, size=(len(crystal), 3)),
        )
        for crystal in map(study.crystal, study.crystals_used())
    ]  # fmt: skip


def crossings(study, scale, seed, gap_angstrom, place):
    """Hops of the study's interface between crystals of an engine, whose search found the registry of this place."""
    (path,) = study.paths
    unrelaxed = [study.crystal(name) for name in path.crystals]
    relaxed = crystals_as_relaxed(study, scale, seed)
    stage = next(entry for entry in study.declare() if isinstance(entry, RegistryStage))
    found = stage.foreseen(relaxed, study.setup)
    model = stage._search(relaxed).model
    standard_shifts = [standard_shift(model, registry.shift) for registry in found.registries]
    chosen = sorted(range(len(standard_shifts)), key=lambda n: np.round(standard_shifts[n], 3).tolist())[place]
    found.registries = [found.registries[chosen]]
    found.registries[0].gap_angstrom, found.registries[0].stationary = gap_angstrom, True
    exact = [with_its_symmetry(given, own) for given, own in zip(unrelaxed, relaxed, strict=True)]
    built, _ = build_host(exact, path, study.cell, 12.0, found)
    standard = standard_contact(unrelaxed, built, path, study.cell, found)
    assert standard is not None
    return sorted(standard_shifts), hop_cells_of(built, built, path, study.cell, standard)


@pytest.mark.parametrize("place", [0, 3])
def test_two_engines_name_the_same_hops_across_a_contact(tmp_path, place):
    """Lengths, gaps and the last digits of crystals differ between engines; what a hop is called does not."""
    path = {key: value for key, value in INTERFACE.items() if key != "shortest"} | {"landscape": 3}
    study = load_study(write(tmp_path, paths=[path], cell={"min_thickness_angstrom": 6}))
    (shifts, hops), (also_shifts, same_hops) = (
        crossings(study, scale, seed, gap, place) for scale, seed, gap in ((0.997, 1, 2.1), (1.002, 2, 2.6))
    )
    assert np.allclose(shifts, also_shifts, atol=1e-4)
    assert [(hop.hop.label, hop.place) for hop in hops] == [(hop.hop.label, hop.place) for hop in same_hops]
    assert len({hop.place for hop in hops}) == len(hops) == 3
    assert hops[0].place.startswith("plane 1 of the film to plane 1 of the substrate")
    for hop, same in zip(hops, same_hops, strict=True):
        assert hop.hop.distance_angstrom == same.hop.distance_angstrom  # in the contact that nobody relaxed
        sideways = []
        for ends in (hop, same):
            step = ends.end.cart_coords - ends.start.cart_coords
            mover = np.linalg.norm(step, axis=1).argmax()
            assert ends.start[int(mover)].specie.symbol == "Li"
            sideways.append(step[mover] @ np.linalg.inv(ends.start.lattice.matrix))
        assert np.allclose(sideways[0][:2], sideways[1][:2], atol=1e-5)  # the same atom goes the same way
        assert re.match(r"3 of \d+ inequivalent hops, of \d+ kinds, across the contact as built", hop.notes[0])


def test_a_landscape_names_the_easiest_hop_and_those_without_a_barrier():
    known = {"crystal": "A || B", "mechanism": "interface"}
    hops = [
        MigrationBarrierDoc(**known, hop="film1-substrate1", converged=True, forward_ev=0.4, backward_ev=0.1),
        MigrationBarrierDoc(
            **known, hop="film2-substrate1", converged=True, forward_ev=0.2, backward_ev=0.5, place="x"
        ),
        MigrationBarrierDoc(**known, hop="film2-substrate2", error="no barrier"),
        MigrationBarrierDoc(crystal="C", mechanism="vacancy", hop="Li1-Li1", converged=True, forward_ev=0.0),
    ]
    (landscape,) = landscapes(hops)
    assert landscape.hops == ["film2-substrate1", "film1-substrate1"]
    assert (landscape.easiest, landscape.without) == ("film2-substrate1", ["film2-substrate2"])
    assert "film2-substrate1 0.200 eV in, 0.500 eV back" in landscape.text
    assert "unless one without a barrier is easier" in landscape.text
    assert landscapes(hops[:1]) == []
    (nothing,) = landscapes([hops[2], hops[2].model_copy(update={"hop": "film1-substrate9"})])
    assert nothing.easiest is None
    assert "no hop across it has a barrier" in nothing.text


def test_examples_and_the_paper_can_be_run(examples):
    assert load_study(examples / "migration.yaml").preflight() == []
    paper = load_study(examples.parent / "workflows" / "papers" / "cui2026-migration.yaml")
    assert any("LiAl, a metal, keeps its electron" in note for note in paper.preflight())


@pytest.mark.parametrize("engine", ["vasp", "castep", "qe", "gpaw"])
def test_only_cells_of_insulators_are_charged(tmp_path, engine):
    """A metal in the cell is a reservoir of electrons: with it the cell of a moving Li+ is neutral."""
    paths = [TINY["paths"][0], INTERFACE, {"crystal": "Li2S", "mechanism": "vacancy"},
             {"crystal": "LiCl", "mechanism": "interstitial"}]  # fmt: skip
    changes = {"engine": engine, "card": "pbe-slab", "paths": paths}
    ions = load_study(write(tmp_path, lithium_charge=1, **changes))
    assert [ions.charge_of(path) for path in ions.paths] == [0, 0, -1, 1]
    assert [ions.charge_mode(path).partition(":")[0] for path in ions.paths[:2]] == ["neutral cell"] * 2
    assert ions.hashed_settings()["neutral"] == [path.label for path in ions.paths[:2]]
    neutral = load_study(write(tmp_path, **changes))
    assert [neutral.charge_of(path) for path in neutral.paths] == [0, 0, 0, 0]
    assert "neutral" not in neutral.hashed_settings()


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"paths": ["Al"]}, 2, ["Al holds no Li", "interstitial"]),
        ({"paths": ["LiCI"]}, 2, ["unknown crystal 'LiCI'", "LiCl"]),
        ({"paths": [TINY["paths"][0] | {"hops": ["Li1-Li2"]}]}, 2, ["unknown hop 'Li1-Li2'", "Li1-Li1"]),
        ({"paths": [TINY["paths"][0] | {"sites": ["Li1", "Li7"]}]}, 2, ["unknown site 'Li7'"]),
        ({"paths": [TINY["paths"][0] | {"max_distance_angstrom": 2}]}, 2, ["within 2", "raise"]),
        ({"paths": [{"crystal": "LiCl", "mechanism": "vacancy"}]}, 2, ["3.64 angstrom long", "images", "7.5"]),
        ({"paths": ["Li", "Li"]}, 2, ["given twice"]),
        ({"paths": []}, 2, ["paths"]),
        ({"paths": [{"crystal": "Li", "mechanism": "vacancies"}]}, 2, ["mechanism"]),
        ({"paths": [{"crystal": "Li", "mechanism": "surface"}]}, 2, ["miller"]),
        ({"paths": [{"mechanism": "vacancy"}]}, 2, ["crystal"]),
        ({"paths": [{"mechanism": "interface", "film": {"crystal": "Li"}}]}, 2, ["substrate"]),
        ({"paths": [INTERFACE | {"landscape": 2}]}, 2, ["give one of hops, shortest and landscape"]),
        ({"paths": [TINY["paths"][0] | {"landscape": 2}]}, 2, ["landscape belongs to mechanism interface"]),
        ({"paths": [INTERFACE | {"film": {"crystal": "Al", "miller": [1, 0, 0], "layers": 4},
                                 "substrate": {"crystal": "Li2S", "miller": [1, 0, 0], "layers": 6}}]},
         2, ["the film of the interface holds no Li"]),
        ({"images": 0}, 2, ["images"]),
        ({"lithium_charge": 1, "paths": [TINY["paths"][0], {"crystal": "Li2S", "mechanism": "vacancy"}]},
         3, ["cannot hold a charge", "charged: neutral"]),
        ({"cell": {"min_image_distance_angstrom": 30}}, 2, ["max_atoms"]),
    ],
)  # fmt: skip
def test_refused_before_anything_runs(tmp_path, command, monkeypatch, changes, status, words):
    monkeypatch.chdir(tmp_path)
    found, out, err = command("run", write(tmp_path, **changes))
    assert found == status
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "anodeflow.sqlite").exists()


# --- documents without numbers --------------------------------------------------------------------

ENGINE = EngineRecord(name="chgnet", kind="machine-learning potential", version="chgnet 0.4.2", hash="a" * 16)
CARD = load_card("embedded")


def band_doc(**changes):
    coords = np.zeros((5, 1, 3))
    coords[:, 0, 0] = np.linspace(0, 3, 5)
    forces = np.zeros((5, 1, 3))
    forces[:, 0, 0] = [0, -0.2, 0, 0.2, 0]
    known = {
        "fingerprint": "b", "label": "hop/band", "engine": ENGINE, "card": CardRecord(name="embedded", hash=CARD.hash),
        "converged": True, "energies_ev": [0, 0.1, 0.2, 0.1, 0], "images": 3, "climbing_image": 2,
        "residuals_ev_per_angstrom": [0.01] * 3,
        "arrays": {"coords_angstrom": coords, "forces_ev_per_angstrom": forces},
    }  # fmt: skip
    return BandDoc(**(known | changes))


FACTS = {"crystal": "Li", "mechanism": "vacancy", "hop": "Li1-Li1"}


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (None, "not computed"),
        (band_doc(converged=False, error="band not relaxed after 250 steps: force 0.2"), "not relaxed after 250"),
        (band_doc(converged=False, error="step 4: the band has slid"), "slid"),
        (band_doc(arrays=None), "did not converge"),
        (band_doc(energies_ev=[0, 0.1, float("nan"), 0.1, 0]), "finite"),
        (band_doc(energies_ev=[0, -0.1, -0.2, -0.1, 0], climbing_image=None), "no saddle"),
        (band_doc(energies_ev=[0, 0.1, 0.2, -0.1, 0.05]), "below one of its ends"),
    ],
)
def test_what_is_not_converged_has_no_number(band, words):
    doc = barrier_doc(band, None, None, facts=FACTS, rests_on={}, caveats=["caveat"])
    assert words in doc.error
    assert not doc.converged
    assert (doc.forward_ev, doc.backward_ev, doc.uncertainty_ev) == (None, None, None)
    study = MigrationStudyDoc(
        study="migration", study_hash="0" * 16, title="", engine=ENGINE,
        card=CardRecord(name="e", hash="h"), barriers=[doc],
    )  # fmt: skip
    assert not study.complete
    with pytest.raises(InputError, match="no hop of this study has a barrier"):
        migration_figure(study)


def test_ends_of_another_engine_or_unequal_equivalents_are_told():
    start = SimpleNamespace(
        fingerprint="s", label="start", engine=ENGINE.model_copy(update={"hash": "c" * 16}),
        card=CardRecord(name="embedded", hash=CARD.hash), charge=0, converged_energy_ev=lambda: 0.0,
    )  # fmt: skip
    doc = barrier_doc(band_doc(), start, None, facts=FACTS, rests_on={}, caveats=[])
    assert "differ in engine" in doc.error
    assert doc.forward_ev is None
    tilted = band_doc(energies_ev=[0, 0.1, 0.2, 0.12, 0.03])
    doc = barrier_doc(tilted, None, None, facts=FACTS | {"symmetric": True}, rests_on={}, caveats=[])
    assert doc.converged
    assert any("equivalent but differ by 0.030" in warning for warning in doc.warnings)


def test_a_band_without_sound_ends_says_why(tmp_path):
    store = open_job_store(tmp_path / "s.sqlite")
    settings = CARD.model_dump(mode="json")
    job = band_job(None, None, {}, settings, "chgnet", "hop/band")
    assert "an end point was not computed" in job.run(store).output.error
    from anodeflow.structures.catalogue import load_crystal

    done = CalculationMaker(task="static", card=settings, engine="chgnet").make(load_crystal("Li"), "Li")
    end: CalculationDoc = done.run(store).output
    output = band_job(end, end, {}, settings, "chgnet", "hop/band").run(store).output
    assert not output.converged
    assert "identical" in output.error
    lost = end.model_copy(update={"converged": False, "error": "not relaxed after 2 steps"})
    output = band_job(lost, end, {}, settings, "chgnet", "hop/band").run(store).output
    assert "not relaxed after 2 steps" in output.error


# --- stopping and going on ------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_band(finished, anodeflow, tmp_path):
    write(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "anodeflow", "run", "study.yaml", "--workers", "1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    kept = []
    while time.monotonic() < deadline and process.poll() is None:
        kept = list(tmp_path.glob("anodeflow-runs/*/band.json"))
        if kept and json.loads(kept[0].read_text())["step"] >= 4:
            break
        time.sleep(0.02)
    assert kept, "the band never began"
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    for pid in [process.pid, *(int(p) for p in listed.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    again = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    barrier = json.loads(again.stdout)["barriers"][0]
    assert any("continued at step" in warning for warning in barrier["warnings"])
    assert barrier["forward_ev"] == pytest.approx(finished[1]["barriers"][0]["forward_ev"], abs=3e-3)
    assert not list(tmp_path.glob("anodeflow-runs/*/band.json"))


@pytest.mark.slow
def test_an_unconverged_band_is_no_number_and_goes_on_with_more_steps(finished, anodeflow, command, tmp_path):
    card = CARD.model_dump(mode="json", exclude_none=True) | {"name": "short", "max_steps": 6}
    write_yaml(tmp_path, card, "short.yaml")
    write(tmp_path, card="short.yaml")
    done = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    barrier = json.loads(done.stdout)["barriers"][0]
    assert barrier["forward_ev"] is None
    assert "not relaxed after 6 steps" in barrier["error"]
    assert "0 calculations computed" in command("run", "study.yaml", cwd=tmp_path)[2]
    write_yaml(tmp_path, card | {"max_steps": 250}, "short.yaml")
    more = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    barrier = json.loads(more.stdout)["barriers"][0]
    assert barrier["forward_ev"] == pytest.approx(finished[1]["barriers"][0]["forward_ev"], abs=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "low", "high"), [("Li", 10, 0.03, 0.12), ("LiCl", 7.5, 0.42, 0.56)])
def test_barriers_of_metal_and_salt(anodeflow, tmp_path, name, size, low, high):
    """A factor of two around what CHGNet gives in larger cells; first-principles values lie in the same ranges."""
    study = write(
        tmp_path,
        paths=[{"crystal": name, "mechanism": "vacancy", "max_distance_angstrom": 3.2 if name == "Li" else 4.0}],
        cell={"min_image_distance_angstrom": size},
        images=None,
    )
    done = anodeflow("run", study, "--json", cwd=tmp_path, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert low < json.loads(done.stdout)["barriers"][0]["forward_ev"] < high


def test_a_band_starts_from_another_engines_band(tmp_path, monkeypatch):
    """Same barrier, fewer steps; the document says whose band it was."""
    from anodeflow.structures.catalogue import load_crystal
    from anodeflow.structures.migration import lithium_hops
    from anodeflow.structures.migration_paths import hop_cells

    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    settings = CARD.model_dump(mode="json")
    host = load_crystal("Li")
    hop = lithium_hops(host, "vacancy", max_distance_angstrom=3.2)[0]
    cells = hop_cells(host, hop, np.diag([2, 2, 2]))
    maker = CalculationMaker(task="relax", card=settings, engine="chgnet")
    start = maker.make(cells[0], "Li/vacancy").run(open_job_store(tmp_path / "ends.sqlite")).output

    def band(number, **more):
        options = {"images": 3, "mirror": list(cells)} | more
        store = open_job_store(tmp_path / f"{number}.sqlite")  # each its own, or the second finds the first
        return band_job(start, None, options, settings, "chgnet", f"hop {number}/band").run(store).output

    cold, warm = band(0), band(1, warm_start="chgnet")
    with pytest.raises(InputError, match="nobody"):
        band(2, warm_start="nobody")
    assert cold.converged
    assert warm.converged
    assert warm.fingerprint == cold.fingerprint
    assert cold.warm_start is None
    assert warm.warm_start.name == "chgnet"
    assert warm.steps == 0  # the same engine has nothing left to do
    assert cold.steps > 2
    assert max(warm.energies_ev) == pytest.approx(max(cold.energies_ev), abs=2e-3)
