"""The crystal-properties study on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.cell_beside import CellBeside
    from anodeflow.analysis.crystal_properties import CrystalStudyDoc


def print_crystal_study(document: CrystalStudyDoc) -> None:
    """Print cells and formation energies beside reference PBE values, then voltages."""
    from anodeflow.analysis.crystal_properties import known_formation_energy, known_lattice, known_sources

    print_heading(document)
    table = new_table(
        ("crystal", "a b c (Å)", "PBE known (Å)", "off by (%)", "E_f (eV/atom)", "known", "space group", "notes"),
        spare=("space group", "known"),
    )
    for doc in document.crystals:
        cell = dict(zip("abc", doc.cell_angstrom or (), strict=False))
        known = known_lattice(doc.crystal)
        unlike = {round(x, 3): axis for axis, x in reversed(cell.items())}
        shown = sorted(unlike.values())
        off = [100 * (cell[axis] / value - 1) for axis, value in known.items() if axis in cell]
        formation, expected = doc.formation_energy_ev_per_atom, known_formation_energy(doc.crystal)
        table.add_row(
            doc.crystal,
            "  ".join(f"{cell[axis]:.3f}" for axis in shown) or "–",
            "  ".join(f"{value:.3f}" for value in known.values()) or "–",
            "  ".join(f"{value:+.2f}" for value in off) or "–",
            "–" if formation is None else f"{formation:+.4f}",
            "–" if expected is None else f"{expected:+.3f}",
            doc.space_group or "–",
            doc.error or doc.warnings,
        )
    table.print()
    for source in known_sources(doc.crystal for doc in document.crystals):
        say(f"known: {source}")
    if document.card.dispersion is not None and known_sources(doc.crystal for doc in document.crystals):
        say("known values are of PBE without dispersion")
    print_began_with({doc.crystal: doc.began_with for doc in document.crystals})
    for step in document.voltages:
        x, y = step.li_per_host_atom
        say(f"{step.poor} -> {step.rich} (x = {x:.2f} to {y:.2f}): {step.voltage_v:.3f} V vs Li, 0 K")
    if document.elastic:
        _print_moduli(document)
    print_footing(document)


def print_began_with(cells: Mapping[str, CellBeside | None]) -> None:
    """Print cells that were relaxed with dispersion beside those that they began with, by crystal."""
    for crystal, began in cells.items():
        if began is not None:
            say(f"{crystal}: {began.text}")


def _print_moduli(document: CrystalStudyDoc) -> None:
    """Print moduli by Hill's average, and what they rest on."""
    from anodeflow.analysis.reference_values import published_values

    table = new_table(
        ("crystal", "K (GPa)", "G (GPa)", "E (GPa)", "E by direction", "E elsewhere", "nu", "fit leaves", "notes"),
        spare=("fit leaves", "nu", "E elsewhere"),
    )
    for doc in document.elastic:
        known = [row for row in published_values("young_modulus") if row["system"] == doc.crystal]
        moduli = [m.get("Hill") for m in (doc.bulk_gpa, doc.shear_gpa, doc.young_gpa)]
        reach = [doc.young_by_direction_gpa.get(name) for name in ("smallest", "largest")]
        table.add_row(
            doc.crystal,
            *("–" if value is None else f"{value:.1f}" for value in moduli),
            " to ".join("–" if value is None else f"{value:.1f}" for value in reach),
            ", ".join(f"{row['value']:g} ({row['paper']})" for row in known) or "–",
            "–" if doc.poisson_ratio is None else f"{doc.poisson_ratio:.3f}",
            "–" if doc.unexplained is None else f"{100 * doc.unexplained:.1f} %",
            doc.error or doc.warnings,
        )
    table.print()
    strains = next((doc.strains for doc in document.elastic if doc.strains), [])
    say(f"Hill averages at 0 K, ions relaxed, strains {', '.join(f'±{100 * s:g} %' for s in strains) or '–'}")
