"""What a study declares: its calculations, once, for the plan as for the run.

A study is a list of three kinds of entry (:meth:`~anodeflow.workflows.studies.base.Study.declare`):

- a :class:`Step` is one calculation whose structure is known from the study file: a crystal, an isolated atom;
- a :class:`HostCell` is one calculation whose structure is built of relaxed ones: a slab of a relaxed crystal;
- a :class:`Stage` is a number of calculations that can be laid out only when others are relaxed, and the documents they
  end in: the slabs of a crystal, the Li sites of a host.

How they are laid out, for the dry run and for a run, is in :mod:`~anodeflow.workflows.studies.laying_out`.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pymatgen.core import Structure

from anodeflow.documents import Document
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.studies.card_roles import Role, differ
from anodeflow.workflows.studies.lithium import crystal_task

if TYPE_CHECKING:
    from jobflow import Job

_NAMESPACE = uuid.UUID("6f6e6f64-6566-6c6f-7721-616e6f646521")


class Travelling(BaseModel):
    """Base of what travels with jobs: checked when it is made and again where it arrives."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)


class Setup(Travelling):
    """Who computes a study, and how accurately.

    Parameters
    ----------
    engine, card, warm_start, coarse_start
        What the study file says.
    cards
        Of the roles whose card is another one.
    """

    engine: str
    card: MethodCard
    warm_start: str | None = None
    coarse_start: bool = False
    cards: dict[Role, MethodCard] = {}

    def card_of(self, role: Role | None) -> MethodCard:
        """Return the card of a role; None: that of the study."""
        return self.card if role is None else self.cards.get(role, self.card)

    def unlike(self, role: Role, other: Role) -> str | None:
        """Return how the cards of two roles differ, as text; None where they are the same."""
        card, other_card = self.card_of(role), self.card_of(other)
        return None if card.hash == other_card.hash else differ(role, card, other, other_card)

    def maker(
        self, task: Task, card: MethodCard | None = None, warm: bool = True, stress: bool = False
    ) -> CalculationMaker:
        """Return the maker of calculations of one task.

        Parameters
        ----------
        task
            What is done.
        card
            Where it is not the study's own.
        warm
            Whether a relaxation may start from the geometry of the cheap engine, if there is one.
        stress
            Whether the stress at the end is wanted.
        """
        settings = (card or self.card).model_dump(mode="json")
        return CalculationMaker(
            task=task,
            card=settings,
            engine=self.engine,
            warm_start=self.warm_start if warm else None,
            coarse_start=self.coarse_start and warm,
            stress=stress,
        )


class Identity(Travelling):
    """Whose jobs these are: they have the same uuids every time the same study is run."""

    study: str
    study_hash: str

    def uuid(self, label: str) -> str:
        """Return the uuid of the job of this label."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.study_hash}/{label}"))

    def identify(self, job: Job, label: str) -> Job:
        """Name a job, tag it with its study, derive its uuid from both, and return it."""
        job.set_uuid(self.uuid(label))
        job.name = label
        job.update_metadata({"study": self.study, "study_hash": self.study_hash, "label": label})
        return job


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One calculation of a study, planned or about to be run.

    Parameters
    ----------
    label
        What a person calls it, e.g. ``LiCl(100)/4 layers``; unique in its study.
    task
        What is done: a :data:`~anodeflow.workflows.engines.contract.Task`, ``neb`` or ``dynamics``.
    structure
        Where it starts: in a plan built of unrelaxed crystals.
    expected_steps
        Ionic steps it usually takes, for the estimate of the cost.
    crystal
        Name of the crystal it belongs to.
    charge
        Of the cell, e.
    role
        Which of the study's cards it has; None: the study's only one.
    card, engine
        Where they are not the study's own.
    """

    label: str
    task: str
    structure: Structure
    expected_steps: int
    crystal: str | None = None
    charge: int = 0
    role: Role | None = None
    card: MethodCard | None = None
    engine: str | None = None

    @abstractmethod
    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """Write the native inputs, and return the names of the files. Errors are those of the engine."""

    @abstractmethod
    def job(self, setup: Setup, outputs: Mapping[str, Any]) -> Job:
        """Make the job that computes it.

        Parameters
        ----------
        setup
            Engine and card of the study.
        outputs
            Documents, or references to them, of everything declared before, by label.
        """


