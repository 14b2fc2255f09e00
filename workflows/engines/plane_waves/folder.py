"""The folder of one calculation, and the folder of pseudopotentials beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from anodeflow.errors import EngineError
from anodeflow.files import file_sha256
from anodeflow.settings import expanded
from anodeflow.workflows.engines.external import write_whole


def needed(folder: Path | None, program: str) -> Path:
    """Return the folder of a calculation.

    Raises
    ------
    EngineError
        If none was given.
    """
    if folder is None:
        raise EngineError(f"{program} needs a folder for itself", "give a directory")
    return folder


def potentials_folder(named: Path | None) -> Path | None:
    """Return the absolute folder that the settings name, or None; it need not be there."""
    return None if named is None else expanded(named).resolve()


def write_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write text files, each atomically; return their names.

    Raises
    ------
    EngineError
        If the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"cannot write '{folder}': {error.strerror}", "check the folder") from None
    for name, text in files.items():
        write_whole(folder / name, text)
    return list(files)


def put_aside(folder: Path, files: Iterable[Path], name: str = "attempt") -> None:
    """Move the output of an earlier attempt into a separate folder: ``attempt-1``, ``attempt-2``, ...

    Parameters
    ----------
    folder
        Of the calculation.
    files
        What to move; nothing happens where there is none.
    name
        What the attempt is called.

    Raises
    ------
    EngineError
        If a file cannot be moved.
    """
    files = list(files)
    if not files:
        return
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    target = folder / f"{name}-{number}"
    try:
        target.mkdir()
        for file in files:
            os.replace(file, target / file.name)
    except OSError as error:
        raise EngineError(f"cannot move the earlier attempt in '{folder}': {error.strerror}", "check it") from None


def file_digest(path: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a file, read once while it stays as it is.

    Raises
    ------
    EngineError
        If it cannot be read.
    """
    return _digest(path, *file_stamp(path))


def file_stamp(path: Path) -> tuple[int, int]:
    """Return time of the last change, ns, and size of a file.

    Raises
    ------
    EngineError
        If there is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise EngineError(f"pseudopotential '{path}': {error.strerror}", "check the path") from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2048)
def _digest(path: Path, _modified: int, _size: int) -> str:
    try:
        return file_sha256(path)[:16]
    except OSError as error:
        raise EngineError(f"pseudopotential '{path}': {error.strerror}", "check the file") from None
