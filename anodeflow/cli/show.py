"""`anodeflow show`: one calculation or study of a store, and its structure as a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.options import check_folder, json_option, store_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from maggma.core import Store

_LEFT_OUT = ("structure", "initial_structure", "forces_ev_per_angstrom", "stress_gpa", "engine", "card", "doc_type")


@click.command()
@click.argument("name")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the structure to this file: .cif, .vasp, .xyz or POSCAR.",
)  # fmt: skip
@click.option("--before", is_flag=True, help="The structure it started from, in place of the relaxed one.")
@store_option
@json_option
def show(name: str, output: Path | None, before: bool, store: Path, as_json: bool) -> None:
    """Show a calculation, or a study as after its run.

    NAME: the first digits of a calculation's fingerprint (results --what calculations --wide, or a report) or of a
    study's hash, or a study file.
    """
    from anodeflow.structures.written import format_of
    from anodeflow.workflows.store import open_documents, store_shown

    kind = None
    if output is not None:
        kind = format_of(output)
        check_folder(output, "structure")
    documents = open_documents(store)
    calculation = _calculation(documents, name)
    if calculation is None:
        if output is not None or before:
            raise InputError(
                f"no calculation '{name}' in {store_shown(store)}", "structures of a study: anodeflow export"
            )
        _show_study(documents, name, store_shown(store), as_json)
        return
    if kind is not None and output is not None:
        _write(calculation, output, kind, before)
        click.echo(f"structure: {output}", err=as_json)
    _print(calculation, as_json)


def _calculation(store: Store, name: str) -> dict[str, Any] | None:
    """Return the output of the calculation with this fingerprint; None if there is none.

    Raises
    ------
    InputError
        If several begin so.
    """
    if not re.fullmatch(r"[0-9a-f]{4,64}", name):
        return None
    wanted = {"index": 1, "output.fingerprint": {"$regex": f"^{name}"}}
    outputs = {job["output"]["fingerprint"]: job["output"] for job in store.query(wanted)}
    if len(outputs) > 1:
        labels = ", ".join(f"{key[:12]} ({output.get('label')})" for key, output in list(outputs.items())[:6])
        raise InputError(f"'{name}' begins {len(outputs)} fingerprints", f"give more: {labels}")
    return next(iter(outputs.values()), None)


def _show_study(store: Store, name: str, shown: str, as_json: bool) -> None:
    from anodeflow.cli.output.studies import imported_line, print_study, stored_study
    from anodeflow.workflows.studies.comparison import disagreements
    from anodeflow.workflows.studies.stored import finished_study

    study_hash = finished_study(store, name, shown)
    document = stored_study(store, study_hash)
    if document is not None:
        print_study(document, as_json, imported_line(store, study_hash), disagreements(store, document))


def _write(calculation: dict[str, Any], file: Path, kind: str, before: bool) -> None:
    from pymatgen.core import Structure

    from anodeflow.cli.output.structure_files import write_structure

    stored = calculation.get("initial_structure" if before else "structure")
    if not isinstance(stored, dict) or "lattice" not in stored:
        raise InputError(f"calculation {calculation['label']} holds no such structure", "see anodeflow show --json")
    energy = None if before else calculation.get("energy_ev")
    write_structure(Structure.from_dict(stored), file, kind, str(calculation["label"]), energy)


def _print(calculation: dict[str, Any], as_json: bool) -> None:
    """Print what is known of a calculation, a line each."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import say
    from anodeflow.columns import cell_text, head

    if as_json:
        print_json(calculation)
        return
    engine, card = calculation["engine"], calculation["card"]
    facts = {
        head(key): cell_text(key, value)
        for key, value in calculation.items()
        if isinstance(value, str | int | float) and value != "" and key not in _LEFT_OUT and key[0] != "@"
    }
    facts |= {"engine": f"{engine['name']} ({engine.get('version')})", "card": f"{card['name']} (hash {card['hash']})"}
    if part := calculation.get("dispersion"):
        facts["dispersion"] = f"{part['energy_ev']:.3f} eV of the energy, {part['method']} ({part['program']})"
    facts["fingerprint"] = str(calculation["fingerprint"])
    structure = calculation.get("structure")
    if isinstance(structure, dict) and "lattice" in structure:
        from pymatgen.core import Structure

        relaxed = Structure.from_dict(structure)
        a, b, c = relaxed.lattice.abc
        facts |= {"formula": relaxed.composition.formula, "cell (Å)": f"{a:.4f} {b:.4f} {c:.4f}",
                  "angles (°)": " ".join(f"{x:.3f}" for x in relaxed.lattice.angles)}  # fmt: skip
    for name, value in facts.items():
        click.echo(f"{name:<30}{value}")
    for warning in calculation.get("warnings") or []:
        say(f"warning: {warning}")
