"""Damaged outputs of pw.x and CASTEP as trajectories: the right value, a flag, or one clear error."""

import pytest
from damaged_trajectories import tried

# What a file says once, so that nothing in it tells whether it is right. The first cell has six digits.
ONCE = {
    "pw_relax.out.gz": {"positions", "lattice"},
    "pw_vcrelax_crystal.out.gz": {"positions", "lattice"},
    "pw_md_300K.out.gz": {"positions", "lattice"},
    "pw_md_alat.out.gz": {"positions", "lattice"},
    "pw_vcmd.out.gz": {"positions", "lattice"},
}


def survey(number, folder):
    """Name and counts of every file, each damaged so many times."""
    for name, allowed in ONCE.items():
        yield name, tried(name, allowed, number, folder / "pw.out")


@pytest.mark.parametrize("name", ONCE)
def test_a_sample(name, tmp_path):
    count = tried(name, ONCE[name], 51, tmp_path / "pw.out")
    assert count["right"]
    assert count["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ONCE)
def test_hundreds(name, tmp_path):
    tried(name, ONCE[name], 850, tmp_path / "pw.out")
