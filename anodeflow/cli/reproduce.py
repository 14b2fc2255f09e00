"""The numbers of a paper beside ours: run its study files, set published and computed values side by side."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from anodeflow.analysis.reference_values import published_values
from anodeflow.cli.output.presenters import print_study, write_figures
from anodeflow.cli.output.tables import print_json, print_rows
from anodeflow.cli.run import run_study
from anodeflow.errors import InputError
from anodeflow.workflows.store import store_shown
from anodeflow.workflows.studies import Study, load_study

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc

COLUMNS = ("paper", "quantity", "published", "ours", "difference", "unit", "convention", "engine", "card")


def papers() -> dict[str, Any]:
    """The papers and their parts."""
    return yaml.safe_load(_folder().joinpath("papers.yaml").read_text("utf-8"))


def _folder() -> Any:
    return files("anodeflow.workflows").joinpath("papers")


def study_of(paper: str, part: str, engine: str | None, card: str | None) -> Study:
    """The study of one part of a paper, with another engine or card if asked for.

    Raises
    ------
    InputError
        If there is no such paper or part.
    """
    known = papers()
    if paper not in known:
        near = difflib.get_close_matches(paper, list(known), n=1, cutoff=0.3)
        raise InputError(
            f"unknown paper '{paper}'", f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        )
    parts = known[paper]["parts"]
    if part not in parts:
        raise InputError(f"{paper} has no part '{part}'", f"its parts: {', '.join(parts)}")
    return load_study(Path(str(_folder().joinpath(parts[part])))).with_changes(engine=engine, card=card)


def reproduce(
    paper: str,
    parts: list[str],
    *,
    engine: str | None,
    card: str | None,
    store: Path,
    output: Path,
    workers: int | None,
    as_json: bool,
) -> bool:
    """Run the parts, print published beside computed, draw the figures; whether every part has a result."""
    studies = {part: study_of(paper, part, engine, card) for part in parts}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder '{output}': {error.strerror}", "choose another with --output") from None
    rows: list[dict[str, Any]] = []
    complete = True
    for part, study in studies.items():
        again = f"anodeflow reproduce {paper} --part {','.join(parts)} --store {store_shown(store)}"
        document, report = run_study(study, store, again, workers, None)
        complete = complete and document.complete and not report.failed
        if not as_json:
            print_study(document, False)
        if document.complete:
            write_figures(document, tuple(output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")))
        rows += comparison(document)
    if as_json:
        print_json(rows)
    else:
        click.echo("\nPublished beside computed")
        print_rows(rows, False, columns=COLUMNS, empty="no published number to compare with")
        for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
            click.echo(f"note: {note}")
    return complete


def comparison(document: StudyDoc) -> list[dict[str, Any]]:
    """Rows of published and computed values for one study."""
    rows_of = COMPARISONS.get(type(document).__name__)
    return [] if rows_of is None or document.engine.stand_in else rows_of(document)


def _row(document: Any, paper: str, quantity: str, published: float, ours: float | None, unit: str, convention: str,
         note: str) -> dict[str, Any]:  # fmt: skip
    return {
        "paper": paper,
        "quantity": quantity,
        "published": published,
        "ours": ours,
        "difference": None if ours is None else ours - published,
        "unit": unit,
        "convention": convention,
        "engine": document.engine.name,
        "card": document.card.name,
        "study_hash": document.study_hash,
        "note": note,
    }


def _adsorption_rows(document: Any) -> list[dict[str, Any]]:
    hosts: dict[str, Any] = {}
    for host in document.hosts:
        if host.environment == "surface" and host.converged:
            hosts |= {host.crystal: host, f"{host.crystal}{host.face}": host}
    note = (
        "E_ad = E_total - E_slab - E_Li; the published value does not say whether its Li atom is spin-polarised: "
        "it fits the atom without spin polarisation"
    )
    return [
        _row(
            document, row["paper"], f"E_ad of Li on {row['system']}", row["value"], value, row["unit"], convention, note
        )
        for row in published_values("li_adsorption_energy")
        if row["system"] in hosts
        for convention, value in hosts[row["system"]].binding_energy_ev.items()
    ]


def _surface_rows(document: Any) -> list[dict[str, Any]]:
    ours = {f"{d.crystal}({''.join(map(str, d.miller))})": d for d in document.surfaces if d.converged}
    return [
        _row(
            document, row["paper"], f"gamma of {row['system']}", row["value"], ours[row["system"]].gamma_j_per_m2,
            row["unit"], ours[row["system"]].method, f"{row['system']}: {row['source']}",
        )
        for row in published_values("surface_energy")
        if row["system"] in ours
    ]  # fmt: skip


def _interface_rows(document: Any) -> list[dict[str, Any]]:
    doc = document.interface
    rows = [
        _row(document, p.paper, p.quantity, p.published_j_per_m2, p.ours_j_per_m2, "J/m2", "intercept of gamma(n)", "")
        for p in doc.published
    ]
    for row, note in zip(rows, doc.notes, strict=False):
        row["note"] = note
    return rows


# By class of a study's last document; one that is not here has no published number beside it.
COMPARISONS: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "BindingStudyDoc": _adsorption_rows,
    "SurfaceStudyDoc": _surface_rows,
    "InterfaceStudyDoc": _interface_rows,
}
