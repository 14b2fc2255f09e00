"""Diffusion by hops against what is known exactly: lattices, chains, traps, and networks that lead nowhere."""

import numpy as np
import pytest

from anodeflow.analysis.master_equation import JumpDoc, WeighedJump, diffusion_tensor, rate_matrix
from anodeflow.analysis.migration_documents import MigrationBarrierDoc, diffusion_by_hops
from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.hop_networks import hop_network
from anodeflow.structures.migration import lithium_hops
from anodeflow.units import BOLTZMANN_EV_PER_K

T, NU, BARRIER = 500.0, 10.0, 0.3
RATE = NU * np.exp(-BARRIER / (BOLTZMANN_EV_PER_K * T))  # 1/ps
UNIT = 1e-4  # angstrom^2/ps in cm^2/s


def jump(origin, target, vector, barrier=BARRIER):
    return WeighedJump(jump=JumpDoc(origin=origin, target=target, vector_angstrom=tuple(vector)), barrier_ev=barrier)


def both(a, b, vector, forward=BARRIER, backward=None):
    back = tuple(-x for x in vector)
    return [jump(a, b, vector, forward), jump(b, a, back, forward if backward is None else backward)]


def networks(name, shortest=1):
    crystal = load_crystal(name).copy()
    crystal.remove_oxidation_states()
    crystal = crystal.get_primitive_structure()
    hops = lithium_hops(crystal, "vacancy")[:shortest]
    return crystal, hops, hop_network(crystal, hops)


@pytest.mark.parametrize(("name", "ways", "edge_share"), [("Li", 8, 3 / 4), ("LiCl", 12, 1 / 2), ("Li2S", 6, 1 / 4)])
def test_vacancies_of_cubic_lattices(name, ways, edge_share):
    """bcc, fcc and simple cubic: D = z w d^2 / 6, without correlation, for every site is the same."""
    _, (hop,), (jumps,) = networks(name)
    sites = len({j.origin for j in jumps})
    assert len(jumps) == ways * sites
    edge = load_crystal(name).lattice.a
    assert hop.distance_angstrom**2 == pytest.approx(edge_share * edge**2, rel=1e-3)
    weighed = [jump(j.origin, j.target, j.vector_angstrom) for j in jumps]
    tensor, factor = diffusion_tensor(sites, weighed, T, NU)
    assert tensor == pytest.approx(np.eye(3) * ways * RATE * hop.distance_angstrom**2 / 6 * UNIT, rel=1e-6, abs=1e-20)
    assert factor == pytest.approx(1)


def test_a_chain_of_two_kinds_of_hops_goes_at_the_pace_of_the_slower():
    first, second, a, b = 0.2, 0.35, 1.5, 2.5
    jumps = [*both(0, 1, (a, 0, 0), first), *both(1, 0, (b, 0, 0), second)]
    tensor, factor = diffusion_tensor(2, jumps, T, NU)
    rates = [NU * np.exp(-e / (BOLTZMANN_EV_PER_K * T)) for e in (first, second)]
    exact = (a + b) ** 2 * rates[0] * rates[1] / (2 * sum(rates)) * UNIT
    assert tensor[0, 0] == pytest.approx(exact, rel=1e-9)
    assert tensor[1:, 1:] == pytest.approx(np.zeros((2, 2)), abs=1e-20)
    assert factor == pytest.approx(exact / UNIT / (0.5 * (rates[0] * a**2 + rates[1] * b**2)))


def test_a_trap_slows_by_its_occupation():
    depth, length = 0.1, 3.0
    # deep sites 0, shallow sites 1, half way between two deep ones; the same saddle everywhere
    jumps = [
        *both(0, 1, (length / 2, 0, 0), BARRIER, BARRIER - depth),
        *both(0, 1, (-length / 2, 0, 0), BARRIER, BARRIER - depth),
    ]
    _, occupation = rate_matrix(2, jumps, T, NU)
    boltzmann = np.exp(-depth / (BOLTZMANN_EV_PER_K * T))
    assert occupation == pytest.approx([1 / (1 + boltzmann), boltzmann / (1 + boltzmann)])
    tensor, _ = diffusion_tensor(2, jumps, T, NU)
    assert tensor[0, 0] == pytest.approx(length**2 * occupation[0] * RATE / 2 * UNIT)


def test_a_honeycomb_is_isotropic_in_its_plane():
    length = 2.0
    angles = np.deg2rad([90, 210, 330])
    jumps = [j for angle in angles for j in both(0, 1, (length * np.cos(angle), length * np.sin(angle), 0.0))]
    tensor, factor = diffusion_tensor(2, jumps, T, NU)
    # three ways, each site a mirror of the other: D = 3 w d^2 / 4, and nothing is lost
    assert tensor == pytest.approx(np.diag([1, 1, 0]) * 3 * RATE * length**2 / 4 * UNIT, abs=1e-18)
    assert factor == pytest.approx(1)


