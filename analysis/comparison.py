"""The same study by several engines: every number beside the others, with its spread.

The spread of engines says how far potentials agree, not how far they are right: models of one training set share its
errors. Engines of two functionals are never spread over one another, for their difference is not an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from anodeflow.columns import head
from anodeflow.documents import DISPERSIONS, CardRecord, Document, EngineRecord

_UNSTATED = "an unstated functional"
#: Sums of energies leave this much where nothing is left, in any unit that is compared.
_ROUNDING = 1e-9
_MOST_WARNINGS = 2
Rows = Sequence[Mapping[str, Any]]


class EngineAnswer(Document):
    """One engine's answer to the study."""

    label: str = Field(description="name of the engine; with its card where it answered twice")
    engine: EngineRecord
    card: CardRecord
    study_hash: str
    finished_at: str | None = None

    @property
    def functional(self) -> str:
        """The functional of its energies with the correction for dispersion, as text."""
        functional = self.engine.energies_of or f"{_UNSTATED} ({self.engine.name})"
        return functional if self.card.dispersion is None else f"{functional}-{DISPERSIONS[self.card.dispersion]}"


class ComparedValue(Document):
    """What one engine says of one quantity."""

    engine: str = Field(description="label of its answer")
    functional: str
    value: float
    claimed: float | None = Field(None, description="half-width that its result claims; None: it claims none")


class ComparedQuantity(Document):
    """One number of one row of a table, by every engine that has it."""

    table: str
    where: dict[str, str] = Field(description="columns that say what the row is of")
    quantity: str = Field(description="column of the number")
    values: list[ComparedValue]
    spread: dict[str, float] = Field(description="by functional: largest minus smallest, of two engines or more")

    @property
    def place(self) -> str:
        """What the number is of, as text."""
        return ", ".join(self.where.values())

    @property
    def heading(self) -> str:
        """The quantity with its unit."""
        return head(self.quantity)

    def of(self, engine: str) -> ComparedValue | None:
        """Return what one engine says, or None."""
        return next((value for value in self.values if value.engine == engine), None)

    def off(self, engine: str, against: str) -> float | None:
        """Return how far one engine is from another of the same functional; None where one has no number."""
        value, reference = self.of(engine), self.of(against)
        if value is None or reference is None or value.functional != reference.functional:
            return None
        return value.value - reference.value


class ComparisonDoc(Document):
    """One study by several engines."""

    doc_type: Literal["ComparisonDoc"] = "ComparisonDoc"
    study: str = Field(description="kind of study")
    title: str
    answers: list[EngineAnswer]
    quantities: list[ComparedQuantity]
    against: str | None = Field(
        None, description="label of the first answer with electrons, which the others are measured by; None: none has"
    )
    refused: dict[str, str] = Field(default_factory=dict, description="engines without a result, and why")
    notes: list[str] = Field(default_factory=list)

    @property
    def potentials(self) -> list[str]:
        """Labels of the answers that are measured by :attr:`against`, of its functional."""
        functionals = {answer.label: answer.functional for answer in self.answers}
        if self.against is None:
            return []
        return [k for k, f in functionals.items() if k != self.against and f == functionals[self.against]]


def significant(value: float, digits: int = 4, sign: Literal["", "+"] = "") -> str:
    """Return a number for a table or a figure, with ``+`` if asked; what rounding leaves of nothing is 0.

    Examples
    --------
    >>> significant(-11.1534), significant(8.9e-16), significant(0.05284, 2), significant(0.5, 3, "+")
    ('-11.15', '0', '0.053', '+0.5')
    """
    return f"{value:{sign}.{digits}g}" if abs(value) > _ROUNDING else "0"


