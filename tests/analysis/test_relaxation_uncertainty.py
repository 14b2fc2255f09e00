"""What a converged relaxation may still gain."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.relaxation_uncertainty import relaxation_uncertainty_ev
from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord


def doc(**fields):
    cell = Structure(Lattice.cubic(5), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    required = {
        "fingerprint": "f", "label": "l", "task": "relax", "structure": cell, "converged": True,
        "engine": EngineRecord(name="x", kind="x", version="1", hash="h"), "card": CardRecord(name="c", hash="h"),
    }  # fmt: skip
    return CalculationDoc(**required | fields)


def test_residual_forces_give_what_a_spring_of_one_ev_per_square_angstrom_would():
    forces = np.array([[0.03, 0, 0], [0, 0.04, 0]])
    result = relaxation_uncertainty_ev(doc(arrays={"forces_ev_per_angstrom": forces}, max_force_ev_per_angstrom=0.04))
    assert result == pytest.approx((0.03**2 + 0.04**2) / 2)
    # a harmonic cell with that curvature really gains it: E = k x^2/2 with F = k x
    assert result == pytest.approx(sum(0.5 * 1.0 * (f / 1.0) ** 2 for f in (0.03, 0.04)))


def test_without_forces_every_atom_has_the_largest_and_that_is_never_less():
    forces = np.array([[0.03, 0, 0], [0, 0.04, 0]])
    known = relaxation_uncertainty_ev(doc(arrays={"forces_ev_per_angstrom": forces}, max_force_ev_per_angstrom=0.04))
    unknown = relaxation_uncertainty_ev(doc(max_force_ev_per_angstrom=0.04))
    assert unknown == pytest.approx(2 * 0.04**2 / 2)
    assert unknown > known


def test_forces_on_frozen_atoms_give_nothing():
    cell = doc().structure
    cell.add_site_property("selective_dynamics", [[False] * 3, [True, True, False]])
    forces = np.array([[9.0, 9.0, 9.0], [0.1, 0, 9.0]])
    result = relaxation_uncertainty_ev(doc(structure=cell, arrays={"forces_ev_per_angstrom": forces}))
    assert result == pytest.approx(0.1**2 / 2)


def test_a_plateau_counts_by_how_far_it_still_falls():
    slow = [0.0, *(-1 - 0.001 * step for step in range(99))]  # 1 meV a step, for a hundred steps
    result = relaxation_uncertainty_ev(doc(arrays={"energies_ev": slow}, energy_change_last_step_ev=-0.001))
    assert result == pytest.approx(0.010)
    quick = [0.0, -1.0, -1.001]  # a short relaxation: its last step, not the way to the minimum
    result = relaxation_uncertainty_ev(doc(arrays={"energies_ev": quick}, energy_change_last_step_ev=-0.001))
    assert result == pytest.approx(0.001)


def test_a_single_point_has_no_such_uncertainty():
    assert relaxation_uncertainty_ev(doc(task="static", max_force_ev_per_angstrom=3.0)) == 0
