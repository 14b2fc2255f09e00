"""One row of published beside computed, for the kinds of study that have published numbers."""

from __future__ import annotations

from typing import Any

from anodeflow.documents import StudyDoc


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
    """Set one published value beside ours.

    Parameters
    ----------
    document
        The study that computed ours.
    paper, quantity
        Where it was published, and what it is.
    published, ours, unit
        The two values; ours None if it was not computed.
    convention
        The reference or method ours rests on.
    note
        What a reader must know; empty for nothing.

    Returns
    -------
    dict
        With ``difference`` ours - published, None where there is no ours.
    """
    return {
        "paper": paper,
        "quantity": quantity,
        "published": published,
        "ours": ours,
        "difference": None if ours is None else ours - published,
        "unit": unit,
        "convention": convention,
        "engine": document.engine.name,
        "card": document.card.name,
        "study_hash": document.study_hash,
        "note": note,
    }
