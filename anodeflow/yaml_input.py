"""Read YAML that a person wrote, and say in one line what is wrong with it and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from anodeflow.errors import InputError
from anodeflow.suggest import did_you_mean

LARGEST_FILE = 1_000_000
DEEPEST = 50

Model = TypeVar("Model", bound=BaseModel)

#: Numbers that several kinds of file hold. Python and C programs read a seed as an integer of 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**31)]
#: Beyond it no plane of a crystal has a name, and no cell of it fits anywhere.
_MillerIndex = Annotated[int, Field(ge=-30, le=30)]
Miller = tuple[_MillerIndex, _MillerIndex, _MillerIndex]
#: Planes of atoms of a slab, and repeats of a cell along one vector; how many atoms that may be, ``max_atoms`` says.
Layers = Annotated[int, Field(ge=1, le=1000)]
Repeats = Annotated[int, Field(ge=1, le=100)]
#: Fractions of a cell.
Shift = tuple[Annotated[float, Field(ge=-10, le=10)], Annotated[float, Field(ge=-10, le=10)]]


def zero_or_at_least(least: float) -> AfterValidator:
    """Return what refuses a number between zero and the least that means anything."""

    def check(value: float) -> float:
        if 0 < value < least:
            raise ValueError(f"too small to mean anything: use 0, or {least:g} and more")
        return value

    return AfterValidator(check)


def _holds_bool(annotation: Any) -> bool:
    return annotation is bool or any(_holds_bool(part) for part in get_args(annotation))


def _names_a_bool(value: Any, annotation: Any) -> bool:
    """Whether true or false stands in a value itself, in a list of it, or in a mapping that is not a model."""
    if isinstance(value, bool):
        return True
    if isinstance(value, list | tuple):
        return any(_names_a_bool(item, None) for item in value)
    mapping = any(get_origin(part) is dict for part in (annotation, *get_args(annotation)))
    return mapping and isinstance(value, dict) and any(isinstance(item, bool) for item in value.values())


class Written(BaseModel):
    """Base of what a person writes into a file: no unknown keys, and numbers that are finite and numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what Python takes for 0 and 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if not _holds_bool(annotation) and _names_a_bool(value, annotation):
            raise ValueError("true and false (in YAML also yes, no, on and off) are not numbers or names")
        return value


class _NotPlainError(Exception):
    """YAML that nobody writes by hand for this program."""


class _PlainLoader(yaml.SafeLoader):
    """Refuse aliases, which can stand for a document of any size, and absurd depths."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _NotPlainError("uses a YAML alias (*name)")
        if self.depth >= DEEPEST:
            raise _NotPlainError(f"nests more than {DEEPEST} levels deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises
    ------
    InputError
        If it is missing, unreadable, not YAML, holds the same key twice, or is not a mapping.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"'{path}' has {path.stat().st_size} bytes", "a study or card is a small text file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no file '{path}'", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read '{path}': {error}", "give a readable YAML text file") from None
    return read_yaml_text(text, path)


def read_yaml_text(text: str, path: str | Path) -> dict[str, Any]:
    """Read the text of a YAML file that holds one mapping.

    Parameters
    ----------
    text
        The text.
    path
        The file, for messages.

    Raises
    ------
    InputError
        If it is not YAML, holds the same key twice, or is not a mapping.
    """
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        data = None if node is None else loader.construct_document(node)
        json.dumps(data, ensure_ascii=False, default=str).encode("utf-8")  # a lone surrogate cannot be printed
    except _NotPlainError as error:
        raise InputError(f"{path} {error}", "write the values out, as in examples/") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}", "it holds an absurd number") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(f"{where} is not valid YAML: {reason}", "check indentation and colons") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds {type(data).__name__}, not 'key: value' lines", "see examples/")
    _check_nodes(node, path)
    return data


def _check_nodes(node: yaml.Node | None, path: str | Path) -> None:
    """Refuse a key that is given twice, and the character NUL, which no name of a file can hold."""
    if isinstance(node, yaml.ScalarNode):
        if "\0" in node.value:
            shown = node.value.replace("\0", "\\0")[:60]
            raise InputError(
                f"{path}:{node.start_mark.line + 1}: '{shown}' holds the character NUL", "write it without"
            )
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(
                    f"{path}:{line}: key '{key.value}' is given twice (first in line {seen[key.value]})",
                    "remove one of them",
                )
            seen[key.value] = line
            _check_nodes(key, path)
            _check_nodes(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_nodes(item, path)


def _line_of(path: Path, location: tuple[Any, ...]) -> int | None:
    """Return the line in which the deepest existing part of a location starts."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return None
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = [(k, v) for k, v in node.value if k.value == str(part)]
            if not match:
                break
            line, node = match[0][0].start_mark.line + 1, match[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the names of the fields allowed beside the last part of a location."""
    current: Any = model
    for part in location[:-1]:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            continue
        annotation = fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), current)
    return list(getattr(current, "model_fields", {}))


def _as_written(location: tuple[Any, ...], data: Any, kind: str) -> tuple[Any, ...]:
    """Return a location without the names that pydantic gives to the types that a value may have."""
    written, current = [], data
    for number, part in enumerate(location, start=1):
        holds = (isinstance(current, dict) and part in current) or (
            isinstance(current, list | tuple) and isinstance(part, int) and part < len(current)
        )
        if holds:
            current = current[part]
        if holds or (kind == "missing" and number == len(location)):
            written.append(part)
    return tuple(written)


def validate(model: type[Model], data: dict[str, Any], path: Path) -> Model:
    """Validate a mapping read from ``path``; the first problem becomes one line.

    Parameters
    ----------
    model
        What the mapping should be.
    data
        As it was read.
    path
        The file, for messages.

    Returns
    -------
    Model
        The validated object.

    Raises
    ------
    InputError
        Naming file, line, key, value and what would be right.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # A misspelt key is also a missing one: say the misspelling. Where a value may be of several types, say first
        # what is wrong with the one that it has.
        first = min(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", e["type"].endswith("_type")))
        location = _as_written(first["loc"], data, first["type"])
        line = _line_of(path, location)
        where = f"{path}:{line}" if line else str(path)
        key = ".".join(str(part) for part in location) or "the file"
        more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        if first["type"] == "extra_forbidden":
            allowed = _fields_at(model, location)
            hint = did_you_mean(str(location[-1]), allowed, f"known keys: {', '.join(allowed)}", most=2)
            raise InputError(f"{where}: unknown key '{key}'{more}", hint) from None
        if first["type"] == "missing":
            raise InputError(f"{where}: key '{key}' is missing{more}", f"add '{location[-1]}: ...'") from None
        value = first.get("input")
        shown = repr(value) if len(repr(value)) < 80 else type(value).__name__
        message = first["msg"].removeprefix("Value error, ")
        if isinstance(value, dict):  # a rule about several keys: the values are in its own words
            place = f"{where}: " + (f"{key}: " if location else "")
            raise InputError(f"{place}{message}{more}") from None
        hint = message
        if isinstance(value, str) and first["type"] in {"float_parsing", "int_parsing"} and "_" in str(location[-1]):
            hint = f"give a plain number, in the unit that the key names ({location[-1]!s})"
        raise InputError(f"{where}: '{key}' is {shown}{more}", hint) from None
