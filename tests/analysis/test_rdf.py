"""g(r) against hand-counted shells and sums over all images; what must not change it; errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anodeflow.analysis.pair_distances import chunks, squared_distances
from anodeflow.analysis.rdf import PairHistogram, partial_rdf
from anodeflow.errors import InputError

TRICLINIC = np.array([[9.0, 0.0, 0.0], [2.5, 8.0, 0.0], [-1.5, 2.0, 8.5]])
SKEWED = np.array([[6.0, 0.0, 0.0], [4.5, 5.0, 0.0], [3.0, -3.0, 4.0]])
SPECIES = ["P"] * 3 + ["S"] * 7 + ["Li"] * 5


def by_hand(frames, species, pair, r_max, bins):
    """Counts over all images within reach, one after the other, with the stated rule for bins."""
    centre, neighbour = pair.split("-")
    a, b = (np.flatnonzero(np.array(species) == s) for s in (centre, neighbour))
    counts = np.zeros(bins, dtype=int)
    for positions, cell in frames:
        inside = (positions @ np.linalg.inv(cell)) % 1.0 @ cell
        widths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        reach = [range(-n, n + 1) for n in np.ceil(r_max / widths + 1).astype(int)]
        for image in itertools.product(*reach):
            d = np.linalg.norm(inside[b][None] - inside[a][:, None] + np.array(image) @ cell, axis=2)
            if image == (0, 0, 0):
                d[a[:, None] == b[None]] = np.inf
            k = np.floor((d[d < r_max] + 1e-9) / (r_max / bins)).astype(int)
            counts += np.bincount(k[k < bins], minlength=bins)
    return counts


def motion(kind, cell, frames=20, seed=0):
    """Atoms that vibrate, or jump anywhere, in a cell that stays or breathes and shears."""
    random = np.random.default_rng(seed)
    home = random.random((len(SPECIES), 3))
    for _ in range(frames):
        own = cell @ (np.eye(3) + random.normal(scale=0.02, size=(3, 3))) if "npt" in kind else cell
        x = random.random(home.shape) if "gas" in kind else home + random.normal(scale=0.02, size=home.shape)
        yield (x + random.integers(-3, 4, size=x.shape)) @ own, own


def histogram(frames, pair, r_max, bins, species=SPECIES, size=None):
    counted = PairHistogram(species, pair, r_max, bins)
    for chunk in chunks(frames, len(species), size=size):
        counted.add(chunk)
    return counted


@pytest.mark.parametrize("kind", ["vibration", "gas", "vibration npt", "gas npt"])
@pytest.mark.parametrize("cell", [TRICLINIC, SKEWED, np.diag([7.0, 8.0, 9.0])], ids=["triclinic", "skewed", "box"])
@pytest.mark.parametrize(("pair", "r_max"), [("P-S", 2.0), ("S-P", 9.0), ("S-S", 11.0)])
def test_counts_are_those_of_all_images(kind, cell, pair, r_max):
    frames = list(motion(kind, cell, frames=5))
    assert np.array_equal(histogram(frames, pair, r_max, 137).counts(), by_hand(frames, SPECIES, pair, r_max, 137))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=9, max_size=9),
    st.floats(1.0, 10.0),
    st.sampled_from(["vibration", "gas", "gas npt", "vibration npt"]),
    st.integers(0, 1000),
)
def test_counts_in_any_cell(numbers, r_max, kind, seed):
    cell = 6 * (np.eye(3) + 0.6 * np.reshape(numbers, (3, 3)))
    widths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0) if abs(np.linalg.det(cell)) > 20 else np.zeros(3)
    if widths.min() < 2.0:
        return
    frames = list(motion(kind, cell, frames=2, seed=seed))
    assert np.array_equal(histogram(frames, "P-S", r_max, 50).counts(), by_hand(frames, SPECIES, "P-S", r_max, 50))


def shells(species, positions, cell, pair, r_max=9.05, bins=181):
    """Distance: number of neighbours of one centre, of a perfect crystal."""
    document = partial_rdf([(positions, cell)], species, pair, r_max=r_max, bins=bins)
    centres = list(species).count(pair.split("-")[0])
    return {round(k * r_max / bins, 2): n / centres for k, n in enumerate(document.pairs) if n}


def test_shells_of_rock_salt_far_beyond_the_cell():
    # Primitive cell of LiCl with a = 5: two atoms, faces 2.9 angstrom apart. Shells of a face-centred and of a simple
    # cubic lattice, counted by hand.
    cell = np.array([[0, 2.5, 2.5], [2.5, 0, 2.5], [2.5, 2.5, 0]])
    positions = np.array([[0.0, 0, 0], [2.5, 0, 0]])
    same = {math.sqrt(n / 2) * 5: z for n, z in [(1, 12), (2, 6), (3, 24), (4, 12), (5, 24), (6, 8)]}
    other = {math.sqrt(n) * 2.5: z for n, z in [(1, 6), (3, 8), (5, 24), (9, 30), (11, 24), (13, 24)]}
    for pair, table in (("Li-Li", same), ("Cl-Li", other)):
        expected = {round(math.floor((r + 1e-9) / 0.05) * 0.05, 2): z for r, z in table.items()}
        assert shells(["Li", "Cl"], positions, cell, pair) == expected | {
            r: z for r, z in shells(["Li", "Cl"], positions, cell, pair).items() if r > max(expected)
        }


def test_a_shell_at_an_edge_is_not_split_by_rounding():
    # 216 atoms turned at random: every neighbour at 3 angstrom falls into the bin that begins there.
    grid = np.array(list(itertools.product(range(6), repeat=3))) * 3.0
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    document = partial_rdf([(grid @ turn, 18 * turn)], ["Li"] * 216, "Li-Li", r_max=10.0, bins=100)
    assert {k: n // 216 for k, n in enumerate(document.pairs) if n}.items() >= {30: 6, 42: 12, 60: 6, 90: 30}.items()


@pytest.mark.parametrize("r_max", [3.0, 13.0])
def test_wrapping_order_rotation_and_origin_change_nothing(r_max):
    frames = list(motion("vibration", TRICLINIC))
    expected = histogram(frames, "P-S", r_max, 60).counts()
    order = np.random.default_rng(1).permutation(len(SPECIES))
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    wrapped = [((p @ np.linalg.inv(c)) % 1.0 @ c, c) for p, c in frames]
    variants = {
        "wrapped": wrapped,
        "turned": [(p @ turn, c @ turn) for p, c in frames],
        "moved": [(p + 17.3, c) for p, c in frames],
        "left-handed": [(p * [1, 1, -1], c * [1, 1, -1]) for p, c in frames],
        "other vectors": [(p, np.array([c[0], c[1] + c[0], c[2] - c[1]])) for p, c in frames],
    }
    for name, variant in variants.items():
        assert np.array_equal(histogram(variant, "P-S", r_max, 60).counts(), expected), name
    shuffled = [(p[order], c) for p, c in frames]
    species = np.array(SPECIES)[order]
    assert np.array_equal(histogram(shuffled, "P-S", r_max, 60, species).counts(), expected)
    assert np.array_equal(histogram(frames, "P-S", r_max, 60, size=7).counts(), expected)


def test_an_ideal_gas_has_g_one():
    random = np.random.default_rng(5)
    species = ["P"] * 40 + ["S"] * 60
    frames = ((random.random((100, 3)) @ TRICLINIC, TRICLINIC) for _ in range(128))
    document = partial_rdf(frames, species, "P-S", r_max=10.0, bins=20)
    shell = 4 / 3 * np.pi * np.diff(np.linspace(0, 10, 21) ** 3)
    expected_counts = 128 * 40 * 60 * shell / np.linalg.det(TRICLINIC)
    deviations = (np.array(document.g) - 1) * np.sqrt(expected_counts)
    assert np.abs(deviations).max() < 4
    # the errors by blocks are those of independent counts
    ratio = np.array(document.g_se) * np.sqrt(expected_counts)
    assert 0.7 < np.sqrt((ratio[2:] ** 2).mean()) < 1.4


def test_a_gas_in_a_breathing_cell_has_g_one():
    random = np.random.default_rng(6)
    frames = []
    for _ in range(400):
        cell = TRICLINIC * random.uniform(0.7, 1.3)
        frames.append((random.random((20, 3)) @ cell, cell))
    document = partial_rdf(frames, ["S"] * 20, "S-S", r_max=4.0, bins=4)
    # 19 of 20 are others; own images, all beyond reach here, would make it 20.
    assert document.g[2] == pytest.approx(0.95, abs=0.02)
    assert document.g[3] == pytest.approx(0.95, abs=0.02)
    assert document.mean_volume_angstrom3 == pytest.approx(np.mean([abs(np.linalg.det(c)) for _, c in frames]))


def test_running_coordination_is_the_integral_of_g():
    document = partial_rdf(motion("gas", TRICLINIC), SPECIES, "P-S", r_max=11.0, bins=55)
    edges = np.linspace(0, 11, 56)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    density = 7 / document.mean_volume_angstrom3
    assert document.running_coordination == pytest.approx(np.cumsum(np.array(document.g) * density * shell))
    back = partial_rdf(motion("gas", TRICLINIC), SPECIES, "S-P", r_max=11.0, bins=55)
    assert back.g == pytest.approx(document.g)
    assert 7 * back.running_coordination[-1] == pytest.approx(3 * document.running_coordination[-1])


def tetrahedra(frames=60, bond=2.05, spread=0.05, seed=4):
    """PS4 on a cubic grid of 7 angstrom, bonds of normal length."""
    random = np.random.default_rng(seed)
    centres = np.array(list(itertools.product(range(2), repeat=3))) * 7.0
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    for _ in range(frames):
        lengths = bond + random.normal(scale=spread, size=(8, 4, 1))
        yield np.concatenate([centres, (centres[:, None] + lengths * corners).reshape(-1, 3)]), 14 * np.eye(3)


PS4 = ["P"] * 8 + ["S"] * 32


def test_peak_minimum_and_coordination_with_errors():
    document = partial_rdf(tetrahedra(200), PS4, "P-S", r_max=6.0, bins=300)
    # g = N(r; 2.05, 0.05) / r^2 has its top where r (r - 2.05) = -2 0.05^2, at 2.0476
    assert document.first_peak_angstrom == pytest.approx(2.0476, abs=0.003)
    assert 0 < document.first_peak_se_angstrom < 0.005
    assert document.coordination_number == 4.0
    assert document.coordination_number_se == 0.0
    low, high = document.gap_angstrom
    assert low < 2.35
    assert high > 4.0
    assert document.first_minimum_angstrom == pytest.approx((low + high) / 2)
    assert partial_rdf(tetrahedra(), PS4, "S-P", r_max=6.0).coordination_number == 1.0


def test_few_frames_have_no_errors_and_say_so():
    document = partial_rdf(tetrahedra(3), PS4, "P-S")
    assert document.g_se is None
    assert document.blocks == 0
    assert "3 frames are too few" in document.warnings[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pair": "P-Br"}, "there is no Br in the trajectory; its elements: P, S"),
        ({"pair": "PS"}, "'PS' is not a pair"),
        ({"pair": "P-S-Li"}, "not a pair"),
        ({"pair": "P-S", "r_max": -1}, "r_max is -1"),
        ({"pair": "P-S", "r_max": float("nan")}, "r_max is nan"),
        ({"pair": "P-S", "r_max": 5000}, "use at most"),
        ({"pair": "P-S", "bins": 0}, "0 bins"),
    ],
)
def test_what_cannot_be_answered_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        partial_rdf(tetrahedra(2), PS4, **options)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frame"),
        ([(np.zeros((40, 3)), None)], "frame 0 has no periodic cell"),
        ([(np.zeros((40, 3)), np.ones((3, 3)))], "no periodic cell"),
        ([*tetrahedra(2), (np.zeros((39, 3)), np.eye(3))], r"frame 2 has positions of shape \(39, 3\)"),
        ([*tetrahedra(1), (np.full((40, 3), np.nan), np.eye(3))], "frame 1 has a coordinate"),
    ],
)
def test_bad_frames_are_one_line(frames, words):
    with pytest.raises(InputError, match=words):
        partial_rdf(frames, PS4, "P-S")


def test_no_candidate_pair_gives_no_count():
    positions = np.array([[0.0, 0, 0], [5.0, 5, 5]])
    assert sum(partial_rdf([(positions, 10 * np.eye(3))] * 20, ["P", "S"], "P-S", r_max=2.0).pairs) == 0


def test_every_pair_comes_once():
    chunk = next(chunks(motion("gas", SKEWED, frames=5), len(SPECIES)))
    squared = [d.copy() for _, d in squared_distances(chunk, np.arange(3), np.arange(3, 10), 8.0)]
    distances = np.sort(np.concatenate(squared).ravel())
    distances = distances[distances < 64]
    assert (np.diff(distances) > 1e-9).all()
