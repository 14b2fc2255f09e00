"""Names for a user's own structures: ``{crystal: my-file.cif, name: My phase}`` wherever a crystal may be named."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from anodeflow.structures.catalogue import is_known_crystal
from anodeflow.structures.packings import crystal_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+()\[\]-]{0,39}")


def check_names(own: dict[str, str]) -> dict[str, str]:
    """Return names and files of own structures as they are.

    Raises
    ------
    ValueError
        For pydantic, which names the field: a name with other characters, or that a crystal of the catalogue has.
    """
    for name in own:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name[:60]!r} is not a name for a structure: use up to 40 letters, digits, spaces and + - _ ( ) [ ]"
            )
        if is_known_crystal(crystal_of(name)):
            raise ValueError(f"{name!r} is a crystal of the catalogue: give your structure another name")
    return own


def gather_names(data: dict[str, Any], fields: dict[str, Any], labelled: str = "") -> dict[str, Any]:
    """Return what a study file says with each ``name`` beside a ``crystal`` moved to ``structures``.

    Parameters
    ----------
    data
        As read. Not changed.
    fields
        Annotation of each key: in a list that may hold plain names, the mapping becomes its name.
    labelled
        Key of a list whose mappings have a ``name`` of another meaning.

    Raises
    ------
    ValueError
        For pydantic: a name is given to two structures, or to a crystal of the catalogue.
    """
    given = data.get("structures")
    own: dict[str, str] = dict(given) if isinstance(given, dict) else {}
    before = dict(own)

    def named(item: dict[str, Any]) -> str:
        name, crystal = item["name"], item["crystal"]
        if is_known_crystal(crystal):
            raise ValueError(f"{crystal!r} is a crystal of the catalogue and has its name; leave out 'name: {name}'")
        if own.setdefault(name, crystal) != crystal:
            raise ValueError(f"{name!r} names two structures, {own[name]} and {crystal}: give each a separate name")
        return str(name)

    def walk(value: Any, *, skip: bool = False) -> Any:
        if isinstance(value, list):
            return [walk(item, skip=skip) for item in value]
        if not isinstance(value, dict):
            return value
        walked = {key: walk(item) for key, item in value.items()}
        if not skip and _is_named(value):
            walked["crystal"] = named(value)
            del walked["name"]
        return walked

    result = {}
    for key, value in data.items():
        if isinstance(value, list) and _may_hold_text(fields.get(key)):
            value = [named(item) if _is_named(item) and len(item) == 2 else item for item in value]
        result[key] = walk(value, skip=key == labelled)
    return result if own == before else {**result, "structures": own}


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("crystal"), str)


def _may_hold_text(annotation: Any) -> bool:
    """Whether an annotation is that of a list of names, perhaps among others."""
    parts = get_args(annotation)
    if get_origin(annotation) is list:
        return any(part is str or str in get_args(part) for part in parts)
    return any(_may_hold_text(part) for part in parts)
