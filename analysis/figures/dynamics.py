"""Figure of the molecular-dynamics study: systems side by side, before against after, bonds against time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pymatgen.core import Structure

from anodeflow.analysis.dynamics_study import DynamicsReplicaDoc, DynamicsStudyDoc, DynamicsSystemDoc, RdfBeforeAfter
from anodeflow.analysis.figures.pictures import draw_side_view, element_key
from anodeflow.analysis.figures.style import computed_by, face_label, in_style, mark_panels, verbatim, write_footer
from anodeflow.analysis.figures.transport import transport_figure
from anodeflow.errors import InputError

_MAIN_PAIR = "P-S"


def dynamics_study_figure(study: DynamicsStudyDoc) -> Figure:
    """Draw interfaces at the start and the end of a run, distribution functions, and intact PS4 against time.

    P that is no longer in a PS4 is ringed. The distribution function (P-S where there is one) is that of both ends of
    the runs, with the running coordination number. Of the share of intact PS4 every seed is thin, the mean thick, the
    spread of the seeds a band; dashed is the mean number of P-S bonds, of the four that PS4 has. Of several
    temperatures the transport of Li is drawn.

    Raises
    ------
    InputError
        If no system has a trajectory.
    """
    if study.arrhenius:
        return transport_figure(study)
    drawable = [system for system in study.systems if system.rdfs]
    if not drawable:
        raise InputError("no system of this study has a trajectory to draw", "see its warnings")
    bonds = [system for system in drawable if system.intact_ps4_mean]
    with in_style():
        pictures = [system for system in drawable if system.facts and system.initial_structure is not None]
        heights = [3.0] * bool(pictures) + [2.4] + [2.4] * bool(bonds)
        figure = plt.figure(
            figsize=(max(3.5, (3.3 if pictures else 2.6) * len(drawable)), sum(heights) + 0.4), layout="constrained"
        )
        grid = figure.add_gridspec(len(heights), 2 * len(drawable), height_ratios=heights)
        first: Axes | None = None
        lettered: list[Axes] = []
        for number, system in enumerate(drawable):
            if system in pictures:
                panels = [figure.add_subplot(grid[0, 2 * number + side]) for side in (0, 1)]
                _draw_snapshots(panels, system)
            place = grid[len(heights) - 1 - bool(bonds), 2 * number : 2 * number + 2]
            axes = figure.add_subplot(place, sharex=first, sharey=first)
            first = first or axes
            lettered.append(axes)
            _draw_rdf(axes, system, number == 0, number == len(drawable) - 1)
        if first is not None:
            first.set_ylim(bottom=0)  # now that all panels have been drawn, which share it
        if bonds:
            lettered.append(figure.add_subplot(grid[-1, :]))
            _draw_bonds(lettered[-1], bonds)
        mark_panels(lettered)
        if pictures:
            symbols = {site.specie.symbol for system in pictures for site in system.initial_structure or ()}
            handles = element_key(symbols)
            figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
        write_footer(figure, computed_by(study.engine, study.card, study.study_hash))
    return figure


def _draw_snapshots(panels: list[Axes], system: DynamicsSystemDoc) -> None:
    """Draw the start, and the end of the seed whose share of intact PS4 is the median."""

    def intact(replica: DynamicsReplicaDoc) -> float:
        return replica.tetrahedra.last_intact_fraction if replica.tetrahedra else 0.0

    replica = sorted(system.replicas, key=intact)[len(system.replicas) // 2]
    moments = (system.initial_structure, replica.final_structure)
    titles = ("start", f"seed {replica.seed}, {replica.time_ps[-1]:g} ps")
    for axes, structure, title in zip(panels, moments, titles, strict=True):
        if structure is None:
            continue
        draw_side_view(axes, structure, broken_centres(structure, system.ps_cutoff_angstrom))
        axes.set_title(
            f"{face_label(verbatim(system.name))}\n{title}" if axes is panels[0] else f"\n{title}", fontsize=8
        )


def broken_centres(structure: Structure, cutoff_angstrom: float | None) -> list[int]:
    """Return the P atoms that have another number of S within the cutoff than four; none without a cutoff."""
    if cutoff_angstrom is None:
        return []
    symbols = [site.specie.symbol for site in structure]
    first, second, _, _ = structure.get_neighbor_list(cutoff_angstrom)
    sulfur = np.array([symbol == "S" for symbol in symbols])
    counts = np.bincount(first[sulfur[second]], minlength=len(structure))
    return [index for index, symbol in enumerate(symbols) if symbol == "P" and counts[index] != 4]


def _pair(system: DynamicsSystemDoc) -> RdfBeforeAfter:
    return next((rdf for rdf in system.rdfs if rdf.pair == _MAIN_PAIR), system.rdfs[0])


def _draw_rdf(axes: Axes, system: DynamicsSystemDoc, leftmost: bool, rightmost: bool) -> None:
    rdf = _pair(system)
    right = axes.twinx()
    for side, colour, name in ((rdf.before, "0.45", "before"), (rdf.after, "C3", "after")):
        axes.plot(side.r_angstrom, side.g, color=colour, label=name)
        right.plot(side.r_upper_angstrom, side.running_coordination, color=colour, ls="--", lw=0.8)
    axes.set(xlabel=f"r({rdf.pair}) (Å)", xlim=(1.5, 6.0), title=face_label(verbatim(system.name)))
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
        axes.plot(
            times,
            mean,
            color=colour,
            label=f"{face_label(verbatim(system.name))} ({seeds} seed{'s' if seeds > 1 else ''})",
        )
        if system.intact_ps4_spread:
            spread = np.array(system.intact_ps4_spread)
            axes.fill_between(times, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
        counted = [replica.tetrahedra for replica in system.replicas if replica.tetrahedra]
        bonds = np.mean([np.array(t.mean_coordination[: len(times)]) / t.wanted for t in counted], axis=0)
        axes.plot(times, bonds, color=colour, ls="--", lw=0.9)
    axes.set(xlabel="time (ps)", ylabel="intact PS$_4$; P-S bonds left (dashed)", ylim=(-0.02, 1.05))
    axes.legend(frameon=False, loc="upper right")
