"""Studies: what to compute. Each is a validated YAML file that becomes a jobflow Flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anodeflow.workflows.studies.base import Study

__all__ = ["load_study"]


def load_study(path: str | Path) -> Study:
    """Read and validate a study file of any kind.

    Raises
    ------
    InputError
        If the file, a key or a value is wrong.
    """
    from anodeflow.workflows.studies.base import read_study  # here, so that the registry alone is imported fast

    return read_study(path)
