"""Published adsorption energies of Li beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anodeflow.analysis.binding import CONVENTION_TEXT, BindingStudyDoc
from anodeflow.analysis.reference_values import published_values
from anodeflow.workflows.studies.published import comparison_row

_ATOMS = ("neutral_atom", "neutral_atom_nonspin")


def compared(document: BindingStudyDoc) -> list[dict[str, Any]]:
    """Return a row for every face with a published value and every reference of ours."""
    hosts: dict[str, Any] = {}
    for host in document.hosts:
        if host.environment == "surface" and host.converged:
            hosts |= {host.crystal: host, f"{host.crystal}{host.face}": host}
    return [
        comparison_row(
            document, paper=row["paper"], quantity=f"E_ad of Li on {row['system']}", published=row["value"],
            ours=value, unit=row["unit"], convention=convention,
            note=_note(row["system"], row["value"], hosts[row["system"]].binding_energy_ev),
        )
        for row in published_values("li_adsorption_energy")
        if row["system"] in hosts
        for convention, value in hosts[row["system"]].binding_energy_ev.items()
    ]  # fmt: skip


def _note(system: str, published: float, ours: Mapping[str, float]) -> str:
    """Return how far ours is off with either Li atom, the nearest first; the paper does not say which is meant."""
    text = "E_ad = E_total - E_slab - E_Li, and the paper does not print whether its Li atom is spin-polarised"
    apart = {convention: ours[convention] - published for convention in _ATOMS if convention in ours}
    if len(apart) < len(_ATOMS):
        return text
    ranked = sorted(apart, key=lambda convention: abs(apart[convention]))
    listed = ", ".join(f"{apart[convention]:+.3f} eV with the {CONVENTION_TEXT[convention]}" for convention in ranked)
    return f"{text}; on {system} ours is off by {listed}"
