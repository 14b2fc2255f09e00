"""Figure of the stability study: windows with what is formed at every voltage, and mixing curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from anodeflow.analysis.figures.style import (
    BLACK,
    GREEN,
    SERIES,
    computed_by,
    formula_label,
    in_style,
    mark_panel,
    write_footer,
)
from anodeflow.analysis.stability.documents import StabilityStudyDoc
from anodeflow.analysis.stability.mixing import MixingDoc
from anodeflow.analysis.stability.window import WindowDoc
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HIGHEST_V = 5.0
_SHADES = ("0.82", "0.90")
#: A field narrower than this has its number above the bar, V.
_NARROW_V = 0.09
_FOOTER_LETTERS = 150


def stability_figure(document: StabilityStudyDoc) -> Figure:
    """Draw every window as a bar, raw and corrected, and the mixing curves of the first electrolyte with each anode.

    Raises
    ------
    InputError
        If no electrolyte was compared with the hull.
    """
    lowest = {ensemble.configurations[0] for ensemble in document.ensembles}
    others = {name for ensemble in document.ensembles for name in ensemble.configurations} - lowest
    windows = [w for w in document.windows if w.fields and w.electrolyte not in others]
    if not windows:
        raise InputError("no electrolyte of this study has a window to draw", "see its warnings")
    order = list(dict.fromkeys(w.electrolyte for w in windows))
    windows.sort(key=lambda w: order.index(w.electrolyte))
    curves = [
        curve
        for curve in document.mixing
        if curve.second == windows[0].electrolyte
        and curve.potential_v is None
        and curve.points
        and curve.first in document.settings.get("anodes", [curve.first])
    ]
    with in_style():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(7.2, 2.0 + 0.42 * len(windows) + 2.4), height_ratios=(0.6 + 0.42 * len(windows), 2.4),
            layout="constrained",
        )  # fmt: skip
        key = _draw_windows(top, windows)
        mark_panel(top, 0)
        left, right = _split(figure, bottom)
        _draw_mixing(left, curves)
        _draw_excess(right, curves)
        mark_panel(left, 1)
        mark_panel(right, 2)
        write_footer(
            figure,
            *_lines(["(a) green: no lithium is taken up or given off", *key]),
            "(b) closed to lithium, raw; with anion corrections dashed where they differ; (c) per formula unit, raw",
            computed_by(document.engine, document.card, document.study_hash),
        )
    return figure


def _split(figure: Figure, axes: Axes) -> tuple[Axes, Axes]:
    """Put two panels in the place of one."""
    grid = axes.get_subplotspec()
    if grid is None:
        raise InputError("the figure has no grid", "report this")
    axes.remove()
    inner = grid.subgridspec(1, 2, width_ratios=(3, 2))
    return figure.add_subplot(inner[0]), figure.add_subplot(inner[1])


def _draw_windows(axes: Axes, windows: Sequence[WindowDoc]) -> list[str]:
    """Draw the bars, and return the key of the numbers in them."""
    numbers: dict[str, int] = {}
    for window in windows:
        for field in window.fields:
            numbers.setdefault(field.products, len(numbers) + 1)
    for row, window in enumerate(windows):
        for place, field in enumerate(window.fields):
            low = field.voltage_low_v
            high = _HIGHEST_V if field.voltage_high_v is None else min(field.voltage_high_v, _HIGHEST_V)
            if low >= _HIGHEST_V:
                continue
            inside = window.reduction_limit_v is not None and abs(low - window.reduction_limit_v) < 1e-9
            axes.barh(row, high - low, left=low, height=0.62, color=GREEN if inside else _SHADES[place % 2], lw=0)
            narrow = high - low < _NARROW_V
            axes.annotate(
                str(numbers[field.products]), ((low + high) / 2, row - (0.31 if narrow else 0)),
                xytext=(0, 4.5 if narrow else 0), textcoords="offset points", ha="center", va="center", fontsize=6,
                color="white" if inside else BLACK,
            )  # fmt: skip
        for limit, side in ((window.reduction_limit_v, "right"), (window.oxidation_limit_v, "left")):
            if limit is not None:
                axes.annotate(
                    f"{limit:.2f}", (limit, row + 0.31), xytext=(-1.5 if side == "right" else 1.5, -4.5),
                    textcoords="offset points", ha=side, va="center", fontsize=6,
                )  # fmt: skip
    axes.set_yticks(range(len(windows)), [f"{formula_label(w.electrolyte)}\n{w.energies}" for w in windows])
    axes.set_ylim(len(windows) - 0.35, -0.65)
    axes.set_xlim(0, _HIGHEST_V)
    axes.set_xlabel("voltage against Li (V)")
    return [f"{number} {formula_label(products)}" for products, number in numbers.items()]


def _lines(items: Sequence[str]) -> list[str]:
    """Join items to lines of a footer; none is broken."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}; {item}" if lines[-1] else item
        if len(longer.replace("$", "").replace("_", "").replace("{", "").replace("}", "")) > _FOOTER_LETTERS:
            lines.append(item)
        else:
            lines[-1] = longer
    return lines


def _draw_mixing(axes: Axes, curves: Sequence[MixingDoc]) -> None:
    """Draw energy against the share of the anode."""
    names = list(dict.fromkeys(curve.first for curve in curves))
    for curve in curves:
        colour, marker = SERIES[names.index(curve.first) % len(SERIES)]
        points = sorted((p.share_of_first, p.energy_ev_per_atom) for p in curve.points)
        x, y = zip(*points, strict=True)
        if curve.energies == "raw":
            axes.plot(x, y, marker=marker, color=colour, ms=3, label=formula_label(curve.first))
        elif _differs(points, curves, curve):
            axes.plot(x, y, "--", color=colour, lw=0.8)
    if not names:
        axes.text(0.5, 0.5, "no anode to mix with", ha="center", transform=axes.transAxes)
        return
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of the anode's atoms in {formula_label(curves[0].second)}")
    axes.set_ylabel("energy of mixing (eV/atom)")
    axes.legend(loc="lower left")


def _differs(points: list[tuple[float, float]], curves: Sequence[MixingDoc], curve: MixingDoc) -> bool:
    raw = next((c for c in curves if c.first == curve.first and c.energies == "raw"), None)
    if raw is None:
        return True
    other = sorted((p.share_of_first, p.energy_ev_per_atom) for p in raw.points)
    return len(other) != len(points) or not np.allclose(points, other, atol=1e-4)


def _draw_excess(axes: Axes, curves: Sequence[MixingDoc]) -> None:
    """Draw the energy per formula unit of the electrolyte with each anode in excess."""
    raw = [c for c in curves if c.energies == "raw" and c.excess_ev_per_formula is not None]
    energies = [c.excess_ev_per_formula or 0.0 for c in raw]
    axes.bar(range(len(raw)), energies, width=0.6, color=[SERIES[i % len(SERIES)][0] for i in range(len(raw))])
    for i, energy in enumerate(energies):
        axes.annotate(f"{energy:.1f}".replace("-", "−"), (i, energy), xytext=(0, -3), textcoords="offset points",
                      ha="center", va="top", fontsize=7)  # fmt: skip
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xticks(range(len(raw)), [formula_label(c.first) for c in raw])
    axes.set_ylim(min([*energies, -1.0]) * 1.15, None)
    axes.set_ylabel("anode in excess (eV per formula)")
