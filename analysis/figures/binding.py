"""Figures of papers, drawn from stored documents. Nothing is computed here."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.binding import CONVENTION_TEXT, BindingEnergyDoc, BindingStudyDoc, DescriptorMatrix
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The style file beside this module, by matplotlib's name for a packaged style.
STYLE = "anodeflow.analysis.figures.anodeflow"

# Colour-blind safe (Okabe & Ito); by the kind of site.
SITE_STYLE = {
    "interstitial": ("#0072B2", "o", "interstitial"),
    "top": ("#D55E00", "^", "top"),
    "bridge": ("#009E73", "s", "bridge"),
    "hollow": ("#0072B2", "o", "hollow"),
}


def formula_label(name: str) -> str:
    """A crystal name with its numbers as subscripts: ``Li9Al4`` becomes ``Li$_9$Al$_4$``."""
    return re.sub(r"(?<=[A-Za-z\)])(\d+(?:\.\d+)?)", r"$_{\1}$", name)


def binding_figure(study: BindingStudyDoc) -> Figure:
    """Binding energies by host, every site a point, and the dE matrix; one row an environment.

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
    environments = list(dict.fromkeys(h.environment for h in study.hosts if h.converged))
    if not environments:
        raise InputError("the study has no converged binding energy to draw", "see anodeflow results --what sites")
    convention = study.conventions[0]
    matrices = {m.environment: m for m in study.descriptors if any(v is not None for r in m.d_e_ev for v in r)}
    with plt.style.context(STYLE):
        columns = 2 if matrices else 1
        figure, axes = plt.subplots(
            len(environments),
            columns,
            figsize=(3.5 * columns + 0.2, 2.7 * len(environments) + 0.35),
            squeeze=False,
            layout="constrained",
            gridspec_kw={"width_ratios": [1.25, 1.0][:columns]},
        )
        limits = _shared_limits(study)
        for row, environment in enumerate(environments):
            hosts = [h for h in study.hosts if h.environment == environment]
            _draw_hosts(axes[row][0], hosts, convention, environment)
            axes[row][0].set_title(f"({'ace'[row] if columns == 2 else 'abc'[row]})", loc="left", fontweight="bold")
            if columns == 2:
                if environment in matrices:
                    _draw_matrix(figure, axes[row][1], matrices[environment], limits)
                    axes[row][1].set_title(f"({'bdf'[row]})", loc="left", fontweight="bold")
                else:
                    axes[row][1].set_axis_off()
        figure.supxlabel(_caption(study), fontsize=6, color="0.35")
    return figure


def _caption(study: BindingStudyDoc) -> str:
    charge = study.hosts[0].charge_mode if study.hosts else "neutral"
    lithium = "neutral Li" if charge == "neutral" else charge
    return (
        f"Reference: {CONVENTION_TEXT[study.conventions[0]]}; {lithium}. Filled: lowest site; open: the others.\n"
        f"{study.engine.name} ({study.engine.kind}, {study.engine.version}), card {study.card.name}, "
        f"study {study.study_hash}"
    )


def _draw_hosts(axes: Axes, hosts: list[BindingEnergyDoc], convention: str, environment: str) -> None:
    shown: set[str] = set()
    for x, host in enumerate(hosts):
        if not host.converged:
            axes.text(
                x, 0.02, "no result", rotation=90, ha="center", va="bottom",
                transform=axes.get_xaxis_transform(), color="0.5", fontsize=6.5,
            )  # fmt: skip
            continue
        lowest = host.binding_energy_ev[convention]
        axes.bar(x, lowest, width=0.62, color="0.88", edgecolor="none", zorder=1)
        points = [s for s in host.sites if s.status == "converged"]
        # Points of one host stand side by side so that equal energies stay visible.
        offsets = np.linspace(-0.2, 0.2, len(points)) if len(points) > 1 else [0.0]
        for site, offset in zip(points, offsets, strict=True):
            colour, marker, _ = SITE_STYLE[site.kind]
            axes.plot(
                x + offset, site.binding_energy_ev[convention], marker=marker, ms=4.2, ls="none", color=colour,
                mfc=colour if site.label == host.best_site else "white", mew=0.9, zorder=3,
            )  # fmt: skip
            shown.add(site.kind)
    axes.axhline(0, color="black", lw=0.7, zorder=2)
    names = [formula_label(h.crystal) + (h.face or "") for h in hosts]
    axes.set_xticks(range(len(hosts)), names, rotation=40, ha="right")
    axes.set_xlim(-0.6, len(hosts) - 0.4)
    where = "in the crystal" if environment == "bulk" else "on the surface"
    axes.set_ylabel(rf"$E_\mathrm{{int}}$ of Li {where} (eV/Li)")
    axes.margins(y=0.12)
    for kind in sorted(shown):
        colour, marker, label = SITE_STYLE[kind]
        axes.plot([], [], marker=marker, ms=4.2, ls="none", color=colour, mfc="white", mew=0.9, label=label)
    axes.legend(loc="best", handletextpad=0.2)


def _shared_limits(study: BindingStudyDoc) -> float:
    values = [abs(v) for m in study.descriptors for row in m.d_e_ev for v in row if v is not None]
    return max(values, default=1.0) or 1.0


def _draw_matrix(figure: Figure, axes: Axes, matrix: DescriptorMatrix, limit: float) -> None:
    values = np.array([[np.nan if v is None else v for v in row] for row in matrix.d_e_ev], dtype=float)
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            text = "–" if np.isnan(value) else f"{value:+.2f}"
            dark = not np.isnan(value) and abs(value) > 0.6 * limit
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(len(matrix.interphases)), [formula_label(n) for n in matrix.interphases])
    axes.set_yticks(range(len(matrix.anodes)), [formula_label(n) for n in matrix.anodes])
    axes.tick_params(length=0)
    axes.set_xlabel("interphase Y")
    axes.set_ylabel("anode X")
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(rf"d$E$ = $E_\mathrm{{int}}$(Y) $-$ $E_\mathrm{{int}}$(X) (eV), {matrix.environment}")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the file appears whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    try:
        handle, temporary = tempfile.mkstemp(suffix=path.suffix, dir=path.resolve().parent)
    except OSError as error:
        raise InputError(f"cannot write figure '{path}': {error.strerror}", "choose another folder") from None
    os.close(handle)
    try:
        with plt.style.context(STYLE):  # resolution and fonts are read when the file is written
            figure.savefig(temporary, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    finally:
        plt.close(figure)
