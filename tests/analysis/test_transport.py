"""Transport on exact lattices: jumps counted, D by axis, collective displacement, van Hove, Arrhenius by hand."""

import json

import numpy as np
import pytest

from anodeflow.analysis.arrhenius import DiffusionPoint, arrhenius, nernst_einstein_s_per_cm, pooled
from anodeflow.analysis.diffusion import Displacements
from anodeflow.analysis.pair_distances import chunks
from anodeflow.analysis.site_jumps import density_sites, site_jumps
from anodeflow.analysis.transport import transport, van_hove
from anodeflow.errors import InputError
from anodeflow.units import A2_PER_FS_TO_CM2_PER_S, BOLTZMANN_EV_PER_K

EDGE = 3.0


def walkers(atoms=200, frames=2000, *, rate=0.05, axes=(0, 1, 2), together=False, seed=1):
    """Random walks on a cubic lattice: positions (n, F, 3), and how many jumps each atom made.

    A step is a jump with the probability `rate`, along one of the axes, either way; together: all atoms do the same.
    """
    rng = np.random.default_rng(seed)
    movers = 1 if together else atoms
    steps = np.zeros((movers, frames - 1, 3))
    jumps = rng.random((movers, frames - 1)) < rate
    axis = rng.choice(axes, size=jumps.shape)
    way = rng.choice([-1, 1], size=jumps.shape)
    for k in range(3):
        steps[..., k] = EDGE * way * jumps * (axis == k)
    if together:
        steps, jumps = np.repeat(steps, atoms, axis=0), np.repeat(jumps, atoms, axis=0)
    start = np.zeros((atoms, 1, 3))
    return np.concatenate([start, np.cumsum(steps, axis=1)], axis=1), jumps.sum(axis=1)


def exact_d(rate, timestep_fs, dimensions=3):
    """D of the walk: rate per step times the squared edge over twice the dimensions."""
    return rate * EDGE**2 / (2 * dimensions) / timestep_fs * A2_PER_FS_TO_CM2_PER_S


# --- D by axis, all together, van Hove -------------------------------------------------------------------------------


def test_diffusion_by_axis_and_haven_ratio_of_independent_walkers():
    paths, _ = walkers()
    doc = transport(paths, 10.0, element="Li", temperature_k=600, volume_angstrom3=200 * EDGE**3, fit_fs=(200, 2000))
    exact = exact_d(0.05, 10.0)
    assert doc.d_cm2_per_s == pytest.approx(exact, rel=0.05)
    assert doc.d_by_axis_cm2_per_s == pytest.approx((exact,) * 3, rel=0.2)
    assert np.mean(doc.d_by_axis_cm2_per_s) == pytest.approx(doc.d_cm2_per_s, rel=1e-9)
    # independent: D_sigma = D, within the error of one path
    assert abs(doc.d_collective_cm2_per_s - exact) < 4 * max(doc.d_collective_se_cm2_per_s, 0.1 * exact)
    assert doc.conductivity_s_per_cm / doc.nernst_einstein_s_per_cm == pytest.approx(
        doc.d_collective_cm2_per_s / doc.d_cm2_per_s
    )


def test_a_channel_diffuses_along_its_axis_only():
    paths, _ = walkers(axes=(2,))
    doc = transport(paths, 10.0, element="Li", temperature_k=600, volume_angstrom3=1000.0, fit_fs=(200, 2000))
    x, y, z = doc.d_by_axis_cm2_per_s
    assert abs(x) < 1e-12
    assert abs(y) < 1e-12
    assert z == pytest.approx(exact_d(0.05, 10.0, dimensions=1), rel=0.05)


