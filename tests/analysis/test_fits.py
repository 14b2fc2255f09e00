"""Straight lines: textbook numbers, coverage of the intervals, the judgement of curvature, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anodeflow.analysis.fits import LineFit, confidence_band, fit_line, judge_linearity
from anodeflow.errors import InputError


def test_four_points_by_hand():
    # x = 0..3, y = 1, 3, 4, 8: means 1.5 and 4, Sxx = 5, Sxy = 11; slope 2.2, intercept 0.7.
    # residuals 0.3, 0.1, -1.1, 0.7: sum of squares 1.8, variance 0.9; var(slope) = 0.18,
    # var(intercept) = 0.9 (1/4 + 2.25/5) = 0.63, cov = -1.5 * 0.18 = -0.27; t(0.975, 2) = 4.302653
    fit = fit_line([0, 1, 2, 3], [1, 3, 4, 8])
    assert fit.slope == pytest.approx(2.2)
    assert fit.intercept == pytest.approx(0.7)
    assert fit.residuals == pytest.approx([0.3, 0.1, -1.1, 0.7])
    assert fit.residual_sd == pytest.approx(np.sqrt(0.9))
    assert np.array(fit.covariance) == pytest.approx(np.array([[0.63, -0.27], [-0.27, 0.18]]))
    assert fit.degrees_of_freedom == 2
    assert fit.r_squared == pytest.approx(1 - 1.8 / 26)
    assert fit.intercept_ci[1] - fit.intercept == pytest.approx(4.302653 * np.sqrt(0.63), rel=1e-6)
    assert fit.slope - fit.slope_ci[0] == pytest.approx(4.302653 * np.sqrt(0.18), rel=1e-6)


def test_agrees_with_scipy_far_from_the_origin():
    rng = np.random.default_rng(3)
    x = np.arange(100, 110.0)
    y = -1000.0 + 7 * x + rng.normal(0, 0.1, 10)
    fit, other = fit_line(x, y), stats.linregress(x, y)
    assert fit.slope == pytest.approx(other.slope, rel=1e-10)
    assert fit.intercept == pytest.approx(other.intercept, rel=1e-10)
    assert fit.slope_se == pytest.approx(other.stderr, rel=1e-8)
    assert fit.intercept_se == pytest.approx(other.intercept_stderr, rel=1e-8)
    assert fit.r_squared == pytest.approx(other.rvalue**2, rel=1e-10)


@given(st.floats(-1e3, 1e3), st.floats(-1e2, 1e2), st.floats(-50, 50))
def test_an_exact_line_is_recovered_and_moving_x_moves_only_the_intercept(intercept, slope, shift):
    x = np.array([2.0, 3, 5, 7, 11])
    fit = fit_line(x, intercept + slope * x)
    assert fit.intercept == pytest.approx(intercept, abs=1e-9)
    assert fit.slope == pytest.approx(slope, abs=1e-9)
    assert fit.linearity.verdict == "linear"
    moved = fit_line(x + shift, intercept + slope * x)
    assert moved.slope == pytest.approx(slope, abs=1e-9)
    assert moved.intercept == pytest.approx(intercept - slope * shift, abs=1e-8)


def test_a_level_line_has_r_squared_one():
    assert fit_line([1, 2, 3], [4.0, 4.0, 4.0]).r_squared == 1.0


def test_intervals_cover_the_truth_at_the_stated_rate():
    """400 trials at 95 %: the count lies within the 99.9 % limits of the binomial."""
    rng = np.random.default_rng(20240607)
    x, hits = np.array([4.0, 6, 8, 10, 12, 14]), np.zeros(3)
    for _ in range(400):
        fit = fit_line(x, 0.4 + 0.03 * x + rng.normal(0, 0.02, len(x)))
        lower, upper = confidence_band(fit, 9.5)
        hits += [
            fit.intercept_ci[0] < 0.4 < fit.intercept_ci[1],
            fit.slope_ci[0] < 0.03 < fit.slope_ci[1],
            lower < 0.4 + 0.03 * 9.5 < upper,
        ]
    low, high = stats.binom.interval(0.999, 400, 0.95)
    assert np.all((low <= hits) & (hits <= high)), hits


def test_a_lower_level_gives_a_narrower_interval():
    wide, narrow = (fit_line([0, 1, 2, 3], [1, 3, 4, 8], level=p) for p in (0.95, 0.68))
    assert wide.intercept_ci[0] < narrow.intercept_ci[0] < narrow.intercept_ci[1] < wide.intercept_ci[1]


def test_the_band_is_the_interval_of_the_intercept_at_zero_and_narrowest_at_the_mean():
    fit = fit_line([1, 2, 3, 4], [1, 3, 4, 8])
    lower, upper = confidence_band(fit, 0.0)
    assert (float(lower), float(upper)) == pytest.approx(fit.intercept_ci)
    x = np.linspace(-1, 6, 71)
    lower, upper = confidence_band(fit, x)
    assert x[np.argmin(upper - lower)] == pytest.approx(2.5)
    assert (lower + upper) / 2 == pytest.approx(fit.predict(x))


def test_curvature_is_found_and_its_t_agrees_with_polyfit():
    rng = np.random.default_rng(1)
    x = np.arange(3, 11.0)
    y = 2 + x + 0.05 * x**2 + rng.normal(0, 0.05, len(x))
    judged = judge_linearity(x, y)
    coefficients, covariance = np.polyfit(x, y, 2, cov=True)
    assert judged.quadratic_coefficient == pytest.approx(coefficients[0], rel=1e-8)
    assert judged.quadratic_intercept == pytest.approx(coefficients[2], rel=1e-6)
    assert judged.t_statistic == pytest.approx(coefficients[0] / np.sqrt(covariance[0, 0]), rel=1e-6)
    assert judged.p_value == pytest.approx(2 * stats.t.sf(judged.t_statistic, 5))
    assert judged.verdict == "curved"


def test_an_exact_parabola_is_curved_and_keeps_its_intercept():
    x = np.arange(1, 7.0)
    judged = judge_linearity(x, 0.5 + 0.1 * x - 0.01 * x**2)
    assert judged.verdict == "curved"
    assert judged.p_value == 0
    assert judged.quadratic_intercept == pytest.approx(0.5)


def test_false_alarms_come_at_the_stated_rate():
    rng = np.random.default_rng(5)
    x = np.arange(6.0)
    alarms = sum(judge_linearity(x, x + rng.normal(0, 0.1, 6)).verdict == "curved" for _ in range(400))
    low, high = stats.binom.interval(0.999, 400, 0.05)
    assert low <= alarms <= high


@pytest.mark.parametrize("x", [[1, 2, 3], [1, 2, 3, 4], [1, 1, 1, 2, 2, 2]])
def test_few_points_cannot_be_judged(x):
    judged = fit_line(x, [v**2 + 0.1 * i for i, v in enumerate(x)]).linearity
    assert judged.verdict == "cannot be judged"
    assert "cannot be judged" in judged.text


def test_a_fit_survives_json():
    fit = fit_line([0, 1, 2, 3, 4], [1, 3, 4, 8, 9])
    assert LineFit.model_validate_json(fit.model_dump_json()) == fit


@pytest.mark.parametrize(
    ("x", "y", "level", "words"),
    [
        ([1, 2], [1, 2], 0.95, "no uncertainty"),
        ([1, 1, 1], [1, 2, 3], 0.95, "different x"),
        ([1, 2, 3], [1, 2, float("nan")], 0.95, "not finite"),
        ([1, 2, 3], [1, 2], 0.95, "one length"),
        ([1, 2, 3], [1, 2, 3], 95, "between 0 and 1"),
    ],
)
def test_what_is_no_fit_is_refused(x, y, level, words):
    with pytest.raises(InputError, match=words):
        fit_line(x, y, level=level)
