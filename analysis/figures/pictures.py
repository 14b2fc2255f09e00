"""Pictures of structures for papers: top and side view on one scale, with the cell, bonds and a scale bar."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Patch, Polygon
from numpy.typing import NDArray

from anodeflow.analysis.figures.style import in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pymatgen.core import Structure

# Okabe & Ito where elements meet in one structure, so that colour-blind readers tell them apart.
ELEMENT_COLOURS = {
    "Li": "#CC79A7",
    "Al": "#8C9BA8",
    "P": "#D55E00",
    "S": "#F0E442",
    "Cl": "#009E73",
    "Br": "#8A5A2B",
    "I": "#5B3A8E",
    "O": "#B2182B",
    "C": "#404040",
    "N": "#0072B2",
    "F": "#B8E186",
    "Na": "#56B4E9",
}
_OTHER_COLOURS = ("#56B4E9", "#E69F00", "#0072B2", "#A6761D", "#B3B3B3")

_ATOM_SCALE = 0.58
"""Drawn radius over covalent radius: neighbours leave a gap, so that the layers behind are seen."""

_P_S_BOND_ANGSTROM = 2.4
EDGE_ANGSTROM = 0.1
"""An atom this close to a side of the cell is drawn on the opposite side, too."""

_SMALLEST_WIDTH_ANGSTROM = 8.0
"""A narrower cell is shown with pale repeats around it."""

_WIDTH_INCH, _HEIGHT_INCH, _GAP_INCH, _MARGIN_INCH = 6.2, 4.6, 0.45, 0.2
_PALE = 0.62
_INK = (0.12, 0.12, 0.12)
_STICK_ANGSTROM = 0.13


@dataclass
class _Scene:
    """Everything that is drawn, in cartesian angstrom."""

    points: NDArray[np.float64]
    symbols: list[str]
    inside: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    bonds: list[tuple[int, int]]
    edges: list[NDArray[np.float64]]


def structure_picture(structure: Structure, *, title: str, lines: list[str], bonds: bool = True) -> Figure:
    """Draw the top view (xy) and the side view (xz) of a structure, both on one scale.

    Parameters
    ----------
    structure
        Ordered and periodic. Atoms held by ``selective_dynamics`` are marked.
    title
        Over the picture; matplotlib's mathtext may stand in it.
    lines
        What a reader must know, under the picture; plain text, long lines are wrapped.
    bonds
        Draw the P-S bonds, and complete the molecules that the cell cuts.

    Returns
    -------
    Figure
        To be written by :func:`anodeflow.analysis.figures.style.save_figure`. Repeats of a narrow cell and atoms
        that only complete a molecule are pale and lie behind the others. Two sides of an interface, told apart by
        the site property ``side``, are named.
    """
    scene = _scene(structure, bonds)
    views = [(0, 1, scene.points[:, 2]), (0, 2, -scene.points[:, 1])]
    boxes = [_box(scene, x, y) for x, y, _ in views]
    widths, heights = [box[1] - box[0] for box in boxes], [box[3] - box[2] for box in boxes]
    inch = min((_WIDTH_INCH - _GAP_INCH) / sum(widths), _HEIGHT_INCH / max(heights), 0.34)
    drawn = inch * sum(widths) + _GAP_INCH
    total = max(drawn + 2 * _MARGIN_INCH, 4.4)
    text = [part for line in lines for part in textwrap.wrap(line, int(total * 18.5)) or [""]]
    below, above = 0.42 + 0.132 * len(text), 0.5
    tall = inch * max(heights) + below + above
    with in_style():
        figure = plt.figure(figsize=(total, tall))
        left = (total - drawn) / 2
        names = ("top view, along $-z$", "side view, along $y$")
        for (x, y, depth), box, width, height, name in zip(views, boxes, widths, heights, names, strict=True):
            bottom = below + inch * (max(heights) - height) / 2
            axes = figure.add_axes((left / total, bottom / tall, inch * width / total, inch * height / tall))
            _draw(axes, scene, x, y, depth)
            axes.set(xlim=box[:2], ylim=box[2:], aspect="equal")
            axes.set_axis_off()
            if y == 2:
                _name_sides(axes, structure)
            centre = (left + inch * width / 2) / total
            figure.text(centre, (tall - above + 0.1) / tall, name, ha="center", va="bottom", fontsize=7, color="0.35")
            left += inch * width + _GAP_INCH
        figure.text(0.5, (tall - 0.06) / tall, title, ha="center", va="top", fontsize=9.5)
        _scale_bar(figure, inch, below / tall, total, tall)
        _legend(figure, scene, below / tall, total)
        for row, line in enumerate(text):
            figure.text(
                0.5, (below - 0.51 - 0.132 * row) / tall, line, ha="center", va="baseline", fontsize=7, color="0.2",
                parse_math=False,
            )  # fmt: skip
    return figure


def draw_side_view(axes: Axes, structure: Structure, marked: Sequence[int] = ()) -> None:
    """Draw the side view (xz) of a structure on given axes, in angstrom.

    Parameters
    ----------
    axes
        Emptied of ticks and frame.
    structure
        Ordered and periodic; atoms may lie outside the cell.
    marked
        Indices of atoms to put a ring around.
    """
    scene = _scene(structure, bonds=True)
    _draw(axes, scene, 0, 2, -scene.points[:, 1])
    for index in marked:
        frac = structure.frac_coords[index] - np.floor(structure.frac_coords[index])
        place = (frac @ structure.lattice.matrix)[[0, 2]]
        ring = Circle(place, 1.3, facecolor="none", edgecolor="#B2182B", linewidth=1.0, zorder=3)
        ring.set_gid("marked")
        axes.add_patch(ring)
    low_x, high_x, low_z, high_z = _box(scene, 0, 2)
    axes.set(xlim=(low_x, high_x), ylim=(low_z, high_z), aspect="equal")
    axes.set_axis_off()


def element_key(symbols: Iterable[str]) -> list[Any]:
    """Return handles of a legend that names the colours of elements."""
    return [_dot(symbol, element_colour(symbol)) for symbol in sorted(set(symbols), key=_by_number)]


def element_colour(symbol: str) -> tuple[float, float, float]:
    """Return the colour an element is drawn in, the same in every picture."""
    number = atomic_numbers.get(symbol, 0)
    return to_rgb(ELEMENT_COLOURS.get(symbol, _OTHER_COLOURS[number % len(_OTHER_COLOURS)]))


def drawn_radius_angstrom(symbol: str) -> float:
    """Return the radius an element is drawn with: a fixed part of its covalent radius (doi 10.1039/b801115j)."""
    return _ATOM_SCALE * float(covalent_radii[atomic_numbers[symbol]])


def _scene(structure: Structure, bonds: bool) -> _Scene:
    lattice = structure.lattice
    repeats = [_repeats(lattice.matrix, axis) for axis in (0, 1)] + [(0, 1)]
    margin = EDGE_ANGSTROM / np.array(lattice.abc)
    keys: dict[tuple[int, ...], bool] = {}
    for index, frac in enumerate(structure.frac_coords):
        home = -np.floor(frac + margin).astype(int)
        for shift in product(*(range(low - 1, high + 1) for low, high in repeats)):
            place = frac + home + shift
            wanted = all(
                low - edge <= f <= high + edge for f, (low, high), edge in zip(place, repeats, margin, strict=True)
            )
            if wanted:
                inside = bool(((place >= -margin) & (place <= 1 + margin)).all())
                keys[(index, *(int(n) for n in home + shift))] = inside
    pairs = _bonds(structure, keys) if bonds else []
    order = {key: n for n, key in enumerate(keys)}
    fixed = structure.site_properties.get("selective_dynamics")
    frozen = np.array([fixed is not None and not any(fixed[key[0]]) for key in keys])
    corners = [np.array(corner) for corner in product((0, 1), repeat=3)]
    edges = [
        np.array([a, b]) @ lattice.matrix for a in corners for b in corners if (b - a).sum() == (b != a).sum() == 1
    ]
    return _Scene(
        points=np.array([structure.frac_coords[key[0]] + key[1:] for key in keys]) @ lattice.matrix,
        symbols=[structure[key[0]].specie.symbol for key in keys],
        inside=np.array(list(keys.values())),
        frozen=frozen,
        bonds=[(order[a], order[b]) for a, b in pairs],
        edges=edges,
    )


def _repeats(matrix: NDArray[np.float64], axis: int) -> tuple[int, int]:
    """Return the first and last cell border to draw along a or b: more than one cell where it is narrow."""
    area = float(np.linalg.norm(np.cross(matrix[0], matrix[1])))
    width = area / float(np.linalg.norm(matrix[1 - axis]))
    count = max(1, math.ceil(_SMALLEST_WIDTH_ANGSTROM / width - 1e-6))
    before = (count - 1) // 2
    return -before, count - before


def _bonds(structure: Structure, keys: dict[tuple[int, ...], bool]) -> list[tuple[Any, Any]]:
    """Return the P-S bonds of the atoms in `keys`, to which the missing atoms of cut molecules are added."""
    symbols = [site.specie.symbol for site in structure]
    if not {"P", "S"} <= set(symbols):
        return []
    first, second, image, distance = structure.get_neighbor_list(_P_S_BOND_ANGSTROM)
    partners: dict[int, list[tuple[int, NDArray[np.int_]]]] = {}
    for i, j, shift, length in zip(first, second, image, distance, strict=True):
        if {symbols[i], symbols[j]} == {"P", "S"} and length > 0:
            partners.setdefault(int(i), []).append((int(j), shift.astype(int)))
    bonds: dict[frozenset[Any], tuple[Any, Any]] = {}
    # Only molecules with an atom in the cell itself grow. A network has no end: eight steps close P4S10.
    growing = [key for key, inside in keys.items() if inside]
    for key in [key for key, inside in keys.items() if not inside]:
        for j, shift in partners.get(key[0], []):
            other = (j, *(int(n) for n in np.array(key[1:]) + shift))
            if other in keys:
                bonds.setdefault(frozenset((key, other)), (key, other))
    for _ in range(8):
        new = []
        for key in growing:
            for j, shift in partners.get(key[0], []):
                other = (j, *(int(n) for n in np.array(key[1:]) + shift))
                if other not in keys:
                    keys[other] = False
                    new.append(other)
                bonds.setdefault(frozenset((key, other)), (key, other))
        growing = new
    return list(bonds.values())


def _box(scene: _Scene, x: int, y: int) -> tuple[float, float, float, float]:
    """Return the limits of a view: every atom with its radius, and the cell."""
    radii = np.array([drawn_radius_angstrom(symbol) for symbol in scene.symbols])
    corners = np.concatenate(scene.edges)
    low = np.minimum((scene.points - radii[:, None]).min(axis=0), corners.min(axis=0)) - 0.25
    high = np.maximum((scene.points + radii[:, None]).max(axis=0), corners.max(axis=0)) + 0.25
    return float(low[x]), float(high[x]), float(low[y]), float(high[y])


def _draw(axes: Axes, scene: _Scene, x: int, y: int, depth: NDArray[np.float64]) -> None:
    """Draw atoms and bonds from the farthest to the nearest, those outside the cell behind all others."""
    nearness = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
    plane = scene.points[:, [x, y]]
    pale = np.where(scene.inside, 0.3, _PALE + 0.15) - np.where(scene.inside, 0.3, 0.15) * nearness
    colours = [element_colour(symbol) for symbol in scene.symbols]
    radii = [drawn_radius_angstrom(symbol) for symbol in scene.symbols]
    items: list[tuple[bool, float, Patch]] = []

    def add(n: int, height: float, patch: Patch) -> None:
        items.append((bool(scene.inside[n]), height, patch))

    for n, (colour, radius) in enumerate(zip(colours, radii, strict=True)):
        line = _mix(_INK, pale[n])
        face = _mix(colour, pale[n])
        add(n, depth[n], Circle(plane[n], radius, facecolor=face, edgecolor=line, linewidth=0.55))
        if scene.frozen[n]:
            add(n, depth[n] + 1e-6, Circle(plane[n], 0.3 * radius, facecolor=line, edgecolor="none", linewidth=0))
        else:
            shine = plane[n] + radius * np.array([-0.32, 0.32])
            white = _mix(face, 0.5)
            add(n, depth[n] + 1e-6, Circle(shine, 0.22 * radius, facecolor=white, edgecolor="none", linewidth=0))
    for pair in scene.bonds:
        for n, other in (pair, pair[::-1]):
            along = scene.points[other] - scene.points[n]
            start = radii[n] / float(np.linalg.norm(along))  # where the stick leaves the ball
            stick = _stick(plane[n] + start * along[[x, y]], plane[n] + 0.5 * along[[x, y]])
            height = depth[n] + (start + 0.5) / 2 * (depth[other] - depth[n])
            line = _mix(_INK, max(pale[n], 0.2))
            add(n, height, Polygon(stick, facecolor=_mix(colours[n], pale[n]), edgecolor=line, linewidth=0.35))
    items.sort(key=lambda item: item[:2])
    for edge in scene.edges:
        axes.plot(*edge[:, [x, y]].T, color="0.25", lw=0.6, ls=(0, (4, 2)), zorder=1)
    axes.add_collection(PatchCollection([patch for *_, patch in items], match_original=True, zorder=2))


def _name_sides(axes: Axes, structure: Structure) -> None:
    """Name the two sides of an interface, where the sites say to which they belong, beside the side view."""
    sides = np.array(structure.site_properties.get("side", [None] * len(structure)))
    for name in [name for name in dict.fromkeys(sides) if name is not None]:
        heights = structure.cart_coords[sides == name, 2]
        place = axes.get_yaxis_transform()
        axes.plot([1.02, 1.02], [heights.min(), heights.max()], transform=place, color="0.35", lw=0.8, clip_on=False)
        axes.text(
            1.035, (heights.min() + heights.max()) / 2, str(name), transform=place, rotation=90, ha="left",
            va="center", fontsize=7, color="0.35",
        )  # fmt: skip


def _stick(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    along = end - start
    across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9) * _STICK_ANGSTROM
    return np.array([start + across, end + across, end - across, start - across])


def _mix(colour: tuple[float, float, float], white: float) -> tuple[float, float, float]:
    red, green, blue = (channel + (1 - channel) * min(white, 1.0) for channel in colour)
    return red, green, blue


def _scale_bar(figure: Figure, inch: float, bottom: float, total: float, tall: float) -> None:
    """Draw a bar of a round length at the lower left, on the scale of both views."""
    length = next((n for n in (10, 5, 2, 1) if n * inch < 1.0), 1)
    start, height = _MARGIN_INCH / total, bottom - 0.2 / tall
    bar = plt.Line2D([start, start + length * inch / total], [height] * 2, color="black", lw=1.8)
    bar.set_solid_capstyle("butt")
    bar.set_gid("scale-bar")
    figure.add_artist(bar)
    label = f"{length} Å"
    figure.text(start + length * inch / total + 0.06 / total, height, label, ha="left", va="center", fontsize=7)


def _legend(figure: Figure, scene: _Scene, bottom: float, total: float) -> None:
    handles = element_key(scene.symbols)
    if scene.frozen.any():
        handles.append(_dot("frozen", "0.12", size=3.0))
    legend = figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1 - _MARGIN_INCH / total, bottom - 0.02),
        ncols=len(handles),
        handletextpad=0.1,
        columnspacing=0.9,
        borderpad=0,
        borderaxespad=0,
        frameon=False,
    )
    legend.set_gid("elements")


def _dot(name: str, colour: Any, edge: Any = "0.12", size: float = 7.0) -> Any:
    return plt.Line2D([], [], ls="none", marker="o", ms=size, mfc=colour, mec=edge, mew=0.5, label=name)


def _by_number(symbol: str) -> int:
    return int(atomic_numbers[symbol])
