"""Figure of the surface-energy study, drawn from its stored document. Nothing is computed here but lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from anodeflow.analysis.figures.style import (
    SERIES,
    computed_by,
    formula_label,
    in_style,
    miller_label,
    percent_confidence,
    with_error,
    write_footer,
)
from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNIT = r"J m$^{-2}$"
#: A name and its value do not fit in one line of the legend.
_LONG_NAME = 18


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
    return surface_energy_figure(drawable, document.study_hash)


def surface_energy_figure(docs: Sequence[SurfaceEnergyDoc], study_hash: str | None = None) -> Figure:
    """Draw gamma of single slabs against their thickness, and the value of the fit with its confidence interval.

    Parameters
    ----------
    docs
        Surfaces, at most six with a value; those without are left out.
    study_hash
        Of their study, where they are of one.

    Returns
    -------
    Figure
        One column wide, with the engine and the card written on it.

    Raises
    ------
    InputError
        If no document has a value, or there are more than six.
    """
    shown = [doc for doc in docs if doc.converged]
    if not shown:
        raise InputError("there is no surface energy to draw", "see anodeflow results")
    if len(shown) > len(SERIES):
        raise InputError(f"{len(shown)} surfaces in one figure cannot be told apart", f"draw at most {len(SERIES)}")
    with in_style():
        figure, axes = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
        for doc, (colour, marker) in zip(shown, SERIES, strict=False):
            _draw_surface(axes, doc, colour, marker)
        axes.set_xlabel("slab thickness (Å)")
        axes.set_ylabel(rf"surface energy $\gamma$ ({_UNIT})")
        axes.margins(x=0.06, y=0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + (0.1 + 0.075 * len(shown)) * (high - low))
        axes.legend(loc="upper left", handletextpad=0.5, borderaxespad=0.4, labelspacing=0.35)
        computed = [
            computed_by(doc.engine, doc.card, study_hash)
            for doc in shown
            if doc.engine is not None and doc.card is not None
        ]
        write_footer(figure, *_caption(shown), *dict.fromkeys(computed))
    return figure


def _draw_surface(axes: Axes, doc: SurfaceEnergyDoc, colour: str, marker: str) -> None:
    gamma, interval = doc.gamma_j_per_m2 or 0.0, doc.gamma_ci_j_per_m2
    thickness = [member.thickness_angstrom for member in doc.members]
    value = f"{gamma:.3f}" if interval is None else with_error(gamma, (interval[1] - interval[0]) / 2)
    between = "  " if len(doc.crystal) < _LONG_NAME else "\n"
    if interval is not None:
        pad = 0.05 * max(max(thickness) - min(thickness), 1.0)
        ends = [min(thickness) - pad, max(thickness) + pad]
        axes.fill_between(ends, *interval, color=colour, alpha=0.16, lw=0, zorder=1)
        axes.plot(ends, [gamma, gamma], color=colour, zorder=2)
    axes.plot(
        thickness, [member.gamma_j_per_m2 for member in doc.members], marker, color=colour, ms=4.8, mec="white",
        mew=0.5, zorder=4,
        label=f"{formula_label(doc.crystal)}{miller_label(doc.miller)}{between}{value} {_UNIT}",
    )  # fmt: skip
    cleaved = [(m.thickness_angstrom, m.gamma_unrelaxed_j_per_m2) for m in doc.members if m.gamma_unrelaxed_j_per_m2]
    if cleaved:
        axes.plot(*zip(*cleaved, strict=True), marker, color=colour, ms=4.4, mfc="white", mew=0.9, zorder=3)


def _caption(docs: Sequence[SurfaceEnergyDoc]) -> list[str]:
    cleaved = any(member.gamma_unrelaxed_j_per_m2 is not None for doc in docs for member in doc.members)
    lines = ["Points: single slabs" + (", open: unrelaxed." if cleaved else ".")]
    levels = sorted({doc.confidence_level for doc in docs if doc.gamma_ci_j_per_m2})
    if levels:
        lines.append(f"Line and band: fit over thicknesses, {' and '.join(percent_confidence(x) for x in levels)}.")
    return lines
