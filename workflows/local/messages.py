"""What a worker process reports to the run that started it: one JSON line each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from anodeflow import errors
from anodeflow.errors import AnodeflowError


@dataclass(frozen=True)
class Step:
    """A calculation made a step."""

    label: str
    step: int
    energy_ev: float
    max_force: float


@dataclass(frozen=True)
class Done:
    """A job is done; `reused` where its result was in the store already."""

    reused: bool


@dataclass(frozen=True)
class Failed:
    """A job failed: the whole message, and the parts and class of an error of anodeflow."""

    message: str
    problem: str = ""
    remedy: str = ""
    kind: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """Return what is reported of an error."""
        if isinstance(error, AnodeflowError):
            return cls(str(error), error.problem, error.remedy, type(error).__name__)
        return cls(f"{type(error).__name__}: {error}")

    def error(self) -> AnodeflowError | None:
        """Return the error of anodeflow that was raised there; None for another one."""
        kind = getattr(errors, self.kind, None) if self.kind else None
        return kind(self.problem, self.remedy) if kind is not None else None


@dataclass(frozen=True)
class Stopped:
    """A calculation was stopped between two steps, as it was told to; the process ends."""


@dataclass(frozen=True)
class Gone:
    """The process has ended with this exit status; said by the thread that reads it."""

    code: int


Message = Step | Done | Failed | Stopped | Gone
_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Step, Done, Failed, Stopped)}


def encode(message: Message) -> str:
    """Return a message as one line."""
    return json.dumps({"event": type(message).__name__, **asdict(message)})


def decode(line: str) -> Message:
    """Return the message of a line."""
    content = json.loads(line)
    return _KINDS[content.pop("event")](**content)
