"""Surface energies as rows, one a face."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_KEYS = (
    "crystal", "termination", "method", "gamma_j_per_m2", "gamma_ci_j_per_m2", "gamma_unrelaxed_j_per_m2",
    "area_angstrom2", "reference", "error", "warnings",
)  # fmt: skip


def _rows(out: dict[str, Any]) -> list[dict[str, Any]]:
    from anodeflow.structures.slabs import index_text  # pymatgen takes longer than --help may

    shown = {key: out[key] for key in _KEYS}
    shown["thickness"] = (out.get("thickness") or {}).get("text")  # older documents have no verdict
    shown["work_function_ev"] = (out.get("work_function") or {}).get("work_function_ev")
    return [{**shown, "face": index_text(out["miller"], " ")}]


TABLES = (
    Table(
        "surfaces",
        "SurfaceEnergyDoc",
        _rows,
        ("crystal", "face", "termination", "method", "gamma_j_per_m2", "gamma_unrelaxed_j_per_m2", "work_function_ev",
         "engine", "card",
         "study_hash"),
        by_crystal=True,
        keys=("crystal", "face", "termination"),
        compared={"gamma_j_per_m2": "gamma_ci_j_per_m2", "gamma_unrelaxed_j_per_m2": None,
                  "work_function_ev": None},
    ),
)  # fmt: skip
