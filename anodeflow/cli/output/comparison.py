"""One study by several engines, on a terminal and as rows."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from anodeflow.analysis.comparison import significant
from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table

if TYPE_CHECKING:
    from anodeflow.analysis.comparison import ComparedQuantity, ComparisonDoc


def comparison_rows(comparison: ComparisonDoc) -> list[dict[str, Any]]:
    """Return one row a number and engine: for CSV."""
    answers = {answer.label: answer for answer in comparison.answers}
    return [
        {
            "table": quantity.table,
            "quantity": quantity.quantity,
            "where": quantity.place,
            "engine": value.engine,
            "functional": value.functional,
            "card": answers[value.engine].card.name,
            "value": value.value,
            "claimed": value.claimed,
            "off": None if comparison.against is None else quantity.off(value.engine, comparison.against),
            "spread": quantity.spread.get(value.functional),
            "study_hash": answers[value.engine].study_hash,
        }
        for quantity in comparison.quantities
        for value in quantity.values
    ]


def print_comparison(comparison: ComparisonDoc) -> None:
    """Print one table a quantity: a column an engine, then how far each is off the first one with electrons.

    Where none has electrons, the spread within each functional.
    """
    say(f"\n{comparison.title}")
    for answer in comparison.answers:
        say(
            f"{answer.label}: {answer.functional}, {answer.engine.kind}, {answer.engine.version}, "
            f"card {answer.card.name}, study {answer.study_hash}"
        )
    for heading, group in groupby(comparison.quantities, key=lambda q: f"{q.table}: {q.heading}"):
        _print_quantity(heading, list(group), comparison)
    for engine, why in comparison.refused.items():
        say(f"without {engine}: {why}")
    for note in comparison.notes:
        say(note)


def _print_quantity(heading: str, rows: list[ComparedQuantity], comparison: ComparisonDoc) -> None:
    measured = comparison.potentials
    offs = [f"{label} - {comparison.against}" for label in measured]
    functionals = [] if measured else list(dict.fromkeys(name for row in rows for name in row.spread))
    spreads = [f"spread, {name}" for name in functionals]
    labels = [answer.label for answer in comparison.answers]
    say(heading)
    table = new_table(("of", *labels, *offs, *spreads), right=(*labels, *offs, *spreads))
    for row in rows:
        values = [row.of(label) for label in labels]
        cells = ["–" if v is None else significant(v.value) + _claim(v.claimed) for v in values]
        ranges = [significant(row.spread[name], 2) if name in row.spread else "–" for name in functionals]
        errors = [row.off(label, comparison.against or "") for label in measured]
        table.add_row(row.place, *cells, *("–" if e is None else significant(e, 3, "+") for e in errors), *ranges)
    table.print()


def _claim(claimed: float | None) -> str:
    return "" if claimed is None else f" ± {claimed:.2g}"
