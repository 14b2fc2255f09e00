"""The stability study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.crystals import print_began_with
from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.stability.documents import StabilityStudyDoc

_ENERGIES = ("raw", "corrected")
#: Mixing energies that are nothing, eV/atom.
_NOTHING_EV = 5e-4


def print_stability(document: StabilityStudyDoc) -> None:
    """Print windows raw beside corrected, decomposition by voltage, then what interfaces could gain by reacting."""
    print_heading(document)
    if document.engine_corrects:
        say(f"{document.engine.name} was trained on corrected energies: raw ones are made by subtraction.")
    _print_windows(document)
    _print_ensembles(document)
    _print_fields(document)
    _print_potentials(document)
    _print_mixing(document)
    _print_phases(document)
    print_began_with({phase.crystal: phase.began_with for phase in document.phases})
    for warning in document.warnings:
        say(f"warning: {warning}")
    print_footing(document)


def _print_windows(document: StabilityStudyDoc) -> None:
    say("\nWindows against Li, V (raw | with anion corrections), of the hull and of the phase as it is")
    table = new_table(
        (
            "electrolyte",
            "above hull (meV/atom)",
            "reduction (V)",
            "oxidation (V)",
            "as it is (V)",
            "reduces to",
            "oxidises to",
        ),
        spare=("as it is (V)",),
    )
    for name in dict.fromkeys(window.electrolyte for window in document.windows):
        pair = [w for e in _ENERGIES for w in document.windows if w.electrolyte == name and w.energies == e]
        raw = pair[0]
        above = [None if w.above_hull_ev_per_atom is None else 1000 * w.above_hull_ev_per_atom for w in pair]
        own = (f"{number(w.own_reduction_limit_v, 2)} – {number(w.own_oxidation_limit_v, 2)}" for w in pair)
        table.add_row(
            name,
            _both(above, 1),
            _both([w.reduction_limit_v for w in pair]),
            _both([w.oxidation_limit_v for w in pair]),
            " | ".join(own),
            raw.error or raw.reduced_to or "–",
            raw.oxidised_to or "–",
        )
    table.print()


def _print_ensembles(document: StabilityStudyDoc) -> None:
    if not document.ensembles:
        return
    say("Ensembles above the hull, meV/atom (raw | with anion corrections)")
    table = new_table(("electrolyte", "configurations", "lowest", "mean", "spread", "T S at most"))
    for name in dict.fromkeys(ensemble.electrolyte for ensemble in document.ensembles):
        pair = [e for kind in _ENERGIES for e in document.ensembles if e.electrolyte == name and e.energies == kind]
        entropy, kelvin = pair[0].entropy_ev_per_atom, pair[0].temperature_k
        table.add_row(
            name,
            str(len(pair[0].configurations)),
            _both([1000 * e.lowest_ev_per_atom for e in pair], 1),
            _both([1000 * e.mean_ev_per_atom for e in pair], 1),
            _both([1000 * e.spread_ev_per_atom for e in pair], 1),
            "–" if entropy is None or kelvin is None else f"{1000 * entropy:.1f} at {kelvin:g} K",
        )
    table.print()
    say("T S: ideal disorder of Li and of S with the halide, to be subtracted; real disorder has less.\n")


def _print_fields(document: StabilityStudyDoc) -> None:
    # of an ensemble the lowest configuration; the others differ by a constant energy
    lowest = {ensemble.configurations[0] for ensemble in document.ensembles}
    others = {name for ensemble in document.ensembles for name in ensemble.configurations} - lowest
    shown = {window.electrolyte for window in document.windows} - others
    for window in (w for w in document.windows if w.energies == "raw" and w.fields and w.electrolyte in shown):
        say(f"{window.electrolyte} against voltage, raw (eV per atom of it, at the low end)")
        table = new_table(("V against Li", "reaction", "energy (eV/atom)"))
        for field in reversed(window.fields):
            high = "" if field.voltage_high_v is None else f"{field.voltage_high_v:.2f}"
            table.add_row(
                f"{field.voltage_low_v:.2f} – {high}", field.reaction.text, f"{field.energy_low_ev_per_atom:+.3f}"
            )
        table.print()


def _print_potentials(document: StabilityStudyDoc) -> None:
    say("At a fixed potential, whatever anode keeps it there (raw | corrected)")
    table = new_table(("electrolyte", "potential (V)", "energy (eV/atom)", "energy (eV/formula)"))
    corrected = {(p.electrolyte, p.potential_v): p for p in document.at_potentials if p.energies == "corrected"}
    for doc in (p for p in document.at_potentials if p.energies == "raw"):
        pair = [doc, corrected[doc.electrolyte, doc.potential_v]]
        table.add_row(
            doc.electrolyte,
            f"{doc.potential_v:g}",
            _both([p.energy_ev_per_atom for p in pair], 3),
            _both([p.energy_ev_per_formula for p in pair]),
        )
    table.print()


def _print_mixing(document: StabilityStudyDoc) -> None:
    """Print the pairs that gain something; the rest in a line."""
    say("Mixing: deepest point, and with the first in excess per formula of the second (raw | corrected)")
    table = new_table(
        ("first", "second", "lithium", "deepest (eV/atom)", "first in excess (eV/formula)", "products of the deepest")
    )
    corrected = {(m.first, m.second, m.potential_v): m for m in document.mixing if m.energies == "corrected"}
    nothing: dict[str, list[str]] = {}
    for curve in (m for m in document.mixing if m.energies == "raw"):
        pair = [curve, corrected[curve.first, curve.second, curve.potential_v]]
        lithium = "kept" if curve.potential_v is None else f"at {curve.potential_v:g} V"
        gains = [m.mutual_ev_per_atom for m in pair if m.mutual_ev_per_atom is not None]
        if curve.error or not gains or min(gains) > -_NOTHING_EV:
            nothing.setdefault(lithium, []).append(f"{curve.first} and {curve.second}")
            continue
        table.add_row(
            curve.first,
            curve.second,
            lithium,
            _both([m.lowest_ev_per_atom for m in pair], 3),
            _both([m.excess_ev_per_formula for m in pair]),
            curve.lowest_products or "",
        )
    table.print()
    for lithium, pairs in nothing.items():
        say(f"lithium {lithium}: mixing adds nothing to what each does by itself: {', '.join(pairs)}")
    say("")


def _print_phases(document: StabilityStudyDoc) -> None:
    say("Phases of the hull (raw | corrected)")
    table = new_table(("crystal", "E_f (eV/atom)", "above hull (meV/atom)", "notes"))
    for doc in document.phases:
        above = [1000 * doc.above_hull_ev_per_atom[e] if e in doc.above_hull_ev_per_atom else None for e in _ENERGIES]
        table.add_row(
            doc.crystal,
            _both([doc.formation_ev_per_atom.get(e) for e in _ENERGIES], 3),
            _both(above, 1),
            doc.error or doc.warnings,
        )
    table.print()


def _both(values: list[float | None], digits: int = 2) -> str:
    texts = [number(value, digits) for value in values]
    return texts[0] if len(set(texts)) == 1 else " | ".join(texts)
