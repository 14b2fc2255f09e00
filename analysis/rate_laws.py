"""How a layer grows: linear (a reaction at the interface), parabolic (diffusion through it), or any power of time.

A power law h = a + b t^n is fitted by scanning n, where a and b follow by least squares. Frames of one trajectory are
not independent: their number is divided by the correlation time of what the best fit leaves, which widens every
interval. The interval of n is that of the F test on the sum of squares: C. Daniel and F. S. Wood, Fitting Equations to
Data (1980). Parabolic growth: C. Wagner, Z. Phys. Chem. B 21, 25 (1933).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from anodeflow.documents import Document
from anodeflow.errors import InputError

Floats = NDArray[np.float64]

_EXPONENTS = np.round(np.arange(0.1, 2.001, 0.01), 2)
_LINEAR, _PARABOLIC = 1.0, 0.5
_LEVEL = 0.95
_MIN_POINTS, _MIN_INDEPENDENT = 8, 4.0


class RateLawDoc(Document):
    """How a thickness grows with time."""

    points: int
    independent_points: float = Field(description="points over the correlation time of what the fit leaves")
    exponent: float | None = Field(None, description="n of h = a + b t^n; None: nothing grows")
    exponent_ci: tuple[float, float] | None = Field(None, description="95 %, within 0.1 to 2")
    linear_angstrom_per_ps: float = Field(description="slope of h = a + k t")
    linear_ci_angstrom_per_ps: tuple[float, float]
    parabolic_angstrom2_per_ps: float = Field(description="K of h = a + sqrt(2 K t); negative: shrinks")
    parabolic_ci_angstrom2_per_ps: tuple[float, float]
    growth_angstrom: float = Field(description="by the fit with free exponent, over the run")
    law: str = Field(description="what the interval of the exponent allows, as text")


def rate_law(times_ps: Floats, thickness_angstrom: Floats) -> RateLawDoc:
    """Fit the growth of a layer.

    Parameters
    ----------
    times_ps
        From the moment the layers touched, shape (F,).
    thickness_angstrom
        Shape (F,).

    Returns
    -------
    RateLawDoc
        The exponent, the linear and the parabolic rate, with 95 % intervals.

    Raises
    ------
    InputError
        If there are fewer than eight moments, or they are all one.
    """
    times, heights = np.asarray(times_ps, dtype=float), np.asarray(thickness_angstrom, dtype=float)
    if len(times) < _MIN_POINTS:
        raise InputError(f"{len(times)} moments are too few for a rate law", f"give at least {_MIN_POINTS}")
    elapsed = times - times[0]
    if not elapsed[-1] > 0:
        raise InputError("all moments are one", "look at the times of the trajectory")
    scaled = elapsed / elapsed[-1]
    squares = np.array([_line(scaled**n, heights)[2] for n in _EXPONENTS])
    best = int(np.argmin(squares))
    a, b, _ = _line(scaled ** _EXPONENTS[best], heights)
    independent = _independent(heights - a - b * scaled ** _EXPONENTS[best])
    linear, linear_ci = _slope(scaled, heights, independent)
    root, root_ci = _slope(np.sqrt(scaled), heights, independent)
    duration = float(elapsed[-1])
    grows = b > 0 and _better_than_none(heights, float(squares[best]), independent)
    interval = _exponent_interval(squares, independent) if grows else None
    return RateLawDoc(
        points=len(times),
        independent_points=independent,
        exponent=float(_EXPONENTS[best]) if grows else None,
        exponent_ci=interval,
        linear_angstrom_per_ps=linear / duration,
        linear_ci_angstrom_per_ps=(linear_ci[0] / duration, linear_ci[1] / duration),
        parabolic_angstrom2_per_ps=_constant(root, duration),
        parabolic_ci_angstrom2_per_ps=(_constant(root_ci[0], duration), _constant(root_ci[1], duration)),
        growth_angstrom=float(b),
        law=_law(interval, independent),
    )


def _line(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Return intercept, slope and sum of squares of what the line leaves."""
    dx = x - x.mean()
    slope = float(dx @ (y - y.mean()) / (dx @ dx))
    intercept = float(y.mean() - slope * x.mean())
    left = y - intercept - slope * x
    return intercept, slope, float(left @ left)


def _independent(left: Floats) -> float:
    """Return the number of independent points: N / (1 + 2 sum of the correlations, up to the first below zero)."""
    centred = left - left.mean()
    norm = float(centred @ centred)
    if norm <= 1e-20 * max(1.0, float(left @ left)):
        return float(len(left))
    total = 1.0
    for lag in range(1, len(left) // 2):
        correlation = float(centred[:-lag] @ centred[lag:]) / norm
        if correlation <= 0:
            break
        total += 2 * correlation
    return max(3.0, len(left) / total)


def _slope(x: Floats, y: Floats, independent: float) -> tuple[float, tuple[float, float]]:
    intercept, slope, _ = _line(x, y)
    left = y - intercept - slope * x
    freedom = max(1.0, independent - 2)
    error = float(np.sqrt(left @ left / len(x) / freedom / x.var()))
    reach = float(t_distribution.ppf((1 + _LEVEL) / 2, freedom)) * error
    return slope, (slope - reach, slope + reach)


def _better_than_none(heights: Floats, squares: float, independent: float) -> bool:
    """Return whether the law, with its two parameters more, explains more than a constant does by chance."""
    freedom = max(1.0, independent - 3)
    without = float(((heights - heights.mean()) ** 2).sum())
    if squares <= 1e-20 * without:
        return without > 0
    return (without / squares - 1) / 2 * freedom > float(f_distribution.ppf(_LEVEL, 2, freedom))


def _constant(root: float, duration_ps: float) -> float:
    """Return K of h = sqrt(2 K t) from the slope against sqrt(t / duration); of the sign of the slope."""
    return float(np.sign(root) * root**2 / (2 * duration_ps))


def _exponent_interval(squares: Floats, independent: float) -> tuple[float, float]:
    """Return the exponents whose sum of squares the F test does not tell from the smallest."""
    freedom = max(1.0, independent - 3)
    limit = squares.min() * (1 + float(f_distribution.ppf(_LEVEL, 1, freedom)) / freedom)
    inside = _EXPONENTS[squares <= limit + 1e-30]
    return float(inside.min()), float(inside.max())


def _law(interval: tuple[float, float] | None, independent: float) -> str:
    if interval is None:
        return "nothing grows beyond its scatter"
    low, high = interval
    allowed = [
        name
        for name, n in (("linear (reaction at the interface)", _LINEAR), ("parabolic (diffusion)", _PARABOLIC))
        if low <= n <= high
    ]
    few = "" if independent >= _MIN_INDEPENDENT else f"; only {independent:.1f} independent moments"
    if len(allowed) == 2:
        return f"the run does not tell linear from parabolic growth{few}"
    if allowed:
        return f"{allowed[0]}; the other is excluded{few}"
    slower = "slower than parabolic, it comes to rest" if high < _PARABOLIC else "neither linear nor parabolic"
    return f"{slower}{few}"
