"""Interface energies as rows."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_LEFT_OUT = {"members", "fit", "references", "engine", "card", "doc_type"}


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in out.items() if key not in _LEFT_OUT}]


TABLES = (
    Table(
        "interfaces",
        "InterfaceEnergyDoc",
        _rows,
        ("film", "substrate", "contact", "gamma_j_per_m2", "sigma_j_per_m2_per_unit", "strain_percent",
         "work_of_adhesion_j_per_m2", "engine", "card", "study_hash"),
        keys=("film", "substrate", "contact"),
        compared={
            "gamma_j_per_m2": "uncertainty_j_per_m2",
            "work_of_adhesion_j_per_m2": "work_of_adhesion_half_width_j_per_m2",
            "film_minus_interface_j_per_m2": "uncertainty_j_per_m2",
        },
    ),
)  # fmt: skip
