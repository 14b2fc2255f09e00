"""`anodeflow plan`: what a study would compute, what is missing, what it would cost, and its native inputs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow import __version__
from anodeflow.cli.options import card_option, engine_option, json_option, study_argument, trust_option
from anodeflow.errors import AnodeflowError, EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anodeflow.workflows.studies.base import Study
    from anodeflow.workflows.studies.graph import Step


# The ones that matter most first: a narrow terminal does without the last.
_COLUMNS = (
    "calculation", "task", "atoms", "stored", "expected_core_seconds", "formula", "expected_steps", "card", "kpoints",
    "electrons", "plane_waves", "charge",
)  # fmt: skip


@click.command()
@study_argument
@engine_option
@card_option
@click.option(
    "--write",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write every native input of every calculation into this folder; nothing is run.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes to estimate for.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Count what is left: what this store holds already is marked, and its relaxed cells are built on.",
)
@trust_option
@json_option
def plan(
    study: Path,
    engine: str | None,
    card: str | None,
    directory: Path | None,
    workers: int | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Dry run: every calculation of STUDY, its atoms and k-points, what is missing, and what it will cost."""
    from anodeflow.workflows.local.defaults import default_workers
    from anodeflow.workflows.studies import load_study

    loaded = load_study(study).with_changes(engine=engine, card=card).as_dry_run()
    is_stored, notes = (None, []) if store is None else _laid_out_on(loaded, store)
    _print_plan(loaded, workers or default_workers()[0], directory, as_json, is_stored, notes)


def _laid_out_on(study: Study, store: Path) -> tuple[Callable[[Any], bool], list[str]]:
    """Lay a study out on what a store holds; return what says whether that has a calculation, and notes on it.

    Raises
    ------
    AnodeflowError
        If the store cannot be read, or the engine is not here.
    """
    from anodeflow.cli.output.studies import imported_notes
    from anodeflow.workflows.store import open_job_store
    from anodeflow.workflows.studies.in_store import InStore

    opened = open_job_store(store, must_exist=True, read_only=True)
    held = InStore(study, opened)
    study.as_dry_run(held.relaxed)
    return held.holds, imported_notes(opened, study.hash)


def _print_plan(
    study: Study,
    workers: int,
    directory: Path | None,
    as_json: bool,
    is_stored: Callable[[Any], bool] | None,
    notes: Sequence[str],
) -> None:
    """Print every calculation of a study and what it will cost; write the native inputs where asked.

    Parameters
    ----------
    study
        A loaded study, as a dry run.
    workers
        Worker processes the time is estimated for.
    directory
        Where the native inputs go: a folder that does not exist or is empty.
    as_json
        JSON instead of a table.
    is_stored
        Whether a store holds a calculation, which then costs nothing; None: no store is looked at.
    notes
        What is said of that store.

    Raises
    ------
    AnodeflowError
        If the study cannot be run, or the inputs not be written.
    """
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.columns import core_hours, duration

    if directory is not None:
        _check_target(directory, study)
    notes = [*study.preflight(), *notes]
    left = [step for step in study.planned if is_stored is None or not is_stored(step)]
    notes += _notes_on_coarse_start(study, left)
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    rows = [_row(study, calculation, cells) for calculation in study.planned]
    if is_stored is not None:
        _mark_stored(rows, [step.label for step in left])
    summary = _summary(study, rows, notes, workers)
    if directory is not None:
        summary["written"] = str(directory)
        _write_inputs(study, directory, {**summary, "jobs": rows})
    if as_json:
        print_json({**summary, "jobs": rows})
        return
    shown = tuple(key for key in _COLUMNS if any(key in row for row in rows))
    heads = {"expected_steps": "steps, about", "expected_core_seconds": "core time, about"}
    print_rows(rows, False, columns=shown, heads=heads)
    stored, rest = "", ""
    if is_stored is not None:
        stored, rest = f", {len(rows) - len(left)} of them in the store", " for the rest"
    say(
        f"{len(rows)} calculations with {study.engine}, card {study.cards_text}{stored}: about "
        f"{core_hours(summary['expected_core_hours'])} core hours{rest}, "
        f"{duration(60 * summary['expected_minutes'])} with {workers} workers "
        f"({summary['uncertainty']})."
    )
    unless = "" if is_stored is None else ", unless the store holds it"
    say(f"Cells and sites that depend on a relaxation are those of the catalogue geometry{unless}.")
    for note in notes:
        say(note if note.startswith("missing:") else f"note: {note}")
    if directory is not None:
        click.echo(f"native inputs: {directory}")


def _mark_stored(rows: list[dict[str, Any]], left: list[str]) -> None:
    """Mark the rows of what a store holds, whose labels are not among those of what is left: they cost nothing."""
    for row in rows:
        row["stored"] = row["calculation"] not in left
        if row["stored"]:
            row |= {"expected_steps": 0, "expected_core_seconds": 0.0}


def _notes_on_coarse_start(study: Study, steps: list[Step]) -> list[str]:
    """Return which relaxations have no coarse start, and what the estimate of displaced ones counts on.

    Parameters
    ----------
    study, steps
        The study, and which of its calculations are counted.
    """
    from anodeflow.columns import core_hours
    from anodeflow.workflows.studies.notes import and_more

    notes = []
    without = [step.label for step in steps if study.cost_of(step).begins_coarse is False]
    if without:
        notes.append(
            f"{and_more(without)}: no coarse_start; half of the k-points would be too few for a metal, or save little"
        )
    counting = [step for step in steps if study.cost_of(step).counts_on_symmetry]
    if counting:
        more = sum(study.cost_of(s).seconds_without_symmetry(study.steps_of(s)) - study.seconds_of(s) for s in counting)
        total = sum(study.seconds_of(step) for step in steps) + more
        notes.append(
            f"{and_more([step.label for step in counting])}: displaced; the last steps are counted with the k-points "
            "of the symmetric site, if the coarse_start returns to it (within 0.05 Å); if none does, all calculations "
            f"take about {core_hours(total / 3600)} core hours"
        )
    return notes


