"""The search of registries as studies declare it: one step, scored with a potential, before interface cells are built.

A stage that needs the label of a :class:`RegistryStage` is laid out with its
:class:`~anodeflow.analysis.interface_registries.RegistrySearchDoc`; in a plan with the same without energies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.analysis.interface_registries import DEFAULT_SEARCH_ENGINE, RegistrySearchDoc, ScoredRegistry
from anodeflow.documents import CardRecord, EngineRecord
from anodeflow.errors import ConvergenceError, EngineError, InputError
from anodeflow.structures.catalogue import called
from anodeflow.structures.registry_series import check_solid
from anodeflow.structures.symmetry import keep_symmetry
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.recognised import job_of
from anodeflow.workflows.jobs.registry_search import (
    APART_ANGSTROM,
    RegistrySearch,
    expected_evaluations,
    search_card,
    unscored,
)
from anodeflow.workflows.studies.graph import Documents, Layout, Result, Setup, Stage, Step, crystal_label

if TYPE_CHECKING:
    from jobflow import Job

#: Gaps of cells are built to this: the search's last digits depend on the processor, and would change fingerprints.
_GAP_STEP_ANGSTROM = 0.1


def search_engine(engine: str, warm_start: str | None, asked: str | None) -> str:
    """Return the potential that scores registries: the one asked for, the study's own or that of its warm start.

    Parameters
    ----------
    engine, warm_start
        Of the study.
    asked
        What the study file says.

    Raises
    ------
    InputError
        An engine with electrons: a search takes hundreds of energies.
    """
    if asked is not None:
        if get_engine(asked).capabilities.electrons:
            raise InputError(f"search_engine: {asked} has electrons", "registries are scored with a potential")
        return asked
    if warm_start is not None:
        return warm_start
    return DEFAULT_SEARCH_ENGINE if get_engine(engine).capabilities.electrons else engine


def check_search_engine(engine: str, dry: bool) -> list[str]:
    """Return a note, in a dry run, if the potential of the search is not installed.

    Parameters
    ----------
    engine
        Its name.
    dry
        Nothing is computed.

    Raises
    ------
    EngineError
        It is not installed.
    """
    try:
        get_engine(engine).record()
    except EngineError as error:
        if dry:
            return [f"missing: {error.problem} (it scores the registries)"]
        raise EngineError(
            f"registries are scored with {engine}: {error.problem}",
            "install it, name another in search_engine, or give shift: [x, y]",
        ) from None
    return []


def search_is_default(shift_given: bool, registries: int | None, registry: str | None, engine: str | None) -> bool:
    """Return whether the registry of an interface is searched: unless a shift is given.

    Parameters
    ----------
    shift_given
        Whether the study file says where the film is.
    registries
        1 once it was decided.
    registry, engine
        What the study file says of the search.

    Raises
    ------
    ValueError
        A shift, and something of a search.
    """
    if shift_given and registries is None:
        if registry is not None or engine is not None:
            raise ValueError("give either shift, or registry and search_engine")
        return False
    return True


def built_gap(registry: ScoredRegistry) -> float:
    """Return the gap that a cell of this registry is built with, angstrom."""
    return gap_of(registry.gap_angstrom)


def gap_of(found_angstrom: float) -> float:
    """Return the gap that a cell is built with where a search found this one, angstrom."""
    return max(1.0, round(found_angstrom / _GAP_STEP_ANGSTROM) * _GAP_STEP_ANGSTROM)


def found_registries(doc: RegistrySearchDoc, count: int) -> list[ScoredRegistry]:
    """Return the best registries of a search.

    Raises
    ------
    ConvergenceError
        It found none.
    """
    if doc.error is not None or not doc.registries:
        raise ConvergenceError(f"the search of registries has no result: {doc.error}", "give shift: [x, y]")
    return doc.best(count)


@dataclass(frozen=True, kw_only=True)
class SearchStep(Step):
    """The search.

    Parameters
    ----------
    search
        What is computed.
    """

    search: RegistrySearch

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`Step.write_inputs`: a note, since a potential has no input files."""
        text = f"Registries are scored with {engine.name} by anodeflow itself, before the interface cells are built."
        (directory / "NOTE").write_text(text + "\n")
        return ["NOTE"]

    def job(self, setup: Setup, outputs: Mapping[str, Any]) -> Job:
        """See :meth:`Step.job`."""
        return job_of(self.search)


