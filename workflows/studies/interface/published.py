"""Published interface energies beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.study_documents import InterfaceStudyDoc
from anodeflow.workflows.studies.published import comparison_row


def compared(document: InterfaceStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every published value that the document found for its interface."""
    doc = document.interface
    rows = [
        comparison_row(
            document, paper=p.paper, quantity=p.quantity, published=p.published_j_per_m2, ours=p.ours_j_per_m2,
            unit="J/m2", convention="intercept of gamma(n)", note="",
        )
        for p in doc.published
    ]  # fmt: skip
    for row, note in zip(rows, doc.notes, strict=False):
        row["note"] = note
    return rows
