"""Commands that run for days: every round is tried again, and every end is said."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click

from anodeflow.errors import AnodeflowError

# An error that stays is said again after so long.
_SAID_EVERY_S = 600.0
_WIDTH = 400
Outcome = TypeVar("Outcome")


def say(text: str, err: bool = False) -> None:
    """Print one line with the time in front."""
    click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", err=err)


class Patience:
    """Does the rounds of a command that watches; what fails while something is away is said, and tried again.

    Parameters
    ----------
    interval_s
        Seconds between two tries of what must succeed.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._reported: dict[str, float] = {}

    def round(self, do: Callable[[], Outcome], otherwise: Outcome) -> Outcome:
        """Do one round of what is watched.

        Parameters
        ----------
        do
            The round.
        otherwise
            What comes back where it fails; also where the database refuses a document: other studies may do well.
        """
        return self._tried(do, otherwise, ())

    def until(self, do: Callable[[], Outcome], may_pass: type[AnodeflowError]) -> Outcome:
        """Do what must succeed before the first round, however long it takes.

        Parameters
        ----------
        do
            Called again and again until it raises nothing.
        may_pass
            The error of ours that is waited for.

        Raises
        ------
        AnodeflowError
            If it is another one.
        """
        nothing: Any = object()

        def once() -> Outcome:
            try:
                return do()
            except may_pass as error:
                self._report(str(error))
                return nothing

        while (outcome := self._tried(once, nothing, (AnodeflowError,))) is nothing:
            time.sleep(self._interval_s)
        return outcome

    def _tried(self, do: Callable[[], Outcome], otherwise: Outcome, final: tuple[type[AnodeflowError], ...]) -> Outcome:
        try:
            return do()
        except final:
            raise
        except AnodeflowError as error:
            self._report(str(error))
        except Exception as error:  # whatever FireWorks or the database raise: the next round may well succeed
            if os.environ.get("ANODEFLOW_DEBUG"):
                traceback.print_exc()
            line = " ".join(f"unexpected {type(error).__name__}: {error}".split())[:_WIDTH]
            self._report(f"{line}; it is tried again (ANODEFLOW_DEBUG=1 shows where)")
        return otherwise

    def _report(self, line: str) -> None:
        now = time.monotonic()
        if now - self._reported.get(line, -_SAID_EVERY_S) >= _SAID_EVERY_S:
            self._reported[line] = now
            say(line, err=True)


def say_when_ended() -> None:
    """Let a signal that ends this process be named in its last line."""

    def end(number: int, _frame: FrameType | None) -> None:
        say(f"ended by {signal.Signals(number).name}; jobs that were sent are not touched", err=True)
        os._exit(128 + number)  # as without this handler: a light job in its own process is not killed with this one

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, end)
