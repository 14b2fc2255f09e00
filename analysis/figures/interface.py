"""Figure of the interface-energy study, drawn from its stored document. Nothing is computed here but lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.figures.style import (
    BLACK,
    BLUE,
    VERMILION,
    computed_by,
    formula_label,
    in_style,
    percent_confidence,
    signed,
    verbatim,
    with_error,
    write_footer,
)
from anodeflow.analysis.fits import LineFit, confidence_band
from anodeflow.analysis.interface_energy import InterfaceEnergyDoc
from anodeflow.analysis.study_documents import InterfaceStudyDoc
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT, _INTERCEPT, _PUBLISHED = BLUE, VERMILION, BLACK
_UNIT = r"J m$^{-2}$"


def interface_study_figure(document: InterfaceStudyDoc) -> Figure:
    """Draw the fit of the interface energy of a study.

    Raises
    ------
    InputError
        If it has none.
    """
    if not document.interface.converged:
        raise InputError(f"the interface has no energy to draw: {document.interface.error}")
    return interface_energy_figure(document.interface, document.study_hash)


def interface_energy_figure(doc: InterfaceEnergyDoc, study_hash: str | None = None) -> Figure:
    """Draw gamma against the number of film units, with the line, its confidence band and the intercept.

    Parameters
    ----------
    doc
        With a fit. If its two contacts differ, gamma is the mean of both and the figure says so.
    study_hash
        Of its study, where it is of one.

    Returns
    -------
    Figure
        One column wide, with the engine and the card written on it.

    Raises
    ------
    InputError
        If the document has no fit.
    """
    fit = doc.fit
    if fit is None:
        thickness = f"one thickness of {doc.film}, and the figure is a fit over several"
        reason = doc.error or (thickness if len(doc.members) == 1 else "no reason recorded")
        raise InputError(
            f"the interface {doc.substrate}/{doc.film} has no fit to draw: {reason}", "see anodeflow results"
        )
    film, substrate = formula_label(doc.film), formula_label(doc.substrate)
    largest = max(point.n_film for point in doc.members)
    mean = "" if doc.contacts_equivalent else ", mean"
    with in_style():
        figure, axes = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
        grid = np.linspace(0.0, largest * 1.06, 200)
        lower, upper = confidence_band(fit, grid)
        band = axes.fill_between(grid, lower, upper, color=_POINT, alpha=0.16, lw=0, zorder=1)
        _draw_fit(axes, doc, fit, grid, mean)
        _draw_published(axes, doc, [*lower, *upper, *_reduced(doc)])
        axes.axvline(0, ymax=0.6, color="0.6", lw=0.6, zorder=0)
        axes.set_xlim(-0.06 * largest, grid[-1])
        axes.margins(y=0.08)
        axes.set_xlabel(rf"number of {film} units in the film, $n$")
        axes.set_ylabel(rf"$\gamma(n)$ of {substrate}/{film}{mean} ({_UNIT})")
        axes.text(
            *_free_corner(fit.slope), _strain_text(doc), transform=axes.transAxes, ha="right",
            va="bottom" if fit.slope >= 0 else "top", fontsize=7, linespacing=1.35,
        )  # fmt: skip
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            [*handles, band], [*labels, f"line, {percent_confidence(fit.level)}"], loc="upper left", handletextpad=0.5,
            borderaxespad=0.4, labelspacing=0.35,
        )  # fmt: skip
        lines = _caption(doc)
        if doc.engine is not None and doc.card is not None:
            lines.append(computed_by(doc.engine, doc.card, study_hash))
        write_footer(figure, *lines)
    return figure


def _draw_fit(axes: Axes, doc: InterfaceEnergyDoc, fit: LineFit, grid: np.ndarray, mean: str) -> None:
    """Draw the cells, the line through them (dashed where it is extrapolated) and its intercept."""
    sizes = [point.n_film for point in doc.members]
    within = grid >= min(sizes)
    axes.plot(grid[within], fit.predict(grid[within]), color=_POINT, zorder=2)
    axes.plot(grid[~within], fit.predict(grid[~within]), color=_POINT, ls=(0, (4, 2)), zorder=2)
    axes.plot(
        sizes, _reduced(doc), "o", color=_POINT, ms=4.5, mec="white", mew=0.5,
        zorder=4, label="computed cells",
    )  # fmt: skip
    low, high = doc.gamma_sum_ci_j_per_m2 or (2 * fit.intercept_ci[0], 2 * fit.intercept_ci[1])
    half = doc.uncertainty_j_per_m2 or (high - low) / 4
    axes.errorbar(
        0, fit.intercept, yerr=half, fmt="D", color=_INTERCEPT, ms=4.8, mec="white", mew=0.5, capsize=3,
        elinewidth=1.1, zorder=5, clip_on=False,
        label=rf"$\gamma${mean} = {with_error(fit.intercept, half)} {_UNIT}",
    )  # fmt: skip


def _reduced(doc: InterfaceEnergyDoc) -> list[float]:
    """Return gamma of every cell without what its substrate's thickness adds to it."""
    sigma = doc.sigma_substrate_j_per_m2_per_unit or 0.0
    return [point.gamma_j_per_m2 - sigma * point.n_substrate for point in doc.members]


