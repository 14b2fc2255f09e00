"""Kill a run with four workers again and again, its parent or one of them, and count what is lost.

Run ``python benchmarks/kills.py [number of kills, 20]``: some minutes. Elastic constants of seven crystals with the
embedded engine, 4 workers of one thread. After a random time a random process of the run, the parent every second time,
gets SIGKILL. A dead parent's run is started again by its own command; a run that ended begins again in another store.

Counted as lost: a result that was in the store before a kill and is not after it, or is another; a worker that lives
more than 5 s without its parent; a store that fails its own checks; a final number that differs in any bit from that of
a run that nobody disturbed. The script ends with status 1 where anything is lost. Times and victims are seeded.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

TESTS = Path(__file__).parents[1] / "tests"
WORKERS = 4
LONGEST_S = 5.0
STUDY = {
    "study": "crystal-properties",
    "crystals": ["Li", "Al", "LiAl", "LiAl3", "LiCl", "Li2S", "AlP"],
    "cells": "primitive",
    "elastic": True,
}


def _started(folder: Path, store: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "anodeflow.cli.main", "run", "study.yaml", "--store", store]
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--workers", str(WORKERS), "--threads", "1"], cwd=folder, stdout=log, stderr=log
        )


def _stored(store: Path) -> dict[str, str]:
    """Return every finished calculation of a store by its fingerprint: its energy, forces and geometry as one text."""
    from anodeflow.errors import StoreError
    from anodeflow.workflows.store import open_job_store

    try:
        documents = open_job_store(store).query({"output.fingerprint": {"$exists": True}}, load=True)
        return {
            document["output"]["fingerprint"]: json.dumps(
                [document["output"].get(key) for key in ("energy_ev", "stress_gpa", "structure")],
                sort_keys=True,
                default=str,
            )
            for document in documents
        }
    except StoreError:
        if store.exists():
            raise
        return {}


def _numbers(folder: Path, store: str) -> str:
    """Return the numbers of the finished study, the clock left out."""
    command = [sys.executable, "-P", "-m", "anodeflow.cli.main", "results", "--store", store, "--study", "study.yaml"]
    listed = subprocess.run([*command, "--json"], cwd=folder, capture_output=True, text=True, check=True).stdout
    rows = json.loads(listed)
    return json.dumps([{k: v for k, v in row.items() if k != "completed_at"} for row in rows])


def _lost(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [fingerprint for fingerprint, content in before.items() if after.get(fingerprint) != content]


# long: one story, a kill after the other
def main() -> int:
    """Print the table; return 1 where something was lost."""
    sys.path.insert(0, str(TESTS))
    from processes import children, lifetime_s

    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    draw = random.Random(1)
    counts = {"parent": 0, "a worker": 0}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        clock = time.monotonic()
        if _started(folder, "undisturbed.sqlite").wait() != 0:
            raise SystemExit((folder / "run.log").read_text()[-2000:])
        length_s = time.monotonic() - clock
        right = _numbers(folder, "undisturbed.sqlite")
        runs, process, longest = 0, None, 0.0
        while True:
            if process is None:
                runs += 1
                process = _started(folder, f"{runs}.sqlite")
            store = folder / f"{runs}.sqlite"
            enough = sum(counts.values()) >= wanted
            try:
                status = process.wait(None if enough else draw.uniform(0.1, 0.5) * length_s)
            except subprocess.TimeoutExpired:
                before, workers = _stored(store), children(process.pid)
                parent = counts["parent"] <= counts["a worker"] or not workers
                counts["parent" if parent else "a worker"] += 1
                os.kill(process.pid if parent else draw.choice(workers), signal.SIGKILL)
                if parent:
                    process.wait()
                    if (lived := lifetime_s(workers, 4 * LONGEST_S)) > LONGEST_S:
                        faults.append(f"kill {sum(counts.values())}: workers lived {lived:.1f} s")
                    longest = max(longest, lived)
                    faults += [f"kill {sum(counts.values())}: {lost} lost" for lost in _lost(before, _stored(store))]
                    process = _started(folder, store.name)
                continue
            if status != 0:
                faults.append(f"run {runs} ended with {status}: {(folder / 'run.log').read_text()[-300:]}")
            elif _numbers(folder, store.name) != right:
                faults.append(f"run {runs}: other numbers than those of the run that nobody disturbed")
            process = None
            if enough:
                break
    print("| killed | times |\n|---|---|")
    for victim, times in counts.items():
        print(f"| {victim} | {times} |")
    print(f"\n{runs} runs of {length_s:.0f} s; workers lived {longest:.1f} s at most alone; lost: {len(faults)}")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
