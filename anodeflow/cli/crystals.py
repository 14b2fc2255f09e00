"""`anodeflow crystals`: the catalogue, one of its entries, or a structure file after the same checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.options import check_folder, json_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_COLUMNS = ("name", "kind", "space_group", "cell", "atoms", "density_g_per_cm3", "trust", "method")


@click.command()
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the crystal to this file: .cif, .vasp, .xyz or POSCAR.",
)
@json_option
def crystals(name: str | None, output: Path | None, as_json: bool) -> None:
    """List the crystal catalogue, or show one entry (or a structure file of yours)."""
    if name is None:
        if output is not None:
            raise InputError("which crystal is to be written?", "anodeflow crystals NAME -o NAME.cif")
        _print_catalogue(as_json)
    elif output is not None:
        _write_crystal(name, output)
    else:
        _print_crystal(name, as_json)


def _print_catalogue(as_json: bool) -> None:
    from anodeflow.cli.output.tables import print_rows
    from anodeflow.structures.catalogue import crystal_table

    rows = crystal_table()
    if not as_json:
        for row in rows:
            row["cell"] = _cell_text(row["cell"])
    print_rows(rows, as_json, columns=_COLUMNS)
    if not as_json:
        click.echo("Source, licence, sites and notes of one crystal: anodeflow crystals NAME")


def _cell_text(cell: list[float]) -> str:
    """Return lengths in angstrom, each once, and the angles that are not 90 degrees."""
    lengths = dict.fromkeys(f"{x:.4g}" for x in cell[:3])
    return " ".join([*lengths, *(f"{x:g}°" for x in cell[3:] if abs(x - 90) > 1e-3)])


def _write_crystal(name: str, file: Path) -> None:
    from anodeflow.cli.output.structure_files import write_structure
    from anodeflow.structures.catalogue import load_crystal
    from anodeflow.structures.written import format_of

    kind = format_of(file)
    check_folder(file, "structure")
    structure = load_crystal(name)
    write_structure(structure, file, kind, name)
    click.echo(f"{file}: {structure.composition.formula}, {len(structure)} atoms")


def _print_crystal(name: str, as_json: bool) -> None:
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.grid import say

    data = _facts(name)
    if as_json:
        print_json(data)
        return
    for key, value in data.items():
        if key == "oxidation_states" and value:
            value = ", ".join(f"{element} {state:+.4g}" for element, state in value.items())
        if key == "cell_is_fixed" and value:
            value = "yes: dispersion holds the crystal together"
        if key != "sites" and value not in (None, "", False):
            say(f"{key.replace('_', ' '):<28}{value}", indent=28)


def _facts(name: str) -> dict[str, Any]:
    """Return everything that is known of an entry of the catalogue, or of a structure file."""
    from anodeflow.structures.catalogue import TRUST, get_entry, load_crystal

    if Path(name).is_file():
        structure = load_crystal(name)
        symbol, number = structure.get_space_group_info()
        data: dict[str, Any] = {
            "file": name,
            "formula": structure.composition.reduced_formula,
            "space_group": f"{symbol} ({number})",
        }
    else:
        entry = get_entry(name)
        structure = entry.structure
        data = {
            "name": entry.name,
            "title": entry.title,
            "formula": entry.formula,
            "kind": entry.kind,
            "space_group": f"{entry.space_group_symbol} ({entry.space_group_number})",
            "source": entry.source,
            "method": entry.method,
            "licence": entry.licence,
            "trust": f"{entry.trust}: {TRUST[entry.trust]}",
            "notes": entry.notes,
            "oxidation_states": entry.oxidation_states,
            "cell_is_fixed": entry.cell_is_fixed,
            "shortest_distance_angstrom": entry.shortest_distance_angstrom,
        }
    return data | _cell(structure)


def _cell(structure: Structure) -> dict[str, Any]:
    lattice = structure.lattice
    return {
        "atoms": len(structure),
        "cell_angstrom": [round(x, 4) for x in lattice.abc],
        "angles_degree": [round(x, 3) for x in lattice.angles],
        "sites": [
            {"element": site.species_string, "frac_coords": [round(float(x), 5) for x in site.frac_coords]}
            for site in structure
        ],
    }
