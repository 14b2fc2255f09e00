"""How long commands take to start: processor seconds of a process, beside Python and the libraries it imports.

    python benchmarks/start_up.py [--repeats N] [--store FILE]

Each command runs several times in a new process; the least processor time (user and system) is printed, which
a busy machine disturbs the least. Beside it stands what a process costs that imports the libraries the command cannot
do without: the ratio says how much of the time is ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ANODEFLOW = [sys.executable, "-m", "anodeflow"]


def processor_seconds(command: list[str], folder: Path, repeats: int) -> float:
    """Return the least processor time of a command, seconds; SystemExit if it fails."""
    least = float("inf")
    for _ in range(repeats):
        with open(os.devnull, "w") as nowhere:
            child = os.posix_spawn(
                command[0],
                command,
                {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
                ],
            )
            _, status, usage = os.wait4(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
        least = min(least, usage.ru_utime + usage.ru_stime)
    return least


def rows(store: Path) -> list[tuple[str, list[str], str, float]]:
    """Return name, command, what it cannot do without (a statement of Python), and the limit in seconds."""
    study = str(ROOT / "examples" / "binding-energy.yaml")
    return [
        ("--help", [*ANODEFLOW, "--help"], "import click", 0.15),
        (
            "results",
            [*ANODEFLOW, "results", "--store", str(store)],
            "import click, rich.table, rich.console, maggma.core, mongomock_ng",
            0.6,
        ),
        (
            "plan examples/binding-energy.yaml",
            [*ANODEFLOW, "plan", study],
            "import click, rich.table, rich.console, pydantic, spglib, pymatgen.core, scipy.spatial, scipy.optimize",
            2.0,
        ),
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", type=Path, help="a results file to query; by default an empty one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = given.store or folder / "empty.sqlite"
        if given.store is None:
            from anodeflow.workflows.store import open_job_store

            open_job_store(store)
        print(f"{'command':36}{'seconds':>9}{'limit':>8}{'libraries alone':>17}{'ratio':>7}")
        for title, command, libraries, limit in rows(store):
            seconds = processor_seconds(command, folder, given.repeats)
            alone = processor_seconds([sys.executable, "-c", libraries], folder, given.repeats)
            print(f"{title:36}{seconds:9.2f}{limit:8.2f}{alone:17.2f}{seconds / alone:7.2f}")


if __name__ == "__main__":
    main()
