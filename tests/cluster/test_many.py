"""Status and results over many stored calculations: few commands, small replies, every filter on an index."""

import json
from datetime import datetime

import bson
import pymongo
import pytest
from pymongo import monitoring

from anodeflow.cli.results import rows_of
from anodeflow.workflows.cluster.progress import of_database
from anodeflow.workflows.store import database as databases
from anodeflow.workflows.store import open_job_store

NUMBER = 500
STRUCTURE = {"lattice": {}, "sites": [{"label": "Li", "abc": [0, 0, 0]}, {"label": "Cl", "abc": [0.5, 0.5, 0.5]}]}


class Counted(monitoring.CommandListener):
    """Commands that were sent, and bytes that came back."""

    def __init__(self):
        self.sent, self.bytes = [], 0

    def started(self, event):
        self.sent.append((event.command_name, event.command.to_dict() if hasattr(event.command, "to_dict") else
                          dict(event.command)))  # fmt: skip

    def succeeded(self, event):
        self.bytes += len(bson.encode(event.reply))

    def failed(self, event):
        pass


def calculation(number, studies):
    return {
        "uuid": f"u{number}", "index": 1, "name": f"LiCl/{number}", "completed_at": f"2026-01-01T00:00:{number:06d}",
        "metadata": {"study_hash": f"{number % studies:016x}", "study": "binding-energy", "label": f"LiCl/{number}",
                     "tags": ["paper"]},
        "output": {
            "doc_type": "CalculationDoc", "label": f"LiCl/{number}", "crystal": "LiCl", "task": "relax",
            "energy_ev": -7.0, "structure": STRUCTURE, "converged": number % 50 != 0, "ionic_steps": 3,
            "max_force_ev_per_angstrom": 0.01, "max_stress_gpa": None, "charge": 0, "wall_time_s": 1.0,
            "fingerprint": f"{number:032x}", "error": None if number % 50 else "not relaxed",
            "engine": {"name": "chgnet", "kind": "potential", "stand_in": False}, "card": {"name": "embedded"},
            "arrays": {"forces": [[0.0] * 3] * 100},
        },
    }  # fmt: skip


@pytest.fixture
def counted(uri, monkeypatch):
    """A database of many calculations, and what is asked of it from now on."""
    jobs = pymongo.MongoClient(uri).get_default_database().jobs
    jobs.insert_many([calculation(number, studies=20) for number in range(NUMBER)])
    open_job_store(uri)
    listener = Counted()
    options = databases.Database.client_options
    monkeypatch.setattr(
        databases.Database, "client_options", lambda database: options(database) | {"event_listeners": (listener,)}
    )
    return listener, databases.database_from_uri(uri), jobs


def test_status_asks_a_fixed_number_of_questions(counted):
    listener, database, _ = counted
    rows = of_database(database)
    assert len(rows) == 20
    assert sum(row.done for row in rows) == NUMBER - NUMBER // 50
    assert sum(row.unconverged for row in rows) == NUMBER // 50
    assert all(row.reasons[0].error == "not relaxed" for row in rows if row.unconverged)
    # Schema, studies, workflows, failures, jobs that are tried again and their launches, other studies, their counts,
    # live runs: not one a study or a calculation.
    assert len(listener.sent) <= 9, listener.sent
    assert listener.bytes < 20_000


def test_results_read_what_they_show(counted):
    listener, database, jobs = counted
    store = open_job_store(f"mongodb://{database.host}/{database.name}?directConnection=true", read_only=True)
    asked = len(listener.sent)
    rows = rows_of(store, "calculations", study_hash="0000000000000003", tag="paper", limit=200)
    assert len(rows) == NUMBER // 20
    assert rows[0]["label"] == f"LiCl/{NUMBER - 17}"  # the newest first
    assert rows[0]["atoms"] == 2
    # the rows, and what of them was imported
    command, imported = [one for name, one in listener.sent[asked:] if name == "find"]
    assert "output.arrays" not in command["projection"]
    assert listener.bytes < len(rows) * 1200  # of 5 kB each
    indexed = {field for index in jobs.index_information().values() for field, _ in index["key"]}
    assert set(imported["filter"]) <= indexed
    assert set(command["filter"]) - {"metadata.tags"} <= indexed
    assert set(command["sort"]) <= indexed
    assert len(json.dumps(rows)) > 0


def test_the_filters(counted):
    _, database, _ = counted
    store = open_job_store(f"mongodb://{database.host}/{database.name}?directConnection=true", read_only=True)
    assert len(rows_of(store, "calculations", converged=False)) == NUMBER // 50
    assert len(rows_of(store, "calculations", converged=True, tag="nobody's")) == 0
    assert rows_of(store, "calculations", since=datetime(2027, 1, 1)) == []
    assert len(rows_of(store, "calculations", until=datetime(2027, 1, 1), limit=7)) == 7