def missing_numbers(
    answers: Sequence[EngineAnswer], quantities: Sequence[ComparedQuantity], warnings: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return a line for each engine that lacks numbers which others have, with the warnings of its result.

    Parameters
    ----------
    answers, quantities
        Of the comparison.
    warnings
        Of each result, by the label of its answer.
    """
    lines = []
    for answer in answers:
        count = sum(quantity.of(answer.label) is None for quantity in quantities)
        if count:
            says = list(warnings.get(answer.label, ()))
            more = f"; {len(says) - _MOST_WARNINGS} more" if len(says) > _MOST_WARNINGS else ""
            why = f": {'; '.join(says[:_MOST_WARNINGS])}{more}" if says else ""
            lines.append(f"{answer.label} lacks {count} of {len(quantities)} numbers{why}")
    return lines


@dataclass(frozen=True)
class ComparedTable:
    """One table of a study: what its rows are of, and which of their columns are compared.

    Parameters
    ----------
    name
        Of the table.
    keys, compared
        As of :class:`anodeflow.workflows.studies.registry.Table`.
    rows
        Those of each engine, by the label of its answer.
    """

    name: str
    keys: tuple[str, ...]
    compared: Mapping[str, str | None]
    rows: Mapping[str, Rows]


def compared_quantities(table: ComparedTable, answers: Sequence[EngineAnswer]) -> list[ComparedQuantity]:
    """Return every number of a table that at least one engine has, in the order of the rows.

    Parameters
    ----------
    table
        Rows by engine.
    answers
        The engines, in the order of the columns.

    Returns
    -------
    list of ComparedQuantity
        By quantity, then by row. Rows that are there twice are numbered.
    """
    placed = {answer.label: _by_place(table.rows.get(answer.label, []), table.keys) for answer in answers}
    places = dict.fromkeys(place for rows in placed.values() for place in rows)
    quantities = []
    for column, claim in table.compared.items():
        for place in places:
            values = []
            for answer in answers:
                row = placed[answer.label].get(place, {})
                value = row.get(column)
                if value is not None and _is_number(value):
                    claimed = None if claim is None else half_width(row.get(claim))
                    values.append(
                        ComparedValue(
                            engine=answer.label, functional=answer.functional, value=float(value), claimed=claimed
                        )
                    )
            if values:
                quantities.append(
                    ComparedQuantity(
                        table=table.name, where=dict(place), quantity=column, values=values, spread=_spread(values)
                    )
                )
    return quantities


def _by_place(rows: Rows, keys: tuple[str, ...]) -> dict[tuple[tuple[str, str], ...], Mapping[str, Any]]:
    placed: dict[tuple[tuple[str, str], ...], Mapping[str, Any]] = {}
    for row in rows:
        place = tuple((key, _text(row[key])) for key in keys if row.get(key) is not None)
        number = 2
        unnumbered = place
        while place in placed:
            place = (*unnumbered, ("number", f"number {number}"))
            number += 1
        placed[place] = row
    return placed


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spread(values: Sequence[ComparedValue]) -> dict[str, float]:
    by_functional: dict[str, list[float]] = {}
    for value in values:
        by_functional.setdefault(value.functional, []).append(value.value)
    return {name: max(numbers) - min(numbers) for name, numbers in by_functional.items() if len(numbers) > 1}


def half_width(claim: Any) -> float | None:
    """Return the half-width of what a result claims: a number, or an interval of two; None for anything else."""
    if isinstance(claim, list | tuple) and len(claim) == 2 and all(_is_number(end) for end in claim):
        return abs(float(claim[1]) - float(claim[0])) / 2
    return float(claim) if _is_number(claim) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def spread_warnings(comparison: ComparisonDoc, engine: str) -> list[str]:
    """Return what the result of one engine must say of the others: where they differ by more than it claims.

    One line a column of a table, with the row where they differ most. Engines of another functional do not count.

    Parameters
    ----------
    comparison
        Of all engines that answered.
    engine
        Label of the answer that is shown.

    Returns
    -------
    list of str
        Empty where no other engine answered, or all are within what it claims.
    """
    worst: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for quantity in comparison.quantities:
        own = quantity.of(engine)
        if own is None:
            continue
        others = [v for v in quantity.values if v.engine != engine and v.functional == own.functional]
        if not others:
            continue
        other = max(others, key=lambda v: abs(v.value - own.value))
        apart = abs(other.value - own.value)
        if apart <= (own.claimed or 0.0):
            continue
        claims = "no uncertainty" if own.claimed is None else f"± {own.claimed:.2g}"
        line = (
            f"{quantity.heading} of {quantity.place}: {own.value:.4g} here, {other.value:.4g} by {other.engine} "
            f"({own.functional}, too); this result claims {claims}"
        )
        worst.setdefault((quantity.table, quantity.quantity), []).append((apart, line))
    lines = []
    for cases in worst.values():
        cases.sort(key=lambda item: -item[0])
        more = f"; likewise {len(cases) - 1} more" if len(cases) > 1 else ""
        lines.append(f"engines disagree: {cases[0][1]}{more}")
    return lines
