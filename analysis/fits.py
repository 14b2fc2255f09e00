"""Straight lines through energies: intercept and slope with confidence intervals, and whether it is a line.

The scatter of total energies about a line is not measurement noise but what the model leaves out (quantum size
effects, relaxation, k-points), so an interval says how well the points fix the number under this model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy import stats

from anodeflow.documents import Document
from anodeflow.errors import InputError

# Two residual degrees of freedom for the quadratic: with one, t must pass 12.7 and nothing is ever found.
_MIN_POINTS_FOR_CURVATURE = 5
# Deviations from a line below this fraction of the largest |y| are rounding, not curvature.
_RESOLUTION = 1e-9

Interval = tuple[float, float]


class Linearity(Document):
    """Whether a quadratic term improves a straight line."""

    verdict: Literal["linear", "curved", "cannot be judged"] = Field(
        description="whether a quadratic term improves the line"
    )
    t_statistic: float | None = Field(default=None, description="quadratic coefficient over its standard error")
    p_value: float | None = Field(default=None, description="chance of such a t if the line is right")
    quadratic_coefficient: float | None = Field(default=None, description="y per x squared")
    quadratic_intercept: float | None = Field(default=None, description="value at x = 0 of the quadratic fit")
    text: str = Field(description="the judgement as text")


class LineFit(Document):
    """y = intercept + slope x by ordinary least squares."""

    n_points: int = Field(description="number of points")
    intercept: float = Field(description="y at x = 0")
    slope: float = Field(description="change of y per x")
    intercept_se: float = Field(description="standard error")
    slope_se: float = Field(description="standard error")
    covariance: tuple[tuple[float, float], tuple[float, float]] = Field(description="of (intercept, slope)")
    level: float = Field(description="of the confidence intervals, e.g. 0.95")
    intercept_ci: Interval = Field(description="its confidence interval")
    slope_ci: Interval = Field(description="its confidence interval")
    degrees_of_freedom: int = Field(description="points minus two")
    residual_sd: float = Field(description="root of the residual sum of squares over the degrees of freedom")
    r_squared: float = Field(description="share of the variance that the line explains")
    x_mean: float = Field(description="mean of x")
    x_sum_of_squares: float = Field(description="sum of (x - x_mean)^2")
    residuals: list[float] = Field(description="y minus the line, in the order of the points")
    linearity: Linearity = Field(description="whether a line describes the points")

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the line at ``x`` (any shape)."""
        return self.intercept + self.slope * np.asarray(x, dtype=float)


def fit_line(x: Sequence[float], y: Sequence[float], *, level: float = 0.95) -> LineFit:
    """Fit a straight line and judge it.

    Intervals are Student's t with N - 2 degrees of freedom, all points of equal weight.

    Parameters
    ----------
    x, y
        The points, shape (N,), N >= 3 with at least two different x.
    level
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    LineFit

    Raises
    ------
    InputError
        If there are fewer than three points, x has one value only, or a number is not finite.
    """
    xs, ys = _points(x, y)
    t = _student(level, len(xs) - 2)
    mean, y_mean = xs.mean(), ys.mean()
    dx, dy = xs - mean, ys - y_mean
    sxx = float(dx @ dx)
    slope = float(dx @ dy) / sxx
    intercept = float(y_mean - slope * mean)
    residuals = dy - slope * dx
    dof = len(xs) - 2
    rss, tss = float(residuals @ residuals), float(dy @ dy)
    variance = rss / dof
    var_slope = variance / sxx
    var_intercept = variance / len(xs) + mean**2 * var_slope
    se_intercept, se_slope = float(np.sqrt(var_intercept)), float(np.sqrt(var_slope))
    cross = float(-mean * var_slope)
    return LineFit(
        n_points=len(xs),
        intercept=intercept,
        slope=slope,
        intercept_se=se_intercept,
        slope_se=se_slope,
        covariance=((float(var_intercept), cross), (cross, float(var_slope))),
        level=level,
        intercept_ci=(intercept - t * se_intercept, intercept + t * se_intercept),
        slope_ci=(slope - t * se_slope, slope + t * se_slope),
        degrees_of_freedom=dof,
        residual_sd=float(np.sqrt(variance)),
        r_squared=1.0 - rss / tss if tss > 0 else 1.0,
        x_mean=float(mean),
        x_sum_of_squares=sxx,
        residuals=[float(r) for r in residuals],
        linearity=judge_linearity(x, y, level=level),
    )


