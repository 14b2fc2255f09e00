"""`anodeflow tune`: tune a potential to calculations with electrons."""

from __future__ import annotations

import os
from pathlib import Path

import click

from anodeflow.cli.options import json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the model goes, and where a stopped training continues.  [default: FILE without its ending]",
)
@click.option("--dry-run", is_flag=True, help="Only collect, check and split the data, and say what they are.")
@json_option
def tune(file: Path, folder: Path | None, dry_run: bool, as_json: bool) -> None:
    """Tune a potential as FILE says: data with electrons, split by system; a model file with a card comes out.

    Ctrl-C stops it between two steps; the same command continues after the last whole epoch.
    """
    from anodeflow.workflows.local.defaults import default_workers

    # before the model's library starts: more threads than cores that are free take many times as long
    workers, threads = default_workers()
    os.environ.setdefault("OMP_NUM_THREADS", str(workers * threads))
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tuning import print_data_set, print_tuned
    from anodeflow.workflows.tuning.run import prepare, run_tuning
    from anodeflow.workflows.tuning.settings import load_tuning

    prepared = prepare(load_tuning(file))
    if dry_run:
        if as_json:
            print_json(prepared.summary())
        else:
            print_data_set(prepared)
        return
    goal = folder or Path(file.stem)
    document = run_tuning(prepared, goal, lambda text: click.echo(f"tune: {text}", err=True))
    if as_json:
        print_json(document.model_dump(mode="json"))
    else:
        print_tuned(document, goal)
