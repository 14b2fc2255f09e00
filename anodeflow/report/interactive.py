"""Figures of matplotlib as plotly's: the same points, bars, lines, bands, maps and labels, a panel each.

Every kind of study draws one figure (``StudyKind.figure``). Converting it, in place of drawing it a second time, gives
every kind an interactive figure with the numbers and colours of the printed one. What has no counterpart here makes
its panel None, and the page shows the printed figure alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anodeflow.report.mathtext import as_html, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_Panel = dict[str, Any]

_MARKERS = {
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond", "d": "diamond-tall",
    "P": "cross", "+": "cross-thin", "x": "x-thin", "X": "x", "*": "star", ".": "circle", "<": "triangle-left",
    ">": "triangle-right", "h": "hexagon", "p": "pentagon", "_": "line-ew", "|": "line-ns",
}  # fmt: skip
_THIN = {"+", "x", "_", "|"}
_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_PIXELS_PER_POINT = 1.6
_COLOURS_OF_MAP = 17


def panels_of(figure: Figure) -> list[_Panel]:
    """Return the panels of a figure as plotly figures (``data``, ``layout``), each with its alternative text ``alt``.

    Parameters
    ----------
    figure
        A finished figure; it is drawn once, so that its limits and ticks are there.

    Returns
    -------
    list of dict
        Without pictures (:func:`has_pictures`); empty where a panel is polar or three-dimensional.
    """
    figure.canvas.draw()
    bars = {image.colorbar.ax for axes in figure.axes for image in _maps(axes) if image.colorbar}
    drawn = [axes for axes in figure.axes if axes not in bars and axes.axison]
    if any(axes.name != "rectilinear" for axes in drawn):
        return []
    panels: list[_Panel] = []
    places: dict[tuple[float, ...], _Panel] = {}
    for axes in drawn:
        place = tuple(np.round(axes.get_position().bounds, 6))
        if place in places:  # a second axis over the first
            _add_twin(places[place], axes)
        else:
            places[place] = _panel(axes)
            panels.append(places[place])
    return panels


def has_pictures(figure: Figure) -> bool:
    """Return whether a figure has panels without axes that are not converted: pictures of structures."""
    return any(not axes.axison and axes.has_data() for axes in figure.axes)


def _panel(axes: Axes) -> _Panel:
    title = " ".join(filter(None, (axes.get_title(loc="left"), axes.get_title(), axes.get_title(loc="right"))))
    traces, shapes = list(_traces(axes)), list(_shapes(axes))
    layout: dict[str, Any] = {
        "title": {"text": as_html(title), "x": 0.02, "font": {"size": 15}},
        "xaxis": _axis(axes.xaxis, axes.get_xlim()),
        "yaxis": _axis(axes.yaxis, axes.get_ylim()),
        "shapes": shapes,
        "annotations": list(_annotations(axes)),
        "showlegend": any(trace.get("showlegend") for trace in traces),
    }
    if axes.get_aspect() == 1.0:
        layout["yaxis"] |= {"scaleanchor": "x", "scaleratio": 1}
    return {"data": traces, "layout": layout, "alt": _alternative_text(axes, title, traces)}


def _add_twin(panel: _Panel, axes: Axes) -> None:
    layout = panel["layout"]
    across = axes.xaxis.get_ticks_position() == "top"
    own = {"xaxis": "x2"} if across else {"yaxis": "y2"}
    name, axis, limits = ("x", axes.xaxis, axes.get_xlim()) if across else ("y", axes.yaxis, axes.get_ylim())
    second = {"overlaying": name, "side": "top" if across else "right", "showgrid": False}
    layout[f"{name}axis2"] = _axis(axis, limits) | second
    if "tickvals" not in layout[f"{name}axis2"]:  # else plotly puts its ticks beside those of the first axis
        layout[f"{name}axis2"] |= {"tickmode": "auto", "showticklabels": True}
    panel["data"] += [trace | own for trace in _traces(axes)]
    layout["showlegend"] = any(trace.get("showlegend") for trace in panel["data"])
    panel["alt"] += f" Second axis: {as_text(axes.get_xlabel() if across else axes.get_ylabel())}."


def _alternative_text(axes: Axes, title: str, traces: list[dict[str, Any]]) -> str:
    """Say what a panel shows: its axes, series and ranges."""
    across, up = as_text(axes.get_xlabel()), as_text(axes.get_ylabel())
    names = [as_text(name) for name in dict.fromkeys(t.get("plain") or "" for t in traces) if name]
    numbers = [v for t in traces if "y" in t for v in t["y"] if isinstance(v, float) and math.isfinite(v)]
    sentence = f"{as_text(title)} {up or 'values'} against {across or 'the names below'}".strip()
    if names:
        sentence += f"; series: {', '.join(names)}"
    if numbers:
        sentence += f"; values from {min(numbers):.4g} to {max(numbers):.4g}"
    for trace in traces:
        trace.pop("plain", None)
    return sentence + "."


def _axis(axis: Axis, limits: Sequence[float]) -> dict[str, Any]:
    from matplotlib.ticker import FixedFormatter, FuncFormatter, NullFormatter

    logarithmic = axis.get_scale() == "log"
    ends = [math.log10(v) for v in limits] if logarithmic and min(limits) > 0 else [float(v) for v in limits]
    settings: dict[str, Any] = {
        "title": {"text": as_html(axis.get_label_text())},
        "type": "log" if logarithmic else "linear",
        "range": ends,
    }
    formatter = axis.get_major_formatter()
    if isinstance(formatter, FixedFormatter | FuncFormatter):
        inside = (min(limits), max(limits))
        pairs = [
            (float(place), as_html(label.get_text()))
            for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)
            if inside[0] <= place <= inside[1]
        ]
        if any(text for _, text in pairs):  # else they stand at the panel beside it
            settings |= {"tickvals": [place for place, _ in pairs], "ticktext": [text for _, text in pairs]}
    elif isinstance(formatter, NullFormatter):
        settings["showticklabels"] = False
    return settings


# --- what is drawn in a panel


def _traces(axes: Axes) -> Iterator[dict[str, Any]]:
    from matplotlib.collections import LineCollection, PathCollection, PolyCollection
    from matplotlib.container import BarContainer, ErrorbarContainer

    for image in _maps(axes):
        yield _heatmap(image)
    bars = [c for c in axes.containers if isinstance(c, BarContainer)]
    for container in bars:
        yield _bars(container)
    barred = {id(patch) for container in bars for patch in container}
    for patch in axes.patches:
        if id(patch) not in barred and patch.get_visible() and not _is_span(axes, patch):
            yield from _outline(axes, patch)
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            yield _segments(collection)
        elif isinstance(collection, PathCollection):
            yield _points(collection)
        elif isinstance(collection, PolyCollection):
            yield from _areas(collection)
    # points with error bars have their label on the whole, not on the points
    barred_lines = {id(c.lines[0]): c for c in axes.containers if isinstance(c, ErrorbarContainer)}
    for line in axes.lines:
        if line.get_transform() == axes.transData and line.get_visible():
            yield _line(line, barred_lines.get(id(line), line))


def _named(artist: Any) -> dict[str, Any]:
    label = str(artist.get_label() or "")
    shown = bool(label) and not label.startswith("_")
    return {"name": as_html(label) if shown else "", "showlegend": shown, "plain": label if shown else ""}


def _line(line: Any, labelled: Any) -> dict[str, Any]:
    x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
    style, marker = line.get_linestyle(), line.get_marker()
    drawn = style in _DASHES
    marked = marker in _MARKERS
    trace = {
        "type": "scatter",
        "x": _numbers(x) or [None],
        "y": _numbers(y) or [None],
        "mode": "+".join([*(["lines"] if drawn else []), *(["markers"] if marked else [])]) or "markers",
        "line": {
            "color": _colour(line.get_color(), line.get_alpha()),
            "width": line.get_linewidth() * _PIXELS_PER_POINT,
            "dash": _DASHES.get(style, "solid"),
        },
        **_named(labelled),
    }
    if marked:
        trace["marker"] = {
            "symbol": _MARKERS[marker] + ("-open" if marker in _THIN else ""),
            "size": max(3.0, line.get_markersize() * _PIXELS_PER_POINT),
            "color": _colour(line.get_markeredgecolor() if marker in _THIN else line.get_markerfacecolor()),
            "line": {
                "color": _colour(line.get_markeredgecolor()),
                "width": line.get_markeredgewidth() * _PIXELS_PER_POINT,
            },
        }
    if marker in ("_", "|"):
        trace["hoverinfo"] = "skip"  # the caps of error bars
    return trace


def _bars(container: Any) -> dict[str, Any]:
    upright = getattr(container, "orientation", "vertical") != "horizontal"
    patches = list(container)
    middle = [p.get_x() + p.get_width() / 2 if upright else p.get_y() + p.get_height() / 2 for p in patches]
    length = [p.get_height() if upright else p.get_width() for p in patches]
    return {
        "type": "bar",
        "orientation": "v" if upright else "h",
        ("x" if upright else "y"): _numbers(middle),
        ("y" if upright else "x"): _numbers(length),
        "base": _numbers([p.get_y() if upright else p.get_x() for p in patches]),
        "width": _numbers([p.get_width() if upright else p.get_height() for p in patches]),
        "marker": {"color": [_colour(p.get_facecolor()) for p in patches]},
        **_named(container),
    }


def _outline(axes: Axes, patch: Any) -> Iterator[dict[str, Any]]:
    path = patch.get_path().transformed(patch.get_transform() - axes.transData)
    for polygon in path.to_polygons():
        yield _area(polygon, _colour(patch.get_facecolor()), _named(patch))


def _areas(collection: Any) -> Iterator[dict[str, Any]]:
    colours = collection.get_facecolor()
    for number, path in enumerate(collection.get_paths()):
        if not len(colours):
            return
        for polygon in path.to_polygons():
            named = _named(collection) if number == 0 else {"name": "", "showlegend": False}
            yield _area(polygon, _colour(colours[number % len(colours)]), named)


def _area(polygon: Any, colour: str, named: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter", "x": _numbers(polygon[:, 0]), "y": _numbers(polygon[:, 1]), "mode": "lines",
        "fill": "toself", "fillcolor": colour, "line": {"width": 0}, "hoverinfo": "skip", **named,
    }  # fmt: skip


def _segments(collection: Any) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for segment in collection.get_segments():
        x += [*_numbers(segment[:, 0]), None]
        y += [*_numbers(segment[:, 1]), None]
    colours = collection.get_color()
    return {
        "type": "scatter", "x": x, "y": y, "mode": "lines", "hoverinfo": "skip",
        "line": {
            "color": _colour(colours[0]) if len(colours) else "#000000",
            "width": float(collection.get_linewidth()[0]) * _PIXELS_PER_POINT,
        },
        **_named(collection),
    }  # fmt: skip


def _points(collection: Any) -> dict[str, Any]:
    places: Any = np.ma.filled(np.ma.asarray(collection.get_offsets(), dtype=float), np.nan)
    colours, sizes = collection.get_facecolor(), collection.get_sizes()
    if not len(colours):
        colours = collection.get_edgecolor()
    return {
        "type": "scatter", "x": _numbers(places[:, 0]), "y": _numbers(places[:, 1]), "mode": "markers",
        "marker": {
            "size": [max(3.0, math.sqrt(s) * _PIXELS_PER_POINT) for s in np.resize(sizes, len(places))],
            "color": [_colour(c) for c in np.resize(colours, (len(places), 4))],
            "line": {"width": 0.8, "color": "#333333"},
        },
        **_named(collection),
    }  # fmt: skip


def _maps(axes: Axes) -> list[Any]:
    from matplotlib.collections import QuadMesh

    return [*axes.images, *(c for c in axes.collections if isinstance(c, QuadMesh))]


def _heatmap(image: Any) -> dict[str, Any]:
    values: Any = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
    if hasattr(image, "get_extent"):
        left, right, bottom, top = image.get_extent()
        rows, columns = values.shape
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
        y = first + (np.arange(rows) + 0.5) * (last - first) / rows
    else:
        corners = image.get_coordinates()
        values = values.reshape(corners.shape[0] - 1, corners.shape[1] - 1)
        x, y = corners[0, :, 0], corners[:, 0, 1]
        x, y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    low, high = image.get_clim()
    steps = np.linspace(0, 1, _COLOURS_OF_MAP)
    bar = image.colorbar.ax if image.colorbar else None
    label = "" if bar is None else bar.get_ylabel() or bar.get_xlabel()
    return {
        "type": "heatmap", "x": _numbers(x), "y": _numbers(y), "z": [_numbers(row) for row in values],
        "zmin": float(low), "zmax": float(high), "hoverongaps": False,
        "colorscale": [[float(s), _colour(image.cmap(float(s)))] for s in steps],
        "showscale": bar is not None, "colorbar": {"title": {"text": as_html(label), "side": "right"}},
        "plain": label,
    }  # fmt: skip


# --- lines across a panel, and words in it


def _is_span(axes: Axes, patch: Any) -> bool:
    return bool(patch.get_data_transform() != axes.transData)


def _shapes(axes: Axes) -> Iterator[dict[str, Any]]:
    for line in axes.lines:
        transform = line.get_transform()
        if transform == axes.transData or not line.get_visible():
            continue
        places = (
            (axes.get_yaxis_transform(), ("x domain", "y")), (axes.get_xaxis_transform(), ("x", "y domain")),
            (axes.transAxes, ("x domain", "y domain")),
        )  # fmt: skip
        refs = next((pair for other, pair in places if other == transform), None)
        x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
        if refs is None or len(x) < 2:
            continue
        yield {
            "type": "line", "xref": refs[0], "yref": refs[1], "layer": "below",
            "x0": float(x[0]), "x1": float(x[-1]), "y0": float(y[0]), "y1": float(y[-1]),
            "line": {
                "color": _colour(line.get_color(), line.get_alpha()), "width": line.get_linewidth() * _PIXELS_PER_POINT,
                "dash": _DASHES.get(str(line.get_linestyle()), "solid"),
            },
        }  # fmt: skip
    for patch in axes.patches:
        if patch.get_visible() and _is_span(axes, patch):
            box = patch.get_window_extent().transformed(axes.transAxes.inverted())
            yield {
                "type": "rect", "xref": "x domain", "yref": "y domain", "layer": "below", "line": {"width": 0},
                "x0": box.x0, "x1": box.x1, "y0": box.y0, "y1": box.y1, "fillcolor": _colour(patch.get_facecolor()),
            }  # fmt: skip


def _annotations(axes: Axes) -> Iterator[dict[str, Any]]:
    for text in axes.texts:
        if not text.get_text().strip() or not text.get_visible():
            continue
        box = text.get_window_extent()
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        inside = axes.transAxes.inverted().transform(middle)
        place: dict[str, Any] = {"xref": "x domain", "yref": "y domain", "x": float(inside[0]), "y": float(inside[1])}
        if all(0 <= v <= 1 for v in inside):
            x, y = axes.transData.inverted().transform(middle)
            place = {
                "xref": "x", "yref": "y",
                "x": float(math.log10(x) if axes.get_xscale() == "log" else x),
                "y": float(math.log10(y) if axes.get_yscale() == "log" else y),
            }  # fmt: skip
        yield place | {
            "text": as_html(text.get_text()), "showarrow": False, "xanchor": "center", "yanchor": "middle",
            "textangle": -float(text.get_rotation()),
            "font": {
                "size": max(11.0, float(text.get_fontsize()) * _PIXELS_PER_POINT), "color": _colour(text.get_color()),
            },
        }  # fmt: skip


def _numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers to seven digits, more than a screen shows: a trajectory has tens of thousands."""
    return [float(f"{v:.7g}") if v is not None and math.isfinite(v) else None for v in values]


def _colour(colour: Any, alpha: float | None = None) -> str:
    from matplotlib.colors import to_rgba

    red, green, blue, opacity = to_rgba(colour, alpha)
    return f"rgba({round(255 * red)},{round(255 * green)},{round(255 * blue)},{opacity:.3g})"
