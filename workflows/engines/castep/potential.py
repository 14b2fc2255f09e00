"""The levels of a slab that CASTEP has computed, from its formatted potential and its ``.bands``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from anodeflow.analysis.program_output.potentials import read_grid, read_level
from anodeflow.units import HARTREE_EV
from anodeflow.workflows.engines.castep.keywords import SEED
from anodeflow.workflows.engines.plane_waves.levels import leaving_level_of, levels_on_grid

_BLOCK = re.compile(r"^Spin component\s+\d+\s*$", re.MULTILINE)


def levels_of(folder: Path, structure: Structure, axis: int) -> dict[str, Any]:
    """Return the fields of :class:`~anodeflow.documents.SlabLevels` of a slab that CASTEP has converged in a folder.

    Parameters
    ----------
    folder
        With the formatted potential and the ``.castep`` file.
    structure
        The slab.
    axis
        Of the vacuum.

    Raises
    ------
    InputError
        If one of them is missing or damaged.
    """
    level = leaving_level_of(read_level(folder / f"{SEED}.castep"), _levels(folder / f"{SEED}.bands"))
    return levels_on_grid(read_grid(folder / f"{SEED}.pot_fmt").values_ev, structure, axis, *level)


def _levels(file: Path) -> list[float]:
    """Return all levels of a ``.bands`` file, eV; none where there is no such file.

    After each line ``Spin component N`` stands one level in Hartree a line.
    """
    if not file.is_file():
        return []
    blocks = _BLOCK.split(file.read_text(encoding="utf-8", errors="replace"))[1:]
    words = [word for block in blocks for word in block.partition("K-point")[0].split()]
    return [float(word) * HARTREE_EV for word in words]
