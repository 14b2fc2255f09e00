"""Elastic constants: stiffnesses that are put in come out; a pair potential against its lattice sums."""

import numpy as np
import pytest
from ase.calculators.morse import MorsePotential
from ase.units import GPa
from factories import calculation_doc
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from anodeflow.analysis.elasticity import averages, elastic_doc, fit_stiffness, needed_modes
from anodeflow.errors import ConvergenceError, InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.strains import rotations, strained
from anodeflow.voigt import VOIGT, strain_tensor


def cubic(c11, c12, c44):
    stiffness = np.diag([c11 - c12] * 3 + [c44] * 3)
    stiffness[:3, :3] += c12
    return stiffness


def stress_of(stiffness, strain):
    voigt = stiffness @ [strain[i, j] * (1 if i == j else 2) for i, j in VOIGT]
    tensor = np.zeros((3, 3))
    for value, (i, j) in zip(voigt, VOIGT, strict=True):
        tensor[i, j] = tensor[j, i] = value
    return tensor


def moduli(name, structure, calculations):
    return elastic_doc(name, structure, rotations(structure), calculations)


def calculations_of(structure, stress, strains=(0.005, 0.01), residual=0.0):
    """Documents as an engine would leave them whose stress is a function of the strain."""
    return {
        (mode, sign * size): calculation_doc(
            structure=structure, task="relax", energy_ev=-1.0,
            stress_gpa=(stress(strain_tensor(mode, sign * size)) + residual * np.eye(3)).tolist(),
        )
        for mode in needed_modes(rotations(structure)) for size in strains for sign in (1, -1)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("crystal", "modes"),
    [("Li", (0, 3)), ("Al", (0, 3)), ("LiCl", (0, 3)), ("Li3P", (0, 2, 3)), ("Li9Al4", (0, 1, 2, 3, 4, 5))],
)
def test_strains_that_symmetry_leaves(crystal, modes):
    assert needed_modes(rotations(load_crystal(crystal))) == modes
    # A relaxed cell carries noise, which must not look like information.
    cell = primitive_cell(load_crystal(crystal))
    noisy = Structure(cell.lattice.matrix * (1 + 2e-7 * np.arange(9).reshape(3, 3)), cell.species, cell.frac_coords)
    assert len(needed_modes(rotations(noisy))) == len(modes)


@settings(max_examples=20, deadline=None)
@given(st.floats(20, 200), st.floats(0.1, 0.9), st.floats(5, 100), st.floats(-0.3, 0.3))
def test_a_cubic_stiffness_comes_out_whatever_the_axes_and_the_residual_stress(c11, ratio, c44, residual):
    stiffness = cubic(c11, ratio * c11, c44)
    crystal = load_crystal("LiCl")
    doc = elastic_doc(
        "LiCl",
        crystal,
        rotations(crystal),
        calculations_of(crystal, lambda e: stress_of(stiffness, e), residual=residual),
    )
    assert np.allclose(doc.stiffness_gpa, stiffness, atol=1e-6)
    assert doc.unexplained < 1e-6
    assert doc.change_with_strain < 1e-6
    # The same crystal lying askew: stresses in those axes, the same answer.
    turn = Rotation.from_euler("xyz", [0.3, -0.7, 1.1]).as_matrix()
    askew = Structure(crystal.lattice.matrix @ turn.T, crystal.species, crystal.frac_coords)
    turned = elastic_doc(
        "LiCl",
        askew,
        rotations(askew),
        calculations_of(askew, lambda e: turn @ stress_of(stiffness, turn.T @ e @ turn) @ turn.T),
    )
    assert np.allclose(turned.stiffness_gpa, stiffness, atol=1e-4 * c11)
    assert turned.young_gpa["Hill"] == pytest.approx(doc.young_gpa["Hill"], rel=1e-5)


def test_a_monoclinic_stiffness_comes_out():
    crystal = load_crystal("Li9Al4")
    random = np.random.default_rng(3).normal(size=(6, 6))
    raw = 10 * random @ random.T + 40 * np.eye(6)
    responses = [(mode, 0.01, stress_of(raw, strain_tensor(mode, 0.01))) for mode in range(6)]
    alone, left = fit_stiffness(responses, np.eye(3)[None])
    assert np.allclose(alone, raw)
    assert left < 1e-12
    # One that breaks the symmetry cannot be the crystal's: the fit says how much it leaves.
    assert fit_stiffness(responses, rotations(crystal))[1] > 0.05


