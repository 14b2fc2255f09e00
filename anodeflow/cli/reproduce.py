"""`anodeflow reproduce`: the numbers of a paper beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.exits import WITHOUT_RESULT
from anodeflow.cli.options import card_option, engine_option, json_option, store_option, workers_option
from anodeflow.errors import AnodeflowError, InputError, StoreError

if TYPE_CHECKING:
    from anodeflow.documents import StudyDoc
    from anodeflow.workflows.paper_list import Paper
    from anodeflow.workflows.studies.base import Study

# Of printed digits.
_ROUNDED = 1.005
_COLUMNS = ("figure or table", "quantity", "published", "computed", "engine", "verdict")


@click.command()
@click.argument("paper", required=False)
@click.option("--part", "parts", help="Part of the paper; several with commas.  [default: all]")
@engine_option
@card_option
@click.option("--dry-run", is_flag=True, help="Say what would be computed and what it costs; compute nothing.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="this folder",
    help="Folder for the figures.",
)
@workers_option
@store_option
@json_option
def reproduce(
    paper: str | None,
    parts: str | None,
    engine: str | None,
    card: str | None,
    dry_run: bool,
    output: Path,
    workers: int | None,
    store: Path,
    as_json: bool,
) -> None:
    """Compute what PAPER reports, and print its numbers beside ours. Without PAPER: list the papers and their parts."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.workflows.paper_list import paper_of, papers_folder

    if paper is None:
        _print_papers(as_json)
        return
    asked = paper_of(paper)
    wanted = [part.strip() for part in (parts or ",".join(asked.all_parts)).split(",") if part.strip()]
    arithmetic = {part: asked.cells[part] for part in wanted if part in asked.cells}
    studies = {part: study_of(paper, part, engine, card) for part in wanted if part not in arithmetic}
    if dry_run:
        _print_dry_run(paper, asked, wanted, studies, as_json)
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder '{output}': {error.strerror}", "choose another with --output") from None
    rows, complete = _run_parts(paper, studies, store, output, workers, as_json)
    for part, described in arithmetic.items():
        file = None if described.file is None else papers_folder() / described.file
        rows += _for_part(paper, part, _cells_part(paper, part, file, output, as_json))
    if as_json:
        print_json(rows)
    else:
        _print_comparison(paper, asked, rows)
    if not complete:
        raise SystemExit(WITHOUT_RESULT)


def study_of(paper: str, part: str, engine: str | None, card: str | None) -> Study:
    """Return the study of one part of a paper.

    Parameters
    ----------
    paper, part
        As `papers.yaml` names them.
    engine, card
        In place of those of the study file, unless None.

    Returns
    -------
    Study
        Ready to be run.

    Raises
    ------
    InputError
        If there is no such paper or part.
    """
    from anodeflow.workflows.paper_list import paper_of, papers_folder
    from anodeflow.workflows.studies import load_study

    asked = paper_of(paper)
    if part not in asked.parts:
        raise InputError(f"{paper} has no part '{part}'", f"its parts: {', '.join(asked.all_parts)}")
    return load_study(papers_folder() / str(asked.parts[part].file)).with_changes(engine=engine, card=card)


def _print_papers(as_json: bool) -> None:
    """Print the papers, their parts, and what each costs with the engine of its study file."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.columns import core_hours
    from anodeflow.workflows.paper_list import papers

    if as_json:
        print_json([{"paper": name, **entry.model_dump()} for name, entry in papers().items()])
        return
    for name, entry in papers().items():
        say(f"{name}: {entry.cite()}")
        rows = [
            {"part": part, "computes": described.computes, "in the paper": described.shown,
             "number printed": "yes" if described.printed else "no",
             "core hours": core_hours(described.core_hours)}
            for part, described in entry.all_parts.items()
        ]  # fmt: skip
        print_rows(rows, False)
    say("All parts of one: anodeflow reproduce PAPER (--dry-run says what it costs with --engine and --card)")


def _print_dry_run(paper: str, asked: Paper, wanted: list[str], studies: dict[str, Study], as_json: bool) -> None:
    """Print what each part would compute and what it costs; compute nothing."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.columns import core_hours

    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for part in wanted:
        row: dict[str, Any] = {
            "part": part,
            "computes": asked.all_parts[part].computes,
            "in the paper": asked.all_parts[part].shown,
        }
        if part in studies:
            study = studies[part].as_dry_run()
            notes += [note for note in study.preflight() if note.startswith("missing:")]
            hours = sum(study.seconds_of(step) for step in study.planned) / 3600
            row |= {"engine": study.engine, "card": study.cards_text, "calculations": len(study.planned),
                    "core hours": round(hours, 3)}  # fmt: skip
        else:
            row |= {"engine": "–", "card": "–", "calculations": 0, "core hours": 0.0}
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    say(f"{paper}: {asked.cite()}")
    shown = ("part", "computes", "calculations", "core hours", "engine", "card")
    print_rows([row | {"core hours": core_hours(row["core hours"])} for row in rows], False, columns=shown)
    together = sum(row["core hours"] for row in rows)
    say(f"together about {core_hours(together)} core hours; nothing was computed")
    for note in dict.fromkeys(notes):
        say(note)


