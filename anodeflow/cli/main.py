"""The command line. Heavy libraries are imported inside the command that needs them."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from anodeflow import __version__
from anodeflow.errors import AnodeflowError, InputError, StoreError
from anodeflow.workflows.studies.registry import tables

INTERRUPTED = 130
WITHOUT_RESULT = 4
UNEXPECTED = 70
SCREENFUL = 200

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("anodeflow.sqlite"),
    envvar="ANODEFLOW_STORE",
    show_default=True,
    show_envvar=True,
    help="Results file, database or cluster folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
study_argument = click.argument("study", type=click.Path(path_type=Path))


class Commands(click.Group):
    """Offers the nearest command when one is misspelt, and loads those `elsewhere` (name: module) when needed."""

    def __init__(self, *arguments: Any, elsewhere: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.elsewhere = elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return sorted({*super().list_commands(ctx), *self.elsewhere})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        if cmd_name in self.elsewhere:
            return getattr(importlib.import_module(self.elsewhere[cmd_name]), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """See click."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"No such command '{args[0]}'; did you mean '{near[0]}'?", ctx) from error


@click.group(
    cls=Commands,
    elsewhere={
        "analyse": "anodeflow.cli.analyse",
        "build": "anodeflow.cli.build",
        "export": "anodeflow.cli.archive",
        "hpc": "anodeflow.cli.hpc",
        "import": "anodeflow.cli.archive",
        "status": "anodeflow.cli.status",
        "submit": "anodeflow.cli.submit",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="anodeflow")
def cli() -> None:
    """First-principles workflows for aluminium and lithium-aluminium anodes against sulfide electrolytes."""


@cli.command()
@click.argument("name", required=False)
@json_option
def crystals(name: str | None, as_json: bool) -> None:
    """List the crystal catalogue, or show one entry (or a structure file of yours)."""
    from anodeflow.cli.output.tables import print_crystal, print_crystals

    if name is None:
        print_crystals(as_json)
    else:
        print_crystal(name, as_json)


@cli.command()
@study_argument
@click.option("--engine", help="Another engine than that of the study file.")
@click.option("--card", help="Another method card.")
@click.option(
    "--write",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write every native input of every calculation into this folder; nothing is run.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes to estimate for.")
@json_option
def plan(
    study: Path, engine: str | None, card: str | None, directory: Path | None, workers: int | None, as_json: bool
) -> None:
    """Dry run: every calculation of STUDY, its atoms and k-points, what is missing, and what it will cost."""
    from anodeflow.cli.plan import print_plan
    from anodeflow.workflows.local.runner import default_workers
    from anodeflow.workflows.studies import load_study

    loaded = load_study(study).with_changes(engine=engine, card=card).as_dry_run()
    print_plan(loaded, workers or default_workers()[0], directory, as_json)


@cli.command()
@study_argument
@store_option
@click.option("--workers", type=click.IntRange(1, 256), envvar="ANODEFLOW_WORKERS", help="Worker processes.")
@click.option("--threads", type=click.IntRange(1, 256), envvar="ANODEFLOW_THREADS", help="Threads a worker.")
@click.option(
    "--figure",
    "figures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Also draw the figure to this file (.png, .pdf, .svg); may be given several times.",
)
@click.option("--show", is_flag=True, help="Open the figure when it is done, where there is a screen.")
@json_option
def run(
    study: Path,
    store: Path,
    workers: int | None,
    threads: int | None,
    figures: tuple[Path, ...],
    show: bool,
    as_json: bool,
) -> None:
    """Compute STUDY on this machine. What is finished already is not computed again."""
    for file in figures:
        check_figure_path(file)
    from anodeflow.cli.output.presenters import print_study, write_figures
    from anodeflow.cli.run import run_study
    from anodeflow.workflows.store import store_shown
    from anodeflow.workflows.studies import load_study

    again = f"anodeflow run {study} --store {store_shown(store)}"
    document, report = run_study(load_study(study), store, again, workers, threads)
    print_study(document, as_json)
    write_figures(document, figures)
    if show and figures:
        open_on_screen(figures[0])
    if report.failed or not document.complete:
        raise SystemExit(WITHOUT_RESULT)


@cli.command()
@store_option
@click.option(
    "--what",
    type=click.Choice(list(tables())),
    default="binding",
    show_default=True,
)
@click.option("--crystal", help="Only this host.")
@click.option("--environment", type=click.Choice(["bulk", "surface"]))
@click.option("--engine", help="Only this engine.")
@click.option("--card", help="Only this method card.")
@click.option("--study", "study_hash", help="Only this study: its file, or the first digits of its hash.")
@click.option("--tag", help="Only studies that were submitted with this tag.")
@click.option(
    "--since", type=click.DateTime(), help="Only what was finished since then, by the clock that computed it."
)
@click.option("--until", type=click.DateTime(), help="Only what was finished before then.")
@click.option("--converged/--unconverged", default=None, help="Only what did, or did not, converge.")
@click.option("--query", help="A Mongo-style filter on the stored documents, as JSON.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many rows.  [default: all; {SCREENFUL} in a table]")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@json_option
def results(store: Path, what: str, as_json: bool, as_csv: bool, limit: int | None, **filters: Any) -> None:
    """Query the results store, newest first."""
    from anodeflow.cli.output.tables import print_csv, print_rows
    from anodeflow.cli.results import rows_of
    from anodeflow.workflows.store import open_job_store, store_shown

    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other", "leave one out")
    job_store = open_job_store(store, must_exist=True, read_only=True)
    if as_csv:
        print_csv(rows_of(job_store, what, limit=limit, **filters))
        return
    # One row more than is shown tells whether there are more.
    most = limit or (None if as_json else SCREENFUL)
    rows = rows_of(job_store, what, limit=most + 1 if most else None, **filters)
    if most and len(rows) > most:
        del rows[most:]
        if limit is None:
            click.echo(f"the newest {most}; --limit shows more, --csv and --json all", err=True)
    print_rows(rows, as_json, empty=f"nothing in {store_shown(store)} matches", columns=tables()[what].columns)


@cli.command()
@click.argument("study")
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    required=True,
    help="File to write (.png, .pdf, .svg); may be given several times.",
)
@store_option
@json_option
def figure(study: str, outputs: tuple[Path, ...], store: Path, as_json: bool) -> None:
    """Draw the figure of STUDY (its file, or its hash) from the store; nothing is computed."""
    for file in outputs:
        check_figure_path(file)
    from anodeflow.cli.results import study_hash_of
    from anodeflow.workflows.store import open_job_store, store_shown

    job_store = open_job_store(store, must_exist=True, read_only=True)
    from anodeflow.cli.output.presenters import stored_study, write_figure

    document = stored_study(job_store, study_hash_of(study))
    if document is None:
        raise InputError(f"no finished study '{study}' in {store_shown(store)}", f"run it first: anodeflow run {study}")
    for file in outputs:
        write_figure(document, file)
    if as_json:
        click.echo(json.dumps({"study_hash": document.study_hash, "files": [str(f) for f in outputs]}))
    else:
        for file in outputs:
            click.echo(f"figure: {file}")


@cli.command()
@click.argument("paper")
@click.option("--part", "parts", required=True, help="Part of the paper; several with commas. See the documentation.")
@click.option("--engine", help="Another engine than that of the study file.")
@click.option("--card", help="Another method card.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="this folder",
    help="Folder for the figures.",
)
@click.option("--workers", type=click.IntRange(1, 256), envvar="ANODEFLOW_WORKERS", help="Worker processes.")
@store_option
@json_option
def reproduce(
    paper: str,
    parts: str,
    engine: str | None,
    card: str | None,
    output: Path,
    workers: int | None,
    store: Path,
    as_json: bool,
) -> None:
    """Compute what PAPER reports, and print published values beside ours."""
    from anodeflow.cli.reproduce import reproduce as run_paper

    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    done = run_paper(
        paper, wanted, engine=engine, card=card, store=store, output=output, workers=workers, as_json=as_json
    )
    if not done:
        raise SystemExit(WITHOUT_RESULT)


FIGURE_TYPES = (".png", ".pdf", ".svg")


def check_figure_path(file: Path) -> None:
    """Refuse a figure that could not be written, before anything is computed."""
    if file.suffix.lower() not in FIGURE_TYPES:
        raise InputError(f"figure '{file}' has no known ending", f"use one of {', '.join(FIGURE_TYPES)}")
    check_folder(file, "figure")


def check_folder(file: Path, what: str) -> None:
    """Refuse a file whose folder is missing or cannot be written to, before anything is computed."""
    folder = file.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{what} '{file}': folder '{folder}' does not exist", "make it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{what} '{file}': folder '{folder}' is read-only", "choose another")


def open_on_screen(file: Path) -> None:
    """Open a file with the desktop's viewer; quietly nothing where there is no screen."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    click.launch(str(file))


def main() -> None:
    """Entry point: every expected error is one line on standard error, with its exit status."""
    raise SystemExit(guarded(lambda: cli.main(standalone_mode=False)))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; every expected error becomes one line on standard error and an exit status."""
    try:
        return int(command() or 0)
    except SystemExit as error:
        return int(error.code or 0)
    except AnodeflowError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit is quiet, too
        return 0
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EPERM}:
            return unexpected(error)
        where = f" '{error.filename}'" if error.filename else ""
        click.echo(f"error: cannot write{where}: {error.strerror}; free space or choose another folder", err=True)
        return StoreError.exit_code
    except Exception as error:
        return unexpected(error)


def unexpected(error: Exception) -> int:
    """One line for an error nobody foresaw; the traceback with ANODEFLOW_DEBUG=1."""
    if os.environ.get("ANODEFLOW_DEBUG"):
        raise error
    text = f"unexpected {type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode()[:400]
    click.echo(f"error: {' '.join(text.split())}; run again with ANODEFLOW_DEBUG=1 and report it", err=True)
    return UNEXPECTED


if __name__ == "__main__":
    main()
