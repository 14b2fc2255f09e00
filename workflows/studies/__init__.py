"""Studies: what to compute. Each is a validated YAML file that becomes a jobflow Flow."""

from __future__ import annotations

from pathlib import Path

from anodeflow.workflows.studies.base import PlannedCalculation, Study, read_study
from anodeflow.workflows.studies.binding.study import BindingStudy
from anodeflow.workflows.studies.crystals.study import CrystalStudy
from anodeflow.workflows.studies.dynamics.study import DynamicsStudy
from anodeflow.workflows.studies.interface.study import InterfaceStudy
from anodeflow.workflows.studies.migration.study import MigrationStudy
from anodeflow.workflows.studies.surface.study import SurfaceStudy

__all__ = [
    "KINDS",
    "BindingStudy",
    "CrystalStudy",
    "DynamicsStudy",
    "InterfaceStudy",
    "MigrationStudy",
    "PlannedCalculation",
    "Study",
    "SurfaceStudy",
    "load_study",
]

KINDS: dict[str, type[Study]] = {
    made.kind: made
    for made in (BindingStudy, CrystalStudy, SurfaceStudy, InterfaceStudy, DynamicsStudy, MigrationStudy)
}


def load_study(path: str | Path) -> Study:
    """Read and validate a study file of any kind.

    Raises
    ------
    InputError
        If the file, a key or a value is wrong.
    """
    return read_study(path, KINDS)
