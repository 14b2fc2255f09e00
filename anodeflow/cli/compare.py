"""`anodeflow compare`: one study by several engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.options import (
    check_figure_path,
    json_option,
    store_option,
    study_argument,
    trust_option,
    workers_option,
)
from anodeflow.errors import AnodeflowError, InputError

if TYPE_CHECKING:
    from anodeflow.workflows.studies.base import Study


@click.command()
@study_argument
@click.option(
    "--engines", default="", help="Two or more, with commas: sevennet-0,chgnet; with another card: gpaw=pbe-slab."
)
@click.option(
    "--archive",
    "archives",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="An archive of the study by another engine, set before the engines; may be given several times.",
)
@store_option
@workers_option
@click.option("--threads", type=click.IntRange(1, 256), envvar="ANODEFLOW_THREADS", help="Threads a worker.")
@trust_option
@click.option("--stored", is_flag=True, help="Compute nothing: only what the store holds.")
@click.option(
    "--figure",
    "figures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Also draw the figure to this file (.png, .pdf, .svg); may be given several times.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of tables.")
@json_option
# long: the options, and one loop over engines
def compare(
    study: Path,
    engines: str,
    archives: tuple[Path, ...],
    store: Path,
    workers: int | None,
    threads: int | None,
    stored: bool,
    figures: tuple[Path, ...],
    as_csv: bool,
    as_json: bool,
) -> None:
    """Compute STUDY with several engines, or take it from the store, and set every number beside the others."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other", "leave one out")
    for file in figures:
        check_figure_path(file)
    from anodeflow.cli.output.comparison import comparison_rows, print_comparison
    from anodeflow.cli.output.console import print_csv, print_json
    from anodeflow.workflows.store import store_shown
    from anodeflow.workflows.studies import load_study
    from anodeflow.workflows.studies.comparison import archived_answer, compare_documents
    from anodeflow.workflows.studies.registry import comparison_figure_of

    asked = asked_engines(engines, 2 - len(archives))
    loaded, refused = load_study(study), {}
    outputs = [archived_answer(archive, loaded) for archive in archives]
    for name, card in asked:
        again = f"anodeflow compare {study} --engines {engines} --store {store_shown(store)}"
        try:
            outputs.append(_answer(loaded.with_changes(engine=name, card=card), store, again, workers, threads, stored))
        except AnodeflowError as error:
            refused[name] = str(error)
    if len(outputs) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise InputError(f"{len(outputs)} of the engines gave a result: {reasons}", "name two that can compute it")
    comparison = compare_documents(outputs)
    comparison.refused = refused
    if as_json:
        print_json(comparison.model_dump(mode="json"))
    elif as_csv:
        print_csv(comparison_rows(comparison))
    else:
        print_comparison(comparison)
    for file in figures:
        from anodeflow.analysis.figures.style import save_figure

        save_figure(comparison_figure_of(comparison.study)(comparison), file)
        click.echo(f"figure: {file}", err=True)
    if refused:
        raise SystemExit(WITHOUT_RESULT)


def asked_engines(text: str, least: int = 2) -> list[tuple[str, str | None]]:
    """Return engines and their cards, as ``--engines`` has them.

    Parameters
    ----------
    text
        Of the option.
    least
        Fewer are refused.

    Raises
    ------
    InputError
        If there are fewer, or one is asked for twice.

    Examples
    --------
    >>> asked_engines("sevennet-0, gpaw=pbe-slab")
    [('sevennet-0', None), ('gpaw', 'pbe-slab')]
    """
    asked = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, card = part.partition("=")
        asked.append((name.strip(), card.strip() or None))
    twice = [pair for pair in asked if asked.count(pair) > 1]
    if twice:
        raise InputError(f"--engines names '{twice[0][0]}' twice", "name each once")
    if len(asked) < least:
        count = f"{len(asked)} engine" + ("" if len(asked) == 1 else "s")
        raise InputError(
            f"--engines '{text}' is {count}", "name two or more, with commas between them, or give archives, too"
        )
    return asked


def _answer(
    study: Study, store: Path, again: str, workers: int | None, threads: int | None, stored: bool
) -> dict[str, Any]:
    """Return the last document of a study by one engine: the store's, or computed."""
    from anodeflow.cli.output.studies import stored_study
    from anodeflow.cli.run import run_study
    from anodeflow.workflows.store import open_job_store, store_shown

    study.loaded_engine.record(study.elements())  # refuses an engine that is not there before the store is opened
    opened = open_job_store(store, must_exist=True, read_only=True) if stored else open_job_store(store)
    document = stored_study(opened, study.hash)
    if document is None or not (stored or document.complete):
        if stored:
            raise InputError(
                f"{store_shown(store)} holds no such study (hash {study.hash})", "leave --stored out to compute it"
            )
        document, _ = run_study(study, store, again, workers, threads)
    return document.model_dump(mode="json")
