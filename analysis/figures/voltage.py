"""Figure of the voltage study: the profile, the hull it comes from, and the volume."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from pymatgen.core import Composition

from anodeflow.analysis.figures.style import (
    BLUE,
    GREEN,
    VERMILION,
    computed_by,
    formula_label,
    in_style,
    mark_panels,
    write_footer,
)
from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.voltage_profile import VoltageStudyDoc, WarmProfile, capacity_mah_per_g
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def voltage_figure(document: VoltageStudyDoc) -> Figure:
    """Draw voltage against capacity, formation energies with their hull, and volume against capacity.

    Raises
    ------
    InputError
        If there is no profile.
    """
    if not document.plateaus:
        raise InputError("no profile of this study to draw", "see its warnings")
    with in_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.6), layout="constrained")
        _draw_profile(left, document)
        _draw_hull(middle, document)
        _draw_volume(right, document)
        mark_panels((left, middle, right))
        write_footer(figure, computed_by(document.engine, document.card, document.study_hash))
    return figure


def _draw_profile(axes: Axes, document: VoltageStudyDoc) -> None:
    ends = [doc.capacity_mah_per_g for doc in document.lithiated]
    for plateau, (low, high) in zip(document.plateaus, pairwise(ends), strict=True):
        axes.hlines(plateau.voltage_v, low, high, color=BLUE, lw=1.6)
        axes.annotate(
            f"{plateau.voltage_v:.3f}", ((low + high) / 2, plateau.voltage_v), xytext=(0, 2.5),
            textcoords="offset points", ha="center", va="bottom", fontsize=6,
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )  # fmt: skip
    for (before, after), capacity in zip(pairwise(document.plateaus), ends[1:], strict=False):
        axes.vlines(capacity, after.voltage_v, before.voltage_v, color=BLUE, lw=1.0)
    if document.warm is not None:
        formula = next(phase.formula for phase in document.phases if phase.crystal == document.host)
        _draw_warm(axes, document.warm, Composition(formula))
    known = [row for row in published_values("plateau_voltage") if row["host"] == document.host]
    for row, colour in zip(known, (VERMILION, GREEN), strict=False):
        axes.axhline(row["value"], color=colour, lw=0.8, ls="--", label=f"{row['value']:g} V, {row['label']}")
    if known or document.warm is not None:
        axes.legend(loc="upper right", fontsize=6)
    axes.set_xlim(0, ends[-1] * 1.02)
    axes.set_ylim(0, max([p.voltage_v for p in document.plateaus] + [row["value"] for row in known]) * 1.45)
    axes.set_xlabel(f"capacity (mAh per g of {formula_label(document.host)})")
    axes.set_ylabel("voltage against Li (V)")


def _draw_warm(axes: Axes, profile: WarmProfile, host: Composition) -> None:
    """Draw the plateaus at a temperature, by the capacity from the host's own lithium on."""
    if not profile.plateaus:
        return
    own = float(host["Li"])
    low, high = (
        [capacity_mah_per_g(host, amount - own) for amount in amounts]
        for amounts in zip(*((plateau.lithium_from, plateau.lithium_to) for plateau in profile.plateaus), strict=True)
    )
    axes.hlines(
        [plateau.voltage_v for plateau in profile.plateaus], low, high, color=BLUE, lw=1.0, ls=":",
        label=f"{profile.temperature_k:g} K, with vibrations",
    )  # fmt: skip


def _draw_hull(axes: Axes, document: VoltageStudyDoc) -> None:
    points = []
    for phase in document.phases:
        if phase.formation_ev_per_atom is not None and phase.above_hull_ev_per_atom is not None:
            share = Composition(phase.formula).get_atomic_fraction("Li")
            points.append((share, 1000 * phase.formation_ev_per_atom, phase.above_hull_ev_per_atom < 1e-6, phase))
    points.sort(key=lambda point: point[0])
    hull = [(x, y) for x, y, on, _ in points if on]
    axes.plot(*zip(*hull, strict=True), "o-", color=BLUE, ms=3.5)
    above = [(x, y) for x, y, on, _ in points if not on]
    if above:
        axes.plot(*zip(*above, strict=True), "o", color=BLUE, mfc="white", ms=3.5)
    lowest = min(points, key=lambda point: point[1])[0]
    for x, y, _, phase in points:
        # outside of the hull's lines: to the left of its lowest point, to the right from there on
        aside = -1 if x < lowest else 1
        axes.annotate(
            formula_label(phase.crystal), (x, y), xytext=(4 * aside, -4), textcoords="offset points", fontsize=6,
            ha="right" if aside < 0 else "left", va="center",
        )  # fmt: skip
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("share of Li atoms")
    axes.set_ylabel("formation energy (meV/atom)")


def _draw_volume(axes: Axes, document: VoltageStudyDoc) -> None:
    capacity = [doc.capacity_mah_per_g for doc in document.lithiated]
    change = [doc.volume_change_percent for doc in document.lithiated]
    axes.plot(capacity, change, "o-", color=BLUE, ms=3.5)
    for x, y, doc in zip(capacity, change, document.lithiated, strict=True):
        axes.annotate(formula_label(doc.phases), (x, y), xytext=(-3, 3), textcoords="offset points", fontsize=6,
                      ha="right")  # fmt: skip
    axes.margins(x=0.16, y=0.1)
    axes.set_xlabel(f"capacity (mAh per g of {formula_label(document.host)})")
    axes.set_ylabel("change of volume (%)")
