"""What is said of a study before it runs: which cells are kept or relaxed, and each note once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from anodeflow.structures.packings import held_by_dispersion
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.studies.graph import CalculationStep, Entry, Step, crystal_label


def cell_notes(steps: Sequence[Step], card_of: Callable[[Step], MethodCard]) -> list[str]:
    """Return a note for each crystal that dispersion holds together: its cell is kept, or relaxed with dispersion.

    Parameters
    ----------
    steps
        The planned calculations.
    card_of
        The card of one.
    """
    notes = {}
    for step in steps:
        name = step.crystal
        if name is None or step.label != crystal_label(name) or not held_by_dispersion(name):
            continue
        correction = d3_of(card_of(step))
        if step.task == "relax":
            notes[name] = f"{name}: cell kept as given (dispersion-bound crystal)"
        elif correction is not None:
            notes[name] = f"{name}: cell relaxed with dispersion, {correction.name} (dispersion-bound crystal)"
    return list(notes.values())


def kept_cells(entries: Iterable[Entry]) -> list[str]:
    """Return which crystals that dispersion holds together keep their cell in a study, in one line; none without."""
    relaxations = (entry for entry in entries if isinstance(entry, CalculationStep) and entry.task == "relax")
    kept = [step.crystal for step in relaxations if step.crystal and step.label == crystal_label(step.crystal)]
    named = ", ".join(dict.fromkeys(filter(held_by_dispersion, kept)))
    return [f"cells kept as given, of crystals that dispersion holds together: {named}"] if named else []


def dispersion_notes(card: MethodCard) -> list[str]:
    """Return which correction for dispersion a card adds to every energy; none for a card without."""
    d3 = d3_of(card)
    return (
        []
        if d3 is None
        else [f"dispersion: {d3.name}, two-body terms, in every energy, force and stress ({d3.source})"]
    )


def each_once(notes: Iterable[str]) -> list[str]:
    """Return notes ``label: text`` with each text once, and how many more labels it is of."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        label, _, text = note.partition(": ")
        alike.setdefault(text, []).append(label)
    return [f"{and_more(labels)}: {text}" for text, labels in alike.items()]


def and_more(labels: Sequence[str]) -> str:
    """Return the first of some labels, and how many more there are."""
    return labels[0] + (f" and {len(labels) - 1} more" if len(labels) > 1 else "")
