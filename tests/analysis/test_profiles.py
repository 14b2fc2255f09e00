"""Layer profiles: atoms where they are, densities that sum to the atoms."""

import numpy as np
import pytest

from anodeflow.analysis.profiles import layer_profile
from anodeflow.errors import InputError

CELL = np.array([[5.0, 0, 0], [1.0, 6.0, 0], [2.0, -1.0, 20.0]])


def test_layers_are_at_their_heights_and_sum_to_the_atoms():
    random = np.random.default_rng(0)
    x = random.random((30, 3))
    x[:10, 2], x[10:, 2] = 0.225, 0.675
    frames = [(x @ CELL + random.integers(-2, 3, size=(30, 3)) @ CELL, CELL) for _ in range(50)]
    doc = layer_profile(frames, ["Li"] * 10 + ["S"] * 20, bins=20)
    assert doc.height_angstrom == pytest.approx(20.0)
    area_times_width = 30.0 * 1.0
    for element, slot, number in (("Li", 4, 10), ("S", 13, 20)):
        for window in doc.density_per_angstrom3[element]:
            expected = np.zeros(20)
            expected[slot] = number / area_times_width
            assert window == pytest.approx(expected)
    assert doc.z_angstrom[4] == pytest.approx(4.5)


def test_windows_follow_time_and_a_changing_cell():
    x = np.array([[0.1, 0.2, 0.1]])
    frames = []
    for f in range(160):
        cell = CELL * (1 + 0.001 * (f % 3))
        y = x.copy()
        y[0, 2] = 0.1 if f < 80 else 0.9
        frames.append((y @ cell, cell))
    doc = layer_profile(frames, ["Li"], bins=10, windows=2)
    assert doc.windows == [(0, 80), (80, 160)]
    first, second = doc.density_per_angstrom3["Li"]
    assert np.flatnonzero(first).tolist() in ([0], [1], [0, 1])
    assert np.flatnonzero(second).tolist() in ([8], [9], [8, 9])
    mean = np.mean([10 / np.linalg.det(c) for _, c in frames[:80]])
    assert sum(first) == pytest.approx(mean)


def test_refusals():
    with pytest.raises(InputError, match="unknown axis 'd'"):
        layer_profile([], ["Li"], axis="d")
    with pytest.raises(InputError, match="0 slices"):
        layer_profile([], ["Li"], bins=0)
    with pytest.raises(InputError, match="no frame"):
        layer_profile([], ["Li"])
