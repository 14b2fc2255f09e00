"""Documents of the embedded store come back as MongoDB would return them; an update is atomic."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from bson import ObjectId
from factories import numbers_of
from hypothesis import given
from hypothesis import strategies as st
from maggma.core import Sort

from anodeflow.errors import StoreError
from anodeflow.workflows.store import (
    SQLiteStore,
)
from anodeflow.workflows.store.codec import decode_document, encode_document


def test_document_returns_as_mongo_would_return_it(store):
    given_document = {
        "n": 1,
        "int": 2**40,
        "huge": 2**70,
        "nan": float("nan"),
        "inf": [float("inf"), -float("inf")],
        "array": np.arange(6.0).reshape(2, 3),
        "scalar": np.float64(0.25),
        "flag": np.bool_(True),
        "time": datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
        "early": datetime(1890, 1, 1),
        "oid": ObjectId("0123456789abcdef01234567"),
        "bytes": b"\x00\xff",
        "text": "Å $x \ud800",
        "$ref": {"$date": "no date", "$$": [1]},
    }
    store.update(given_document)
    found = store.query_one({"n": 1})
    assert np.isnan(found.pop("nan"))
    assert found == {
        "n": 1,
        "int": 2**40,
        "huge": 2**70,
        "inf": [float("inf"), -float("inf")],
        "array": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "scalar": 0.25,
        "flag": True,
        "time": datetime(2024, 2, 29, 10, 0, 0, 123000),
        "early": datetime(1890, 1, 1),
        "oid": ObjectId("0123456789abcdef01234567"),
        "bytes": b"\x00\xff",
        "text": "Å $x \ud800",
        "$ref": {"$date": "no date", "$$": [1]},
    }


def test_stored_text_is_json_that_sqlite_understands(store):
    store.update({"n": 1, "a": float("nan"), "c": {"d": 2.5}})
    with sqlite3.connect(store.path) as database:
        row = database.execute("SELECT json_extract(document, '$.c.d'), json_valid(document) FROM documents")
        assert row.fetchone() == (2.5, 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("$a.d", max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_codec_round_trip(value, compress):
    assert repr(decode_document(encode_document({"v": value}, compress))) == repr({"v": value})


def test_update_replaces_by_key_and_keeps_the_rest(store):
    store.update([{"n": 1, "a": 1, "b": 2}, {"n": 2, "a": 1}])
    store.update({"n": 1, "a": 5})
    assert list(store.query(sort={"n": 1})) == [{"n": 1, "a": 5}, {"n": 2, "a": 1}]
    store.update({"n": 7, "a": 1, "x": 0}, key=["a"])
    assert numbers_of(store.query(sort={"n": Sort.Descending})) == [7, 1]


def test_a_failing_update_changes_nothing(store):
    store.ensure_index("u", unique=True)
    store.update({"n": 0, "u": "x"})
    with pytest.raises(StoreError, match="unique"):
        store.update([{"n": 1, "u": "y"}, {"n": 2, "u": "x"}])
    assert numbers_of(store.query()) == [0]
    with pytest.raises(StoreError, match="lacks the field 'n'"):
        store.update([{"n": 3}, {"a": 1}])
    assert store.count() == 1


def test_update_while_a_query_runs(store):
    store.update([{"n": i, "a": 0} for i in range(600)])
    other = SQLiteStore(store.path, key="n")
    for document in store.query({"a": 0}):
        store.update({**document, "a": 1})
        other.update({"n": document["n"] + 1000, "a": 2})
    assert store.count({"a": 1}) == store.count({"a": 2}) == 600
