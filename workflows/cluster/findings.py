"""What a check of a cluster found, and the check that login and compute nodes share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from anodeflow.errors import AnodeflowError
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.cluster.folder import ClusterFolder
from anodeflow.workflows.engines.potentials.engine import PotentialEngine
from anodeflow.workflows.engines.registry import PROGRAMS, get_engine
from anodeflow.workflows.store.database import server_errors
from anodeflow.workflows.studies.base import Study

_DEFAULT_POTENTIAL = "sevennet-0"
GOOD, WARNING, BROKEN = "good", "warning", "broken"


@dataclass
class Finding:
    """One link: how it is, and what to do."""

    link: str
    verdict: str
    found: str
    remedy: str = ""


def engines_of(folder: ClusterFolder, studies: Sequence[Study] = ()) -> list[tuple[str, MethodCard]]:
    """Return the engines that jobs will need, each with a card.

    Parameters
    ----------
    folder
        The cluster folder, whose own engine is asked for where no study is named, and those of the studies that were
        submitted and are not done.
    studies
        Studies that are to be sent.
    """
    if studies:
        wanted = [(study.engine, study.method) for study in studies]
        return wanted + [(study.warm_start, study.method) for study in studies if study.warm_start]
    names = [_DEFAULT_POTENTIAL if folder.settings.engine in ("", "potential") else folder.settings.engine]
    with suppress(AnodeflowError):  # another check says what is wrong with the database
        names += _submitted(folder)
    return [(name, load_card("lacss2024-bulk" if name in PROGRAMS else "embedded")) for name in dict.fromkeys(names)]


def _submitted(folder: ClusterFolder) -> list[str]:
    """Return the engines of the studies that were submitted and are not done."""
    database = folder.database.open()
    with server_errors(folder.database):
        unfinished = database.workflows.distinct("metadata.study_hash", {"state": {"$ne": "COMPLETED"}})
        records = database.studies.find({"_id": {"$in": unfinished}}, {"engine": 1})
        return [str(record["engine"]) for record in records]


def engine_problem(name: str, card: MethodCard, *, load: bool = False) -> tuple[str, list[str]]:
    """Return what keeps an engine from running on this machine (empty where nothing does), and its notes.

    Parameters
    ----------
    name
        The engine.
    card
        The card it will be given.
    load
        Also load what it computes with in this process, which takes a potential some seconds.
    """
    try:
        engine = get_engine(name)
        notes = engine.preflight(card)
        if load and isinstance(engine, PotentialEngine):
            engine.calculator()
    except AnodeflowError as error:
        return str(error), []
    return "", notes
