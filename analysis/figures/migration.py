"""Figures of migration barriers, drawn from stored documents. Nothing is computed here but lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.analysis.figures.style import (
    SERIES,
    computed_by,
    face_label,
    formula_label,
    in_style,
    panel_letter,
    verbatim,
    write_footer,
)
from anodeflow.analysis.migration_documents import MigrationBarrierDoc, MigrationStudyDoc
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_A_ROW = 3


def migration_figure(study: MigrationStudyDoc) -> Figure:
    """Draw the energy along the path of every hop, one panel a path: images, fit and barriers.

    Parameters
    ----------
    study
        A finished study; hops without a barrier are left out, and the caption says how many.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If no hop has a barrier.
    """
    panels: dict[tuple[str, str], list[MigrationBarrierDoc]] = {}
    for doc in study.barriers:
        if doc.converged:
            panels.setdefault((doc.crystal, doc.mechanism), []).append(doc)
    if not panels:
        raise InputError("no hop of this study has a barrier to draw", "see its warnings")
    columns = min(len(panels), _PANELS_A_ROW)
    rows = -(-len(panels) // columns)
    with in_style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(3.4 if columns == 1 else 2.45 * columns + 0.1, 2.45 * rows + 0.3),
            squeeze=False,
            layout="constrained",
        )
        flat = list(axes.flat)
        for place, ((crystal, mechanism), docs) in enumerate(panels.items()):
            _draw_path(flat[place], docs)
            letter = f"{panel_letter(place)} " if len(panels) > 1 else ""
            flat[place].set_title(f"{letter}{_path_name(crystal)}, {mechanism}", loc="left")
            if place % columns == 0:
                flat[place].set_ylabel("energy (eV)")
            flat[place].set_xlabel("path length (Å)")
        for unused in flat[len(panels) :]:
            unused.set_axis_off()
        write_footer(figure, *_caption(study), computed_by(study.engine, study.card, study.study_hash))
    return figure


def _draw_path(axes: Axes, docs: Sequence[MigrationBarrierDoc]) -> None:
    shown = sorted(docs, key=lambda d: (d.forward_ev or 0.0, d.hop))[: len(SERIES)]
    for doc, (colour, marker) in zip(shown, SERIES, strict=False):
        if doc.fit is None or doc.forward_ev is None or doc.backward_ev is None:
            continue
        grid, curve = doc.fit.curve()
        axes.plot(grid, curve, color=colour, zorder=2)
        axes.plot(
            doc.fit.path_angstrom, doc.fit.energies_ev, marker, ls="none", color=colour, ms=4.2, mfc="white", mew=0.9,
            zorder=4, label=_hop_label(doc),
        )  # fmt: skip
        if doc.climbing_image is not None:
            axes.plot(
                doc.fit.path_angstrom[doc.climbing_image], doc.fit.energies_ev[doc.climbing_image], marker, ls="none",
                color=colour, ms=4.2, mew=0.9, zorder=5,
            )  # fmt: skip
        _draw_slopes(axes, doc, colour)
    axes.axhline(0, color="0.6", lw=0.6, zorder=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (0.13 + 0.11 * len(shown)) * (high - low))  # room for the legend
    axes.legend(loc="upper left", handletextpad=0.3, borderaxespad=0.3, labelspacing=0.3)
    if len(docs) > len(shown):
        axes.text(
            0.98, 0.02, f"{len(docs) - len(shown)} higher ones not drawn", transform=axes.transAxes, ha="right",
            va="bottom", fontsize=6, color="0.35",
        )  # fmt: skip


def _draw_slopes(axes: Axes, doc: MigrationBarrierDoc, colour: str) -> None:
    """Draw a short tangent at every image: minus the force along the path."""
    if doc.fit is None:
        return
    places = np.asarray(doc.fit.path_angstrom)
    half = 0.22 * np.diff(places).min()
    for place, energy, slope in zip(places, doc.fit.energies_ev, doc.fit.slopes_ev_per_angstrom, strict=True):
        axes.plot(
            [place - half, place + half], [energy - half * slope, energy + half * slope], color=colour, lw=2.6,
            alpha=0.35, solid_capstyle="butt", zorder=3,
        )  # fmt: skip


def _hop_label(doc: MigrationBarrierDoc) -> str:
    digits = 2 if (doc.uncertainty_ev or 0.0) >= 0.01 else 3
    there = f"{doc.forward_ev:.{digits}f}"
    both = there if doc.symmetric else f"{there} / {doc.backward_ev:.{digits}f}"
    return f"{face_label(verbatim(doc.hop))}: {both} eV"


def _path_name(name: str) -> str:
    """Return formulae with subscripts, the faces behind them as they are."""
    labels = []
    for part in name.split(" || "):
        formula, bracket, face = part.partition("(")
        labels.append(formula_label(formula) + face_label(verbatim(bracket + face)))
    return " || ".join(labels)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _caption(study: MigrationStudyDoc) -> list[str]:
    modes = list(dict.fromkeys(doc.charge_mode.partition(":")[0] for doc in study.barriers if doc.converged))
    missing = sum(not doc.converged for doc in study.barriers)
    left_out = f" {missing} hop{'s' if missing > 1 else ''} without a barrier left out." if missing else ""
    return [
        "Symbols: images (filled: climbed to the saddle), with forces as tangents.",
        f"Lines: fit through both. Barriers forward / backward. {_sentence('; '.join(modes))}.{left_out}",
    ]
