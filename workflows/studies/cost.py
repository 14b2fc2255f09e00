"""What a planned calculation is expected to cost, from the steps it usually takes and the time of one."""

from __future__ import annotations

import math

from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.jobs.first_geometry import coarser
from anodeflow.workflows.studies.graph import CalculationStep, Setup, Step

# Share of the usual steps that a relaxation takes from a potential's geometry. Of 75 with GPAW and SevenNet-0: crystals
# 0.4, slabs 0.2, interfaces 0.2, an added Li on a slab 0.45.
_SHARE_WHEN_WARM = 0.4
# Steps that are left for the mesh of the card where a coarser one went first.
_STEPS_AFTER_COARSE = 2


def expected_steps(step: Step, setup: Setup) -> int:
    """Return how many ionic steps a planned calculation is expected to take.

    Parameters
    ----------
    step
        The calculation.
    setup
        Says whether relaxations start from a potential's geometry.
    """
    if _relaxes(step) and setup.warm_start is not None:
        return math.ceil(step.expected_steps * _SHARE_WHEN_WARM)
    return step.expected_steps


def _relaxes(step: Step) -> bool:
    """Return whether it is a relaxation by the engine of its study that may start from other geometries."""
    return isinstance(step, CalculationStep) and step.warm and step.task != "static" and step.engine is None


class Cost:
    """Core-seconds of one planned calculation.

    Parameters
    ----------
    step, setup, card, engine
        The calculation, of what study, how accurately and by whom.
    """

    def __init__(self, step: Step, setup: Setup, card: MethodCard, engine: Engine) -> None:
        self._share = engine.dynamics_share() if step.task == "dynamics" else 1.0
        self._once = engine.seconds_per_step(step.structure, card)
        self._coarse: float | None = None
        if setup.coarse_start and engine.capabilities.kpoints and _relaxes(step):
            less = coarser(card, step.structure)
            self._coarse = None if less is None else engine.seconds_per_step(step.structure, less)

    def seconds(self, steps: int) -> float:
        """Return the cost of so many ionic steps and the first point."""
        if self._coarse is None:
            return self._share * self._once * (steps + 1)
        return self._coarse * (steps + 1) + self._once * (min(steps, _STEPS_AFTER_COARSE) + 1)
