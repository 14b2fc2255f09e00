"""What a check of a cluster found, and the check that login and compute nodes share."""

from __future__ import annotations

from dataclasses import dataclass

from anodeflow.workflows.cards import load_card
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.engines.registry import get_engine

GOOD, WARNING, BROKEN = "good", "warning", "broken"


@dataclass
class Finding:
    """One link: how it is, and what to do."""

    link: str
    verdict: str
    found: str
    remedy: str = ""


def engine_finding(folder: ClusterFolder) -> Finding:
    """Whether the engine of the cluster folder is on this machine.

    Raises
    ------
    EngineError
        If it is not.
    """
    name = folder.settings.engine or "potential"
    engine = get_engine("sevennet-0" if name == "potential" else name)
    notes = engine.preflight(load_card("embedded" if name == "potential" else "lacss2024-bulk"))
    return Finding("engine", GOOD, "; ".join([f"{engine.name} is here", *notes])[:300])
