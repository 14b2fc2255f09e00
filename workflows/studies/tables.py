"""Tables of ``anodeflow results`` that belong to no kind of study: calculations, and studies of every kind."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_OF_CALCULATIONS = (
    "label", "crystal", "task", "energy_ev", "converged", "ionic_steps", "max_force_ev_per_angstrom",
    "max_stress_gpa", "charge", "wall_time_s", "fingerprint", "error",
)  # fmt: skip


def _calculation_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**{key: out[key] for key in _OF_CALCULATIONS}, "atoms": len(out["structure"]["sites"])}]


def _study_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"study": out["study"], "title": out["title"], "warnings": len(out["warnings"])}]


TABLES = (
    Table(
        "calculations",
        "CalculationDoc",
        _calculation_rows,
        ("label", "task", "atoms", "energy_ev", "converged", "ionic_steps", "max_force_ev_per_angstrom", "engine",
         "card", "wall_time_s"),
        by_crystal=True,
        convergence="converged",
        # of the atoms only their number
        fields=(*_OF_CALCULATIONS, "engine.name", "engine.kind", "engine.stand_in", "card.name",
                "structure.sites.label"),
    ),
    Table(
        "studies",
        None,
        _study_rows,
        ("study", "title", "warnings", "engine", "card", "study_hash", "completed_at"),
        convergence=None,
    ),
)  # fmt: skip
