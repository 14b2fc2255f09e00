"""Wulff shapes as a picture: an orthographic view of the polyhedron, faces coloured and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Polygon

from anodeflow.analysis.figures.style import COLOURS, formula_label, miller_label
from anodeflow.analysis.wulff import WulffShapeDoc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where the eye is: out of any symmetry plane, so that no face is seen edge on.
_EYE = np.array([0.84, 0.42, 0.34]) / np.linalg.norm([0.84, 0.42, 0.34])


def draw_wulff(axes: Axes, shape: WulffShapeDoc) -> None:
    """Draw a shape on given axes, with the share of each face in its area.

    Parameters
    ----------
    axes
        Emptied of ticks and frame.
    shape
        With polygons.
    """
    right = np.cross([0.0, 0.0, 1.0], _EYE)
    right /= np.linalg.norm(right)
    up = np.cross(_EYE, right)
    for polygon in shape.polygons:
        corners = np.array(polygon.corners)
        normal = corners.mean(axis=0)  # from the middle of the shape
        normal = _normal(corners) * np.sign(_normal(corners) @ normal)
        if normal @ _EYE <= 0:
            continue
        shade = 0.55 + 0.45 * float(normal @ _EYE)
        colour = tuple(shade * c + (1 - shade) * 0.25 for c in to_rgb(COLOURS[polygon.face % len(COLOURS)]))
        plane = np.column_stack([corners @ right, corners @ up])
        axes.add_patch(Polygon(plane, closed=True, facecolor=colour, edgecolor="white", lw=0.8, gid="wulff-face"))
    reach = max(float(np.linalg.norm(p.corners, axis=1).max()) for p in shape.polygons) * 1.02
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_axis_off()
    handles = [
        Patch(color=COLOURS[n % len(COLOURS)], label=f"{miller_label(face.miller)} {100 * face.area_fraction:.0f} %")
        for n, face in enumerate(shape.faces)
    ]
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.95, 0.5), fontsize=7, title=formula_label(shape.crystal),
        title_fontsize=8, frameon=False,
    )  # fmt: skip


def _normal(corners: np.ndarray) -> np.ndarray:
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
    unit: np.ndarray = normal / np.linalg.norm(normal)
    return unit
