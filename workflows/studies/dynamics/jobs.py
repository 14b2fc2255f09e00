"""The calculations of one moving system: its start, the segments of every seed, and what its trajectories say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pymatgen.core import Structure

from anodeflow.analysis.dynamics_study import DynamicsSystemDoc, system_doc
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.motion.dynamics import equilibrating
from anodeflow.workflows.jobs.segment import DynamicsRun, dynamics_segment
from anodeflow.workflows.studies.dynamics.cells import Analysis, InterfaceFacts, System, build, start_task
from anodeflow.workflows.studies.graph import (
    CalculationStep,
    Documents,
    Layout,
    Result,
    Setup,
    Stage,
    Step,
    crystal_label,
)
from anodeflow.workflows.studies.registries import search_label

if TYPE_CHECKING:
    from jobflow import Job


@dataclass(frozen=True, kw_only=True)
class _SegmentStep(Step):
    """One segment of the run of one seed.

    Parameters
    ----------
    run
        Of which it is a part.
    first_step, last_step
        Where it begins and ends; negative during equilibration.
    start
        Label of the relaxation the run starts from; None: from `structure` as it is.
    previous
        Label of the segment before; None for the first, whose velocities are drawn.
    """

    task: Literal["dynamics"] = "dynamics"
    run: DynamicsRun
    first_step: int
    last_step: int
    start: str | None
    previous: str | None

    @property
    def dynamics(self) -> Dynamics:
        """How the atoms move in this segment."""
        return equilibrating(self.run.dynamics) if self.first_step < 0 else self.run.dynamics

    @property
    def timestep_fs(self) -> float:
        """For the display of progress."""
        return self.run.dynamics.timestep_fs

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`Step.write_inputs`."""
        moving = card.model_copy(update={"dynamics": self.dynamics})
        return engine.write_dynamics_inputs(
            self.structure,
            moving,
            self.charge,
            directory,
            steps=self.expected_steps,
            continued=self.previous is not None,
        )

    def job(self, setup: Setup, outputs: Mapping[str, Any]) -> Job:
        """See :meth:`Step.job`."""
        start = self.structure if self.start is None else outputs[self.start]
        return dynamics_segment(
            start if self.previous is None else None,
            None if self.previous is None else outputs[self.previous],
            self.run.model_dump(mode="json"),
            setup.card_of(self.role).model_dump(mode="json"),
            setup.engine,
            self.label,
            self.first_step,
            self.last_step,
        )


