"""Try what strangers' files, archives and accidents do, and print what was tried and survived.

Run ``python benchmarks/reliability.py`` for the tests of each topic, some minutes, and ``--long`` for the thousands of
damages, too: an hour. The table is that of docs/reliability.md. A test that fails is a case that was not survived; the
script then ends with status 1. One that is skipped lacks a program or a package on this machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "structure files of strangers, each with its right value",
        ("structures/test_cif_files.py", "structures/test_structure_files.py", "structures/test_argyrodite_files.py"),
    ),
    ("trajectories cut at random places", ("analysis/test_trajectories_truncation.py",)),
    (
        "nonsense in studies and cards: a sample of the mutations",
        ("workflows/test_number_mutations.py", "workflows/test_cards.py"),
    ),
    (
        "archives made to harm, edited or relabelled",
        ("cluster/test_hostile_archives.py", "cluster/test_archive_files.py", "cluster/test_imported_results.py"),
    ),
    (
        "stores damaged (400 with flipped bits in one of the tests), deleted, replaced",
        ("store/test_damaged_stores.py", "store/test_store_faults.py"),
    ),
    (
        "workers, parents and writers killed",
        ("local/test_worker_processes.py", "store/test_store_processes.py"),
    ),
    ("too little memory", ("workflows/test_memory.py",)),
)
LONG = ("absurd_numbers.py", "damaged_outputs.py", "kills.py")


def tried(files: tuple[str, ...]) -> tuple[int, int, int]:
    """Run tests; return how many there are, how many failed, and how many were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
        paths = [str(ROOT / "tests" / file) for file in files]
        subprocess.run([*command, f"--junitxml={report}", *paths], cwd=ROOT, capture_output=True, check=False)
        suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314 - written by pytest just now
    if suite is None:
        raise SystemExit(f"pytest wrote no report on {', '.join(files)}")
    number, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    return number, int(suite.attrib["failures"]) + int(suite.attrib["errors"]), skipped


def main() -> int:
    """Print the table; return 1 where something was not survived."""
    lost = 0
    print("| tried | tests | survived | skipped | s |\n|---|---|---|---|---|")
    for topic, files in TOPICS:
        start = time.perf_counter()
        number, failed, skipped = tried(files)
        lost += failed
        seconds = time.perf_counter() - start
        print(f"| {topic} | {number} | {number - failed - skipped} | {skipped} | {seconds:.0f} |", flush=True)
    if "--long" in sys.argv:
        for script in LONG:
            print(f"\n`benchmarks/{script}`:\n", flush=True)
            lost += subprocess.run([sys.executable, ROOT / "benchmarks" / script], check=False).returncode != 0
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
