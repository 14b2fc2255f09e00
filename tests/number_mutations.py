"""Every number of a study or card replaced by nonsense, and what must become of it."""

from __future__ import annotations

import copy
import math
import signal
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from anodeflow.errors import AnodeflowError
from anodeflow.workflows.cards import card_names, load_card
from anodeflow.workflows.studies.base import Study, read_study

ROOT = Path(__file__).parents[1]
#: No command may be silent for longer.
LONGEST_S = 20
#: The most atoms any study may ask for (``max_atoms`` of molecular dynamics).
MOST_ATOMS = 5000

#: Never right, whatever the field.
NONSENSE: dict[str, Any] = {
    "huge float": 1e30,
    "largest float": 1e308,
    "huge int": 10**30,
    "2^63": 2**63,
    "2^31": 2**31,
    "not a number": math.nan,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "true": True,
    "false": False,
    "text": "abc",
    "text of a unit": "3 angstrom",
    "nothing in a list": [],
    "mapping": {"a": 1},
}
#: Right in some fields only.
ODD: dict[str, Any] = {"zero": 0, "negative": -1, "tiny": 1e-12}
#: May be right anywhere, but must neither hang nor make cells of absurd size.
LARGE: dict[str, Any] = {"a hundred": 100, "a thousand": 1000, "a million": 10**6}

_SIGNED = {"miller", "shift", "chemical_potentials_ev"}
_FROM_ZERO = {"potentials_v"}  # Li metal is at 0 V
_MAY_BE: dict[str, set[str]] = {
    "negative": _SIGNED,
    "tiny": {"shift", "chemical_potentials_ev"} | _FROM_ZERO,
    "zero": _SIGNED
    | _FROM_ZERO
    | {
        "seed", "seeds", "displacement_angstrom", "merge_distance_angstrom", "equilibration_ps", "termination",
        "lithium_charge", "width_ev", "disputed", "frames", "displaced",
    },
}  # fmt: skip
#: Names of terminations are texts.
_TEXT_OR_NUMBER = {"termination"}

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Mutation:
    """One field with one other value."""

    where: Where
    kind: str
    value: Any

    @property
    def field(self) -> str:
        """Name of the field that holds the number."""
        return [str(part) for part in self.where if isinstance(part, str)][-1 if not self._of_mapping else -2]

    @property
    def _of_mapping(self) -> bool:
        return "chemical_potentials_ev" in self.where

    @property
    def may_be_right(self) -> bool:
        """Whether a study with this value may be accepted."""
        if self.kind in LARGE:
            return True
        return self.field in _MAY_BE.get(self.kind, set())

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.where))} = {self.value!r} ({self.kind})"


def _is_number(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_number(typing.get_args(annotation)[0])
    return annotation in (int, float) or (
        typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Literal)
        and any(_is_number(arg) or (isinstance(arg, int) and not isinstance(arg, bool)) for arg in annotation.__args__)
    )


