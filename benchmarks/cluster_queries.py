"""Status and results over many stored calculations: wall and processor time, and for a database commands and bytes.

``python benchmarks/cluster_queries.py file [CALCULATIONS]`` fills an embedded store (100,000 by default) and also times
the commands that a person types, the start of Python included. ``python benchmarks/cluster_queries.py database`` fills
the test database of tests/cluster (10,000 by default). That server is a test double in Python, which reads and copies
every document of a collection for every question; a MongoDB uses its indexes. So there the wall time is nearly all the
double's; commands and bytes are those of any server.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pymongo

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cluster"))

from conftest import MongoServer
from test_many import Counted, calculation

from anodeflow.cli.results import rows_of
from anodeflow.workflows.cluster.progress import of_database, of_file
from anodeflow.workflows.store import database as databases
from anodeflow.workflows.store import open_job_store

STUDIES = 100


QUESTIONS = {
    "results, newest 200": {"limit": 200},
    "results, one study": {"study_hash": f"{7:016x}"},
    "results, unconverged": {"converged": False},
}


def documents(number):
    """All calculations, a thousand at a time."""
    for first in range(0, number, 1000):
        yield [calculation(index, STUDIES) for index in range(first, min(first + 1000, number))]


def timed(name, ask, note=lambda: ""):
    """Ask once and print how long it took."""
    wall, processor = time.perf_counter(), time.process_time()
    rows = len(ask())
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:44} {rows:6} rows  {wall:6.2f} s wall  {processor:5.2f} s here  {note()}")


def in_a_file(number):
    """The embedded store, and the commands."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "many.sqlite"
        store = open_job_store(file)
        for some in documents(number):
            store.docs_store.update(some, ["uuid", "index"])
        print(f"{number} calculations in {file.stat().st_size / 1e6:.0f} MB")
        timed("status", lambda: of_file(file))
        for name, options in QUESTIONS.items():
            timed(name, lambda options=options: rows_of(store, "calculations", **options))
        store.close()
        for words in (["status"], ["results", "--what", "calculations"],
                      ["results", "--what", "calculations", "--study", f"{7:016x}"],
                      ["results", "--what", "calculations", "--unconverged", "--json"]):  # fmt: skip
            command = [sys.executable, "-m", "anodeflow", *words, "--store", str(file)]
            timed("anodeflow " + " ".join(words), lambda command=command: lines_of(command))


def lines_of(command):
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def in_a_database(number):
    """The test server."""
    server = MongoServer()
    try:
        uri = server.uri("many")
        jobs = pymongo.MongoClient(uri).get_default_database().jobs
        for some in documents(number):
            jobs.insert_many(some)
        listener = Counted()
        usual = databases.Database.client_options
        databases.Database.client_options = lambda database: usual(database) | {"event_listeners": (listener,)}
        database = databases.database_from_uri(uri)
        store = open_job_store(uri, read_only=True)

        questions = {"status": lambda: of_database(database)}
        for name, options in QUESTIONS.items():
            questions[name] = lambda options=options: rows_of(store, "calculations", **options)
        for name, ask in questions.items():
            listener.sent.clear()
            listener.bytes = 0
            timed(name, ask, lambda: f"{len(listener.sent):3} commands  {listener.bytes / 1000:7.0f} kB")
    finally:
        server.stop()


def main():
    """Measure the one or the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("where", choices=["file", "database"])
    parser.add_argument("calculations", nargs="?", type=int)
    arguments = parser.parse_args()
    if arguments.where == "file":
        in_a_file(arguments.calculations or 100_000)
    else:
        in_a_database(arguments.calculations or 10_000)


if __name__ == "__main__":
    main()
