"""The command line. Each command has its own module, which is imported when it is called."""

from __future__ import annotations

import click

from anodeflow import __version__
from anodeflow.cli.exits import guarded
from anodeflow.cli.group import Commands

_COMMANDS = {
    "analyse": "anodeflow.cli.analyse:analyse",
    "audit": "anodeflow.cli.audit:audit",
    "browse": "anodeflow.cli.browse:browse",
    "build": "anodeflow.cli.build:build",
    "cards": "anodeflow.cli.inventory:cards",
    "cells": "anodeflow.cli.cells:cells",
    "compare": "anodeflow.cli.compare:compare",
    "config": "anodeflow.cli.inventory:config",
    "crystals": "anodeflow.cli.crystals:crystals",
    "engines": "anodeflow.cli.inventory:engines",
    "export": "anodeflow.cli.archive:export",
    "figure": "anodeflow.cli.figure:figure",
    "hpc": "anodeflow.cli.hpc:hpc",
    "import": "anodeflow.cli.archive:import_",
    "plan": "anodeflow.cli.plan:plan",
    "report": "anodeflow.cli.report:report",
    "reproduce": "anodeflow.cli.reproduce:reproduce",
    "results": "anodeflow.cli.results:results",
    "run": "anodeflow.cli.run:run",
    "show": "anodeflow.cli.show:show",
    "status": "anodeflow.cli.status:status",
    "submit": "anodeflow.cli.submit:submit",
    "tune": "anodeflow.cli.tune:tune",
    "workfunction": "anodeflow.cli.workfunction:workfunction",
}


@click.group(
    cls=Commands,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="anodeflow")
def cli() -> None:
    """First-principles workflows for aluminium and lithium-aluminium anodes against sulfide electrolytes."""


def main() -> None:
    """Run the command line; every expected error is one line on standard error, with its exit status."""
    raise SystemExit(guarded(lambda: cli.main(standalone_mode=False)))


if __name__ == "__main__":
    main()
