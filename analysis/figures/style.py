"""What every figure shares: the style, colours and markers, labels, the line under it, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np

from anodeflow.errors import InputError
from anodeflow.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from anodeflow.documents import CardRecord, EngineRecord

# The style file beside this module, by matplotlib's name for a packaged style.
STYLE = "anodeflow.analysis.figures.anodeflow"

# Colour-blind safe (Okabe & Ito, https://jfly.uni-koeln.de/color/).
BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000",
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
# Several series in one panel are told apart by the marker as well.
SERIES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (ORANGE, "P"))

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FOOTER_POINTS = 6
_FACE = re.compile(r"\((-?\d) ?(-?\d) ?(-?\d)\)")
# Where a line of the footer was broken; between lines there is no space.
_BREAK = " \n"
# A space that is not inside of mathtext, nor before a name.
_SPACE = re.compile(r"(?<!card)(?<!study) (?=(?:[^$]*\$[^$]*\$)*[^$]*$)")


def in_style() -> AbstractContextManager[None]:
    """Return the context in which a figure is drawn."""
    context: AbstractContextManager[None] = plt.style.context(STYLE)
    return context


def verbatim(text: str) -> str:
    r"""Return text of a user as a figure shows it: a dollar sign does not open mathtext.

    Examples
    --------
    >>> verbatim("cell $_{2}$")
    'cell \\$_{2}\\$'
    """
    return text.replace("$", r"\$")


def formula_label(name: str) -> str:
    r"""Write a crystal's name, perhaps with its face, as mathtext: numbers as subscripts, minus signs as overbars.

    Examples
    --------
    >>> formula_label("Li9Al4"), formula_label("LiCl(1-10)")
    ('Li$_{9}$Al$_{4}$', 'LiCl(1$\\overline{1}$0)')
    """
    return face_label(re.sub(r"(?<=[A-Za-z\)])(\d+(?:\.\d+)?)", r"$_{\1}$", verbatim(name)))


def face_label(text: str) -> str:
    """Return text in which every Miller index with a negative number has overbars."""
    return _FACE.sub(lambda match: miller_label([int(number) for number in match.groups()]), text)


def miller_label(miller: Sequence[int]) -> str:
    """Write a Miller index as it is printed: ``(1, -1, 0)`` becomes ``(1$\\overline{1}$0)``."""
    digits = [rf"$\overline{{{-h}}}$" if h < 0 else str(h) for h in miller]
    return f"({(' ' if any(abs(h) > 9 for h in miller) else '').join(digits)})"


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with a true minus sign."""
    return f"{value:.{decimals}f}".replace("-", "−")


def with_error(value: float, half_width: float) -> str:
    """Return a value and its half-width, rounded to two digits of the latter (two to four decimals)."""
    decimals = 1 - int(np.floor(np.log10(half_width))) if half_width > 0 else 4
    decimals = min(4, max(2, decimals))
    return f"{signed(value, decimals)} ± {half_width:.{decimals}f}"


def percent_confidence(level: float) -> str:
    """Return a level of confidence as it is printed: 0.95 becomes ``95 % confidence``."""
    return f"{100 * level:g} % confidence"


def panel_letter(number: int) -> str:
    """Return ``(a)`` for panel 0, ``(b)`` for panel 1, ..."""
    return f"({_LETTERS[number % len(_LETTERS)]})"


def mark_panels(panels: Iterable[Axes]) -> None:
    """Write letters over the left ends of the panels, where there are several."""
    several = list(panels)
    for number, axes in enumerate(several if len(several) > 1 else []):
        mark_panel(axes, number)


def mark_panel(axes: Axes, number: int) -> None:
    """Write the letter of a panel over its left end."""
    axes.set_title(panel_letter(number), loc="left", fontweight="bold")


def computed_by(engine: EngineRecord, card: CardRecord, study_hash: str | None = None) -> str:
    """Return the line that says with which engine and card the numbers were computed.

    Parameters
    ----------
    engine
        The engine.
    card
        Its settings.
    study_hash
        Of the study, where the figure is that of one.

    Returns
    -------
    str
        One line.
    """
    study = "" if study_hash is None else f", study {study_hash}"
    return verbatim(f"{engine.name} ({engine.kind}, {engine.version}), card {card.text}{study}")


def write_footer(figure: Figure, *lines: str) -> None:
    """Write small grey lines under a figure: what the marks mean, and which engine and card the numbers come from.

    A line that is wider than the figure is broken between words; :func:`footer_lines` gives it back in one piece.
    """
    broken = [_BREAK.join(_broken(figure, whole)) for line in lines for whole in line.split("\n")]
    figure.supxlabel("\n".join(broken), fontsize=_FOOTER_POINTS, color="0.35")


def footer_lines(figure: Figure) -> list[str]:
    """Return the lines under a figure as they were given to :func:`write_footer`."""
    return list(filter(None, figure.get_supxlabel().replace(_BREAK, " ").split("\n")))


def _broken(figure: Figure, line: str) -> list[str]:
    """Return a line of the footer in pieces that fit the figure."""
    ruler = figure.text(0, 0, "", fontsize=_FOOTER_POINTS)
    pieces = [""]
    for word in _SPACE.split(line.replace(r"\$", "\0")):
        longer = f"{pieces[-1]} {word}".lstrip() if pieces[-1] else word
        ruler.set_text(longer.replace("\0", r"\$"))
        if pieces[-1] and ruler.get_window_extent().width > figure.bbox.width:
            pieces.append(word)
        else:
            pieces[-1] = longer
    ruler.remove()
    return [piece.replace("\0", r"\$") for piece in pieces]


def add_to_footer(figure: Figure, line: str) -> None:
    """Write one more line under a figure that is drawn."""
    write_footer(figure, *footer_lines(figure), line)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically, and close it.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    # A date would make every SVG differ from the one before.
    metadata: dict[str, Any] | None = {"Date": None} if path.suffix.lower() == ".svg" else None
    try:
        with atomic_path(path) as temporary, in_style():  # resolution and fonts are read when the file is written
            figure.savefig(temporary, metadata=metadata)
    except OSError as error:
        raise InputError(f"cannot write figure '{path}': {error.strerror or error}", "choose another folder") from None
    finally:
        plt.close(figure)
