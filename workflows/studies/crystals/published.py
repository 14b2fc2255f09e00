"""Published moduli beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.crystal_properties import CrystalStudyDoc
from anodeflow.analysis.reference_values import published_values
from anodeflow.workflows.studies.published import comparison_row


def compared(document: CrystalStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every published Young's modulus of a crystal of which we have one."""
    ours = {doc.crystal: doc for doc in document.elastic if doc.young_gpa}
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"Young's modulus of {row['system']}", published=row["value"],
            ours=ours[row["system"]].young_gpa["Hill"], unit=row["unit"],
            convention="Hill average, 0 K, ions relaxed",
            note="; ".join([f"{row['system']}: {row['source']}", *ours[row["system"]].warnings]),
        )
        for row in published_values("young_modulus")
        if row["system"] in ours
    ]  # fmt: skip
