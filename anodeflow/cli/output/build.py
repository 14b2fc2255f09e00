"""What `anodeflow build` prints and writes: tables, the text of pictures, and a folder of files for each structure.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Lattice, Structure

    from anodeflow.structures.interfaces import InterfaceModel
    from anodeflow.structures.slabs import SlabModel

SUMMARY = "summary.json"


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


# --- what is printed ---------------------------------------------------------------------------------


def print_listing(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as a table, with words for truth values, or as JSON."""
    from anodeflow.cli.output.tables import print_rows

    words = {True: "yes", False: "no"}
    shown = [{k: words[v] if isinstance(v, bool) else v for k, v in row.items()} for row in rows]
    print_rows(rows if as_json else shown, as_json)


def termination_row(model: SlabModel) -> dict[str, Any]:
    """One termination for a table."""
    excess = " ".join(f"+{n:g} {symbol}" for symbol, n in model.excess.items())
    return {
        "n": model.termination_index,
        "label": model.termination,
        "polar": model.polar,
        "stoichiometry": "stoichiometric" if model.stoichiometric else excess,
        "symmetric": model.symmetric,
        "broken_bonds": model.broken_bonds,
        "layers": model.layers,
        "atoms": len(model.structure),
        "thickness_angstrom": model.thickness_angstrom,
        "area_angstrom2": model.area_angstrom2,
    }


def match_row(number: int, match: Any, chosen: bool) -> dict[str, Any]:
    """One lattice match for a table."""
    low, high = match.strain.principal_percent
    return {
        "n": number,
        "strain_percent": round(match.strain.max_principal_percent, 4),
        "principal_percent": f"{low:+.3f} {high:+.3f}",
        "strained": match.strained,
        "area_angstrom2": match.area_angstrom2,
        "atoms": match.atoms,
        "film_cells": match.film_cells,
        "substrate_cells": match.substrate_cells,
        "rotation_deg": round(match.rotation_deg, 3),
        "default": chosen,
    }


def cell_text(lattice: Lattice) -> str:
    """A cell for people: ``a = 5.130 Å``, or all three lengths and the angles that are not 90 degrees."""
    a, b, c = lattice.abc
    lengths = f"a = {a:.3f}, b = {b:.3f}, c = {c:.3f} Å"
    if max(a, b, c) - min(a, b, c) < 5e-4:
        lengths = f"a = {a:.3f} Å"
    angles = [f"{name} = {x:.2f}°" for name, x in zip("αβγ", lattice.angles, strict=True) if abs(x - 90) > 0.005]
    return ", ".join([lengths, *angles])


def bulk_text(source: dict[str, Any]) -> str:
    """Where a cell comes from, for a picture."""
    if "relaxed" in source:
        return f"relaxed with {source['engine']['name']}, card {source['card']['name']}"
    return f"file {Path(source['file']).name}" if "file" in source else "catalogue"


def face(slab_model: SlabModel) -> str:
    """A crystal and its Miller index, as mathtext."""
    from anodeflow.analysis.figures.style import formula_label, miller_label

    return formula_label(slab_model.crystal.replace("$", r"\$")) + miller_label(slab_model.miller)


def index_name(miller: Sequence[int], between: str = "_") -> str:
    """A Miller index in a line or a file name: ``100``, or ``1_-1_0`` where digits alone would be misread."""
    return ("" if all(0 <= n < 10 for n in miller) else between).join(map(str, miller))


def slab_text(model: SlabModel, bulk: Lattice, source: dict[str, Any]) -> tuple[str, list[str]]:
    """Title and lines of a slab's picture."""
    kind = [
        "symmetric" if model.symmetric else "two different faces",
        "polar" if model.polar else "nonpolar",
        "stoichiometric" if model.stoichiometric else "not stoichiometric",
    ]
    frozen = f", {model.frozen_atoms} frozen" if model.frozen_atoms else ""
    lines = [
        f"Miller index of the cell {cell_text(bulk)} ({bulk_text(source)})",
        f"termination {model.termination} ({', '.join(kind)}); {model.layers} layers, "
        f"{len(model.structure)} atoms{frozen}",
        f"thickness {model.thickness_angstrom:.2f} Å, vacuum {model.vacuum_angstrom:.2f} Å, "
        f"area {model.area_angstrom2:.2f} Å²",
    ]
    return f"{face(model)} slab", lines


def interface_text(model: InterfaceModel, sides: Sequence[tuple[str, Any, dict[str, Any]]]) -> tuple[str, list[str]]:
    """Title and lines of an interface's picture."""
    strains = zip(("film", "substrate"), (model.film_strain, model.substrate_strain), strict=True)
    strained = [
        f"strain of the {name}: {strain.principal_percent[0]:+.2f} % and {strain.principal_percent[1]:+.2f} %"
        for name, strain in strains
        if model.strained in (name, "both")
    ]
    both = "both contacts" if model.contacts == 2 else "the contact"
    empty = "periodic, no vacuum" if model.vacuum_angstrom is None else f"vacuum {model.vacuum_angstrom:.2f} Å"
    lines = [
        f"{'; '.join(strained)}; area {model.area_angstrom2:.1f} Å², {len(model.structure)} atoms",
        f"gap {model.gaps_angstrom[0]:.2f} Å at {both}, {empty}; shortest distance across "
        f"{model.shortest_contact_angstrom:.2f} Å ({'-'.join(model.contact_elements)})",
    ]
    if model.ranked_by or any(model.shift):
        chosen = f", the best of a scan by {model.ranked_by}" if model.ranked_by else ""
        lines.append(f"film shifted by {model.shift[0]:.4g} a and {model.shift[1]:.4g} b{chosen}")
    for name, slab_model, (_, bulk, source) in zip(
        ("film", "substrate"), (model.film, model.substrate), sides, strict=True
    ):
        origin = "argyrodite configuration of lowest Ewald energy"
        if not isinstance(bulk, str):
            origin = f"cell {cell_text(bulk.lattice)}, {bulk_text(source)}"
        lines.append(
            f"{name}: {slab_model.crystal}({index_name(slab_model.miller, ' ')}) ({origin}), "
            f"termination {slab_model.termination}, {slab_model.layers} layers, {slab_model.thickness_angstrom:.2f} Å"
        )
    return f"{face(model.film)} film on {face(model.substrate)} substrate", [
        *lines,
        *(f"note: {text}" for text in model.warnings),
    ]


