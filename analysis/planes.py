"""Planes through energies of cells in which two thicknesses vary: value at zero, both slopes, and their intervals.

With a film of n units on a substrate of m units the interface energy is

    gamma(n, m) = gamma + n sigma_film + m sigma_substrate,

because each unit that differs from its bulk reference (strain, mesh, a potential that sees through the film) adds the
same amount. Ordinary least squares; the intervals are Student's t with N - 3 degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy import stats

from anodeflow.analysis.fits import Interval
from anodeflow.documents import Document
from anodeflow.errors import InputError

_MIN_POINTS = 4


class PlaneFit(Document):
    """z = intercept + slope_x x + slope_y y by ordinary least squares."""

    n_points: int = Field(description="number of points")
    intercept: float = Field(description="z at x = y = 0")
    slope_x: float = Field(description="change of z per x")
    slope_y: float = Field(description="change of z per y")
    intercept_ci: Interval = Field(description="its confidence interval")
    slope_x_ci: Interval = Field(description="its confidence interval")
    slope_y_ci: Interval = Field(description="its confidence interval")
    level: float = Field(description="of the confidence intervals, e.g. 0.95")
    degrees_of_freedom: int = Field(description="points minus three")
    residual_sd: float = Field(description="root of the residual sum of squares over the degrees of freedom")
    residuals: list[float] = Field(description="z minus the plane, in the order of the points")
    leave_one_out: float = Field(description="largest change of the intercept when one point is left out")


def fit_plane(x: Sequence[float], y: Sequence[float], z: Sequence[float], *, level: float = 0.95) -> PlaneFit:
    """Fit a plane.

    Parameters
    ----------
    x, y, z
        The points, shape (N,), N >= 4, with at least two different x and y that do not lie on one line.
    level
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    PlaneFit

    Raises
    ------
    InputError
        Fewer than four points, points on one line, a number that is not finite, or a level without meaning.
    """
    if not len(x) == len(y) == len(z):
        raise InputError(f"{len(x)}, {len(y)} and {len(z)} numbers for one plane", "give three lists of one length")
    points = np.column_stack([np.ones(len(x)), np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    values = np.asarray(z, dtype=float)
    if not (np.isfinite(points).all() and np.isfinite(values).all()):
        raise InputError("a point of the plane is not finite", "look at the calculations it comes from")
    if len(values) < _MIN_POINTS:
        raise InputError(
            f"a plane through {len(values)} points has no uncertainty",
            "compute at least four cells: two thicknesses of each side, better three",
        )
    if not 0 < level < 1:
        raise InputError(f"confidence level {level} is not between 0 and 1", "use e.g. 0.95")
    scaled = points / np.maximum(np.abs(points).max(axis=0), 1e-300)
    if np.linalg.matrix_rank(scaled, tol=1e-9) < 3:
        raise InputError(
            f"the {len(values)} cells vary both thicknesses together, or one not at all",
            "compute film and substrate at two thicknesses each, independently",
        )
    coefficients, *_ = np.linalg.lstsq(points, values, rcond=None)
    residuals = values - points @ coefficients
    dof = len(values) - 3
    variance = float(residuals @ residuals) / dof
    inverse = np.linalg.inv(points.T @ points)
    half = float(stats.t.ppf((1 + level) / 2, dof)) * np.sqrt(variance * np.diag(inverse))
    leverage = np.einsum("ij,jk,ik->i", points, inverse, points)
    # what leaving a point out does to all coefficients, in closed form
    with np.errstate(divide="ignore", invalid="ignore"):
        change = (inverse @ points.T)[0] * residuals / (1 - leverage)
    intervals = [(float(c - h), float(c + h)) for c, h in zip(coefficients, half, strict=True)]
    return PlaneFit(
        n_points=len(values),
        intercept=float(coefficients[0]),
        slope_x=float(coefficients[1]),
        slope_y=float(coefficients[2]),
        intercept_ci=intervals[0],
        slope_x_ci=intervals[1],
        slope_y_ci=intervals[2],
        level=level,
        degrees_of_freedom=dof,
        residual_sd=float(np.sqrt(variance)),
        residuals=[float(r) for r in residuals],
        leave_one_out=float(np.nanmax(np.where(leverage < 1 - 1e-9, np.abs(change), np.nan)))
        if (leverage < 1 - 1e-9).any()
        else 0.0,
    )
