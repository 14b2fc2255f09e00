"""Queries of the embedded store: the answers of Mongo, by an index where there is one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import mongomock_ng
import pytest
from bson import ObjectId
from factories import numbers_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anodeflow.errors import InputError
from anodeflow.workflows.store.criteria import projector, translate

MOMENTS = [datetime(2020, 1, 1), datetime(1960, 5, 5, 1, 2, 3, 456789)]
PLAIN = [
    *(None, True, False, 0, 1, 1.0, -3, 2.5, 2**53 + 1, float(2**53), float("inf"), float("nan")),
    *("", "a", "ab", "Z", "1", *MOMENTS, ObjectId("0" * 24), ObjectId("f" * 24), b"z"),
]
SCALARS = st.sampled_from(PLAIN)
SOUGHT = st.sampled_from([*PLAIN, 2**70, -(2**63), "\ud800", datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=1)))])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from("de"), SCALARS, max_size=2))
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"a": VALUES, "b": VALUES, "c": VALUES | st.lists(st.fixed_dictionaries({"d": SCALARS}))}
    ),
    max_size=8,
)
PATHS = st.sampled_from(["a", "b", "c", "c.d", "a.d", "c.0", "c.0.d"])
OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), SOUGHT | VALUES),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(SOUGHT, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$size"), st.integers(0, 2)),
    st.tuples(st.just("$regex"), st.sampled_from(["^a", "b", ""])),
    st.tuples(st.just("$not"), st.fixed_dictionaries({"$gt": SOUGHT})),
    st.tuples(st.just("$elemMatch"), st.fixed_dictionaries({"$gt": SOUGHT})),
)
CONDITIONS = st.one_of(SOUGHT | VALUES, st.lists(OPERATORS, min_size=1, max_size=2).map(dict))
SIMPLE = st.dictionaries(PATHS, CONDITIONS, max_size=2)
CRITERIA = st.one_of(
    SIMPLE,
    st.tuples(SIMPLE, st.sampled_from(["$and", "$or", "$nor"]), st.lists(SIMPLE, min_size=1, max_size=2)).map(
        lambda t: {**t[0], t[1]: t[2]}
    ),
)


def outcome(function):
    try:
        return repr(function())
    except Exception as error:  # both refuse, whatever the words
        return (
            "refused"
            if isinstance(error, InputError | mongomock_ng.OperationFailure | NotImplementedError)
            else (type(error).__name__)
        )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    DOCUMENTS,
    CRITERIA,
    st.dictionaries(PATHS, st.sampled_from([1, -1]), max_size=2),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from([None, ["a"], ["c.d", "b"], {"a": 0, "_id": 0}, {"b": 1, "_id": 0}]),
)
def test_random_queries_give_what_mongomock_gives(store, documents, criteria, sort, skip, limit, properties):
    documents = [{"n": i, **document} for i, document in enumerate(documents)]
    if isinstance(properties, list) and any(isinstance(d.get("c"), list) for d in documents):
        properties = ["a"]  # mongomock fails where Mongo leaves out scalars in lists
    mongo = mongomock_ng.MongoClient().db.c
    store.remove_docs({})
    store.update(documents)
    for document in documents:
        mongo.insert_one(dict(document))

    def theirs():
        found = mongo.find(criteria, properties, sort=list(sort.items()) or None, skip=skip, limit=limit)
        return [{k: v for k, v in document.items() if k != "_id"} for document in found]

    def ours():
        return list(store.query(criteria, properties, sort, skip, limit))

    expected = outcome(theirs)
    if expected == "refused" and not documents:
        return
    assert outcome(ours) == expected
    if expected[0] == "[":
        total = outcome(lambda: mongo.count_documents(criteria))
        assert outcome(lambda: store.count(criteria)) == total
        store.remove_docs(criteria)
        assert str(store.count()) == str(len(documents) - int(total))


@pytest.mark.parametrize(
    ("criteria", "index"),
    [
        ({"a": "x"}, "k:a"),
        ({"a": {"$in": ["x", "y"]}}, "k:a"),
        ({"a": {"$gte": 3, "$lt": 9}}, "k:a"),
        ({"a": {"$exists": False}}, "k:a"),
        ({"$and": [{"c.d": True}, {"b": 5}]}, "k:c.d"),
        ({"c.d": datetime(2020, 1, 1)}, "k:c.d"),
    ],
)
def test_the_index_is_used(store, criteria, index):
    store.update([{"n": i, "a": i, "c": {"d": i % 2 == 0}} for i in range(50)])
    database = store._connection()
    plan = translate(criteria, store._table.columns(database))
    steps = database.execute("EXPLAIN QUERY PLAN " + store._table.select(plan, "id", "+id"), plan.parameters).fetchall()
    assert any("SEARCH" in step[3] and index in step[3] for step in steps)
    assert not any(step[3].startswith("SCAN") for step in steps)


def test_the_index_that_leaves_fewest_rows_is_used(store):
    store.ensure_index("rare")
    store.update([{"n": i, "a": "all", "c": {"d": True}, "rare": i} for i in range(600)])
    database = store._connection()
    plan = store._table.plan(database, {"a": "all", "rare": {"$lt": 40}, "c.d": True}, store._table.columns(database))
    statement = "EXPLAIN QUERY PLAN " + store._table.select(plan, "id")
    steps = " ".join(step[3] for step in database.execute(statement, plan.parameters))
    assert "k:rare" in steps
    assert "k:a" not in steps
    assert "k:c.d" not in steps


def test_order_of_an_indexed_field_walks_the_index(store):
    store.update([{"n": i, "a": -i} for i in range(400)])
    database = store._connection()
    columns = store._table.columns(database)
    order = store._table.order(database, columns, [("a", -1)], translate({}, columns))
    steps = database.execute(
        "EXPLAIN QUERY PLAN " + store._table.select(translate({}, columns), "id", order)
    ).fetchall()
    assert "k:a" in steps[0][3]
    assert numbers_of(store.query(sort={"a": 1}, limit=2)) == [399, 398]
    assert numbers_of(store.query(sort={"a": 1})) == list(range(399, -1, -1))


def test_a_later_index_knows_earlier_documents_and_case(store):
    store.update([{"n": 1, "x": {"Y": 1}}, {"n": 2, "x": {"y": 1}}])
    assert store.ensure_index("x.Y")
    assert store.ensure_index("x.y")
    store.update({"n": 3, "x": {"Y": 1}})
    assert numbers_of(store.query({"x.Y": 1})) == [1, 3]
    assert numbers_of(store.query({"x.y": 1})) == [2]
    assert set(store._table.columns(store._connection())) == {"n", "a", "c.d", "x.Y", "x.y"}
    assert not store.ensure_index("missing.or.not", unique=True) or store.count() == 3
    store.update({"n": 4, "b": 1})
    store.update({"n": 5, "b": 1})
    assert not store.ensure_index("b", unique=True)


def test_projection_follows_mongo():
    document = {"_id": 7, "a": [{"b": 1, "c": 2}, 5, [{"b": 3}]], "s": 1, "o": {"x": 1, "y": {"z": 2}}}
    cut = lambda properties: projector(properties, {})(document)  # noqa: E731
    assert cut(None) == document
    assert cut(["a.b"]) == {"_id": 7, "a": [{"b": 1}, [{"b": 3}]]}
    assert cut({"s.q": 1, "_id": 0}) == {}
    assert cut({"s.q": 0}) == document
    assert cut({"o.y": 0, "a": 0, "_id": 0}) == {"s": 1, "o": {"x": 1}}
    assert cut(["o", "o.x"]) == {"_id": 7, "o": document["o"]}
    assert cut({"_id": 1}) == {"_id": 7}
    assert cut({"a": {"$slice": 1}, "o": 1}) == {"_id": 7, "a": [{"b": 1, "c": 2}], "o": document["o"]}
    with pytest.raises(InputError, match="keep some"):
        cut({"a": 1, "s": 0})


@pytest.mark.parametrize("criteria", [{"a": {"$bad": 1}}, {"$where": "this.a"}, {"$or": [{"$where": "1"}]}, [1]])
def test_unusable_criteria_are_refused_even_by_an_empty_store(store, criteria):
    with pytest.raises(InputError):
        list(store.query(criteria))


def test_distinct_groupby_last_updated(store):
    times = [datetime(2020, 1, day) for day in (3, 9, 5)]
    store.update(
        [{"n": i, "a": "xyx"[i], "t": ["p", {"q": i}], "last_updated": t} for i, t in enumerate(times)] + [{"n": 9}]
    )
    assert store.distinct("a") == ["x", "y"]
    assert store.distinct("t", {"n": {"$lt": 2}}) == ["p", {"q": 0}, {"q": 1}]
    groups = {key["a"]: numbers_of(found) for key, found in store.groupby("a", properties=["n"])}
    assert groups == {"x": [0, 2], "y": [1]}
    assert [key for key, _ in store.groupby(["c.d", "a"])] == []
    assert store.last_updated == datetime(2020, 1, 9)
    assert store.newer_in(store) == []