def _row(study: Study, calculation: Any, cells: dict[tuple[Any, ...], dict[str, Any]]) -> dict[str, Any]:
    """Return what is told of one calculation; `cells` holds what has been found of its cell, which segments share."""
    key = id(calculation.structure), id(study.card_of(calculation)), calculation.charge, calculation.engine
    if key not in cells:
        cells[key] = _cell(study, calculation)
    return {
        "calculation": calculation.label,
        "task": calculation.task,
        **cells[key],
        **({"card": study.card_of(calculation).name} if study.role_cards else {}),
        "expected_steps": study.steps_of(calculation),
        "expected_core_seconds": round(study.seconds_of(calculation), 1),
    }


def _cell(study: Study, calculation: Any) -> dict[str, Any]:
    """Return what is told of the cell of a calculation."""
    card, engine = study.card_of(calculation), study.engine_of(calculation)
    mesh = engine.mesh(calculation.structure, card)
    row = {
        "atoms": len(calculation.structure),
        "formula": calculation.structure.composition.formula.replace(" ", ""),
        "kpoints": "×".join(map(str, mesh)) if mesh else "–",
        "charge": calculation.charge,
    }
    try:
        valence = engine.valence_electrons(calculation.structure.symbol_set, card)
    except EngineError:  # its pseudopotentials are missing, which is said elsewhere
        valence = {}
    if valence and card.cutoff_ev is not None:
        from anodeflow.workflows.engines.plane_waves.cost import plane_waves
        from anodeflow.workflows.engines.plane_waves.electronic import electrons

        row["electrons"] = electrons(calculation.structure, valence, calculation.charge)
        row["plane_waves"] = plane_waves(calculation.structure, card.cutoff_ev)
    return row


def _summary(study: Study, rows: list[dict[str, Any]], notes: list[str], workers: int) -> dict[str, Any]:
    total = sum(row["expected_core_seconds"] for row in rows)
    try:
        identity, engine = study.hash, study.loaded_engine.record_with(study.method, study.elements()).model_dump()
    except EngineError:
        identity, engine = None, {"name": study.engine}
    return {
        "study": study.kind,
        "title": study.title,
        "study_hash": identity,
        "engine": engine,
        "card": {"name": study.method.name, "hash": study.method.hash, "source": study.method.source},
        **(
            {"cards": {role: {"name": c.name, "hash": c.hash} for role, c in study.role_cards.items()}}
            if study.role_cards
            else {}
        ),
        "calculations": len(rows),
        **({"stored": sum(row["stored"] for row in rows)} if any("stored" in row for row in rows) else {}),
        "expected_core_hours": round(total / 3600, 3),
        "expected_minutes": round(total / 60 / workers, 1),
        "workers": workers,
        "uncertainty": study.loaded_engine.cost_uncertainty,
        "notes": notes,
    }


def _check_target(directory: Path, study: Study) -> None:
    """Refuse a folder that holds something, or an engine without input files, before anything is written.

    Raises
    ------
    InputError, EngineError
        With the folder's or the engine's name.
    """
    if not study.loaded_engine.capabilities.inputs:
        raise EngineError(
            f"engine '{study.engine}' has no input files to write", "give --engine vasp, castep, qe or gpaw"
        )
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"folder '{directory}' is not empty", "name a new one; nothing is overwritten")
    parent = directory.resolve().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot write into '{parent}'", "choose another place for --write")


def _write_inputs(study: Study, directory: Path, content: dict[str, Any]) -> None:
    """Write all native inputs, one folder a calculation, and ``plan.json``; the folder appears atomically.

    Raises
    ------
    AnodeflowError
        If one calculation's inputs cannot be made; nothing is left behind.
    """
    from anodeflow.workflows.jobs.folders import name_of_folder

    temporary = Path(tempfile.mkdtemp(prefix=".plan-", dir=directory.resolve().parent))
    try:
        for number, calculation in enumerate(study.planned, 1):
            folder = temporary / f"{number:03d}-{name_of_folder(calculation.label)}"
            folder.mkdir()
            try:
                calculation.write_inputs(study.engine_of(calculation), study.card_of(calculation), folder)
            except AnodeflowError as error:
                raise error.about(calculation.label) from None
        (temporary / "plan.json").write_text(json.dumps({"anodeflow": __version__, **content}, indent=2, default=str))
        (temporary / "README").write_text(_README.format(title=study.title or study.kind, engine=study.engine))
        temporary.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        os.replace(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


_README = """{title}: native inputs for {engine}, one folder a calculation.

Cells, slabs, sites, bands and starts of dynamics that follow from an earlier relaxation are those of the catalogue
geometry, or of the relaxed one where `--store` named a store that holds it: `anodeflow run` and `anodeflow submit`
build them from the relaxed crystal. A NOTE says where anodeflow moves the atoms itself. plan.json holds the table, what
is missing on the machine where this was written, and the estimate of the cost.
"""
