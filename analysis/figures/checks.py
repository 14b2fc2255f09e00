"""Figure of a check: forces of the study's engine against those with electrons with their slopes, and energy errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from anodeflow.analysis.checks import AWAY_FROM_MINIMA, CheckDoc
from anodeflow.analysis.figures.style import (
    SERIES,
    computed_by,
    face_label,
    in_style,
    mark_panels,
    verbatim,
    write_footer,
)
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 3000


def check_figure(document: CheckDoc) -> Figure:
    """Draw forces by component, slopes by element and environment, and what is left of the energies.

    Raises
    ------
    InputError
        If no structure has forces of both engines, or one of them is a stand-in.
    """
    if document.engine.stand_in or document.check_engine.stand_in:
        raise InputError("no figure of what a stand-in computed", "run the study with the real program")
    if not document.forces:
        raise InputError("the check has no forces to draw", document.error or "see its warnings")
    slopes = any(errors.slope is not None for errors in document.forces)
    energies = document.energy_rmse_ev_per_atom is not None
    panels = 1 + slopes + energies
    with in_style():
        figure, grid = plt.subplots(1, panels, figsize=(3.1 * panels, 3.0), squeeze=False, layout="constrained")
        axes = list(grid.flat)
        _draw_parity(axes[0], document)
        if slopes:
            _draw_slopes(axes[1], document)
        if energies:
            _draw_energies(axes[-1], document)
        mark_panels(axes)
        write_footer(
            figure,
            f"checked: {computed_by(document.engine, document.card)}",
            f"with electrons: {computed_by(document.check_engine, document.check_card)}; bars: 95 % confidence",
        )
    return figure


def _draw_parity(axes: Axes, document: CheckDoc) -> None:
    elements = [errors.name for errors in document.forces if errors.scope == "element"]
    largest, minima = 0.0, False
    for number, element in enumerate(elements):
        colour, marker = SERIES[number % len(SERIES)]
        for fitted in (True, False):
            x, y = _components(document, element, fitted)
            if not len(x):
                continue
            largest = max(largest, float(np.abs(x).max()), float(np.abs(y).max()))
            step, face = -(-len(x) // _MOST_POINTS), colour if fitted else "none"
            label = element if fitted or not len(_components(document, element, True)[0]) else None
            axes.plot(x[::step], y[::step], marker, color=colour, mfc=face, ms=2.5, mew=0.4, alpha=0.6, label=label)
            minima = minima or not fitted
    if minima:
        axes.plot([], [], "o", color="0.3", mfc="none", ms=2.5, mew=0.4, label="relaxed by it: not fitted")
    edge = 1.05 * largest or 1.0
    axes.plot([-edge, edge], [-edge, edge], color="0.5", lw=0.8, label="equal")
    every = document.errors_of("all", "all")
    if every is not None and every.slope is not None:
        ends = np.array([-edge, edge])
        axes.plot(ends, every.slope * ends, "k--", lw=0.9, label=f"slope {every.slope_text}")
    axes.set_xlim(-edge, edge)
    axes.set_ylim(-edge, edge)
    axes.set_aspect("equal")
    axes.set_xlabel(f"force component by {verbatim(document.check_engine.name)} (eV/Å)")
    axes.set_ylabel(f"by {verbatim(document.engine.name.partition(':')[0])} (eV/Å)")
    axes.legend(fontsize=6, loc="upper left")


def _components(document: CheckDoc, element: str, fitted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return components of forces on an element: with electrons, by the study's engine.

    Parameters
    ----------
    document, element
        Of which.
    fitted
        Of structures that the slope is fitted to, or of those that the engine relaxed.
    """
    pairs = [np.zeros((2, 0))]
    for structure in document.structures:
        chosen = np.array(structure.species) == element
        if structure.forces_ev_per_angstrom is not None and (structure.kind in AWAY_FROM_MINIMA) is fitted:
            both = (structure.check_forces_ev_per_angstrom, structure.forces_ev_per_angstrom)
            pairs.append(np.array([np.asarray(forces, dtype=float)[chosen].ravel() for forces in both]))
    x, y = np.concatenate(pairs, axis=1)
    return x, y


def _draw_slopes(axes: Axes, document: CheckDoc) -> None:
    shown = [e for e in document.forces if e.slope is not None and e.scope != "kind"]
    for place, errors in enumerate(shown):
        colour, marker = SERIES[("all", "element", "environment").index(errors.scope)]
        axes.errorbar(
            errors.slope or 0.0,
            place,
            xerr=errors.slope_half_width,
            color=colour,
            marker=marker,
            ms=4,
            capsize=2,
            lw=0.8,
        )
    axes.axvline(1.0, color="0.5", lw=0.8)
    names = [verbatim(e.name) if e.scope == "all" else f"{verbatim(e.name)} ({e.scope})" for e in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.15)
    axes.set_xlabel("slope of forces (1: neither soft nor stiff)")


def _draw_energies(axes: Axes, document: CheckDoc) -> None:
    shown = [s for s in document.structures if s.error_ev_per_atom is not None]
    values = [1000 * (s.error_ev_per_atom or 0.0) for s in shown]
    axes.barh(range(len(shown)), values, color=SERIES[0][0], height=0.6)
    axes.axvline(0.0, color="0.5", lw=0.8)
    axes.set_yticks(
        range(len(shown)), [face_label(verbatim(s.label.removeprefix("check/"))) for s in shown], fontsize=6
    )
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("energy error (meV/atom)")