def _parts(annotation: Any) -> list[Any]:
    """Return an annotation without None, its alternatives side by side."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for part in annotation.__args__ if part is not type(None)]
    if typing.get_origin(annotation) is typing.Annotated:
        return _parts(typing.get_args(annotation)[0])
    return [annotation]


def _alone(number: Any) -> Any:
    return number


def _first_of(length: int, number: Any) -> Any:
    return [number, *[1] * (length - 1)]


def _numbers(value: Any, annotation: Any, where: Where) -> Iterator[tuple[Where, Any]]:
    """Yield where the numbers of a value are, unset ones included, and what surrounds a number there."""
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from _numbers(getattr(value, name), info.annotation, (*where, name))
        return
    for part in _parts(annotation):
        if _is_number(part):
            yield where, _alone
            return
        origin, args = typing.get_origin(part), typing.get_args(part)
        if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                yield from _numbers(item, args[0] if args else Any, (*where, number))
            return
        if isinstance(value, dict) and origin is dict and _is_number(args[1]):
            for name in value:
                yield (*where, name), _alone
            return
        if value is None and origin is tuple and all(map(_is_number, args)):
            yield where, partial(_first_of, len(args))


def mutations(model: BaseModel) -> list[Mutation]:
    """Return every number of a study or card, given or not, with every nonsense."""
    return [
        Mutation(where, kind, around(value))
        for where, around in _numbers(model, type(model), ())
        for kind, value in (NONSENSE | ODD | LARGE).items()
        if not (where[-1] in _TEXT_OR_NUMBER and isinstance(value, str))
    ]


def changed(data: dict[str, Any], mutation: Mutation) -> dict[str, Any]:
    """Return the data with the mutation; of a list of hosts, paths, surfaces or systems only the mutated one."""
    copied = copy.deepcopy(data)
    inner: Any = copied
    for part, after in pairwise(mutation.where):
        if isinstance(inner, dict) and inner.get(part) is None:
            inner[part] = {}
        if isinstance(after, int) and not isinstance(inner[part], list | dict):
            inner[part] = [inner[part]]  # one number may stand for a list of one
        if isinstance(after, str) and isinstance(inner[part], str):
            inner[part] = {"crystal": inner[part]}  # a name may stand for a host
        inner = inner[part]
    inner[mutation.where[-1]] = mutation.value
    first = mutation.where[0]
    if first in ("hosts", "paths", "systems", "surfaces") and len(mutation.where) > 2:
        copied[first] = [copied[first][mutation.where[1]]]
        for key in ("anodes", "interphases"):
            copied.pop(key, None)
    return copied


class TooLongError(BaseException):
    """A command took longer than anyone waits."""


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of this process, however busy the machine is
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def planned(study: Study) -> None:
    """Do what ``anodeflow plan`` does, and look at what it would compute."""
    study.as_dry_run().preflight()
    assert study.hash
    seen = set()
    for step in study.planned:
        assert 0 <= study.seconds_of(step) < 1e12, f"{step.label}: {study.seconds_of(step):g} s"
        if id(step.structure) in seen:  # of a run of many segments
            continue
        seen.add(id(step.structure))
        assert 0 < len(step.structure) <= MOST_ATOMS, f"{step.label}: {len(step.structure)} atoms"
        assert max(step.structure.lattice.abc) < 1e4, f"{step.label}: {step.structure.lattice.abc}"
        study.engine_of(step).mesh(step.structure, study.card_of(step))


def trial(mutation: Mutation, attempt: Callable[[], None]) -> str:
    """Return what became of a mutation: "refused" or "accepted"; raise AssertionError where that is wrong."""
    try:
        with _at_most(LONGEST_S):
            attempt()
    except AnodeflowError as error:
        text = str(error)
        assert "\n" not in text, f"{mutation}: {text}"
        assert 0 < len(text) < 1000, f"{mutation}: {text}"
        return "refused"
    except (TooLongError, Exception) as error:
        raise AssertionError(f"{mutation}: {type(error).__name__}: {error}") from error
    assert mutation.may_be_right, f"{mutation}: accepted"
    return "accepted"


def study_attempts(file: Path, data: dict[str, Any], folder: Path) -> Callable[[Mutation], Callable[[], None]]:
    """Return how a mutation of a study is tried: it is planned."""

    def attempt_of(mutation: Mutation) -> Callable[[], None]:
        def attempt() -> None:
            path = folder / file.name
            path.write_text(yaml.safe_dump(changed(data, mutation)))
            study = read_study(path)
            study._folder = file.parent
            planned(study)

        return attempt

    return attempt_of


_CARD_STUDY: dict[bool, dict[str, Any]] = {
    False: {"study": "crystal-properties", "crystals": ["Al"]},
    True: {"study": "molecular-dynamics", "systems": [{"crystal": "Al", "supercell": [2, 2, 2]}]},
}
_ENGINES = ("sevennet-0", "gpaw", "qe", "castep", "vasp")


def _plan_card(data: dict[str, Any], engine: str, folder: Path) -> None:
    """Plan a small study with a card: dynamics where the card has any."""
    path, study = folder / "card.yaml", folder / "study.yaml"
    path.write_text(yaml.safe_dump(data))
    load_card(path)
    study.write_text(yaml.safe_dump(_CARD_STUDY["dynamics" in data] | {"engine": engine, "card": str(path)}))
    planned(read_study(study))


def card_attempts(data: dict[str, Any], folder: Path) -> Callable[[Mutation], Callable[[], None]]:
    """Return how a mutation of a card is tried: a small study is planned by every engine that takes the card itself."""
    engines = []
    for engine in _ENGINES:
        with suppress(AnodeflowError):
            _plan_card(data, engine, folder)
            engines.append(engine)
    assert engines, data["name"]

    def attempt_of(mutation: Mutation) -> Callable[[], None]:
        def attempt() -> None:
            for engine in engines:
                _plan_card(changed(data, mutation), engine, folder)

        return attempt

    return attempt_of


Attempts = Callable[[Mutation], Callable[[], None]]


def subjects() -> Iterator[tuple[str, list[Mutation], Callable[[Path], Attempts]]]:
    """Yield every study and card: its name, its mutations, and how they are tried in a folder."""
    for file in sorted([*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("workflows/papers/*-*.yaml")]):
        data: dict[str, Any] = yaml.safe_load(file.read_text())
        if "study" in data:
            name = str(file.relative_to(ROOT))
            yield name, mutations(read_study(file)), partial(study_attempts, file, data)
    for name in card_names():
        card = load_card(name)
        data = card.model_dump(mode="json", exclude_none=True)
        yield f"card {name}", mutations(card), partial(card_attempts, data)
