"""Damaged outputs of CASTEP: the right outcome, one that says what is wrong, or one clear error."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_castep_output import ASKED, asked, lines_of, outcome

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutations import judged

FILES = [name for name in ASKED if name != "Si-geom-stress"]  # its relaxation failed: no damage makes it right
# An array that is lost as a whole is left out of the outcome, which then claims nothing. What a relaxation goes through
# is printed once.
ON_THE_WAY = {"positions_angstrom", "cells_angstrom", "energies_ev"}


def wrong(found, right):
    """Which numbers of a converged outcome are not right, though other lines of the file tell."""
    numbers = {
        "energy": abs(found.energy_ev - right.energy_ev) > 1e-5,
        "steps": found.ionic_steps != right.ionic_steps,
        "cell": np.abs(found.structure.lattice.matrix - right.structure.lattice.matrix).max() > 1e-6,
        "places": np.abs(found.structure.cart_coords - right.structure.cart_coords).max() > 1e-5,
    }
    if right.max_force_ev_per_angstrom is not None:
        force = found.max_force_ev_per_angstrom
        numbers["force"] = force is not None and abs(force - right.max_force_ev_per_angstrom) > 1e-4
    for name, two in right.arrays.items():
        if not isinstance(two, np.ndarray):
            continue
        one = found.arrays.get(name)
        if one is None:
            continue
        bad = np.shape(one) != np.shape(two)
        if not bad and name in ON_THE_WAY and len(two):
            one, two = one[-1], two[-1]
        numbers[name] = bad or np.abs(np.asarray(one) - two).max() > 1e-4
    return [name for name, bad in numbers.items() if bad]


def tried(name, number):
    """How an output came through so many damages: counts of right, flagged and error."""
    asked(name)  # of the undamaged file, kept
    lines = lines_of(name)

    def read(damaged):
        return outcome(damaged.splitlines(keepends=True), name)

    return judged("".join(lines).encode(), number, name, read, wrong, outcome(lines, name))


def survey(number, folder):
    """Name and counts of every file, each damaged so many times."""
    for name in FILES:
        yield f"{name}.castep", tried(name, number)


@pytest.mark.parametrize("name", FILES)
def test_a_sample(name):
    count = tried(name, 51)
    assert count["right"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hundreds(name):
    tried(name, 850)
