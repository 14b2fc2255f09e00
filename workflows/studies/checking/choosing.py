"""Which structures of a study are checked. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.checks import Kind
from anodeflow.analysis.frame_selection import farthest_points, radial_descriptor
from anodeflow.workflows.studies.checking.options import Check
from anodeflow.workflows.studies.graph import Travelling

#: States whose energies differ by less are taken for one.
_SAME_STATE_EV = 1e-3


class State(Travelling):
    """A relaxed or planned state of a study.

    Parameters
    ----------
    label, structure
        Of its calculation.
    energy_ev
        Of the cell, by the study's engine; None in a plan.
    """

    label: str
    structure: Structure
    energy_ev: float | None = None

    @property
    def group(self) -> str:
        """Composition of the cell: states of one group compete."""
        return str(self.structure.composition.formula)


class MovingFrame(Travelling):
    """One frame of dynamics.

    Parameters
    ----------
    system, of
        Name of what moves; seed and step, as text.
    structure
        The frame.
    """

    system: str
    of: str
    structure: Structure


class Chosen(Travelling):
    """A structure that is checked.

    Parameters
    ----------
    label
        Such as ``check/lowest 1``.
    kind, of, group
        See :class:`~anodeflow.analysis.checks.CheckedStructure`.
    structure
        The geometry.
    """

    label: str
    kind: Kind
    of: str
    group: str
    structure: Structure


def grouped(states: Iterable[State]) -> dict[str, list[State]]:
    """Return the states of each composition, both sorted by label."""
    groups: dict[str, list[State]] = {}
    for state in sorted(states, key=lambda state: state.label):
        groups.setdefault(state.group, []).append(state)
    return groups


def chosen_structures(
    check: Check, states: Sequence[State], frames: Sequence[MovingFrame], second_ev: Mapping[str, float] | None = None
) -> list[Chosen]:
    """Return what is checked, with labels that are the same in a plan as in a run.

    Parameters
    ----------
    check
        How many of which.
    states
        All of them.
    frames
        Those that were chosen.
    second_ev
        Energies of states by the second potential, by label.
    """
    picked: list[tuple[Kind, str, str, Structure]] = []
    for group, members in grouped(states).items() if check.states else ():
        lowest = _lowest(members, check.lowest, [])
        disputed = _lowest(_by_dispute(members, second_ev), check.disputed, lowest, ranked=True)
        picked += [("lowest", state.label, group, state.structure) for state in lowest]
        picked += [("disputed", state.label, group, state.structure) for state in disputed]
        first = (lowest or disputed)[0]
        for number in range(check.displaced):
            moved = first.structure.copy().perturb(check.displacement_angstrom, 0.0, seed=check.seed + number)
            of = f"{first.label}, displaced by {check.displacement_angstrom:g} Å, seed {check.seed + number}"
            picked.append(("displaced", of, group, moved))
    picked += [("frame", frame.of, frame.system, frame.structure) for frame in frames]
    counters: dict[str, Iterator[int]] = {}
    return [
        Chosen(
            label=f"check/{kind} {next(counters.setdefault(kind, count(1)))}",
            kind=kind,
            of=of,
            group=group,
            structure=structure,
        )
        for kind, of, group, structure in picked
    ]


def _lowest(states: Sequence[State], number: int, taken: Sequence[State], ranked: bool = False) -> list[State]:
    """Return the lowest states (or the first of a ranking) that are neither taken nor the same as one before."""
    chosen: list[State] = []
    for state in states if ranked else sorted(states, key=lambda state: state.energy_ev or 0.0):
        known = [*taken, *chosen]
        if len(chosen) < number and not any(_same(state, other) for other in known):
            chosen.append(state)
    return chosen


def _same(state: State, other: State) -> bool:
    if state.energy_ev is None or other.energy_ev is None:
        return state.label == other.label
    return abs(state.energy_ev - other.energy_ev) < _SAME_STATE_EV


def _by_dispute(states: Sequence[State], second_ev: Mapping[str, float] | None) -> list[State]:
    """Return states of one composition, the most disputed first."""
    if any(state.energy_ev is None for state in states):
        return list(states)
    energies = np.array([state.energy_ev for state in states], dtype=float)
    if second_ev is None:  # the smallest distance to another state is the easiest to be wrong about
        apart = np.abs(energies[:, None] - energies[None])
        apart[apart < _SAME_STATE_EV] = np.inf
        dispute = -apart.min(axis=1)
    else:
        known = np.array([second_ev.get(state.label, np.nan) for state in states]) - energies
        dispute = np.nan_to_num(np.abs(known - np.nanmedian(known)), nan=-1.0)
    return [states[n] for n in np.argsort(-dispute, kind="stable")]


def varied_frames(frames: Sequence[MovingFrame], number: int) -> list[MovingFrame]:
    """Return frames of one system that differ most, in the order of time."""
    chosen = farthest_points([radial_descriptor(frame.structure) for frame in frames], number)
    return [frames[n] for n in sorted(chosen)]
