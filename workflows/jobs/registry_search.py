"""The search of registries with a potential: every inequivalent one scored, recognised by its fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.interface_registries import RegistrySearchDoc, ScoredRegistry
from anodeflow.documents import Reason
from anodeflow.errors import AnodeflowError, ConvergenceError, EngineError, InputError, StructureError
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.registry import (
    RankedRegistry,
    candidate_shifts,
    contact_gap,
    is_held,
    registry_at,
    search_registry,
)
from anodeflow.structures.shifts import displacement_lattice, shift_moves, with_shift
from anodeflow.units import EV_PER_A2_TO_J_PER_M2
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.fingerprints import search_key
from anodeflow.workflows.jobs.recognised import Attempt, Recognised

#: Faces at this distance do not overlap at any shift, angstrom.
APART_ANGSTROM = 4.0
#: Fewer candidates than this are all relaxed along the normal; of more the best of a rigid scan are.
_RELAX_ALL, _RELAX_BEST = 8, 4
#: Of a coarse search so many are.
_RELAX_FEW = 3
#: The grid is made coarser until there are at most so many candidates.
_MOST_CANDIDATES = 24
_GRIDS_ANGSTROM = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
#: A rigid scan opens or closes both contacts by steps of this until the energy rises.
_RIGID_STEP_ANGSTROM, _RIGID_STEPS = 0.4, 8
#: Evaluations of a relaxation along the normal and of a rigid scan, for the estimate of the cost.
_RELAXATION, _SCAN = 25, 4


def search_card() -> MethodCard:
    """Return how accurately a search relaxes: energies to about a millielectronvolt an atom of the face."""
    changes = {"force_tolerance_ev_per_angstrom": 0.05, "stress_tolerance_gpa": 0.1, "max_steps": 100}
    return load_card("embedded").varied("registry search", **changes)


def _grid_and_shifts(model: InterfaceModel, most: int = _MOST_CANDIDATES) -> tuple[float, list[tuple[float, float]]]:
    """Return the finest grid that has few enough candidates, and these.

    On the coarsest grid, which a small `most` may still be too few for, the most symmetric ones come first.

    Raises
    ------
    InputError
        Too many even on the coarsest grid.
    """
    for grid in _GRIDS_ANGSTROM:
        try:
            return grid, candidate_shifts(model, grid_angstrom=grid, most=most)
        except InputError:
            if grid == _GRIDS_ANGSTROM[-1]:
                if most == _MOST_CANDIDATES:
                    raise
                return grid, candidate_shifts(model, grid_angstrom=grid, most=_MOST_CANDIDATES)[:most]
    raise InputError(f"{model.name} has too many registries", "choose another match")  # never


def scored_shifts(model: InterfaceModel, most: int | None = None) -> list[tuple[float, float]]:
    """Return the shifts that a search begins with; `most` as of :class:`RegistrySearch`."""
    return _grid_and_shifts(model, most or _MOST_CANDIDATES)[1]


def unscored(
    model: InterfaceModel, gap_angstrom: float, only: str | None = None, most: int | None = None
) -> list[ScoredRegistry]:
    """List the registries of an interface without energies, as a plan knows them; the most symmetric first.

    Parameters
    ----------
    model
        The interface.
    gap_angstrom
        With which cells are built, wider where atoms would overlap.
    only
        Label of the only registry that counts.
    most
        As of :class:`RegistrySearch`.

    Raises
    ------
    InputError
        No registry of this label.
    """
    listed = []
    for shift in scored_shifts(model, most):
        try:
            cell = with_shift(model, shift, gap_angstrom)
        except StructureError:
            cell = with_shift(model, shift, max(APART_ANGSTROM, gap_angstrom))
        listed.append(_described(cell, cell.gaps_angstrom[0]))
    held = any(entry.held for entry in listed)
    for entry in listed:
        entry.stationary = entry.held or not held
    if only is None:
        return listed
    return _named(listed, only, model.name)


def _named(listed: Sequence[ScoredRegistry], only: str, interface_name: str) -> list[ScoredRegistry]:
    chosen = [entry for entry in listed if entry.label == only]
    if not chosen:
        known = ", ".join(dict.fromkeys(f"'{entry.label}'" for entry in listed))
        raise InputError(f"{interface_name} has no registry '{only}'", f"it has {known}")
    for entry in chosen:
        entry.stationary = True
    return chosen


def expected_evaluations(candidates: int, most: int | None = None) -> int:
    """Return how many energies a search of so many candidates takes; `most` as of :class:`RegistrySearch`."""
    if most is not None:
        return candidates * _SCAN + min(candidates, _RELAX_FEW) * _RELAXATION
    if candidates <= _RELAX_ALL:
        return candidates * _RELAXATION
    return (candidates + 16) * _SCAN + _RELAX_BEST * _RELAXATION


@dataclass(frozen=True, eq=False)
class RegistrySearch(Recognised[RegistrySearchDoc]):
    """The registries of one interface, scored with a potential.

    Parameters
    ----------
    card, engine, label
        See :class:`Recognised`.
    film, substrate
        The two crystals.
    options
        Of :func:`anodeflow.structures.interface_pairs.interface`.
    only
        Label of the only registry to be scored.
    rigid
        Move both sides as wholes only: for contacts that react when atoms may move.
    most
        For screening: score at most so many, the most symmetric first, by moving both sides as wholes; relax the best
        three, and do not look between them. None is as fine as it pays for one interface.
    """

    film: Structure
    substrate: Structure
    options: dict[str, Any] = field(default_factory=dict)
    only: str | None = None
    rigid: bool = False
    most: int | None = None

    document = RegistrySearchDoc
    continued: ClassVar = None

    @cached_property
    def model(self) -> InterfaceModel:
        """The interface at any shift."""
        return interface(self.film, self.substrate, **self.options)

    @cached_property
    def key(self) -> str:
        """See :class:`Recognised`: both crystals, how they are put together, card and engine."""
        how = self.options | ({"rigid": True} if self.rigid else {}) | ({"most": self.most} if self.most else {})
        return search_key(self.film, self.substrate, how, self.only, self.card.hash, self.engine_record())

    @property
    def elements(self) -> tuple[str, ...]:
        """See :class:`Recognised`."""
        return tuple(sorted({*self.film.symbol_set, *self.substrate.symbol_set}))

    @property
    def atoms(self) -> int | None:
        """See :class:`Recognised`."""
        return len(self.model.structure) if isinstance(self.film, Structure) else None

    @property
    def folder(self) -> None:
        """See :class:`Recognised`: a potential leaves no files."""
        return None

    def is_settled(self, doc: RegistrySearchDoc) -> bool:
        """See :class:`Recognised`."""
        return doc.converged

    def compute(self, attempt: Attempt[RegistrySearchDoc]) -> RegistrySearchDoc:
        """See :class:`Recognised`; a search without a result ends in a document that says why."""
        model, scorer = self.model, _Scorer(self)
        grid, error = 0.0, None
        registries: list[ScoredRegistry] = []
        try:
            grid, registries = self._search(model, scorer)
        except EngineError:
            raise
        except AnodeflowError as problem:
            error = str(problem)
        return RegistrySearchDoc(
            **self.provenance(attempt),
            converged=error is None,
            error=error,
            reason=None if error is None else Reason.NOT_RELAXED,
            interface=model.name,
            atoms=len(model.structure),
            area_angstrom2=model.area_angstrom2,
            grid_angstrom=grid,
            registries=registries,
            evaluations=scorer.evaluations,
        )

    def _search(self, model: InterfaceModel, scorer: _Scorer) -> tuple[float, list[ScoredRegistry]]:
        grid, shifts = _grid_and_shifts(model, self.most or _MOST_CANDIDATES)
        few = len(shifts) <= _RELAX_ALL and not self.rigid and self.most is None
        score, refine = (scorer.relaxed if few else scorer.rigid), self.most is None
        ranked = search_registry(model, score, grid_angstrom=grid, refine=refine, shifts=shifts)
        entries = [
            _described(candidate.model, candidate.gap_angstrom, candidate.energy_ev, few) for candidate in ranked
        ]
        _mark_slopes(model, entries, grid)
        if not few and not self.rigid:
            chosen = [n for n, entry in enumerate(entries) if entry.stationary]
            chosen = chosen[: _RELAX_BEST if self.most is None else _RELAX_FEW]
            for n in chosen:
                _relax(entries[n], ranked[n], scorer)
            entries.sort(key=lambda entry: (not entry.relaxed, entry.energy_ev))
        if self.only is not None:
            entries = _named(entries, self.only, model.name)
        lowest = entries[0].energy_ev or 0.0
        for entry in entries:
            difference = (entry.energy_ev or 0.0) - lowest
            entry.above_lowest_j_per_m2 = difference / (2 * model.area_angstrom2) * EV_PER_A2_TO_J_PER_M2
        return grid, entries


def _described(model: InterfaceModel, gap: float, energy: float | None = None, relaxed: bool = False) -> ScoredRegistry:
    registry = registry_at(model)
    return ScoredRegistry(
        label=registry.label,
        shift=model.shift,
        vector_angstrom=registry.vector_angstrom,
        fractions=registry.fractions,
        held=is_held(model),
        relaxed=relaxed,
        gap_angstrom=gap,
        energy_ev=energy,
    )


def _relax(entry: ScoredRegistry, ranked: RankedRegistry, scorer: _Scorer) -> None:
    """Relax a registry from the separation of the rigid scan; one that does not relax keeps its energy."""
    try:
        energy, relaxed = scorer.relaxed(ranked.relaxed)
    except ConvergenceError:
        return
    entry.energy_ev, entry.relaxed = energy, True
    entry.gap_angstrom = contact_gap(ranked.model, relaxed)


def _mark_slopes(model: InterfaceModel, entries: list[ScoredRegistry], grid_angstrom: float) -> None:
    """Mark candidates that no symmetry holds and that have a lower one beside them."""
    cell = displacement_lattice(model)
    back, metric = np.linalg.inv(cell), cell @ model.structure.lattice.matrix[:2, :2]
    moves = shift_moves(model)
    points = [(np.asarray(entry.shift) - np.asarray(model.shift)) @ back for entry in entries]
    for n, entry in enumerate(entries):
        images = np.array([w @ points[n] + t for w, t in moves]) if moves else points[n][None]
        for lower in points[:n]:
            away = images - lower
            nearest = np.linalg.norm((away - np.round(away)) @ metric, axis=1).min()
            if not entry.held and nearest < 1.5 * grid_angstrom:
                entry.stationary = False


class _Scorer:
    """Energies of cells whose film keeps its place in the plane; counts and reports its evaluations."""

    def __init__(self, search: RegistrySearch) -> None:
        self._engine, self._card, self._label = search._engine, search.card, search.label
        self.evaluations = 0

    def relaxed(self, structure: Structure) -> tuple[float, Structure]:
        """Relax all atoms and the height of the cell along the normal.

        Raises
        ------
        ConvergenceError
            It does not converge.
        """
        held = structure.copy(site_properties={**structure.site_properties})
        held.add_site_property("selective_dynamics", [[False, False, True]] * len(held))
        outcome = self._engine.compute(Request(held, "relax_c", self._card), None, self._report)
        if not outcome.converged or outcome.energy_ev is None:
            raise ConvergenceError(f"a registry of {self._label} does not relax: {outcome.error}", "")
        return outcome.energy_ev, outcome.structure

    def rigid(self, structure: Structure) -> tuple[float, Structure]:
        """Move both sides as wholes along the normal to where the energy is lowest."""
        energies: dict[int, float] = {}

        def energy(step: int) -> float:
            if step not in energies:
                cell = _opened(structure, step * _RIGID_STEP_ANGSTROM)
                outcome = self._engine.compute(Request(cell, "static", self._card), None, self._report)
                if outcome.energy_ev is None:
                    raise ConvergenceError(f"a registry of {self._label} has no energy: {outcome.error}", "")
                energies[step] = outcome.energy_ev
            return energies[step]

        best = _lowest_step(energy)
        around = [energies.get(best + n) for n in (-1, 0, 1)]
        opening, lowest = best * _RIGID_STEP_ANGSTROM, energies[best]
        if all(value is not None for value in around):  # the vertex of a parabola
            low, middle, high = (float(value or 0.0) for value in around)
            curvature = low - 2 * middle + high
            if curvature > 0:
                vertex = (low - high) / (2 * curvature)
                opening += vertex * _RIGID_STEP_ANGSTROM
                lowest = middle - curvature * vertex**2 / 2
        return lowest, _opened(structure, opening)

    def _report(self, step: int, energy_ev: float, force: float) -> None:
        self.evaluations += 1
        monitor.report(self._label, self.evaluations, energy_ev, force)


def _lowest_step(energy: Callable[[int], float]) -> int:
    """Walk downhill over whole steps from 0."""
    best = 0
    for direction in (1, -1):
        for _ in range(_RIGID_STEPS):
            if energy(best + direction) >= energy(best):
                break
            best += direction
        if best * direction > 0:
            break
    return best


def _opened(structure: Structure, by_angstrom: float) -> Structure:
    """Return a cell whose contacts are wider (or narrower) by this; only that of the film's lower face with vacuum."""
    film = np.array(structure.site_properties["side"]) == "film"
    positions = structure.cart_coords.copy()
    positions[film, 2] += by_angstrom
    matrix = structure.lattice.matrix.copy()
    matrix[2, 2] += 2 * by_angstrom
    return Structure(
        Lattice(matrix),
        structure.species,
        positions,
        coords_are_cartesian=True,
        site_properties={"side": structure.site_properties["side"]},
    )
