"""The CASTEP engine on a stand-in program: runs, faults, restarts, a whole study. No number here is one of CASTEP's."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from factories import write_yaml
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError
from anodeflow.workflows.cards import KPoints, load_card
from anodeflow.workflows.engines.castep.calculation import Watch
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.monitor import StopRequested

STAND_IN = Path(__file__).parent.parent / "stand_ins" / "castep_stand_in.py"
CARD = load_card("cui2026-binding").model_copy(
    update={"kpoints": KPoints(mesh=(3, 3, 3)), "spin": "none", "max_steps": 40}
)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump({
            "castep": {"command": [sys.executable, str(STAND_IN)], "stand_in": True}, "runs": str(tmp_path / "runs")
        })
    )  # fmt: skip
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(settings))
    get_engine.cache_clear()


def crystal(seed=1):
    """Al with one Li, species mixed in order, atoms displaced."""
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.02), ["Al"], [[0, 0, 0]])
    cell.replace(1, "Li")
    moves = np.random.default_rng(seed).normal(0, 0.04, (4, 3))
    for i, move in enumerate(moves):
        cell.translate_sites([i], move, frac_coords=False, to_unit_cell=False)
    return cell


def run(folder, task="relax", structure=None, card=CARD, monitor=None):
    folder.mkdir(exist_ok=True)
    return get_engine("castep").compute(Request(structure or crystal(), task, card), folder, monitor)


def test_relaxation_with_a_live_monitor(tmp_path):
    steps = []
    result = run(tmp_path / "a", monitor=lambda *step: steps.append(step))
    assert result.converged
    assert [s[0] for s in steps] == list(range(result.ionic_steps + 1))
    assert steps[-1][1] == pytest.approx(result.energy_ev, abs=1e-9)
    assert steps[-1][2] == pytest.approx(result.max_force_ev_per_angstrom, abs=1e-9)
    assert result.energy_ev < steps[0][1]
    # our order of atoms, though CASTEP's file groups them by species
    assert [s.specie.symbol for s in result.structure] == ["Al", "Li", "Al", "Al"]
    moved = result.structure.cart_coords - crystal().cart_coords
    assert np.abs(moved).max() < 0.3
    record = get_engine("castep").record(["Al", "Li"])
    assert record.version == "CASTEP 99.9"
    assert record.stand_in


def test_frozen_atoms_stay(tmp_path):
    held = crystal()
    held.add_site_property("selective_dynamics", [[True] * 3, [False] * 3, [True] * 3, [True] * 3])
    result = run(tmp_path / "a", structure=held)
    assert result.converged
    assert result.structure.frac_coords[1] == pytest.approx(held.frac_coords[1], abs=1e-12)
    assert result.structure.site_properties["selective_dynamics"] == held.site_properties["selective_dynamics"]


def test_cell_relaxation_takes_the_energy_at_the_cutoff(tmp_path):
    result = run(tmp_path / "a", "relax_cell", crystal(2))
    assert result.converged
    assert result.max_stress_gpa <= CARD.stress_tolerance_gpa
    assert result.structure.volume != pytest.approx(crystal(2).volume, abs=1e-3)
    # the stand-in prints energies 1.0 and 0.5 eV higher for the two lower cutoffs before
    assert np.ptp(result.arrays["energies_ev"]) < 0.4


@pytest.mark.parametrize(("fault", "said"), [
    ("licence", "no licence here: castep.0001.err: Error in licence check"),
    ("nan", "the energy at 0 K is NaN"),
    ("stars", "no number"),
])  # fmt: skip
def test_failures_are_one_line(tmp_path, monkeypatch, fault, said):
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", fault)
    with pytest.raises(EngineError) as caught:
        run(tmp_path / "a", "static")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_electrons_not_converged(tmp_path, monkeypatch):
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", "scf")
    result = run(tmp_path / "a", "static")
    assert result.electronic_converged is False
    assert not result.converged


def test_not_relaxed_in_the_steps_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", "noconv")
    result = run(tmp_path / "a")
    assert result.ionic_converged is False
    assert "not relaxed after 0 steps: |F|max" in result.error


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    folder, whole = tmp_path / "a", run(tmp_path / "whole")
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", "cut")
    first = run(folder)
    assert not first.converged
    assert first.ionic_steps == 1
    assert "ends after 1 steps" in first.error
    second = run(folder)
    assert second.converged
    assert "continued at step 1" in " ".join(second.warnings)
    assert second.ionic_steps > 1
    assert (folder / "attempt-1" / "castep.castep").is_file()
    assert second.energy_ev == pytest.approx(whole.energy_ev, abs=2e-3)
    # a finished folder is read, not computed again
    stamp = (folder / "castep.castep").stat().st_mtime_ns
    third = run(folder)
    assert third.energy_ev == second.energy_ev
    assert (folder / "castep.castep").stat().st_mtime_ns == stamp
    # and a folder of other settings is put aside
    other = run(folder, card=CARD.model_copy(update={"cutoff_ev": 400.0, "max_steps": 1}))
    assert any("put aside" in w and "cut-off" in w for w in other.warnings)


def test_a_stop_ends_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", "slow")

    def stop(step, _energy, _force):
        if step == 1:
            raise StopRequested

    start = time.monotonic()
    with pytest.raises(StopRequested):
        run(tmp_path / "a", monitor=stop)
    assert time.monotonic() - start < 60
    size = (tmp_path / "a" / "castep.castep").stat().st_size
    time.sleep(1.2)
    assert (tmp_path / "a" / "castep.castep").stat().st_size == size


def test_a_folder_with_a_damaged_file_is_started_anew(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "castep.castep").write_bytes(b"\x00\xff nothing\n" * 20)
    result = run(folder, "static")
    assert result.converged
    assert any("put aside" in w for w in result.warnings)


def test_watching_a_file_that_grows_by_pieces(tmp_path):
    """Half lines, and a file that makes no sense, disturb nobody."""
    text = (Path(__file__).parent.parent / "data" / "castep" / "O2-geom-spin.castep").read_bytes()
    file, steps = tmp_path / "x.castep", []
    watch = Watch(file, lambda *step: steps.append(step))
    watch.look()
    for end in range(0, len(text) + 997, 997):
        file.write_bytes(text[:end])
        watch.look()
    assert [s[0] for s in steps] == [0, 1, 2, 3, 4]
    assert steps[-1][1] == pytest.approx(-862.8538597439)
    file.write_bytes(text + b"Final energy, E             =  *****     eV\n")
    watch.look()
    assert len(steps) == 5


@pytest.mark.slow
def test_a_binding_study_on_the_stand_in(tmp_path, anodeflow):
    study = {
        "study": "binding-energy", "title": "stand-in", "engine": "castep", "card": "card.yaml",
        "hosts": ["Al"], "environments": ["bulk"], "anodes": [], "interphases": [],
        "references": ["neutral_atom"], "bulk": {"min_image_distance_angstrom": 4.0}, "states": ["interstitial"],
    }  # fmt: skip
    card = load_card("cui2026-binding").model_dump(mode="json", exclude_none=True)
    card |= {"name": "coarse", "kpoints": {"spacing_per_angstrom": 0.2}, "force_tolerance_ev_per_angstrom": 0.1}
    write_yaml(tmp_path, card, "card.yaml")
    write_yaml(tmp_path, study)
    done = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["engine"]["stand_in"]
    assert document["engine"]["kind"] == "stand-in for CASTEP: not DFT"
    energies = [s["binding_energy_ev"]["neutral_atom"] for h in document["hosts"] for s in h["sites"]]
    assert energies
    assert all(np.isfinite(e) for e in energies)


def study_folder(tmp_path, study, **changes):
    """A study on fcc lithium, which the stand-in takes for aluminium, with a coarse card."""
    fields = {"name": "coarse", "kpoints": {"spacing_per_angstrom": 0.2}, "spin": "none"}
    card = load_card("cui2026-binding").model_dump(mode="json", exclude_none=True) | fields | changes
    write_yaml(tmp_path, card, "card.yaml")
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.0), ["Li"], [[0, 0, 0]])
    cell.to(str(tmp_path / "Li.cif"))
    write_yaml(tmp_path, study | {"engine": "castep", "card": "card.yaml"})


MIGRATION = {
    "study": "migration", "paths": [{"crystal": "Li.cif", "mechanism": "vacancy", "hops": ["Li1-Li1"]}], "images": 3,
    "cell": {"min_image_distance_angstrom": 6},
}  # fmt: skip
DYNAMICS = {
    "study": "molecular-dynamics", "systems": [{"structure": "Li.cif", "supercell": [2, 1, 1]}], "ensemble": "nve",
    "timestep_fs": 2.0, "duration_ps": 0.04, "segment_ps": 0.02, "sample_every": 2, "prerelax": False,
    "temperature_k": 300, "analysis": {"pairs": ["Li-Li"], "r_max_angstrom": 4},
}  # fmt: skip


@pytest.mark.slow
def test_a_band_on_the_stand_in(tmp_path, anodeflow):
    study_folder(tmp_path, MIGRATION)
    done = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["engine"]["stand_in"]
    barrier = document["barriers"][0]
    assert barrier["converged"], barrier["error"]
    assert barrier["forward_ev"] == pytest.approx(barrier["backward_ev"], abs=5e-3)
    assert barrier["forward_ev"] > 0.05
    points = next((tmp_path / "runs").glob("*band*")) / "points"
    assert sorted(f.name for f in points.iterdir()) == ["00", "01", "02", "03", "04"]
    assert all(len(list(image.iterdir())) == 1 for image in points.iterdir())
    assert not list(points.rglob("*.check"))
    settings = (next((points / "02").iterdir()) / "castep.param").read_text()
    assert "before.check" in settings  # started from the electrons of the geometry before


@pytest.mark.slow
def test_dynamics_on_the_stand_in(tmp_path, anodeflow):
    study_folder(tmp_path, DYNAMICS)
    done = anodeflow("run", "study.yaml", "--json", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["engine"]["stand_in"]
    replica = document["systems"][0]["replicas"][0]
    assert replica["time_ps"] == pytest.approx([0.004 * n for n in range(11)])
    assert abs(replica["checks"]["energy_drift_ev_per_atom_ps"]) < 0.02
    assert not list((tmp_path / "runs").rglob("*.check"))


def test_electrons_that_fail_in_a_band_give_no_energies(tmp_path, monkeypatch):
    monkeypatch.setenv("CASTEP_STAND_IN_FAULT", "later")
    images = [crystal(seed) for seed in (1, 1, 1)]
    images[1].translate_sites([0], [0.1, 0, 0], frac_coords=False, to_unit_cell=False)
    images[2].translate_sites([0], [0.2, 0, 0], frac_coords=False, to_unit_cell=False)
    band = get_engine("castep").neb(images, CARD, directory=tmp_path / "band")
    assert band.electronic_converged is False
    assert not band.converged
    assert band.energies_ev == []
    assert "points/01/000002" in band.error
    assert "electrons not converged in 200 cycles" in band.error


def test_one_geometry_has_settings_of_the_first_and_no_symmetry(tmp_path):
    """The first geometry decides spin and mesh; the electrons are converged as forces need it."""
    engine, ideal = get_engine("castep"), Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.0), ["Al"], [[0, 0, 0]])
    engine.write_point_inputs(ideal, CARD, 0, tmp_path, like=ideal)
    cell, param = (tmp_path / "castep.cell").read_text(), (tmp_path / "castep.param").read_text()
    assert "SYMMETRY" not in cell
    values = {a.strip(): b.strip() for a, b in (x.split(":") for x in param.splitlines() if ":" in x)}
    assert values["task"] == "SinglePoint"
    assert values["elec_energy_tol"] == "1e-07 eV"
    assert values["write_checkpoint"] == "all"
    assert "reuse" not in values
