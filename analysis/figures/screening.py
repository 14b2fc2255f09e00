"""Figure of the interface-screening study: the registries of every candidate, and the best by the study's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from anodeflow.analysis.figures.style import (
    BLUE,
    VERMILION,
    computed_by,
    face_label,
    formula_label,
    in_style,
    mark_panels,
    verbatim,
    write_footer,
)
from anodeflow.analysis.interface_screening import ScreenedInterface, ScreeningStudyDoc
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 24


def screening_figure(document: ScreeningStudyDoc) -> Figure:
    """Draw interface energy and work of adhesion of all candidates, the lowest at the top.

    Raises
    ------
    InputError
        If none has an energy.
    """
    screened = [entry for entry in document.screened.entries if entry.gamma_j_per_m2 is not None]
    if not screened:
        raise InputError(f"no interface has an energy to draw: {document.screened.error}", "see its warnings")
    best = [entry for entry in document.best.entries if entry.gamma_j_per_m2 is not None]
    order = list(dict.fromkeys(entry.candidate for entry in screened))[:_MOST]
    names = {entry.candidate: _name(entry, document) for entry in screened}
    with in_style():
        figure, axes = plt.subplots(1, 2, figsize=(7.0, 1.3 + 0.27 * len(order)), sharey=True, layout="constrained")
        for panel, quantity in zip(axes, ("gamma_j_per_m2", "adhesion_j_per_m2"), strict=True):
            _draw(panel, screened, order, quantity, BLUE, "o", 3.6, "screened")
            _draw(panel, best, order, quantity, VERMILION, "D", 4.0, "computed", below=0.22)
            panel.grid(axis="y", lw=0.3, color="0.85")
        axes[0].set_xlabel(r"$\gamma$ (J m$^{-2}$), strain taken off")
        axes[1].set_xlabel(r"$W_\mathrm{ad}$ (J m$^{-2}$)")
        axes[0].set_yticks(range(len(order)), [names[key] for key in order], fontsize=7)
        axes[0].set_ylim(len(order) - 0.5, -0.5)
        if best:
            axes[1].legend(loc="best", handletextpad=0.3)
        lines = [f"{formula_label(document.film)} on {formula_label(document.substrate)}; a point is a registry."]
        for doc, how in ((document.screened, "Screened"), (document.best, "Computed")):
            if doc.engine is not None and doc.card is not None and (how == "Screened" or best):
                lines.append(f"{how}: {computed_by(doc.engine, doc.card, document.study_hash)}")
        mark_panels(axes)
        write_footer(figure, *lines)
    return figure


def _name(entry: ScreenedInterface, document: ScreeningStudyDoc) -> str:
    """Return the terminations of a candidate without the crystals, and the match where there are several."""
    film = entry.film_termination.removeprefix(document.film).strip()
    substrate = entry.substrate_termination.removeprefix(document.substrate).strip()
    several = len({other.match for other in document.screened.entries}) > 1
    return face_label(verbatim(f"{film} | {substrate}")) + (f", match {entry.match}" if several else "")


def _draw(
    axes: Axes, entries: list[ScreenedInterface], order: list[str], quantity: str, colour: str, marker: str,
    size: float, label: str, below: float = 0.0,
) -> None:  # fmt: skip
    points = [
        (getattr(entry, quantity), order.index(entry.candidate) + below, entry)
        for entry in entries
        if entry.candidate in order and getattr(entry, quantity) is not None
    ]
    axes.plot(
        [x for x, _, _ in points], [y for _, y, _ in points], marker, color=colour, ms=size, mec="white", mew=0.4,
        label=label, zorder=3,
    )  # fmt: skip
    for _, y, entry in points:
        if quantity == "gamma_j_per_m2" and entry.gamma_range_j_per_m2 is not None:
            axes.plot(entry.gamma_range_j_per_m2, [y, y], color=colour, lw=1.0, zorder=2)
