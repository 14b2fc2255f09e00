"""The page for whoever adds a kind of study: its code is one, in one folder and one line of the registry."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-study.md"
# The command line with one more line in the registry, given several commands with `--` between them.
RUNNER = """
import sys

from anodeflow.workflows.studies import registry

from the_line import KIND

registry.STUDIES = (*registry.STUDIES, KIND)

from anodeflow.cli.exits import guarded
from anodeflow.cli.main import cli

commands = " ".join(sys.argv[1:]).split(" -- ")
for command in commands:
    status = guarded(lambda: cli.main(command.split(), standalone_mode=False))
    print(f"\\nSTATUS {status}")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The kind of study of the page, planned, run, queried, drawn and run again: (folder, outputs of the commands)."""
    pytest.importorskip("chgnet", reason="the package chgnet is not installed (pip install 'anodeflow[embedded]')")
    folder = tmp_path_factory.mktemp("adding")
    blocks = re.findall(r"```(?:python|text)\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "volume_scan").mkdir()
    for name, code in blocks:
        if name == "registry":
            code = f"from anodeflow.workflows.studies.registry import StudyKind\nKIND = {code}"
            name = "the_line.py"
        (folder / name).write_text(code)
    (folder / "runner.py").write_text(RUNNER)
    commands = [
        "plan scan.yaml --json",
        "run scan.yaml --figure scan.png --workers 1",
        "results --what bulk-moduli --json",
        "figure scan.yaml -o again.png",
        "run scan.yaml --json",
    ]
    arguments = [sys.executable, "runner.py", *" -- ".join(commands).split()]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    outputs = done.stdout.split("\nSTATUS 0\n")
    assert len(outputs) == len(commands) + 1, done.stdout + done.stderr
    return folder, outputs, done.stderr


def test_it_is_planned(finished):
    plan = json.loads(finished[1][0])
    scales = ("0.96", "0.98", "1", "1.02", "1.04")
    assert [(row["calculation"], row["task"]) for row in plan["jobs"]] == [
        ("Al/crystal", "relax_cell"),
        *((f"Al/volume {scale}", "static") for scale in scales),
    ]


def test_it_is_run_printed_and_drawn(finished):
    folder, outputs, _ = finished
    assert "bulk modulus, GPa" in outputs[1]
    for name in ("scan.png", "again.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_its_numbers_are_physics_and_can_be_queried(finished):
    _, outputs, _ = finished
    rows = json.loads(outputs[2])
    # 76 GPa by experiment; the potential makes it softer
    assert [row["crystal"] for row in rows] == ["Al"]
    assert 45 < rows[0]["bulk_modulus_gpa"] < 95
    assert rows[0]["engine"] == "chgnet"


def test_it_is_recognised_when_it_is_run_again(finished):
    _, outputs, said = finished
    document = json.loads(outputs[4])
    assert document["doc_type"] == "VolumeScanDoc"
    assert document["crystals"][0]["bulk_modulus_gpa"] == pytest.approx(json.loads(outputs[2])[0]["bulk_modulus_gpa"])
    assert "0 calculations computed, 6 reused" in said