def test_atoms_that_move_together_have_a_small_haven_ratio():
    paths, _ = walkers(atoms=8, frames=40000, together=True)
    doc = transport(paths, 10.0, element="Li", temperature_k=600, volume_angstrom3=1000.0, fit_fs=(200, 4000))
    # |sum of 8 equal displacements|^2 / 8 is 8 times that of one
    assert doc.d_collective_cm2_per_s == pytest.approx(8 * doc.d_cm2_per_s, rel=1e-6)
    assert doc.haven_ratio == pytest.approx(1 / 8, rel=1e-6)


def test_without_a_framework_nothing_moves_together_and_few_frames_are_refused():
    paths, _ = walkers(atoms=20, frames=400)
    given = {"element": "Li", "temperature_k": 600, "volume_angstrom3": 1000.0}
    doc = transport(paths, 10.0, fit_fs=(100, 1000), framework=False, **given)
    assert doc.d_collective_cm2_per_s is None
    assert doc.conductivity_s_per_cm is None
    with pytest.raises(InputError, match="hold no line in 400 frames"):
        transport(paths, 10.0, fit_fs=(10, 20), **given)


def test_van_hove_of_a_lattice_walk_is_at_its_distances():
    paths, _ = walkers(atoms=100, frames=1000, rate=0.02)
    doc = van_hove(paths, 10.0, [1, 50])
    width = doc.r_angstrom[1] - doc.r_angstrom[0]
    for density in doc.density_per_angstrom:
        assert 0.9 < sum(density) * width <= 1 + 1e-9
    first = np.array(doc.density_per_angstrom[0]) * width
    r = np.array(doc.r_angstrom)
    # after one step: where it was with 0.98, one edge away with 0.02, nowhere else
    assert first[0] == pytest.approx(0.98, abs=0.005)
    assert first[np.abs(r - EDGE) < 0.06].sum() == pytest.approx(0.02, abs=0.005)
    assert first[(r > 0.1) & (np.abs(r - EDGE) > 0.06)].sum() == 0


# --- jumps -----------------------------------------------------------------------------------------------------------


def test_sites_and_jumps_of_a_shaken_lattice_walk_are_counted():
    size, atoms = 4, 64
    paths, jumped = walkers(atoms=atoms, frames=1000, rate=0.02, seed=3)
    rng = np.random.default_rng(0)
    start = EDGE * np.indices((size,) * 3).reshape(3, -1).T[:, None]
    shaken = paths + start + rng.normal(0, 0.15, paths.shape) + 0.7
    cell = size * EDGE * np.eye(3)
    sites = density_sites(shaken @ np.linalg.inv(cell), cell)
    assert len(sites) == size**3
    cartesian = np.sort((sites @ cell - 0.7) / EDGE, axis=0)
    assert np.abs(cartesian - np.rint(cartesian)).max() < 0.05
    doc = site_jumps(shaken, cell, 10.0, element="Li", d_cm2_per_s=exact_d(0.02, 10.0))
    assert doc.jumps == jumped.sum()
    assert doc.distances == {"3": doc.jumps}
    assert doc.rate_per_ps == pytest.approx(jumped.sum() / (atoms * 999 * 0.01))
    # a walk without memory: one jump in six undoes the one before
    assert doc.returns / doc.jumps == pytest.approx(1 / 6, abs=0.05)
    assert doc.correlation_factor == pytest.approx(1, abs=0.1)


def test_rattling_across_a_border_is_no_jump():
    cell = np.diag([6.0, 6.0, 6.0])
    time = np.arange(4000)
    wobble = np.stack([1.5 + 0.9 * np.sin(0.3 * time), np.full(4000, 3.0), np.full(4000, 3.0)], axis=1)
    resting = np.tile([4.5, 3.0, 3.0], (4000, 1)) + np.random.default_rng(1).normal(0, 0.1, (4000, 3))
    doc = site_jumps(np.stack([wobble, resting]), cell, 1.0, element="Li")
    assert doc.jumps <= doc.sites - 2 or doc.rate_per_ps < 100
    still = site_jumps(np.stack([resting]), cell, 1.0, element="Li")
    assert (still.jumps, still.sites, still.d_jump_cm2_per_s) == (0, 1, 0.0)
    assert any("only 0 jumps" in warning for warning in still.warnings)
    with pytest.raises(InputError, match="no atom"):
        site_jumps(np.zeros((0, 5, 3)), cell, 1.0, element="Li")


