"""Diffusion at several temperatures: the Arrhenius law with its confidence interval, and what it says of another one.

ln D = ln D0 - E/(k T) is fitted with weights from the errors of D; where the points scatter more than those say, the
intervals widen by the square root of chi squared per degree of freedom. Errors of D of first-principles dynamics:
X. He, Y. Zhu, A. Epstein and Y. Mo, npj Comput. Mater. 4, 18 (2018), doi:10.1038/s41524-018-0074-y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import norm
from scipy.stats import t as t_distribution

from anodeflow.documents import Document
from anodeflow.units import BOLTZMANN_EV_PER_K

_LEVEL = 0.95
#: A diffusion coefficient without an error counts as if it had this one, relative.
_UNKNOWN_ERROR = 0.5


class DiffusionPoint(Document):
    """D at one temperature, all seeds together."""

    temperature_k: float
    d_cm2_per_s: float
    d_se_cm2_per_s: float | None = None
    diffusive: bool = True
    seeds: int = 1
    conductivity_s_per_cm: float | None = Field(None, description="by collective displacement")
    haven_ratio: float | None = None


class ArrheniusDoc(Document):
    """The Arrhenius law of one element in one system."""

    system: str
    element: str
    points: list[DiffusionPoint] = Field(description="all temperatures; those that are not diffusive are not fitted")
    fitted: int = Field(0, description="temperatures that the law rests on")
    activation_ev: float | None = None
    activation_ci_ev: tuple[float, float] | None = Field(None, description="95 %")
    d0_cm2_per_s: float | None = None
    chi_squared_per_freedom: float | None = Field(None, description="None: two temperatures, which any line meets")
    at_k: float = Field(300.0, description="the temperature it is extrapolated to")
    d_at_cm2_per_s: float | None = None
    d_at_ci_cm2_per_s: tuple[float, float] | None = Field(None, description="95 %")
    conductivity_at_s_per_cm: float | None = Field(None, description="Nernst-Einstein with that D; no Haven ratio")
    conductivity_at_ci_s_per_cm: tuple[float, float] | None = None
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None


def nernst_einstein_s_per_cm(
    d_cm2_per_s: float, carriers: float, volume_angstrom3: float, temperature_k: float, charge: float = 1.0
) -> float:
    """Return the conductivity N q^2 D / (V k T), S/cm.

    Parameters
    ----------
    d_cm2_per_s
        Of the carriers: of single ones (Nernst-Einstein), or of all together, which needs no Haven ratio.
    carriers, volume_angstrom3
        How many there are in which volume.
    temperature_k
        Temperature.
    charge
        Of one, e.
    """
    per_cm3 = carriers / volume_angstrom3 * 1e24
    elementary_charge_c = 1.602176634e-19
    return per_cm3 * charge**2 * elementary_charge_c * d_cm2_per_s / (BOLTZMANN_EV_PER_K * temperature_k)


def pooled(points: Sequence[DiffusionPoint]) -> DiffusionPoint:
    """Return the mean over seeds at one temperature; its error is the larger of their spread and their own errors."""
    values = np.array([point.d_cm2_per_s for point in points])
    number = len(values)
    errors = [point.d_se_cm2_per_s for point in points if point.d_se_cm2_per_s is not None]
    own = math.sqrt(sum(e**2 for e in errors)) / number if len(errors) == number else None
    spread = float(values.std(ddof=1) / math.sqrt(number)) if number > 1 else None
    known = [error for error in (own, spread) if error is not None]
    together = [point.conductivity_s_per_cm for point in points if point.conductivity_s_per_cm is not None]
    ratios = [point.haven_ratio for point in points if point.haven_ratio is not None]
    return DiffusionPoint(
        temperature_k=points[0].temperature_k,
        d_cm2_per_s=float(values.mean()),
        d_se_cm2_per_s=max(known) if known else None,
        diffusive=all(point.diffusive for point in points),
        seeds=number,
        conductivity_s_per_cm=float(np.mean(together)) if together else None,
        haven_ratio=float(np.mean(ratios)) if ratios else None,
    )


def arrhenius(
    system: str,
    element: str,
    points: Sequence[DiffusionPoint],
    *,
    at_k: float = 300.0,
    carriers_per_angstrom3: float | None = None,
) -> ArrheniusDoc:
    """Fit the Arrhenius law to diffusion coefficients.

    Parameters
    ----------
    system, element
        Of what.
    points
        One a temperature; those that are not diffusive, or not positive, are left out.
    at_k
        Temperature that the law is extrapolated to.
    carriers_per_angstrom3
        For the conductivity there; None: none is given.

    Returns
    -------
    ArrheniusDoc
        With an error in place of a law where fewer than two temperatures have a diffusion coefficient.
    """
    doc = ArrheniusDoc(system=system, element=element, points=sorted(points, key=lambda p: p.temperature_k), at_k=at_k)
    used = [point for point in doc.points if point.diffusive and point.d_cm2_per_s > 0]
    without = [f"{p.temperature_k:g}" for p in doc.points if p not in used]
    if without:
        doc.warnings.append(f"{element} does not diffuse at {', '.join(without)} K: run longer, or hotter")
    if len({point.temperature_k for point in used}) < 2:
        doc.error = (
            f"{element} in {system} diffuses at {len(used)} of {len(doc.points)} temperatures: no Arrhenius law; run "
            "longer, or add higher temperatures_k"
        )
        return doc
    inverse = np.array([1 / (BOLTZMANN_EV_PER_K * point.temperature_k) for point in used])
    logs = np.log([point.d_cm2_per_s for point in used])
    errors = np.array([(p.d_se_cm2_per_s or _UNKNOWN_ERROR * p.d_cm2_per_s) / p.d_cm2_per_s for p in used])
    design = np.stack([np.ones(len(used)), -inverse], axis=1)
    weights = 1 / np.maximum(errors, 1e-6) ** 2
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
    log_d0, energy = covariance @ design.T @ (weights * logs)
    freedom = len(used) - 2
    reach = float(norm.ppf((1 + _LEVEL) / 2))
    if freedom:
        left = logs - design @ np.array([log_d0, energy])
        doc.chi_squared_per_freedom = float(left @ (weights * left)) / freedom
        if doc.chi_squared_per_freedom > 1:
            covariance = covariance * doc.chi_squared_per_freedom
            reach = float(t_distribution.ppf((1 + _LEVEL) / 2, freedom))
    else:
        doc.warnings.append(
            "two temperatures: the law is a line through both, and its interval is that of their errors"
        )
    half = reach * math.sqrt(covariance[1, 1])
    doc.fitted, doc.d0_cm2_per_s = len(used), math.exp(log_d0)
    doc.activation_ev, doc.activation_ci_ev = float(energy), (float(energy - half), float(energy + half))
    _extrapolate(doc, np.array([log_d0, energy]), covariance, reach)
    if carriers_per_angstrom3 is not None and doc.d_at_cm2_per_s is not None and doc.d_at_ci_cm2_per_s is not None:
        low, middle, high = (
            nernst_einstein_s_per_cm(d, carriers_per_angstrom3, 1.0, at_k)
            for d in (doc.d_at_ci_cm2_per_s[0], doc.d_at_cm2_per_s, doc.d_at_ci_cm2_per_s[1])
        )
        doc.conductivity_at_s_per_cm, doc.conductivity_at_ci_s_per_cm = middle, (low, high)
    return doc


def _extrapolate(doc: ArrheniusDoc, law: NDArray[np.float64], covariance: NDArray[np.float64], reach: float) -> None:
    """Add what the law says of the temperature that is asked for."""
    row = np.array([1.0, -1 / (BOLTZMANN_EV_PER_K * doc.at_k)])
    value, half = float(row @ law), reach * math.sqrt(float(row @ covariance @ row))
    doc.d_at_cm2_per_s = math.exp(value)
    doc.d_at_ci_cm2_per_s = (math.exp(value - half), math.exp(value + half))
