"""Figure of one study by several engines: each number beside the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anodeflow.analysis.comparison import ComparedQuantity, ComparisonDoc, significant
from anodeflow.analysis.figures.style import SERIES, face_label, in_style, mark_panel, verbatim, write_footer
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PANELS, _MOST_ROWS, _COLUMNS, _A_LINE = 9, 14, 3, 4
#: Rows that are farther apart than the largest spread over this are drawn from their means.
_HIDDEN = 0.1


def comparison_figure(comparison: ComparisonDoc) -> Figure:
    """Draw one panel a quantity: rows below each other, one mark an engine, bars what each claims.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    panels: dict[tuple[str, str], list[ComparedQuantity]] = {}
    for quantity in comparison.quantities:
        panels.setdefault((quantity.table, quantity.quantity), []).append(quantity)
    if not panels:
        raise InputError("no number of these results to draw", "see why each engine has none")
    shown = list(panels.values())[:_MOST_PANELS]
    columns = min(_COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    tallest = max(min(len(rows), _MOST_ROWS) for rows in shown)
    with in_style():
        figure, grid = plt.subplots(
            lines, columns, figsize=(2.9 * columns + 0.4, lines * (1.1 + 0.2 * tallest) + 0.5), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for number, axes in enumerate(grid.flat):
            if number >= len(shown):
                axes.set_axis_off()
                continue
            _draw(axes, shown[number][:_MOST_ROWS], comparison)
            mark_panel(axes, number)
        figure.legend(handles=_marks(comparison), loc="outside upper center", ncols=4, fontsize=6)
        write_footer(figure, *_lines(comparison, left_out=len(panels) - len(shown)))
    return figure


def _draw(axes: Axes, rows: list[ComparedQuantity], comparison: ComparisonDoc) -> None:
    means = [float(np.mean([value.value for value in quantity.values])) for quantity in rows]
    # numbers that lie far apart hide how engines differ, which is what the figure is for
    apart = max(np.ptp([value.value for value in quantity.values]) for quantity in rows)
    relative = len(rows) > 1 and 0 < apart < _HIDDEN * float(np.ptp(means))
    origins = means if relative else [0.0] * len(rows)
    for number, answer in enumerate(comparison.answers):
        colour, marker = SERIES[number % len(SERIES)]
        shift = 0.5 * (number / max(1, len(comparison.answers) - 1) - 0.5)
        for line, (quantity, origin) in enumerate(zip(rows, origins, strict=True)):
            value = quantity.of(answer.label)
            if value is not None:
                axes.errorbar(
                    value.value - origin, line + shift, xerr=value.claimed, color=colour, marker=marker, ms=3.5, lw=0.8,
                    capsize=1.5, mfc=colour if _is_first(answer.functional, comparison) else "white",
                )  # fmt: skip
    names = [face_label(verbatim(quantity.place)) for quantity in rows]
    places = [f"{name}\n{significant(mean)}" if relative else name for name, mean in zip(names, means, strict=True)]
    axes.set_yticks(range(len(rows)), places, fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for line in range(1, len(rows)):
        axes.axhline(line - 0.5, color="0.85", lw=0.5)
    axes.set_xlabel(f"{rows[0].heading}, from the mean" if relative else rows[0].heading)
    axes.margins(x=0.1)


def _is_first(functional: str, comparison: ComparisonDoc) -> bool:
    return functional == comparison.answers[0].functional


def _marks(comparison: ComparisonDoc) -> list[Line2D]:
    handles, drawn = [], {value.engine for quantity in comparison.quantities for value in quantity.values}
    for number, answer in enumerate(comparison.answers):
        if answer.label not in drawn:
            continue
        colour, marker = SERIES[number % len(SERIES)]
        face = colour if _is_first(answer.functional, comparison) else "white"
        label = verbatim(f"{answer.label} ({answer.functional})")
        handles.append(Line2D([], [], color=colour, marker=marker, mfc=face, ls="none", ms=4, label=label))
    return handles


def _lines(comparison: ComparisonDoc, left_out: int) -> list[str]:
    lines = [f"{verbatim(comparison.title)}; bars: what each result claims"]
    named = [f"{verbatim(answer.label)} {answer.study_hash}" for answer in comparison.answers]
    lines += ["studies: " + ", ".join(named[k : k + _A_LINE]) for k in range(0, len(named), _A_LINE)]
    if left_out:
        lines.append(f"{left_out} more quantities are in the table")
    return lines