def test_positions_are_followed_from_where_atoms_were():
    cell = 4 * EDGE * np.eye(3)
    paths, _ = walkers(atoms=5, frames=60, rate=0.2, seed=5)
    paths = paths * 0.3 + np.array([1.0, 2.0, 3.0])  # steps shorter than half the cell
    fixed = np.tile([6.0, 6.0, 6.0], (1, 60, 1))
    both = np.concatenate([paths, fixed])
    wrapped = np.mod(both, 4 * EDGE)
    displacements = Displacements(["Li"] * 5 + ["S"], ["Li"])
    for chunk in chunks([(frame, cell) for frame in wrapped.transpose(1, 0, 2)], 6):
        displacements.add(chunk)
    assert displacements.positions("Li") == pytest.approx(paths)
    assert displacements.paths("Li") == pytest.approx(paths - paths[:, :1])


# --- Arrhenius -------------------------------------------------------------------------------------------------------


def points(energy=0.25, d0=1e-3, temperatures=(500, 600, 800, 1000), error=0.05, noise=None):
    d = [d0 * np.exp(-energy / (BOLTZMANN_EV_PER_K * t)) for t in temperatures]
    if noise is not None:
        d = [value * np.exp(shift) for value, shift in zip(d, noise, strict=True)]
    return [
        DiffusionPoint(temperature_k=t, d_cm2_per_s=v, d_se_cm2_per_s=error * v)
        for t, v in zip(temperatures, d, strict=True)
    ]


def test_an_exact_law_is_found_and_extrapolated():
    doc = arrhenius("Li6PS5Cl", "Li", points(), carriers_per_angstrom3=24 / 1000)
    assert doc.activation_ev == pytest.approx(0.25)
    assert doc.d0_cm2_per_s == pytest.approx(1e-3)
    exact = 1e-3 * np.exp(-0.25 / (BOLTZMANN_EV_PER_K * 300))
    assert doc.d_at_cm2_per_s == pytest.approx(exact)
    assert doc.chi_squared_per_freedom == pytest.approx(0, abs=1e-12)
    assert doc.activation_ci_ev[0] < 0.25 < doc.activation_ci_ev[1]
    low, high = doc.d_at_ci_cm2_per_s
    assert low * high == pytest.approx(exact**2)  # even in the logarithm
    assert doc.conductivity_at_s_per_cm == pytest.approx(nernst_einstein_s_per_cm(exact, 24, 1000, 300))
    # the interval by hand: weights 1/0.05^2 against 1/kT
    x = np.array([1 / (BOLTZMANN_EV_PER_K * t) for t in (500, 600, 800, 1000)])
    half = 1.959964 * 0.05 / np.sqrt(((x - x.mean()) ** 2).sum())
    assert doc.activation_ci_ev[1] - 0.25 == pytest.approx(half, rel=1e-5)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, inside = np.random.default_rng(2), 0
    for _ in range(300):
        doc = arrhenius("x", "Li", points(noise=rng.normal(0, 0.05, 4)))
        inside += doc.activation_ci_ev[0] <= 0.25 <= doc.activation_ci_ev[1]
    assert 0.91 <= inside / 300 <= 1.0


def test_scatter_beyond_the_errors_widens_the_interval():
    quiet = arrhenius("x", "Li", points(error=0.01))
    rough = arrhenius("x", "Li", points(error=0.01, noise=[0.3, -0.3, 0.3, -0.3]))
    assert rough.chi_squared_per_freedom > 100
    width = [doc.activation_ci_ev[1] - doc.activation_ci_ev[0] for doc in (quiet, rough)]
    assert width[1] > 10 * width[0]


