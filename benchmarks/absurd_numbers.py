"""Replace every number of every study and method card by nonsense, and count what becomes of it.

Run ``python benchmarks/absurd_numbers.py [part of a name]``: all of them in about a quarter of an hour. Zero, negative,
tiny, huge, NaN, infinite, true, text and lists take the place of every number of the studies in examples/ and of the
papers, and of every card; settings that a file leaves out included. Each is planned as ``anodeflow plan`` does; a host,
path, surface or system without the others of its study.

*refused*: one line says what is wrong. *accepted*: the value may be right there (a seed of 0), and the plan is sound:
no cell of more than 5000 atoms, no step of more than 10^12 s. *wrong* is anything else (a traceback, more than 20 s,
nonsense that is accepted): it is printed, and the script ends with status 1.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
COLUMNS = ("numbers", "mutations", "refused", "accepted", "wrong")


def main() -> int:
    """Print the table; return 1 where something is wrong."""
    sys.path.insert(0, str(TESTS))
    from number_mutations import subjects, trial

    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    total: Counter[str] = Counter()
    print(f"| study or card | {' | '.join(COLUMNS)} | longest (s) |\n|---|{'---|' * (len(COLUMNS) + 1)}")
    for name, every, attempts_in in subjects():
        if wanted not in name:
            continue
        count, longest = Counter(numbers=len({mutation.where for mutation in every}), mutations=len(every)), 0.0
        with tempfile.TemporaryDirectory() as folder:
            attempt_of = attempts_in(Path(folder))
            for mutation in every:
                start = time.perf_counter()
                try:
                    count[trial(mutation, attempt_of(mutation))] += 1
                except AssertionError as error:
                    count["wrong"] += 1
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                longest = max(longest, time.perf_counter() - start)
        print(f"| {name} | {' | '.join(str(count[column]) for column in COLUMNS)} | {longest:.1f} |", flush=True)
        total.update(count)
    print(f"| all | {' | '.join(str(total[column]) for column in COLUMNS)} | |")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
