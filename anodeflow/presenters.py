"""How the last document of each kind of study is found, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.analysis.documents import StudyDoc


def stored_study(job_store: Any, study_hash: str) -> StudyDoc | None:
    """The last document of the study with this hash, or None."""
    found = job_store.query_one({"metadata.study_hash": study_hash, "metadata.label": "summary"}, properties=["output"])
    if found is None:
        return None
    from anodeflow.analysis.binding import BindingStudyDoc
    from anodeflow.analysis.study_documents import InterfaceStudyDoc, SurfaceStudyDoc

    kinds: dict[str, type[StudyDoc]] = {k.__name__: k for k in (BindingStudyDoc, SurfaceStudyDoc, InterfaceStudyDoc)}
    return kinds[found["output"]["doc_type"]].model_validate(found["output"])


def print_study(document: Any, as_json: bool) -> None:
    """Print a study's last document as tables or JSON."""
    from anodeflow import tables

    if as_json:
        tables.print_json(document.model_dump(mode="json"))
        return
    printers: dict[str, Callable[[Any], None]] = {
        "BindingStudyDoc": tables.print_binding,
        "SurfaceStudyDoc": tables.print_surfaces,
        "InterfaceStudyDoc": tables.print_interface,
    }
    printers[document.doc_type](document)


def write_figure(document: Any, file: Path) -> None:
    """Draw a study's figure to a file; the file appears whole or not at all."""
    from anodeflow.analysis.figures import binding_figure, save_figure
    from anodeflow.analysis.surface_figures import interface_energy_figure, surface_energy_figure

    if document.doc_type == "BindingStudyDoc":
        figure = binding_figure(document)
    elif document.doc_type == "SurfaceStudyDoc":
        drawable = [surface for surface in document.surfaces if surface.converged]
        if not drawable:
            raise InputError("no surface of this study has an energy to draw", "see its warnings")
        figure = surface_energy_figure(drawable)
    elif not document.interface.converged:
        raise InputError(f"the interface has no energy to draw: {document.interface.error}")
    else:
        figure = interface_energy_figure(document.interface)
    save_figure(figure, file)


def write_figures(document: Any, files: tuple[Path, ...]) -> None:
    """Draw a study's figure to several files and say so."""
    for file in files:
        write_figure(document, file)
        click.echo(f"figure: {file}", err=True)
