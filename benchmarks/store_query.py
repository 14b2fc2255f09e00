"""Time queries of the embedded store over many job documents, beside a scan and maggma's MemoryStore.

Run ``python benchmarks/store_query.py [documents]`` (100000 by default; some minutes). Prints medians in ms,
the ratios, the peak memory of the process before and after a full scan, and the size of the file.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from maggma.stores import MemoryStore

from anodeflow.workflows.store import SQLiteStore, find_finished, open_job_store


def job_document(number: int) -> dict:
    """A job's document of about 1.5 kB."""
    return {
        "number": number,
        "uuid": f"uuid-{number:08d}",
        "index": 1,
        "name": f"relax {number % 50}",
        "completed_at": (datetime(2024, 1, 1) + timedelta(seconds=number)).isoformat(),
        "metadata": {"study": f"study-{number % 200}", "kind": "binding_energy", "label": str(number)},
        "output": {
            "doc_type": "CalculationDoc",
            "fingerprint": f"{number:064x}",
            "converged": number % 10 != 0,
            "energy_ev": -3.5 * number,
            "engine": {"name": "potential"},
            "card": {"name": "paper"},
            "forces": [[0.1 * i, 0.0, number / 7] for i in range(24)],
        },
    }


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of some work, in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Fill the stores, time the queries, print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        jobs = open_job_store(path)
        indexed = jobs.docs_store
        plain = SQLiteStore(path, "plain", key="number")
        for name, store in (("indexed", indexed), ("unindexed", plain)):
            start = time.perf_counter()
            for first in range(0, count, 1000):
                store.update([job_document(i) for i in range(first, min(first + 1000, count))])
            print(f"{name}: {count / (time.perf_counter() - start):,.0f} documents/s in batches of 1000")
        one_by_one = median_ms(lambda: indexed.update(job_document(7)), 200)
        print(f"one document in one durable transaction: {one_by_one:.2f} ms")

        before = peak_mb()
        total = sum(1 for _ in indexed.query())
        print(f"full scan of {total} documents raised the peak memory from {before:.0f} to {peak_mb():.0f} MB")
        print(f"file: {path.stat().st_size / 1e6:.0f} MB (both collections)\n")

        memory = MemoryStore()
        memory.connect()
        memory._collection.insert_many([job_document(i) for i in range(count)])  # its update() is quadratic

        middle = f"{count // 2 + 1:064x}"
        queries: dict[str, tuple[dict, dict | None, int]] = {
            "uuid and index": ({"uuid": f"uuid-{count // 3:08d}", "index": 1}, None, 0),
            "fingerprint, finished": ({"output.fingerprint": middle, "output.converged": True}, None, 0),
            "study, newest 20": ({"metadata.study": "study-7"}, {"completed_at": -1}, 20),
            "whole study (1 of 200)": ({"metadata.study": "study-7"}, None, 0),
            "newest 20 of all": ({}, {"completed_at": -1}, 20),
            "time range, 20": ({"completed_at": {"$gte": "2024-01-01T12:00"}}, {"completed_at": 1}, 20),
        }
        print(f"{'query':<24}{'indexed':>10}{'scan':>10}{'Memory':>10}{'scan/ix':>9}{'Mem/ix':>9}  ms")
        for label, (criteria, sort, limit) in queries.items():
            ask = [
                lambda s=store, c=criteria, o=sort, n=limit: list(s.query(c, sort=o, limit=n))
                for store in (indexed, plain, memory)
            ]
            indexed_ms, scan_ms, memory_ms = median_ms(ask[0], 21), median_ms(ask[1], 1), median_ms(ask[2], 1)
            ratios = f"{scan_ms / indexed_ms:>9.0f}{memory_ms / indexed_ms:>9.0f}"
            print(f"{label:<24}{indexed_ms:>10.2f}{scan_ms:>10.0f}{memory_ms:>10.0f}{ratios}", flush=True)
        counted = median_ms(lambda: indexed.count({"output.converged": True, "metadata.study": "study-7"}), 21)
        finished_ms = median_ms(lambda: find_finished(jobs, middle), 21)
        print(f"{'count, two fields':<24}{counted:>10.2f}\n{'find_finished':<24}{finished_ms:>10.2f}")


if __name__ == "__main__":
    main()
