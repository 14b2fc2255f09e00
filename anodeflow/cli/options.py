"""Options and arguments that several commands share, and the checks of files that a command will write."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from anodeflow.errors import InputError

_FIGURE_TYPES = (".png", ".pdf", ".svg")

study_argument = click.argument("study", type=click.Path(path_type=Path))
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("anodeflow.sqlite"),
    envvar="ANODEFLOW_STORE",
    show_default=True,
    show_envvar=True,
    help="Results file, database or cluster folder.",
)
folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    envvar="ANODEFLOW_CLUSTER",
    show_envvar=True,
    help="The cluster folder.  [default: ~/.config/anodeflow/cluster]",
)
engine_option = click.option("--engine", help="Another engine than that of the study file.")
card_option = click.option("--card", help="Another method card.")
workers_option = click.option(
    "--workers", type=click.IntRange(1, 256), envvar="ANODEFLOW_WORKERS", help="Worker processes."
)


def _widen(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    from anodeflow.cli.output.console import widen

    widen(context, parameter, value)


_wide_option = click.option(
    "--wide", is_flag=True, expose_value=False, callback=_widen, help="Show every column, however wide."
)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json, and --wide for the table that stands in its place."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    return as_json(_wide_option(command))


def _use_imported(_: click.Context, __: click.Parameter, trust: bool) -> bool:
    if trust:
        from anodeflow.settings import VARIABLE_OF_TRUST

        os.environ[VARIABLE_OF_TRUST] = "true"  # for the workers, too
    return trust


_trust_option = partial(
    click.option,
    "--trust",
    is_flag=True,
    callback=_use_imported,
    help="Also use imported calculations that came with another study.  [default: do not]",
)
trust_option = _trust_option(expose_value=False)
trust_argument_option = _trust_option()
json_text_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def check_figure_path(file: Path) -> None:
    """Refuse a figure that could not be written, before anything is computed.

    Raises
    ------
    InputError
        If no such figure is drawn, or its folder is missing or read-only.
    """
    if file.suffix.lower() not in _FIGURE_TYPES:
        raise InputError(f"figure '{file}' has no known ending", f"use one of {', '.join(_FIGURE_TYPES)}")
    check_folder(file, "figure")


def check_folder(file: Path, kind: str) -> None:
    """Refuse a file whose folder is missing or cannot be written to, before anything is computed.

    Raises
    ------
    InputError
        With the folder.
    """
    folder = file.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{kind} '{file}': folder '{folder}' does not exist", "make it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{kind} '{file}': folder '{folder}' is read-only", "choose another")
