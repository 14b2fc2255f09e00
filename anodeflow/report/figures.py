"""The figure of a study for a page: as panels to be looked into, and as it is printed."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anodeflow.errors import AnodeflowError
from anodeflow.report.mathtext import as_html
from anodeflow.report.record import StudyRecord
from anodeflow.workflows.studies.registry import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from anodeflow.documents import StudyDoc

# Of a figure with the points of long trajectories.
_LARGEST_SVG_BYTES = 500_000
_MARGIN_INCH = 0.1


@dataclass(frozen=True)
class PageFigure:
    """The figure of a study.

    Parameters
    ----------
    panels
        Of plotly; empty where there is no such form of it.
    image
        The printed figure as a ``data:`` address of SVG, or of PNG where that is much smaller; None where there is
        nothing to draw.
    alt
        Its alternative text.
    caption
        What stands under it, as safe HTML.
    why_not
        Why there is none.
    pictures
        Whether it has pictures that no panel shows.
    """

    panels: list[dict[str, Any]] = field(default_factory=list)
    image: str | None = None
    alt: str = ""
    caption: str = ""
    why_not: str = ""
    pictures: bool = False


def figure_of(record: StudyRecord) -> PageFigure:
    """Return the figure of a study; what cannot be drawn says why."""
    document = record.document
    if document.engine.stand_in:
        return PageFigure(why_not=f"no figure of what {document.engine.kind} computed")
    try:
        drawn = load(record.kind.figure)(document)
    except AnodeflowError as error:
        return PageFigure(why_not=str(error))
    return _page_figure(drawn, document)


def check_figure_of(record: StudyRecord) -> PageFigure | None:
    """Return the figure of the check of a study by an engine with electrons; None for a study without."""
    from anodeflow.analysis.checks import check_of
    from anodeflow.analysis.figures.checks import check_figure

    check = check_of(record.document)
    if check is None:
        return None
    try:
        return _page_figure(check_figure(check), record.document)
    except AnodeflowError as error:
        return PageFigure(why_not=str(error))


def _page_figure(drawn: Figure, document: StudyDoc) -> PageFigure:
    """Return a figure in both forms, and close it."""
    import matplotlib.pyplot as plt

    from anodeflow.analysis.figures.style import footer_lines, in_style
    from anodeflow.report.interactive import has_pictures, panels_of

    try:
        with in_style(), plt.rc_context({"svg.hashsalt": document.study_hash}):
            panels = panels_of(drawn)
            caption, pictures = as_html("\n".join(footer_lines(drawn))), has_pictures(drawn)
            image = _image(drawn)
    finally:
        plt.close(drawn)
    alt = " ".join(panel["alt"] for panel in panels) or f"figure of {document.title}"
    return PageFigure(panels, image, alt, caption, pictures=pictures)


def _image(drawn: Figure) -> str:
    """Return a figure, which was drawn once, as a ``data:`` address."""
    drawn.set_layout_engine("none")  # its parts are in place; each further round costs as much as drawing
    box = drawn.get_tightbbox().padded(_MARGIN_INCH)
    sink = io.BytesIO()
    drawn.savefig(sink, format="svg", metadata={"Date": None}, bbox_inches=box)
    if sink.tell() <= _LARGEST_SVG_BYTES:
        return "data:image/svg+xml;base64," + base64.b64encode(sink.getvalue()).decode()
    sink = io.BytesIO()
    drawn.savefig(sink, format="png", dpi=150, metadata={"Software": None}, bbox_inches=box)
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
