"""What a person sees while a study runs: what is running, how much is done, the time left."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from anodeflow.columns import duration

if TYPE_CHECKING:
    from anodeflow.workflows.local.runner import RunReport
    from anodeflow.workflows.studies.base import Study

_BAR_WIDTH = 60
#: Share of a study that counts as if it had been computed at the plan's speed.
_BELIEVED = 0.05


class RunDisplay:
    """Progress of a run: a live line on a terminal, a line a calculation elsewhere.

    Parameters
    ----------
    study
        The study, for its planned calculations and their expected cost.
    workers
        Worker processes.
    notes
        What the preflight found; printed first.
    """

    def __init__(self, study: Study, workers: int, notes: list[str]) -> None:
        self._weights = {c.label: study.seconds_of(c) for c in study.planned}
        # Labels of molecular dynamics, whose steps are shown as time.
        self._timesteps = {c.label: c.timestep_fs for c in study.planned if hasattr(c, "timestep_fs")}
        self._steps = {c.label: max(1, study.steps_of(c)) for c in study.planned}
        self._steps_done: dict[str, int] = {}
        self._first_steps: dict[str, tuple[int, float]] = {}
        self._workers = workers
        self._done: set[str] = set()
        self._running: dict[str, str] = {}
        self._computed_weight = 0.0
        self._started = time.monotonic()
        self._first_step: float | None = None
        self._notes = notes
        self._console = Console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> RunDisplay:
        for note in self._notes:
            click.echo(f"note: {note}", err=True)
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- told by the runner --------------------------------------------------------------------------

    def running(self, label: str) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._running[label] = "starting"

    def step(self, label: str, step: int, energy_ev: float, max_force: float) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        if self._first_step is None and not self._computed_weight:
            self._first_step = time.monotonic()
        self._steps_done[label] = step
        if label in self._timesteps:
            self._running[label] = self._moved(label, step)
            return
        self._running[label] = f"step {step}, {max_force:.3f} eV/Å"

    def done(self, label: str, reused: bool) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._running.pop(label, None)
        self._done.add(label)
        if not reused:
            self._computed_weight += self._weights.get(label, 0.0)
            self._line(label)

    def failed(self, label: str, reason: str) -> None:
        """See :class:`anodeflow.workflows.local.runner.Listener`."""
        self._running.pop(label, None)
        self._done.add(label)
        self._print(f"failed: {label}: {reason}")

    def _moved(self, label: str, step: int) -> str:
        """Return where a run is and how fast it goes, since this process first heard of it."""
        per_step = self._timesteps[label] / 1000
        first, since = self._first_steps.setdefault(label, (step, time.monotonic()))
        seconds = time.monotonic() - since
        speed = f", {(step - first) * per_step / seconds * 3600:.1f} ps/hour" if step > first and seconds > 5 else ""
        return f"{step * per_step:.2f} ps{speed}"

    # --- what is shown -------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Calculations planned, or more if more have turned up."""
        return len(self._weights.keys() | self._done | self._running.keys())

    def seconds_left(self) -> float:
        """Return the time left: the plan's estimate at first, corrected by how long what is done has taken.

        What is done weighs against a twentieth of the study at the plan's own speed, so that the first calculations,
        which are the small ones, do not decide alone. Until the first step workers are being started, which says
        nothing of their speed.
        """
        total = sum(self._weights.values())
        halfway = sum(
            self._weights[label] * min(0.9, step / self._steps[label])
            for label, step in self._steps_done.items()
            if label in self._running and label in self._weights
        )
        left = sum(weight for label, weight in self._weights.items() if label not in self._done) - halfway
        busy = self._workers * (time.monotonic() - (self._first_step or self._started))
        believed = _BELIEVED * total
        slower = (busy + believed) / (self._computed_weight + halfway + believed) if total else 1.0
        longest = max((w for label, w in self._weights.items() if label not in self._done), default=0.0)
        return slower * max(left / self._workers, min(longest, left))

    def time_left(self) -> str:
        """Return the time left as text."""
        return f"about {duration(self.seconds_left())} left"

    def __rich__(self) -> RenderableType:
        elapsed = duration(time.monotonic() - self._started)
        running = "   ".join(f"{label} ({state})" for label, state in self._running.items()) or "preparing"
        head = f"{len(self._done)} of {self.total} calculations done, {elapsed} so far, {self.time_left()}"
        total = sum(self._weights.values())
        done = sum(weight for label, weight in self._weights.items() if label in self._done)
        bar = ProgressBar(total=total or 1.0, completed=done, width=_BAR_WIDTH)
        return Group(bar, Text(f"{head}\n{running}", overflow="ellipsis", no_wrap=True))

    def _line(self, label: str) -> None:
        if self._live is None:
            self._print(f"[{len(self._done)}/{self.total}] {label} done; {self.time_left()}")

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self, report: RunReport, again: str, store: Path) -> None:
        """Print the last line: how it went, and what to do if it did not end.

        Parameters
        ----------
        report
            What the runner did.
        again
            The command that continues the run.
        store
            Where the results are.
        """
        text = f"{report.computed} calculations computed, {report.reused} reused, in {duration(report.wall_time_s)}"
        if report.interrupted:
            text = f"stopped; {text}. Continue with: {again}"
        elif report.fatal is not None:
            from anodeflow.workflows.store import store_shown

            text = f"stopped by an error; {text}. What is finished is kept in {store_shown(store)}"
        click.echo(text, err=True)
