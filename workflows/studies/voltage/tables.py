"""Voltage profiles as rows: plateaus, and the host with each amount of lithium."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table


def _plateaus(out: dict[str, Any]) -> list[dict[str, Any]]:
    warm = out.get("warm") or {}  # older documents have none
    kinds = (
        ("electrons, 0 K", 0.0, out["plateaus"]),
        ("with zero point", 0.0, warm.get("zero_point", [])),
        ("with vibrations", warm.get("temperature_k"), warm.get("plateaus", [])),
    )
    return [
        {"host": out["host"], "energies": kind, "temperature_k": temperature, **plateau}
        for kind, temperature, plateaus in kinds
        for plateau in plateaus
    ]


def _vibrations(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**doc, "converged": doc["free_energy_ev_per_atom"] is not None}
        for doc in (out.get("warm") or {}).get("vibrations", [])
    ]


def _capacities(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"host": out["host"], **lithiated} for lithiated in out["lithiated"]]


TABLES = (
    Table(
        "plateaus", "VoltageStudyDoc", _plateaus,
        ("host", "energies", "temperature_k", "poor", "rich", "voltage_v", "lithium_from", "lithium_to",
         "capacity_mah_per_g", "engine", "card"),
        crystal_columns=("host",), convergence=None,
        keys=("host", "energies", "poor", "rich"), compared={"voltage_v": None},
    ),
    Table(
        "vibrations", "VoltageStudyDoc", _vibrations,
        ("crystal", "temperature_k", "free_energy_ev_per_atom", "zero_point_ev_per_atom", "entropy_k_per_atom",
         "lowest_thz", "highest_thz", "atoms", "displaced_cells", "engine", "card"),
        crystal_columns=("crystal",), convergence="row",
        keys=("crystal", "temperature_k"), compared={"free_energy_ev_per_atom": None, "highest_thz": None},
    ),
    Table(
        "capacities", "VoltageStudyDoc", _capacities,
        ("host", "phases", "lithium", "average_voltage_v", "capacity_mah_per_g", "capacity_mah_per_cm3_host",
         "capacity_mah_per_cm3_lithiated", "volume_change_percent", "engine", "card"),
        crystal_columns=("host",), convergence=None,
        keys=("host", "phases"), compared={"average_voltage_v": None, "volume_change_percent": None},
    ),
)  # fmt: skip
