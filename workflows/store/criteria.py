"""Mongo criteria: what of them SQLite's indexes can answer, and the rest of `find` that stays in Python.

The conditions made here only narrow the search: they let every matching document through, and some that do
not match. mongomock's filter then judges each candidate, so a result is always what Mongo's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mongomock_ng
import numpy as np
from mongomock_ng.filtering import filter_applies
from mongomock_ng.helpers import patch_datetime_awareness_in_document

from anodeflow.errors import InputError
from anodeflow.workflows.store.codec import COMPLEX, column_key

_RANGES = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_MAX_VALUES = 30_000  # SQLite allows 32766 parameters in a statement
_COMPLEX = "X'00'"
_DEAD_END = "X'01'"


@dataclass
class Part:
    """A condition on one column, with `{}` for the column; `selective` if an index finds its rows."""

    template: str
    column: str
    parameters: list
    selective: bool = True
    by_index: bool = True

    @property
    def sql(self) -> str:
        """The condition as text; a plus before a column keeps SQLite from using its index."""
        return self.template.replace("{}", self.column if self.by_index else f"+{self.column}")


@dataclass
class Plan:
    """A condition in SQL that every matching row fulfils.

    Attributes
    ----------
    parts
        Conditions that all hold; none where every row is a candidate.
    columns, exact
        If exact, each row that fulfils the plan matches, unless one of these columns holds `COMPLEX`.
    """

    parts: list[Part] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    exact: bool = True

    @property
    def sql(self) -> str:
        """The condition as text."""
        return " AND ".join(f"({part.sql})" for part in self.parts)

    @property
    def parameters(self) -> list:
        """Values for the question marks of the text."""
        return [value for part in self.parts for value in part.parameters]

    @property
    def selective(self) -> bool:
        """Whether an index narrows the search."""
        return any(part.selective for part in self.parts)


def check_criteria(criteria: Mapping | None) -> dict:
    """Criteria as Mongo would take them: datetimes in UTC to the millisecond, operators known.

    Raises
    ------
    InputError
        The criteria are not a mapping, or hold an operator that is unknown or runs code (`$where`).
    """
    if criteria is not None and not isinstance(criteria, Mapping):
        raise InputError(f"the criteria {criteria!r} are not a mapping", 'write them as {"field": value}')
    if _mentions(criteria, "$where"):
        raise InputError("$where runs code and is not allowed in criteria", "use $expr, $regex or a comparison")
    checked = patch_datetime_awareness_in_document(dict(criteria or {}))
    matches(checked, {})
    return checked


def _mentions(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value or any(_mentions(item, name) for item in value.values())
    return isinstance(value, list | tuple) and any(_mentions(item, name) for item in value)


def matches(criteria: Mapping, document: dict) -> bool:
    """Whether a document meets the criteria, as mongomock judges it.

    Raises
    ------
    InputError
        The criteria cannot be used.
    """
    try:
        return not criteria or bool(filter_applies(criteria, document))
    except (mongomock_ng.OperationFailure, NotImplementedError) as error:
        raise InputError(
            f"the criteria {criteria!r} cannot be used: {error}", "see MongoDB's query operators"
        ) from error


def translate(criteria: Mapping, columns: Mapping[str, str]) -> Plan:
    """Narrow a search by those criteria that indexed fields can answer.

    Parameters
    ----------
    criteria
        Checked criteria.
    columns
        The quoted column of each indexed dotted path.
    """
    plan = Plan()
    _collect(criteria, columns, plan)
    return plan


def _collect(criteria: Mapping, columns: Mapping[str, str], plan: Plan) -> None:
    for key, search in criteria.items():
        if key == "$and" and isinstance(search, list | tuple) and all(isinstance(c, Mapping) for c in search):
            for item in search:
                _collect(item, columns, plan)
        elif key in columns:
            plan.columns.append(columns[key])
            operators = isinstance(search, Mapping) and search and all(str(o).startswith("$") for o in search)
            for operator, value in search.items() if operators else [("$eq", search)]:
                plan.exact &= _condition(columns[key], operator, value, plan)
        elif key != "$comment":
            plan.exact = False


def _condition(column: str, operator: str, value: Any, plan: Plan) -> bool:
    """Add one operator's condition to the plan; False where it does not say all that the operator says."""
    if operator in _RANGES:
        limits = _limits(_RANGES[operator], value)
        if limits is None:
            return False
        plan.parts.append(Part(f"({limits[0]}) OR {{}} = {_COMPLEX}", column, limits[1]))
        return True
    if operator == "$exists":
        if not value:
            plan.parts.append(Part(f"{{}} IS NULL OR {{}} IN ({_COMPLEX}, {_DEAD_END})", column, []))
        return False
    if operator not in ("$eq", "$ne", "$in", "$nin"):
        return False
    several = operator in ("$in", "$nin")
    if several and not isinstance(value, list | tuple):
        return False
    equal = _equal_keys(value if several else [value])
    if equal is None:
        return False
    keys, null = equal
    marks = ["?"] * len(keys)
    if operator in ("$ne", "$nin"):
        refused = f"{{}} NOT IN ({', '.join(marks)})"
        either = f"{{}} IS NOT NULL AND {refused}" if null else f"{{}} IS NULL OR {refused}"
        plan.parts.append(Part(either, column, keys, selective=False))
    else:
        accepted = f"{{}} IN ({', '.join([*marks, _COMPLEX])})"
        plan.parts.append(Part(f"{{}} IS NULL OR {accepted}" if null else accepted, column, keys))
    return True


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.number | np.bool_) else value


