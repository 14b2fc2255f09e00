"""What a key of a file may hold, in plain words, from the annotation and the bounds of its field."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

_PLAIN = {
    str: ("text", "texts"),
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    bool: ("true or false", "true or false"),
    Path: ("path", "paths"),
    Any: ("any value", "any values"),
}


def type_text(annotation: Any, bounds: tuple[Any, ...] = (), *, several: bool = False) -> str:
    """Return what values of a type are, such as ``list of numbers from 1 to 5``.

    Parameters
    ----------
    annotation
        The type.
    bounds
        What pydantic keeps of ``Field(ge=...)`` and the like.
    several
        In the plural, for lists of them.

    Raises
    ------
    TypeError
        A type that has no words yet: add it here.
    """
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        flat = [m for e in extra for m in (e.metadata if isinstance(e, FieldInfo) else [e])]
        return type_text(inner, (*bounds, *flat), several=several)
    if annotation in _PLAIN:
        return f"{_PLAIN[annotation][several]}{_range(annotation, bounds)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mappings" if several else "mapping"
    return _joined(annotation, bounds, several)


def _joined(annotation: Any, bounds: tuple[Any, ...], several: bool) -> str:
    """Return what types made of others are."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _either([f"`{part}`" for part in parts])
    if origin in (Union, types.UnionType):
        texts = dict.fromkeys(type_text(part, bounds, several=several) for part in parts if part is not type(None))
        return _either(list(texts))
    if origin is dict:
        return f"mapping of names to {type_text(parts[1], several=True)}"
    if origin is list or (origin is tuple and parts[-1] is Ellipsis):
        return f"list{_length(bounds)} of {type_text(parts[0], several=True)}"
    if origin is tuple and len({str(part) for part in parts}) == 1:
        return f"list of {len(parts)} {type_text(parts[0], several=True)}"
    raise TypeError(f"no words for the type {annotation}")


def default_text(field: FieldInfo) -> str:
    """Return ``required``, ``default ...``, or nothing where the description says what is done without the key."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", [], {}, ()) or isinstance(value, BaseModel):
        return ""
    return f"default `{written(value)}`"


def written(value: Any) -> str:
    """Return a value as a YAML file has it, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _range(annotation: Any, bounds: tuple[Any, ...]) -> str:
    """Return the range of numbers, such as `` from 1 to 5``."""
    if annotation not in (int, float):
        return ""
    low, high, least = "", "", ""
    for bound in bounds:
        if isinstance(bound, Ge):
            low = f"from {_number(bound.ge)}"
        elif isinstance(bound, Gt):
            low = f"above {_number(bound.gt)}"
        elif isinstance(bound, Le):
            high = f"to {_number(bound.le)}" if "from" in low else f"up to {_number(bound.le)}"
        elif isinstance(bound, Lt):
            high = f"to {bound.lt - 1}" if annotation is int else f"below {_number(bound.lt)}"
        elif isinstance(bound, AfterValidator) and bound.func.__closure__:
            least = f" (0, or at least {_number(bound.func.__closure__[0].cell_contents)})"
    if low.startswith("from") and not high:
        low = low.replace("from", "of at least")
    return "".join(f" {text}" for text in (low, high) if text) + least


def _length(bounds: tuple[Any, ...]) -> str:
    least = [bound.min_length for bound in bounds if isinstance(bound, MinLen)]
    most = [bound.max_length for bound in bounds if isinstance(bound, MaxLen)]
    return "".join(
        [f" (at least {least[0]})" if least and least[0] > 1 else "", f" (at most {most[0]})" if most else ""]
    )
