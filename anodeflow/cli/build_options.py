"""Options that the commands of `anodeflow build` share, and the option that sets each parameter of a builder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from anodeflow.cli.options import json_option, store_option

# What a builder of structures calls its parameters, and the option that sets each.
OPTIONS = {
    "layers": "--layers",
    "shift": "--shift",
    "min_thickness_angstrom": "--thickness",
    "vacuum_angstrom": "--vacuum",
    "gap_angstrom": "--gap",
    "freeze_layers": "--freeze",
    "max_area_angstrom2": "--max-area",
    "max_strain": "--max-strain",
    "max_atoms": "--max-atoms",
    "formula_units": "--formula-units",
    "scan_registry": "--scan",
}


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every `build` command."""
    for option in (
        json_option,
        click.option("--card", default="embedded", show_default=True, help="With --relaxed: its method card."),
        click.option("--engine", default="sevennet-0", show_default=True, help="With --relaxed: its engine."),
        store_option,
        click.option("--relaxed", is_flag=True, help="Start from the relaxed crystal in the results store."),
        click.option("--force", is_flag=True, help="Replace the files of an earlier build in this folder."),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            help="Folder to write; by default one named after what is built.",
        ),
    ):
        command = option(command)
    return command
