"""Pages of the reference, written from the models and the command line each time the site is built.

They lie in ``docs/reference/`` and are not kept in the repository: what is missing or wrong there is a description in a
model (``Field(description=...)``) or a help text of an option.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from key_types import default_text, models_in, type_text
from pydantic import BaseModel
from sphinx.application import Sphinx

#: Examples that are not called by the name of their kind.
_EXAMPLES = {"crystal-properties": "examples/dft/crystals.yaml"}
_TEXT = re.compile(r"(`[^`]*`)")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?(?:[^`<]*<)?[.~]*([^`>]*)>?`")


def plain(text: str) -> str:
    """Return text of a program as Markdown that looks the same: only what stands in backticks is marked up."""
    text = _ROLE.sub(r"`\1`", text.replace("``", "`"))
    parts = _TEXT.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>$\[\]{}|#~])", r"\\\1", part) for part in parts)


def first_paragraph(thing: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


# --- files that a person writes ------------------------------------------------------------------------


def keys(model: type[BaseModel], without: Iterable[str] = (), anchors: dict[type[BaseModel], str] | None = None) -> str:
    """Return the keys of a model as a list of definitions.

    Parameters
    ----------
    model
        What a file, or a part of it, holds.
    without
        Keys that are shown elsewhere.
    anchors
        Of the models that have a section on the page.
    """
    items = []
    for name, field in model.model_fields.items():
        if name in without:
            continue
        kinds = [type_text(field.annotation, tuple(field.metadata)), default_text(field)]
        below = [anchors[inner] for inner in models_in(field.annotation) if anchors and inner in anchors]
        more = f" Its keys: [{below[0]}](#{below[0].replace('.', '')})." if below else ""
        text = plain(field.description or "").rstrip(".")
        items.append(f"`{name}`\n: {'; '.join(filter(None, kinds))}\n: {text}.{more}\n")
    return "\n".join(items)


def nested(model: type[BaseModel], name: str = "", known: dict[type[BaseModel], str] | None = None) -> dict[Any, str]:
    """Return the models inside a model, each with where it stands, such as ``hosts.surface``."""
    known = {} if known is None else known
    for key, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            if inner not in known:
                known[inner] = f"{name}.{key}" if name else key
                nested(inner, known[inner], known)
    return known


def sections(models: dict[type[BaseModel], str]) -> Iterator[str]:
    """Yield a section for each model inside another one."""
    for model, place in models.items():
        yield f"### {plain(place)}\n"
        yield f"{plain(first_paragraph(model))}\n"
        yield keys(model, anchors=models)


def study_page(kind: Any) -> str:
    """Return the page of one kind of study."""
    from anodeflow.workflows.studies.base import Study
    from anodeflow.workflows.studies.registry import load

    model = load(kind.study)
    shared = set(Study.model_fields)
    inside = {inner: place for inner, place in nested(model).items() if inner not in nested(Study)}
    tables = "".join(
        f"`{table.name}`\n: one row for each {', '.join(table.keys) or 'result'}; shown are "
        f"{', '.join(f'`{column}`' for column in table.columns)}\n"
        for table in kind.tables
    )
    example = _EXAMPLES.get(kind.name, f"examples/{kind.name}.yaml")
    shown = f"## Example\n\n`{example}`:\n\n```{{literalinclude}} ../../{example}\n:language: yaml\n```\n"
    return "\n".join(
        [
            f"# {kind.name}\n",
            f"{plain(first_paragraph(model))}\n",
            f"`study: {kind.name}`, and beside the keys below those of "
            "[every study](studies.md#keys-of-every-study).\n",
            "## Keys\n",
            keys(model, without=shared, anchors=inside),
            *sections(inside),
            f"## Tables\n\nOf `anodeflow results --what NAME`:\n\n{tables}" if tables else "",
            shown,
        ]
    )


def studies_page() -> str:
    """Return the page of what all kinds of study share."""
    from anodeflow.workflows.studies.base import Study
    from anodeflow.workflows.studies.registry import STUDIES, load

    rows = "\n".join(
        f"| [{kind.name}](study-{kind.name}.md) | {plain(first_paragraph(load(kind.study)))} |" for kind in STUDIES
    )
    tree = "\n".join(f"study-{kind.name}" for kind in STUDIES)
    inside = nested(Study)
    return "\n".join(
        [
            "# Study files\n",
            "A study file is YAML: what to compute. An unknown key, a wrong unit or a value out of range is refused in "
            "one line before anything is computed.\n",
            f"| `study:` | |\n|---|---|\n{rows}\n",
            "## Keys of every study\n",
            keys(Study, anchors=inside),
            *sections(inside),
            f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n",
        ]
    )


def cards_page() -> str:
    """Return the page of method cards."""
    from anodeflow.workflows.cards import MethodCard, card_names, load_card

    rows = "\n".join(f"| `{name}` | {plain(load_card(name).title)} |" for name in card_names())
    inside = nested(MethodCard)
    return "\n".join(
        [
            "# Method cards\n",
            f"{plain(first_paragraph(MethodCard))} `anodeflow cards` lists them, `anodeflow cards NAME` shows one, "
            "`card: FILE` in a study names one of yours. What a card means for a cell is on the page of the "
            "[engines](../engines.md#cards-for-plane-waves).\n",
            f"| card of the package | |\n|---|---|\n{rows}\n",
            "## Keys\n",
            keys(MethodCard, anchors=inside),
            *sections(inside),
            "## Example\n\n```{literalinclude} ../../workflows/method_cards/pbe-slab.yaml\n:language: yaml\n```\n",
        ]
    )


def tuning_page() -> str:
    """Return the page of tuning files."""
    from anodeflow.workflows.tuning.settings import Tuning

    inside = nested(Tuning)
    return "\n".join(
        [
            "# Tuning files\n",
            f"{plain(first_paragraph(Tuning))} What comes of it is on the page of [tuning](../tuning.md).\n",
            "## Keys\n",
            keys(Tuning, anchors=inside),
            *sections(inside),
            "## Example\n\n```{literalinclude} ../../examples/tuning.yaml\n:language: yaml\n```\n",
        ]
    )


def settings_page() -> str:
    """Return the page of the settings of a machine."""
    from anodeflow.native_keys import ALLOWED
    from anodeflow.settings import Settings

    inside = nested(Settings)
    allowed = "\n".join(
        f"`{program}.keys`\n: {', '.join(f'`{key}`' for key in known)}\n" for program, known in ALLOWED.items()
    )
    return "\n".join(
        [
            "# Settings of a machine\n",
            "Read from `~/.config/anodeflow/settings.yaml`, or from the file that `ANODEFLOW_SETTINGS` names. "
            "`anodeflow config` shows every value, where it is from, and the "
            "[environment variable](environment.md) that overrides it.\n",
            "## Keys\n",
            keys(Settings, anchors=inside),
            *sections(inside),
            "## Keys of the programs' own inputs\n",
            f"How fast and what is written, never what is computed:\n\n{allowed}",
        ]
    )


# --- environment variables -----------------------------------------------------------------------------


def variables() -> dict[str, str]:
    """Return every environment variable that a person may set, and what it is for."""
    from anodeflow.settings import OTHER_VARIABLES, VARIABLES, Settings

    found = dict(OTHER_VARIABLES)
    for variable, (section, key) in VARIABLES.items():
        model = Settings if section is None else Settings.model_fields[section].annotation
        place = key if section is None else f"{section}.{key}"
        found[variable] = f"overrides `{place}` of the settings: {model.model_fields[key].description}"
    options: dict[str, dict[str, str]] = {}
    for path, command in commands():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(option.envvar, str):
                options.setdefault(option.envvar, {}).setdefault(option.opts[-1], f"anodeflow {path}")
    for variable, names in options.items():
        found[variable] = "; ".join(f"in place of `{name}`, of `{path}` and others" for name, path in names.items())
    return dict(sorted(found.items()))


def environment_page() -> str:
    """Return the page of environment variables."""
    items = "\n".join(f"`{name}`\n: {plain(text)}\n" for name, text in variables().items())
    return f"# Environment variables\n\nAn option on the command line goes before its variable.\n\n{items}"


# --- command line --------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its name, such as ``hpc doctor``; groups before what is in them."""
    from anodeflow.cli.main import cli

    def below(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None  # noqa: S101 - it is listed
            yield f"{path}{name}", command
            if isinstance(command, click.Group):
                yield from below(command, f"{path}{name} ")

    yield from below(cli, "")


def command_section(path: str, command: click.Command) -> str:
    """Return usage, help and options of a command."""
    context = click.Context(command, info_name=f"anodeflow {path}", help_option_names=["-h", "--help"])
    usage = " ".join([context.info_name or "", *command.collect_usage_pieces(context)])
    options = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and parameter.name != "help":
            options.append(f"`{record[0]}`\n: {plain(record[1])}\n")
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    level = "##" if " " not in path else "###"
    return f"{level} anodeflow {path}\n\n```text\n{usage}\n```\n\n{plain(text)}\n\n" + "\n".join(options)


def command_line_page() -> str:
    """Return the page of the command line."""
    rows = "\n".join(
        f"| [`{path}`](#anodeflow-{path.replace(' ', '-')}) | {plain(command.get_short_help_str(200))} |"
        for path, command in commands()
    )
    return "\n".join(
        [
            "# Command line\n",
            "`anodeflow COMMAND --help` says the same in a terminal. Exit statuses are on the page of "
            "[running](../running.md), completion by the Tab key on that of the [shell](../shell.md).\n",
            f"| command | |\n|---|---|\n{rows}\n",
            *(command_section(path, command) for path, command in commands()),
        ]
    )


# --- fields of queries ---------------------------------------------------------------------------------


def query_fields_page() -> str:
    """Return the page of what `results --query` may name."""
    from anodeflow.cli.query_fields import query_fields
    from anodeflow.workflows.studies.registry import tables

    by_document: dict[str, list[Any]] = {}
    for table in tables().values():
        by_document.setdefault(table.doc_type or "documents of every kind of study", []).append(table)
    parts = []
    for document, shown in by_document.items():
        fields = "\n".join(f"`{name}`\n: {plain(text) or '.'}\n" for name, text in query_fields(shown[0]).items())
        names = ", ".join(f"`--what {table.name}`" for table in shown)
        parts.append(f"## {document}\n\nOf {names}.\n\n{fields}")
    return "\n".join(
        [
            "# Fields of queries\n",
            "What `anodeflow results --query` may name, and what it holds; `anodeflow results --what NAME --fields` "
            "prints the same. Lists and mappings of numbers have indices and keys below them.\n",
            *parts,
        ]
    )


# --- the build -----------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Return every generated page of ``docs/reference/``, by the name of its file."""
    from anodeflow.workflows.studies.registry import STUDIES

    return {
        "studies.md": studies_page(),
        **{f"study-{kind.name}.md": study_page(kind) for kind in STUDIES},
        "cards.md": cards_page(),
        "settings.md": settings_page(),
        "tuning-files.md": tuning_page(),
        "environment.md": environment_page(),
        "command-line.md": command_line_page(),
        "query-fields.md": query_fields_page(),
    }


def write_pages(folder: Path, content: dict[str, str]) -> None:
    """Write the pages that have changed, and remove those that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.md"):
        if file.name not in content:
            file.unlink()
    for name, text in content.items():
        file = folder / name
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)


def _on_builder_inited(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "reference", pages())


def setup(app: Sphinx) -> dict[str, Any]:
    """See Sphinx."""
    app.connect("builder-inited", _on_builder_inited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
