"""Bands on potentials whose saddles are known: closed forms, and an exact saddle found without any band."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.analysis.barriers import fit_barrier
from anodeflow.errors import EngineError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.migration import lithium_hops
from anodeflow.structures.migration_paths import EndPoints, hop_cells, interpolated_path, matched_end_points
from anodeflow.structures.supercells import supercell_for
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.motion.band import improved_tangent, run_neb
from anodeflow.workflows.engines.motion.relax import run_ase
from anodeflow.workflows.jobs.kept_band import KeptBand

CARD = load_card("embedded").model_copy(update={"force_tolerance_ev_per_angstrom": 0.01})


class Surface(Calculator):
    """A potential of the first atom's coordinates; the second is held by a spring."""

    implemented_properties = ("energy", "forces")
    home = np.array([6.0, 6.0, 6.0])

    def __init__(self, function):
        super().__init__()
        self.function, self.calls = function, 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        position, step = atoms.positions[0], 1e-5
        energy = self.function(*position)
        gradient = [
            (self.function(*(position + d)) - self.function(*(position - d))) / (2 * step) for d in step * np.eye(3)
        ]
        away = atoms.positions[1] - self.home
        forces = np.array([-np.array(gradient), -20.0 * away])
        self.results = {"energy": energy + 10.0 * away @ away, "forces": forces}


def cosine(x, y, z):
    """A valley that winds around the x axis; 0.35 eV from one minimum at x = 0 to the next at 3."""
    bend = 0.5 * np.sin(2 * np.pi * x / 3.0)
    return 0.175 * (1 - np.cos(2 * np.pi * x / 3.0)) + 2.0 * (y - bend) ** 2 + 2.0 * z**2


MULLER_BROWN = [(-200, -1, 0, -10, 1, 0), (-100, -1, 0, -10, 0, 0.5), (-170, -6.5, 11, -6.5, -0.5, 1.5),
                (15, 0.7, 0.6, 0.7, -1, 1)]  # fmt: skip


def muller_brown(x, y, z):
    """Theor. Chim. Acta 53, 75 (1979), in units of 0.01 eV."""
    total = sum(
        A * np.exp(a * (x - x0) ** 2 + b * (x - x0) * (y - y0) + c * (y - y0) ** 2)
        for A, a, b, c, x0, y0 in MULLER_BROWN
    )
    return 0.01 * total + 5.0 * z**2


def band(start, end, images, bow=0.0):
    """A straight path of one atom, bent by so much."""
    made = []
    for t in np.linspace(0, 1, images + 2):
        point = (1 - t) * np.array(start) + t * np.array(end) + np.array([0, bow * np.sin(np.pi * t), 0])
        made.append(Structure(Lattice.cubic(20), ["Li", "S"], [point, Surface.home], coords_are_cartesian=True))
    return made


def fitted(result):
    assert result.converged, result.error
    return fit_barrier(
        [image.cart_coords for image in result.images],
        result.energies_ev,
        result.forces_ev_per_angstrom,
        climbing_image=result.climbing_image,
    )


@pytest.mark.parametrize("climb", [True, False])
@pytest.mark.parametrize("images", [5, 6])
def test_a_winding_valley_has_its_exact_barrier(climb, images):
    result = run_neb(band([0, 0, 0], [3, 0, 0], images, 0.1), Surface(cosine), CARD, climb=climb)
    fit = fitted(result)
    assert abs(fit.forward_ev - 0.35) <= fit.uncertainty_ev
    assert fit.uncertainty_ev < (0.005 if climb else 0.12)
    assert fit.forward_ev == pytest.approx(fit.backward_ev, abs=1e-4)
    assert fit.path_length_angstrom > 3.2  # longer than the straight line: it followed the valley
    assert max(result.residuals_ev_per_angstrom) <= 0.01
    assert (result.climbing_image is not None) == climb


# Minima and saddles of the potential (literature, units of 0.01 eV).
A, C, SADDLE_AC = (-0.558224, 1.441726), (-0.050011, 0.466694), -40.664844
B, SADDLE_CB = (0.623499, 0.028038), -72.248940
E_A, E_B, E_C = -146.699517, -108.166725, -80.767818


