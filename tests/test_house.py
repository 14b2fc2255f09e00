"""The rooms of the house: no circle, no arrow up, a picture that is true, and the limits on size and names."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
house = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(house)

LONGEST_FUNCTION, LONGEST_FILE = 80, 500
#: A function longer than that says why in a comment of this form on the line of its ``def``, or above it.
REASON = re.compile(r"#\s*long:\s*\S+")
MOST_LONELY_NAMES = 40
#: Names that only their own module uses and that stay public, and why.
_RECORD = "what a public function gives, or a part of a stored document"
_PART = "a working part that its module documents for its readers"
_NAMED = "named in stored documents or queued jobs"
REASONS_OF_LONELY_NAMES: dict[str, str] = {
    "ArgyroditeConfiguration": _RECORD,
    "CrystalEntry": _RECORD,
    "Registry": _RECORD,
    "RankedRegistry": _RECORD,
    "ForceErrors": _RECORD,
    "StateDifference": _RECORD,
    "PrintedStep": _RECORD,
    "TunedRecord": _RECORD,
    "VoltageStep": _RECORD,
    "VacuumLevel": _RECORD,
    "PotentialGrid": _RECORD,
    "DecompositionField": _RECORD,
    "MixingPoint": _RECORD,
    "PotentialDoc": _RECORD,
    "Plateau": _RECORD,
    "LithiatedDoc": _RECORD,
    "VoltagePhaseDoc": _RECORD,
    "Linearity": _RECORD,
    "PlaneFit": _RECORD,
    "ReferenceValue": _RECORD,
    "ComparedValue": _RECORD,
    "PlaneCrossingDoc": _RECORD,
    "VanHoveDoc": _RECORD,
    "ThicknessStep": _RECORD,
    "SlabFit": _RECORD,
    "ThicknessConvergence": _RECORD,
    "ClusterSettings": _RECORD,
    "Healed": _RECORD,
    "Held": _RECORD,
    "PlannedJob": _RECORD,
    "SubmissionReport": _RECORD,
    "PotcarFile": _RECORD,
    "Provenance": _RECORD,
    "ArchiveContents": _RECORD,
    "MoveReport": _RECORD,
    "Keyword": _RECORD,
    "BandCalculation": _PART,
    "Tetrahedra": _PART,
    "Selection": _PART,
    "JoinedCompactTrajectory": _PART,
    "Propagator": _PART,
    "Heartbeat": _PART,
    "RestingLangevin": _PART,
    "RestingNoseHoover": _PART,
    "check_engine": _PART,
    "Model": _PART,
    "StudyTask": _NAMED,
    "ServerJobStore": _NAMED,
}


def test_no_modules_import_each_other_in_a_circle():
    assert house.circles() == []


def test_no_arrow_goes_up_or_sideways():
    assert [(a, b) for a, b in sorted(house.arrows()) if house.layer_of(b) <= house.layer_of(a)] == []


def test_the_picture_is_that_of_the_code():
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == house.picture(), "draw it again: python docs/draw_architecture.py"


def test_engines_hold_few_files_beside_their_rooms():
    assert len(list((ROOT / "workflows" / "engines").glob("*.py"))) <= 8


@pytest.mark.parametrize("room", ["vasp", "castep", "espresso", "gpaw"])
def test_rooms_of_programs_have_the_same_files(room):
    names = {file.stem for file in (ROOT / "workflows" / "engines" / room).glob("*.py")}
    assert {"__init__", "engine", "inputs", "outputs", "calculation"} <= names


def test_functions_and_files_are_short_or_say_why():
    long = []
    for name, file in house.modules().items():
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        if len(lines) > LONGEST_FILE:
            long.append(f"{name}: {len(lines)} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                around = "\n".join(lines[max(0, node.lineno - 2 - len(node.decorator_list)) : node.lineno + 1])
                if length > LONGEST_FUNCTION and not REASON.search(around):
                    long.append(f"{name}.{node.name}: {length} lines")
    assert long == []


def lonely_names():
    """Public names of a module that nothing else uses: no module, test, benchmark, page or example."""
    sources = {name: file.read_text(encoding="utf-8") for name, file in house.modules().items()}
    words = {name: set(re.findall(r"\w+", text)) for name, text in sources.items()}
    elsewhere = [
        file.read_text(encoding="utf-8", errors="replace")
        for folder in ("tests", "benchmarks", "docs", "examples", "hpc_templates")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".md", ".yaml", ".toml", ".sh"}
        and "golden" not in file.parts
        and file != Path(__file__)
    ]
    others = set(re.findall(r"\w+", " ".join([*elsewhere, (ROOT / "README.md").read_text(encoding="utf-8")])))
    found = []
    for name, text in sources.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined = [node.name]
            elif isinstance(node, ast.Assign):
                defined = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined = [node.target.id]
            else:
                defined = []
            for public in defined:
                used = public in others or any(public in w for other, w in words.items() if other != name)
                if not public.startswith("_") and not used:
                    found.append((name, public))
    return found


def test_few_names_are_public_for_nobody():
    lonely = lonely_names()
    unexplained = [f"{module}.{name}" for module, name in lonely if name not in REASONS_OF_LONELY_NAMES]
    assert unexplained == []
    assert len(lonely) <= MOST_LONELY_NAMES
