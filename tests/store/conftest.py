"""A store in a file for the tests of this folder."""

import pytest

from anodeflow.workflows.store import SQLiteStore


@pytest.fixture
def store(tmp_path):
    with SQLiteStore(tmp_path / "s.db", key="n", indexed_fields=("a", "c.d")) as opened:
        yield opened