def _draw_published(axes: Axes, doc: InterfaceEnergyDoc, ours: Sequence[float]) -> None:
    """Draw a mark at each published value; one far outside the range of our numbers is only named in the legend."""
    style: dict[str, Any] = {"color": _PUBLISHED, "lw": 1.1, "ls": (0, (2.2, 1.2))}
    half = 0.045 * max(point.n_film for point in doc.members)
    low, high = min(ours), max(ours)
    for row in doc.published:
        value = row.implied_gamma_j_per_m2
        label = f"{row.paper}: {signed(row.published_j_per_m2)} {_UNIT} from $\\gamma$({formula_label(row.surface)})"
        if low - 2 * (high - low) <= value <= high + 2 * (high - low):
            axes.plot([-half, half], [value] * 2, zorder=6, label=label, **style)
        else:  # on the axis it would press our points into a line
            axes.plot([], [], label=f"{label},\n{signed(value)} {_UNIT}, off the scale", **style)


def _free_corner(slope: float) -> tuple[float, float]:
    """Return axes coordinates of the right-hand corner that the line does not enter (the legend is on top)."""
    return (0.97, 0.04) if slope >= 0 else (0.97, 0.66)


def _strain_text(doc: InterfaceEnergyDoc) -> str:
    eps, interval = doc.strain_energy_ev_per_unit, doc.strain_energy_ci_ev_per_unit
    if eps is None or interval is None:
        return ""
    half = (interval[1] - interval[0]) / 2
    text = rf"$2A\sigma$ = {with_error(1e3 * eps, 1e3 * half)} meV per {formula_label(doc.film)}"
    if doc.strain_check is not None:
        text += f"\nstrained bulk: {signed(1e3 * doc.strain_check.expected_ev_per_unit)} meV"
    return text


def _error_bar(doc: InterfaceEnergyDoc) -> str:
    known = [part.name for part in doc.uncertainty if part.half_width_j_per_m2 is not None]
    return ", ".join(known) if known and doc.uncertainty_j_per_m2 else "fit"


def _caption(doc: InterfaceEnergyDoc) -> list[str]:
    parts = [f"{formula_label(doc.contact)}."] if doc.contact else []
    if doc.strain_percent is not None:
        parts.append(f"Film strained by {signed(doc.strain_percent, 1)} %.")
    if not doc.contacts_equivalent:
        parts.append("The contacts differ: only their sum is defined.")
    parts.append(f"Error bar: {_error_bar(doc)}, {percent_confidence(doc.confidence_level)}.")
    lines = [" ".join(parts)]
    more = []
    if doc.contacts:
        more.append(f"{verbatim(doc.contacts[0].registry)}, gap {doc.contacts[0].gap_angstrom:.1f} Å.")
    if doc.plane is not None:
        more.append("Slope of the substrate taken off.")
    lines += [" ".join(more)] if more else []
    if doc.published:
        surface = formula_label(doc.published[0].surface)
        pair = f"{formula_label(doc.substrate)}/{formula_label(doc.film)}"
        lines.append(
            f"Black mark: published $\\gamma$({surface}) $-$ $\\gamma$({pair}), $\\gamma$({surface}) of this work."
        )
    return lines
