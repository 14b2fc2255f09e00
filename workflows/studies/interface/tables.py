"""Interface energies and registries as rows."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_LEFT_OUT = {"members", "fit", "references", "engine", "card", "doc_type"}


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    kept = {key: value for key, value in out.items() if key not in _LEFT_OUT}
    return [kept | {"claimed_half_width_j_per_m2": _claimed(out)}]


def _claimed(out: dict[str, Any]) -> float | None:
    """Return the half-width of gamma; None where a part of the uncertainty is not known, so that nothing is claimed."""
    parts = out.get("uncertainty") or []
    if any(part["half_width_j_per_m2"] is None for part in parts):
        return None
    return out.get("uncertainty_j_per_m2")


def _registry_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    ranked = out.get("registries") or {}
    return [_registry_row(out, ranked, entry) for entry in ranked.get("entries", [])]


def _registry_row(out: dict[str, Any], ranked: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    contact: dict[str, Any] = next(iter(entry["contacts"]), {})
    return {
        "contact": out["contact"],
        "registry": entry["label"],
        "above_lowest_j_per_m2": entry["above_lowest_j_per_m2"],
        "search_above_lowest_j_per_m2": entry["search_above_lowest_j_per_m2"],
        "search_engine": (ranked.get("search_engine") or {}).get("name"),
        "gap_angstrom": contact.get("gap_angstrom"),
        "shortest_angstrom": contact.get("shortest_angstrom"),
        "elements": contact.get("elements"),
        "film_layers": ranked["film_layers"],
        "substrate_layers": ranked["substrate_layers"],
        "calculation": entry["fingerprint"],
        "error": entry["error"],
        "warnings": entry["problems"],
    }


TABLES = (
    Table(
        "interfaces",
        "InterfaceEnergyDoc",
        _rows,
        ("film", "substrate", "contact", "gamma_j_per_m2", "sigma_j_per_m2_per_unit", "strain_percent",
         "work_of_adhesion_j_per_m2", "engine", "card", "study_hash"),
        keys=("film", "substrate", "contact"),
        compared={
            "gamma_j_per_m2": "claimed_half_width_j_per_m2",
            "work_of_adhesion_j_per_m2": "work_of_adhesion_half_width_j_per_m2",
            "film_minus_interface_j_per_m2": "claimed_half_width_j_per_m2",
        },
    ),
    Table(
        "registries",
        "InterfaceEnergyDoc",
        _registry_rows,
        ("contact", "registry", "above_lowest_j_per_m2", "search_above_lowest_j_per_m2", "gap_angstrom",
         "shortest_angstrom", "elements", "engine", "study_hash"),
        keys=("contact", "registry"),
        compared={"above_lowest_j_per_m2": None, "gap_angstrom": None},
    ),
)  # fmt: skip
