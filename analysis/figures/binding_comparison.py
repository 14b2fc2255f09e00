"""Figure of a binding-energy study by several engines: E_int of every state, and dE, potentials beside electrons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from anodeflow.analysis.comparison import ComparedQuantity, ComparisonDoc
from anodeflow.analysis.figures.style import (
    SERIES,
    formula_label,
    in_style,
    mark_panels,
    verbatim,
    write_footer,
)
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More in one panel make it taller than a page has room for.
_MOST_PAIRS = 12


def binding_comparison_figure(comparison: ComparisonDoc) -> Figure:
    """Draw E_int of every state and dE of every pair: bars of the engine with electrons, marks of the others.

    Parameters
    ----------
    comparison
        Of binding-energy studies.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    states, groups = _states(comparison), _groups(_pairs(comparison))
    if not states:
        raise InputError("no number of these results to draw", "see why each engine has none")
    with in_style():
        height = 0.2 * max(map(len, [states, *groups])) + 1.7
        width = 3.5 if len(groups) < 2 else 2.8
        figure, axes = plt.subplots(
            1, 1 + len(groups), figsize=(width * (1 + len(groups)) + 0.2, height), squeeze=False, layout="constrained"
        )
        first, *rest = panels = axes[0]
        _draw(first, states, [_name_of_state(q) for q in states], comparison)
        first.set_xlabel(r"$E_\mathrm{int}$ (eV/Li); negative: bound")
        for panel, pairs in zip(rest, groups, strict=True):
            _draw(panel, pairs, [_name_of_pair(q) for q in pairs], comparison)
            panel.set_xlabel(r"d$E$(X, Y) = $E_\mathrm{int}$(Y) $-$ $E_\mathrm{int}$(X) (eV)")
            if not all(map(_is_held, pairs)):
                panel.text(
                    1, 1.01, "← Li prefers Y; Li stays in X →", transform=panel.transAxes, ha="right", va="bottom",
                    fontsize=6.5,
                )  # fmt: skip
        mark_panels(panels)
        figure.suptitle(message(comparison).replace("; ", ";\n", 1), fontsize=7.5)
        first.legend(
            handles=_marks(comparison), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=6,
            frameon=False, handletextpad=0.3, columnspacing=0.8, borderpad=0.1,
        )  # fmt: skip
        write_footer(figure, *_lines(comparison, states[0].quantity))
    return figure


def message(comparison: ComparisonDoc) -> str:
    """Return what the comparison says of an added Li, in a sentence.

    Parameters
    ----------
    comparison
        Of binding-energy studies.
    """
    pairs = [q for q in _pairs(comparison) if q.where.get("kind", "added") == "added"]
    first = comparison.against or comparison.answers[0].label
    numbers = [value.value for q in pairs if (value := q.of(first)) is not None]
    if not numbers:
        return verbatim(comparison.title)
    stays = sum(value > 0 for value in numbers)
    by = first if comparison.against is None else f"DFT ({first})"
    text = f"{by}: an added Li stays in the anode (dE > 0) in {stays} of {len(numbers)} pairs"
    for label in comparison.potentials:
        offs = [off for q in pairs if (off := q.off(label, first)) is not None]
        signs = sum(_sign(q, label) != _sign(q, first) for q in pairs if q.off(label, first) is not None)
        if offs:
            least, most = min(map(abs, offs)), max(map(abs, offs))
            text += f"; {label} is {least:.1f} to {most:.1f} eV off"
            text += f", with another sign in {signs}" if signs else ""
    return verbatim(text)


def _sign(quantity: ComparedQuantity, label: str) -> bool:
    value = quantity.of(label)
    return value is not None and value.value > 0


def _states(comparison: ComparisonDoc) -> list[ComparedQuantity]:
    """Return E_int of every host and state by the leading reference, added Li first."""
    own = [q for q in comparison.quantities if q.table == "binding"]
    leading = [q for q in own if own and q.quantity == own[0].quantity]
    return sorted(leading, key=lambda q: (q.where.get("environment", ""), _is_held(q)))


