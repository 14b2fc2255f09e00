"""What atoms are like by their neighbours, on crystals and by hand; layers, planes and rate laws that are known."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.environments import PHASES, Environments
from anodeflow.analysis.figures.interphase import interphase_panels
from anodeflow.analysis.interphase import interphase
from anodeflow.analysis.rate_laws import rate_law
from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal

TRAJECTORIES = Path(__file__).parent.parent / "data" / "trajectories"
LIKE = {
    "Li": "metal", "Al": "metal", "LiAl": "Li-Al", "Li3Al2": "Li-Al", "Li9Al4": "Li-Al", "LiCl": "LiCl", "Li2S": "Li2S",
    "Li3P": "Li3P", "LiP": "LixP", "Li3P7": "LixP", "LiP7": "LixP", "P": "LixP", "Li4P2S6": "PSx", "P2S5": "PS4",
    "Li6PS5Cl-ordered": "PS4", "Li6PS5Cl-24g": "PS4", "gamma-Li3PS4": "PS4", "beta-Li3PS4": "PS4", "Al2S3": "other",
    "AlCl3": "other", "LiAlCl4": "other",
}  # fmt: skip


def symbols(structure):
    return [site.specie.symbol for site in structure]


def crystal(name):
    structure = load_crystal(name).copy()
    structure.remove_oxidation_states()
    return structure


def phases_of(structure, moved=0.0, seed=0):
    positions = structure.cart_coords + np.random.default_rng(seed).normal(0, moved, (len(structure), 3))
    labels = Environments(symbols(structure)).labels(positions, structure.lattice.matrix)
    return [PHASES[number] for number in labels]


@pytest.mark.parametrize(("name", "phase"), LIKE.items())
def test_every_atom_of_a_crystal_is_like_it(name, phase):
    assert set(phases_of(crystal(name))) == {phase}


@pytest.mark.parametrize("name", ["Li", "LiAl", "Li9Al4", "LiCl", "Li2S", "Li3P", "Li6PS5Cl-24g", "gamma-Li3PS4"])
def test_heat_does_not_change_what_a_crystal_is(name):
    warm = crystal(name) * (2, 2, 2)
    counts = Counter(phases_of(warm, moved=0.15))
    assert counts[LIKE[name]] >= 0.97 * len(warm)


def cluster(atoms):
    """Atoms at places in a large box."""
    return Structure(Lattice.cubic(30), [a for a, _ in atoms], [x for _, x in atoms], coords_are_cartesian=True)


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def test_a_tetrahedron_that_loses_a_sulfur_is_broken_and_the_sulfur_is_free():
    center = np.array([15.0, 15, 15])
    sulfur = [("S", center + 2.05 * corner) for corner in TETRAHEDRON]
    assert set(phases_of(cluster([("P", center), *sulfur]))) == {"PS4"}
    # pulled away, with Li around it
    away = center + 5.0 * TETRAHEDRON[0]
    broken = [("P", center), *sulfur[1:], ("S", away), *(("Li", away + 2.45 * corner) for corner in TETRAHEDRON)]
    assert phases_of(cluster(broken)) == ["PSx"] * 4 + ["Li2S"] + ["metal"] * 4


def test_a_phosphide_is_told_by_its_neighbours():
    center = np.array([15.0, 15, 15])
    octahedron = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    around = [("Li", center + 2.5 * corner) for corner in octahedron]
    assert phases_of(cluster([("P", center), *around]))[0] == "Li3P"
    assert phases_of(cluster([("P", center), *around[:-1]]))[0] == "LixP"
    assert phases_of(cluster([("P", center), *around[:-1], ("P", center - 2.2 * octahedron[4])]))[0] == "LixP"


def test_lithium_belongs_to_most_of_its_anions_and_to_the_nearest_of_two():
    center = np.array([15.0, 15, 15])

    def lithium(*anions):
        atoms = [("Li", center)]
        for symbol, direction, distance in anions:
            place = center + distance * np.asarray(direction, dtype=float)
            # what makes the anion what it is: another Li on the far side
            atoms += [(symbol, place), ("Li", place + 2.5 * np.asarray(direction, dtype=float))]
        return phases_of(cluster(atoms))[0]

    x, y, z = np.eye(3)
    assert lithium(("S", x, 2.6), ("S", y, 2.6), ("Cl", z, 2.3)) == "Li2S"
    assert lithium(("S", x, 2.6), ("Cl", z, 2.4)) == "LiCl"
    assert lithium(("S", x, 2.3), ("Cl", z, 2.8)) == "Li2S"
    assert lithium(("S", x, 2.3)) == "metal"


def salt_on_metal():
    """Four cells of Li2S, and bcc Li of half its edge beside them, with a gap of 3 angstrom at each contact."""
    edge, half = 5.7, 4
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), ["S", "Li"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    salt.make_supercell([1, 1, half])
    grid = edge / 2 * np.array([(i, j, k) for i in range(2) for j in range(2) for k in range(2 * half - 1)])
    metal = np.concatenate([grid, grid + edge / 4]) + np.array([0.7, 0.7, half * edge + 2.2])
    lattice = Lattice.orthorhombic(edge, edge, 2 * half * edge)
    species = [*symbols(salt), *["Li"] * len(metal)]
    return Structure(lattice, species, [*salt.cart_coords, *metal], coords_are_cartesian=True)


def test_layers_and_thickness_of_two_halves():
    cell = salt_on_metal()
    document = interphase([(cell.cart_coords, cell.lattice.matrix)], symbols(cell))
    assert document.phases == ["metal", "Li2S"]
    assert sum(document.first.values()) == len(cell)
    half = cell.lattice.c / 2
    # the share of products is one in the half of the salt, and passes through one half at each contact
    assert document.thickness_angstrom[0] == pytest.approx(half, abs=2.5)
    z = np.array(document.z_angstrom)
    salt = np.array(document.layers["Li2S"][0])
    assert salt[(z > 2) & (z < half - 2)].mean() > 1
    assert salt[(z > half + 2) & (z < 2 * half - 4)].max() == 0
    assert document.area_angstrom2 == pytest.approx(5.7**2)
    assert len(document.planes) == 2
    assert sorted(plane.position for plane in document.planes)[0] == pytest.approx(0.5, abs=0.03)


def test_lithium_is_counted_through_both_planes_and_through_the_faces_of_the_cell():
    cell = salt_on_metal()
    positions, c = cell.cart_coords, cell.lattice.c
    frames = [positions.copy() for _ in range(21)]
    metal = [k for k, (symbol, z) in enumerate(zip(symbols(cell), positions[:, 2], strict=True))
             if symbol == "Li" and z > c / 2 + 1]  # fmt: skip
    low, high = metal[0], max(metal, key=lambda k: positions[k, 2])
    for n, frame in enumerate(frames):
        frame[low, 2] -= 0.3 * n  # out of the metal, down into the salt
        frame[high, 2] += 0.3 * n  # up, through the face of the cell into the salt's image
    wrapped = [frame - np.floor(frame @ np.linalg.inv(cell.lattice.matrix)) @ cell.lattice.matrix for frame in frames]
    for given in (frames, wrapped):
        document = interphase([(f, cell.lattice.matrix) for f in given], symbols(cell), times_fs=list(range(21)))
        ends = [plane.net_li[-1] for plane in document.planes]
        assert ends == [1, 1]
        assert all(plane.net_li[0] == 0 for plane in document.planes)
    back = [*frames, *reversed(frames)]
    document = interphase([(f, cell.lattice.matrix) for f in back], symbols(cell))
    assert [plane.net_li[-1] for plane in document.planes] == [0, 0]


def test_a_crystal_has_no_plane_and_an_axis_is_checked():
    cell = crystal("LiCl")
    document = interphase([(cell.cart_coords, cell.lattice.matrix)], symbols(cell))
    assert document.planes == []
    assert document.growth is None
    assert any("no plane" in warning for warning in document.warnings)
    with pytest.raises(InputError, match="unknown axis 'q'"):
        interphase([(cell.cart_coords, cell.lattice.matrix)], symbols(cell), axis="q")
    with pytest.raises(InputError, match="no frame"):
        interphase([], symbols(cell))


# --- rate laws -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("power", "words"), [(1.0, "linear (reaction"), (0.5, "parabolic (diffusion")])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_law_of_a_noisy_growth_is_found(power, words, seed):
    t = np.linspace(0, 20, 400)
    h = 3 + 4 * (t / 20) ** power + np.random.default_rng(seed).normal(0, 0.05, len(t))
    law = rate_law(t, h)
    assert law.exponent == pytest.approx(power, abs=0.05)
    assert law.exponent_ci[0] <= power <= law.exponent_ci[1]
    assert words in law.law
    assert law.independent_points > 200
    if power == 1:
        assert law.linear_ci_angstrom_per_ps[0] < 0.2 < law.linear_ci_angstrom_per_ps[1]
    else:
        low, high = law.parabolic_ci_angstrom2_per_ps
        assert low < 4**2 / (2 * 20) < high  # h = 4 sqrt(t/20) = sqrt(2 K t)
    assert law.growth_angstrom == pytest.approx(4, abs=0.1)


def test_an_exact_line_is_exact_and_what_stands_still_does_not_grow():
    t = np.linspace(5, 15, 50)
    law = rate_law(t, 1 + 0.25 * (t - 5))
    assert law.linear_angstrom_per_ps == pytest.approx(0.25)
    assert law.exponent == 1.0
    assert law.linear_ci_angstrom_per_ps == pytest.approx((0.25, 0.25))
    still = [rate_law(t, 2 + np.random.default_rng(seed).normal(0, 0.1, len(t))) for seed in range(20)]
    assert sum(law.exponent is None for law in still) >= 18
    assert "nothing grows" in next(law.law for law in still if law.exponent is None)
    assert rate_law(t, 5 - 0.1 * t).exponent is None


def test_correlated_moments_count_less():
    t = np.linspace(0, 10, 500)
    noise = np.random.default_rng(5).normal(0, 0.05, 25).repeat(20)  # twenty moments say the same
    single = rate_law(t, t + np.random.default_rng(5).normal(0, 0.05, 500))
    repeated = rate_law(t, t + noise)
    assert repeated.independent_points < 60 < 400 < single.independent_points + 100
    width = [law.linear_ci_angstrom_per_ps[1] - law.linear_ci_angstrom_per_ps[0] for law in (single, repeated)]
    assert width[1] > 2.5 * width[0]


def test_too_few_moments_are_refused():
    with pytest.raises(InputError, match="7 moments are too few"):
        rate_law(np.arange(7.0), np.arange(7.0))
    with pytest.raises(InputError, match="all moments are one"):
        rate_law(np.ones(9), np.arange(9.0))


def test_growth_is_fitted_until_the_electrolyte_is_used_up():
    """Tetrahedra in a row break one after the other, one S of each goes far away; then nothing is left."""
    lattice = np.diag([20.0, 20.0, 100.0])
    species, start = [], []
    for n in range(10):
        center = np.array([10, 10, 5 + 8.0 * n])
        species += ["P", "S", "S", "S", "S"]
        start += [center, *(center + 2.05 * TETRAHEDRON)]
    species += ["Li", "Li"]
    start += [[10, 10, 92], [10, 10, 95]]
    frames = []
    for moment in range(40):
        positions = np.array(start)
        for n in range(min(10, moment // 2)):
            positions[5 * n + 1] += [4, 4, 0]
        frames.append((positions, lattice))
    document = interphase(frames, species, times_fs=[1000.0 * k for k in range(40)])
    assert document.atoms["PS4"][0] == 50
    assert document.atoms["PS4"][-1] == 0
    assert document.growth_until_ps == pytest.approx(17)
    assert document.growth.points == 18
    assert document.growth.exponent == pytest.approx(1, abs=0.25)


# --- command line ----------------------------------------------------------------------------------------------------


def test_a_trajectory_from_file_to_figure(command, tmp_path):
    file = TRAJECTORIES / "XDATCAR_Li6PS5Cl.gz"
    status, out, err = command(
        "analyse", file, "--interphase", "c", "--timestep-fs", "2", "--frames", "0:60:3", "--json",
        "--figure", tmp_path / "f.png", "--csv", tmp_path / "c.csv",
    )  # fmt: skip
    assert status == 0, err
    found = json.loads(out)["interphase"]
    assert found["atoms"]["PS4"][0] >= 0.98 * sum(found["first"].values())
    assert max(found["thickness_angstrom"]) < 1.0
    assert (tmp_path / "f.png").stat().st_size > 10000
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert {"atoms_like", "atoms_like_in_slice", "interphase_thickness_angstrom"} <= {row["quantity"] for row in rows}
    status, out, _ = command("analyse", file, "--interphase", "c", "--timestep-fs", "2", "--frames", "0:30:3")
    assert "interphase: atoms like" in out
    status, _, err = command("analyse", file, "--interphase", "up")
    assert status != 0
    assert "unknown axis 'up'" in err


def test_panels_are_drawn_without_times_and_with_them():
    import matplotlib.pyplot as plt

    cell = salt_on_metal()
    frames = [(cell.cart_coords, cell.lattice.matrix)] * 10
    for times in (None, [1000.0 * k for k in range(10)]):
        document = interphase(frames, symbols(cell), times_fs=times)
        panels = interphase_panels(document)
        assert len(panels) == 5
        for draw in panels:
            figure, axes = plt.subplots()
            draw(axes)
            plt.close(figure)
