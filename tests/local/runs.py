"""Runs of a study without physics on this machine, in processes of their own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

SITE = Path(__file__).parents[1] / "site"
TINY = {
    "study": "binding-energy",
    "engine": "folderless",
    "hosts": ["Li"],
    "states": ["interstitial"],
    "references": ["bulk_metal"],
    "bulk": {"min_image_distance_angstrom": 5.0},
}


def start(folder, *arguments, study="tiny.yaml"):
    return subprocess.Popen(
        [sys.executable, "-m", "anodeflow", "run", study, "--json", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def began(folder, number=1):
    """Wait until so many calculations have begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "computed").exists() and len((folder / "computed").read_text().splitlines()) >= number:
            return
        time.sleep(0.05)
    pytest.fail("no calculation began")
