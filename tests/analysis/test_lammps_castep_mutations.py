"""Damaged dumps of LAMMPS and trajectories of CASTEP: the right value, a flag, or one clear error."""

import pytest
from damaged_trajectories import DATA, read, tried

TYPES = {"types": {1: "Li", 2: "Cl"}}
OPTIONS = {"types_only.dump": TYPES, "lammps_drift.dump": TYPES}
# What a file says once, so that nothing in it tells whether it is right. Of two or three frames nothing tells whether
# one is missing; that one is there twice is told.
_OF_MD = (
    "positions", "forces", "lattice", "time_fs", "kinetic_energy_ev", "energy_ev", "frames", "last configurations",
)  # fmt: skip
ONCE = {
    "types_only.dump": {"positions", "lattice", "step", "frames", "last configurations"},
    "lammps_drift.dump": {"positions", "lattice", "step", "frames", "last configurations"},
    "si8-md.md": {*_OF_MD},
    "si8-npt.md": {*_OF_MD},
}


def survey(number, folder):
    """Name and counts of every file, each damaged so many times."""
    for name, allowed in ONCE.items():
        yield name, tried(name, allowed, number, folder / f"damaged.{name.rpartition('.')[2]}", **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", ONCE)
def test_a_sample(name, tmp_path):
    count = tried(name, ONCE[name], 51, tmp_path / f"damaged.{name.rpartition('.')[2]}", **OPTIONS.get(name, {}))
    assert count["right"] or count["said once"]
    assert count["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ONCE)
def test_hundreds(name, tmp_path):
    tried(name, ONCE[name], 850, tmp_path / f"damaged.{name.rpartition('.')[2]}", **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", ONCE)
def test_frames_that_are_there_twice_are_told(name, tmp_path):
    text = (DATA / name).read_text()
    frame = "ITEM: TIMESTEP" if name in OPTIONS else "\n\n"
    repeated = text.rstrip("\n") + "\n" + text[text.index("ITEM: TIMESTEP") :] if name in OPTIONS else None
    if repeated is None:  # CASTEP: the frames follow a header and a blank line
        header, _, frames = text.partition("END header")
        repeated = f"{header}END header{frames.rstrip()}{frame}{frames.lstrip()}"
    path = tmp_path / f"twice.{name.rpartition('.')[2]}"
    path.write_text(repeated)
    right, told = read(path, **OPTIONS.get(name, {}))
    assert right is not None, told
    assert any("there twice or out of order" in text for text in told)


def test_a_step_of_thousands_of_digits_is_one_clear_error(tmp_path):
    """Python itself refuses to read such a number."""
    path = tmp_path / "digits.lammpstrj"
    path.write_text((DATA / "types_only.dump").read_text().replace("\n100\n", f"\n{'9' * 5000}\n"))
    frames, told = read(path, **TYPES)
    assert frames is None
    assert "the step" in next(iter(told))
