"""Families of one interface that a study compares: lateral shifts and gaps, films of growing thickness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import isfinite
from numbers import Integral
from typing import Any

import numpy as np
from pymatgen.core import Structure

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.parameters import named
from anodeflow.structures.interface_contacts import symmetry_moves
from anodeflow.structures.interface_sides import SlabSpec
from anodeflow.structures.interfaces import (
    AREA_TOLERANCE,
    InterfaceModel,
    build_interface,
    interface_warnings,
)
from anodeflow.structures.matching import LatticeMatch
from anodeflow.structures.shifts import displacement_lattice, one_of_each_orbit, shift_moves, with_shift
from anodeflow.structures.slabs import SlabModel


def scan_registry(
    interface: InterfaceModel,
    *,
    n: int | tuple[int, int] = 4,
    gaps: Sequence[float] | None = None,
    energies: Callable[[Structure], float] | None = None,
) -> list[InterfaceModel]:
    """Build every inequivalent lateral shift on a grid, and every gap, best first.

    A shift by a lattice vector of either side changes nothing, so that the grid spans the cell these vectors
    generate together; points that a symmetry of both slabs connects count once.

    Parameters
    ----------
    interface
        Where to start; its own shift is the origin of the grid.
    n
        Grid points along each of the two vectors of that cell.
    gaps
        Gaps in angstrom; that of `interface` if absent.
    energies
        Total energy of a structure in eV, lowest first. Without it the shifts are ranked by geometry: the
        largest shortest contact distance first, which is a guess at the least repulsion and no energy.

    Returns
    -------
    list of InterfaceModel
        With `score` and `ranked_by` set. Cells whose atoms overlap are left out.

    Raises
    ------
    InputError
        A grid below one, or gaps that are not positive.
    ConvergenceError
        `energies` returns no finite number.
    StructureError
        Every cell overlaps.
    """
    grid = (n, n) if isinstance(n, int) else tuple(n)
    if len(grid) != 2 or any(not isinstance(k, Integral) or k < 1 for k in grid):
        raise InputError(f"the grid of shifts is {n!r}", "use one or two positive integers, such as 4")
    models, overlapping = [], None
    for gap, shift in product(gaps or interface.gaps_angstrom[:1], _distinct_shifts(interface, grid)):
        try:
            models.append(with_shift(interface, shift, gap))
        except StructureError as error:
            overlapping = error
    if not models:
        raise StructureError(
            f"every shift of {interface.name} overlaps: {overlapping.problem if overlapping else 'no gap given'}",
            "use wider gaps",
        )
    if energies is None:
        ranked_by = "geometry: largest shortest contact distance (angstrom)"
        scored = [_scored(model, model.shortest_contact_angstrom, ranked_by) for model in models]
        return sorted(scored, key=lambda m: (-round(m.score or 0, 6), m.gaps_angstrom, m.shift))
    scored = []
    for model in models:
        energy = float(energies(model.structure.copy()))
        if not isfinite(energy):
            raise ConvergenceError(f"the energy of {model.name} at shift {model.shift} is {energy}", "converge it")
        scored.append(_scored(model, energy, "energy (eV per cell)"))
    return sorted(scored, key=lambda m: (m.score, m.gaps_angstrom, m.shift))


def _scored(model: InterfaceModel, score: float, ranked_by: str) -> InterfaceModel:
    scored = replace(model, score=score, ranked_by=ranked_by)
    return replace(scored, warnings=interface_warnings(scored))


def thickness_series(
    film: SlabSpec,
    substrate: SlabModel,
    match: LatticeMatch,
    *,
    film_layers: Sequence[int],
    **options: Any,
) -> list[InterfaceModel]:
    """Build the same interface with films of growing thickness, for gamma(n) = gamma_true + n sigma.

    Parameters
    ----------
    film
        How to cut the film.
    substrate
        The other slab, the same in all cells.
    match
        Made for these two crystals, with any thickness.
    film_layers
        Planes of the film, at least four different numbers. Both contacts must be equivalent in every cell.
    options
        `strained` (not ``"both"``: the area must be that of one side), `gap_angstrom`, `shift`, `repeat`,
        `max_strain`, `max_atoms` of :func:`anodeflow.structures.interfaces.build_interface`.

    Returns
    -------
    list of InterfaceModel
        Thinnest first; n is `n_film_units`, beside it `n_substrate_units`.

    Raises
    ------
    InputError
        Fewer than four thicknesses, a film of one layer, vacuum, or both sides strained.
    StructureError
        Contacts that differ, with the numbers of layers that would do.
    """
    layers = sorted(set(film_layers))
    if len(layers) < 4:
        raise InputError(f"{len(layers)} film thicknesses cannot support a fit", "give at least four in film_layers")
    if options.get("vacuum_angstrom") is not None:
        raise InputError(
            "a thickness series needs periodic cells with two contacts", f"leave out {named('vacuum_angstrom')}"
        )
    if options.get("strained", match.strained) == "both":
        raise InputError("with both sides strained the area belongs to neither", "use strained='film' or 'substrate'")
    models = [build_interface(film.build(count), substrate, match, **options) for count in layers]
    bad = [count for count, model in zip(layers, models, strict=True) if not model.contacts_equivalent]
    if bad:
        good = []
        for count in sorted({near for asked in layers for near in range(max(2, asked - 2), asked + 5)}):
            if count not in bad:
                model = build_interface(film.build(count), substrate, match, **options)
                good += [count] if model.contacts_equivalent else []
        reason = models[layers.index(bad[0])].contacts_decided_by
        remedy = f"use film_layers from {good}" if good else "use symmetric slabs, or another shift"
        raise StructureError(f"the contacts differ with {bad} film layers: {reason}", remedy)
    check_series(models)
    return models


def check_series(models: Sequence[InterfaceModel]) -> None:
    """Refuse interfaces that one straight line gamma(n) cannot hold.

    Raises
    ------
    InputError
        Fewer than four thicknesses, different areas, substrates or strained sides, or inequivalent contacts.
    """
    units = {round(model.n_film_units, 6) for model in models}
    if len(units) < 4:
        raise InputError(f"{len(units)} film thicknesses cannot support a fit", "use at least four")
    cells = [model.structure.lattice.matrix[:2, :2] for model in models]
    if any(not np.allclose(cell, cells[0], rtol=AREA_TOLERANCE, atol=1e-6) for cell in cells):
        areas = ", ".join(f"{model.area_angstrom2:.3f}" for model in models)
        raise InputError(f"the in-plane cells differ (areas {areas} square angstrom)", "use one match and one side")
    if len({(model.strained, round(model.n_substrate_units, 6)) for model in models}) > 1:
        raise InputError("the substrates or the strained sides differ", "use one substrate and one side")
    if not all(model.contacts_equivalent for model in models):
        raise InputError("not all interfaces have two equivalent contacts", "build them with thickness_series")


def _distinct_shifts(model: InterfaceModel, grid: Sequence[int]) -> list[tuple[float, float]]:
    """Return shifts of the film over the cell of displacements, one for each orbit of the symmetry.

    Those of the grid, and in a periodic cell those with a centre of inversion, which make the contacts equal.
    """
    cell = displacement_lattice(model)
    back, moves = np.linalg.inv(cell), shift_moves(model)
    points = [np.array([i / grid[0], j / grid[1]]) for i, j in product(range(grid[0]), range(grid[1]))]
    centred = [
        t / 2 @ back
        for w, t, flips in symmetry_moves(model.structure)
        if flips and model.vacuum_angstrom is None and (w == -np.eye(2)).all()
    ][:1]
    points += [centre + np.array(corner) / 2 for centre in centred for corner in product((0, 1), repeat=2)]
    return [
        (float(x), float(y))
        for point in one_of_each_orbit(points, moves)
        for x, y in [np.round((np.round(point, 9) % 1.0) @ cell + model.shift, 9) + 0.0]
    ]
