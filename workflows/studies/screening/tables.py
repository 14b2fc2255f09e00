"""Screened interfaces as rows, one a registry; those that the study's engine computed are marked."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_KEYS = (
    "film_termination", "substrate_termination", "match", "registry", "gamma_j_per_m2", "gamma_range_j_per_m2",
    "adhesion_j_per_m2", "strain_j_per_m2", "strain_percent", "gap_angstrom", "contacts_equivalent", "shift",
    "film_vectors", "substrate_vectors", "problems", "error",
)  # fmt: skip


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for stage in ("best", "screened"):
        engine = (out[stage].get("engine") or {}).get("name")
        for entry in out[stage]["entries"]:
            row = {"stage": stage, "by": engine, **{key: entry[key] for key in _KEYS}}
            rows.append({**row, "atoms": entry["counts"]["atoms"], "converged": entry["gamma_j_per_m2"] is not None})
    return rows


TABLES = (
    Table(
        "screened-interfaces", "ScreeningStudyDoc", _rows,
        ("stage", "by", "film_termination", "substrate_termination", "match", "registry", "gamma_j_per_m2",
         "adhesion_j_per_m2", "strain_percent", "atoms"),
        convergence="row",
    ),
)  # fmt: skip
