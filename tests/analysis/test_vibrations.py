"""Vibrations of a lattice of springs, whose frequencies are known; and what is refused."""

import numpy as np
import pytest
from factories import calculation_doc
from pymatgen.core import Element, Lattice, Structure

from anodeflow.analysis.vibrations import vibrations_doc
from anodeflow.errors import ConvergenceError, StructureError
from anodeflow.structures.displaced_cells import DISPLACEMENT_ANGSTROM, displaced_cells, phonon_repeats, phonons_of

pytest.importorskip("phonopy")
A = 3.0  # angstrom
SPRING = 1.5  # eV/angstrom^2, of each bond in every direction
REPEATS = (3, 3, 3)
PLANCK_EV_S, BOLTZMANN_EV_K, EV_J, AMU_KG = 4.135667696e-15, 8.617333262e-5, 1.602176634e-19, 1.66053906660e-27


def crystal(b=1.0):
    return Structure(Lattice.orthorhombic(A, A * b, A), ["Li"], [[0, 0, 0]])


def forces_of(cell, spring):
    """Forces of springs to the six neighbours of a simple cubic lattice, alike in all directions."""
    ideal = np.round(cell.frac_coords * REPEATS) / REPEATS
    apart = cell.frac_coords - ideal
    moved = (apart - np.round(apart)) @ cell.lattice.matrix
    place = {tuple(np.round(f * REPEATS).astype(int) % REPEATS): i for i, f in enumerate(ideal)}
    forces = np.zeros_like(moved)
    for spot, i in place.items():
        for step in [*np.eye(3, dtype=int), *-np.eye(3, dtype=int)]:
            forces[i] -= spring * (moved[i] - moved[place[tuple((np.array(spot) + step) % REPEATS)]])
    return forces


def points(structure, spring=SPRING):
    return [
        calculation_doc(
            0.0, cell, label=f"Li/vibrations/{n}", arrays={"forces_ev_per_angstrom": forces_of(cell, spring)}
        )
        for n, cell in enumerate(displaced_cells(structure, REPEATS))
    ]


def highest_thz():
    """omega^2 = 2 k/m sum(1 - cos q): 12 k/m at the corner of the zone."""
    omega = np.sqrt(12 * SPRING * EV_J * 1e20 / (float(Element("Li").atomic_mass) * AMU_KG))
    return omega / 2 / np.pi / 1e12


def frequencies_hz(n=24):
    """Three modes alike at each point of a mesh beside Gamma."""
    q = (np.arange(n) + 0.5) * 2 * np.pi / n
    sums = sum(np.meshgrid(*[1 - np.cos(q)] * 3))
    return highest_thz() * 1e12 * np.sqrt(sums.ravel() / 6)


def test_springs_have_their_frequencies_and_free_energy():
    doc = vibrations_doc("Li", phonons_of(crystal(), REPEATS), points(crystal()), 300.0)
    assert doc.highest_thz == pytest.approx(highest_thz(), rel=2e-3)
    assert doc.lowest_thz > -1e-3
    quanta = PLANCK_EV_S * frequencies_hz()
    zero = 3 * quanta.mean() / 2
    assert doc.zero_point_ev_per_atom == pytest.approx(zero, rel=2e-3)
    x = quanta / (BOLTZMANN_EV_K * 300)
    warm = zero + 3 * BOLTZMANN_EV_K * 300 * np.log1p(-np.exp(-x)).mean()
    assert doc.free_energy_ev_per_atom == pytest.approx(warm, abs=2e-4)
    entropy = 3 * (x / np.expm1(x) - np.log1p(-np.exp(-x))).mean()
    assert doc.entropy_k_per_atom == pytest.approx(entropy, rel=5e-3)
    assert (doc.atoms, doc.displaced_cells, doc.repeats) == (27, 2, REPEATS)
    assert doc.displacement_angstrom == pytest.approx(DISPLACEMENT_ANGSTROM)


def test_other_symmetry_moves_atoms_otherwise_and_gives_the_same():
    cubic, flat = (displaced_cells(crystal(b), REPEATS)[0].frac_coords[0] for b in (1.0, 1.05))
    assert (np.count_nonzero(np.abs(cubic) > 1e-6), np.count_nonzero(np.abs(flat) > 1e-6)) != (1, 1)
    doc = vibrations_doc("Li", phonons_of(crystal(1.05), REPEATS), points(crystal(1.05)), 300.0)
    assert doc.highest_thz == pytest.approx(highest_thz(), rel=2e-3)


def test_a_crystal_that_is_not_a_minimum_has_no_free_energy():
    doc = vibrations_doc("Li", phonons_of(crystal(), REPEATS), points(crystal(), -SPRING), 300.0)
    assert not doc.converged
    assert doc.lowest_thz == pytest.approx(-highest_thz(), rel=2e-3)
    assert "imaginary" in doc.error


def test_what_is_missing_or_not_a_displaced_cell_is_refused():
    good = points(crystal())
    phonons = phonons_of(crystal(), REPEATS)
    with pytest.raises(ConvergenceError, match="1 of 2 displaced cells did not converge"):
        vibrations_doc("Li", phonons, [good[0], None], 300.0)
    with pytest.raises(ConvergenceError, match="has no forces in the store"):
        vibrations_doc("Li", phonons, [good[0].model_copy(update={"arrays": None}), good[1]], 300.0)
    other = good[1].structure.copy().translate_sites([5], [0.01, 0, 0])
    with pytest.raises(StructureError, match="2 atoms are displaced"):
        vibrations_doc("Li", phonons, [good[0], good[1].model_copy(update={"structure": other})], 300.0)


def test_supercells_are_long_enough_in_every_direction():
    skewed = Structure(Lattice.from_parameters(4, 4, 12, 90, 90, 60), ["Li"], [[0, 0, 0]])
    assert phonon_repeats(skewed, 10) == (3, 3, 1)  # 4 sin 60 = 3.46
    assert phonon_repeats(skewed, 3.4) == (1, 1, 1)
