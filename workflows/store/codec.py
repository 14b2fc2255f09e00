"""Documents as JSON text, and single fields as values that SQLite can index and sort as Mongo would.

An indexed field has its own column. What the column holds, in SQLite's sorting order, which is BSON's:

============================  =============================================
field of the document         column
============================  =============================================
absent, or null               NULL
number                        INTEGER or REAL
string                        TEXT
list, object, NaN, bytes ...  `COMPLEX`: only the document itself can tell
beyond a null or a scalar     `_DEAD_END` (`a.b` of ``{"a": 5}``)
ObjectId, boolean, datetime   BLOB: the BSON type's number, then the value
============================  =============================================
"""

from __future__ import annotations

import calendar
import json
import math
import zlib
from datetime import datetime, timedelta
from typing import Any

from bson import DBRef, ObjectId, json_util

_OPTIONS = json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=False, tzinfo=None)
COMPLEX = b"\x00"
_DEAD_END = b"\x01"
OBJECT_ID, BOOLEAN, DATETIME = 35, 40, 45  # the places of the types in BSON's sorting order
_ZLIB_LEVEL = 3

Key = int | float | str | bytes | None


def encode_document(document: dict, compress: bool = False) -> str | bytes:
    """Write a document as relaxed extended JSON, which SQLite's own JSON functions can read.

    Parameters
    ----------
    document
        A sanitised document: plain Python and BSON types only.
    compress
        Return the text deflated, as bytes.

    Raises
    ------
    TypeError
        A value is neither JSON nor BSON.
    """
    emitted = 0

    def extended(value: Any) -> Any:
        nonlocal emitted
        emitted += 1
        return json_util.default(value, _OPTIONS)

    try:
        text = json.dumps(document, default=extended, allow_nan=False, separators=(",", ":"))
        plain = text.count('"$') == emitted
    except ValueError:  # NaN or infinity
        plain = False
    if not plain:
        text = json.dumps(_escape(document), allow_nan=False, separators=(",", ":"))
    return zlib.compress(text.encode(), _ZLIB_LEVEL) if compress else text


def decode_document(stored: str | bytes) -> dict:
    """Read what `encode_document` wrote; datetimes come back naive, in UTC, to the ms, as from Mongo.

    Raises
    ------
    ValueError, zlib.error
        The text is damaged.
    """
    text = zlib.decompress(stored).decode() if isinstance(stored, bytes) else stored
    return json.loads(text, object_hook=_revive if '"$' in text else None)


def _escape(value: Any) -> Any:
    """Extended JSON of a value in which keys of the document's own that start with `$` get one `$` more."""
    if isinstance(value, dict):
        return {f"${key}" if key.startswith("$") else key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json_util.default(value, _OPTIONS)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return json_util.default(value, _OPTIONS)


def _revive(document: dict) -> Any:
    for key in document:
        if key.startswith("$$"):
            return {name[1:] if name.startswith("$") else name: item for name, item in document.items()}
        if key.startswith("$"):
            return json_util.object_hook(document, _OPTIONS)
    return document


def column_key(value: Any) -> Key:
    """Value of a field as its column holds it; `COMPLEX` where a column cannot hold it exactly."""
    if value is None:
        return None
    if isinstance(value, bool):
        return bytes((BOOLEAN, value))
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else COMPLEX
    if isinstance(value, float):
        return COMPLEX if math.isnan(value) else float(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            return COMPLEX
        return str.__str__(value)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = (value - (value.utcoffset() or timedelta(0))).replace(tzinfo=None)
        milliseconds = calendar.timegm(value.timetuple()) * 1000 + value.microsecond // 1000
        return bytes((DATETIME,)) + (milliseconds + 2**63).to_bytes(8, "big")
    if isinstance(value, ObjectId):
        return bytes((OBJECT_ID,)) + value.binary
    return COMPLEX


def extract_key(document: dict, path: str) -> Key:
    """Column value of the field at a dotted path of a document."""
    value: Any = document
    parts = path.split(".")
    for number, part in enumerate(parts, 1):
        if isinstance(value, list | tuple | DBRef):
            return COMPLEX
        if not isinstance(value, dict):
            return _DEAD_END
        value = value.get(part, {} if number < len(parts) else None)
    return column_key(value)
