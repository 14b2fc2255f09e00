"""The migration study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.master_equation import HopDiffusionDoc
    from anodeflow.analysis.migration_documents import LandscapeDoc, MigrationStudyDoc

_NUMBERS = ("d (Å)", "from each", "forward (eV)", "backward (eV)", "± (eV)", "path (Å)", "images")


def print_migration(document: MigrationStudyDoc) -> None:
    """Print barriers, one row a hop."""
    print_heading(document)
    table = new_table(("path", "hop", *_NUMBERS, "notes"), _NUMBERS, spare=("images", "path (Å)", "from each"))
    for doc in document.barriers:
        table.add_row(
            f"{doc.crystal}, {doc.mechanism}",
            doc.hop or "–",
            number(doc.distance_angstrom, 2),
            f"{doc.multiplicity}" if doc.multiplicity else "–",
            number(doc.forward_ev),
            "same" if doc.converged and doc.symmetric else number(doc.backward_ev),
            number(doc.uncertainty_ev),
            number(doc.path_length_angstrom, 2),
            str(doc.images or "–"),
            doc.error or doc.warnings,
        )
    table.print()
    for mode in dict.fromkeys(doc.charge_mode for doc in document.barriers):
        say(mode[:1].upper() + mode[1:] + ".")
    say("±: numerical, of fit and residual forces; it says nothing of the method.")
    for landscape in document.landscapes or []:
        _print_landscape(landscape)
    for diffusion in document.diffusion or []:
        _print_diffusion(diffusion)
    print_footing(document)


def _print_landscape(doc: LandscapeDoc) -> None:
    """Print the hops across one contact, and which of them a paper most likely shows."""
    say(f"{doc.text}.")


def _print_diffusion(doc: HopDiffusionDoc) -> None:
    """Print D by the hops of one path."""
    place = f"{doc.crystal}, {doc.mechanism}: "
    if doc.error:
        say(f"{place}{doc.error}")
        return
    values = ", ".join(f"{d:.1e} at {t:g} K" for t, d in zip(doc.temperatures_k, doc.d_cm2_per_s, strict=True))
    say(
        f"{place}D of {doc.carrier} by {', '.join(doc.hops)} alone: {values} cm2/s; E = {doc.activation_ev:.3f} eV at "
        f"{doc.temperatures_k[0]:g} K, correlation factor {doc.correlation_factor[0]:.2f}; "
        f"{doc.attempts_per_ps:g} attempts per ps assumed"
    )