def confidence_band(fit: LineFit, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper edge of the confidence band of the line at ``x``.

    Pointwise: at one x the true line lies between the two with probability ``fit.level``.

    Parameters
    ----------
    fit
        From :func:`fit_line`.
    x
        Where, any shape.

    Returns
    -------
    tuple of arrays
        Of the shape of ``x``. At x = 0 they are the interval of the intercept.
    """
    xs = np.asarray(x, dtype=float)
    spread = 1 / fit.n_points + (xs - fit.x_mean) ** 2 / fit.x_sum_of_squares
    half = _student(fit.level, fit.degrees_of_freedom) * fit.residual_sd * np.sqrt(spread)
    line = fit.predict(xs)
    return line - half, line + half


def judge_linearity(x: Sequence[float], y: Sequence[float], *, level: float = 0.95) -> Linearity:
    """Test a quadratic term against the straight line (t-test with N - 3 degrees of freedom).

    "linear" means that no curvature shows above the scatter, not that there is none.

    Parameters
    ----------
    x, y
        The points, shape (N,). Fewer than five, or fewer than three different x, cannot be judged; the
        numbers that exist (from four points on) are given all the same.
    level
        A curvature is called real if its p-value is below 1 - level.

    Returns
    -------
    Linearity
        The test and the judgement.

    Raises
    ------
    InputError
        As in :func:`fit_line`.
    """
    xs, ys = _points(x, y)
    dof = len(xs) - 3
    if dof < 1 or len(np.unique(xs)) < 3:
        return Linearity(
            verdict="cannot be judged",
            text=f"linearity cannot be judged from {_different(len(xs), len(np.unique(xs)))}",
        )
    # Orthogonal polynomials in a scaled variable: the coefficients are independent and well conditioned.
    scale = float(np.ptp(xs))
    u, dy = (xs - xs.mean()) / scale, ys - ys.mean()
    line = (u @ dy) / (u @ u) * u
    shape = u**2 - (u**2).mean()
    shape = shape - (u @ shape) / (u @ u) * u
    norm = float(shape @ shape)
    coefficient = float(shape @ (dy - line)) / norm
    rest = dy - line - coefficient * shape
    standard_error = float(np.sqrt(rest @ rest / dof / norm))
    rounding = _RESOLUTION * float(np.abs(ys).max())
    if np.abs(coefficient * shape).max() <= rounding:
        t, p = 0.0, 1.0
    elif np.abs(rest).max() <= rounding:
        t, p = None, 0.0  # an exact parabola
    else:
        t = coefficient / standard_error
        p = float(2 * stats.t.sf(abs(t), dof))
    at_zero = (0.0 - float(xs.mean())) / scale
    basis_at_zero = at_zero**2 - float((u**2).mean()) - float(u @ u**2) / float(u @ u) * at_zero
    intercept = float(ys.mean() + float(u @ dy) / float(u @ u) * at_zero + coefficient * basis_at_zero)
    p_text = f"p = {p:.2g}" if p >= 1e-3 else "p < 0.001"
    verdict: Literal["linear", "curved", "cannot be judged"]
    if len(xs) < _MIN_POINTS_FOR_CURVATURE:
        verdict, text = "cannot be judged", f"linearity cannot be judged from {len(xs)} points ({p_text})"
    elif p < 1 - level:
        verdict, text = "curved", f"a quadratic term is needed ({p_text}): the line is not the whole story"
    else:
        verdict, text = "linear", f"no curvature above the scatter ({p_text})"
    return Linearity(
        verdict=verdict,
        t_statistic=None if t is None else float(t),
        p_value=p,
        quadratic_coefficient=coefficient / scale**2,
        quadratic_intercept=intercept,
        text=text,
    )


def _different(points: int, values: int) -> str:
    return f"{points} points" if points < 4 else f"{points} points at {values} different x"


def _student(level: float, dof: int) -> float:
    """Return the Two-sided quantile of Student's t."""
    if not 0 < level < 1:
        raise InputError(f"confidence level {level} is not between 0 and 1", "use e.g. 0.95")
    return float(stats.t.ppf((1 + level) / 2, dof))


def _points(x: Sequence[float], y: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise InputError(f"x has shape {xs.shape} and y {ys.shape}", "give two lists of one length")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise InputError("a point of the fit is not finite", "look at the calculations it comes from")
    if len(xs) < 3:
        raise InputError(f"a line through {len(xs)} point(s) has no uncertainty", "compute at least three, better five")
    if np.ptp(xs) == 0:
        raise InputError(f"all {len(xs)} points lie at x = {xs[0]:g}", "a line needs different x")
    return xs, ys