def test_pairs_of_sites_lead_nowhere():
    tensor, factor = diffusion_tensor(2, both(0, 1, (2.0, 0, 0)), T, NU)
    assert tensor == pytest.approx(np.zeros((3, 3)), abs=1e-18)
    assert factor == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="no jump"):
        diffusion_tensor(1, [], T, NU)


def test_barriers_that_contradict_each_other_around_a_ring_are_refused():
    ring = [(0, 1), (1, 2), (2, 0)]
    jumps = [j for a, b in ring for j in both(a, b, (1.0, 0, 0), 0.3, 0.4)]
    with pytest.raises(InputError, match="contradict each other around a ring"):
        rate_matrix(3, jumps, T, NU)


def test_a_walk_by_these_rates_spreads_by_this_tensor():
    """A random walk of many steps on an irregular network, against the formula."""
    jumps = [
        *both(0, 1, (1.2, 0.4, 0.0), 0.10, 0.06), *both(1, 2, (0.9, -0.7, 0.3), 0.08, 0.09),
        *both(2, 0, (1.1, 0.6, -0.2), 0.07, 0.10), *both(0, 2, (-0.3, 1.4, 0.5), 0.12, 0.09),
    ]  # fmt: skip
    rates, occupation = rate_matrix(3, jumps, 600.0, NU)
    tensor, _ = diffusion_tensor(3, jumps, 600.0, NU)
    rng, walkers, steps = np.random.default_rng(4), 4000, 400
    state = rng.choice(3, walkers, p=occupation)
    place = np.zeros((walkers, 3))
    most = max(sum(r for j, r in zip(jumps, rates, strict=True) if j.jump.origin == n) for n in range(3))
    time = steps / (1.2 * most)
    for _ in range(steps):
        draw, chosen = rng.random(walkers) * 1.2 * most, state.copy()
        below = np.zeros(walkers)
        for item, rate in zip(jumps, rates, strict=True):
            here = state == item.jump.origin
            hit = here & (draw >= below) & (draw < below + rate)
            place[hit] += item.jump.vector_angstrom
            chosen[hit] = item.jump.target
            below[here] += rate
        state = chosen
    assert np.trace(place.T @ place / walkers) / (2 * time) * UNIT == pytest.approx(np.trace(tensor), rel=0.06)


@pytest.mark.parametrize("name", ["LiAl", "Li9Al4", "Li3P"])
def test_hops_of_real_crystals_make_networks_of_their_symmetry(name):
    _, hops, found = networks(name, shortest=3)
    assert [len(jumps) for jumps in found] == [len(set(jumps)) for jumps in found]
    for hop, jumps in zip(hops, found, strict=True):
        lengths = [np.linalg.norm(j.vector_angstrom) for j in jumps]
        assert lengths == pytest.approx([hop.distance_angstrom] * len(jumps), abs=1e-3)
    if name == "LiAl":
        weighed = [jump(j.origin, j.target, j.vector_angstrom) for j in found[0]]
        tensor, _ = diffusion_tensor(1 + max(j.origin for j in found[0]), weighed, T, NU)
        assert tensor == pytest.approx(np.eye(3) * np.trace(tensor) / 3, rel=1e-6, abs=1e-20)


def barrier(hop, jumps, forward, backward=None, **changes):
    fields = {
        "crystal": "LiCl", "mechanism": "vacancy", "hop": hop.label, "converged": True, "forward_ev": forward,
        "backward_ev": forward if backward is None else backward, "symmetric": hop.symmetric,
        "jumps": [JumpDoc(origin=j.origin, target=j.target, vector_angstrom=j.vector_angstrom) for j in jumps],
    }  # fmt: skip
    return MigrationBarrierDoc(**fields | changes)


def test_a_study_gives_the_diffusion_of_its_hops():
    _, (hop,), (jumps,) = networks("LiCl")
    (doc,) = diffusion_by_hops([barrier(hop, jumps, 0.45)])
    exact = 12 * 10.0 * np.exp(-0.45 / (BOLTZMANN_EV_PER_K * 300)) * hop.distance_angstrom**2 / 6 * UNIT
    assert doc.temperatures_k == [300, 600, 900]
    assert doc.d_cm2_per_s[0] == pytest.approx(exact, rel=1e-6)
    assert doc.activation_ev == pytest.approx(0.45, abs=1e-4)
    assert doc.carrier == "one vacancy of Li"
    (failed,) = diffusion_by_hops([barrier(hop, jumps, 0.45, converged=False, forward_ev=None)])
    assert "no barrier of" in failed.error
    unknown = barrier(hop, jumps, 0.45).model_copy(update={"jumps": None})
    assert diffusion_by_hops([unknown]) == []
    assert "jumps" not in unknown.model_dump()