class RegistryStage(Stage):
    """The search of the registries of one interface.

    Parameters
    ----------
    film, substrate
        Names of the crystals.
    as_given
        Names and structures of crystals whose cells are not relaxed.
    options
        Of :func:`anodeflow.structures.interface_pairs.interface`.
    gap_angstrom
        That a plan builds cells with.
    search_engine
        The potential.
    only
        Label of the only registry that counts.
    rigid
        Atoms do not relax in the search.
    exact
        Names and unrelaxed structures of crystals whose symmetry the relaxed ones are brought back to.
    """

    film: str
    substrate: str
    as_given: list[tuple[str, Structure]] = Field(default_factory=list)
    options: dict[str, Any]
    gap_angstrom: float
    search_engine: str
    only: str | None = None
    rigid: bool = False
    exact: list[tuple[str, Structure]] = Field(default_factory=list)

    @classmethod
    def of(cls, name: str, sides: Sequence[str], options: dict[str, Any], engine: str, **more: Any) -> RegistryStage:
        """Return the search of one interface.

        Parameters
        ----------
        name
            What its labels begin with.
        sides
            Names of film and substrate.
        options
            Of :func:`anodeflow.structures.interface_pairs.interface`.
        engine
            The potential.
        more
            The other parameters.
        """
        given = {crystal for crystal, _ in more.get("as_given", [])}
        needs = [crystal_label(crystal) for crystal in dict.fromkeys(sides) if crystal not in given]
        return cls(
            label=search_label(name),
            needs=needs,
            film=sides[0],
            substrate=sides[1],
            options=options | {"gap_angstrom": APART_ANGSTROM},
            gap_angstrom=options["gap_angstrom"],
            search_engine=engine,
            **more,
        )

    def _search(self, needed: list[Any]) -> RegistrySearch:
        known = {**dict(zip(self.needs, needed, strict=True))}
        for name, unrelaxed in self.exact:
            known[crystal_label(name)] = with_its_symmetry(unrelaxed, known[crystal_label(name)])
        given = dict(self.as_given)
        film, substrate = (
            named_crystal(given.get(name) or known[crystal_label(name)], name) for name in (self.film, self.substrate)
        )
        return RegistrySearch(
            card=search_card(),
            engine=self.search_engine,
            label=f"{self.label}/scores",
            film=film,
            substrate=substrate,
            options=self.options,
            only=self.only,
            rigid=self.rigid,
        )

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        search = self._search(needed)
        listed = unscored(search.model, self.gap_angstrom, self.only)
        step = SearchStep(
            label=search.label,
            task="registries",
            structure=search.model.structure,
            expected_steps=expected_evaluations(len(listed)),
            card=search.card,
            engine=search.engine,
            search=search,
        )
        return Layout([step], [_Found(label=f"{self.label}/result", of=[step.label])])

    def foreseen(self, needed: list[Any], setup: Setup) -> RegistrySearchDoc:
        """See :meth:`Stage.foreseen`: the registries without energies."""
        search = self._search(needed)
        return RegistrySearchDoc(
            fingerprint="planned",
            label=search.label,
            converged=True,
            engine=EngineRecord(name=search.engine, kind="", version="", hash=""),
            card=CardRecord(name=search.card.name, hash=search.card.hash, dispersion=search.card.dispersion),
            interface=search.model.name,
            atoms=len(search.model.structure),
            area_angstrom2=search.model.area_angstrom2,
            grid_angstrom=0.0,
            registries=unscored(search.model, self.gap_angstrom, self.only),
        )

    def without_result(self, why: str, docs: list[Any]) -> RegistrySearchDoc:
        """See :meth:`Stage.without_result`."""
        return RegistrySearchDoc(
            fingerprint="",
            label=self.label,
            engine=EngineRecord(name=self.search_engine, kind="", version="", hash=""),
            card=CardRecord(name="", hash=""),
            interface=f"{self.film}/{self.substrate}",
            atoms=0,
            area_angstrom2=0.0,
            grid_angstrom=0.0,
            error=why,
        )


class _Found(Result):
    """What the search found, handed on."""

    def document(self, docs: Documents) -> RegistrySearchDoc:
        """See :meth:`Result.document`."""
        search = docs[self.of[0]]
        if search is None:
            raise EngineError("the registries were not scored", "see the first failure of this run")
        doc: RegistrySearchDoc = search
        return doc


def search_label(name: str) -> str:
    """Return the label of the search of an interface."""
    return f"{name}/registry search"


def with_its_symmetry(unrelaxed: Structure, relaxed: Structure) -> Structure:
    """Return a relaxed crystal without the noise by which its relaxation broke the symmetry it began with.

    The last digits of a cell decide which way round a face is cut, so that the crystals of two engines would give
    interfaces that are mirrored, or shifted, against each other.

    Parameters
    ----------
    unrelaxed, relaxed
        The same atoms in the same order.
    """
    return relaxed if unrelaxed == relaxed else keep_symmetry(unrelaxed, relaxed)


def named_crystal(structure: Structure, name: str) -> Structure:
    """Return a solid crystal that knows its name.

    Raises
    ------
    InputError
        There is a layer of vacuum in it.
    """
    check_solid(structure, called(name))
    named = structure.copy()
    named.properties["crystal"] = called(name)
    return named
