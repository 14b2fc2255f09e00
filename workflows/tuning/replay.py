"""Cells with the labels of the base model, which a tuned one should still give.

Crystals, displaced and strained as at some temperature, keep what the base knew of phases that the data lack. Pairs
pushed together and compressed cells keep what it knew of atoms that come near each other, of which calculations of
relaxed cells say nothing: without them a training is free to dig a hole there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.analysis.labelled_frames import Floats
from anodeflow.analysis.tuning import Prediction
from anodeflow.structures.catalogue import is_known_crystal, load_crystal
from anodeflow.structures.close_pairs import (
    FAR,
    NEAREST_ANGSTROM,
    covalent_sum,
    nearest_pairs,
    pairs_in_vacuum,
    pushed_together,
)
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.tuning.settings import Tuning

#: What the base model says of cells.
_Labelling = Callable[[Sequence[Structure]], list[Prediction]]
PAIRS = "pairs in vacuum"
#: Displacements and volumes of compressed cells; those that an audit looks at.
_DISPLACED_ANGSTROM, _VOLUMES = (0.2, 0.6), (0.8, 1.0)
#: The well of two atoms is not nearer than this, of the sum of covalent radii.
_WELL = 0.8
#: Larger forces are those of a wall; in dynamics of some hundred kelvin the largest are 2 to 4.
_WALL_EV_PER_ANGSTROM = 3.0
#: Pushed neighbours end within this of their way from the nearest distance.
_NEAR = 0.6
#: Second stream of chance of a crystal; the first one gives its displaced cells alone.
_MORE = 1


def replayed_crystals(tuning: Tuning) -> dict[str, Structure]:
    """Return the crystals and slabs to replay, by name.

    Raises
    ------
    InputError
        If there is no such crystal or face.
    """
    crystals = {name: _crystal(tuning, name) for name in dict.fromkeys(tuning.replay.crystals)}
    for slab in tuning.replay.slabs:
        bulk = _crystal(tuning, slab.crystal)
        crystals[slab.label] = build_slab(bulk, slab.miller, layers=slab.layers, crystal=slab.crystal).structure
    return crystals


def replayed_cells(tuning: Tuning, labels_of: _Labelling) -> dict[str, list[Structure]]:
    """Return the cells to replay, by crystal; the same for the same seed.

    Parameters
    ----------
    tuning
        What the file says.
    labels_of
        What the base model says of cells: where it has a hole itself, nothing is replayed.

    Returns
    -------
    dict
        The last one of each crystal and slab is displaced by a thermal amount.

    Raises
    ------
    InputError
        If there is no such crystal or face.
    """
    replay = tuning.replay
    crystals = replayed_crystals(tuning)
    elements = sorted({element for crystal in crystals.values() for element in crystal.symbol_set})
    scans = {(a, b): repelling_distances(a, b, replay.pair_distances, labels_of)
             for a, b in combinations_with_replacement(elements, 2)} if replay.pair_distances else {}  # fmt: skip
    cells: dict[str, list[Structure]] = {}
    for number, (name, crystal) in enumerate(crystals.items()):
        more = np.random.default_rng([tuning.seed, number, _MORE])
        rng = np.random.default_rng([tuning.seed, number])
        cells[name] = []
        if name in replay.crystals:
            cells[name] += _pushed(crystal, replay.pushed, scans, more)
            cells[name] += [_compressed(crystal, more) for _ in range(replay.compressed)]
        strain = replay.strain if name in replay.crystals else 0.0
        cells[name] += [_displaced(crystal, replay.displacement_angstrom, strain, rng) for _ in range(replay.frames)]
    if scans:
        cells[PAIRS] = [pairs_in_vacuum(a, b, distances) for (a, b), distances in scans.items()]
    return cells


def repelling_distances(a: str, b: str, number: int, labels_of: _Labelling) -> list[float]:
    """Return falling distances of two atoms in vacuum, to the nearest before the base model's energy falls again.

    Parameters
    ----------
    a, b
        Elements.
    number
        Of distances down to 1 angstrom.
    labels_of
        What the base model says of cells.
    """
    distances = np.linspace(FAR * covalent_sum(a, b), NEAREST_ANGSTROM, max(2, number))
    energies = np.array([energy for energy, _, _ in labels_of([pairs_in_vacuum(a, b, [r]) for r in distances])])
    outside = max(1, int(np.count_nonzero(distances >= _WELL * covalent_sum(a, b))))
    well = int(energies[:outside].argmin())
    falling = np.flatnonzero(np.diff(energies[well:]) < 0)
    kept = len(distances) if not len(falling) else well + int(falling[0]) + 1
    return [float(r) for r in distances[:kept]]


def wall_weight(forces_ev_per_angstrom: Floats) -> float:
    """Return the weight of atoms that are near each other: the larger their forces, the less they are to be exact.

    A wall must be there, and within some per cent as steep; with one weight for all, forces of 100 eV/angstrom at
    1 angstrom would be all that a training sees.
    """
    largest = float(np.linalg.norm(forces_ev_per_angstrom, axis=1).max())
    return min(1.0, _WALL_EV_PER_ANGSTROM / largest) if largest > 0 else 1.0


def _crystal(tuning: Tuning, name: str) -> Structure:
    return load_crystal(name if is_known_crystal(name) or not _is_path(name) else tuning.beside(name))


def _is_path(name: str) -> bool:
    return "/" in name or bool(Path(name).suffix)


def _pushed(
    crystal: Structure, number: int, scans: dict[tuple[str, str], list[float]], rng: np.random.Generator
) -> list[Structure]:
    """Return cells in which two neighbours, of each two elements in turn, are near each other."""
    pairs = list(nearest_pairs(crystal))
    cells = []
    for n in range(number if pairs else 0):
        pair = pairs[n % len(pairs)]
        first, second = sorted(pair.elements)
        nearest = scans.get((first, second), [NEAREST_ANGSTROM])[-1]
        share = _NEAR * (n + rng.uniform()) / number
        cells.append(pushed_together(crystal, pair, nearest + share * max(0.0, pair.distance_angstrom - nearest)))
    return cells


def _compressed(crystal: Structure, rng: np.random.Generator) -> Structure:
    """Return a cell with large displacements and a small volume."""
    cell = _displaced(crystal, rng.uniform(*_DISPLACED_ANGSTROM), 0.0, rng)
    cell.scale_lattice(rng.uniform(*_VOLUMES) * crystal.volume)
    return cell


def _displaced(crystal: Structure, by_angstrom: float, strain: float, rng: np.random.Generator) -> Structure:
    """Return a strained cell in which every atom is moved by a random vector of this length."""
    random = rng.uniform(-strain, strain, (3, 3))
    matrix = crystal.lattice.matrix @ (np.eye(3) + (random + random.T) / 2)
    directions = rng.normal(size=(len(crystal), 3))
    directions *= by_angstrom / np.linalg.norm(directions, axis=1)[:, None]
    cell = Structure(matrix, crystal.species, crystal.frac_coords)
    return Structure(matrix, cell.species, cell.cart_coords + directions, coords_are_cartesian=True)
