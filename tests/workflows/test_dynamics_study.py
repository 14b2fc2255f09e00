"""The molecular-dynamics study: what is refused, what a longer duration changes, and a whole run."""

import json

import numpy as np
import pytest
from factories import write_yaml
from jobflow import Flow, JobStore
from jobflow.managers.local import run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure
from springs import Springs, crystal

from anodeflow.analysis.dynamics_study import DynamicsStudyDoc
from anodeflow.analysis.figures.dynamics import dynamics_study_figure
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.potentials import models as potentials
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.dynamics.cells import build

BASE = {
    "study": "molecular-dynamics",
    "engine": "chgnet",
    "systems": [{"crystal": "LiCl"}],
    "duration_ps": 0.4,
    "segment_ps": 0.1,
}


def test_thermostats_left_open_do_not_enter_a_cards_hash():
    card = load_card("lacss2024-aimd")
    assert set(card.dynamics.model_dump(exclude_none=True)) == {
        "ensemble", "timestep_fs", "duration_ps", "temperature_k",
    }  # fmt: skip
    chosen = card.dynamics.model_copy(update={"thermostat": "nose-hoover"})
    assert card.model_copy(update={"dynamics": chosen}).hash != card.hash


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration_ps": None}, ["neither the study nor card 'embedded'", "duration_ps"]),
        ({"temperature_k": -300}, ["temperature_k", "-300", "greater than"]),
        ({"timestep_fs": 20}, ["timestep_fs", "20", "10"]),
        ({"duration_ps": 0.45}, ["0.45", "segment_ps 0.1", "use 0.4"]),
        ({"segment_ps": 0.103, "duration_ps": 0.206}, ["segment_ps", "not a multiple of 10 steps of 2 fs"]),
        ({"duration_ps": 0.4001, "segment_ps": 0.2}, ["duration_ps", "not a multiple of the time step"]),
        ({"seeds": [1, 1]}, ["seeds", "twice"]),
        ({"seeds": [-1]}, ["seeds", "-1", "greater than or equal to 0"]),
        ({"systems": [{"crystal": "LiCl"}, {"crystal": "LiCl"}]}, ["twice"]),
        ({"systems": [{"crystal": "LiCl", "structure": "x.cif"}]}, ["give one of"]),
        ({"systems": [{"film": {"crystal": "Li", "miller": [1, 0, 0]}}]}, ["give one of"]),
        ({"systems": [{"crystal": "LiCI"}]}, ["LiCI", "LiCl"]),
        ({"systems": [{"structure": "overlap.cif"}]}, ["overlap.cif"]),
        ({"thermostat": "berendsen"}, ["thermostat", "langevin"]),
        ({"engine": "qe"}, ["qe"]),
        ({"analysis": {"pairs": ["nonsense"]}}, ["'nonsense' is not a pair"]),
        ({"analysis": {"pairs": ["P-S"]}}, ["P-S", "no system has", "Cl, Li"]),
        ({"systems": [{"structure": "one.cif"}]}, ["a cell of one atom"]),
    ],
)
def test_refused_before_anything_runs(tmp_path, command, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    Structure(Lattice.cubic(4), ["Li", "Cl"], [[0, 0, 0], [0.02, 0, 0]]).to(tmp_path / "overlap.cif")
    Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]]).to(tmp_path / "one.cif")
    data = {key: value for key, value in (BASE | changes).items() if value is not None}
    status, out, err = command("run", write_yaml(tmp_path, data))
    assert status in (2, 3)
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "anodeflow.sqlite").exists()


def test_a_long_timestep_is_noted(tmp_path):
    study = load_study(write_yaml(tmp_path, BASE | {"timestep_fs": 4, "duration_ps": 0.4, "segment_ps": 0.2}))
    assert any("timestep_fs 4 is long for Li" in note for note in study.preflight())


def test_the_study_overrides_the_card_and_segments_tile_the_time(tmp_path):
    study = load_study(
        write_yaml(tmp_path, BASE | {"card": "lacss2024-aimd", "temperature_k": 600, "equilibration_ps": 0.04})
    )
    assert (study.dynamics.temperature_k, study.dynamics.timestep_fs, study.dynamics.duration_ps) == (600, 2, 0.4)
    assert study.segments() == [(-20, 0), (0, 50), (50, 100), (100, 150), (150, 200)]
    run = study.run(1)
    assert run.checkpoint_every == 50
    labels = [c.label for c in study.planned]
    assert labels[-2:] == ["LiCl/seed 1/segment 3", "LiCl/seed 1/segment 4"]
    assert "LiCl/seed 1/equilibration" in labels


