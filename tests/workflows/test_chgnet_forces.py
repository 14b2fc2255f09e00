"""CHGNet's forces for dynamics: those of the package's own calculator, whatever has been kept from step to step."""

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.engines.potentials.chgnet_forces import LeanCHGNet, Neighbours
from anodeflow.workflows.engines.registry import get_engine

pytest.importorskip("chgnet")


@pytest.fixture(scope="module")
def own():
    return get_engine("chgnet").calculator()


def moving(name, seed):
    structure = load_crystal(name)
    made = Structure(structure.lattice, structure.species, structure.frac_coords)
    made.perturb(0.1, seed=seed)
    return AseAtomsAdaptor.get_atoms(made, msonable=False)


@pytest.mark.parametrize("name", ["Li3P", "Li9Al4", "P2S5", "Al"])
def test_energy_and_forces_are_those_of_the_package(own, name):
    atoms, lean, rng = moving(name, 1), LeanCHGNet(own.model), np.random.default_rng(1)
    for _ in range(4):
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)  # far enough for new lists of neighbours
        own.calculate(atoms, ["energy", "forces"], task="ef")
        lean.calculate(atoms, ["energy", "forces"])
        assert lean.results["energy"] == pytest.approx(own.results["energy"], abs=1e-5 * len(atoms))
        forces = own.results["forces"]
        assert np.abs(lean.results["forces"] - forces).max() < 1e-4 + 1e-5 * np.abs(forces).max()
    assert 1 < lean.neighbours.made <= 4


def test_forces_are_the_derivative_of_the_energy(own):
    atoms, lean = moving("Li3P", 2), LeanCHGNet(own.model)
    lean.calculate(atoms, ["forces"])
    force = lean.results["forces"][3, 1]
    energies = []
    for step in (-0.005, 0.005):
        moved = atoms.copy()
        moved.positions[3, 1] += step
        lean.calculate(moved, ["energy"])
        energies.append(lean.results["energy"])
    assert force == pytest.approx(-(energies[1] - energies[0]) / 0.01, abs=5e-3)


def test_atoms_that_leave_the_cell_are_the_same_crystal(own):
    atoms, lean = moving("Li3P", 3), LeanCHGNet(own.model)
    lean.calculate(atoms, ["forces"])
    forces = lean.results["forces"].copy()
    atoms.positions[[0, 2]] += 2 * atoms.cell[0] - atoms.cell[2]
    lean.calculate(atoms, ["forces"])
    assert np.abs(lean.results["forces"] - forces).max() < 1e-4


def test_the_kept_list_is_exact_and_made_again_in_time():
    atoms, kept = moving("Li9Al4", 4), Neighbours(5.0, 1.0)
    rng = np.random.default_rng(4)
    for _ in range(30):
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        pairs = kept.geometry(atoms).get_neighbor_list()
        wanted = Neighbours(5.0, 0.0).geometry(atoms).get_neighbor_list()
        assert sorted(zip(*(x.tolist() for x in (pairs[0], pairs[1])), np.round(pairs[3], 8), strict=True)) == sorted(
            zip(*(x.tolist() for x in (wanted[0], wanted[1])), np.round(wanted[3], 8), strict=True)
        )
    assert 1 < kept.made < 30
    kept.forget()
    made = kept.made
    kept.geometry(atoms)
    assert kept.made == made + 1


def test_neighbours_last_from_step_to_step_and_are_dropped_when_asked(own):
    atoms, lean = moving("Li", 8), LeanCHGNet(own.model)
    atoms.calc = lean
    for _ in range(3):  # as an integrator asks, through ASE, which resets a calculator at every new geometry
        atoms.positions += 0.01
        atoms.get_forces()
    assert lean.neighbours.made == 1
    lean.forget()
    atoms.get_forces()
    assert lean.neighbours.made == 2


def test_another_cell_or_composition_makes_a_new_list(own):
    lean = LeanCHGNet(own.model)
    for name in ("Li", "Al", "LiCl"):
        atoms = moving(name, 5)
        own.calculate(atoms, ["forces"], task="ef")
        lean.calculate(atoms, ["forces"])
        assert np.abs(lean.results["forces"] - own.results["forces"]).max() < 1e-4
    assert lean.neighbours.made == 3


def test_the_model_of_the_engine_stays_as_it_was(own):
    before = {name: parameter.requires_grad for name, parameter in own.model.named_parameters()}
    LeanCHGNet(own.model)
    assert before == {name: parameter.requires_grad for name, parameter in own.model.named_parameters()}
    atoms = moving("Li", 6)
    own.calculate(atoms, ["stress"])
    assert own.results["stress"].shape in {(3, 3), (6,)}