@pytest.mark.parametrize(
    ("start", "end", "energies", "saddle"), [(A, C, (E_A, E_C), SADDLE_AC), (C, B, (E_C, E_B), SADDLE_CB)]
)
def test_muller_and_browns_saddles(start, end, energies, saddle):
    result = run_neb(band([*start, 0], [*end, 0], 7), Surface(muller_brown), CARD)
    fit = fitted(result)
    assert abs(fit.forward_ev - 0.01 * (saddle - energies[0])) <= fit.uncertainty_ev + 1e-4
    assert abs(fit.backward_ev - 0.01 * (saddle - energies[1])) <= fit.uncertainty_ev + 1e-4
    assert result.energies_ev[result.climbing_image] == pytest.approx(0.01 * saddle, abs=1e-3)


def test_two_saddles_on_one_path_are_told():
    result = run_neb(band([*A, 0], [*B, 0], 11), Surface(muller_brown), CARD)
    fit = fitted(result)
    assert fit.forward_ev == pytest.approx(0.01 * (SADDLE_AC - E_A), abs=0.01)
    assert any("minimum between the ends" in note for note in fit.notes)


@pytest.fixture(scope="module")
def vacancy_in_aluminium():
    crystal = run_ase(load_crystal("Al"), EMT(), "relax_cell", CARD).structure
    host = primitive_cell(crystal)
    hop = lithium_hops(host, "vacancy", element="Al", max_distance_angstrom=3.0)[0]
    ends = hop_cells(host, hop, supercell_for(host, 7.9), "Al")
    relaxed = [run_ase(cell, EMT(), "relax", CARD).structure for cell in ends]
    return matched_end_points(*relaxed)


def exact_saddle(ends: EndPoints) -> float:
    """The hop is symmetric, so its saddle has the atom halfway: relax the others around it."""
    middle = Structure(
        ends.start.lattice,
        ends.start.species,
        (ends.start.cart_coords + ends.end.cart_coords) / 2,
        coords_are_cartesian=True,
    )
    atoms: Atoms = AseAtomsAdaptor.get_atoms(middle, msonable=False)
    atoms.calc = EMT()
    atoms.set_constraint(FixAtoms([ends.mover]))
    assert BFGS(atoms, logfile=None).run(fmax=0.005, steps=200)
    return atoms.get_potential_energy()


def test_a_vacancy_hop_meets_the_saddle_found_without_a_band(vacancy_in_aluminium):
    ends = vacancy_in_aluminium
    path = interpolated_path(ends, 5, displacement_angstrom=0.03)
    result = run_neb(path, EMT(), CARD.model_copy(update={"force_tolerance_ev_per_angstrom": 0.02}))
    fit = fitted(result)
    exact = exact_saddle(ends) - result.energies_ev[0]
    assert 0.2 < exact < 0.6
    assert abs(fit.forward_ev - exact) <= fit.uncertainty_ev
    assert fit.uncertainty_ev < 0.02
    assert fit.reaction_energy_ev == pytest.approx(0, abs=1e-3)


# --- stopping, going on, failing -----------------------------------------------------------------


class Stop(Exception):  # noqa: N818
    """What a kill looks like from inside."""


