"""Molecular dynamics that VASP runs, played by a stand-in: numbers, segments, kills, and what is no dynamics."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from needs import needs_linux
from pymatgen.core import Structure

from anodeflow.analysis.trajectories.compact import CompactTrajectory
from anodeflow.analysis.trajectories.joined import join_trajectories
from anodeflow.analysis.trajectories.opening import open_trajectory
from anodeflow.analysis.trajectories.vasprun import GrowingVasprun
from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import Dynamics, load_card
from anodeflow.workflows.engines.motion.dynamics import initial_state, kinetic_temperature_k
from anodeflow.workflows.engines.vasp import dynamics as vasp_dynamics
from anodeflow.workflows.engines.vasp.dynamics import CONTCAR, CONTINUED, Contcar
from anodeflow.workflows.jobs.checkpoint import load_checkpoint
from anodeflow.workflows.jobs.recognised import recognised_of
from anodeflow.workflows.jobs.segment import DynamicsRun, dynamics_segment

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from vasp_setup import environment, kill_with_children, use_stand_in

CARD = load_card("pbe-slab").varied("test", kpoints={"mesh": (1, 1, 1)}, spin="none").model_dump(mode="json")
STEPS, EVERY = 20, 5


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    use_stand_in(monkeypatch, tmp_path)
    monkeypatch.setattr(vasp_dynamics, "CHECKPOINT_S", 0.0)


def settings(ensemble="nve", **changes):
    moving = Dynamics(ensemble=ensemble, timestep_fs=1.0, duration_ps=1, temperature_k=300, **changes)
    fields = {"dynamics": moving, "seed": 1, "equilibration_steps": 0, "sample_every": EVERY, "checkpoint_every": 10}
    return DynamicsRun(**fields).model_dump(mode="json")


def segment(*arguments):
    return recognised_of(dynamics_segment(*arguments)).result(None)


def salt():
    """LiCl with its species mixed: Li and Cl by turns."""
    cell = load_crystal("LiCl")
    kinds = {e: [site for site in cell if site.specie.symbol == e] for e in ("Li", "Cl")}
    return Structure.from_sites([site for pair in zip(kinds["Li"], kinds["Cl"], strict=True) for site in pair])


def chain(number=2, run=None, steps=STEPS):
    docs = []
    for k in range(number):
        docs.append(
            segment(
                None if docs else salt(), docs[-1] if docs else None, run or settings(), CARD, "vasp",
                f"test/segment {k + 1}", k * steps, (k + 1) * steps,
            )
        )  # fmt: skip
    return docs


def joined(docs):
    return list(join_trajectories([CompactTrajectory(Path(d.directory) / d.trajectory) for d in docs], strict=True))


def leapfrog(start, run, steps):
    """Positions of all steps, by hand: unwrapped, angstrom."""
    from vasp_stand_in import morse

    state = initial_state(start.to_ase_atoms(msonable=False), 300, run["seed"], 0)
    masses = state.atoms().get_masses()[:, None]
    velocities = state.momenta / masses / 10.180505710774743  # ASE's unit of time, fs
    cell, places, symbols = state.cell, [state.positions], [str(s) for s in state.atoms().symbols]
    for _ in range(steps):
        forces = morse(symbols, places[-1] @ np.linalg.inv(cell), cell)[1]
        velocities = velocities + forces / masses * 0.0096485332
        places.append(places[-1] + velocities)
    return places


def test_the_frames_are_newtons_and_every_step_is_there_once():
    docs = chain()
    frames = joined(docs)
    assert [f.step for f in frames] == list(range(0, 2 * STEPS + 1, EVERY))
    expected = leapfrog(salt(), settings(), 2 * STEPS)
    for frame in frames:
        assert [str(s) for s in frame.species] == [site.specie.symbol for site in salt()]
        assert frame.positions == pytest.approx(expected[frame.step], abs=1e-5)  # the format rounds so
    total = np.concatenate([d.arrays["potential_ev"] + d.arrays["kinetic_ev"] for d in docs])
    assert np.ptp(total) < 2e-3 * 8
    assert np.concatenate([d.arrays["conserved_ev"] for d in docs]) == pytest.approx(total)
    # the seed's velocities: POSCAR has them in angstrom/fs
    drawn = initial_state(salt().to_ase_atoms(msonable=False), 300, 1, 0).atoms().get_kinetic_energy()
    assert docs[0].arrays["kinetic_ev"][0] == pytest.approx(drawn, rel=0.02)
    assert docs[1].mean_temperature_k == pytest.approx(
        kinetic_temperature_k(docs[1].arrays["kinetic_ev"].mean(), 8), rel=1e-9
    )
    assert docs[1].warnings[0] == CONTINUED
    # no energy was computed twice: a segment starts from the CONTCAR of the one before
    made = [open_trajectory(Path(d.directory) / "vasprun.xml") for d in docs]
    assert [sum(1 for _ in one) for one in made] == [STEPS + 1, STEPS]
    begun = (Path(docs[1].directory) / "POSCAR").read_text()
    assert begun == (Path(docs[0].directory) / "CONTCAR").read_text()
    end = load_checkpoint(Path(docs[1].directory) / docs[1].checkpoint)
    assert end.state.step == 2 * STEPS
    assert end.state.positions == pytest.approx(expected[-1], abs=2e-6)
    assert bytes(end.state.thermostat[CONTCAR]).decode() == (Path(docs[1].directory) / "CONTCAR").read_text()
    assert docs[0].engine.stand_in


@pytest.mark.parametrize("thermostat", ["nose-hoover", "langevin"])
def test_thermostats(thermostat):
    run = settings("nvt", thermostat=thermostat, **({"friction_per_ps": 5.0} if thermostat == "langevin" else {}))
    docs = chain(2, run, steps=40)
    tags = (Path(docs[0].directory) / "INCAR").read_text()
    if thermostat == "langevin":
        assert "LANGEVIN_GAMMA = 5.0 5.0" in tags
        assert docs[0].drift_mev_per_atom_per_ps is None
        assert np.isnan(docs[0].arrays["conserved_ev"]).all()
        assert any("no drift" in note for note in docs[0].warnings)
        seeds = [(Path(d.directory) / "INCAR").read_text().split("RANDOM_SEED = ")[1].split()[0] for d in docs]
        assert len(set(seeds)) == 2
    else:
        conserved = np.concatenate([d.arrays["conserved_ev"] for d in docs])
        total = np.concatenate([d.arrays["potential_ev"] + d.arrays["kinetic_ev"] for d in docs])
        assert np.ptp(conserved) < 0.2 * np.ptp(total)
        assert docs[0].drift_mev_per_atom_per_ps is not None


def test_equilibration_is_langevins_and_its_lines_do_not_reach_another_thermostat():
    run = settings("nvt", thermostat="nose-hoover") | {"equilibration_steps": 10}
    first = segment(salt(), None, run, CARD, "vasp", "test/equilibration", -10, 0)
    assert "MDALGO = 3" in (Path(first.directory) / "INCAR").read_text()
    second = segment(None, first, run, CARD, "vasp", "test/segment 1", 0, 10)
    assert "MDALGO = 2" in (Path(second.directory) / "INCAR").read_text()
    begun, left = ((Path(d.directory) / n).read_text() for d, n in ((second, "POSCAR"), (first, "CONTCAR")))
    assert left.startswith(begun)
    assert len(begun.splitlines()) == len(left.splitlines()) - 4
    assert [f.step for f in joined([first, second])] == [-10, -5, 0, 5, 10]


def test_a_crash_goes_on_from_the_step_before_it(monkeypatch):
    whole = joined(chain(1))
    monkeypatch.setenv("ANODEFLOW_RUNS", str(Path(os.environ["ANODEFLOW_SETTINGS"]).parent / "crashed"))
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "crash@13")
    with pytest.raises(EngineError, match=r"ended at step 11 of 20.*std_err\.txt:1: forrtl") as caught:
        chain(1)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("VASP_STAND_IN_FAULT")
    docs = chain(1)
    assert docs[0].warnings[0] == CONTINUED
    frames = joined(docs)
    assert [f.step for f in frames] == [f.step for f in whole]
    for one, other in zip(frames, whole, strict=True):
        assert one.positions == pytest.approx(other.positions, abs=1.1e-5)
        assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-5)
    assert (Path(docs[0].directory) / "attempt-1" / "OUTCAR").is_file()


def test_a_stop_is_followed_and_nothing_is_lost(monkeypatch):
    monkeypatch.setenv("VASP_STAND_IN_DELAY", "0.15")

    def stop(label, step, energy, force):
        if step >= 6:
            raise monitor.StopRequested

    monitor.listen(stop)
    try:
        with pytest.raises(monitor.StopRequested):
            chain(1)
    finally:
        monitor.listen(None)
    folder = next(Path(os.environ["ANODEFLOW_SETTINGS"]).parent.glob("runs/[!.]*"))
    assert "soft stop encountered" in (folder / "OUTCAR").read_text()
    monkeypatch.delenv("VASP_STAND_IN_DELAY")
    docs = chain(1)
    assert [f.step for f in joined(docs)] == [0, 5, 10, 15, 20]
    assert any("continued at step" in note for note in docs[0].warnings)


def test_numbers_that_are_none_and_explosions_stop_it(monkeypatch):
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "nan@4")
    with pytest.raises(Exception, match=r"vasprun\.xml, line \d+: e_fr_energy is '\*+', no finite number") as caught:
        chain(1)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("VASP_STAND_IN_FAULT")
    monkeypatch.setattr(vasp_dynamics, "EXPLODED_KELVIN", -1400.0)
    monkeypatch.setattr(vasp_dynamics, "EXPLODED_TIMES", 0.0)
    with pytest.raises(ConvergenceError, match=r"exploded at step \d+: the cell has \d+ K"):
        chain(1)


def test_a_stand_in_is_not_taken_for_vasp(tmp_path, monkeypatch):
    for name, value in environment(tmp_path, stand_in=False).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match="written by 'vasp-stand-in', not by VASP"):
        chain(1)


def test_a_growing_vasprun_gives_whole_steps_only(tmp_path):
    docs = chain(1)
    file = Path(docs[0].directory) / "vasprun.xml"
    text, growing, found = file.read_bytes(), tmp_path / "growing.xml", []
    tail = GrowingVasprun(growing)
    for end in np.linspace(0, len(text), 31).astype(int):
        growing.write_bytes(text[:end])
        found += tail.read()
    whole = list(open_trajectory(file))
    assert len(found) == len(whole) == STEPS + 1
    for (frame, energies), expected in zip(found, whole, strict=True):
        assert frame.positions == pytest.approx(expected.positions)
        assert frame.step == expected.step
        assert energies["total"] == pytest.approx(energies["e_fr_energy"] + energies["kinetic"], abs=1e-7)


def test_contcars_that_are_not_whole_are_no_checkpoint():
    docs = chain(1)
    text = (Path(docs[0].directory) / "CONTCAR").read_text()
    found = Contcar.parsed(text, 8)
    assert np.abs(found.velocities).max() < 0.05
    end = "\n".join(text.splitlines()[: found.end_of_velocities]) + "\n"
    assert Contcar.parsed(end, 8) is not None
    for length in (0, 50, len(end) // 2, len(end) - 3):
        assert Contcar.parsed(end[:length], 8) is None
    assert Contcar.parsed(text, 7) is None
    lattice = text.splitlines()
    lattice[9 + 8 : 9 + 8] = ["Lattice velocities and vectors", "  1", *["0 0 0"] * 6]
    assert Contcar.parsed("\n".join(lattice) + "\n", 8).velocities == pytest.approx(found.velocities)


@pytest.mark.slow
@needs_linux
def test_killed_at_random_moments_nothing_is_lost_or_doubled(monkeypatch):
    whole = joined(chain(2))
    runs = Path(os.environ["ANODEFLOW_SETTINGS"]).parent / "killed"
    monkeypatch.setenv("ANODEFLOW_RUNS", str(runs))
    monkeypatch.setenv("VASP_STAND_IN_DELAY", "0.1")
    rng, deadline = np.random.default_rng(3), time.monotonic() + 240
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                chain(2)
            finally:
                os._exit(0)
        written = {(f, f.stat().st_mtime_ns) for f in runs.glob("*/checkpoint.npz")}
        while written == {(f, f.stat().st_mtime_ns) for f in runs.glob("*/checkpoint.npz")}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1.0))
        kill_with_children(child, deadline)
    monkeypatch.delenv("VASP_STAND_IN_DELAY")
    docs = chain(2)
    frames = joined(docs)
    assert [f.step for f in frames] == [f.step for f in whole]
    for one, other in zip(frames, whole, strict=True):
        assert one.positions == pytest.approx(other.positions, abs=1.1e-5)
    assert any("continued at step" in note for d in docs for note in d.warnings)
