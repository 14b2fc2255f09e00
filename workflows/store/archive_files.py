"""What engines wrote, for an archive: native inputs and outputs, trajectories and checkpoints.

Only what may be given away travels: no POTCAR, pseudopotential or keyword file, and no wave functions or densities,
which are large and read by one program only.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from anodeflow.errors import StoreError
from anodeflow.settings import expanded, load_settings, places_of_run

FOLDER = "files"
WHOLE_NAMES = re.compile(
    r"(INCAR|KPOINTS|POSCAR|CONTCAR|POTCAR\.spec|OUTCAR|OSZICAR|XDATCAR|vasprun\.xml)(\.gz)?"
    r"|trajectory\.atraj|checkpoint\.npz|custodian\.json"
    r"|[A-Za-z0-9][\w.+-]{0,80}\.(txt|py|vasp|json|in|out|pwi|pwo|cell|param|castep|md|geom|log)(\.gz)?"
)
LARGEST_BYTES = 1 << 30
# Below the folder of a calculation at most this deep: the images of a band.
DEEPEST = 2
_PART = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
NAMES = re.compile(rf"{FOLDER}/{_PART}/({_PART}/){{0,{DEEPEST - 1}}}{_PART}")


def files_of(document: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Names in an archive and paths of what the calculation of a document left on this machine, sorted."""
    folder = None if folder_name(document) is None else find_folder(document["output"]["directory"])
    if folder is None:
        return
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        name = f"{FOLDER}/{folder.name}/{inner.as_posix()}"
        if len(inner.parts) > DEEPEST or path.is_symlink() or not path.is_file():
            continue
        if WHOLE_NAMES.fullmatch(path.name) and NAMES.fullmatch(name) and path.stat().st_size <= LARGEST_BYTES:
            yield name, path


def folder_name(document: dict[str, Any]) -> str | None:
    """Name of the folder of a document's calculation; None for a job without files.

    Such a job ran in some folder of other things: only folders named after a calculation count.
    """
    output = document.get("output")
    directory = output.get("directory") if isinstance(output, dict) else None
    if not isinstance(directory, str) or not re.search(r"/[^/]+-[0-9a-f]{10}$", directory):
        return None
    return Path(directory).name


def find_folder(directory: str) -> Path | None:
    """The folder of a calculation, or None if it is not here."""
    return next((folder for folder in places_of_run(directory) if folder.is_dir()), None)


def unpack(archive: zipfile.ZipFile, names: Iterable[str]) -> int:
    """Write the files of an archive, whose names were checked, to the folder of runs; what is there already stays.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    StoreError
        If one cannot be written.
    """
    runs, written = expanded(load_settings().runs).resolve(), 0
    for name in names:
        goal = runs.joinpath(*name.split("/")[1:])
        if goal.exists():
            continue
        new = goal.with_name(f".{goal.name}.new")
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, new.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            os.replace(new, goal)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise StoreError(
                f"cannot write '{goal}': {error.strerror}", "set ANODEFLOW_RUNS to another place"
            ) from None
        written += 1
    return written
