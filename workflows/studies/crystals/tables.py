"""Crystals and their elastic moduli as rows."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table


def _crystal_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [_crystal_row(doc) for doc in out["crystals"]]


def _crystal_row(doc: dict[str, Any]) -> dict[str, Any]:
    a, b, c = doc["cell_angstrom"] or (None, None, None)
    kept = ("crystal", "formula", "space_group", "volume_per_atom_angstrom3", "energy_per_atom_ev",
            "formation_energy_ev_per_atom", "max_stress_gpa", "calculation", "error", "warnings")  # fmt: skip
    return {
        **{key: doc[key] for key in kept},
        "a_angstrom": a,
        "b_angstrom": b,
        "c_angstrom": c,
        "converged": doc["energy_per_atom_ev"] is not None,
    }


def _moduli_rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "crystal": doc["crystal"],
            "bulk_gpa": doc["bulk_gpa"].get("Hill"),
            "shear_gpa": doc["shear_gpa"].get("Hill"),
            "young_gpa": doc["young_gpa"].get("Hill"),
            "young_smallest_gpa": doc["young_by_direction_gpa"].get("smallest"),
            "young_largest_gpa": doc["young_by_direction_gpa"].get("largest"),
            "poisson_ratio": doc["poisson_ratio"],
            "anisotropy": doc["anisotropy"],
            "stable": doc["stable"],
            "unexplained": doc["unexplained"],
            "change_with_strain": doc["change_with_strain"],
            "converged": doc["stiffness_gpa"] is not None,
            "error": doc["error"],
            "warnings": doc["warnings"],
        }
        for doc in out.get("elastic") or []  # older documents have none
    ]


TABLES = (
    Table(
        "crystals",
        "CrystalStudyDoc",
        _crystal_rows,
        ("crystal", "a_angstrom", "b_angstrom", "c_angstrom", "space_group", "energy_per_atom_ev",
         "formation_energy_ev_per_atom", "engine", "card", "study_hash"),
        crystal_columns=("crystal",),
        convergence="row",
        keys=("crystal",),
        compared=dict.fromkeys(("a_angstrom", "b_angstrom", "c_angstrom", "formation_energy_ev_per_atom")),
    ),
    Table(
        "moduli",
        "CrystalStudyDoc",
        _moduli_rows,
        ("crystal", "bulk_gpa", "shear_gpa", "young_gpa", "young_smallest_gpa", "young_largest_gpa", "poisson_ratio",
         "stable", "engine", "card", "study_hash"),
        crystal_columns=("crystal",),
        convergence="row",
        keys=("crystal",),
        compared=dict.fromkeys(("bulk_gpa", "shear_gpa", "young_gpa", "poisson_ratio")),
    ),
)  # fmt: skip
