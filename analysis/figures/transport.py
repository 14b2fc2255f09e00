"""Figure of dynamics at several temperatures: displacements, the Arrhenius law, D by axis, van Hove, jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.arrhenius import ArrheniusDoc
from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, DynamicsSystemDoc
from anodeflow.analysis.figures.style import SERIES, computed_by, formula_label, in_style, mark_panels, write_footer
from anodeflow.errors import InputError
from anodeflow.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DIRECTIONS = "xyz"


def transport_figure(study: DynamicsStudyDoc) -> Figure:
    """Draw what Li does at several temperatures; systems are told apart by colour, temperatures by shade.

    Raises
    ------
    InputError
        If Li was followed at no temperature.
    """
    systems = [doc for doc in study.systems if any(r.diffusion is not None for r in doc.replicas)]
    laws = [law for law in study.arrhenius or [] if law.points]
    if not systems or not laws:
        raise InputError("Li was followed at no temperature of this study", "see its warnings")
    with in_style():
        figure, grid = plt.subplots(2, 2, figsize=(7.2, 5.4), layout="constrained")
        colours = {law.system: SERIES[number % len(SERIES)] for number, law in enumerate(laws)}
        _draw_displacements(grid[0, 0], systems, colours)
        _draw_laws(grid[0, 1], laws, colours)
        _draw_axes(grid[1, 0], systems, colours)
        _draw_van_hove(grid[1, 1], systems, colours)
        mark_panels(grid.flat)
        write_footer(figure, computed_by(study.engine, study.card, study.study_hash))
    return figure


def _shades(systems: list[DynamicsSystemDoc]) -> list[float]:
    """Return an opacity for each system and temperature: the hotter, the darker."""
    temperatures = sorted({doc.temperature_k or 0.0 for doc in systems})
    step = 0.7 / max(1, len(temperatures) - 1)
    return [0.3 + step * temperatures.index(doc.temperature_k or 0.0) for doc in systems]


def _draw_displacements(axes: Axes, systems: list[DynamicsSystemDoc], colours: dict[str, tuple[str, str]]) -> None:
    for doc, shade in zip(systems, _shades(systems), strict=True):
        for number, replica in enumerate(r for r in doc.replicas if r.diffusion is not None):
            moved = replica.diffusion
            if moved is None:
                continue
            t, msd = np.array(moved.lag_fs) / 1000, np.array(moved.msd_angstrom2)
            shown = t <= 1.2 * moved.fit_fs[1] / 1000
            label = f"{formula_label(doc.system or doc.name)}, {doc.temperature_k:g} K" if number == 0 else None
            axes.plot(t[shown], msd[shown], color=colours[doc.system or ""][0], alpha=shade, label=label)
    axes.set_xlabel("lag (ps)")
    axes.set_ylabel("mean squared displacement of Li (Å$^2$)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6, loc="upper left")


def _draw_laws(axes: Axes, laws: list[ArrheniusDoc], colours: dict[str, tuple[str, str]]) -> None:
    for law in laws:
        colour, marker = colours[law.system]
        for point in law.points:
            used = point.diffusive and point.d_cm2_per_s > 0
            if point.d_cm2_per_s > 0:
                axes.errorbar(
                    1000 / point.temperature_k, point.d_cm2_per_s, yerr=point.d_se_cm2_per_s, color=colour,
                    marker=marker, ms=4, capsize=1.5, mfc=colour if used else "white", ls="none",
                )  # fmt: skip
        if law.activation_ev is None or law.d0_cm2_per_s is None or law.activation_ci_ev is None:
            continue
        low = min(law.at_k, *(point.temperature_k for point in law.points))
        x = np.linspace(1000 / max(point.temperature_k for point in law.points), 1000 / low, 50)
        line = law.d0_cm2_per_s * np.exp(-law.activation_ev * x / 1000 / BOLTZMANN_EV_PER_K)
        half = (law.activation_ci_ev[1] - law.activation_ci_ev[0]) / 2
        axes.plot(
            x, line, color=colour, lw=0.9,
            label=f"{formula_label(law.system)}: $E$ = {law.activation_ev:.3f} ± {half:.3f} eV",
        )  # fmt: skip
        if law.d_at_cm2_per_s is not None and law.d_at_ci_cm2_per_s is not None:
            below, above = (abs(end - law.d_at_cm2_per_s) for end in law.d_at_ci_cm2_per_s)
            axes.errorbar(
                1000 / law.at_k, law.d_at_cm2_per_s, yerr=[[below], [above]], color=colour, marker=marker, ms=4,
                mfc="white", capsize=2,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("1000 / T (K$^{-1}$)")
    axes.set_ylabel("$D$(Li) (cm$^2$ s$^{-1}$)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6, loc="lower left")
    axes.text(
        0.98, 0.97, "open: not diffusive, or extrapolated", transform=axes.transAxes, fontsize=6, ha="right", va="top"
    )


def _draw_axes(axes: Axes, systems: list[DynamicsSystemDoc], colours: dict[str, tuple[str, str]]) -> None:
    for doc in systems:
        colour, marker = colours[doc.system or ""]
        for replica in doc.replicas:
            if replica.transport is None or doc.temperature_k is None:
                continue
            for shift, name, d in zip((-8, 0, 8), _DIRECTIONS, replica.transport.d_by_axis_cm2_per_s, strict=True):
                if d > 0:
                    axes.plot(doc.temperature_k + shift, d, marker=marker, color=colour, ls="none", ms=3)
                    axes.annotate(name, (doc.temperature_k + shift, d), xytext=(2, 2), textcoords="offset points",
                                  fontsize=5)  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("temperature (K)")
    axes.set_ylabel("$D$ along x, y, z (cm$^2$ s$^{-1}$)")


def _draw_van_hove(axes: Axes, systems: list[DynamicsSystemDoc], colours: dict[str, tuple[str, str]]) -> None:
    for doc, shade in zip(systems, _shades(systems), strict=True):
        replica = next((r for r in doc.replicas if r.transport is not None), None)
        if replica is None or replica.transport is None or replica.transport.van_hove is None:
            continue
        function = replica.transport.van_hove
        axes.plot(
            function.r_angstrom, function.density_per_angstrom[-1], color=colours[doc.system or ""][0], alpha=shade,
            label=f"{doc.temperature_k:g} K, {function.lags_fs[-1] / 1000:.2g} ps",
        )  # fmt: skip
    axes.set_xlabel("distance moved by a Li (Å)")
    axes.set_ylabel(r"$4\pi r^2 G_\mathrm{s}(r, t)$ (Å$^{-1}$)")
    axes.set_xlim(0, 8)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6)
