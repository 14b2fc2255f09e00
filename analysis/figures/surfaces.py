"""Figures of surface and interface energies, drawn from stored documents. Nothing is computed here but lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.figures.style import (
    BLACK,
    BLUE,
    SERIES,
    VERMILION,
    computed_by,
    formula_label,
    in_style,
    miller_label,
    write_footer,
)
from anodeflow.analysis.fits import confidence_band
from anodeflow.analysis.interface_energy import InterfaceEnergyDoc
from anodeflow.analysis.study_documents import InterfaceStudyDoc, SurfaceStudyDoc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.documents import CardRecord, EngineRecord
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT, INTERCEPT, PUBLISHED = BLUE, VERMILION, BLACK
UNIT = r"J m$^{-2}$"


def surface_study_figure(document: SurfaceStudyDoc) -> Figure:
    """Draw the surfaces of a study that have an energy.

    Raises
    ------
    InputError
        If none has.
    """
    drawable = [surface for surface in document.surfaces if surface.converged]
    if not drawable:
        raise InputError("no surface of this study has an energy to draw", "see its warnings")
    return surface_energy_figure(drawable)


def interface_study_figure(document: InterfaceStudyDoc) -> Figure:
    """Draw the fit of the interface energy of a study.

    Raises
    ------
    InputError
        If it has none.
    """
    if not document.interface.converged:
        raise InputError(f"the interface has no energy to draw: {document.interface.error}")
    return interface_energy_figure(document.interface)


def interface_energy_figure(doc: InterfaceEnergyDoc) -> Figure:
    """Gamma against the number of film units, with the line, its confidence band and the intercept.

    Parameters
    ----------
    doc
        With a fit. If its two contacts differ, gamma is the mean of both and the figure says so.

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
        raise InputError(
            f"the interface {doc.substrate}/{doc.film} has no fit to draw: {doc.error or 'no reason recorded'}",
            "see anodeflow results",
        )
    film, substrate = formula_label(doc.film), formula_label(doc.substrate)
    sizes = [p.n_film for p in doc.members]
    with in_style():
        figure, axes = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
        grid = np.linspace(0.0, max(sizes) * 1.06, 200)
        lower, upper = confidence_band(fit, grid)
        band = axes.fill_between(grid, lower, upper, color=POINT, alpha=0.16, lw=0, zorder=1)
        measured = grid >= min(sizes)
        axes.plot(grid[measured], fit.predict(grid[measured]), color=POINT, zorder=2)
        axes.plot(grid[~measured], fit.predict(grid[~measured]), color=POINT, ls=(0, (4, 2)), zorder=2)
        axes.plot(
            sizes, [p.gamma_j_per_m2 for p in doc.members], "o", color=POINT, ms=4.5, mec="white", mew=0.5, zorder=4,
            label="computed cells",
        )  # fmt: skip
        mean = "" if doc.contacts_equivalent else ", mean"
        half = fit.intercept_ci[1] - fit.intercept
        axes.errorbar(
            0, fit.intercept, yerr=half, fmt="D", color=INTERCEPT, ms=4.8, mec="white", mew=0.5, capsize=3,
            elinewidth=1.1, zorder=5, clip_on=False,
            label=rf"$\gamma${mean} = {_with_error(fit.intercept, half)} {UNIT}",
        )  # fmt: skip
        own = [*lower, *upper, *(p.gamma_j_per_m2 for p in doc.members)]
        for row in doc.published:
            label = (
                f"{row.paper}: {_signed(row.published_j_per_m2)} {UNIT} from $\\gamma$({formula_label(row.surface)})"
            )
            if not _in_view(row.implied_gamma_j_per_m2, own):
                # Far away it would press our own points into a line: say it in words.
                label += f",\n{_signed(row.implied_gamma_j_per_m2)} {UNIT}, off the scale"
                axes.plot([], [], color=PUBLISHED, lw=1.1, ls=(0, (2.2, 1.2)), label=label)
                continue
            axes.plot(
                [-0.045 * max(sizes), 0.045 * max(sizes)], [row.implied_gamma_j_per_m2] * 2, color=PUBLISHED, lw=1.1,
                ls=(0, (2.2, 1.2)), zorder=6, label=label,
            )  # fmt: skip
        axes.axvline(0, ymax=0.6, color="0.6", lw=0.6, zorder=0)
        axes.set_xlim(-0.06 * max(sizes), grid[-1])
        axes.margins(y=0.08)
        axes.set_xlabel(rf"number of {film} units in the film, $n$")
        axes.set_ylabel(rf"$\gamma(n)$ of {substrate}/{film}{mean} ({UNIT})")
        axes.text(
            *_free_corner(fit.slope), _strain_text(doc), transform=axes.transAxes, ha="right",
            va="bottom" if fit.slope >= 0 else "top", fontsize=7, linespacing=1.35,
        )  # fmt: skip
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            [*handles, band], [*labels, f"line, {_percent(fit.level)}"], loc="upper left", handletextpad=0.5,
            borderaxespad=0.4, labelspacing=0.35,
        )  # fmt: skip
        write_footer(figure, *_caption([(doc.engine, doc.card)], _interface_caption(doc)))
    return figure


