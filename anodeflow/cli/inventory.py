"""`anodeflow cards`, `engines` and `config`: what there is to choose from, and what this machine is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.options import json_option

if TYPE_CHECKING:
    from anodeflow.workflows.engines.base import Engine

_CARDS = ("card", "cutoff_ev", "kpoints", "code", "title")
_ENGINES = ("engine", "here", "functional", "can")
_CONFIG = ("setting", "value", "from", "variable")


@click.command()
@click.argument("name", required=False)
@json_option
def cards(name: str | None, as_json: bool) -> None:
    """List the method cards, or show one (or a card file of yours) with its hash and what it had to assume."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.workflows.cards import card_names, load_card

    if name is None:
        print_rows([_card_row(known) for known in card_names()], as_json, columns=_CARDS)
        if not as_json:
            click.echo("Every setting of one card, and what it had to assume: anodeflow cards NAME")
        return
    card = load_card(name)
    content = {"hash": card.hash, **card.model_dump(mode="json", exclude_none=True)}
    if as_json:
        print_json(content)
        return
    assumed = content.pop("assumed", {})
    for key, value in content.items():
        if value not in ("", {}):
            say(f"{key:<34}{_shown(value)}", indent=34)
    for key, why in assumed.items():
        say(f"assumed: {key}: {why}")


def _card_row(name: str) -> dict[str, Any]:
    from anodeflow.workflows.cards import load_card

    card = load_card(name)
    kpoints = None
    if card.kpoints is not None:
        mesh, spacing = card.kpoints.mesh, card.kpoints.spacing_per_angstrom
        kpoints = "×".join(map(str, mesh)) if mesh else f"{spacing:g} per Å"
    row: dict[str, Any] = {"card": name, "cutoff_ev": card.cutoff_ev, "kpoints": kpoints, "code": card.code}
    return row | {"title": card.title, "source": card.source, "hash": card.hash}


@click.command()
@json_option
def engines(as_json: bool) -> None:
    """List the engines: what each can do, and what it lacks on this machine to compute with Li."""
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.workflows.engines.registry import engine_names

    rows = [_engine_row(name) for name in engine_names()]
    print_rows(rows, as_json, columns=_ENGINES)
    if as_json:
        return
    for row in rows:
        for item in row["lacks"]:
            say(f"{row['engine']}: {item}")


def _engine_row(name: str) -> dict[str, Any]:
    from anodeflow.errors import AnodeflowError
    from anodeflow.workflows.cards import load_card
    from anodeflow.workflows.engines.registry import get_engine

    row: dict[str, Any] = {"engine": name, "kind": None, "version": None, "functional": None, "can": None}
    if name.endswith(":PATH"):
        return row | {"kind": "a model file of yours", "here": None, "lacks": []}
    engine = get_engine(name)
    able = engine.capabilities
    row["can"] = ", ".join(
        word
        for word, true in (
            ("electrons", able.electrons), ("charge", able.charge), ("stress", able.stress), ("bands", able.neb),
            ("dynamics", able.md), ("dispersion", _adds_dispersion(engine)), ("native inputs", able.inputs),
        )
        if true
    )  # fmt: skip
    row["functional"] = "the card's: PBE" if able.electrons else None
    lacks = engine.missing(["Li"], load_card("pbe-slab"))
    try:
        record = engine.record()
        row |= {"kind": record.kind, "version": record.version, "functional": record.functional or row["functional"]}
    except AnodeflowError as error:
        lacks = lacks or [error.problem]
    return row | {"here": "no" if lacks else "yes", "lacks": lacks}


def _adds_dispersion(engine: Engine) -> bool:
    """Return whether a card of PBE may ask an engine for dispersion: not a potential of another functional."""
    from anodeflow.errors import AnodeflowError
    from anodeflow.workflows.cards import load_card

    try:
        engine.check_dispersion(load_card("embedded-d3-bj"))
    except AnodeflowError:
        return False
    return True


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show the settings of this machine: value, where it is from, and the variable that overrides it."""
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.tables import print_rows, say
    from anodeflow.native_keys import ALLOWED
    from anodeflow.settings import listed_settings, settings_file

    file = settings_file()
    rows = listed_settings()
    keys = {program: list(allowed) for program, allowed in ALLOWED.items()}
    if as_json:
        print_json({"file": str(file), "exists": file.is_file(), "settings": rows, "keys": keys})
        return
    click.echo(f"settings file: {file}" + ("" if file.is_file() else " (there is none)"))
    print_rows([row | {"value": _shown(row["value"])} for row in rows], False, columns=_CONFIG)
    for program, allowed in keys.items():
        say(f"{program}.keys may hold {', '.join(allowed)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
