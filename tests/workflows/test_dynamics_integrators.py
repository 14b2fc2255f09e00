"""Dynamics: the right ensemble, a conserved quantity that is conserved, continuation bit for bit."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from springs import Springs, atoms

from anodeflow.errors import ConvergenceError
from anodeflow.workflows.cards import Dynamics
from anodeflow.workflows.engines.motion.dynamics import initial_state, kinetic_temperature_k, propagate

N = 27
FREEDOM = 3 * N - 3
ENSEMBLES = [
    {"ensemble": "nvt", "thermostat": "langevin", "friction_per_ps": 10},
    {"ensemble": "nvt", "thermostat": "nose-hoover", "damping_fs": 50},
    {"ensemble": "nve"},
]
names = [e.get("thermostat", "nve") for e in ENSEMBLES]


class Frames:
    def __init__(self):
        self.taken, self.flushed = [], 0

    def append(self, sample):
        self.taken.append(sample)

    def flush(self):
        self.flushed = len(self.taken)


def dynamics(ensemble, timestep=2.0, temperature=300.0) -> Dynamics:
    return Dynamics(timestep_fs=timestep, duration_ps=1, temperature_k=temperature, **ensemble)


def run(wanted, calculator, state, steps, every=1, checkpoint=10**9, save=lambda state: None, start=False):
    frames = Frames()
    end = propagate(
        state,
        calculator,
        wanted,
        last_step=steps,
        sample_every=every,
        checkpoint_every=checkpoint,
        sink=frames,
        save=save,
        include_start=start,
    )
    return frames.taken, end


@pytest.mark.parametrize("ensemble", ENSEMBLES[:2], ids=names[:2])
def test_kinetic_energy_has_the_canonical_mean_and_variance(ensemble):
    wanted = dynamics(ensemble)
    # strongly anharmonic: a Nose-Hoover chain does not mix the modes of a harmonic crystal
    frames, end = run(wanted, Springs(q=300.0), initial_state(atoms(), 300, 1, 0), 6000, every=2)
    kinetic = np.array([f.kinetic_ev for f in frames[250:]])
    kt = units.kB * 300
    assert kinetic.mean() == pytest.approx(FREEDOM / 2 * kt, rel=0.03)
    assert kinetic.var() == pytest.approx(FREEDOM / 2 * kt**2, rel=0.25)
    assert kinetic_temperature_k(FREEDOM / 2 * kt, N) == pytest.approx(300)
    assert np.abs(end.momenta.sum(axis=0)).max() < 1e-9


def test_springs_hold_half_the_energy():
    wanted = dynamics(ENSEMBLES[0])
    frames, _ = run(wanted, Springs(), initial_state(atoms(), 300, 2, 0), 6000, every=2)
    potential = np.array([f.potential_ev for f in frames[250:]])
    assert potential.mean() == pytest.approx(FREEDOM / 2 * units.kB * 300, rel=0.06)


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=names)
def test_the_conserved_quantity_does_not_drift(ensemble):
    frames, _ = run(dynamics(ensemble), Springs(q=8.0), initial_state(atoms(), 600, 3, 0), 2500, every=5)
    times = np.array([f.step for f in frames]) * 2e-3
    conserved = np.array([f.conserved_ev for f in frames])
    total = np.array([f.potential_ev + f.kinetic_ev for f in frames])
    slope = np.polyfit(times, conserved, 1)[0] / N
    assert abs(slope) < 5e-5  # 0.05 meV per atom and ps
    assert conserved.std() / N < 5e-4
    if ensemble["ensemble"] == "nvt":
        assert total.std() > 5 * conserved.std()  # the thermostat does exchange heat


def test_the_error_of_energy_is_of_second_order():
    scatter = {}
    for timestep in (1.0, 2.0):
        state = initial_state(atoms(), 600, 3, 0)
        frames, _ = run(dynamics(ENSEMBLES[2], timestep), Springs(q=8.0), state, int(2000 / timestep))
        scatter[timestep] = np.std([f.conserved_ev for f in frames])
    assert scatter[2.0] / scatter[1.0] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=names)
@pytest.mark.parametrize("history", [False, True], ids=["springs", "neighbour list with a skin"])
def test_every_checkpoint_goes_on_bit_for_bit(ensemble, history):
    solid = bulk("Ar", "fcc", 5.3, cubic=True) if history else atoms()
    wanted = dynamics(ensemble, temperature=80.0)

    def calculator():
        return LennardJones(sigma=3.4, epsilon=0.0104, rc=4.5) if history else Springs(q=8.0)

    saved = []
    whole, end = run(
        wanted, calculator(), initial_state(solid, 160, 5, 0), 60, 3, checkpoint=12, save=saved.append, start=True
    )
    assert [f.step for f in whole] == list(range(0, 61, 3))
    for state in saved[:-1]:
        part, again = run(wanted, calculator(), state, 60, 3, checkpoint=12)
        rest = [f for f in whole if f.step > state.step]
        assert [f.step for f in part] == [f.step for f in rest]
        for one, other in zip(part, rest, strict=True):
            assert np.array_equal(one.positions, other.positions)
            assert (one.potential_ev, one.kinetic_ev, one.conserved_ev) == (
                other.potential_ev,
                other.kinetic_ev,
                other.conserved_ev,
            )
        assert np.array_equal(again.momenta, end.momenta)
        assert again.rng == end.rng


def test_equilibration_is_langevins_and_ends_at_zero():
    wanted = dynamics(ENSEMBLES[2])
    saved = []
    frames, end = run(wanted, Springs(), initial_state(atoms(), 300, 1, -40), 40, 10, checkpoint=20, save=saved.append)
    assert [f.step for f in frames] == [-30, -20, -10, 0, 10, 20, 30, 40]
    assert [s.step for s in saved] == [-20, 0, 20, 40]
    assert set(saved[0].thermostat) == {"heat"}
    assert not saved[1].thermostat
    after = [f.potential_ev + f.kinetic_ev for f in frames if f.step > 0]
    assert np.ptp(after) < 0.02
    assert end.step == 40


def test_seeds_decide_the_trajectory():
    ends = [run(dynamics(ENSEMBLES[0]), Springs(), initial_state(atoms(), 300, s, 0), 20)[1] for s in (1, 1, 2)]
    assert np.array_equal(ends[0].positions, ends[1].positions)
    assert not np.allclose(ends[0].positions, ends[2].positions, atol=1e-3)


class Faulty(Springs):
    def __init__(self, after, forces=None, fails=False):
        super().__init__()
        self.after, self.wrong, self.fails, self.calls = after, forces, fails, 0

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        self.calls += 1
        if self.calls > self.after:
            if self.fails:
                raise RuntimeError("no neighbours")
            self.results["forces"][7] = self.wrong


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.nan, ["step 6", "atom 8 (Al)", "force"]),
        (1e4, ["step 6", "atom 8 (Al)", "eV/angstrom"]),
    ],
)
def test_an_explosion_names_step_and_atom(wrong, words):
    state = initial_state(atoms(), 300, 1, 0)
    with pytest.raises(ConvergenceError) as caught:
        run(dynamics(ENSEMBLES[2]), Faulty(6, wrong), state, 100)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "timestep_fs (now 2)" in str(caught.value)


def test_a_timestep_far_too_long_is_caught_early():
    light = atoms("Li")
    state = initial_state(light, 1000, 1, 0)
    with pytest.raises(ConvergenceError, match=r"exploded at step \d+: atom \d+ \(Li\)"):
        run(dynamics(ENSEMBLES[2], timestep=10.0, temperature=1000), Springs(k=40.0), state, 2000)
