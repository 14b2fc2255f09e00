"""Voltage profiles as rows: plateaus, and the host with each amount of lithium."""

from __future__ import annotations

from typing import Any

from anodeflow.workflows.studies.registry import Table


def _plateaus(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"host": out["host"], **plateau} for plateau in out["plateaus"]]


def _capacities(out: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"host": out["host"], **lithiated} for lithiated in out["lithiated"]]


TABLES = (
    Table(
        "plateaus", "VoltageStudyDoc", _plateaus,
        ("host", "poor", "rich", "voltage_v", "lithium_from", "lithium_to", "capacity_mah_per_g", "engine", "card"),
        crystal_columns=("host",), convergence=None,
        keys=("host", "poor", "rich"), compared={"voltage_v": None},
    ),
    Table(
        "capacities", "VoltageStudyDoc", _capacities,
        ("host", "phases", "lithium", "average_voltage_v", "capacity_mah_per_g", "capacity_mah_per_cm3_host",
         "capacity_mah_per_cm3_lithiated", "volume_change_percent", "engine", "card"),
        crystal_columns=("host",), convergence=None,
        keys=("host", "phases"), compared={"average_voltage_v": None, "volume_change_percent": None},
    ),
)  # fmt: skip