def test_morse_crystal_against_its_lattice_sums():
    epsilon, r0, rho0 = 0.35, 2.9, 5.0
    calculator = MorsePotential(epsilon=epsilon, r0=r0, rho0=rho0, rcut1=4.0, rcut2=4.2)  # in units of r0

    def sums(a):
        """Pressure and stiffness of an fcc crystal by pairs; behind the cut-off is 1e-6 of them."""
        numbers = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
        vectors = numbers @ (Lattice.cubic(a).matrix[[1, 2, 0]] + Lattice.cubic(a).matrix[[2, 0, 1]]) / 2
        lengths = np.linalg.norm(vectors, axis=1)
        near = (lengths > 0.1) & (lengths < 4.0 * r0)
        vectors, lengths = vectors[near], lengths[near]
        x = np.exp(rho0 * (1 - lengths / r0))
        first = epsilon * rho0 / r0 * (2 * x - 2 * x**2)
        second = epsilon * (rho0 / r0) ** 2 * (4 * x**2 - 2 * x)
        weight = (second - first / lengths) / lengths**2
        tensor = np.einsum("n,ni,nj,nk,nl->ijkl", weight, *[vectors] * 4) / (2 * a**3 / 4) / GPa
        return (first * lengths).sum(), tensor

    low, high = 3.6, 4.4
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (low, middle) if sums(middle)[0] > 0 else (middle, high)
    expected = sums(low)[1]
    crystal = Structure(Lattice.cubic(low), ["Al"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

    def stress(mode, amplitude):
        atoms = AseAtomsAdaptor.get_atoms(strained(crystal, mode, amplitude), msonable=False)
        atoms.calc = calculator
        return (atoms.get_stress(voigt=False) / GPa).tolist()

    docs = {
        (mode, amplitude): calculation_doc(
            structure=crystal, task="relax", energy_ev=-1.0, stress_gpa=stress(mode, amplitude)
        )
        for mode in needed_modes(rotations(crystal))
        for amplitude in (0.002, -0.002)
    }
    doc = moduli("Al", crystal, docs)
    found = np.array(doc.stiffness_gpa)
    assert found[0, 0] == pytest.approx(expected[0, 0, 0, 0], rel=1e-3)
    assert found[0, 1] == pytest.approx(expected[0, 0, 1, 1], rel=1e-3)
    assert found[3, 3] == pytest.approx(expected[1, 2, 1, 2], rel=1e-3)
    assert found[0, 1] == pytest.approx(found[3, 3], rel=2e-3)  # Cauchy's relation, which pairs obey


def test_averages_by_hand():
    # Al at room temperature: K = (C11 + 2 C12)/3, G_V = (C11 - C12 + 3 C44)/5, G_R = 5 (C11 - C12) C44/(4 C44 + 3 ...)
    bulk, shear, young = averages(cubic(107.0, 61.0, 28.0))
    assert bulk["Hill"] == pytest.approx(229 / 3)
    assert shear["Voigt"] == pytest.approx(26.0)
    assert shear["Reuss"] == pytest.approx(5 * 46 * 28 / (4 * 28 + 3 * 46))
    assert young["Hill"] == pytest.approx(69.76, abs=0.01)


def test_an_unstable_crystal_has_no_averages():
    crystal = load_crystal("Li")
    doc = elastic_doc(
        "Li", crystal, rotations(crystal), calculations_of(crystal, lambda e: stress_of(cubic(10.0, 12.0, 8.0), e))
    )
    assert doc.stable is False
    assert doc.young_gpa == {}
    assert "-2.0 GPa" in doc.warnings[0]


def test_a_response_that_is_not_linear_is_told():
    crystal = load_crystal("Li")
    docs = calculations_of(crystal, lambda e: stress_of(cubic(20.0, 15.0, 9.0), e * (1 - 3e3 * (e**2).max())))
    doc = moduli("Li", crystal, docs)
    assert any("not in the linear range" in warning for warning in doc.warnings)


def test_what_cannot_be_fitted_is_refused():
    crystal = load_crystal("Li")
    docs = calculations_of(crystal, lambda e: stress_of(cubic(20.0, 15.0, 9.0), e))
    with pytest.raises(InputError, match=r"0\.01 is computed with one sign"):
        moduli("Li", crystal, {key: doc for key, doc in docs.items() if key != (0, -0.01)})
    with pytest.raises(ConvergenceError, match="has no stress"):
        elastic_doc(
            "Li", crystal, rotations(crystal), docs | {(0, 0.01): calculation_doc(structure=crystal, energy_ev=-1.0)}
        )
    with pytest.raises(ConvergenceError, match="did not converge"):
        elastic_doc(
            "Li", crystal, rotations(crystal), docs | {(0, 0.01): calculation_doc(None, crystal, converged=False)}
        )
    with pytest.raises(InputError, match="outside the linear range"):
        strained(crystal, 0, 0.5)