class MovingSystem(Stage):
    """The relaxation of one system, if it is to be relaxed, and the segments of every seed.

    Parameters
    ----------
    system
        What the study file says.
    as_given
        Names and structures of the crystals whose cells are not relaxed.
    prerelax_card
        Of the relaxation before the dynamics; None: there is none.
    runs
        One a seed.
    segments
        First and last step of each.
    analysis
        What is made of the trajectories.
    by_temperature
        The runs are of several temperatures, and each temperature has its own document.
    """

    system: System
    as_given: list[tuple[str, Structure]]
    prerelax_card: MethodCard | None
    runs: list[DynamicsRun]
    segments: list[tuple[int, int]]
    analysis: Analysis
    by_temperature: bool = False

    @classmethod
    def of(cls, system: System, as_given: list[tuple[str, Structure]], **options: Any) -> MovingSystem:
        """Return the calculations of one system.

        Parameters
        ----------
        system, as_given
            What moves, and which of its crystals are taken as they are.
        **options
            The other parameters.
        """
        given = {name for name, _ in as_given}
        needs = [crystal_label(name) for name in dict.fromkeys(system.crystals) if name not in given]
        needs += [search_label(system.label)] if system.registries else []
        return cls(label=f"{system.label}/cell", needs=needs, system=system, as_given=as_given, **options)

    def lay_out(self, needed: list[Any], setup: Setup) -> Layout:
        """See :meth:`Stage.lay_out`."""
        relaxed = dict(zip(self.needs, needed, strict=True))
        given = dict(self.as_given)
        cells = {name: given.get(name) or relaxed[crystal_label(name)] for name in self.system.crystals}
        structure, model = build(self.system, cells, relaxed.get(search_label(self.system.label)))
        steps: list[Step] = []
        start = None
        if self.prerelax_card is not None:
            start = f"{self.system.label}/start"
            steps.append(
                CalculationStep(
                    label=start,
                    task=start_task(self.system, model),
                    structure=structure,
                    expected_steps=self.prerelax_card.max_steps,
                    card=self.prerelax_card,
                    warm=False,
                )
            )
        results = []
        for temperature, runs in self._groups():
            replicas = [list(self._segments(run, structure, start)) for run in runs]
            segments = [segment for replica in replicas for segment in replica]
            before = [] if start is None else [start]
            name = self.system.label if temperature is None else f"{self.system.label}, {temperature:g} K"
            result = _SystemResult(
                label=f"{self._place(temperature)}/result",
                of=[*before, *(segment.label for segment in segments)],
                name=name,
                built=structure,
                start=start,
                replicas=[[segment.label for segment in replica] for replica in replicas],
                seeds=[run.seed for run in runs],
                facts=None if model is None else InterfaceFacts.of(model, self.system.strained),
                analysis=self.analysis,
                system=None if temperature is None else self.system.label,
                temperature_k=temperature,
            )
            steps += segments
            results.append(result)
        return Layout(steps, results)

    def _groups(self) -> list[tuple[float | None, list[DynamicsRun]]]:
        """Return the runs of each temperature; all of them and None where there is but one."""
        if not self.by_temperature:
            return [(None, self.runs)]
        groups: dict[float | None, list[DynamicsRun]] = {}
        for run in self.runs:
            groups.setdefault(run.dynamics.temperature_k, []).append(run)
        return list(groups.items())

    def _place(self, temperature_k: float | None) -> str:
        """Return what labels of a temperature begin with."""
        return self.system.label if temperature_k is None else f"{self.system.label}/{temperature_k:g} K"

    def output(self, conclusions: list[Any]) -> Any:
        """See :meth:`Stage.output`: one document, or a list of them by temperature."""
        return conclusions if self.by_temperature else super().output(conclusions)

    def _segments(self, run: DynamicsRun, structure: Structure, start: str | None) -> Iterator[_SegmentStep]:
        """Yield the segments of one seed; the equilibration, if there is one, has no number."""
        previous = None
        for number, (first, last) in enumerate(self.segments, self.segments[0][0] >= 0):
            name = "equilibration" if first < 0 else f"segment {number}"
            place = self._place(run.dynamics.temperature_k if self.by_temperature else None)
            label = f"{place}/seed {run.seed}/{name}"
            yield _SegmentStep(
                label=label,
                structure=structure,
                expected_steps=last - first,
                run=run,
                first_step=first,
                last_step=last,
                start=start,
                previous=previous,
            )
            previous = label

    def without_result(self, why: str, docs: list[Any]) -> DynamicsSystemDoc:
        """See :meth:`Stage.without_result`."""
        return DynamicsSystemDoc(name=self.system.label, error=why)


class _SystemResult(Result):
    """What the trajectories of one system say; replicas are used up to their first missing segment.

    Parameters
    ----------
    name
        Of the system.
    built, start
        Its cell, and the label of its relaxation, if there is one.
    replicas, seeds
        Labels of the segments of each seed.
    facts, analysis
        What is known of an interface, and what is made of the trajectories.
    system, temperature_k
        Name without the temperature, and the temperature, where there are several.
    """

    name: str
    built: Structure
    start: str | None
    replicas: list[list[str]]
    seeds: list[int]
    facts: InterfaceFacts | None
    analysis: Analysis
    system: str | None = None
    temperature_k: float | None = None

    def document(self, docs: Documents) -> DynamicsSystemDoc:
        """See :meth:`Result.document`."""
        relaxed: CalculationDoc | None = None if self.start is None else docs[self.start]
        facts = {} if self.facts is None else self.facts.model_dump(mode="json", exclude_none=True)
        replicas = [[docs[label] for label in replica] for replica in self.replicas]
        start = self.built if relaxed is None else relaxed.structure
        try:
            return system_doc(
                self.name, start, replicas, self.seeds, facts, **self.analysis.model_dump(mode="json"),
                system=self.system, temperature_k=self.temperature_k,
            )  # fmt: skip
        except AnodeflowError as error:
            return DynamicsSystemDoc(
                name=self.name, error=str(error), facts=facts, system=self.system, temperature_k=self.temperature_k
            )
