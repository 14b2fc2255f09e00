"""Which folder may import which, and what no file may hold."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "structures": {"errors", "files", "lithium_states", "parameters", "suggest", "units", "voigt", "structures"},
    "analysis": {"columns", "errors", "files", "lithium_states", "suggest", "units", "voigt", "documents", "analysis"},
    "workflows": {
        "__version__",
        "errors",
        "files",
        "lithium_states",
        "parameters",
        "suggest",
        "units",
        "voigt",
        "documents",
        "settings",
        "yaml_input",
        "structures",
        "analysis",
        "workflows",
    },
    "hpc_templates": set(),
}
# of anodeflow itself: the ground that everything stands on
GROUND = ("columns", "errors", "files", "lithium_states", "parameters", "suggest", "units", "voigt")
SOURCES = [f for folder in (*MAY_IMPORT, "anodeflow") for f in sorted((ROOT / folder).rglob("*.py"))]


def imported_parts(file: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "anodeflow":
                names = [f"anodeflow.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("anodeflow.")}
    return parts


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_folder_imports_only_what_it_may(file):
    folder = file.relative_to(ROOT).parts[0]
    if folder in MAY_IMPORT:
        assert imported_parts(file) <= MAY_IMPORT[folder]
    if file.parent == ROOT / "anodeflow" and file.stem in GROUND:
        assert not imported_parts(file)


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_pickle_no_eval_no_shell(file):
    text = file.read_text()
    assert not re.search(
        r"\bimport pickle\b|\bfrom pickle\b|(?<![\w.])eval\(|(?<![\w.])exec\(|shell=True|os\.system", text
    )


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_file_says_what_it_is(file):
    assert ast.get_docstring(ast.parse(file.read_text()))


def test_engines_know_no_study_and_studies_no_input_keyword():
    for file in (ROOT / "workflows" / "engines").rglob("*.py"):
        assert "workflows.studies" not in file.read_text(), file
    for file in (ROOT / "workflows" / "studies").rglob("*.py"):
        assert not re.search(r"\b(ENCUT|EDIFFG?|ISIF|IBRION|ecutwfc|cut_off_energy)\b", file.read_text()), file


def test_no_file_is_too_long_to_read():
    files = [*SOURCES, *(f for folder in ("tests", "benchmarks", ".ci") for f in (ROOT / folder).rglob("*.py"))]
    assert [str(f.relative_to(ROOT)) for f in files if len(f.read_text().splitlines()) > 500] == []
