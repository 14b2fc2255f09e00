"""What every page shows can be used: commands parse, study files load, names of Python exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from anodeflow.cli.main import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WRITTEN = [p for p in sorted(DOCS.rglob("*.md")) if not {"reference", "_build"} & set(p.relative_to(DOCS).parts)]
_ABOVE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
PAGES = [*(ROOT / name for name in _ABOVE), *WRITTEN]
_FENCE = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1 *$", re.S | re.M)
_CONTROL = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "(", ")"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page):
    """Yield language and text of each block; cells of notebooks are in the language of their first line."""
    for _, info, text in _FENCE.findall(page.read_text()):
        language = info.strip()
        if language.startswith("{code-cell}"):
            text = "".join(line for line in text.splitlines(keepends=True) if not re.match(r":\w+:", line))
            magic = text.lstrip().partition("\n")[0]
            if magic.startswith("%%bash"):
                yield "bash", text.replace(magic, "", 1)
            elif magic.startswith("%%writefile"):
                file = magic.split()[1]
                yield file.rpartition(".")[2], f"# {file}\n" + text.lstrip().partition("\n")[2]
            else:
                yield "python", text
        else:
            yield language, text


def commands(text):
    """Return the words after each ``anodeflow`` that stands where a command does."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a line that is not of a shell
            continue
        start = 0
        for end in [*(i for i, word in enumerate(words) if word in _CONTROL), len(words)]:
            command = words[start:end]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command[1:] and Path(command[0]).name == "anodeflow":
                found.append(command[1:])
            start = end + 1
    return found


def problem(words):
    """Return what click finds wrong with a command; None for nothing, or for ``--help``."""
    try:
        parse(words)
    except click.exceptions.Exit as end:
        return f"exit status {end.exit_code}" if end.exit_code else None
    except click.ClickException as error:
        return error
    return None


def parse(words):
    """Parse a command as click does, without running it."""
    # placeholders; the table of the kind of study that a page adds
    if words[0] in ("COMMAND", "...") or "bulk-moduli" in words:
        return
    command, context, name = cli, None, "anodeflow"
    while True:
        context = command.make_context(name, list(words), parent=context, help_option_names=["-h", "--help"])
        if not isinstance(command, click.Group):
            return
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


@pytest.fixture
def any_path(monkeypatch):
    """Take every path for one that exists: pages name files that nobody has."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: self.coerce_path_result(value))
    for name in ("ANODEFLOW_STORE", "ANODEFLOW_CLUSTER", "ANODEFLOW_WORKERS", "ANODEFLOW_THREADS"):
        monkeypatch.delenv(name, raising=False)


@each_page
def test_commands_parse(page, any_path, capsys):
    for language, text in blocks(page):
        for words in [] if language in ("python", "yaml") else commands(text):
            assert problem(words) is None, words


@each_page
def test_commands_within_the_text_parse(page, any_path, capsys):
    text = _FENCE.sub("", page.read_text())
    for inline in re.findall(r"`(anodeflow [^`]+)`", text):
        found = problem(shlex.split(inline)[1:])
        only_named = isinstance(
            found, click.MissingParameter | click.BadOptionUsage | click.exceptions.NoArgsIsHelpError
        )
        assert found is None or only_named, inline


@pytest.mark.parametrize("example", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.name)
def test_commands_in_examples_parse(example, any_path, capsys):
    comments = re.findall(r"^# +(anodeflow .*?)(?:   |$)", example.read_text(), re.M)
    for words in commands("\n".join(comments)):
        assert problem(words) is None, words


@each_page
def test_files_load(page, tmp_path):
    from anodeflow.analysis.cell_arithmetic import Cells
    from anodeflow.settings import Settings
    from anodeflow.workflows.cards import MethodCard, load_card
    from anodeflow.workflows.studies import load_study
    from anodeflow.workflows.tuning.settings import load_tuning
    from anodeflow.yaml_input import read_yaml, validate

    for number, text in enumerate(text for language, text in blocks(page) if language == "yaml"):
        named = re.match(r"# (\S+\.yaml)", text)
        file = tmp_path / (named[1] if named else f"{number}.yaml")
        file.write_text(text)
        content = yaml.safe_load(text)
        if "study" in content:
            load_study(file)
        elif "tune" in content:
            load_tuning(file)
        elif "cells" in content:
            validate(Cells, read_yaml(file), file)
        elif set(content) <= set(MethodCard.model_fields) and "functional" in content:
            load_card(file)
        elif set(content) <= set(Settings.model_fields):
            validate(Settings, read_yaml(file), file)
        else:
            pytest.fail(f"{page.name}: block {number} is neither a study, cells, a card nor settings")


@each_page
def test_python_names_exist(page):
    for language, text in blocks(page):
        if language != "python":
            continue
        plain = re.sub(r"^[!%].*", "", text, flags=re.M)
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("anodeflow"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


def test_every_page_is_in_the_site():
    listed = set()
    for page in (DOCS / "index.md", DOCS / "reference.md"):
        for _, info, text in _FENCE.findall(page.read_text()):
            if info == "{toctree}":
                listed |= {line for line in text.splitlines() if line and not line.startswith(":")}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in WRITTEN}
    assert pages - {"index"} == {name for name in listed if not name.startswith("reference/")}
