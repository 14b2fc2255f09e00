"""The surface-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anodeflow.cli.output.console import console
from anodeflow.cli.output.tables import interval, new_table, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.study_documents import SurfaceStudyDoc
    from anodeflow.analysis.surface_energy import SurfaceEnergyDoc


def print_surfaces(document: SurfaceStudyDoc) -> None:
    """Print surface energies, one row a face."""
    print_heading(document)
    print_surface_table(document.surfaces)
    for line in _wulff_lines(document):
        click.echo(line)
    print_footing(document)


def _wulff_lines(document: SurfaceStudyDoc) -> list[str]:
    """Return a line a crystal: its Wulff shape, or why it has none."""
    lines = []
    for shape in document.wulff:
        if shape.error is not None:
            lines.append(f"Wulff shape of {shape.crystal}: not drawn, {shape.error}")
            continue
        shares = ", ".join(f"({''.join(map(str, f.miller))}) {100 * f.area_fraction:.1f} %" for f in shape.faces)
        lines.append(
            f"Wulff shape of {shape.crystal}: {shares}; weighted surface energy "
            f"{shape.weighted_surface_energy_j_per_m2:.3f} J/m2, shape factor {shape.shape_factor:.2f}"
        )
    several = {shape.crystal for shape in document.wulff}
    alone = dict.fromkeys(doc.crystal for doc in document.surfaces if doc.crystal not in several)
    return [*lines, *(f"Wulff shape of {crystal}: not drawn, the study has one face of it" for crystal in alone)]


def print_surface_table(surfaces: list[SurfaceEnergyDoc]) -> None:
    """Print the table alone."""
    table = new_table(
        ("surface", "termination", "method", "layers", "gamma, J/m2 [95 %]", "thickest slabs", "cleaved, J/m2", "notes")
    )
    for doc in surfaces:
        table.add_row(
            f"{doc.crystal}({''.join(map(str, doc.miller))})",
            doc.termination,
            doc.method,
            " ".join(str(member.layers) for member in doc.members),
            interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2),
            _thickest(doc),
            interval(doc.gamma_unrelaxed_j_per_m2, None),
            doc.error or "; ".join(doc.warnings),
        )
    console().print(table)


def _thickest(doc: SurfaceEnergyDoc) -> str:
    """Return the mean and half the spread of the thickest single slabs, where their crystal has the slabs' mesh."""
    thickness = doc.thickness
    if thickness is None or thickness.judged_by != "single slabs":
        return "-"
    return f"{thickness.gamma_j_per_m2:.3f} ± {thickness.spread_j_per_m2 / 2:.3f}"