@dataclass(frozen=True, kw_only=True)
class CalculationStep(Step):
    """A single point or a relaxation.

    Parameters
    ----------
    displacement_angstrom, seed
        Every atom is moved by a random vector of at most this length before it is run, so that no symmetry holds it.
    warm
        Whether it may start from the geometry of the study's cheap engine, if the study names one.
    stress
        Whether the stress at the end is wanted.
    """

    task: Task
    displacement_angstrom: float = 0.0
    seed: int = 0
    warm: bool = True
    stress: bool = False

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`Step.write_inputs`."""
        return engine.write_inputs(self.start, self.task, card, self.charge, directory)

    @property
    def start(self) -> Structure:
        """The geometry that is run: displaced, where it is to be."""
        if not self.displacement_angstrom:
            return self.structure
        # lengths from 0 on, whatever the default of a version of pymatgen: the structure is part of the fingerprint
        return self.structure.copy().perturb(self.displacement_angstrom, min_distance=0.0, seed=self.seed)

    def job(self, setup: Setup, outputs: Mapping[str, Any]) -> Job:
        """See :meth:`Step.job`."""
        card = self.card or setup.card_of(self.role)
        if self.engine is not None:
            setup = Setup(engine=self.engine, card=card)
        return setup.maker(self.task, card, self.warm, self.stress).make(
            self.start, self.label, self.crystal, self.charge
        )


def crystal_label(name: str) -> str:
    """Return the label of a crystal's relaxation."""
    return f"{name}/crystal"


def crystal_step(
    name: str, structure: Structure, card: MethodCard, *, task: Task | None = None, expected_steps: int = 8
) -> CalculationStep:
    """Return the relaxation of a crystal.

    Parameters
    ----------
    name
        What the study file calls it, or the stem of its file.
    structure
        As the catalogue or the file has it.
    card
        That of crystals.
    task
        ``relax`` keeps its cell; None: as :func:`~anodeflow.workflows.studies.lithium.crystal_task` has it.
    expected_steps
        For the estimate of the cost.
    """
    return CalculationStep(
        label=crystal_label(name),
        task=task or crystal_task(name, card),
        structure=structure,
        expected_steps=expected_steps,
        crystal=name,
        role="crystal",
    )


class BuiltCell(Document):
    """A cell built of relaxed crystals, and what a reader must know of it."""

    structure: Structure
    model: str
    face: str | None = None


class HostCell(Travelling, ABC):
    """One relaxation of a cell that is built of relaxed crystals.

    Parameters
    ----------
    label
        Of the job that builds it.
    needs
        Labels of the calculations of whose relaxed structures it is built, and of stages that say how.
    host, task, expected_steps, crystal, role
        Label of its relaxation, and the rest of it: see :class:`CalculationStep`.
    card
        Where it is not that of the role.
    """

    label: str
    needs: list[str]
    host: str
    task: Task
    expected_steps: int
    crystal: str | None = None
    role: Role | None = None
    card: MethodCard | None = None

    @abstractmethod
    def build(self, needed: list[Any]) -> BuiltCell:
        """Build the cell. Pure.

        Parameters
        ----------
        needed
            A structure for each calculation of ``needs``, the document of each stage.

        Raises
        ------
        InputError, StructureError
            If there is no such cell.
        """


#: Documents by the label of the job they come from; None for what was not computed.
Documents = Mapping[str, Any]


class Result(Travelling, ABC):
    """A document of a stage, to be made when its calculations are done; the fields of a subclass are what it is told.

    Parameters
    ----------
    label
        Of the job that makes it.
    of
        Labels of the calculations and results it is made of.
    """

    label: str
    of: list[str]

    @abstractmethod
    def document(self, docs: Documents) -> Document:
        """Make the document.

        Parameters
        ----------
        docs
            The documents of ``of`` by label; None where something was not computed.
        """


@dataclass(frozen=True)
class Layout:
    """What a stage consists of: its calculations, and the documents they end in."""

    steps: Sequence[Step]
    results: Sequence[Result] = field(default_factory=list)


class Stage(Travelling, ABC):
    """Calculations that are laid out when others are relaxed, and the documents they end in.

    Parameters
    ----------
    label
        Of the job that lays it out.
    needs
        Labels of the calculations and host cells it is built of, which must have converged, and of stages whose
        documents it is laid out by.
    also
        Labels of calculations and stages that only its results need, whatever became of them.
    """

    label: str
    needs: list[str]
    also: list[str] = []

    @abstractmethod
    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """Lay out the calculations. Pure.

        Parameters
        ----------
        needed
            The structure of each calculation, the :class:`BuiltCell` of each host cell and the output of each stage of
            ``needs``: relaxed in a run; in a plan unrelaxed, and what :meth:`foreseen` says.
        setup
            Engine and card of the study.

        Raises
        ------
        AnodeflowError
            If a cell cannot be built.
        """

    @abstractmethod
    def without_result(self, why: str, docs: list[Any]) -> Any:
        """Return what stands in place of the output where the stage cannot be laid out.

        Parameters
        ----------
        why
            The reason.
        docs
            What there is of ``needs``, None for the rest.
        """

    def foreseen(self, needed: list[Any], setup: Setup) -> Any:
        """Return what stands in place of the output in a plan, for stages that need it; None where none does.

        Parameters
        ----------
        needed, setup
            As of :meth:`lay_out`.
        """
        return None

    def output(self, results: list[Any]) -> Any:
        """Return the output of the stage, of those of its results: the only one, or a list of them."""
        return results[0]


Entry = Step | HostCell | Stage
