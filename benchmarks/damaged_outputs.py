"""Damage the output of programs at random and count how it is read.

Run ``python benchmarks/damaged_outputs.py [number]``: 850 damages a file by default, some minutes. A damage is a digit,
line or block that is changed, lost, doubled or moved, stars, noise, zero bytes or an early end; the seed is that of
``tests/mutations.py``.

*right*: the numbers are those of the undamaged file. *flagged*: they may not be, and a warning or the outcome says so.
*error*: one line says what is wrong. *said once*: a number was changed that nothing else in the file tells. *computed
again*: the file is not taken for the result. A wrong number that nobody mentions, an exception of another kind or more
than 20 s end the script with an AssertionError.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
COLUMNS = ("right", "flagged", "error", "said once", "computed again")


def main() -> None:
    """Print the table, file by file: whatever the tests of damages survey."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 850
    print(f"| file | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for module in sorted(TESTS.rglob("test_*_mutations.py")):
        sys.path[:0] = [str(TESTS), str(module.parent)]
        survey = getattr(importlib.import_module(module.stem), "survey", None)
        if survey is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name, count in survey(number, Path(folder)):
                print(f"| {name} | {' | '.join(str(count[column]) for column in COLUMNS)} |", flush=True)


if __name__ == "__main__":
    main()
