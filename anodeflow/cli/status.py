"""`anodeflow status`: how far every study is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anodeflow.cli.options import json_option

if TYPE_CHECKING:
    from anodeflow.workflows.cluster.progress import StudyProgress


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    envvar="ANODEFLOW_CLUSTER",
    show_envvar=True,
    help="The cluster folder.  [default: ~/.config/anodeflow/cluster, if there is one]",
)
@click.option("--store", type=click.Path(path_type=Path), help="Studies of a results file or another database instead.")
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=10.0, show_default=True, help="Seconds.")
@json_option
def status(folder: Path | None, store: Path | None, watch: bool, interval: float, as_json: bool) -> None:
    """Show every study: what is done, runs, waits or failed, and why; core-hours; when it may end."""
    from anodeflow.errors import RefusedError, StoreError
    from anodeflow.workflows.cluster.progress import progress

    while True:
        try:
            rows = progress(folder, store)
        except RefusedError:
            raise
        except StoreError as error:
            if not watch:
                raise
            click.echo(f"{time.strftime('%H:%M:%S')} {error}", err=True)
            rows = None
        if rows is not None:
            if watch and not as_json:
                click.clear()
                click.echo(time.strftime("%Y-%m-%d %H:%M:%S"))
            if as_json:
                click.echo(json.dumps([asdict(row) for row in rows], indent=None if watch else 2))
            else:
                _print_progress(rows)
        if not watch:
            return
        time.sleep(interval)


def _print_progress(rows: list[StudyProgress]) -> None:
    """Print the table, and below it why jobs failed."""
    from anodeflow.cli.output.grid import say
    from anodeflow.cli.output.tables import new_table
    from anodeflow.columns import core_hours, duration

    if not rows:
        click.echo("no studies yet")
        return
    table = new_table(
        ("study", "hash", "state", "done", "running", "waiting", "failed", "unconverged", "core hours", "left, about"),
        right=("left, about",),
        spare=("unconverged", "core hours"),
    )
    for row in rows:
        counts = (row.done, row.running, row.waiting, row.failed, row.unconverged)
        table.add_row(
            row.title,
            row.study_hash,
            row.state,
            *map(str, counts),
            "–" if row.core_hours is None else core_hours(row.core_hours),
            "–" if row.seconds_left is None else duration(row.seconds_left),
        )
    table.print()
    for row in rows:
        for reason in row.reasons:
            say(f"{row.study_hash}  {reason.job}: {reason.error}")
        more = row.failed + row.unconverged - len(row.reasons)
        if more > 0:
            click.echo(f"{row.study_hash}  and {more} more")
        for note in row.notes:
            say(f"{row.study_hash}  note: {note}")
