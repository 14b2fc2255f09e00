"""Figure of an interphase: amounts, thickness with its fit, layers at both ends of the run, Li through the contacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from anodeflow.analysis.interphase import InterphaseDoc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "metal": "#7F7F7F", "Li-Al": "#0072B2", "LiCl": "#009E73", "Li2S": "#E69F00", "Li3P": "#D55E00", "LixP": "#CC79A7",
    "PSx": "#56B4E9", "PS4": "#F0E442", "other": "#000000",
}  # fmt: skip
_NAMES = {"Li2S": "Li$_2$S", "Li3P": "Li$_3$P", "LixP": "Li$_x$P", "PSx": "PS$_x$", "PS4": "PS$_4$"}


def interphase_panels(document: InterphaseDoc) -> list[Callable[[Axes], None]]:
    """Return what draws each panel: amounts, thickness, layers of the first and last window, Li through the planes."""
    last = len(document.windows) - 1
    panels: list[Callable[[Axes], None]] = [
        partial(_draw_amounts, document=document),
        partial(_draw_thickness, document=document),
        *(partial(_draw_layers, document=document, window=window) for window in sorted({0, last})),
    ]
    if document.planes:
        panels.append(partial(_draw_crossings, document=document))
    return panels


def _times(document: InterphaseDoc) -> tuple[np.ndarray, str]:
    if document.times_ps is None:
        return np.arange(document.frames), "frame"
    return np.array(document.times_ps) - document.times_ps[0], "time from contact (ps)"


def _draw_amounts(axes: Axes, document: InterphaseDoc) -> None:
    x, name = _times(document)
    for phase in document.phases:
        axes.plot(x, document.atoms[phase], color=_COLOURS[phase], lw=1.0, label=_NAMES.get(phase, phase))
    axes.set_xlabel(name)
    axes.set_ylabel("atoms like")
    axes.set_ylim(0, 1.3 * max(max(document.atoms[phase]) for phase in document.phases))
    axes.legend(loc="upper center", ncols=4, fontsize=6, columnspacing=0.8, handlelength=1.0)


def _draw_thickness(axes: Axes, document: InterphaseDoc) -> None:
    x, name = _times(document)
    thickness = np.array(document.thickness_angstrom)
    axes.plot(x, thickness, color="0.6", lw=0.8, label="share of products, integrated")
    law = document.growth
    if law is not None and law.exponent is not None and law.exponent_ci is not None:
        fitted = slice(0, law.points)
        scaled = (x[fitted] / x[fitted][-1]) ** law.exponent
        start = thickness[fitted].mean() - law.growth_angstrom * scaled.mean()
        low, high = law.exponent_ci
        axes.plot(
            x[fitted], start + law.growth_angstrom * scaled, color="black", lw=1.2,
            label=f"$t^n$, $n$ = {law.exponent:.2f} [{low:.2f}, {high:.2f}]",
        )  # fmt: skip
    if document.growth_until_ps is not None:
        axes.axvline(document.growth_until_ps, color="0.5", lw=0.7, ls=":", label="electrolyte used up")
    axes.set_xlabel(name)
    axes.set_ylabel("thickness, all contacts (Å)")
    axes.set_ylim(0, 1.35 * max(1.0, float(thickness.max())))
    axes.legend(loc="upper left", fontsize=6)


def _draw_layers(axes: Axes, document: InterphaseDoc, window: int) -> None:
    z, width = np.array(document.z_angstrom), document.slice_angstrom
    below = np.zeros(len(z))
    for phase in document.phases:
        values = np.array(document.layers[phase][window])
        axes.bar(z, values, width=width, bottom=below, color=_COLOURS[phase], lw=0)
        below = below + values
    for plane in document.planes:
        axes.axvline(plane.position * width * len(z), color="black", lw=0.7, ls=":")
    start, stop = document.windows[window]
    text = f"frames {start} to {stop - 1}"
    if document.times_ps is not None:
        first = document.times_ps[0]
        text = f"{document.times_ps[start] - first:.3g} to {document.times_ps[stop - 1] - first:.3g} ps"
    axes.text(0.02, 0.96, text, transform=axes.transAxes, fontsize=6.5, va="top")
    axes.set_xlim(0, width * len(z))
    axes.set_ylim(0, 1.25 * max(1.0, float(below.max())))
    axes.set_xlabel(f"distance along the normal, axis {document.axis} (Å)")
    axes.set_ylabel(f"atoms in {width:.2f} Å")


def _draw_crossings(axes: Axes, document: InterphaseDoc) -> None:
    x, name = _times(document)
    area = document.area_angstrom2 / 100
    for number, (plane, style) in enumerate(zip(document.planes, ("-", "--"), strict=False)):
        axes.plot(x, np.array(plane.net_li) / area, style, color="#CC79A7", lw=1.0, label=f"contact {number + 1}")
    axes.axhline(0, color="0.7", lw=0.6)
    axes.set_xlabel(name)
    axes.set_ylabel("Li into the electrolyte (nm$^{-2}$)")
    axes.legend(loc="best", fontsize=6)
