"""Binding energies as rows: by host, by site of Li, and the dE of every pair."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table


def _binding_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    energies = {f"binding_energy_ev_{name}": value for name, value in out["binding_energy_ev"].items()}
    converged = sum(site["status"] == "converged" for site in out["sites"])
    return [
        {
            "crystal": out["crystal"],
            "environment": out["environment"],
            **energies,
            "numerical_uncertainty_ev": out["numerical_uncertainty_ev"],
            "best_site": out["best_site"],
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
            "site": site["label"],
            "status": site["status"],
            **{f"binding_energy_ev_{name}": value for name, value in site["binding_energy_ev"].items()},
            "coordination_end": site["coordination_end"],
            "li_displacement_angstrom": site["li_displacement_angstrom"],
            "same_minimum_as": site["same_minimum_as"],
            "calculation": site["calculation"],
            "notes": site["notes"],
        }
        for site in out["sites"]
    ]


def _descriptor_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "anode": anode,
            "interphase": interphase,
            "environment": matrix["environment"],
            "d_e_ev": matrix["d_e_ev"][i][j],
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
        ("crystal", "environment", "binding_energy_ev_bulk_metal", "best_site", "sites_converged", "sites", "engine",
         "card", "study_hash", "completed_at"),
        by_crystal=True,
        by_environment=True,
    ),
    Table(
        "sites",
        "BindingEnergyDoc",
        _site_rows,
        ("crystal", "environment", "site", "status", "binding_energy_ev_bulk_metal", "coordination_end",
         "same_minimum_as", "calculation"),
        by_crystal=True,
        by_environment=True,
        convergence="row",
        converged_column="status",
    ),
    Table(
        "descriptor",
        "BindingStudyDoc",
        _descriptor_rows,
        ("anode", "interphase", "environment", "d_e_ev", "engine", "card", "study_hash"),
        crystal_columns=("anode", "interphase"),
        environment_column="environment",
        convergence=None,
    ),
)  # fmt: skip
