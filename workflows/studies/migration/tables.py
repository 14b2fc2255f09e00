"""Migration barriers as rows, one a hop."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_KEYS = (
    "crystal", "mechanism", "hop", "converged", "forward_ev", "backward_ev", "uncertainty_ev",
    "reaction_energy_ev", "path_length_angstrom", "distance_angstrom", "multiplicity", "symmetric", "images",
    "max_residual_ev_per_angstrom", "model", "atoms", "charge", "charge_mode", "rests_on", "error", "warnings",
)  # fmt: skip


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: out[key] for key in _KEYS} | {"place": out.get("place")}]


TABLES = (
    Table(
        "barriers",
        "MigrationBarrierDoc",
        _rows,
        ("crystal", "mechanism", "hop", "converged", "forward_ev", "backward_ev", "uncertainty_ev",
         "path_length_angstrom", "engine", "card", "study_hash"),
        by_crystal=True,
        convergence="row",
        keys=("crystal", "mechanism", "hop"),
        compared={"forward_ev": "uncertainty_ev", "backward_ev": "uncertainty_ev"},
    ),
)  # fmt: skip
