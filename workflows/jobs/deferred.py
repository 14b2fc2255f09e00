"""Functions that become jobs when they are called.

As :func:`jobflow.job`, but jobflow is imported at the first call: it takes half a second, and a plan makes no job.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobflow import Job


def deferred_job(
    *, takes_missing: bool = False, expose_store: bool = False, **stores: str
) -> Callable[[Callable[..., Any]], Callable[..., Job]]:
    """Return a decorator: calling the function gives the job that will call it.

    Parameters
    ----------
    takes_missing
        The job runs, and says so in its document, where something it needs has failed: None stands in its place.
    expose_store
        The function may look into the store.
    **stores
        Further stores, and the keys of the output that go there.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Job]:
        @wraps(function)
        def make(*arguments: Any, **named: Any) -> Job:
            from jobflow import JobConfig, OnMissing, job

            missing = OnMissing.NONE if takes_missing else OnMissing.ERROR
            config = JobConfig(on_missing_references=missing, expose_store=expose_store)
            deferred: Job = job(function, config=config, **stores)(*arguments, **named)
            return deferred

        # What jobflow calls when the job runs: a job is stored under the module and the name of its function.
        make.original = function  # type: ignore[attr-defined]
        return make

    return decorate
