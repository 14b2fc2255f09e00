"""Intact tetrahedra: hand-made breaking, recrossing, cutoffs."""

import itertools

import numpy as np
import pytest

from anodeflow.analysis.coordination import intact_tetrahedra, persistent
from anodeflow.analysis.dynamics_study import half_broken_ps
from anodeflow.errors import InputError

CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
CENTRES = np.array(list(itertools.product(range(2), repeat=3))) * 8.0
PS4 = ["P"] * 8 + ["S"] * 32
CELL = 16 * np.eye(3)


def run(stretch, frames, seed=0):
    """PS4 groups that vibrate; ``stretch(frame)`` gives {group: bond of its first S}."""
    random = np.random.default_rng(seed)
    for frame in range(frames):
        lengths = 2.05 + random.normal(scale=0.04, size=(8, 4, 1))
        for group, bond in stretch(frame).items():
            lengths[group, 0] = bond
        yield np.concatenate([CENTRES, (CENTRES[:, None] + lengths * CORNERS).reshape(-1, 3)]), CELL


def test_two_of_eight_break_and_stay_broken():
    frames = run(lambda f: {0: 3.9, 5: 3.9} if f >= 300 else {}, 500)
    times = [2.0 * f for f in range(500)]
    doc = intact_tetrahedra(frames, PS4, times_fs=times)
    assert 2.3 < doc.cutoff_angstrom < 3.9
    assert "first 200 frames" not in doc.cutoff_source or doc.cutoff_gap_angstrom is not None
    assert doc.intact_fraction == [1.0] * 300 + [0.75] * 200
    assert doc.persistent_fraction == doc.intact_fraction
    assert doc.broken_at == [600.0, None, None, None, None, 600.0, None, None]
    assert (doc.first_intact_fraction, doc.last_intact_fraction) == (1.0, 0.75)
    assert doc.last_distribution == {3: 0.25, 4: 0.75}
    assert doc.distribution == pytest.approx({3: 2 * 200 / 4000, 4: 1 - 0.1})
    assert doc.mean_coordination[-1] == 3.75
    assert doc.persistence_frames == 50


def test_half_of_eight_have_broken_when_the_fourth_has():
    def stretch(breaking):
        return lambda f: {group: 3.9 for group, frame in breaking.items() if f >= frame}

    times = [2.0 * f - 200 for f in range(500)]  # equilibration is counted before 0
    four = intact_tetrahedra(run(stretch({0: 150, 3: 200, 5: 250, 6: 300}), 500), PS4, cutoff=2.6, times_fs=times)
    assert half_broken_ps(four) == pytest.approx(0.6)
    three = intact_tetrahedra(run(stretch({0: 150, 3: 200, 5: 250}), 500), PS4, cutoff=2.6, times_fs=times)
    assert half_broken_ps(three) is None


def test_short_recrossing_counts_in_each_frame_but_not_as_persistent():
    frames = run(lambda f: {2: 3.2} if 100 <= f < 110 else {}, 300)
    doc = intact_tetrahedra(frames, PS4, cutoff=2.6, times_fs=[2.0 * f for f in range(300)])
    assert doc.cutoff_source == "given"
    assert doc.intact_fraction[99:111] == [1.0] + [0.875] * 10 + [1.0]
    assert set(doc.persistent_fraction) == {1.0}
    short = intact_tetrahedra(
        run(lambda f: {2: 3.2} if 100 <= f < 110 else {}, 300),
        PS4, cutoff=2.6, times_fs=[2.0 * f for f in range(300)], persistence_fs=20,
    )  # fmt: skip
    assert short.persistent_fraction == short.intact_fraction


def test_five_neighbours_are_not_intact():
    species = [*PS4, "S"]
    frames = [(np.vstack([p, [0.0, 0.0, 2.2]]), c) for p, c in run(lambda f: {}, 3)]
    doc = intact_tetrahedra(frames, species, cutoff=2.6)
    assert doc.intact_fraction == [0.875] * 3
    assert doc.distribution == {4: 0.875, 5: 0.125}
    assert doc.times_fs is None
    assert "shorter than the persistence" in doc.warnings[0]


def test_the_influence_of_the_cutoff_is_reported():
    doc = intact_tetrahedra(run(lambda f: dict.fromkeys(range(4), 2.6), 40), PS4, cutoff=2.65)
    assert doc.last_by_cutoff == {"2.550": 0.5, "2.650": 1.0, "2.750": 1.0}
    assert any("depends on the cutoff" in text for text in doc.warnings)


@pytest.mark.parametrize(
    ("series", "window", "expected"),
    [
        ("1111011110000", 3, "1111111110000"),
        ("0111111", 2, "1111111"),
        ("1110111", 1, "1110111"),
        ("1100110011", 3, "1111111111"),
        ("0010100", 5, "0000000"),
        ("1111100011", 3, "1111100000"),
    ],
)
def test_persistent_by_hand(series, window, expected):
    states = np.array([[c == "1" for c in series]])
    assert "".join("01"[int(s)] for s in persistent(states, window)[0]) == expected


def test_li_around_li_leaves_out_the_atom_itself():
    grid = np.array(list(itertools.product(range(4), repeat=3))) * 3.0
    doc = intact_tetrahedra([(grid, 12 * np.eye(3))], ["Li"] * 64, "Li-Li", wanted=6, cutoff=3.5)
    assert doc.distribution == {6: 1.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pair": "P-O"}, "no O"),
        ({"wanted": 0}, "0 neighbours"),
        ({"cutoff": -2.0}, "r_max is -2"),
        ({"times_fs": [0.0]}, "1 times for 4 frames"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(InputError, match=words):
        intact_tetrahedra(run(lambda f: {}, 4), PS4, **options)


def test_no_minimum_asks_for_a_cutoff():
    with pytest.raises(InputError, match="give the cutoff yourself"):
        intact_tetrahedra([(np.array([[0.0, 0, 0], [10.0, 10, 10]]), 20 * np.eye(3))], ["P", "S"])
