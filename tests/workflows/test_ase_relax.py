"""Relaxation with real ASE calculators: tolerances kept, limits and explosions named."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.motion.relax import run_ase

CARD = load_card("embedded")


def aluminium(a=4.0, rattle=0.0, repeat=2) -> Structure:
    atoms = bulk("Al", "fcc", a, cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=3)
    return AseAtomsAdaptor.get_structure(atoms)


class Broken(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy=0.0, force=0.0, after=0):
        super().__init__()
        self.values, self.after, self.calls = (energy, force), after, 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energy, force = self.values if self.calls > self.after else (-float(self.calls), 0.5)
        self.results = {"energy": energy, "forces": np.full((len(atoms), 3), force), "stress": np.zeros(6)}


def test_relaxed_cell_is_the_emt_lattice_constant():
    outcome = run_ase(aluminium(4.1), EMT(), "relax_cell", CARD)
    assert outcome.converged
    assert outcome.max_force_ev_per_angstrom <= CARD.force_tolerance_ev_per_angstrom
    assert outcome.max_stress_gpa <= CARD.stress_tolerance_gpa
    assert outcome.structure.lattice.a / 2 == pytest.approx(3.994, abs=0.01)  # EMT's own minimum for Al


def test_relaxed_ions_keep_the_cell_and_the_order():
    start = aluminium(rattle=0.1)
    start.replace(3, "Ag")
    outcome = run_ase(start, EMT(), "relax", CARD)
    assert outcome.converged
    assert np.allclose(outcome.structure.lattice.matrix, start.lattice.matrix)
    assert [s.specie.symbol for s in outcome.structure] == [s.specie.symbol for s in start]
    energies = outcome.arrays["energies_ev"]
    assert energies[-1] < energies[0]
    assert outcome.ionic_steps == len(energies) - 1
    assert outcome.energy_ev == pytest.approx(energies[-1])


def test_energy_is_that_of_the_final_structure():
    outcome = run_ase(aluminium(rattle=0.1), EMT(), "relax", CARD)
    again = run_ase(outcome.structure, EMT(), "static", CARD)
    assert again.energy_ev == pytest.approx(outcome.energy_ev, abs=1e-9)
    assert again.ionic_converged is None


def test_frozen_atoms_stay():
    start = aluminium(rattle=0.1)
    free = [[i % 2 == 0] * 3 for i in range(len(start))]
    start.add_site_property("selective_dynamics", free)
    outcome = run_ase(start, EMT(), "relax", CARD)
    moved = np.linalg.norm(outcome.structure.cart_coords - start.cart_coords, axis=1)
    assert moved[1::2].max() < 1e-10
    assert moved[::2].max() > 1e-3
    assert outcome.structure.site_properties["selective_dynamics"] == start.site_properties["selective_dynamics"]


def test_step_limit_is_not_convergence():
    outcome = run_ase(aluminium(4.2, rattle=0.2), EMT(), "relax", CARD.model_copy(update={"max_steps": 2}))
    assert not outcome.converged
    assert outcome.ionic_converged is False
    assert "not relaxed after 2 steps" in outcome.error


def test_loose_forces_alone_do_not_converge_a_cell():
    # At 4.3 A every force vanishes by symmetry, the stress does not.
    outcome = run_ase(aluminium(4.3, repeat=1), EMT(), "relax_cell", CARD.model_copy(update={"max_steps": 1}))
    assert outcome.max_force_ev_per_angstrom < 1e-6
    assert not outcome.converged
    assert "stress" in outcome.error


@pytest.mark.parametrize(("energy", "force"), [(float("nan"), 0.1), (-5.0, float("nan")), (-5.0, 1e4)])
@pytest.mark.parametrize("task", ["static", "relax"])
def test_nan_and_explosions_are_caught_with_step_and_atom(energy, force, task):
    outcome = run_ase(aluminium(), Broken(energy, force, after=0 if task == "static" else 2), task, CARD)
    assert not outcome.converged
    assert outcome.energy_ev is None
    assert "exploded at step" in outcome.error
    assert "(Al)" in outcome.error


def test_overlapping_atoms_are_no_crash():
    overlap = Structure(Lattice.cubic(8), ["Al", "Al"], [[0, 0, 0], [0.001, 0, 0]])
    assert not run_ase(overlap, EMT(), "relax", CARD).converged


def test_every_step_is_reported():
    seen = []
    run_ase(aluminium(rattle=0.1), EMT(), "relax", CARD, monitor=lambda *step: seen.append(step))
    assert [s[0] for s in seen] == list(range(len(seen)))
    assert seen[-1][2] <= CARD.force_tolerance_ev_per_angstrom


def test_relax_c_keeps_the_in_plane_lattice_and_frees_z():
    strained = aluminium(3.994)
    strained.apply_strain([0.02, 0.02, 0.0])
    outcome = run_ase(strained, EMT(), "relax_c", CARD)
    before, after = strained.lattice.matrix, outcome.structure.lattice.matrix
    assert outcome.converged
    assert np.allclose(after[:2], before[:2], atol=1e-9)
    assert after[2, 2] < before[2, 2] - 0.02  # stretched in the plane, the crystal shrinks along the normal
    assert outcome.max_stress_gpa <= CARD.stress_tolerance_gpa
