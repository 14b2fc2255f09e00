"""A data set and a tuned potential on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number

if TYPE_CHECKING:
    from anodeflow.analysis.tuning import TunedModelDoc
    from anodeflow.workflows.tuning.run import PreparedTuning

_ORDER = ("test", "validation", "training", "replay")


def print_data_set(prepared: PreparedTuning) -> None:
    """Print one row a system, and what was left out."""
    summary = prepared.summary()
    say(f"{summary['base']}: {summary['frames']} frames by {summary['engine']}, card {summary['card']}")
    columns = ["calculations", "frames", "atoms", "with stress", "largest force (eV/Å)"]
    table = new_table(["system", "set", "elements", *columns], columns, spare=["with stress"])
    for row in summary["systems"]:
        table.add_row(
            row["system"], row["set"], row["elements"], str(row["calculations"]), str(row["frames"]), str(row["atoms"]),
            str(row["with_stress"]), number(row["largest_force_ev_per_angstrom"], 2),
        )  # fmt: skip
    table.print()
    for reason, count in summary["left_out"].items():
        say(f"left out: {count} calculations {reason}")
    for line in summary["missing"]:
        say(f"missing: {line}")
    if summary["replay"]:
        say(f"replayed: {', '.join(f'{name} ({count})' for name, count in summary['replay'].items())}")
        if summary["replay_pair_distances"]:
            say(f"replayed: every two elements in vacuum at up to {summary['replay_pair_distances']} distances")
        say(f"weight of a replayed cell: {summary['replay_weight']:g}, of a label 1")


def print_tuned(document: TunedModelDoc, folder: Path) -> None:
    """Print errors before and after, how the training went, and how the model is used."""
    base = document.base
    say(f"{document.title or 'Tuned'}: {base.name} to {document.engine.name}, card {document.card.name}")
    columns = ["frames", "energy (meV/atom)", "force RMSE (eV/Å)", "slope", "stress (GPa)"]
    table = new_table(["set", "model", "forces on", *columns], columns, spare=["stress (GPa)", "frames"])
    for errors in sorted(document.errors, key=lambda e: (_ORDER.index(e.set), e.model != "before")):
        for forces in errors.forces:
            every = forces.scope == "all"
            if not every and errors.set != "test":
                continue
            table.add_row(
                errors.set, errors.model, "all" if every else f"{forces.name} ({forces.scope})",
                str(errors.frames) if every else "",
                number(1000 * errors.energy_rmse_ev_per_atom, 1) if every else "",
                number(forces.rmse_ev_per_angstrom), forces.slope_text,
                number(errors.stress_rmse_gpa, 2) if every else "",
            )  # fmt: skip
    table.print()
    say(f"epoch {document.best_epoch} of {len(document.epochs)}: {document.stopped}; {document.seconds:.0f} s")
    for warning in document.warnings:
        say(f"warning: {warning}")
    model = folder / document.model
    say(f"{model} (sha256 {document.model_sha256[:16]}), card beside it; use it as engine: {document.family}:{model}")
    say(f"before you believe it: anodeflow audit {document.family}:{model}")
