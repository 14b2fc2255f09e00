import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anodeflow.analysis.planes import fit_plane
from anodeflow.errors import InputError

GRID = [(n, m) for n in (5, 7, 9, 11) for m in (3, 5, 7)]


@given(st.floats(-1, 1), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_a_plane_is_recovered_exactly(gamma, film, substrate):
    n, m = zip(*GRID, strict=True)
    fit = fit_plane(n, m, [gamma + a * film + b * substrate for a, b in GRID])
    assert (fit.intercept, fit.slope_x, fit.slope_y) == pytest.approx((gamma, film, substrate), abs=1e-9)
    assert fit.leave_one_out == pytest.approx(0, abs=1e-9)


def test_intervals_cover_the_truth_at_their_rate():
    rng = np.random.default_rng(3)
    n, m = map(np.array, zip(*GRID, strict=True))
    covered = np.zeros(3)
    trials = 2000
    for _ in range(trials):
        fit = fit_plane(n, m, 0.3 + 0.004 * n - 0.002 * m + rng.normal(0, 0.005, len(n)))
        for k, (ci, truth) in enumerate([(fit.intercept_ci, 0.3), (fit.slope_x_ci, 0.004), (fit.slope_y_ci, -0.002)]):
            covered[k] += ci[0] <= truth <= ci[1]
    assert covered / trials == pytest.approx([0.95] * 3, abs=0.015)


def test_leaving_one_out_is_what_it_says():
    rng = np.random.default_rng(4)
    n, m = map(np.array, zip(*GRID, strict=True))
    z = 0.2 + 0.01 * n + rng.normal(0, 0.01, len(n))
    whole = fit_plane(n, m, z)
    moved = [
        abs(fit_plane(np.delete(n, k), np.delete(m, k), np.delete(z, k)).intercept - whole.intercept)
        for k in range(len(n))
    ]
    assert whole.leave_one_out == pytest.approx(max(moved), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "z", "what"),
    [
        ([1, 2, 3], [1, 2, 1], [0, 0, 0], "through 3 points"),
        ([1, 2, 3, 4], [2, 4, 6, 8], [0, 0, 0, 1], "together"),
        ([1, 1, 1, 1], [2, 4, 6, 8], [0, 0, 0, 1], "one not at all"),
        ([1, 2, 1, 2], [1, 1, 2, 2], [0, 0, 0, float("nan")], "not finite"),
        ([1, 2, 1, 2], [1, 1, 2], [0, 0, 0, 0], "one length"),
    ],
)
def test_what_is_no_plane_is_refused(x, y, z, what):
    with pytest.raises(InputError, match=what):
        fit_plane(x, y, z)
