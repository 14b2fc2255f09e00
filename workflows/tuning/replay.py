"""Displaced and strained crystals with the labels of the base model, which a tuned one should still give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.structures.catalogue import is_known_crystal, load_crystal
from anodeflow.workflows.tuning.settings import Tuning


def replayed_cells(tuning: Tuning) -> dict[str, list[Structure]]:
    """Return the cells to replay, by crystal; the same for the same seed.

    Parameters
    ----------
    tuning
        What the file says.

    Raises
    ------
    InputError
        If there is no such crystal.
    """
    replay = tuning.replay
    cells: dict[str, list[Structure]] = {}
    for number, name in enumerate(dict.fromkeys(replay.crystals)):
        crystal = load_crystal(name if is_known_crystal(name) or not _is_path(name) else tuning.beside(name))
        rng = np.random.default_rng([tuning.seed, number])
        cells[name] = [
            _displaced(crystal, replay.displacement_angstrom, replay.strain, rng) for _ in range(replay.frames)
        ]
    return cells


def _is_path(name: str) -> bool:
    return "/" in name or bool(Path(name).suffix)


def _displaced(crystal: Structure, by_angstrom: float, strain: float, rng: np.random.Generator) -> Structure:
    """Return a strained cell in which every atom is moved by a random vector of this length."""
    random = rng.uniform(-strain, strain, (3, 3))
    matrix = crystal.lattice.matrix @ (np.eye(3) + (random + random.T) / 2)
    directions = rng.normal(size=(len(crystal), 3))
    directions *= by_angstrom / np.linalg.norm(directions, axis=1)[:, None]
    cell = Structure(matrix, crystal.species, crystal.frac_coords)
    return Structure(matrix, cell.species, cell.cart_coords + directions, coords_are_cartesian=True)
