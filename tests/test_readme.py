"""What the README says is true: its Python runs, its links lead somewhere, its examples are valid."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.md")]),
    ROOT / "CONTRIBUTING.md",
]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def test_the_python_of_the_readme_runs(capsys):
    for code in blocks(ROOT / "README.md", "python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own page
    assert "6 Al" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "name",
    ["binding-energy", "surface-energy", "interface-energy", "interface-screening", "migration", "molecular-dynamics"],
)
def test_examples_and_papers_are_valid(name):
    from anodeflow.workflows.studies import load_study

    load_study(ROOT / "examples" / f"{name}.yaml").preflight()
    for file in (ROOT / "workflows" / "papers").glob("*-*.yaml"):
        load_study(file)


def test_its_numbers_of_entries_and_kinds_are_current():
    from anodeflow.structures.catalogue import crystal_names
    from anodeflow.workflows.studies.registry import STUDIES

    text = (ROOT / "README.md").read_text()
    assert f", {len(crystal_names())} entries, each with its source" in text
    listed = re.search(r"^\| Studies \|(.*)$", text, re.M).group(1)
    assert {kind.name for kind in STUDIES} <= set(re.findall(r"`([a-z-]+)`", listed))
