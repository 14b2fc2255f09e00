"""Runs mypy on the sources: ``.venv/bin/python .ci/typecheck.py [options of mypy]``.

mypy finds a package by its folders, and ``structures/`` is ``anodeflow.structures`` only once it is installed. So it
gets a folder of links with the installed layout; nothing is built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKS = ROOT / "build" / "links"


def link_sources() -> list[str]:
    """Lay the packages of pyproject.toml out as they are installed; return the folders beside ``anodeflow/``."""
    shutil.rmtree(LINKS, ignore_errors=True)
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    package = LINKS / "anodeflow"
    package.mkdir(parents=True)
    for entry in sorted((ROOT / folders.pop("anodeflow")).iterdir()):
        (package / entry.name).symlink_to(entry)
    for name, folder in folders.items():
        link = LINKS / name.replace(".", "/")
        if not link.exists():  # it may be inside one that is linked
            link.symlink_to(ROOT / folder)
    return list(folders.values())


def main(options: list[str]) -> int:
    """Print what mypy says, with the paths of the sources; return its exit status."""
    folders = link_sources()
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", "anodeflow", *options],
        cwd=LINKS,
        env=os.environ | {"MYPYPATH": str(LINKS), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    for folder in folders:
        said = said.replace(f"anodeflow/{folder}/", f"{folder}/")
    sys.stdout.write(said)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