def _cells_part(paper: str, part: str, file: Path | None, output: Path, as_json: bool) -> list[dict[str, Any]]:
    """Print cells and their figure; rows of published beside computed."""
    from anodeflow.analysis.cell_arithmetic import anode_rows, published_beside, table_beside
    from anodeflow.cli.cells import rows_of_file
    from anodeflow.cli.output.cells import print_cells, write_cells_figure

    if file is None:
        rows = anode_rows()
        write_cells_figure(rows, [output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")])
        compared = table_beside(paper, rows)
    else:
        rows = rows_of_file(file)
        compared = published_beside(paper, rows)
    if not as_json:
        print_cells(rows)
    return compared


def _run_parts(
    paper: str, studies: dict[str, Study], store: Path, output: Path, workers: int | None, as_json: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Run every part and draw its figure; rows of published beside computed, and whether every part has a result.

    A part that cannot be computed does not keep the others from it, unless it is the only one.
    """
    from anodeflow.cli.output.studies import print_study, write_figures
    from anodeflow.cli.run import run_study
    from anodeflow.workflows.store import store_shown

    rows: list[dict[str, Any]] = []
    complete = True
    for part, study in studies.items():
        again = f"anodeflow reproduce {paper} --part {','.join(studies)} --store {store_shown(store)}"
        try:
            document, report = run_study(study, store, again, workers, None)
        except StoreError:
            raise
        except AnodeflowError as error:
            if len(studies) == 1:
                raise
            complete = False
            rows += _for_part(paper, part, [], failed=str(error))
            click.echo(f"error: {part}: {error}", err=True)
            continue
        complete = complete and document.complete and not report.failed
        if not as_json:
            print_study(document, False)
        if document.complete:
            write_figures(document, tuple(output / f"{paper}-{part}.{ending}" for ending in ("png", "pdf")))
        rows += _for_part(paper, part, _compared(document), document)
    return rows, complete


def _compared(document: StudyDoc) -> list[dict[str, Any]]:
    """Return rows of published and computed values for one study."""
    from anodeflow.workflows.studies.registry import load, study_kind

    comparisons = study_kind(document.study).comparisons
    return [] if comparisons is None or document.engine.stand_in else load(comparisons)(document)


def _for_part(
    paper: str, part: str, rows: list[dict[str, Any]], document: StudyDoc | None = None, failed: str = ""
) -> list[dict[str, Any]]:
    """Return rows with the part, where the paper shows it, and a verdict; one row where there would be none.

    Parameters
    ----------
    paper, part
        What was reproduced.
    rows
        Published beside computed; those of other sources are kept.
    document
        What was computed; None for arithmetic, or where it failed.
    failed
        Why there is no document.
    """
    from anodeflow.workflows.paper_list import paper_of

    described = paper_of(paper).all_parts[part]
    numbers = [row | {"verdict": _verdict_of(row)} for row in rows]
    if not any(row["paper"] == paper for row in rows):
        stand_in = document is not None and document.engine.stand_in
        verdict = "no number printed"
        if failed:
            verdict = "failed"
        elif stand_in:
            verdict = "not a result: computed by a test engine"
        elif described.printed or (document is not None and not document.complete):
            verdict = "not computed"
        numbers.insert(0, {
            "paper": paper, "quantity": described.computes, "published": None, "reference": None, "ours": None,
            "difference": None,
            "unit": "", "convention": "", "engine": document.engine.name if document else "–",
            "card": document.card.name if document else "–", "note": failed and f"{part}: {failed}", "verdict": verdict,
        })  # fmt: skip
    return [{"part": part, "shown": described.shown, **row} for row in numbers]


def _verdict_of(row: dict[str, Any]) -> str:
    if str(row.get("convention", "")).startswith("all lithium"):  # a table whose numbers are checked against each other
        together = row["ours"] is not None and row["published"] <= _ROUNDED * row["ours"]
        return "possible: not more than all lithium" if together else "more than all lithium of the cathode"
    from anodeflow.workflows.paper_list import verdict

    return verdict(_other_value(row), row["ours"], row["unit"])


def _other_value(row: dict[str, Any]) -> float | None:
    """Return what ours is set beside: what a paper printed, or a reference that none did."""
    value: float | None = row["published"] if row["published"] is not None else row.get("reference")
    return value


def _print_comparison(paper: str, asked: Paper, rows: list[dict[str, Any]]) -> None:
    """Print what the paper printed beside ours; then what others say."""
    from anodeflow.cli.output.tables import print_rows, say

    say(f"\nPublished beside computed: {paper}, {asked.cite()}")
    own = [row for row in rows if row["paper"] == paper]
    print_rows([_shown(row, row["shown"]) for row in own], False, columns=_COLUMNS)
    others = [_shown(row, row["paper"]) for row in rows if row["paper"] != paper]
    if others:
        click.echo("Not of the paper: the same quantities from elsewhere")
        columns = ("source", "quantity", "value", *_COLUMNS[3:])
        renamed = [row | {"source": row["figure or table"], "value": row["published"]} for row in others]
        print_rows(renamed, False, columns=columns)
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        say(f"note: {note}")


def _shown(row: dict[str, Any], where: str) -> dict[str, str]:
    """Return a row as a person reads it."""
    how = f" ({row['convention']})" if row["convention"] else ""
    unit = "" if row["unit"] == "" else f" {row['unit']}"

    def number(value: float | None, digits: str = "g") -> str:
        return "–" if value is None else f"{format(value, digits)}{unit}".replace("-", "−")

    return {
        "figure or table": where,
        "quantity": f"{row['quantity']}{how}",
        "published": number(_other_value(row)),
        "computed": number(row["ours"], ".4g"),
        "engine": row["engine"],
        "verdict": row["verdict"],
    }
