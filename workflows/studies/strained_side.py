"""Interfaces whose softer side is strained: its elastic moduli are computed first, by the study's engine and card.

The strained crystals have the labels and fingerprints that ``study: crystal-properties`` with ``elastic: true`` gives
them, so that moduli in the store are found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from anodeflow.analysis.strained_side import StrainedSideDoc, strained_side
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.studies.crystals.elastic import STRAINS, StrainedCells, elastic_label
from anodeflow.workflows.studies.graph import Documents, Layout, Setup, Stage

#: What a study file says where the softer side is strained.
SOFTER = "softer"


class BySide(Stage):
    """A stage in two forms, of which the moduli decide: the film is strained, or the substrate is.

    Both forms have one label and need the same calculations; a subclass names their classes. A plan, which has no
    moduli, lays out the form with the strained film.

    Parameters
    ----------
    film, substrate
        The form in which this side is strained.
    crystals
        Of film and substrate.
    """

    film: Any
    substrate: Any
    crystals: tuple[str, str]

    @classmethod
    def of(cls, film: Stage, substrate: Stage, crystals: Sequence[str]) -> BySide:
        """Return the stage that is one of two.

        Parameters
        ----------
        film, substrate, crystals
            See the class.
        """
        needs = [*film.needs, *dict.fromkeys(map(elastic_label, crystals))]
        return cls(label=film.label, needs=needs, also=film.also, film=film, substrate=substrate, crystals=crystals)

    def _chosen(self, needed: list[Any]) -> tuple[Stage, list[Any]]:
        """Return the form that is laid out, and what it needs.

        Raises
        ------
        ConvergenceError
            A modulus is missing.
        """
        known = dict(zip(self.needs, needed, strict=True))
        moduli = [known[elastic_label(crystal)] for crystal in self.crystals]
        side = "film" if moduli == [None, None] else strained_side(*self.crystals, moduli, "").strained
        stage: Stage = self.film if side == "film" else self.substrate
        return stage, [known[label] for label in stage.needs]

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        stage, its_needed = self._chosen(needed)
        return stage.lay_out(its_needed, setup)

    def foreseen(self, needed: list[Any], setup: Setup) -> Any:
        """See :meth:`Stage.foreseen`."""
        stage, its_needed = self._chosen(needed)
        return stage.foreseen(its_needed, setup)

    def without_result(self, why: str, docs: list[Any]) -> Any:
        """See :meth:`Stage.without_result`."""
        return self.film.without_result(why, docs)

    def output(self, results: list[Any]) -> Any:
        """See :meth:`Stage.output`."""
        return self.film.output(results)


def without_film(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a study's settings without the strained side where it is the film, as before there was a choice."""
    return {key: value for key, value in settings.items() if (key, value) != ("strained", "film")}


def moduli_stages(crystals: Iterable[str]) -> list[StrainedCells]:
    """Return the strained cells of crystals, each once."""
    return [StrainedCells.of(name, list(STRAINS)) for name in dict.fromkeys(crystals)]


def check_stress(engine: Engine) -> list[str]:
    """Return a note that a plan has the film strained.

    Raises
    ------
    InputError
        The engine gives no stress.
    """
    if not engine.capabilities.stress:
        raise InputError(
            f"engine '{engine.name}' gives no stress, so no elastic moduli to find the softer side by",
            "say which side is strained, strained: film",
        )
    return ["the softer side is strained, which moduli computed first decide: a plan has the film strained"]


def decided(
    sides: Iterable[tuple[str | None, Sequence[str]]], results: Documents, engine: str, card: str
) -> tuple[list[StrainedSideDoc], list[str]]:
    """Return which side of each interface was strained, and why others have none.

    Parameters
    ----------
    sides
        Name of each interface, if there are several, and its two crystals.
    results
        Documents of the study by label.
    engine, card
        Of the study.
    """
    docs, problems = [], []
    for system, (film, substrate) in sides:
        moduli = [results.get(elastic_label(crystal)) for crystal in (film, substrate)]
        try:
            docs.append(strained_side(film, substrate, moduli, f"elastic moduli by {engine}, card {card}", system))
        except AnodeflowError as error:
            problems.append(str(error))
    return docs, problems


def moduli_of(results: Documents, crystals: Iterable[str]) -> set[str]:
    """Return the labels of the moduli among the results of a study."""
    return {elastic_label(crystal) for crystal in crystals} & set(results)
