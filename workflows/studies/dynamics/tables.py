"""Molecular dynamics as rows, one a system and seed."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_ARRHENIUS_KEYS = (
    "system", "element", "activation_ev", "activation_ci_ev", "d0_cm2_per_s", "fitted", "at_k", "d_at_cm2_per_s",
    "d_at_ci_cm2_per_s", "conductivity_at_s_per_cm", "conductivity_at_ci_s_per_cm", "error", "warnings",
)  # fmt: skip


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    shared = {"system": out["name"], "formula": out["formula"], "atoms": out["atoms"]}
    if not out["replicas"]:
        return [{**shared, "converged": False, "error": out["error"], "warnings": out["warnings"]}]
    return [{**shared, **_replica_row(replica), "error": out["error"]} for replica in out["replicas"]]


def _replica_row(replica: dict[str, Any]) -> dict[str, Any]:
    checks, tetrahedra = replica["checks"], replica["tetrahedra"] or {}
    diffusion, intact = replica["diffusion"] or {}, tetrahedra.get("intact_fraction") or [None]
    moved = replica.get("transport") or {}
    jumps = moved.get("jumps") or {}
    return {
        "seed": replica["seed"],
        "length_ps": replica["last_step"] * replica["timestep_fs"] / 1000,
        "mean_temperature_k": checks["mean_temperature_k"],
        "temperature_std_k": checks["temperature_std_k"],
        "energy_drift_ev_per_atom_ps": checks["energy_drift_ev_per_atom_ps"],
        "intact_ps4_first": intact[0],
        "intact_ps4_last": intact[-1],
        "half_broken_ps": replica["half_broken_ps"],
        "d_cm2_per_s": diffusion.get("d_cm2_per_s"),
        "d_se_cm2_per_s": diffusion.get("d_se_cm2_per_s"),
        "diffusive": diffusion.get("diffusive"),
        "conductivity_s_per_cm": moved.get("conductivity_s_per_cm"),
        "conductivity_se_s_per_cm": moved.get("conductivity_se_s_per_cm"),
        "haven_ratio": moved.get("haven_ratio"),
        "jumps": jumps.get("jumps"),
        "converged": len(replica["segments"]) == replica["segments_wanted"],
        "wall_time_s": replica["wall_time_s"],
        "segments": replica["segments"],
        "warnings": replica["warnings"],
    }


def _arrhenius_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: law[key] for key in _ARRHENIUS_KEYS} | {"temperatures_k": [p["temperature_k"] for p in law["points"]]}
        for law in out.get("arrhenius") or []
    ]


TABLES = (
    Table(
        "arrhenius",
        "DynamicsStudyDoc",
        _arrhenius_rows,
        ("system", "element", "activation_ev", "fitted", "at_k", "d_at_cm2_per_s", "conductivity_at_s_per_cm", "engine",
         "study_hash"),
        convergence=None,
        keys=("system", "element"),
        compared={
            "activation_ev": "activation_ci_ev",
            "d_at_cm2_per_s": "d_at_ci_cm2_per_s",
            "conductivity_at_s_per_cm": "conductivity_at_ci_s_per_cm",
        },
    ),
    Table(
        "dynamics",
        "DynamicsSystemDoc",
        _rows,
        ("system", "seed", "length_ps", "mean_temperature_k", "intact_ps4_first", "intact_ps4_last", "half_broken_ps",
         "d_cm2_per_s", "converged", "study_hash"),
        convergence="row",
        keys=("system", "seed"),
        compared={"d_cm2_per_s": "d_se_cm2_per_s", "intact_ps4_last": None, "half_broken_ps": None},
    ),
)  # fmt: skip
