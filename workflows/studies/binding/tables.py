"""Binding energies as rows: by host, by site of Li, and the dE of every pair."""

from __future__ import annotations

from typing import Any

from anodeflow.lithium_states import state_before_states
from anodeflow.workflows.studies.registry import Table


def _state(out: dict[str, Any]) -> str:
    return out.get("state") or state_before_states(out["environment"])


def _reservoirs(out: dict[str, Any]) -> str | None:
    """Return where replaced atoms went, such as ``Al to LiAl``."""
    return ", ".join(f"{r['element']} to {r['phase']}" for r in out.get("reservoirs") or []) or None


def _varied(out: dict[str, Any]) -> str | None:
    """Return the setting of a convergence row, such as ``slab.vacuum_angstrom 15``."""
    varied = out.get("varied")
    return None if varied is None else f"{varied['setting']} {varied['value']:g}"


def _convergence_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "crystal": convergence["crystal"],
            "environment": convergence["environment"],
            "state": convergence["state"],
            "setting": convergence["setting"],
            "value": row["value"],
            "is_base": row["is_base"],
            "same_as": row["same_as"],
            "atoms": row["atoms"],
            **{f"binding_energy_ev_{name}": value for name, value in row["binding_energy_ev"].items()},
            "from_base_ev": row["from_base_ev"],
            "from_finest_ev": row["from_finest_ev"],
            "work_function_ev": row["work_function_ev"],
            "ion_binding_energy_ev": row["ion_binding_energy_ev"],
            "ion_from_base_ev": row["ion_from_base_ev"],
            "ion_from_finest_ev": row["ion_from_finest_ev"],
            "converged": convergence["converged"],
            "within_ev": convergence["within_ev"],
            "model": row["model"],
            "error": row["error"],
        }
        for convergence in out.get("convergence") or []
        for row in convergence["rows"]
    ]


def _binding_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    energies = {f"binding_energy_ev_{name}": value for name, value in out["binding_energy_ev"].items()}
    converged = sum(site["status"] == "converged" for site in out["sites"])
    return [
        {
            "crystal": out["crystal"],
            "environment": out["environment"],
            "state": _state(out),
            "varied": _varied(out),
            **energies,
            "work_function_ev": out.get("work_function_ev"),
            "ion_binding_energy_ev": out.get("ion_binding_energy_ev"),
            "bare_work_function_ev": out.get("bare_work_function_ev"),
            "numerical_uncertainty_ev": out["numerical_uncertainty_ev"],
            "best_site": out["best_site"],
            "reservoirs": _reservoirs(out),
            "sites_converged": converged,
            "sites": len(out["sites"]),
            "model": out["model"],
            "charge_mode": out["charge_mode"],
            "error": out["error"],
            "warnings": out["warnings"],
        }
    ]


def _site_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "crystal": out["crystal"],
            "environment": out["environment"],
            "state": _state(out),
            "varied": _varied(out),
            "site": site["label"],
            "status": site["status"],
            **{f"binding_energy_ev_{name}": value for name, value in site["binding_energy_ev"].items()},
            "work_function_ev": site.get("work_function_ev"),
            "ion_binding_energy_ev": site.get("ion_binding_energy_ev"),
            "coordination_end": site["coordination_end"],
            "li_displacement_angstrom": site["li_displacement_angstrom"],
            "same_minimum_as": site["same_minimum_as"],
            "calculation": site["calculation"],
            "notes": site["notes"],
        }
        for site in out["sites"]
    ]


def _state_in(matrix: dict[str, Any], host: str) -> str | None:
    states = matrix.get("states")
    return state_before_states(matrix["environment"]) if states is None else states.get(host)


def _descriptor_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "anode": anode,
            "interphase": interphase,
            "environment": matrix["environment"],
            "kind": matrix.get("kind") or "added",
            "anode_state": _state_in(matrix, anode),
            "interphase_state": _state_in(matrix, interphase),
            "d_e_ev": matrix["d_e_ev"][i][j],
            "d_e_ion_ev": matrix["d_e_ion_ev"][i][j] if matrix.get("d_e_ion_ev") else None,
        }
        for matrix in out["descriptors"]
        for i, anode in enumerate(matrix["anodes"])
        for j, interphase in enumerate(matrix["interphases"])
    ]


TABLES = (
    Table(
        "binding",
        "BindingEnergyDoc",
        _binding_rows,
        ("crystal", "environment", "state", "varied", "binding_energy_ev_bulk_metal", "best_site", "sites_converged",
         "sites", "engine", "card", "study_hash", "completed_at"),
        sometimes=("varied",),
        by_crystal=True,
        by_environment=True,
        state_columns=("state",),
        keys=("crystal", "environment", "state"),
        compared={
            f"binding_energy_ev_{name}": "numerical_uncertainty_ev"
            for name in ("bulk_metal", "neutral_atom", "neutral_atom_nonspin", "ion")
        },
    ),
    Table(
        "sites",
        "BindingEnergyDoc",
        _site_rows,
        ("crystal", "environment", "state", "varied", "site", "status", "binding_energy_ev_bulk_metal",
         "coordination_end", "same_minimum_as", "calculation"),
        sometimes=("varied",),
        by_crystal=True,
        by_environment=True,
        state_columns=("state",),
        convergence="row",
        converged_column="status",
    ),
    Table(
        "descriptor",
        "BindingStudyDoc",
        _descriptor_rows,
        ("anode", "interphase", "environment", "kind", "anode_state", "interphase_state", "d_e_ev", "engine", "card",
         "study_hash"),
        crystal_columns=("anode", "interphase"),
        state_columns=("anode_state", "interphase_state"),
        environment_column="environment",
        convergence=None,
        keys=("anode", "interphase", "environment", "kind"),
        compared={"d_e_ev": None},
    ),
    Table(
        "convergence",
        "BindingStudyDoc",
        _convergence_rows,
        ("crystal", "state", "setting", "value", "from_base_ev", "from_finest_ev", "ion_binding_energy_ev",
         "ion_from_base_ev", "converged", "environment", "engine", "card", "study_hash"),
        crystal_columns=("crystal",),
        state_columns=("state",),
        environment_column="environment",
        convergence="row",
        fields=None,
        keys=("crystal", "environment", "state", "setting", "value"),
        compared={"from_base_ev": None, "ion_from_base_ev": None},
    ),
)  # fmt: skip
