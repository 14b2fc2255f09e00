"""The voltage study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.voltage_profile import VoltageStudyDoc, WarmProfile


def print_voltage(document: VoltageStudyDoc) -> None:
    """Print plateaus, then capacity and volume of the host with each amount of lithium, then the phases."""
    print_heading(document)
    say(f"\n{document.host} taking up lithium: plateaus against Li metal, 0 K")
    table = new_table(("from", "to", "Li per host", "voltage (V)", "capacity (mAh/g host)"))
    for plateau in document.plateaus:
        table.add_row(
            plateau.poor,
            plateau.rich,
            f"{plateau.lithium_from:.3g} – {plateau.lithium_to:.3g}",
            number(plateau.voltage_v),
            number(plateau.capacity_mah_per_g, 0),
        )
    table.print()
    if document.warm is not None:
        _print_warm(document.warm)
    say("Capacity from the host on, and volume")
    table = new_table(
        (
            "phases",
            "Li per host",
            "mean (V)",
            "mAh/g host",
            "mAh/g with Li",
            "mAh/cm³ host",
            "mAh/cm³ with Li",
            "volume (%)",
        ),
        spare=("mAh/g with Li", "mAh/cm³ host"),
    )
    for doc in document.lithiated:
        table.add_row(
            doc.phases,
            f"{doc.lithium:.3g}",
            number(doc.average_voltage_v),
            number(doc.capacity_mah_per_g, 1),
            number(doc.capacity_mah_per_g_lithiated, 1),
            number(doc.capacity_mah_per_cm3_host, 0),
            number(doc.capacity_mah_per_cm3_lithiated, 0),
            f"{doc.volume_change_percent:+.1f}",
        )
    table.print()
    table = new_table(("crystal", "E_f (eV/atom)", "above hull (meV/atom)", "volume (Å³/atom)", "notes"))
    for phase in document.phases:
        above = phase.above_hull_ev_per_atom
        table.add_row(
            phase.crystal,
            number(phase.formation_ev_per_atom, 4),
            number(None if above is None else 1000 * above, 1),
            number(phase.volume_per_atom_angstrom3, 2),
            phase.error or phase.warnings,
        )
    table.print()
    for warning in document.warnings:
        say(f"warning: {warning}")
    print_footing(document)


def _print_warm(profile: WarmProfile) -> None:
    """Print the plateaus with vibrations, and what each phase's free energy rests on."""
    if profile.plateaus:
        say(f"The same with harmonic vibrations at the volumes of 0 K, at {profile.temperature_k:g} K")
        table = new_table(("from", "to", "with zero point (V)", "at temperature (V)"))
        cold = {(plateau.poor, plateau.rich): plateau.voltage_v for plateau in profile.zero_point}
        for plateau in profile.plateaus:
            zero = cold.get((plateau.poor, plateau.rich))
            table.add_row(plateau.poor, plateau.rich, number(zero), number(plateau.voltage_v))
        table.print()
    table = new_table(
        ("crystal", "F (meV/atom)", "zero point (meV/atom)", "lowest (THz)", "highest (THz)", "atoms", "cells", "notes")
    )
    for doc in profile.vibrations:
        free, zero = (
            None if value is None else 1000 * value
            for value in (doc.free_energy_ev_per_atom, doc.zero_point_ev_per_atom)
        )
        table.add_row(
            doc.crystal,
            number(free, 1),
            number(zero, 1),
            number(doc.lowest_thz, 2),
            number(doc.highest_thz, 2),
            "–" if doc.atoms is None else str(doc.atoms),
            str(doc.displaced_cells),
            doc.error or doc.warnings,
        )
    table.print()
