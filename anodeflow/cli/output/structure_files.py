"""The folder that `anodeflow build` writes: POSCAR, CIF, extended XYZ and picture of each structure, and a summary."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_SUMMARY = "summary.json"


@dataclass(frozen=True)
class Item:
    """One structure to be written: the ending of its POSCAR, the stem of the other files, its picture's text."""

    structure: Structure
    stem: str
    title: str
    lines: list[str]
    number: int | None = None

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        poscar = "POSCAR" if self.number is None else f"POSCAR-{self.number}"
        return [poscar, *(f"{self.stem}.{ending}" for ending in ("cif", "xyz", "png"))]


def write_structure(structure: Structure, file: Path, kind: str, name: str, energy_ev: float | None = None) -> None:
    """Write one structure to a file, atomically.

    Parameters
    ----------
    structure, kind, name, energy_ev
        As of :func:`~anodeflow.structures.written.structure_text`.
    file
        Where it is to be.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    from anodeflow.files import write_atomically
    from anodeflow.structures.written import structure_text

    try:
        write_atomically(file, structure_text(structure, kind, name, energy_ev))
    except OSError as error:
        raise InputError(f"cannot write '{file}': {error.strerror}", "choose another folder") from None


def checked_folder(output: Path | None, name: str, force: bool) -> Path:
    """Return the folder to write.

    Parameters
    ----------
    output
        As the user named it, or None.
    name
        Of the folder, where the user named none.
    force
        It may hold files.

    Returns
    -------
    Path
        The folder, not made yet.

    Raises
    ------
    InputError
        If it holds something or cannot be made.
    """
    folder = Path(name) if output is None else output.expanduser()
    parent = folder.resolve().parent
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file, not a folder", "choose another with --output")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise InputError(f"folder '{folder}' is not empty", "choose another with --output, or replace with --force")
    if not parent.is_dir():
        raise InputError(f"folder '{parent}' does not exist", "make it first, or choose another with --output")
    if not os.access(folder if folder.is_dir() else parent, os.W_OK):
        raise InputError(f"cannot write '{folder}': the folder is read-only", "choose another with --output")
    return folder


@contextmanager
def folder_beside(folder: Path, hint: str) -> Iterator[Path]:
    """Yield a new folder beside one, to be filled and put in its place; what is left of it in the end is removed.

    Parameters
    ----------
    folder
        As :func:`checked_folder` returned it.
    hint
        What to do where it cannot be written.

    Raises
    ------
    InputError
        For an error of the file system.
    """
    fresh = folder.resolve().parent / f".{folder.name[:80]}-{uuid.uuid4().hex[:8]}"
    try:
        fresh.mkdir()
        yield fresh
    except OSError as error:
        raise InputError(f"cannot write '{folder}': {error.strerror or error}", hint) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_folder(
    folder: Path, force: bool, items: list[Item], summary: dict[str, Any], notes: Sequence[str], as_json: bool
) -> None:
    """Write all files and say what was written; the folder appears atomically.

    Parameters
    ----------
    folder
        As :func:`checked_folder` returned it.
    force
        Replace or remove the files of an earlier build, and no others.
    items
        The structures.
    summary
        What is known of them; written to ``summary.json``.
    notes
        Printed on standard error.
    as_json
        Print the summary as JSON.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    import numpy as np

    def number(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} in a summary")

    names = [name for item in items for name in item.files]
    data = {"name": folder.name, **summary, "files": [*names, _SUMMARY], "versions": _versions()}
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=number)
    with folder_beside(folder, "choose another with --output") as fresh:
        for item in items:
            _write_item(item, fresh)
        (fresh / _SUMMARY).write_text(text + "\n", encoding="utf-8")
        if folder.is_dir() and any(folder.iterdir()):
            stale = _earlier_files(folder) - set(names) if force else set()
            for name in [*names, _SUMMARY]:  # the summary last: it names files that are there
                (fresh / name).replace(folder / name)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
        else:
            fresh.replace(folder)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **json.loads(text)}, indent=2, ensure_ascii=False))
        return
    for item in items:
        click.echo(f"{item.stem}: {item.structure.composition.formula}, {len(item.structure)} atoms")
    for line in items[0].lines if len(items) == 1 else []:
        click.echo(f"  {line}")
    click.echo(f"{folder}/: {', '.join([*names, _SUMMARY])}")


def _earlier_files(folder: Path) -> set[str]:
    """Return the names of the files an earlier build put into a folder, by its summary."""
    try:
        listed = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))["files"]
        return {name for name in listed if Path(name).name == name and name != _SUMMARY}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _write_item(item: Item, folder: Path) -> None:
    """Write POSCAR, CIF, extended XYZ and picture of one structure, all with the same order of atoms."""
    from anodeflow.analysis.figures.pictures import structure_picture
    from anodeflow.analysis.figures.style import save_figure
    from anodeflow.structures.written import structure_text

    structure = item.structure
    *written, png = (folder / name for name in item.files)
    for file, kind in zip(written, ("poscar", "cif", "extxyz"), strict=True):
        file.write_text(structure_text(structure, kind, item.stem), encoding="utf-8")
    save_figure(structure_picture(structure, title=item.title, lines=item.lines), png)


def _versions() -> dict[str, str]:
    """Return the programs whose version decides what is built."""
    from importlib.metadata import version

    return {name: version(name) for name in ("anodeflow", "pymatgen", "spglib", "ase", "numpy", "scipy", "matplotlib")}
