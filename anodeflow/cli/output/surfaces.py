"""The surface-energy study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import interval, new_table, number, print_footing, print_heading

if TYPE_CHECKING:
    from anodeflow.analysis.study_documents import SurfaceStudyDoc
    from anodeflow.analysis.surface_energy import SurfaceEnergyDoc
    from anodeflow.analysis.work_functions import WorkFunctionDoc


def print_surfaces(document: SurfaceStudyDoc) -> None:
    """Print surface energies, one row a face."""
    print_heading(document)
    print_surface_table(document.surfaces)
    print_footing(document)


def print_surface_table(surfaces: list[SurfaceEnergyDoc]) -> None:
    """Print the table alone."""
    from anodeflow.structures.slabs import face_text

    table = new_table(
        (
            "surface",
            "termination",
            "method",
            "layers",
            "gamma (J/m²) [95 %]",
            "thickest slabs",
            "cleaved (J/m²)",
            "notes",
        ),
        spare=("method", "layers", "cleaved (J/m²)"),
    )
    for doc in surfaces:
        table.add_row(
            doc.crystal + face_text(doc.miller),
            doc.termination,
            doc.method,
            " ".join(str(member.layers) for member in doc.members),
            interval(doc.gamma_j_per_m2, doc.gamma_ci_j_per_m2),
            _thickest(doc),
            interval(doc.gamma_unrelaxed_j_per_m2, None),
            doc.error or doc.warnings,
        )
    table.print()
    for doc in surfaces:
        if doc.work_function is not None:
            _print_work_functions(doc.work_function)


def _print_work_functions(doc: WorkFunctionDoc) -> None:
    """Print the work function of every slab of a face."""
    say(f"{doc.text} ({doc.level})")
    table = new_table(("slab", "layers", "vacuum (Å)", "W (eV)", "W below (eV)", "flat within (eV)", "notes"))
    for row in doc.rows:
        values = [number(value) for value in (row.work_function_ev, row.bottom_ev, row.spread_ev)]
        table.add_row(row.label, str(row.layers), f"{row.vacuum_angstrom:.1f}", *values, row.error or "")
    table.print()


def _thickest(doc: SurfaceEnergyDoc) -> str:
    """Return the mean and half the spread of the thickest single slabs, where their crystal has the slabs' mesh."""
    thickness = doc.thickness
    if thickness is None or thickness.judged_by != "single slabs":
        return "–"
    return f"{thickness.gamma_j_per_m2:.3f} ± {thickness.spread_j_per_m2 / 2:.3f}"
