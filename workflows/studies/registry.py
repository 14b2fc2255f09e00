"""The kinds of study, one line each: everything that reads, runs, prints, draws or queries a study asks this list.

Classes and functions are named as ``module:name`` and imported when they are wanted (:func:`load`), so that this module
costs nothing to import. How a kind is added: ``docs/adding-a-study.md``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from anodeflow.errors import InputError

#: How ``results --converged`` is answered: by the document's ``error``, by its ``converged``, by a column of each row,
#: or not at all.
Convergence = Literal["error", "converged", "row"]


@dataclass(frozen=True)
class Table:
    """One table of ``anodeflow results --what NAME``.

    Parameters
    ----------
    name
        As the command line has it.
    doc_type
        Name of the class of the documents it shows; None for the last documents of studies of every kind.
    rows
        The rows of one document, given as it is stored (its ``output``). Flat but for lists of notes.
    columns
        What a terminal shows; ``--json`` and ``--csv`` have everything.
    sometimes
        Columns of these that a terminal shows only where a row has a value.
    by_crystal, by_environment
        The document has a ``crystal`` or an ``environment`` to be filtered by.
    crystal_columns, environment_column, state_columns
        Columns to filter rows by, where a document holds several crystals, or does not say the state of Li.
    convergence
        How ``--converged`` is answered; None refuses it.
    converged_column
        With ``convergence="row"``: the column that is True or ``converged``.
    fields
        What is read of each document where the whole would be much; None: all of it.
    keys
        Columns that say what a row is of, whichever engine computed it; for ``anodeflow compare``.
    compared
        Columns of numbers that several engines may be asked for alike, each with the column of what it claims to be
        sure of, a half-width or an interval, or None.
    """

    name: str
    doc_type: str | None
    rows: Callable[[dict[str, Any]], list[dict[str, Any]]]
    columns: tuple[str, ...]
    sometimes: tuple[str, ...] = ()
    by_crystal: bool = False
    by_environment: bool = False
    crystal_columns: tuple[str, ...] = ()
    environment_column: str | None = None
    state_columns: tuple[str, ...] = ()
    convergence: Convergence | None = "error"
    converged_column: str = "converged"
    fields: tuple[str, ...] | None = None
    keys: tuple[str, ...] = ()
    compared: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyKind:
    """One kind of study; every place is a ``module:name``.

    Parameters
    ----------
    name
        What a study file says in ``study: ...``.
    study
        Its :class:`~anodeflow.workflows.studies.base.Study`.
    document
        Class of its last document.
    printer
        Prints the last document.
    figure
        Returns a matplotlib figure of the last document, or raises InputError if there is nothing to draw.
    results
        A tuple of :class:`Table`. Its module is imported whenever the command line starts: keep it light.
    comparisons
        Rows of published beside computed values of the last document, for ``anodeflow reproduce``.
    answer
        Returns the answer of the last document in a few sentences, for ``anodeflow report``.
    comparison_figure
        Returns a figure of several engines' answers, for ``anodeflow compare``; None: one of marks for every kind.
    """

    name: str
    study: str
    document: str
    printer: str
    figure: str
    results: str | None = None
    comparisons: str | None = None
    answer: str | None = None
    comparison_figure: str | None = None

    @property
    def doc_type(self) -> str:
        """Name of the class of its last document."""
        return self.document.partition(":")[2]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables of ``anodeflow results``."""
        return () if self.results is None else tuple(load(self.results))


_HERE = "anodeflow.workflows.studies"
_ANALYSIS = "anodeflow.analysis"
_PRINT = "anodeflow.cli.output"
_ANSWER = "anodeflow.report.answers"

