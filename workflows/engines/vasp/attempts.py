"""What stays in the folder of a calculation between two attempts: how far they came, and where to continue."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.files import write_atomically
from anodeflow.workflows.engines.vasp.inputs import Inputs

_PROGRESS = "anodeflow-progress.json"
OUTPUTS = ("OUTCAR", "OSZICAR", "vasprun.xml", "XDATCAR", "CONTCAR", "INCAR", "KPOINTS", "POSCAR", "vasp.out",
           "std_err.txt", "custodian.json", "STOPCAR", "vaspout.h5")  # fmt: skip
_IONIC = re.compile(r"\s*\d+ (T=.*)?F=\s*\S+ E0=\s*\S+")


@dataclass
class Progress:
    """What is known of the earlier attempts in a folder."""

    signature: str
    start: str
    steps_before: int = 0
    attempts: int = 0

    def save(self, directory: Path) -> None:
        """Write it beside the calculation."""
        write_atomically(directory / _PROGRESS, json.dumps(self.__dict__, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Progress | None:
        """Read it; None where there is none, or none that can be read."""
        try:
            data = json.loads((directory / _PROGRESS).read_text())
            return cls(str(data["signature"]), str(data["start"]), int(data["steps_before"]), int(data["attempts"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def steps_made(directory: Path) -> int:
    """Return the number of ionic steps that an OSZICAR counts."""
    try:
        text = (directory / "OSZICAR").read_text(errors="replace")
    except OSError:
        return 0
    return sum(1 for line in text.splitlines() if _IONIC.match(line))


def put_aside(directory: Path, number: int, name: str = "attempt", images: Sequence[Path] = ()) -> None:
    """Move the files of an attempt to a separate folder; WAVECAR stays, the next attempt starts from it.

    Parameters
    ----------
    directory
        Of the calculation.
    number, name
        Of the attempt.
    images
        Folders of a band's images in it, whose files go, too.
    """
    target = directory / f"{name}-{number}"
    while target.exists():
        number += 1
        target = directory / f"{name}-{number}"
    for folder in (directory, *images):
        to = target / folder.relative_to(directory)
        to.mkdir()
        for file in OUTPUTS:
            if (folder / file).exists():
                shutil.move(folder / file, to / file)


def continued(directory: Path, start: Structure, inputs: Inputs, task: str) -> Structure | None:
    """Return the geometry of a CONTCAR; None where there is none that fits.

    What a task does not relax is taken from the start: the cell, or its vectors in the plane.

    Parameters
    ----------
    directory
        Holds the CONTCAR.
    start
        What was asked for; its order of atoms comes back.
    inputs
        What was written for it.
    task
        What is relaxed.
    """
    from pymatgen.io.vasp.inputs import Poscar

    try:
        structure = Poscar.from_file(str(directory / "CONTCAR"), check_for_potcar=False).structure
    except Exception:  # a half-written file fails in many ways; the start is used then
        return None
    if [s.specie.symbol for s in structure] != [s.specie.symbol for s in inputs.structure]:
        return None
    if not np.isfinite(structure.frac_coords).all() or not structure.is_valid(tol=0.5):
        return None
    matrix = np.array(structure.lattice.matrix)
    if task == "relax":
        matrix = np.array(start.lattice.matrix)
    elif task == "relax_c":
        matrix[:2] = start.lattice.matrix[:2]
    frac = structure.frac_coords[np.argsort(inputs.order)]
    frac = frac - np.round(frac - start.frac_coords)
    if np.linalg.norm((frac - start.frac_coords) @ matrix, axis=1).max() > max(start.lattice.abc):
        return None
    return Structure(Lattice(matrix), start.species, frac, site_properties=start.site_properties)
