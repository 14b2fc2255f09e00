"""The numbers of a figure as rows: what is drawn, panel by panel."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anodeflow.errors import InputError
from anodeflow.report.interactive import panels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Columns of the rows, in order.
COLUMNS = ("panel", "x_axis", "y_axis", "series", "x", "y", "z")


def figure_rows(figure: Figure) -> list[dict[str, Any]]:
    """Return every point, bar and cell that a figure shows; a tick with a name stands for its number.

    Parameters
    ----------
    figure
        A finished figure.

    Returns
    -------
    list of dict
        With the keys of :data:`COLUMNS`; ``z`` is empty but for maps.

    Raises
    ------
    InputError
        If the figure has no panel with two axes.
    """
    panels = panels_of(figure)
    if not panels:
        raise InputError("this figure has no panels with numbers", "write it as .png, .pdf or .svg")
    return [row for number, panel in enumerate(panels) for row in _rows(number, panel)]


def _rows(number: int, panel: dict[str, Any]) -> Iterator[dict[str, Any]]:
    layout = panel["layout"]
    title = _text(layout["title"]["text"]) or str(number + 1)
    for trace in panel["data"]:
        if trace.get("fill") or trace.get("hoverinfo") == "skip":  # bands, and the ends of error bars
            continue
        x_axis, y_axis = (layout[f"{axis}axis{trace.get(f'{axis}axis', axis)[1:]}"] for axis in "xy")
        common = {"panel": title, "x_axis": _text(x_axis["title"]["text"]), "y_axis": _text(y_axis["title"]["text"]),
                  "series": _text(trace.get("name") or "")}  # fmt: skip
        if trace["type"] == "heatmap":
            for y, row in zip(trace["y"], trace["z"], strict=True):
                for x, z in zip(trace["x"], row, strict=True):
                    yield common | {"x": _named(x, x_axis), "y": _named(y, y_axis), "z": z}
            continue
        for x, y in zip(trace["x"], trace["y"], strict=False):
            if x is not None and y is not None:
                yield common | {"x": _named(x, x_axis), "y": _named(y, y_axis), "z": None}


def _named(value: Any, axis: dict[str, Any]) -> Any:
    """Return the name of the tick at a place, where its axis has names in place of numbers."""
    names = {place: _text(text) for place, text in zip(axis.get("tickvals", []), axis.get("ticktext", []), strict=True)}
    name = names.get(value, "")
    return value if re.fullmatch(r"[-−+\d.eE× ]*", name) else name


def _text(marked: str) -> str:
    """Return text without HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", marked.replace("<br>", " "))).split())
