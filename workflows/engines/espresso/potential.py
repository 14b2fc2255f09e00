"""The potential of a slab from pp.x, and the levels of its electrons, after pw.x in the same folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.program_output.potentials import read_grid
from anodeflow.errors import EngineError
from anodeflow.settings import QeSettings
from anodeflow.units import HARTREE_EV
from anodeflow.workflows.engines.espresso.folder import environment
from anodeflow.workflows.engines.espresso.inputs import PREFIX
from anodeflow.workflows.engines.external import run_program, write_whole
from anodeflow.workflows.engines.plane_waves.levels import leaving_level_of, levels_on_grid

PROGRAM = "Quantum ESPRESSO (pp.x)"
_GRID = "potential.dat"
_INPUT = f"""&INPUTPP
  prefix = '{PREFIX}'
  outdir = './out'
  filplot = '{_GRID}'
  plot_num = 11
/
"""
_DATA = Path("out") / f"{PREFIX}.save" / "data-file-schema.xml"


def levels_of(folder: Path, structure: Structure, axis: int, settings: QeSettings) -> dict[str, Any]:
    """Return the fields of :class:`~anodeflow.documents.SlabLevels` of a slab that pw.x has converged in a folder.

    Parameters
    ----------
    folder
        With pw.x's ``out``.
    structure
        The slab.
    axis
        Of the vacuum.
    settings
        How pw.x is started; pp.x is beside it.

    Raises
    ------
    EngineError
        If pp.x is missing or fails, or pw.x left no levels.
    InputError
        If what pp.x wrote cannot be read.
    """
    level = leaving_level_of(*electron_levels(folder / _DATA))
    write_whole(folder / "pp.in", _INPUT)
    status = run_program(
        [*pp_command(settings.command), "-in", "pp.in"],
        folder,
        output="pp.out",
        program=PROGRAM,
        environment=environment(),
    )
    if status != 0 or not (folder / _GRID).is_file():
        raise EngineError(f"pp.x ended with status {status}", f"see '{folder / 'pp.out'}'")
    grid = read_grid(folder / _GRID)
    (folder / _GRID).unlink()  # the largest file of the folder, and a second to make again
    return levels_on_grid(grid.values_ev, structure, axis, *level)


def pp_command(command: Sequence[str]) -> list[str]:
    """Return the command of pp.x, which lies beside pw.x; words after it, which divide pw.x's work, are left out.

    Raises
    ------
    EngineError
        If no word of the command is pw.x.
    """
    for number, word in enumerate(command):
        if Path(word).name.startswith("pw") and word.endswith(".x"):
            return [*command[:number], re.sub(r"pw([^/]*\.x)$", r"pp\1", word)]
    raise EngineError(f"the command '{' '.join(command)}' names no pw.x, so pp.x is not known", "name pw.x by itself")


def electron_levels(file: Path) -> tuple[float, list[float]]:
    """Return the Fermi level, or the highest occupied one, and all levels of the electrons, eV.

    Parameters
    ----------
    file
        pw.x's ``data-file-schema.xml``.

    Raises
    ------
    EngineError
        If it is missing or holds none.
    """
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - what pw.x has just written here
    except (OSError, ElementTree.ParseError) as error:
        raise EngineError(f"'{file}' cannot be read: {error}", "run the calculation again") from None
    bands = root.find("output/band_structure")
    if bands is None:
        raise EngineError(f"'{file}' holds no levels", "run the calculation again")
    named = [bands.findtext(name) for name in ("fermi_energy", "highestOccupiedLevel")]
    level = next((float(text) for text in named if text is not None), None)
    if level is None:
        raise EngineError(f"'{file}' holds no Fermi level", "run the calculation again")
    values = [float(word) for block in bands.iter("eigenvalues") for word in (block.text or "").split()]
    return level * HARTREE_EV, (np.array(values) * HARTREE_EV).tolist()