STUDIES: tuple[StudyKind, ...] = (
    StudyKind(
        "binding-energy", f"{_HERE}.binding.study:BindingStudy", f"{_ANALYSIS}.binding:BindingStudyDoc",
        f"{_PRINT}.binding:print_binding", f"{_ANALYSIS}.figures.binding:binding_figure",
        f"{_HERE}.binding.tables:TABLES", f"{_HERE}.binding.published:compared",
        f"{_ANSWER}:binding_answer", f"{_ANALYSIS}.figures.binding_comparison:binding_comparison_figure",
    ),
    StudyKind(
        "crystal-properties", f"{_HERE}.crystals.study:CrystalStudy", f"{_ANALYSIS}.crystal_properties:CrystalStudyDoc",
        f"{_PRINT}.crystals:print_crystal_study", f"{_ANALYSIS}.figures.crystals:crystal_figure",
        f"{_HERE}.crystals.tables:TABLES", f"{_HERE}.crystals.published:compared",
        f"{_ANSWER}:crystal_answer",
    ),
    StudyKind(
        "surface-energy", f"{_HERE}.surface.study:SurfaceStudy", f"{_ANALYSIS}.study_documents:SurfaceStudyDoc",
        f"{_PRINT}.surfaces:print_surfaces", f"{_ANALYSIS}.figures.surfaces:surface_study_figure",
        f"{_HERE}.surface.tables:TABLES", f"{_HERE}.surface.published:compared",
        f"{_ANSWER}:surface_answer",
    ),
    StudyKind(
        "interface-energy", f"{_HERE}.interface.study:InterfaceStudy", f"{_ANALYSIS}.study_documents:InterfaceStudyDoc",
        f"{_PRINT}.interface:print_interface", f"{_ANALYSIS}.figures.interface:interface_study_figure",
        f"{_HERE}.interface.tables:TABLES", f"{_HERE}.interface.published:compared",
        f"{_ANSWER}:interface_answer",
    ),
    StudyKind(
        "interface-screening", f"{_HERE}.screening.study:ScreeningStudy",
        f"{_ANALYSIS}.interface_screening:ScreeningStudyDoc", f"{_PRINT}.screening:print_screening",
        f"{_ANALYSIS}.figures.screening:screening_figure", f"{_HERE}.screening.tables:TABLES",
        answer=f"{_ANSWER}:screening_answer",
    ),
    StudyKind(
        "molecular-dynamics", f"{_HERE}.dynamics.study:DynamicsStudy", f"{_ANALYSIS}.dynamics_study:DynamicsStudyDoc",
        f"{_PRINT}.dynamics:print_dynamics", f"{_ANALYSIS}.figures.dynamics:dynamics_study_figure",
        f"{_HERE}.dynamics.tables:TABLES", answer=f"{_ANSWER}:dynamics_answer",
    ),
    StudyKind(
        "migration", f"{_HERE}.migration.study:MigrationStudy", f"{_ANALYSIS}.migration_documents:MigrationStudyDoc",
        f"{_PRINT}.migration:print_migration", f"{_ANALYSIS}.figures.migration:migration_figure",
        f"{_HERE}.migration.tables:TABLES", answer=f"{_ANSWER}:migration_answer",
    ),
    StudyKind(
        "stability", f"{_HERE}.stability.study:StabilityStudy", f"{_ANALYSIS}.stability.documents:StabilityStudyDoc",
        f"{_PRINT}.stability:print_stability", f"{_ANALYSIS}.figures.stability:stability_figure",
        f"{_HERE}.stability.tables:TABLES", f"{_HERE}.stability.published:compared",
    ),
    StudyKind(
        "voltage", f"{_HERE}.voltage.study:VoltageStudy", f"{_ANALYSIS}.voltage_profile:VoltageStudyDoc",
        f"{_PRINT}.voltage:print_voltage", f"{_ANALYSIS}.figures.voltage:voltage_figure",
        f"{_HERE}.voltage.tables:TABLES", f"{_HERE}.voltage.published:compared",
    ),
)  # fmt: skip


def load(where: str) -> Any:
    """Import what a ``module:name`` names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def study_kind(name: str) -> StudyKind:
    """Return the kind of study of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    for kind in STUDIES:
        if kind.name == name:
            return kind
    raise InputError(f"unknown study '{name}'", f"known kinds: {', '.join(kind.name for kind in STUDIES)}")


def kind_of_document(doc_type: str) -> StudyKind:
    """Return the kind of study whose last document is of the class of this name.

    Raises
    ------
    InputError
        If no study ends in such a document.
    """
    for kind in STUDIES:
        if kind.doc_type == doc_type:
            return kind
    raise InputError(f"no study ends in a '{doc_type}'", f"known: {', '.join(kind.doc_type for kind in STUDIES)}")


def comparison_figure_of(name: str) -> Callable[[Any], Any]:
    """Return what draws the answers of several engines to a study of this kind."""
    figure: Callable[[Any], Any] = load(
        study_kind(name).comparison_figure or f"{_ANALYSIS}.figures.comparison:comparison_figure"
    )
    return figure


def tables() -> dict[str, Table]:
    """Return every table of ``anodeflow results`` by name: those of the kinds, then those of all kinds together."""
    shared = load(f"{_HERE}.tables:TABLES")
    return {table.name: table for table in (*(t for kind in STUDIES for t in kind.tables), *shared)}
