"""Studies on a cluster: FireWorks, queues, recovery."""

from __future__ import annotations

from typing import Any

__all__ = ["move_study"]


def __getattr__(name: str) -> Any:
    # Opening a store imports this package, and moving a study opens stores.
    if name == "move_study":
        from anodeflow.workflows.cluster.moving import move_study

        return move_study
    raise AttributeError(name)
