"""The interface-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.surfaces import print_surface_table
from anodeflow.cli.output.tables import interval, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.interface_documents import InterfaceEnergyDoc
    from anodeflow.analysis.interface_registries import ContactDoc, InterfaceRegistriesDoc
    from anodeflow.analysis.study_documents import InterfaceStudyDoc


def print_interface(document: InterfaceStudyDoc) -> None:
    """Print the registries, the interface energy with its fit, and what it is compared with."""
    print_heading(document)
    doc = document.interface
    if doc.error:
        say(f"no interface energy: {doc.error}")
    if document.strained_side is not None:
        say(document.strained_side.text)
    if doc.registries is not None:
        _print_registries(doc.registries)
    columns = ("n film", "n substrate", "atoms", "gamma(n) (J/m²)")
    table = new_table(columns, columns)
    for member in doc.members:
        table.add_row(
            f"{member.n_film:g}", f"{member.n_substrate:g}", str(member.atoms), f"{member.gamma_j_per_m2:.4f}"
        )
    table.print()
    for name, value in _facts(doc):
        if value not in (None, "–"):
            say(f"{name:<42}{value}", indent=42)
    _print_uncertainty(doc)
    if document.surfaces:
        print_surface_table(document.surfaces)
    for line in [*doc.notes, *doc.warnings]:
        say(f"note: {line}")
    print_footing(document)


def _print_registries(doc: InterfaceRegistriesDoc) -> None:
    """Print what the study's engine made of each registry, and what the potential of the search said."""
    potential = doc.search_engine.name if doc.search_engine else "the search"
    columns = ("registry", "above lowest (J/m²)", f"by {potential}", "gap (Å)", "shortest (Å)", "remarks")
    table = new_table(columns, columns[1:5])
    for entry in doc.entries:
        first = entry.contacts[0] if entry.contacts else None
        table.add_row(
            entry.label,
            number(entry.above_lowest_j_per_m2, 3),
            number(entry.search_above_lowest_j_per_m2, 3),
            number(first.gap_angstrom if first else None, 2),
            f"{first.shortest_angstrom:.2f} {first.elements}" if first else "–",
            [*entry.problems, *([entry.error] if entry.error else [])],
        )
    table.print()
    say(
        f"registries: {len(doc.entries)} computed with {doc.film_layers} + {doc.substrate_layers} planes, of "
        f"{len(doc.scored)} scored; spread {number(doc.spread_j_per_m2, 3)} J/m2"
    )


def _print_uncertainty(doc: InterfaceEnergyDoc) -> None:
    """Print every part of the uncertainty by itself."""
    for part in doc.uncertainty:
        value = "not known" if part.half_width_j_per_m2 is None else f"± {part.half_width_j_per_m2:.3f}"
        say(f"{f'uncertainty, {part.name}, J/m2':<42}{value}  ({part.text})", indent=42)
    if doc.uncertainty_j_per_m2 is not None:
        say(f"{'uncertainty, known parts together, J/m2':<42}± {doc.uncertainty_j_per_m2:.3f}")


def _contact_text(contacts: list[ContactDoc]) -> str | None:
    """Return registry, gap and shortest distance of contacts in one line; None without any.

    Where both contacts are alike they are named once.
    """
    texts = [
        f"{c.registry}, gap {c.gap_angstrom:.2f} A, shortest {c.elements} {c.shortest_angstrom:.2f} A" for c in contacts
    ]
    return " | ".join(dict.fromkeys(texts)) or None


def _facts(doc: InterfaceEnergyDoc) -> list[tuple[str, str | None]]:
    expected = doc.strain_check.expected_ev_per_unit if doc.strain_check else None
    way = "intercept" if doc.fit is not None else "strain taken off"
    strained = "" if doc.gamma_film_strained_j_per_m2 is None else ", film strained"
    return [
        ("contact", doc.contact),
        ("registry of the thickest cell", _contact_text(doc.contacts)),
        ("strain of the film, %", number(doc.strain_percent, 2)),
        (f"gamma, {way}, J/m2 [95 %]", interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2)),
        ("sum of both contacts, J/m2", interval(doc.gamma_sum_j_per_m2, doc.gamma_sum_ci_j_per_m2)),
        ("sigma, slope, mJ/m2 per unit", interval(doc.sigma_j_per_m2_per_unit, doc.sigma_ci_j_per_m2_per_unit, 1e3)),
        ("strain energy, slope, meV/unit",
         interval(doc.strain_energy_ev_per_unit, doc.strain_energy_ci_ev_per_unit, 1e3)),
        ("strain energy, strained bulk, meV/unit", interval(expected, None, 1e3)),
        ("substrate, slope, meV/unit", interval(doc.substrate_excess_ev_per_unit, None, 1e3)),
        ("aligned crystal, film, meV/unit", interval(doc.film_alignment_ev_per_unit, None, 1e3)),
        ("aligned crystal, substrate, meV/unit", interval(doc.substrate_alignment_ev_per_unit, None, 1e3)),
        (f"gamma({doc.film}) - gamma, J/m2", interval(doc.film_minus_interface_j_per_m2, None)),
        (f"gamma({doc.substrate}) - gamma, J/m2", interval(doc.substrate_minus_interface_j_per_m2, None)),
        (f"work of adhesion{strained}, J/m2", interval(doc.work_of_adhesion_j_per_m2, None)),
        ("work of adhesion, film unstrained, J/m2", interval(doc.work_of_adhesion_unstrained_j_per_m2, None)),
    ]  # fmt: skip