def _pairs(comparison: ComparisonDoc) -> list[ComparedQuantity]:
    """Return dE of every pair, of added Li first."""
    own = [q for q in comparison.quantities if (q.table, q.quantity) == ("descriptor", "d_e_ev")]
    return sorted(own, key=lambda q: (q.where.get("environment", ""), _is_held(q)))


def _groups(pairs: list[ComparedQuantity]) -> list[list[ComparedQuantity]]:
    """Return what of dE goes into one panel: all, or each kind into its own where one would be too tall."""
    if len(pairs) <= _MOST_PAIRS:
        return [pairs] if pairs else []
    kinds = ([q for q in pairs if not _is_held(q)], [q for q in pairs if _is_held(q)])
    return [kind for kind in kinds if kind]


def _is_held(quantity: ComparedQuantity) -> bool:
    return "held" in (quantity.where.get("state"), quantity.where.get("kind"))


def _name_of_state(quantity: ComparedQuantity) -> str:
    where = quantity.where
    return f"{formula_label(where['crystal'])}, {where.get('state') or where.get('environment', '')}"


def _name_of_pair(quantity: ComparedQuantity) -> str:
    where = quantity.where
    kind = "on faces" if where.get("environment") == "surface" else where.get("kind", "added")
    return f"{formula_label(where['anode'])}, {formula_label(where['interphase'])}; {kind}"


def _draw(axes: Axes, rows: list[ComparedQuantity], names: list[str], comparison: ComparisonDoc) -> None:
    first = comparison.against or comparison.answers[0].label
    for line, quantity in enumerate(rows):
        if line and _is_held(quantity) != _is_held(rows[line - 1]):
            axes.axhline(line - 0.5, color="0.6", lw=0.6, ls=":")
        if (value := quantity.of(first)) is not None:
            axes.barh(line, value.value, height=0.62, color="0.8", zorder=1)
    others = [answer.label for answer in comparison.answers if answer.label != first]
    for number, label in enumerate(others):
        colour, marker = SERIES[number % len(SERIES)]
        shown = [(value.value, line) for line, q in enumerate(rows) if (value := q.of(label)) is not None]
        shift = 0.36 * (number / max(1, len(others) - 1) - 0.5) if len(others) > 1 else 0.0
        axes.plot([x for x, _ in shown], [y + shift for _, y in shown], marker, color=colour, mfc="white", ms=3.8,
                  mew=0.9, ls="none", zorder=3)  # fmt: skip
    axes.axvline(0, color="black", lw=0.7, zorder=2)
    axes.set_yticks(range(len(rows)), names, fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.06)


def _marks(comparison: ComparisonDoc) -> list[Artist]:
    first = comparison.against or comparison.answers[0].label
    handles: list[Artist] = [Patch(color="0.8", label=verbatim(first))]
    for number, answer in enumerate(a for a in comparison.answers if a.label != first):
        colour, marker = SERIES[number % len(SERIES)]
        label = verbatim(answer.label)
        handles.append(Line2D([], [], color=colour, marker=marker, mfc="white", ls="none", ms=4, label=label))
    return handles


def _lines(comparison: ComparisonDoc, quantity: str) -> list[str]:
    reference = quantity.removeprefix("binding_energy_ev_").replace("_", " ")
    named = [f"{verbatim(a.label)} {a.study_hash[:8]} (card {a.card.name})" for a in comparison.answers]
    kinds = {q.where.get("kind") for q in _pairs(comparison)}
    held = "; held: how strongly each keeps its own Li, no choice of an added one" if "held" in kinds else ""
    return [
        f"Li against {reference}; positive dE: an added Li costs less in the anode X than in the interphase Y{held}.",
        f"Studies: {', '.join(named)}.",
    ]
