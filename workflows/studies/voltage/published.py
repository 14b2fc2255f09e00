"""Published plateaus, capacities and volume changes beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.reference_values import published_values
from anodeflow.analysis.voltage_profile import VoltageStudyDoc
from anodeflow.workflows.studies.published import comparison_row


def compared(document: VoltageStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every published number of the host, its first plateau and what it becomes."""
    first = next(iter(document.plateaus), None)
    if first is None:
        return []
    rich = next(doc for doc in document.lithiated if doc.phases == first.rich)
    ours = {
        "plateau_voltage": first.voltage_v,
        "host_capacity": rich.capacity_mah_per_g,
        "volume_change": rich.volume_change_percent,
    }
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"{quantity.replace('_', ' ')}, {row['system']}",
            published=row["value"], ours=value, unit=row["unit"], convention="hull at 0 K",
            note=f"{row['system']}: {row['source']}",
        )
        for quantity, value in ours.items()
        for row in published_values(quantity)
        if row["host"] == document.host and row["system"] == f"{first.poor} to {first.rich}"
    ]  # fmt: skip
