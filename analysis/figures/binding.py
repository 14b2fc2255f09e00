"""Figure of the binding-energy study, drawn from its stored document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.binding import CONVENTION_TEXT, BindingEnergyDoc, BindingStudyDoc, Convention, DescriptorMatrix
from anodeflow.analysis.descriptor import lowest_of_kind
from anodeflow.analysis.figures.binding_convergence import convergence_figure
from anodeflow.analysis.figures.style import (
    BLUE,
    GREEN,
    VERMILION,
    computed_by,
    formula_label,
    in_style,
    mark_panel,
    write_footer,
)
from anodeflow.errors import InputError
from anodeflow.lithium_states import KINDS, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and marker by the kind of site.
_SITE_STYLE = {
    "interstitial": (BLUE, "o"), "substitution": (VERMILION, "D"), "held": (GREEN, "s"),
    "top": (VERMILION, "^"), "bridge": (GREEN, "s"), "hollow": (BLUE, "o"),
}  # fmt: skip
_AXIS_TEXT: dict[tuple[str, Kind], str] = {
    ("bulk", "added"): "added to the crystal",
    ("bulk", "held"): "held by the crystal",
    ("surface", "added"): "on the surface",
}


def binding_figure(study: BindingStudyDoc) -> Figure:
    """Draw binding energies by host, every site a point, and the dE matrix; a row for each environment and kind.

    Of a study with convergence rows these are drawn instead: its numbers are those of another study, too.

    Parameters
    ----------
    study
        A finished study.

    Returns
    -------
    Figure
        With the reference convention, the engine and the card written on it.

    Raises
    ------
    InputError
        If no host has a binding energy.
    """
    if study.convergence:
        return convergence_figure(study)
    there = {(h.environment, h.kind) for h in study.hosts if h.converged}
    rows = [(e, k) for e in dict.fromkeys(h.environment for h in study.hosts) for k in KINDS if (e, k) in there]
    if not rows:
        raise InputError("the study has no converged binding energy to draw", "see anodeflow results --what sites")
    convention = study.conventions[0]
    matrices = {
        (m.environment, m.kind or "added"): m
        for m in study.descriptors
        if any(v is not None for r in m.d_e_ev for v in r)
    }
    with in_style():
        columns = 2 if matrices else 1
        figure, axes = plt.subplots(
            len(rows),
            columns,
            figsize=(3.5 * columns + 0.2, 2.7 * len(rows) + 0.35),
            squeeze=False,
            layout="constrained",
            gridspec_kw={"width_ratios": [1.25, 1.0][:columns]},
        )
        for row, (environment, kind) in enumerate(rows):
            hosts = [h for h in study.hosts if (h.environment, h.kind) == (environment, kind)]
            _draw_hosts(axes[row][0], hosts, convention, environment, kind)
            mark_panel(axes[row][0], row * columns)
            if columns == 2:
                if (environment, kind) in matrices:
                    _draw_matrix(figure, axes[row][1], matrices[environment, kind], _limit(study, kind))
                    mark_panel(axes[row][1], 2 * row + 1)
                else:
                    axes[row][1].set_axis_off()
        write_footer(figure, _caption(study), computed_by(study.engine, study.card, study.study_hash))
    return figure


def _caption(study: BindingStudyDoc) -> str:
    charge = study.hosts[0].charge_mode if study.hosts else "neutral"
    lithium = "neutral Li" if charge == "neutral" else charge
    reference = CONVENTION_TEXT[study.conventions[0]]
    return f"Reference: {reference}; {lithium}. Filled: the site that counts; open: the others."


def _draw_hosts(
    axes: Axes, hosts: list[BindingEnergyDoc], convention: Convention, environment: str, kind: Kind
) -> None:
    shown: set[str] = set()
    names = list(dict.fromkeys(h.crystal for h in hosts))
    for x, name in enumerate(names):
        lowest = lowest_of_kind(hosts, name, environment, kind, convention)
        if not lowest.converged:
            axes.text(
                x, 0.02, "no result", rotation=90, ha="center", va="bottom",
                transform=axes.get_xaxis_transform(), color="0.5", fontsize=6.5,
            )  # fmt: skip
            continue
        axes.bar(x, lowest.binding_energy_ev[convention], width=0.62, color="0.88", edgecolor="none", zorder=1)
        points = [(h, s) for h in hosts if h.crystal == name for s in h.sites if s.status == "converged"]
        # Points of one host stand side by side so that equal energies stay visible.
        offsets = np.linspace(-0.2, 0.2, len(points)) if len(points) > 1 else [0.0]
        for (host, site), offset in zip(points, offsets, strict=True):
            colour, marker = _SITE_STYLE[site.kind]
            best = host is lowest and site.label == host.best_site
            axes.plot(
                x + offset, site.binding_energy_ev[convention], marker=marker, ms=4.2, ls="none", color=colour,
                mfc=colour if best else "white", mew=0.9, zorder=3,
            )  # fmt: skip
            shown.add(site.kind)
    axes.axhline(0, color="black", lw=0.7, zorder=2)
    faces = {h.crystal: h.face or "" for h in hosts}
    axes.set_xticks(range(len(names)), [formula_label(n + faces[n]) for n in names], rotation=40, ha="right")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(rf"$E_\mathrm{{int}}$ of Li {_AXIS_TEXT[environment, kind]} (eV/Li)")
    axes.margins(y=0.12)
    for site_kind in sorted(shown):
        colour, marker = _SITE_STYLE[site_kind]
        axes.plot([], [], marker=marker, ms=4.2, ls="none", color=colour, mfc="white", mew=0.9, label=site_kind)
    # Between the data a mark of the legend could be read as data.
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, handletextpad=0.2, columnspacing=1.0
    )


#: The scale ends at so many times the interphase that is second.
_REACH = 1.5


def _limit(study: BindingStudyDoc, kind: Kind) -> float:
    """Return the end of the colours, eV: the same for all matrices of a kind; no single interphase sets it."""
    matrices = [m for m in study.descriptors if (m.kind or "added") == kind]
    largest: dict[str, float] = {}
    for matrix in matrices:
        for row in matrix.d_e_ev:
            for name, value in zip(matrix.interphases, row, strict=True):
                largest[name] = max(largest.get(name, 0.0), abs(value or 0.0))
    first, second = [*sorted(largest.values(), reverse=True), 0.0, 0.0][:2]
    return (min(first, _REACH * second) if second else first) or 1.0


def _with_state(matrix: DescriptorMatrix, name: str) -> str:
    """Return the label of a host, with the state that its number is of where that is not the same for all."""
    states = matrix.states or {}
    if len(set(states.values())) < 2 or name not in states:
        return formula_label(name)
    return f"{formula_label(name)}\n{states[name]}"


def _draw_matrix(figure: Figure, axes: Axes, matrix: DescriptorMatrix, limit: float) -> None:
    values = np.array([[np.nan if v is None else v for v in row] for row in matrix.d_e_ev], dtype=float)
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            text = "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")
            dark = not np.isnan(value) and abs(value) > 0.6 * limit
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(len(matrix.interphases)), [_with_state(matrix, name) for name in matrix.interphases])
    axes.set_yticks(range(len(matrix.anodes)), [_with_state(matrix, name) for name in matrix.anodes])
    axes.tick_params(length=0)
    axes.set_xlabel("interphase Y")
    axes.set_ylabel("anode X")
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = beyond[bool(np.nanmin(values, initial=0.0) < -limit), bool(np.nanmax(values, initial=0.0) > limit)]
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02, extend=extend)
    bar.set_label(
        rf"d$E$ = $E_\mathrm{{int}}$(Y) $-$ $E_\mathrm{{int}}$(X) (eV), {matrix.environment}, {matrix.kind or 'added'}"
    )
