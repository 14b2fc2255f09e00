"""Damaged outputs of pw.x: the right outcome, one that says what is wrong, or one clear error."""

import sys
from pathlib import Path

import numpy as np
import pytest
import test_qe_output
from test_qe_output import DATA, FILES
from test_qe_output import judged as outcome_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutations import judged

# Tolerances that every run meets: only damage makes it unconverged.
WIDE = {"force_tolerance_ev_per_angstrom": 100.0, "stress_tolerance_gpa": 100.0}
# What a relaxation goes through is printed once; the stress in kbar has two decimals.
ON_THE_WAY = {"positions_angstrom", "cells_angstrom"}
DIGITS = {"stress_gpa": 2e-3}


def wrong(found, right):
    """Which numbers of a converged outcome are not right, though other lines of the file tell."""
    numbers = {
        "energy": abs(found.energy_ev - right.energy_ev) > 1e-5,
        "steps": found.ionic_steps != right.ionic_steps,
        "force": abs(found.max_force_ev_per_angstrom - right.max_force_ev_per_angstrom) > 1e-4,
        "cell": np.abs(found.structure.lattice.matrix - right.structure.lattice.matrix).max() > 1e-6,
        "places": np.abs(found.structure.cart_coords - right.structure.cart_coords).max() > 1e-6,
    }
    for name, two in right.arrays.items():
        one, digits = found.arrays.get(name), DIGITS.get(name, 1e-4)
        bad = one is None or np.shape(one) != np.shape(two)
        if not bad and name in ON_THE_WAY:
            one, two = one[-1], two[-1]
        numbers[name] = bad or np.abs(np.asarray(one) - two).max() > digits
    return [name for name, bad in numbers.items() if bad]


def tried(name, number, folder, monkeypatch):
    """How an output came through so many damages: counts of right, flagged and error."""
    asked = test_qe_output.card
    monkeypatch.setattr(test_qe_output, "card", lambda kind: asked(kind).model_copy(update=WIDE))
    start, task, smearing, _ = FILES[name]
    path, data = folder / "pw.out", (DATA / name).read_bytes()

    def read(damaged):
        path.write_bytes(damaged)
        return outcome_of(path, start, task, smearing, folder)

    return judged(data, number, name, read, wrong, read(data))


def survey(number, folder):
    """Name and counts of every file, each damaged so many times."""
    for name in FILES:
        with pytest.MonkeyPatch.context() as patch:
            yield name, tried(name, number, folder, patch)


@pytest.mark.parametrize("name", FILES)
def test_a_sample(name, tmp_path, monkeypatch):
    count = tried(name, 51, tmp_path, monkeypatch)
    assert count["right"]
    assert count["flagged"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hundreds(name, tmp_path, monkeypatch):
    tried(name, 850, tmp_path, monkeypatch)