def argyrodite_text(ensemble: Any, number: int, relaxed: bool) -> tuple[str, list[str]]:
    """Title and lines of the picture of one configuration."""
    from anodeflow.analysis.figures.style import formula_label

    configuration, cell = ensemble.configurations[number - 1], ensemble.cell
    anions = "; ".join(
        f"{site}: {' '.join(f'{n} {symbol}' for symbol, n in configuration.anion_sites[site].items() if n)}"
        for site in ("4a", "4d")
    )
    lines = [
        f"configuration {number} of {len(ensemble.configurations)}, unrelaxed Ewald energy "
        f"{configuration.ewald_ev_per_fu:+.2f} eV/f.u. above the lowest",
        f"free anions on {anions}; anion order {ensemble.anion_order}",
        f"{cell['formula_units']} formula units, {cell['atoms']} atoms, cubic edge {cell['cubic_edge_angstrom']:.3f} Å"
        + ("; relaxed by an engine" if relaxed else ""),
    ]
    return formula_label(ensemble.composition.formula), lines


# --- what is written ---------------------------------------------------------------------------------


def checked_folder(output: Path | None, name: str, force: bool) -> Path:
    """The folder to write, refused if it holds something or cannot be made."""
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


def write(
    folder: Path, force: bool, items: list[Item], summary: dict[str, Any], notes: Sequence[str], as_json: bool
) -> None:
    """Write all files and print the summary; the folder appears whole or not at all.

    Only files of an earlier build are replaced or removed in a folder that is there already.
    """
    import numpy as np

    def number(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} in a summary")

    names = [name for item in items for name in item.files]
    data = {"name": folder.name, **summary, "files": [*names, SUMMARY], "versions": versions()}
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=number)
    fresh = folder.resolve().parent / f".{folder.name[:80]}-{uuid.uuid4().hex[:8]}"
    try:
        fresh.mkdir()
        for item in items:
            write_item(item, fresh)
        (fresh / SUMMARY).write_text(text + "\n", encoding="utf-8")
        if folder.is_dir() and any(folder.iterdir()):
            stale = earlier_files(folder) - set(names) if force else set()
            for name in [*names, SUMMARY]:  # the summary last: it names files that are there
                (fresh / name).replace(folder / name)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
        else:
            fresh.replace(folder)
    except OSError as error:
        raise InputError(
            f"cannot write '{folder}': {error.strerror or error}", "choose another with --output"
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **json.loads(text)}, indent=2, ensure_ascii=False))
        return
    for item in items:
        click.echo(f"{item.stem}: {item.structure.composition.formula}, {len(item.structure)} atoms")
    for line in items[0].lines if len(items) == 1 else []:
        click.echo(f"  {line}")
    click.echo(f"{folder}/: {', '.join([*names, SUMMARY])}")


def earlier_files(folder: Path) -> set[str]:
    """The files an earlier build put into a folder, by its own summary."""
    try:
        listed = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["files"]
        return {name for name in listed if Path(name).name == name and name != SUMMARY}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_item(item: Item, folder: Path) -> None:
    """POSCAR, CIF, extended XYZ and picture of one structure, all with the same order of atoms."""
    import ase.io
    import numpy as np
    from ase import Atoms
    from ase.constraints import FixAtoms
    from pymatgen.io.cif import CifWriter
    from pymatgen.io.vasp import Poscar

    from anodeflow.analysis.figures.pictures import structure_picture
    from anodeflow.analysis.figures.style import save_figure

    structure = item.structure
    poscar, cif, xyz, png = (folder / name for name in item.files)
    poscar.write_text(Poscar(structure, comment=item.stem).get_str(significant_figures=12), encoding="utf-8")
    CifWriter(structure, significant_figures=10).write_file(cif)
    symbols = [site.specie.symbol for site in structure]
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    properties = structure.site_properties
    if "side" in properties:
        atoms.new_array("side", np.array(properties["side"], dtype=str))
    if "selective_dynamics" in properties:
        atoms.set_constraint(FixAtoms([n for n, free in enumerate(properties["selective_dynamics"]) if not any(free)]))
    ase.io.write(xyz, atoms, format="extxyz")
    save_figure(structure_picture(structure, title=item.title, lines=item.lines), png)


def versions() -> dict[str, str]:
    """The programs whose version decides what is built."""
    from importlib.metadata import version

    return {name: version(name) for name in ("anodeflow", "pymatgen", "spglib", "ase", "numpy", "scipy", "matplotlib")}
