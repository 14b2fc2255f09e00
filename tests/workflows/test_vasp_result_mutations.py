"""Damaged results of VASP: the right outcome, one that says what is wrong, or one clear error."""

import sys
from pathlib import Path

import numpy as np
import pytest
from vasp_results import CARD, as_asked, outcome_of, unpacked

from anodeflow.analysis.trajectories.outcar import OutcarReader

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutations import judged, mutations

RUNS = {"converged": "static", "si-relax": "relax_cell", "ionic-unconverged": "relax"}
# Tolerances that every run meets: only damage makes it unconverged.
WIDE = CARD.model_copy(update={"stress_tolerance_gpa": 100.0, "force_tolerance_ev_per_angstrom": 100.0})
ARRAYS = ("forces_ev_per_angstrom", "energies_ev", "positions_angstrom", "cells_angstrom", "stress_gpa")


def wrong(found, right):
    """Which numbers of a converged outcome are not right."""
    numbers = {
        "energy": abs(found.energy_ev - right.energy_ev) > 1e-5,
        "steps": found.ionic_steps != right.ionic_steps,
        "force": abs(found.max_force_ev_per_angstrom - right.max_force_ev_per_angstrom) > 1e-4,
        "cell": np.abs(found.structure.lattice.matrix - right.structure.lattice.matrix).max() > 1e-5,
        "places": np.abs(found.structure.cart_coords - right.structure.cart_coords).max() > 1e-4,
    }
    for name in ARRAYS:
        one, two = found.arrays.get(name), right.arrays[name]
        numbers[name] = one is None or one.shape != two.shape or np.abs(one - two).max() > 1e-4
    return [name for name, bad in numbers.items() if bad]


def tried(name, file, number, folder):
    """How a run came through so many damages of one of its files: counts of right, flagged and error."""
    unpacked(name, folder)
    start, inputs = as_asked(folder)
    data = (folder / file).read_bytes()

    def read(damaged):
        (folder / file).write_bytes(damaged)
        return outcome_of(folder, start, inputs, RUNS[name], WIDE)

    return judged(data, number, name + file, read, wrong, read(data))


def survey(number, folder):
    """Name and counts of every file of every run, each damaged so many times."""
    for name in RUNS:
        for file in ("vasprun.xml", "OUTCAR"):
            yield f"{name}/{file}", tried(name, file, number, folder)


@pytest.mark.parametrize("file", ["vasprun.xml", "OUTCAR"])
@pytest.mark.parametrize("name", RUNS)
def test_a_sample(name, file, tmp_path):
    count = tried(name, file, 34, tmp_path)
    assert count["right"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["vasprun.xml", "OUTCAR"])
@pytest.mark.parametrize("name", RUNS)
def test_hundreds(name, file, tmp_path):
    tried(name, file, 340, tmp_path)


@pytest.mark.slow
def test_a_growing_outcar_never_gives_a_step_that_is_not_there(tmp_path):
    unpacked("ionic-unconverged", tmp_path)
    data, path = (tmp_path / "OUTCAR").read_bytes(), tmp_path / "OUTCAR"
    right = [step.energy_ev for step in OutcarReader(path, 3).read()]
    for _, damaged in mutations(data, 340, "growing"):
        path.write_bytes(damaged)
        for step in OutcarReader(path, 3).read():
            assert (
                not step.sound or not np.isfinite(step.energy_ev) or min(abs(step.energy_ev - e) for e in right) < 1e-3
            )
