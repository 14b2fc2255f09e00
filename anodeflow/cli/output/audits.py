"""An audit of a potential on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number

if TYPE_CHECKING:
    from anodeflow.analysis.audits import AuditDoc


def print_audit(document: AuditDoc) -> None:
    """Print one row a crystal, the holes, and the verdict."""
    engine = document.engine
    say(f"Audit of {engine.name} ({engine.kind}, {engine.version}), model {engine.hash}")
    columns = ["atoms", "volume (%)", "displaced (eV/atom)", "closest", "T (K)", "drift (meV/atom/ps)", "ps"]
    table = new_table(["crystal", *columns, "notes"], columns, spare=["atoms", "ps", "T (K)"])
    for phase in document.phases:
        drift = phase.drift_ev_per_atom_ps
        table.add_row(
            phase.crystal,
            str(phase.atoms),
            number(phase.volume_change_percent, 1),
            number(phase.lowest_displaced_ev_per_atom),
            number(phase.closest, 2),
            number(phase.temperature_k, 0),
            number(None if drift is None else 1000 * drift, 2),
            number(phase.dynamics_ps, 2),
            [*phase.problems, *([phase.unfinished] if phase.unfinished else [])],
        )
    table.print()
    say(f"{len(document.scans)} pairs were pushed together to 1 Å. Volume: from that of the catalogue.")
    say("Displaced: the lowest of displaced and compressed cells, above the crystal.")
    say("Closest: over the sum of covalent radii.")
    if document.numbers:
        columns = ["value", "known, PBE"]
        table = new_table(["quantity", "of", *columns, "unit", "notes"], columns)
        for entry in document.numbers:
            table.add_row(
                entry.quantity, entry.of, number(entry.value), number(entry.known), entry.unit, entry.error or ""
            )
        table.print()
        _tell_functional(document)
    for remark in document.remarks:
        say(f"out of reach: {remark}")
    for problem in document.problems:
        say(f"problem: {problem}")
    say(document.verdict)


def print_both(document: AuditDoc, beside: AuditDoc) -> None:
    """Print two audits as one table, a row for each number that both have."""
    names = [f"{doc.engine.name.rpartition('/')[2]} ({doc.engine.hash[:8]})" for doc in (document, beside)]
    columns = [*names, "known, PBE"]
    table = new_table(["number", "of", *columns], columns)
    rows = [_numbers_of(doc) for doc in (document, beside)]
    for key in (key for key in rows[0] if key in rows[1]):
        (first, digits, known), (second, *_) = rows[0][key], rows[1][key]
        table.add_row(*key, number(first, digits), number(second, digits), number(known, digits))
    table.print()
    for name, doc in zip(names, (document, beside), strict=True):
        _tell_functional(doc)
        say(f"{name}: {doc.verdict}")


def _tell_functional(document: AuditDoc) -> None:
    """Say so where a model's energies are not known to be of the functional of the known values."""
    functional = document.engine.energies_of
    if functional is None:
        say(f"{document.engine.name} does not say of which functional its energies are; the known values are of PBE.")
    elif functional != "PBE":
        say(f"Energies of {document.engine.name} are of {functional}, known values of PBE: functionals differ, too.")


def _numbers_of(document: AuditDoc) -> dict[tuple[str, str], tuple[float | None, int, float | None]]:
    """Return value, decimals and known value of every number, by what it is and of which crystal."""
    holes = sum(scan.hole_angstrom is not None for scan in document.scans)
    reachable = sum(scan.reachable for scan in document.scans)
    rows: dict[tuple[str, str], tuple[float | None, int, float | None]] = {
        ("holes down to 1 Å", "all pairs"): (float(holes), 0, 0.0),
        ("of these within reach", "all pairs"): (float(reachable), 0, 0.0),
    }
    for phase in document.phases:
        drift = phase.drift_ev_per_atom_ps
        rows["volume (%)", phase.crystal] = (phase.volume_change_percent, 1, 0.0)
        rows["displaced (eV/atom)", phase.crystal] = (phase.lowest_displaced_ev_per_atom, 3, None)
        rows["closest", phase.crystal] = (phase.closest, 2, None)
        rows["drift (meV/atom/ps)", phase.crystal] = (None if drift is None else 1000 * drift, 2, 0.0)
    for entry in document.numbers or []:
        rows[f"{entry.quantity} ({entry.unit})", entry.of] = (entry.value, 3, entry.known)
    return rows
