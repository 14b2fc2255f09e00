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


def _check_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    shared = {
        "check_engine": out["check_engine"]["name"],
        "check_card": out["check_card"]["name"],
        "structures": sum(1 for structure in out["structures"] if structure["error"] is None),
        "energy_rmse_ev_per_atom": out["energy_rmse_ev_per_atom"],
    }
    rows = [{"forces_on": errors["name"], **errors, **shared} for errors in out["forces"]]
    return [{**row, "error": out["error"], "warnings": out["warnings"]} for row in rows or [shared]]


def _audit_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    passed = not (out["problems"] or out["unfinished"])
    verdict = {"passed": passed, "model_hash": out["engine"]["hash"], "warnings": out["problems"]}
    return [{key: value for key, value in phase.items() if key != "problems"} | verdict for phase in out["phases"]]


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
                "card.dispersion", "structure.sites.label"),
    ),
    Table(
        "checks",
        "CheckDoc",
        _check_rows,
        ("forces_on", "scope", "atoms", "rmse_ev_per_angstrom", "slope", "slope_se", "energy_rmse_ev_per_atom",
         "engine", "check_engine", "study_hash"),
    ),
    Table(
        "audits",
        "AuditDoc",
        _audit_rows,
        ("crystal", "volume_change_percent", "lowest_displaced_ev_per_atom", "closest", "drift_ev_per_atom_ps",
         "dynamics_ps", "passed", "engine"),
        crystal_columns=("crystal",),
        convergence=None,
    ),
    Table(
        "studies",
        None,
        _study_rows,
        ("study", "title", "warnings", "engine", "card", "study_hash", "completed_at"),
        convergence=None,
    ),
)  # fmt: skip
