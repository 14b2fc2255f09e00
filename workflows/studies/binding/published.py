"""Published adsorption energies of Li beside ours."""

from __future__ import annotations

from typing import Any

from anodeflow.analysis.binding import BindingStudyDoc
from anodeflow.analysis.reference_values import published_values
from anodeflow.workflows.studies.published import comparison_row

_NOTE = (
    "E_ad = E_total - E_slab - E_Li; the published value does not say whether its Li atom is spin-polarised: "
    "it fits the atom without spin polarisation"
)


def compared(document: BindingStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every face with a published value and every reference of ours."""
    hosts: dict[str, Any] = {}
    for host in document.hosts:
        if host.environment == "surface" and host.converged:
            hosts |= {host.crystal: host, f"{host.crystal}{host.face}": host}
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"E_ad of Li on {row['system']}", published=row["value"],
            ours=value, unit=row["unit"], convention=convention, note=_NOTE,
        )
        for row in published_values("li_adsorption_energy")
        if row["system"] in hosts
        for convention, value in hosts[row["system"]].binding_energy_ev.items()
    ]  # fmt: skip
