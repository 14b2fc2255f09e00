"""Published surface energies beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.workflows.studies.published import comparison_row


def compared(document: SurfaceStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every published value of a face that we have an energy of."""
    ours = {f"{d.crystal}({''.join(map(str, d.miller))})": d for d in document.surfaces if d.converged}
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"gamma of {row['system']}", published=row["value"],
            ours=ours[row["system"]].gamma_j_per_m2, unit=row["unit"], convention=ours[row["system"]].method,
            note=f"{row['system']}: {row['source']}",
        )
        for row in published_values("surface_energy")
        if row["system"] in ours
    ]  # fmt: skip
