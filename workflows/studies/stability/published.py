"""Published windows beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.stability.documents import StabilityStudyDoc
from anodeflow.workflows.studies.published import comparison_row

_LIMITS = {"reduction_limit": "reduction_limit_v", "oxidation_limit": "oxidation_limit_v"}


def compared(document: StabilityStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every published limit of an electrolyte of ours, raw and corrected."""
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"{quantity.replace('_', ' ')} of {row['system']}",
            published=row["value"], ours=getattr(window, field), unit=row["unit"],
            convention=f"{window.energies}, {window.electrolyte}", note=f"{row['system']}: {row['source']}",
        )
        for quantity, field in _LIMITS.items()
        for row in published_values(quantity)
        for window in document.windows
        if window.formula == row["system"] and window.error is None
    ]  # fmt: skip