def _equal_keys(values: list | tuple) -> tuple[list, bool] | None:
    """Column values that equal one of the given values, and whether null is among these."""
    keys: list = []
    null = False
    for value in map(_plain, values):
        key = column_key(value)
        if key == COMPLEX:
            return None
        if key is None:
            null = True
            continue
        keys.append(key)
        if isinstance(value, bool):  # mongomock finds True == 1, as Python does
            keys.append(int(value))
        elif isinstance(value, int | float) and value in (0, 1):
            keys.append(column_key(bool(value)))
    return (keys, null) if len(keys) <= _MAX_VALUES else None


def _limits(sign: str, value: Any) -> tuple[str, list] | None:
    """Comparison within the value's own type, as BSON compares."""
    key = column_key(_plain(value))
    if key is None or key == COMPLEX:
        return None
    if isinstance(key, str):
        low, high = "''", "X''"
    elif isinstance(key, bytes):
        low, high = f"X'{key[0]:02x}'", f"X'{key[0] + 1:02x}'"
    else:
        low, high = "-9e999", "''"
    bound = f"{{}} < {high}" if sign[0] == ">" else f"{{}} >= {low}"
    return f"{{}} {sign} ? AND {bound}", [key]


def projector(properties: Mapping | list | tuple | None, criteria: Mapping) -> Callable[[dict], dict]:
    """Make the function that cuts a document down to the properties asked for.

    Parameters
    ----------
    properties
        Dotted paths, or Mongo's projection: ``{path: 1}``, ``{path: 0}``, `$slice`, `$elemMatch`.
    criteria
        The checked criteria (Mongo's positional projection refers to them).

    Raises
    ------
    InputError
        Paths to keep and paths to drop are mixed.
    """
    if not properties:
        return lambda document: document
    wanted = dict(properties) if isinstance(properties, Mapping) else dict.fromkeys(properties, 1)
    keep_id = bool(wanted.pop("_id", True))
    special = any(isinstance(value, Mapping | str) or path.endswith("$") for path, value in wanted.items())
    if special:
        return lambda document: _project_in_mongomock(document, criteria, {**wanted, "_id": int(keep_id)})
    if len({bool(value) for value in wanted.values()}) > 1:
        raise InputError(f"the properties {properties!r} keep some fields and drop others", "do one of the two")
    tree: dict = {}
    for path in sorted(wanted, key=lambda path: path.count("."), reverse=True):
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = None
    include = any(wanted.values()) or (not wanted and "_id" in properties and keep_id)
    if (include and keep_id) or not (include or keep_id):
        tree["_id"] = None
    return lambda document: _cut(document, tree, include)


def _cut(value: Any, tree: dict, include: bool) -> Any:
    if isinstance(value, list):
        return [_cut(v, tree, include) for v in value if not include or isinstance(v, dict | list)]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        if key not in tree:
            if not include:
                result[key] = item
        elif tree[key] is None:
            if include:
                result[key] = item
        elif isinstance(item, dict | list) or not include:
            result[key] = _cut(item, tree[key], include)
    return result


def _project_in_mongomock(document: dict, criteria: Mapping, projection: dict) -> dict:
    collection: Any = mongomock_ng.MongoClient().db.one
    collection.insert_one(dict(document))
    result = collection.find_one(criteria, projection) or {}
    if "_id" not in document:
        result.pop("_id", None)
    return result
