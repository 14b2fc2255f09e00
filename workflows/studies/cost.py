"""What a planned calculation is expected to cost, from the steps it usually takes and the time of one."""

from __future__ import annotations

import math
from typing import TypeGuard

from pymatgen.core import Structure

from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.jobs.first_geometry import coarser
from anodeflow.workflows.studies.graph import CalculationStep, Setup, Step

# Share of the usual steps that a relaxation takes from a potential's geometry. Of 75 with GPAW and SevenNet-0: crystals
# 0.4, slabs 0.2, interfaces 0.2, an added Li on a slab 0.45.
_SHARE_WHEN_WARM = 0.4
# The same where the optimiser begins with the potential's curvatures, too. Of 27 with GPAW and SevenNet-0: Li in
# crystals 0.03 to 0.05, once 0.5, Li on slabs 0.1, slabs 0 to 0.4.
_SHARE_WITH_CURVATURES = 0.1
#: That of :mod:`anodeflow.workflows.engines.motion.hessian`, whose import takes the time of a plan.
MOST_ATOMS_WITH_CURVATURES = 120
# Steps that are left for the mesh of the card where a coarser one went first.
_STEPS_AFTER_COARSE = 2


def expected_steps(step: Step, setup: Setup, engine: Engine) -> int:
    """Return how many ionic steps a planned calculation is expected to take.

    Parameters
    ----------
    step
        The calculation.
    setup
        Says whether relaxations start from a potential's geometry.
    engine
        Who computes it.
    """
    if not _relaxes(step) or setup.warm_start is None:
        return step.expected_steps
    small = step.task == "relax" and len(step.structure) <= MOST_ATOMS_WITH_CURVATURES
    with_curvatures = small and engine.capabilities.takes_curvatures
    return math.ceil(step.expected_steps * (_SHARE_WITH_CURVATURES if with_curvatures else _SHARE_WHEN_WARM))


def _relaxes(step: Step) -> TypeGuard[CalculationStep]:
    """Return whether it is a relaxation by the engine of its study that may start from other geometries."""
    return isinstance(step, CalculationStep) and step.warm and step.task != "static" and step.engine is None


class Cost:
    """Core-seconds of one planned calculation.

    Displaced atoms have no symmetry: their k-points are all those that time reversal leaves. Where a coarser mesh goes
    first and brings the atoms back to their symmetric site, the card's mesh needs the irreducible points of that site
    alone: see :mod:`~anodeflow.workflows.jobs.first_geometry`.

    Parameters
    ----------
    step, setup, card, engine
        The calculation, of what study, how accurately and by whom.

    Attributes
    ----------
    begins_coarse
        Whether a coarser mesh goes first; None where none is asked for.
    counts_on_symmetry
        Whether :meth:`seconds` counts on the coarser mesh to bring the atoms back.
    """

    def __init__(self, step: Step, setup: Setup, card: MethodCard, engine: Engine) -> None:
        self._share = engine.dynamics_share() if step.task == "dynamics" else 1.0
        start = step.start if isinstance(step, CalculationStep) else step.structure
        self._once = self._once_symmetric = engine.seconds_per_step(start, card)
        self._coarse: float | None = None
        self.begins_coarse: bool | None = None
        if setup.coarse_start and engine.capabilities.kpoints and _relaxes(step):
            less = coarser(card, start)
            self._coarse = None if less is None else engine.seconds_per_step(start, less)
            self.begins_coarse = less is not None
            if less is not None and start is not step.structure and step.task == "relax":
                self._once_symmetric = engine.seconds_per_step(step.structure, card)
        self.counts_on_symmetry = self._once_symmetric < self._once

    def seconds(self, steps: int) -> float:
        """Return the cost of so many ionic steps and the first point."""
        return self._seconds(steps, self._once_symmetric)

    def seconds_without_symmetry(self, steps: int) -> float:
        """Return the cost where displaced atoms do not come back to a symmetric site."""
        return self._seconds(steps, self._once)

    def _seconds(self, steps: int, once: float) -> float:
        """Return the cost with a step of the card's mesh that takes so long after a coarser one."""
        if self._coarse is None:
            return self._share * self._once * (steps + 1)
        return self._coarse * (steps + 1) + once * (min(steps, _STEPS_AFTER_COARSE) + 1)


class Costs:
    """The costs of the calculations of a study, each found once: the segments of a run share a cell."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, str | None, str], tuple[Structure, Cost]] = {}

    def of(self, step: Step, setup: Setup, card: MethodCard, engine: Engine) -> Cost:
        """Return what one planned calculation costs; the parameters are those of :class:`Cost`."""
        key = id(step.structure), id(card), step.engine, step.task
        if key not in self._found:  # the cell is kept, so that its id is its own
            self._found[key] = step.structure, Cost(step, setup, card, engine)
        return self._found[key][1]
