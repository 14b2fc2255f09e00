"""All registries of an interface from above: the film's face over the substrate's, each panel named."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, Polygon
from numpy.typing import NDArray

from anodeflow.analysis.figures.pictures import drawn_radius_angstrom, element_colour, element_key
from anodeflow.analysis.figures.style import in_style, mark_panel
from anodeflow.analysis.interface_registries import ScoredRegistry
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _MOST = 4, 24
_PANEL_INCH, _TITLE_INCH, _BELOW_INCH = 1.7, 0.62, 0.55
_FILM_SCALE, _SUBSTRATE_SCALE = 0.62, 1.5
_WINDOW_ANGSTROM = 9.0

#: Element and place in the plane, angstrom.
_Atom = tuple[str, tuple[float, float]]


@dataclass(frozen=True)
class RegistryView:
    """One registry and the atoms of the two faces in it.

    Attributes
    ----------
    registry : ScoredRegistry
        Its name, and what the potential says of it.
    cell : ndarray
        Of the interface, shape (2, 2), rows, angstrom.
    film, substrate : sequence of (str, (float, float))
        Elements and places of the atoms of the faces.
    """

    registry: ScoredRegistry
    cell: NDArray[np.float64]
    film: Sequence[_Atom]
    substrate: Sequence[_Atom]


def registries_figure(views: Sequence[RegistryView], interface: str, potential: str | None) -> Figure:
    """Draw registries from above, in the order given.

    Parameters
    ----------
    views
        At least one; no more than 24 are drawn.
    interface
        Its name, for the caption.
    potential
        That scored them; None without energies.

    Returns
    -------
    Figure
        Large discs are the substrate's face, small ones the film's; the dashed line is the cell.

    Raises
    ------
    InputError
        No registry is given.
    """
    if not views:
        raise InputError("there is no registry to draw", "choose another match")
    shown = views[:_MOST]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    window = max(_WINDOW_ANGSTROM, 1.05 * max(float(np.abs(view.cell).sum(axis=0).max()) for view in shown))
    size = (columns * _PANEL_INCH + 0.2, rows * (_PANEL_INCH + _TITLE_INCH) + _BELOW_INCH)
    with in_style():
        figure = plt.figure(figsize=size)
        for n, view in enumerate(shown):
            row, column = divmod(n, columns)
            bottom = size[1] - (row + 1) * (_PANEL_INCH + _TITLE_INCH)
            axes = figure.add_axes((
                (0.15 + column * _PANEL_INCH) / size[0], bottom / size[1],
                (_PANEL_INCH - 0.1) / size[0], (_PANEL_INCH - 0.1) / size[1],
            ))  # fmt: skip
            _draw(axes, view, window)
            mark_panel(axes, n)
            axes.text(
                0.56, 1.03, _title(view.registry), transform=axes.transAxes, ha="center", va="bottom", fontsize=6.5,
                linespacing=1.15, parse_math=False,
            )  # fmt: skip
        symbols = [symbol for view in shown for symbol, _ in (*view.film, *view.substrate)]
        legend = figure.legend(
            handles=element_key(symbols), loc="lower right", ncols=6, fontsize=7, frameon=False, handletextpad=0.1,
            bbox_to_anchor=(1.0, 0.0), borderaxespad=0.1, columnspacing=0.9,
        )  # fmt: skip
        legend.set_gid("elements")
        scored = f"energies by {potential}" if potential else "not scored"
        more = f", {len(views) - _MOST} more not drawn" if len(views) > _MOST else ""
        figure.text(
            0.15 / size[0], 0.08 / size[1],
            f"{interface}, contact 1; {scored}{more}.\nSmall: face of the film; large: face of the substrate.",
            fontsize=6.5, va="bottom", ha="left", linespacing=1.3, parse_math=False,
        )  # fmt: skip
    return figure


def _title(registry: ScoredRegistry) -> str:
    """Return name, energy and gap of a registry in at most three lines."""
    lines = textwrap.wrap(registry.label, 20)
    if registry.above_lowest_j_per_m2 is not None:
        slope = "" if registry.stationary else ", slope"
        lines.append(
            f"{registry.above_lowest_j_per_m2:+.3f}".replace("-", "−") + f" J/m², {registry.gap_angstrom:.1f} Å{slope}"
        )
    return "\n".join(lines)


def _draw(axes: Axes, view: RegistryView, window: float) -> None:
    """Draw both faces in a square window around the middle of the cell."""
    middle = view.cell.sum(axis=0) / 2
    for atoms, scale, height in ((view.substrate, _SUBSTRATE_SCALE, 1), (view.film, _FILM_SCALE, 3)):
        for symbol, place in _repeated(atoms, view.cell, middle, window):
            radius, top = scale * drawn_radius_angstrom(symbol), height == 3
            if top:  # a white rim: it may lie on an atom of its own colour
                axes.add_patch(Circle(place, radius + 0.14, facecolor="white", edgecolor="none", zorder=height - 1))
            disc = Circle(place, radius, facecolor=element_colour(symbol), edgecolor="0.12", zorder=height)
            disc.set(linewidth=0.9 if top else 0.4, gid="film" if top else "substrate")
            axes.add_patch(disc)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ view.cell
    axes.add_patch(Polygon(corners, closed=True, fill=False, edgecolor="0.2", lw=0.7, ls=(0, (4, 2)), zorder=4))
    half = window / 2
    axes.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half), aspect="equal",
        xticks=[], yticks=[],
    )  # fmt: skip


def _repeated(
    atoms: Sequence[_Atom], cell: NDArray[np.float64], middle: NDArray[np.float64], window: float
) -> Iterator[_Atom]:
    """Return every image of the atoms that a window shows."""
    heights = abs(float(np.linalg.det(cell))) / np.linalg.norm(cell, axis=1)[::-1]
    steps = [range(-n, n + 1) for n in (math.ceil(window / height) + 1 for height in heights)]
    for symbol, place in atoms:
        for step in product(*steps):
            image = np.asarray(place) + np.array(step) @ cell
            if np.abs(image - middle).max() < window / 2 + 2.0:
                yield symbol, (float(image[0]), float(image[1]))
