"""The figure of a molecular-dynamics study: systems side by side, before against after, bonds against time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, DynamicsSystemDoc, RdfBeforeAfter
from anodeflow.analysis.figures import STYLE
from anodeflow.errors import InputError

MAIN_PAIR = "P-S"


def dynamics_study_figure(study: DynamicsStudyDoc) -> Figure:
    """Upper row: a distribution function (P-S where there is one) of each system at both ends of the runs, with the
    running coordination number. Below: the share of intact PS4 against time, every seed thin, the mean thick, the
    spread of the seeds as a band.

    Raises
    ------
    InputError
        If no system has a trajectory.
    """
    drawable = [system for system in study.systems if system.rdfs]
    if not drawable:
        raise InputError("no system of this study has a trajectory to draw", "see its warnings")
    bonds = [system for system in drawable if system.intact_ps4_mean]
    with plt.style.context(STYLE):
        rows = 2 if bonds else 1
        figure = plt.figure(figsize=(max(3.5, 2.6 * len(drawable)), 2.4 * rows + 0.4), layout="constrained")
        grid = figure.add_gridspec(rows, len(drawable))
        first: Axes | None = None
        for number, system in enumerate(drawable):
            axes = figure.add_subplot(grid[0, number], sharex=first, sharey=first)
            first = first or axes
            _draw_rdf(axes, system, number == 0, number == len(drawable) - 1)
        if first is not None:
            first.set_ylim(bottom=0)  # now that all panels have been drawn, which share it
        if bonds:
            _draw_bonds(figure.add_subplot(grid[1, :]), bonds)
    return figure


def _pair(system: DynamicsSystemDoc) -> RdfBeforeAfter:
    return next((rdf for rdf in system.rdfs if rdf.pair == MAIN_PAIR), system.rdfs[0])


def _draw_rdf(axes: Axes, system: DynamicsSystemDoc, leftmost: bool, rightmost: bool) -> None:
    rdf = _pair(system)
    right = axes.twinx()
    for side, colour, name in ((rdf.before, "0.45", "before"), (rdf.after, "C3", "after")):
        axes.plot(side.r_angstrom, side.g, color=colour, label=name)
        right.plot(side.r_upper_angstrom, side.running_coordination, color=colour, ls="--", lw=0.8)
    axes.set(xlabel=f"r({rdf.pair}) (Å)", xlim=(1.5, 6.0), title=system.name)
    right.set_ylim(0, 12)
    if leftmost:
        axes.set_ylabel("g(r)")
        axes.legend(frameon=False)
    if rightmost:
        right.set_ylabel("running coordination (dashed)")
    else:
        right.set_yticklabels([])


def _draw_bonds(axes: Axes, systems: list[DynamicsSystemDoc]) -> None:
    for number, system in enumerate(systems):
        colour = f"C{number}"
        for replica in system.replicas:
            if replica.tetrahedra:
                axes.plot(replica.time_ps, replica.tetrahedra.intact_fraction, color=colour, lw=0.4, alpha=0.4)
        times, mean = np.array(system.time_ps), np.array(system.intact_ps4_mean)
        seeds = len(system.replicas)
        axes.plot(times, mean, color=colour, label=f"{system.name} ({seeds} seed{'s' if seeds > 1 else ''})")
        if system.intact_ps4_spread:
            spread = np.array(system.intact_ps4_spread)
            axes.fill_between(times, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="time (ps)", ylabel="intact PS$_4$", ylim=(-0.02, 1.05))
    axes.legend(frameon=False, loc="lower left")