def test_the_papers_interfaces_share_the_electrolyte_and_break_no_bond():
    from anodeflow.cli.reproduce import study_of

    study = study_of("lacss2024", "aimd", None, None)
    cells = []
    for system in study.systems:
        structure, model = build(system, {name: study.crystal(name) for name in system.crystals})
        assert model.film.broken_bonds == model.substrate.broken_bonds == 0
        assert 200 <= len(structure) <= 500
        assert 2 <= model.gaps_angstrom[0] <= 2.7
        assert min(model.film.thickness_angstrom, model.substrate.thickness_angstrom) > 8
        assert model.max_strain_percent < 5
        area = np.linalg.norm(np.cross(*structure.lattice.matrix[:2]))
        cells.append((structure.composition["P"] / area, model.substrate.termination))
    # the electrolyte is cut alike and not strained in either
    assert cells[0][0] == pytest.approx(cells[1][0], rel=1e-6)
    assert cells[0][1] == cells[1][1]
    # a relaxed height lets a reactive contact collapse before the dynamics begin
    assert [c.task for c in study.planned if c.label.endswith("/start")] == ["relax", "relax"]
    assert study.seeds == [1, 2, 3]
    assert len(study.segments()) == 11


def finished(study) -> tuple[DynamicsStudyDoc, dict]:
    """The study run by jobflow itself, one job after the other, in this process."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    flow = study.flow()
    assert isinstance(flow, Flow)
    run_locally(flow, store=store, ensure_success=True, log=False)
    docs = {d["output"]["label"]: d["output"] for d in store.query({"output.doc_type": "DynamicsSegmentDoc"})}
    summary = store.query_one({"metadata.label": "summary"}, sort={"completed_at": -1})["output"]
    return DynamicsStudyDoc.model_validate(summary), docs


def test_a_longer_duration_goes_on_where_the_shorter_ended(tmp_path, monkeypatch):
    (tmp_path / "model").write_text("springs")
    crystal("Li").to(tmp_path / "cell.cif")
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    kind = potentials.Potential("ase", None, lambda path, device: Springs(q=8.0), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    data = BASE | {
        "engine": f"springs:{tmp_path}/model",
        "systems": [{"structure": "cell.cif"}],
        "seeds": [1, 2],
        "duration_ps": 0.1,
        "equilibration_ps": 0.02,
        "segment_ps": 0.05,
        "sample_every": 5,
        "analysis": {"pairs": ["Li-Li", "P-S"], "r_max_angstrom": 6},
    }
    short, first = finished(load_study(write_yaml(tmp_path, data)))
    assert short.complete
    system = short.systems[0]
    assert [r.seed for r in system.replicas] == [1, 2]
    for replica in system.replicas:
        assert replica.time_ps == pytest.approx([-0.02 + 0.01 * k for k in range(13)])
        assert replica.first_step == -10
        assert replica.checks.frames == 10
    assert [r.pair for r in system.rdfs] == ["Li-Li"]
    assert system.rdfs[0].before.first_peak_angstrom == pytest.approx(2.8, abs=0.1)
    assert json.dumps(short.model_dump(mode="json"))
    assert len(dynamics_study_figure(short).axes) == 2

    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "runs").glob("*/trajectory.atraj")}
    longer, second = finished(load_study(write_yaml(tmp_path, data | {"duration_ps": 0.15})))
    assert longer.complete
    assert longer.study_hash != short.study_hash
    assert len(second) == len(first) + 2
    for label, doc in first.items():
        assert second[label]["fingerprint"] == doc["fingerprint"]
        assert second[label]["checkpoint_digest"] == doc["checkpoint_digest"]
    assert {f: f.stat().st_mtime_ns for f in files} == files
    assert longer.systems[0].replicas[0].time_ps[:13] == system.replicas[0].time_ps


@pytest.mark.slow
def test_chgnet_survives_a_kill_and_goes_on_bit_for_bit(tmp_path, anodeflow, monkeypatch):
    import os
    import signal
    import subprocess
    import sys
    import time

    data = BASE | {
        "card": "lacss2024-aimd",
        "systems": [{"name": "Li/LPSC", "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": 3},
                     "substrate": {"crystal": "Li6PS5Cl", "miller": [1, 0, 0]}}],
        "duration_ps": 0.08, "segment_ps": 0.04, "sample_every": 2, "relax_crystals": False, "prerelax_max_steps": 5,
    }  # fmt: skip
    digests = {}
    for way in ("whole", "killed"):
        folder = tmp_path / way
        folder.mkdir()
        write_yaml(folder, data)
        if way == "killed":
            child = subprocess.Popen(
                [sys.executable, "-m", "anodeflow", "run", "study.yaml"], cwd=folder, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            deadline = time.monotonic() + 900
            while time.monotonic() < deadline and not list(folder.glob("anodeflow-runs/*/*.atraj")):
                time.sleep(0.05)
            time.sleep(1.0)
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        done = anodeflow("run", "study.yaml", "--json", "--figure", "f.png", cwd=folder, timeout=1800)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        replica = document["systems"][0]["replicas"][0]
        assert len(replica["time_ps"]) == 21
        assert replica["tetrahedra"]["intact_fraction"][0] == 1.0
        digests[way] = replica["tetrahedra"]["mean_coordination"], replica["final_structure"]["sites"][0]["xyz"]
        assert (folder / "f.png").stat().st_size > 20_000
    assert digests["whole"] == digests["killed"]
