"""One row of published beside computed, for the kinds of study that have published numbers."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.reference_values import is_reference
from anodeflow.documents import DISPERSIONS, StudyDoc


def comparison_row(
    document: StudyDoc,
    *,
    paper: str,
    quantity: str,
    published: float,
    ours: float | None,
    unit: str,
    convention: str,
    note: str,
) -> dict[str, Any]:
    """Set one published value, or a reference that no paper printed, beside ours.

    Parameters
    ----------
    document
        The study that computed ours.
    paper, quantity
        Where it was published or what reference it is, and of what.
    published, ours, unit
        The two values; ours None if it was not computed.
    convention
        The reference or method ours rests on.
    note
        What a reader must know; empty for nothing.

    Returns
    -------
    dict
        With ``difference`` from ours, None where there is no ours; ``published`` is None of a reference, and
        ``reference`` of what is published.
    """
    reference = is_reference(paper)
    if reference and paper.lower().endswith(f"{document.engine.name})"):
        note = "; ".join(
            [*([note] if note else []), f"the reference is of {document.engine.name}, too: no other's word"]
        )
    if document.card.dispersion is not None:
        ours_has = f"ours is with dispersion, {DISPERSIONS[document.card.dispersion]}"
        note = "; ".join([*([note] if note else []), ours_has])
    return {
        "paper": paper,
        "quantity": quantity,
        "published": None if reference else published,
        "reference": published if reference else None,
        "ours": ours,
        "difference": None if ours is None else ours - published,
        "unit": unit,
        "convention": convention,
        "engine": document.engine.name,
        "card": document.card.name,
        "study_hash": document.study_hash,
        "note": note,
    }
