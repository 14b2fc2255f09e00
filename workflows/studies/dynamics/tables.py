"""Molecular dynamics as rows, one a system and seed."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    shared = {"system": out["name"], "formula": out["formula"], "atoms": out["atoms"]}
    if not out["replicas"]:
        return [{**shared, "converged": False, "error": out["error"], "warnings": out["warnings"]}]
    return [{**shared, **_replica_row(replica), "error": out["error"]} for replica in out["replicas"]]


def _replica_row(replica: dict[str, Any]) -> dict[str, Any]:
    checks, tetrahedra = replica["checks"], replica["tetrahedra"] or {}
    diffusion, intact = replica["diffusion"] or {}, tetrahedra.get("intact_fraction") or [None]
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
        "converged": len(replica["segments"]) == replica["segments_wanted"],
        "wall_time_s": replica["wall_time_s"],
        "segments": replica["segments"],
        "warnings": replica["warnings"],
    }


TABLES = (
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
