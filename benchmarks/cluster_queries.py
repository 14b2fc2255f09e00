"""Status and results over many calculations in a database: time, commands and bytes.

``python benchmarks/cluster_queries.py [CALCULATIONS]`` fills the test database of tests/cluster (10,000 by default).
That server is a test double in Python, which reads and copies every document of a collection for every question;
a MongoDB uses its indexes. So two times are printed: wall time, nearly all of it the double's, and the processor time
of this process. Commands and bytes are those of any server.
"""

import sys
import time
from pathlib import Path

import pymongo

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cluster"))

from conftest import MongoServer
from test_many import Counted, calculation

from anodeflow.queries import rows_of
from anodeflow.workflows.cluster import database as databases
from anodeflow.workflows.cluster.progress import of_database
from anodeflow.workflows.store import open_job_store

STUDIES = 100


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    server = MongoServer()
    try:
        uri = server.uri("many")
        jobs = pymongo.MongoClient(uri).get_default_database().jobs
        for first in range(0, number, 1000):
            jobs.insert_many([calculation(one, STUDIES) for one in range(first, min(first + 1000, number))])
        listener = Counted()
        options = databases.Database.client_options
        databases.Database.client_options = lambda database: options(database) | {"event_listeners": (listener,)}
        database = databases.database_from_uri(uri)
        store = open_job_store(uri, read_only=True)
        questions = {
            "status": lambda: of_database(database),
            "results, newest 200": lambda: rows_of(store, "calculations", limit=200),
            "results, one study": lambda: rows_of(store, "calculations", study_hash=f"{7:016x}"),
            "results, unconverged": lambda: rows_of(store, "calculations", converged=False),
        }
        for name, ask in questions.items():
            commands, size = len(listener.sent), listener.bytes
            wall, processor = time.perf_counter(), time.process_time()
            rows = len(ask())
            print(
                f"{name:22} {rows:5} rows  {time.perf_counter() - wall:6.2f} s wall  "
                f"{time.process_time() - processor:5.2f} s here  {len(listener.sent) - commands:3} commands  "
                f"{(listener.bytes - size) / 1000:7.0f} kB"
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
