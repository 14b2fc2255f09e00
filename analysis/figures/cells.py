"""Figure of the table of anodes: N/P against current density, cycles as size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from anodeflow.analysis.cell_arithmetic import CellRow
from anodeflow.analysis.figures.style import BLACK, BLUE, VERMILION, formula_label, in_style, write_footer
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZES = (100, 1000, 5000)
#: Where a name may stand: to the right or left of its marker, and how far up, in steps of 4 points.
_PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 2), (-1, 2), (1, -2), (-1, -2), (1, 4), (-1, 4), (1, -4), (-1, -4))


def cells_figure(rows: Sequence[CellRow]) -> Figure:
    """Draw every row that has an N/P ratio and a current density; those of a user's file in another colour.

    Raises
    ------
    InputError
        If there is none.
    """
    drawable = [row for row in rows if row.n_to_p and row.current_ma_per_cm2]
    if not drawable:
        raise InputError("no cell has both an N/P ratio and a current density", "give current_ma_per_cm2")
    with in_style():
        figure, axes = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
        for row in drawable:
            axes.scatter(
                *_point(row), s=_area(row.cycles), marker="D" if row.own else "o",
                color=VERMILION if row.own else BLUE, alpha=0.65, lw=0,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        currents, ratios = ([getattr(r, key) for r in drawable] for key in ("current_ma_per_cm2", "n_to_p"))
        axes.set_xlim(min(currents) / 1.5, max(currents) * 1.9)
        axes.set_ylim(min([*ratios, 1.0]) / 1.4, max(ratios) * 1.6)
        axes.axhline(1.0, color="0.3", lw=0.6, ls="--")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for ticks in (axes.xaxis, axes.yaxis):
            ticks.set_minor_formatter(lambda value, _: "")
        axes.set_yticks([tick for tick in (1, 2, 5, 10, 20) if tick < max(ratios) * 1.6])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("current density (mA/cm$^2$)")
        axes.set_ylabel("N/P")
        handles = [axes.scatter([], [], s=_area(n), color="0.6", lw=0, label=f"{n} cycles") for n in _SIZES]
        axes.legend(handles=handles, loc="upper right", labelspacing=1.0)
        lines = ["published, as printed: circles; own cells: diamonds" if any(r.own for r in drawable) else ""]
        write_footer(figure, *filter(None, [*lines, *dict.fromkeys(r.source for r in drawable if not r.own)]))
        _label(axes, drawable)
    return figure


def _area(cycles: int | None) -> float:
    """Return the area of a marker, points squared."""
    return 14.0 + 0.06 * (cycles or 0)


def _label(axes: Axes, rows: Sequence[CellRow]) -> None:
    """Write each name beside its marker, where it covers no other name or marker; equal points share one."""
    shared: dict[tuple[float, float], list[CellRow]] = {}
    for row in rows:
        shared.setdefault(_point(row), []).append(row)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides where the points lie
    pixels = axes.figure.dpi / 72
    radius = {key: max(math.sqrt(_area(row.cycles)) for row in alike) / 2 for key, alike in shared.items()}
    taken = [
        Bbox.from_extents(x - r * pixels, y - r * pixels, x + r * pixels, y + r * pixels)
        for (x, y), r in ((axes.transData.transform(key), radius[key]) for key in shared)
    ]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    for key, alike in shared.items():
        text = axes.annotate(
            ", ".join(formula_label(row.anode) for row in alike), key, xytext=(0, 0), textcoords="offset points",
            fontsize=6, va="center", color=VERMILION if any(row.own for row in alike) else BLACK,
        )  # fmt: skip
        covered = {place: _covered(axes, _put(text, place, radius[key]), taken) for place in _PLACES}
        taken.append(_put(text, min(_PLACES, key=lambda place: covered[place]), radius[key]))


def _put(text: Any, place: tuple[int, int], radius: float) -> Bbox:
    """Write a name at one of the places, and return what it covers, pixels."""
    across, up = place
    text.set_ha({1: "left", -1: "right", 0: "center"}[across])
    text.set_position((across * (radius + 2), up * (4 + (0 if across else radius + 2))))
    box: Bbox = text.get_window_extent()
    return box


def _covered(axes: Axes, box: Bbox, taken: Sequence[Bbox]) -> int:
    """Return how many boxes this one overlaps; ten more where it leaves the axes."""
    outside = not (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0)
    return sum(box.overlaps(other) for other in taken) + 10 * outside


def _point(row: CellRow) -> tuple[float, float]:
    return row.current_ma_per_cm2 or 0.0, row.n_to_p or 0.0
