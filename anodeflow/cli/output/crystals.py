"""The crystal-properties study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.console import console
from anodeflow.cli.output.tables import new_table, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.crystal_properties import CrystalStudyDoc


def print_crystal_study(document: CrystalStudyDoc) -> None:
    """Print cells and formation energies beside published PBE values, then voltages."""
    from anodeflow.analysis.crystal_properties import known_formation_energy, known_lattice

    print_heading(document)
    table = new_table(
        ("crystal", "a b c, Å", "PBE known, Å", "off by, %", "E_f, eV/atom", "known", "space group", "notes")
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
            doc.error or "; ".join(doc.warnings),
        )
    console().print(table)
    for step in document.voltages:
        x, y = step.li_per_host_atom
        click.echo(f"{step.poor} -> {step.rich} (x = {x:.2f} to {y:.2f}): {step.voltage_v:.3f} V vs Li, 0 K")
    print_footing(document)