def surface_energy_figure(docs: Sequence[SurfaceEnergyDoc]) -> Figure:
    """Gamma of single slabs against their thickness, and the value of the fit with its confidence interval.

    Parameters
    ----------
    docs
        Surfaces, at most six with a value; those without are left out.

    Returns
    -------
    Figure
        One column wide, with the engine and the card written on it.

    Raises
    ------
    InputError
        If no document has a value, or there are more than six.
    """
    shown = [d for d in docs if d.converged]
    if not shown:
        raise InputError("there is no surface energy to draw", "see anodeflow results")
    if len(shown) > len(SERIES):
        raise InputError(f"{len(shown)} surfaces in one figure cannot be told apart", f"draw at most {len(SERIES)}")
    with in_style():
        figure, axes = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
        for doc, (colour, marker) in zip(shown, SERIES, strict=False):
            _draw_surface(axes, doc, colour, marker)
        axes.set_xlabel("slab thickness (Å)")
        axes.set_ylabel(rf"surface energy $\gamma$ ({UNIT})")
        axes.margins(x=0.06, y=0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + (0.1 + 0.075 * len(shown)) * (high - low))
        axes.legend(loc="upper left", handletextpad=0.5, borderaxespad=0.4, labelspacing=0.35)
        write_footer(figure, *_caption([(d.engine, d.card) for d in shown], _surface_caption(shown)))
    return figure


def _draw_surface(axes: Axes, doc: SurfaceEnergyDoc, colour: str, marker: str) -> None:
    gamma, interval = doc.gamma_j_per_m2 or 0.0, doc.gamma_ci_j_per_m2
    thickness = [m.thickness_angstrom for m in doc.members]
    value = f"{gamma:.3f}" if interval is None else _with_error(gamma, (interval[1] - interval[0]) / 2)
    if interval is not None:
        pad = 0.05 * max(max(thickness) - min(thickness), 1.0)
        ends = [min(thickness) - pad, max(thickness) + pad]
        axes.fill_between(ends, *interval, color=colour, alpha=0.16, lw=0, zorder=1)
        axes.plot(ends, [gamma, gamma], color=colour, zorder=2)
    axes.plot(
        thickness, [m.gamma_j_per_m2 for m in doc.members], marker, color=colour, ms=4.8, mec="white", mew=0.5,
        zorder=4, label=f"{formula_label(doc.crystal)}{miller_label(doc.miller)}  {value} {UNIT}",
    )  # fmt: skip
    cleaved = [(m.thickness_angstrom, m.gamma_unrelaxed_j_per_m2) for m in doc.members if m.gamma_unrelaxed_j_per_m2]
    if cleaved:
        axes.plot(*zip(*cleaved, strict=True), marker, color=colour, ms=4.4, mfc="white", mew=0.9, zorder=3)


def _in_view(value: float, own: Sequence[float]) -> bool:
    """Whether a value lies within twice the range of our own around it."""
    low, high = min(own), max(own)
    return low - 2 * (high - low) <= value <= high + 2 * (high - low)


def _free_corner(slope: float) -> tuple[float, float]:
    """Axes coordinates of the right-hand corner that the line does not enter (the legend is on top)."""
    return (0.97, 0.04) if slope >= 0 else (0.97, 0.66)


def _strain_text(doc: InterfaceEnergyDoc) -> str:
    eps, interval = doc.strain_energy_ev_per_unit, doc.strain_energy_ci_ev_per_unit
    if eps is None or interval is None:
        return ""
    half = (interval[1] - interval[0]) / 2
    text = rf"$2A\sigma$ = {_with_error(1e3 * eps, 1e3 * half)} meV per {formula_label(doc.film)}"
    if doc.strain_check is not None:
        text += f"\nstrained bulk: {_signed(1e3 * doc.strain_check.expected_ev_per_unit)} meV"
    return text


def _with_error(value: float, half_width: float) -> str:
    """A value and its half-width, rounded to two digits of the latter (two to four decimals)."""
    decimals = 1 - int(np.floor(np.log10(half_width))) if half_width > 0 else 4
    decimals = min(4, max(2, decimals))
    return f"{_signed(value, decimals)} ± {half_width:.{decimals}f}"


def _signed(value: float, decimals: int = 2) -> str:
    """A number with a true minus sign."""
    return f"{value:.{decimals}f}".replace("-", "−")


def _percent(level: float) -> str:
    return f"{100 * level:g} % confidence"


def _interface_caption(doc: InterfaceEnergyDoc) -> str:
    parts = [f"{doc.contact}."] if doc.contact else []
    if doc.strain_percent is not None:
        parts.append(f"Film strained by {_signed(doc.strain_percent, 1)} %.")
    if not doc.contacts_equivalent:
        parts.append("The contacts differ: only their sum is defined.")
    parts.append(f"Error bar: {_percent(doc.confidence_level)}.")
    if doc.published:
        surface = formula_label(doc.published[0].surface)
        pair = f"{formula_label(doc.substrate)}/{formula_label(doc.film)}"
        parts.append(
            f"\nBlack mark: published $\\gamma$({surface}) $-$ $\\gamma$({pair}), $\\gamma$({surface}) of this work."
        )
    return " ".join(parts).replace(" \n", "\n")


def _surface_caption(docs: Sequence[SurfaceEnergyDoc]) -> str:
    parts = ["Points: single slabs" + (", open: unrelaxed." if any(_has_cleaved(d) for d in docs) else ".")]
    levels = {d.confidence_level for d in docs if d.gamma_ci_j_per_m2}
    if levels:
        parts.append(f"\nLine and band: fit over thicknesses, {' and '.join(_percent(x) for x in sorted(levels))}.")
    return " ".join(parts).replace(" \n", "\n")


def _has_cleaved(doc: SurfaceEnergyDoc) -> bool:
    return any(m.gamma_unrelaxed_j_per_m2 is not None for m in doc.members)


def _caption(origins: Sequence[tuple[EngineRecord | None, CardRecord | None]], first: str) -> list[str]:
    """What the marks mean, then engine and card of everything drawn, each once."""
    lines = [computed_by(engine, card) for engine, card in origins if engine is not None and card is not None]
    return [first, *dict.fromkeys(lines)]
