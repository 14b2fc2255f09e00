"""Figures of trajectories: g(r) with coordination, intact tetrahedra, displacements, profiles. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.coordination import IntactTetrahedraDoc
from anodeflow.analysis.diffusion import DiffusionDoc
from anodeflow.analysis.dynamics_documents import TrajectoryAnalysisDoc
from anodeflow.analysis.figures.interphase import interphase_panels
from anodeflow.analysis.figures.style import COLOURS, formula_label, in_style, mark_panel, verbatim, write_footer
from anodeflow.analysis.profiles import ProfileDoc
from anodeflow.analysis.rdf import RdfDoc
from anodeflow.errors import InputError
from anodeflow.units import A2_PER_FS_TO_CM2_PER_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of lines: balls of atoms (pictures.py) can be paler.
ELEMENT_COLOURS = {
    "Li": "#CC79A7", "P": "#D55E00", "S": "#E69F00", "Cl": "#009E73", "Al": "#0072B2", "Br": "#000000", "I": "#56B4E9",
}  # fmt: skip
# Neighbours beyond this share of the axis would hide the steps of the first shells.
_SHELLS_SHOWN = 3.0


def rdf_figure(documents: Sequence[RdfDoc]) -> Figure:
    """Draw g(r) with its error band, and the running coordination number on the right axis; one panel a pair.

    Parameters
    ----------
    documents
        At most six.

    Raises
    ------
    InputError
        If there is none, or more than six.
    """
    if not 1 <= len(documents) <= 6:
        raise InputError(f"{len(documents)} distribution functions for a figure", "draw between one and six")
    return _panels([partial(_draw_rdf, document=d) for d in documents])


def _draw_rdf(axes: Axes, document: RdfDoc) -> None:
    """Draw one distribution function into axes."""
    r, g = np.array(document.r_angstrom), np.array(document.g)
    left = COLOURS[0]
    axes.axhline(1, color="0.75", lw=0.6, ls=(0, (4, 3)), zorder=1)
    axes.plot(r, g, color=left, zorder=3)
    if document.g_se is not None:
        error = np.array(document.g_se)
        axes.fill_between(r, np.maximum(g - error, 0), g + error, color=left, alpha=0.25, lw=0, zorder=2)
    axes.set_xlim(0, document.r_max_angstrom)
    axes.set_ylim(0, 1.12 * max(float(g.max()), 1.0))
    axes.set_xlabel(rf"$r$({document.centre}–{document.neighbour}) (Å)")
    axes.set_ylabel(rf"$g_\mathrm{{{document.centre}{document.neighbour}}}(r)$", color=left)
    axes.tick_params(axis="y", colors=left)
    twin = axes.twinx()
    right = COLOURS[1]
    upper, n = np.array(document.r_upper_angstrom), np.array(document.running_coordination)
    twin.plot(upper, n, color=right, lw=1.0)
    twin.set_ylabel(rf"$n(r)$: {document.neighbour} around {document.centre}", color=right)
    twin.tick_params(axis="y", colors=right)
    first = document.coordination_number
    twin.set_ylim(0, max(min(float(n.max()), _SHELLS_SHOWN * first) if first else float(n.max()), 1e-9))
    lines = []
    if document.first_peak_angstrom is not None:
        lines.append(f"peak {document.first_peak_angstrom:.3f} Å")
    if document.first_minimum_angstrom is not None and first is not None:
        axes.axvline(document.first_minimum_angstrom, color="0.5", lw=0.7, ls=":", zorder=1)
        twin.plot(document.first_minimum_angstrom, first, "o", ms=3.5, color=right, mfc="white", zorder=4)
        uncertain = document.coordination_number_se
        spread = f" ± {uncertain:.2f}" if uncertain is not None and uncertain >= 0.005 else ""
        lines.append(f"$n$ = {first:.2f}{spread} at {document.first_minimum_angstrom:.2f} Å")
    lines.append(f"{document.frames} frames")
    axes.text(0.97, 0.96, "\n".join(lines), transform=axes.transAxes, ha="right", va="top", fontsize=6.5)


def tetrahedra_figure(runs: Sequence[IntactTetrahedraDoc], labels: Sequence[str] | None = None) -> Figure:
    """Draw intact tetrahedra against time, with the mean and spread of several runs.

    Parameters
    ----------
    runs
        Documents of the same pair; one line each. From two runs on their mean is drawn with a band of one standard
        deviation, where they have the same times.
    labels
        One for each run, or one name of the whole.

    Raises
    ------
    InputError
        If there is no run, or the pairs differ.
    """
    if not runs:
        raise InputError("no run to draw", "give at least one")
    if len({(run.pair, run.wanted) for run in runs}) > 1:
        raise InputError("runs of different pairs in one figure", "draw one figure for each pair")
    return _panels([lambda axes: _draw_tetrahedra(axes, runs, labels)])


def _draw_tetrahedra(axes: Axes, runs: Sequence[IntactTetrahedraDoc], labels: Sequence[str] | None = None) -> None:
    """Draw intact tetrahedra of one or several runs into axes."""
    timed = all(run.times_fs is not None for run in runs)
    scale, name = _time_unit(max((run.times_fs or [0])[-1] for run in runs)) if timed else (1.0, "frame")
    series = []
    for number, run in enumerate(runs):
        x = (np.array(run.times_fs) if timed else np.arange(run.frames)) * scale
        lasting = np.array(run.persistent_fraction or run.intact_fraction)
        colour = COLOURS[0] if len(runs) == 1 else COLOURS[(number + 2) % len(COLOURS)]
        if len(runs) == 1:
            axes.plot(x, run.intact_fraction, color="0.75", lw=0.6, label="in each frame")
            length = f"{run.persistence_fs:g} fs" if run.persistence_fs else f"{run.persistence_frames} frames"
            label: str | None = f"lasting ≥ {length}"
        else:
            label = labels[number] if labels and len(labels) == len(runs) else None
        if run.persistent_fraction or len(runs) > 1:
            axes.plot(x, lasting, color=colour, lw=1.2 if len(runs) == 1 else 0.7, drawstyle="steps-post", label=label)
        series.append((x, lasting))
    if len(runs) > 1 and all(len(x) == len(series[0][0]) and np.allclose(x, series[0][0]) for x, _ in series):
        values = np.array([y for _, y in series])
        mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
        low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
        axes.fill_between(
            series[0][0], low, high, color=COLOURS[0], alpha=0.2, lw=0, step="post", label="± one standard deviation"
        )
        axes.plot(
            series[0][0], mean, color=COLOURS[0], lw=1.6, drawstyle="steps-post", label=f"mean of {len(runs)} runs"
        )
    run = runs[0]
    axes.set_ylim(-0.04, 1.06)
    axes.set_xlim(series[0][0][0], max(x[-1] for x, _ in series))
    axes.set_xlabel(f"time ({name})" if timed else "frame")
    axes.set_ylabel(f"intact {formula_label(f'{_centre(run)}{_neighbour(run)}{run.wanted}')} (fraction)")
    cutoffs = sorted({f"{r.cutoff_angstrom:.2f}" for r in runs})
    axes.text(
        0.03, 0.05, f"{_centre(run)} with exactly {run.wanted} {_neighbour(run)} within {' / '.join(cutoffs)} Å",
        transform=axes.transAxes, fontsize=6.5, va="bottom",
    )  # fmt: skip
    axes.legend(loc="best")


def _centre(run: IntactTetrahedraDoc) -> str:
    return run.pair.split("-")[0]


def _neighbour(run: IntactTetrahedraDoc) -> str:
    return run.pair.split("-")[1]


def _time_unit(longest_fs: float) -> tuple[float, str]:
    for scale, name, above in ((1e-6, "ns", 1e6), (1e-3, "ps", 1e3)):
        if longest_fs >= above:
            return scale, name
    return 1.0, "fs"


def diffusion_figure(documents: Sequence[DiffusionDoc]) -> Figure:
    """Draw the mean squared displacements with error bands and the fitted lines.

    Raises
    ------
    InputError
        If there is none.
    """
    if not documents:
        raise InputError("no mean squared displacement to draw", "give at least one")
    return _panels([lambda axes: _draw_diffusion(axes, documents)])


def _draw_diffusion(axes: Axes, documents: Sequence[DiffusionDoc]) -> None:
    """Draw the mean squared displacements into axes."""
    scale, name = _time_unit(max(d.lag_fs[-1] for d in documents))
    top = 0.0
    for number, document in enumerate(documents):
        colour = ELEMENT_COLOURS.get(document.element, COLOURS[number % len(COLOURS)])
        t, msd = np.array(document.lag_fs), np.array(document.msd_angstrom2)
        shown = t <= 1.6 * document.fit_fs[1]
        axes.plot(t[shown] * scale, msd[shown], color=colour, label=_diffusion_label(document))
        top = max(top, float(msd[shown].max()))
        if document.msd_se_angstrom2 is not None:
            error = np.array(document.msd_se_angstrom2)
            axes.fill_between(
                t[shown] * scale, (msd - error)[shown], (msd + error)[shown], color=colour, alpha=0.25, lw=0
            )
        window = np.array(document.fit_fs)
        line = document.offset_angstrom2 + 6 * document.d_cm2_per_s / A2_PER_FS_TO_CM2_PER_S * window
        axes.plot(window * scale, line, color="black", lw=0.9, ls="--" if document.diffusive else ":", zorder=4)
    axes.set_xlim(0, None)
    axes.set_ylim(0, 1.35 * top if top else 1)
    axes.set_xlabel(f"lag ({name})")
    axes.set_ylabel("mean squared displacement (Å$^2$)")
    axes.legend(loc="upper left")


def _diffusion_label(document: DiffusionDoc) -> str:
    if not document.diffusive:
        return f"{document.element}: not diffusive (slope {document.loglog_slope:.2f})"
    power = int(np.floor(np.log10(abs(document.d_cm2_per_s)))) if document.d_cm2_per_s else 0
    value = document.d_cm2_per_s / 10.0**power
    error = "" if document.d_se_cm2_per_s is None else f" ± {document.d_se_cm2_per_s / 10.0**power:.1f}"
    number = f"({value:.1f}{error})" if error else f"{value:.1f}"
    return rf"{document.element}: $D$ = {number}$\times 10^{{{power}}}$ cm$^2$ s$^{{-1}}$"


def profile_figure(document: ProfileDoc) -> Figure:
    """Draw the density of each element along the axis: one panel a window of time."""
    windows = _shown_windows(document)
    draw = [partial(_draw_profile, document=document, window=w, legend=w == 0) for w in windows]
    return _panels(draw, columns=1, height=1.6)


def _shown_windows(document: ProfileDoc) -> list[int]:
    last = len(document.windows) - 1
    return sorted({0, last // 2, last})


def _draw_profile(axes: Axes, document: ProfileDoc, window: int, *, legend: bool = True) -> None:
    """Draw densities in one window of time into axes."""
    z = np.array(document.z_angstrom)
    for number, (element, density) in enumerate(document.density_per_angstrom3.items()):
        colour = ELEMENT_COLOURS.get(element, COLOURS[number % len(COLOURS)])
        axes.step(z, np.array(density[window]), where="mid", color=colour, lw=0.9, label=element)
    start, stop = document.windows[window]
    axes.text(
        0.02, 0.95, f"frames {start} to {stop - 1}", transform=axes.transAxes, fontsize=6.5, va="top",
        bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 1},
    )  # fmt: skip
    axes.set_xlim(0, document.height_angstrom)
    axes.set_ylim(0, 1.25 * max(max(max(w) for w in d) for d in document.density_per_angstrom3.values()))
    axes.set_xlabel(f"distance along the normal, axis {document.axis} (Å)")
    axes.set_ylabel("density (Å$^{-3}$)")
    if legend:
        axes.legend(loc="upper right", ncols=len(document.density_per_angstrom3), columnspacing=1.0, handlelength=1.2)


def analysis_figure(document: TrajectoryAnalysisDoc) -> Figure:
    """Draw all that a trajectory was asked for, a panel each.

    Raises
    ------
    InputError
        If nothing was asked that can be drawn, or more than twelve panels.
    """
    draw: list[Callable[[Axes], None]] = [partial(_draw_rdf, document=d) for d in document.rdf]
    draw += [partial(_draw_tetrahedra, runs=[d]) for d in document.tetrahedra]
    if document.diffusion:
        draw.append(lambda axes: _draw_diffusion(axes, document.diffusion))
    if document.profile is not None:
        profile = document.profile
        windows = [0, len(profile.windows) - 1] if len(profile.windows) > 1 else [0]
        draw += [partial(_draw_profile, document=profile, window=w) for w in windows]
    if document.interphase is not None:
        draw += interphase_panels(document.interphase)
    if not 1 <= len(draw) <= 12:
        raise InputError(f"{len(draw)} panels for a figure", "ask for something with --pair, --tetrahedra or --msd")
    figure = _panels(draw)
    times = "" if document.timestep_fs is None else f", {document.timestep_fs:g} fs apart"
    counts = " ".join(f"{element}{number}" for element, number in document.elements.items())
    write_footer(figure, f"{verbatim(str(document.file))}: {formula_label(counts)}, {document.frames} frames{times}")
    return figure


def _panels(draw: Sequence[Callable[[Axes], None]], *, columns: int | None = None, height: float = 2.5) -> Figure:
    columns = columns or (1 if len(draw) == 1 else 2 if len(draw) < 5 else 3)
    rows = -(-len(draw) // columns)
    with in_style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.5 * columns, height * rows + 0.2), squeeze=False, layout="constrained"
        )
        for number, panel in enumerate(axes.flat):
            if number >= len(draw):
                panel.set_axis_off()
                continue
            draw[number](panel)
            if len(draw) > 1:
                mark_panel(panel, number)
    return figure
