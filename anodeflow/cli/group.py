"""A group of commands that imports each one when it is wanted, and knows a misspelt one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class Commands(click.Group):
    """Offer the nearest command when one is misspelt; import a command when it is called or listed.

    Parameters
    ----------
    lazy
        By name of the command, the ``module:name`` it stands in.
    """

    def __init__(self, *arguments: Any, lazy: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return sorted({*super().list_commands(ctx), *self.lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, name = self.lazy[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """See click."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from anodeflow.suggest import nearest

            near = nearest(args[0], self.list_commands(ctx), most=1, cutoff=0.6)
            if not near:
                raise
            raise click.UsageError(f"No such command '{args[0]}'; did you mean '{near[0]}'?", ctx) from error
