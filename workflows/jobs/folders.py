"""Where the files of calculations are on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from anodeflow.errors import EngineError
from anodeflow.settings import expanded, load_settings


def runs_folder() -> Path:
    """Return the folder that holds the folders of all calculations."""
    return expanded(load_settings().runs).resolve()


def name_of_folder(label: str) -> str:
    """Return a label as the name of a folder: letters, digits and ``.+-``, the rest an underscore."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", label).strip("_.")


def calculation_folder(label: str, key: str) -> Path:
    """Return the folder of one calculation: a readable name and the first digits of its fingerprint."""
    return runs_folder() / f"{name_of_folder(label)[:60] or 'calculation'}-{key[:10]}"


def make_folder(directory: Path) -> None:
    """Make a calculation's folder.

    Raises
    ------
    EngineError
        If it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"cannot make the folder '{directory}': {error.strerror}", "set ANODEFLOW_RUNS to another place"
        ) from None
