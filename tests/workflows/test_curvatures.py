"""Curvatures of a cheap engine: right for springs, symmetric, positive; an optimiser that begins with them is quick."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure
from springs import EDGE, Springs, crystal

from anodeflow.structures.symmetry import images_of_atoms
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.motion.hessian import (
    FILE,
    MOST_ATOMS,
    SOFTEST_EV_PER_ANGSTROM2,
    curvatures,
    read_curvatures,
    write_curvatures,
)
from anodeflow.workflows.engines.motion.relax import run_ase

CARD = load_card("embedded")


def test_springs_give_their_own_matrix():
    k = 3.0
    springs = Springs(k=k)
    matrix = curvatures(crystal(), springs, 20.0)
    values = np.linalg.eigvalsh(matrix)
    exact = np.linalg.eigvalsh(k * springs.bonds.T @ springs.bonds).repeat(3)
    # the three translations, and what is softer than the limit, are lifted to it
    assert np.allclose(np.sort(values), np.sort(np.maximum(exact, SOFTEST_EV_PER_ANGSTROM2)), atol=1e-6)
    assert np.allclose(matrix, matrix.T)
    # six springs at every atom; without lifting the diagonal would be 6 k
    assert np.diag(matrix) == pytest.approx(np.full(3 * EDGE**3, 6 * k), rel=0.02)


def slab() -> Structure:
    """Five layers of Al(100), 2 x 2, ideal."""
    a = 4.0
    square = [(x / 2, y / 2) for x in (0, 1) for y in (0, 1)]
    layers = [(x + (z % 2) / 4, y + (z % 2) / 4, 0.15 + 0.1 * z) for z in range(5) for x, y in square]
    return Structure(Lattice.tetragonal(a * np.sqrt(2), 20.0), ["Al"] * 20, layers)


def test_they_have_the_symmetry_of_the_slab():
    start = slab()
    matrix = curvatures(start, EMT(), 20.0)
    blocks = matrix.reshape(20, 3, 20, 3)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])  # the fourfold axis, the same in both bases
    image = images_of_atoms(start, turn, np.zeros(3))
    for i, j in ((0, 1), (3, 17), (5, 5)):
        turned = turn @ blocks[i, :, j, :] @ turn.T
        assert np.allclose(blocks[image[i], :, image[j], :], turned, atol=1e-10)


def test_frozen_atoms_are_not_moved():
    start = slab()
    start.add_site_property("selective_dynamics", [[n > 7] * 3 for n in range(20)])
    matrix = curvatures(start, EMT(), 20.0)
    assert np.allclose(matrix[:24, :24], 20 * np.eye(24))
    assert not matrix[:24, 24:].any()


def test_a_large_cell_has_none():
    many = slab()
    many.make_supercell([3, 3, 1])
    assert len(many) > MOST_ATOMS
    assert curvatures(many, EMT(), 20.0) is None


def test_half_the_steps_and_the_same_minimum(tmp_path):
    start = slab().perturb(0.08, seed=2)
    card = CARD.varied("tight", force_tolerance_ev_per_angstrom=0.005)
    plain = run_ase(start, EMT(), "relax", card)
    (tmp_path / "known").mkdir()
    # of another geometry than the minimum, as a potential's are
    write_curvatures(tmp_path / "known", curvatures(slab(), EMT(), 20.0))
    known = run_ase(start, EMT(), "relax", card, directory=tmp_path / "known")
    assert plain.converged
    assert known.converged
    assert known.energy_ev == pytest.approx(plain.energy_ev, abs=2e-3)
    assert 2 * (known.ionic_steps + 1) <= plain.ionic_steps + 1


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"junk", "short", "nan"])
def test_a_damaged_file_is_as_none(tmp_path, content):
    start = slab().perturb(0.05, seed=2)
    if content == "short":
        write_curvatures(tmp_path, np.eye(6))
    elif content == "nan":
        write_curvatures(tmp_path, np.full((60, 60), np.nan))
    else:
        (tmp_path / FILE).write_bytes(content)
    assert read_curvatures(tmp_path, 60) is None
    outcome = run_ase(start, EMT(), "relax", CARD, directory=tmp_path)
    assert outcome.converged
    assert outcome.ionic_steps == run_ase(start, EMT(), "relax", CARD).ionic_steps
