"""Tables and JSON for the terminal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from anodeflow.analysis.binding import BindingStudyDoc
    from anodeflow.analysis.study_documents import InterfaceStudyDoc, SurfaceStudyDoc
    from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
    from anodeflow.documents import StudyDoc

# Wide enough for every table where the output is no terminal but a file or a pipe.
FILE_WIDTH = 150


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)


def print_json(data: Any) -> None:
    """JSON with two spaces, keys in the order given; what is no finite number is null, as JSON has no word for it."""
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(data), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    click.echo(text)


def _without_nan(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    return [_without_nan(item) for item in data] if isinstance(data, list | tuple) else data


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Rows as CSV with everything; lists as JSON."""
    import csv
    import sys

    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
            for name, value in row.items()
        })  # fmt: skip


def print_rows(
    rows: list[dict[str, Any]],
    as_json: bool,
    empty: str = "nothing found",
    columns: tuple[str, ...] | None = None,
) -> None:
    """Rows as JSON with everything, or as a table of some columns (by default all with one value a cell)."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=SIMPLE_HEAD)
    shown = columns or [key for key in rows[0] if not isinstance(rows[0][key], list | dict)]
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in shown])
    _console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_crystals(as_json: bool) -> None:
    """The catalogue."""
    from anodeflow.structures.catalogue import crystal_table

    columns = ("name", "kind", "space_group", "cell", "atoms", "density_g_per_cm3", "trust", "method")
    rows = crystal_table()
    if not as_json:
        for row in rows:
            row["cell"] = "  ".join(f"{x:.6g}" for x in row["cell"])
    print_rows(rows, as_json, columns=columns)
    if not as_json:
        click.echo("Source, licence, sites and notes of one crystal: anodeflow crystals NAME")


def print_crystal(name: str, as_json: bool) -> None:
    """One entry of the catalogue, or a user's structure file after its checks."""
    from pathlib import Path

    from anodeflow.structures.catalogue import TRUST, get_entry, load_crystal

    if Path(name).is_file():
        structure = load_crystal(name)
        data: dict[str, Any] = {"file": name, "formula": structure.composition.reduced_formula}
        symbol, number = structure.get_space_group_info()
        data |= {"space_group": f"{symbol} ({number})"}
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
    lattice = structure.lattice
    data |= {
        "atoms": len(structure),
        "cell_angstrom": [round(x, 4) for x in lattice.abc],
        "angles_degree": [round(x, 3) for x in lattice.angles],
        "sites": [
            {"element": site.species_string, "frac_coords": [round(float(x), 5) for x in site.frac_coords]}
            for site in structure
        ],
    }
    if as_json:
        print_json(data)
        return
    for key, value in data.items():
        if key == "oxidation_states" and value:
            value = ", ".join(f"{element} {state:+.4g}" for element, state in value.items())
        if key == "cell_is_fixed" and value:
            value = "yes: dispersion holds the crystal together"
        if key != "sites" and value not in (None, "", False):
            click.echo(f"{key.replace('_', ' '):<28}{value}")


def _heading(document: StudyDoc) -> None:
    engine = document.engine
    click.echo(f"\n{document.title or document.study}")
    click.echo(f"{engine.name} ({engine.kind}, {engine.version}), card {document.card.name}")


def _footing(document: StudyDoc) -> None:
    for source in document.sources:
        click.echo(f"rests on: {source}")
    click.echo(f"Study {document.study_hash}.")


def print_binding(document: BindingStudyDoc) -> None:
    """Binding energies by host and the dE matrices."""
    from anodeflow.analysis.binding import CONVENTION_TEXT

    console = _console()
    _heading(document)
    table = Table(box=SIMPLE_HEAD)
    for name in ("host", "where"):
        table.add_column(name)
    for convention in document.conventions:
        table.add_column(f"E_int, eV/Li\n{convention}", justify="right")
    for name in ("± num.", "best site", "Li neighbours", "sites", "notes"):
        table.add_column(name, overflow="fold", justify="right" if name == "± num." else "left")
    said = [warning for host in document.hosts for warning in host.warnings]
    shared = [warning for warning in dict.fromkeys(said) if said.count(warning) > 1]
    letters = dict(zip(shared, "abcdefghijklmnopqrstuvwxyz", strict=False))
    for host in document.hosts:
        best = next((s for s in host.sites if s.label == host.best_site), None)
        converged = sum(s.status == "converged" for s in host.sites)
        table.add_row(
            host.crystal,
            host.environment + (f" {host.face}" if host.face else ""),
            *[f"{host.binding_energy_ev[c]:+.3f}" if host.converged else "–" for c in document.conventions],
            f"{host.numerical_uncertainty_ev:.3f}" if host.numerical_uncertainty_ev is not None else "–",
            host.best_site or "–",
            (best.coordination_end or "–") if best else "–",
            f"{converged}/{len(host.sites)}",
            host.error or "; ".join(letters.get(warning, warning) for warning in host.warnings),
        )
    console.print(table)
    for warning, letter in letters.items():
        click.echo(f"{letter}: {warning}")
    for matrix in document.descriptors:
        click.echo(f"dE(anode, interphase) = E_int(interphase) - E_int(anode), eV, {matrix.environment}")
        table = Table(box=SIMPLE_HEAD)
        table.add_column("anode")
        for name in matrix.interphases:
            table.add_column(name, justify="right")
        for name, row in zip(matrix.anodes, matrix.d_e_ev, strict=True):
            table.add_row(name, *["–" if value is None else f"{value:+.2f}" for value in row])
        console.print(table)
        for line in matrix.refused:
            click.echo(line)
    for convention in document.conventions:
        click.echo(f"{convention}: E_int against {CONVENTION_TEXT[convention]}")
    if document.hosts:
        click.echo(f"Li charge: {document.hosts[0].charge_mode}. Negative is bound.")
    _footing(document)


