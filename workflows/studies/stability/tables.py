"""Stability as rows: windows, their fields of decomposition, mixing energies, and the phases of the hull."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table

_WINDOW_KEYS = (
    "electrolyte", "formula", "energies", "above_hull_ev_per_atom", "reduction_limit_v", "oxidation_limit_v",
    "own_reduction_limit_v", "own_oxidation_limit_v", "reduced_to", "oxidised_to", "error",
)  # fmt: skip
_FIELD_KEYS = (
    "voltage_low_v", "voltage_high_v", "products", "energy_low_ev_per_atom", "energy_high_ev_per_atom"
)  # fmt: skip
_MIXING_KEYS = (
    "first", "second", "energies", "potential_v", "lowest_ev_per_atom", "lowest_share_of_first", "lowest_products",
    "mutual_ev_per_atom", "excess_ev_per_formula", "error",
)  # fmt: skip


def _windows(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: window[key] for key in _WINDOW_KEYS} for window in out["windows"]]


def _fields(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"electrolyte": window["electrolyte"], "energies": window["energies"]}
        | {key: field[key] for key in _FIELD_KEYS}
        | {"reaction": field["reaction"]["text"], "lithium_taken_up": field["reaction"]["lithium_taken_up"]}
        for window in out["windows"]
        for field in window["fields"]
    ]


def _mixing(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: curve[key] for key in _MIXING_KEYS} | {"excess_reaction": (curve["excess_reaction"] or {}).get("text")}
        for curve in out["mixing"]
    ]


def _phases(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "crystal": phase["crystal"],
            "formula": phase["formula"],
            "energy_per_atom_ev": phase["energy_per_atom_ev"],
            "correction_per_atom_ev": phase["correction_per_atom_ev"],
            **{f"{key}_{e}": phase[key].get(e) for key in ("formation_ev_per_atom", "above_hull_ev_per_atom")
               for e in ("raw", "corrected")},
            "calculation": phase["calculation"],
            "error": phase["error"],
            "warnings": phase["warnings"],
        }
        for phase in out["phases"]
    ]  # fmt: skip


TABLES = (
    Table(
        "windows", "StabilityStudyDoc", _windows,
        ("electrolyte", "energies", "above_hull_ev_per_atom", "reduction_limit_v", "oxidation_limit_v", "reduced_to",
         "oxidised_to", "engine", "card"),
        crystal_columns=("electrolyte",), convergence=None,
        keys=("electrolyte", "energies"),
        compared=dict.fromkeys(("reduction_limit_v", "oxidation_limit_v", "above_hull_ev_per_atom")),
    ),
    Table(
        "decomposition", "StabilityStudyDoc", _fields,
        ("electrolyte", "energies", "voltage_low_v", "voltage_high_v", "reaction", "energy_low_ev_per_atom", "engine"),
        crystal_columns=("electrolyte",), convergence=None,
    ),
    Table(
        "mixing", "StabilityStudyDoc", _mixing,
        ("first", "second", "energies", "potential_v", "lowest_ev_per_atom", "lowest_share_of_first", "lowest_products",
         "excess_ev_per_formula", "engine"),
        crystal_columns=("first", "second"), convergence=None,
        keys=("first", "second", "energies", "potential_v"),
        compared=dict.fromkeys(("lowest_ev_per_atom", "excess_ev_per_formula")),
    ),
    Table(
        "phases", "StabilityStudyDoc", _phases,
        ("crystal", "formula", "formation_ev_per_atom_raw", "formation_ev_per_atom_corrected",
         "above_hull_ev_per_atom_raw", "above_hull_ev_per_atom_corrected", "engine", "card"),
        crystal_columns=("crystal",), convergence=None,
        keys=("crystal",), compared=dict.fromkeys(("formation_ev_per_atom_raw", "above_hull_ev_per_atom_raw")),
    ),
)  # fmt: skip
