"""D of an ideal random walk, a crystal that only vibrates, unwrapping, drift of the frame."""

import numpy as np
import pytest

from anodeflow.analysis.diffusion import diffusion, mean_squared_displacement, windowed_msd
from anodeflow.errors import InputError

CELL = np.array([[12.0, 0, 0], [3.0, 11.0, 0], [-2.0, 1.0, 13.0]])
STEP = 0.1  # angstrom, of each coordinate in each frame
# <r^2> = 3 s^2 t / dt = 6 D t, with dt = 2 fs; 1 angstrom^2/fs = 0.1 cm^2/s
D_EXACT = STEP**2 / (2 * 2.0) * 0.1


def walk(atoms, frames, seed, step=STEP):
    steps = np.random.default_rng(seed).normal(scale=step, size=(atoms, frames, 3))
    return np.cumsum(steps, axis=1)


def test_windowed_msd_is_the_double_sum():
    paths = walk(3, 60, 1) + 1000.0
    expected = np.zeros((3, 60))
    for lag in range(60):
        expected[:, lag] = ((paths[:, lag:] - paths[:, : 60 - lag]) ** 2).sum(axis=2).mean(axis=1)
    assert windowed_msd(paths) == pytest.approx(expected, abs=1e-8)


def test_a_random_walk_has_its_d_within_its_error():
    pulls, errors = [], []
    for seed in range(12):
        doc = diffusion(walk(40, 1500, seed), 2.0, "Li")
        assert doc.diffusive, doc.warnings
        assert doc.loglog_slope == pytest.approx(1, abs=0.25)
        pulls.append((doc.d_cm2_per_s - D_EXACT) / doc.d_se_cm2_per_s)
        errors.append(doc.d_cm2_per_s / D_EXACT - 1)
    assert abs(np.mean(errors)) < 0.05
    # the error bar is the real scatter, within the statistics of twelve runs
    assert 0.4 < np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_atoms_that_move_together_have_larger_errors_than_atoms_tell():
    alone = walk(1, 1500, 3)
    together = np.repeat(alone, 30, axis=0) + walk(30, 1500, 4, step=0.01)
    doc = diffusion(together, 2.0)
    assert doc.d_se_blocks_cm2_per_s > 3 * doc.d_se_atoms_cm2_per_s
    assert doc.d_se_cm2_per_s == doc.d_se_blocks_cm2_per_s


def test_a_crystal_that_vibrates_does_not_diffuse():
    random = np.random.default_rng(2)
    x = np.zeros((30, 1000, 3))
    for f in range(1, 1000):
        x[:, f] = 0.8 * x[:, f - 1] + random.normal(scale=0.06, size=(30, 3))
    doc = diffusion(x, 2.0, "P")
    # plateau: twice the variance of each coordinate, three times
    assert doc.msd_angstrom2[-1] == pytest.approx(6 * 0.06**2 / (1 - 0.64), rel=0.1)
    assert not doc.diffusive
    assert abs(doc.loglog_slope) < 0.05
    assert "P is not diffusive" in doc.warnings[0]


def frames_of(paths, cell=CELL, drift=0.0, wrapped=True):
    """Ten Li on paths, ten P at home; the whole moves with constant speed; wrapped."""
    random = np.random.default_rng(9)
    start = random.random((20, 3)) @ cell
    for f in range(paths.shape[1]):
        positions = start + drift * f
        positions[:10] += paths[:, f]
        yield ((positions @ np.linalg.inv(cell)) % 1.0 @ cell if wrapped else positions), cell


SPECIES = ["Li"] * 10 + ["P"] * 10


def test_wrapping_and_drift_change_nothing():
    paths = walk(10, 700, 5)
    expected = diffusion(paths, 2.0, "Li")
    doc = mean_squared_displacement(frames_of(paths, drift=np.array([0.01, -0.02, 0.03])), SPECIES, "Li", 2.0)
    assert doc.msd_angstrom2 == pytest.approx(expected.msd_angstrom2, abs=1e-7)
    assert doc.d_cm2_per_s == pytest.approx(expected.d_cm2_per_s)
    assert doc.drift_angstrom == pytest.approx(699 * np.linalg.norm([0.01, -0.02, 0.03]))
    assert doc.drift_reference == "framework"
    with_drift = mean_squared_displacement(
        frames_of(paths, drift=np.array([0.01, -0.02, 0.03])), SPECIES, "Li", 2.0, drift_reference="none"
    )
    assert with_drift.d_cm2_per_s > 1.5 * doc.d_cm2_per_s


def test_a_breathing_cell_is_no_diffusion():
    random = np.random.default_rng(8)
    x = random.random((20, 3))
    frames = [(x @ (CELL * s), CELL * s) for s in 1 + 0.05 * np.sin(np.arange(200) / 9)]
    doc = mean_squared_displacement(frames, SPECIES, "Li", 2.0)
    assert max(doc.msd_angstrom2) < 1e-20


def test_refusals():
    with pytest.raises(InputError, match="there is no Al"):
        mean_squared_displacement(frames_of(walk(10, 30, 1)), SPECIES, "Al", 2.0)
    with pytest.raises(InputError, match="5 frames are too few"):
        mean_squared_displacement(frames_of(walk(10, 5, 1)), SPECIES, "Li", 2.0)
    with pytest.raises(InputError, match="is 0 fs"):
        mean_squared_displacement(frames_of(walk(10, 30, 1)), SPECIES, "Li", 0.0)
    with pytest.raises(InputError, match="no place in a run"):
        mean_squared_displacement(frames_of(walk(10, 30, 1)), SPECIES, "Li", 2.0, fit_fs=(10, 1000))
    with pytest.raises(InputError, match="too far apart to follow"):
        mean_squared_displacement(frames_of(walk(10, 300, 1, step=4.0)), SPECIES, "Li", 2.0)
