"""How the last document of each kind of study is found, printed and drawn."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc


class Presented(NamedTuple):
    """Where the class of a document is, what prints it and what draws it, each as ``module:name``.

    A drawing function takes the document and returns a matplotlib figure, or raises InputError if there is
    nothing to draw.
    """

    document: str
    printer: str
    figure: str


PRESENTED: dict[str, Presented] = {
    "BindingStudyDoc": Presented(
        "anodeflow.analysis.binding:BindingStudyDoc",
        "anodeflow.cli.output.tables:print_binding",
        "anodeflow.analysis.figures.binding:binding_figure",
    ),
    "SurfaceStudyDoc": Presented(
        "anodeflow.analysis.study_documents:SurfaceStudyDoc",
        "anodeflow.cli.output.tables:print_surfaces",
        "anodeflow.cli.output.presenters:surfaces_figure",
    ),
    "InterfaceStudyDoc": Presented(
        "anodeflow.analysis.study_documents:InterfaceStudyDoc",
        "anodeflow.cli.output.tables:print_interface",
        "anodeflow.cli.output.presenters:interface_figure",
    ),
    "CrystalStudyDoc": Presented(
        "anodeflow.analysis.crystal_properties:CrystalStudyDoc",
        "anodeflow.cli.output.crystals:print_crystal_study",
        "anodeflow.analysis.figures.crystals:crystal_figure",
    ),
    "DynamicsStudyDoc": Presented(
        "anodeflow.analysis.dynamics_study:DynamicsStudyDoc",
        "anodeflow.cli.output.dynamics:print_dynamics",
        "anodeflow.cli.output.dynamics:dynamics_figure",
    ),
    "MigrationStudyDoc": Presented(
        "anodeflow.analysis.migration_documents:MigrationStudyDoc",
        "anodeflow.cli.output.migration:print_migration",
        "anodeflow.analysis.figures.migration:migration_figure",
    ),
}


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def stored_study(job_store: Any, study_hash: str) -> StudyDoc | None:
    """The last document of the study with this hash, or None."""
    found = job_store.query_one({"metadata.study_hash": study_hash, "metadata.label": "summary"}, properties=["output"])
    if found is None:
        return None
    made: StudyDoc = _load(PRESENTED[found["output"]["doc_type"]].document).model_validate(found["output"])
    return made


def print_study(document: Any, as_json: bool) -> None:
    """Print a study's last document as tables or JSON."""
    if as_json:
        from anodeflow.cli.output.tables import print_json

        print_json(document.model_dump(mode="json"))
        return
    _load(PRESENTED[document.doc_type].printer)(document)
    if document.engine.stand_in:
        click.echo(
            f"NOT A RESULT: computed by {document.engine.kind}; these numbers test the workflow and mean nothing"
        )


def surfaces_figure(document: Any) -> Any:
    """The surfaces of a study that have an energy."""
    from anodeflow.analysis.figures.surfaces import surface_energy_figure

    drawable = [surface for surface in document.surfaces if surface.converged]
    if not drawable:
        raise InputError("no surface of this study has an energy to draw", "see its warnings")
    return surface_energy_figure(drawable)


def interface_figure(document: Any) -> Any:
    """The fit of an interface energy."""
    from anodeflow.analysis.figures.surfaces import interface_energy_figure

    if not document.interface.converged:
        raise InputError(f"the interface has no energy to draw: {document.interface.error}")
    return interface_energy_figure(document.interface)


def write_figure(document: Any, file: Path) -> None:
    """Draw a study's figure to a file; the file appears whole or not at all.

    Raises
    ------
    InputError
        If there is nothing to draw, or a stand-in computed it.
    """
    from anodeflow.analysis.figures.binding import save_figure

    if document.engine.stand_in:
        raise InputError(f"no figure of what {document.engine.kind} computed", "run the study with the real program")
    save_figure(_load(PRESENTED[document.doc_type].figure)(document), file)


def write_figures(document: Any, files: tuple[Path, ...]) -> None:
    """Draw a study's figure to several files and say so."""
    for file in files:
        write_figure(document, file)
        click.echo(f"figure: {file}", err=True)