def test_temperatures_without_diffusion_are_left_out_or_refused():
    cold = points()
    cold[0] = cold[0].model_copy(update={"diffusive": False, "d_cm2_per_s": 1.0})
    doc = arrhenius("Li6PS5Cl", "Li", cold)
    assert doc.fitted == 3
    assert doc.activation_ev == pytest.approx(0.25)
    assert any("Li does not diffuse at 500 K" in warning for warning in doc.warnings)
    frozen = [point.model_copy(update={"diffusive": False}) for point in points()[:3]] + points()[3:]
    doc = arrhenius("Li6PS5Cl", "Li", frozen)
    assert doc.activation_ev is None
    assert "diffuses at 1 of 4 temperatures: no Arrhenius law" in doc.error
    two = arrhenius("x", "Li", points()[2:])
    assert two.activation_ev == pytest.approx(0.25)
    assert any("two temperatures" in warning for warning in two.warnings)


def test_seeds_are_pooled_with_the_larger_error():
    seeds = [DiffusionPoint(temperature_k=600, d_cm2_per_s=d, d_se_cm2_per_s=0.1) for d in (1.0, 2.0, 3.0)]
    mean = pooled(seeds)
    assert (mean.d_cm2_per_s, mean.seeds) == (2.0, 3)
    assert mean.d_se_cm2_per_s == pytest.approx(1 / np.sqrt(3))
    assert pooled(seeds[:1]).d_se_cm2_per_s == pytest.approx(0.1)


def test_conductivity_by_hand():
    # 24 Li in 1000 A^3 with D = 1e-8 cm2/s at 300 K: 2.4e22 * 1.602e-19 * 1e-8 / 0.025852 = 1.487e-3 S/cm
    assert nernst_einstein_s_per_cm(1e-8, 24, 1000, 300) == pytest.approx(1.4874e-3, rel=1e-3)
    assert nernst_einstein_s_per_cm(1e-8, 24, 1000, 300, charge=2) == pytest.approx(4 * 1.4874e-3, rel=1e-3)


def test_a_trajectory_of_a_lattice_gives_its_transport(command, tmp_path):
    from ase import Atoms
    from ase.io import write

    size = 4
    paths, jumped = walkers(atoms=8, frames=600, rate=0.05, seed=9)
    start = EDGE * np.indices((2, 2, 2)).reshape(3, -1).T[:, None] * 2
    shaken = paths + start + np.random.default_rng(1).normal(0, 0.1, paths.shape) + 0.5
    framework = np.tile([6.3, 6.3, 6.3], (1, 600, 1))
    places = np.mod(np.concatenate([shaken, framework]), size * EDGE)
    file = tmp_path / "walk.xyz"
    cell = size * EDGE * np.eye(3)
    write(file, [Atoms("Li8S", places[:, k], cell=cell, pbc=True) for k in range(600)], format="extxyz")
    given = ["analyse", file, "--msd", "Li", "--timestep-fs", "10", "--temperature-k", "600"]
    status, out, err = command(*given, "--json")
    assert status == 0, err
    (found,) = json.loads(out)["transport"]
    assert found["temperature_k"] == 600
    assert found["jumps"]["jumps"] == pytest.approx(jumped.sum(), abs=0.03 * jumped.sum())
    assert found["nernst_einstein_s_per_cm"] == pytest.approx(
        nernst_einstein_s_per_cm(found["d_cm2_per_s"], 8, (size * EDGE) ** 3, 600)
    )
    status, out, _ = command(*given)
    assert "S/cm (Nernst-Einstein)" in out
    assert "jumps between" in out
    status, _, err = command("analyse", file, "--pair", "Li-S", "--temperature-k", "600")
    assert status != 0
    assert "without --msd" in err
    status, _, err = command(*given[:-1], "-5")
    assert "--temperature-k -5 is not a positive number" in err
