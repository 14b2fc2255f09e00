"""Figure of convergence rows: how far E_int moves with each setting that was varied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from anodeflow.analysis.binding_rows import BindingConvergence, ConvergenceRow
from anodeflow.analysis.figures.style import (
    SERIES,
    computed_by,
    formula_label,
    in_style,
    mark_panels,
    write_footer,
)
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from anodeflow.analysis.binding import BindingStudyDoc

_AXIS = {
    "bulk.min_image_distance_angstrom": "distance of images (Å)",
    "slab.vacuum_angstrom": "vacuum (Å)",
    "slab.min_thickness_angstrom": "thickness of the slab (Å)",
    "slab.min_lateral_angstrom": "distance of Li along the face (Å)",
    "kpoints.spacing_per_angstrom": "spacing of k-points (1/Å)",
}


def convergence_figure(study: BindingStudyDoc) -> Figure:
    """Draw a panel for each setting: E_int less that of the most accurate value, a line a state, dashed of Li+.

    Parameters
    ----------
    study
        With convergence rows.

    Raises
    ------
    InputError
        If no row has a number.
    """
    drawable = [c for c in study.convergence or [] if any(row.from_finest_ev is not None for row in c.rows)]
    settings = list(dict.fromkeys(c.setting for c in drawable))
    if not settings:
        raise InputError("no convergence row has a number to draw", "see anodeflow results --what convergence")
    places = list(dict.fromkeys(c.where for c in drawable))
    with in_style():
        figure, panels = plt.subplots(
            1, len(settings), figsize=(max(3.5, 2.7 * len(settings) + 0.3), 2.9), squeeze=False, layout="constrained"
        )
        for axes, setting in zip(panels[0], settings, strict=True):
            for convergence in (c for c in drawable if c.setting == setting):
                _draw(axes, convergence, *SERIES[places.index(convergence.where) % len(SERIES)])
            within = drawable[0].within_ev
            axes.axhspan(-within, within, color="0.9", zorder=0)
            axes.axhline(0, color="black", lw=0.7, zorder=1)
            axes.set_xlabel(_AXIS.get(setting, setting))
            if "spacing" in setting:
                axes.invert_xaxis()
            axes.margins(x=0.1, y=0.2)
        panels[0][0].set_ylabel(r"$E_\mathrm{int}$ $-$ that of the finest (eV/Li)")
        mark_panels(panels[0])
        shown = [axes.get_legend_handles_labels() for axes in panels[0]]
        of_label = {label: handle for panel in shown for handle, label in zip(*panel, strict=True)}
        figure.legend(
            of_label.values(), of_label.keys(), loc="outside upper center", ncols=min(3, len(of_label)), frameon=False
        )
        text = f"Large marks: the study's own value; grey: {drawable[0].within_ev:g} eV, what counts as converged."
        write_footer(figure, text, computed_by(study.engine, study.card, study.study_hash))
    return figure


def _draw(axes: Axes, convergence: BindingConvergence, colour: str, marker: str) -> None:
    place = formula_label(convergence.crystal)
    label = f"{place}, {convergence.state}"
    _line(axes, convergence.rows, [row.from_finest_ev for row in convergence.rows], colour, marker, "-", label)
    ions = [row.ion_from_finest_ev for row in convergence.rows]
    if any(value is not None for value in ions):
        _line(axes, convergence.rows, ions, colour, marker, "--", f"{label}, Li$^+$")


def _line(
    axes: Axes,
    rows: list[ConvergenceRow],
    changes: list[float | None],
    colour: str,
    marker: str,
    style: str,
    label: str,
) -> None:
    shown = [(row, change) for row, change in zip(rows, changes, strict=True) if change is not None]
    face = colour if style == "-" else "white"
    axes.plot([r.value for r, _ in shown], [c for _, c in shown], style, color=colour, marker=marker, ms=3.5, mfc=face,
              lw=1.0, label=label)  # fmt: skip
    for row, change in shown:
        if row.is_base:
            axes.plot(row.value, change, marker=marker, ms=6.5, color=colour, mfc=face, ls="none")