def _interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _milli(value: float | None, interval: tuple[float, float] | None) -> str:
    """As :func:`_interval`, in thousandths of the unit."""
    return _interval(
        None if value is None else 1e3 * value,
        None if interval is None else (1e3 * interval[0], 1e3 * interval[1]),
    )


def print_surfaces(document: SurfaceStudyDoc) -> None:
    """Surface energies, one row a face."""
    _heading(document)
    _surface_table(document.surfaces)
    _footing(document)


def _surface_table(surfaces: list[SurfaceEnergyDoc]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for name in ("surface", "termination", "method", "layers", "gamma, J/m2 [95 %]", "thickest slabs", "cleaved, J/m2",
                 "notes"):  # fmt: skip
        table.add_column(name, overflow="fold")
    for doc in surfaces:
        table.add_row(
            f"{doc.crystal}({''.join(map(str, doc.miller))})",
            doc.termination,
            doc.method,
            " ".join(str(m.layers) for m in doc.members),
            _interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2),
            _thickest(doc),
            _interval(doc.gamma_unrelaxed_j_per_m2, None),
            doc.error or "; ".join(doc.warnings),
        )
    _console().print(table)


def _thickest(doc: SurfaceEnergyDoc) -> str:
    """Mean and half the spread of the thickest single slabs, where their crystal has the slabs' mesh."""
    found = doc.thickness
    if found is None or found.judged_by != "single slabs":
        return "-"
    return f"{found.gamma_j_per_m2:.3f} ± {found.spread_j_per_m2 / 2:.3f}"


def print_interface(document: InterfaceStudyDoc) -> None:
    """The interface energy with its fit, and what it is compared with."""
    _heading(document)
    doc = document.interface
    if doc.error:
        click.echo(f"no interface energy: {doc.error}")
    table = Table(box=SIMPLE_HEAD)
    for name in ("n film", "atoms", "gamma(n), J/m2"):
        table.add_column(name, justify="right")
    for member in doc.members:
        table.add_row(f"{member.n_film:g}", str(member.atoms), f"{member.gamma_j_per_m2:.4f}")
    _console().print(table)
    expected = doc.strain_check.expected_ev_per_unit if doc.strain_check else None
    facts = [
        ("contact", doc.contact),
        ("strain of the film, %", None if doc.strain_percent is None else f"{doc.strain_percent:.2f}"),
        ("gamma, intercept, J/m2 [95 %]", _interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2)),
        ("sum of both contacts, J/m2", _interval(doc.gamma_sum_j_per_m2, doc.gamma_sum_ci_j_per_m2)),
        ("sigma, slope, mJ/m2 per unit", _milli(doc.sigma_j_per_m2_per_unit, doc.sigma_ci_j_per_m2_per_unit)),
        ("strain energy, slope, meV/unit", _milli(doc.strain_energy_ev_per_unit, doc.strain_energy_ci_ev_per_unit)),
        ("strain energy, strained bulk, meV/unit", _milli(expected, None)),
        (f"gamma({doc.film}) - gamma, J/m2", _interval(doc.film_minus_interface_j_per_m2, None)),
        (f"gamma({doc.substrate}) - gamma, J/m2", _interval(doc.substrate_minus_interface_j_per_m2, None)),
        ("work of adhesion, J/m2", _interval(doc.work_of_adhesion_j_per_m2, None)),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, "–"):
            click.echo(f"{name:<42}{value}")
    if document.surfaces:
        _surface_table(document.surfaces)
    for line in [*doc.notes, *doc.warnings]:
        click.echo(f"note: {line}")
    _footing(document)