def test_a_band_that_was_cut_off_goes_on_and_ends_at_the_same_barrier(tmp_path):
    kept = KeptBand(tmp_path / "deep" / "er" / "band.json", "key")
    whole = run_neb(band([0, 0, 0], [3, 0, 0], 5, 0.1), Surface(cosine), CARD)

    def stop(step, energy, force):
        if step == 6:
            raise Stop

    with pytest.raises(Stop):
        run_neb(band([0, 0, 0], [3, 0, 0], 5, 0.1), Surface(cosine), CARD, monitor=stop, keep=kept.write)
    step, climbing, coords = kept.read((7, 2, 3))
    assert step == 6
    images = [Structure(Lattice.cubic(20), ["Li", "S"], c, coords_are_cartesian=True) for c in coords]
    again = run_neb(images, Surface(cosine), CARD, steps_before=step, climbing=climbing, keep=kept.write)
    assert again.steps > 6
    assert fitted(again).forward_ev == pytest.approx(fitted(whole).forward_ev, abs=5e-4)
    kept.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[1, 2]",
        '{"fingerprint": "key"}',
        '{"fingerprint": "key", "step": 3, "climbing": 0, "coords_angstrom": [[1]]}',
    ],
)
def test_a_damaged_or_foreign_file_is_not_read(tmp_path, damage):
    kept = KeptBand(tmp_path / "band.json", "key")
    kept.file.write_text(damage)
    assert kept.read((7, 2, 3)) is None
    kept.write(3, True, np.ones((7, 2, 3)))
    assert kept.read((7, 2, 3))[0] == 3
    assert kept.read((5, 2, 3)) is None
    assert KeptBand(kept.file, "other").read((7, 2, 3)) is None
    content = json.loads(kept.file.read_text())
    content["coords_angstrom"][2][0][1] = float("nan")
    kept.file.write_text(json.dumps(content))
    assert kept.read((7, 2, 3)) is None


def test_the_step_limit_is_no_convergence():
    short = CARD.model_copy(update={"max_steps": 3})
    result = run_neb(band([0, 0, 0], [3, 0, 0], 5), Surface(cosine), short)
    assert not result.converged
    assert "band not relaxed after 3 steps" in result.error
    assert result.steps == 3
    spent = run_neb(result.images, Surface(cosine), short, steps_before=3)
    assert not spent.converged
    assert spent.steps == 3


def test_explosions_name_step_and_image():
    def wall(x, y, z):
        return 1e6 if 0.9 < x < 1.1 else cosine(x, y, z)

    result = run_neb(band([0, 0, 0], [3, 0, 0], 5), Surface(lambda x, y, z: wall(x, y, z) + 1e3 * x * x * x), CARD)
    assert not result.converged
    assert "exploded at step 0, image" in result.error
    assert result.energies_ev == []
    nan = run_neb(band([0, 0, 0], [3, 0, 0], 5), Surface(lambda x, y, z: float("nan")), CARD)
    assert "exploded at step 0, image 0" in nan.error


def test_a_band_that_slides_is_no_result():
    images = band([0, 0, 0], [3, 0, 0], 5)
    images[3] = images[2].copy()
    images[3].translate_sites([0], [0.01, 0, 0], frac_coords=False)
    result = run_neb(images, Surface(cosine), CARD)
    assert not result.converged
    assert "slid: images 2 and 3" in result.error


def test_a_calculator_that_fails_is_one_clear_error():
    def broken(x, y, z):
        raise ValueError("no parameters for Li")

    with pytest.raises(EngineError, match="step 0 of a band: no parameters for Li"):
        run_neb(band([0, 0, 0], [3, 0, 0], 3), Surface(broken), CARD)


def test_frozen_atoms_stay():
    images = band([0, 0, 0], [3, 0, 0], 3, 0.1)
    for image in images:
        image.add_site_property("selective_dynamics", [[True] * 3, [False] * 3])
    images = [image.copy() for image in images]
    result = run_neb(images, Surface(cosine), CARD)
    assert result.converged
    assert np.ptp([image.cart_coords[1] for image in result.images], axis=0).max() < 1e-12


def test_energies_are_asked_for_once_a_step():
    calculator = Surface(cosine)
    result = run_neb(band([0, 0, 0], [3, 0, 0], 5), calculator, CARD)
    assert calculator.calls <= 2 + 5 * (result.steps + 3)


def test_the_improved_tangent_by_hand():
    coords = [np.array([[x, y, 0.0]]) for x, y in ((0, 0), (1, 0), (1, 1))]
    assert improved_tangent(coords, [0, 1, 2], 1) == pytest.approx(np.array([[0, 1, 0]]))
    assert improved_tangent(coords, [2, 1, 0], 1) == pytest.approx(np.array([[1, 0, 0]]))
    # a maximum: |2 - 3| = 1 ahead, |0 - 3| = 3 behind; the higher neighbour is ahead and gets the larger weight
    expected = np.array([[1.0, 3.0, 0.0]]) / 10**0.5
    assert improved_tangent(coords, [0, 3, 2], 1) == pytest.approx(expected)
