"""What engines wrote, for an archive: native inputs and outputs, trajectories and checkpoints.

Only what may be given away travels: no POTCAR, pseudopotential or keyword file, and no wave functions or densities,
which are large and read by one program only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.errors import StoreError
from anodeflow.files import atomic_path
from anodeflow.settings import imported_runs, places_of_run
from anodeflow.workflows.store.archive_documents import MARK

if TYPE_CHECKING:
    from anodeflow.workflows.store.archive_reading import ArchiveFile

FOLDER = "files"
_WHOLE_NAMES = re.compile(
    r"(INCAR|KPOINTS|POSCAR|CONTCAR|POTCAR\.spec|OUTCAR|OSZICAR|XDATCAR|vasprun\.xml)(\.gz)?"
    r"|trajectory\.atraj|checkpoint\.npz|custodian\.json"
    r"|[A-Za-z0-9][\w.+-]{0,80}\.(txt|py|vasp|json|in|out|pwi|pwo|cell|param|castep|md|geom|log)(\.gz)?"
)
_LARGEST_BYTES = 1 << 30
# Below the folder of a calculation at most this deep: the images of a band.
DEEPEST = 2
_PART = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
NAMES = re.compile(rf"{FOLDER}/{_PART}/({_PART}/){{0,{DEEPEST - 1}}}{_PART}")


def is_file_of_calculation(name: str) -> bool:
    """Return whether an entry of an archive is a file of a calculation that may be unpacked."""
    return bool(NAMES.fullmatch(name) and _WHOLE_NAMES.fullmatch(name.split("/")[-1]))


def files_of(document: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Names in an archive and paths of what the calculation of a document left on this machine, sorted."""
    folder = find_folder(document)
    if folder is None:
        return
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        name = f"{FOLDER}/{folder.name}/{inner.as_posix()}"
        if len(inner.parts) > DEEPEST or path.is_symlink() or not path.is_file():
            continue
        if _WHOLE_NAMES.fullmatch(path.name) and NAMES.fullmatch(name) and path.stat().st_size <= _LARGEST_BYTES:
            yield name, path


def folder_name(document: dict[str, Any]) -> str | None:
    """Name of the folder of a document's calculation; None for a job without files.

    Such a job ran in some folder of other things: only a folder counts whose name ends with the first digits of the
    calculation's fingerprint.
    """
    output = document.get("output")
    if not isinstance(output, dict):
        return None
    directory, key = output.get("directory"), output.get("fingerprint")
    if not isinstance(directory, str) or not isinstance(key, str) or len(key) < 10:
        return None
    return (
        Path(directory).name
        if re.search(r"/[^/]+-[0-9a-f]{10}$", directory) and directory.endswith(f"-{key[:10]}")
        else None
    )


def digests_named(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and SHA-256 of the files that a document says it left."""
    output = document["output"]
    named = ((output.get(key), output.get(f"{key}_sha256")) for key in ("trajectory", "checkpoint"))
    return [(name, digest) for name, digest in named if isinstance(name, str) and isinstance(digest, str)]


def find_folder(document: dict[str, Any]) -> Path | None:
    """The folder of a document's calculation, or None if it is not here.

    What was imported lies with what was unpacked: the folder that it ran in may be here too, with files of another
    attempt.
    """
    if folder_name(document) is None:
        return None
    places = places_of_run(document["output"]["directory"])
    if MARK in document.get("metadata", {}):
        places = places[-1:]
    return next((folder for folder in places if folder.is_dir()), None)


def unpack(archive: ArchiveFile, names: Iterable[str]) -> list[Path]:
    """Write the files of an archive, which was checked, to the folder of imported runs; what is there already stays.

    Apart from the runs of this machine: nothing that is computed here continues from what a stranger made, unless a
    document that may be used names it.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    StoreError
        If one cannot be written.
    """
    written: list[Path] = []
    for name in names:
        goal = imported_runs().joinpath(*name.split("/")[1:])
        if goal.exists():
            continue
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(goal) as new, new.open("wb") as sink:
                for part in archive.parts(name):
                    sink.write(part)
        except OSError as error:
            take_back(written)
            raise StoreError(
                f"cannot write '{goal}': {error.strerror}", "set ANODEFLOW_RUNS to another place"
            ) from None
        except BaseException:
            take_back(written)
            raise
        written.append(goal)
    return written


def take_back(written: Iterable[Path]) -> None:
    """Remove files that :func:`unpack` wrote, and folders that are empty then."""
    for file in written:
        file.unlink(missing_ok=True)
        for folder in (file.parent, file.parent.parent):
            with suppress(OSError):  # not empty
                folder.rmdir()
