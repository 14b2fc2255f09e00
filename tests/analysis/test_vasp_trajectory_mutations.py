"""Damaged trajectories of VASP: the right value, a flag, or one clear error; no wrong number that other lines tell."""

import pytest
from damaged_trajectories import tried

# What a file says once, so that nothing in it tells whether it is right; None for no number is not wrong.
ONCE = {
    "vasprun_relax.xml": {"positions", "forces", "steps of a relaxation"},
    "vasprun_cell.xml.gz": {"positions", "forces", "steps of a relaxation"},
    "vasprun_learned.xml.gz": {"positions", "forces"},
    "XDATCAR_drift": {"positions", "lattice", "species", "last configurations"},
    "XDATCAR_Li6PS5Cl.gz": {"positions", "lattice", "species", "last configurations"},
}


def place(name, folder):
    """Where a damaged file is written to: readers know it by its name."""
    return folder / ("XDATCAR" if "XDATCAR" in name else "vasprun.xml")


def survey(number, folder):
    """Name and counts of every file, each damaged so many times."""
    for name, allowed in ONCE.items():
        yield name, tried(name, allowed, number, place(name, folder))


@pytest.mark.parametrize("name", ONCE)
def test_a_sample(name, tmp_path):
    count = tried(name, ONCE[name], 51, place(name, tmp_path))
    assert count["right"]
    assert count["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ONCE)
def test_hundreds(name, tmp_path):
    tried(name, ONCE[name], 850, place(name, tmp_path))
