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
    for remark in document.remarks:
        say(f"out of reach: {remark}")
    for problem in document.problems:
        say(f"problem: {problem}")
    say(document.verdict)
