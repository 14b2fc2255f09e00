"""The calculator over single points, on a harmonic stand-in: what is kept, what is started from, what is refused."""

import sys
import threading
import time

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.errors import ConvergenceError, EngineError
from anodeflow.workflows import monitor
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.base import finish_points
from anodeflow.workflows.engines.contract import Outcome
from anodeflow.workflows.engines.external import run_program
from anodeflow.workflows.engines.motion.band import run_neb
from anodeflow.workflows.engines.motion.point_calculator import PointCalculator

CELL = Structure(Lattice.cubic(8.0), ["Li", "Cl"], [[0.1, 0.2, 0.3], [0.6, 0.6, 0.6]])
TS_EV = 0.25
CARD = load_card("embedded")


class Wells:
    """The first atom in a double well along x, V = (1 - x^2)^2 + y^2 + z^2, the second at rest."""

    def __init__(self, fails_at=None, how=None):
        self.calls, self.fails_at, self.how = [], fails_at, how or {}

    def __call__(self, geometry, folder, before, left):
        self.calls.append((folder, before))
        assert before is None or (before / "waves").is_file()
        (folder / "log").write_text("log")
        x, y, z = geometry.cart_coords[0] - 4.0
        forces = np.array([[4 * x * (1 - x**2), -2 * y, -2 * z], [0.0] * 3])
        outcome = Outcome(geometry, (1 - x**2) ** 2 + y**2 + z**2, None, True)
        outcome.arrays = {"forces_ev_per_angstrom": forces, "free_energy_ev": outcome.energy_ev - TS_EV}
        if len(self.calls) == self.fails_at:
            for name, value in self.how.items():
                setattr(outcome, name, value)
            return outcome
        if before is not None:
            (before / "waves").rename(folder / "waves")
        (folder / "waves").write_text("waves")
        return outcome


def made(folder, wells=None, **options):
    atoms = AseAtomsAdaptor.get_atoms(CELL, msonable=False)
    atoms.calc = PointCalculator(wells or Wells(), CELL, folder / "points", bulky=("wav*",), **options)
    return atoms


def folders(where):
    return sorted(str(f.relative_to(where)) for f in where.rglob("0?????"))


def moved(atoms, times):
    for _ in range(times):
        atoms.positions[0, 1] += 0.01
        atoms.get_forces()


def test_only_the_last_folder_stays_and_each_run_starts_from_the_one_before(tmp_path):
    wells = Wells()
    atoms = made(tmp_path, wells)
    moved(atoms, 5)
    atoms.get_potential_energy()  # the same geometry: nothing is run
    assert len(wells.calls) == 5
    assert folders(tmp_path) == ["points/000005"]
    assert [b and b.name for _, b in wells.calls] == [None, "000001", "000002", "000003", "000004"]
    results = atoms.calc.results
    assert results["free_energy"] == pytest.approx(results["energy"] - TS_EV)
    assert atoms.get_potential_energy(force_consistent=True) == results["free_energy"]
    atoms.calc.forget()
    moved(atoms, 1)
    assert wells.calls[-1][1] is None
    finish_points(atoms.calc)
    assert [f.name for f in (tmp_path / "points" / "000006").iterdir()] == ["log"]
    # what a killed attempt left is not mistaken for something
    made(tmp_path)
    assert not (tmp_path / "points").exists()


def test_the_geometry_is_the_atoms_own_unfolded_and_in_order(tmp_path):
    seen = []

    def point(geometry, folder, before, left):
        seen.append(geometry)
        return Wells()(geometry, folder, None, left)

    atoms = made(tmp_path, point)
    atoms.positions[0] = [-3.0, 9.5, 4.0]
    atoms.get_forces()
    np.testing.assert_allclose(seen[0].cart_coords, atoms.positions, atol=1e-12)
    assert [s.specie.symbol for s in seen[0]] == ["Li", "Cl"]
    assert seen[0].lattice == CELL.lattice


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"electronic_converged": False, "error": "pw.out:17: not converged"}, ConvergenceError, "pw.out:17"),
        ({"error": "it was killed"}, EngineError, "it was killed"),
        ({"energy_ev": None}, EngineError, "no forces in the output"),
        ({"arrays": {}}, EngineError, "no forces in the output"),
        ({"energy_ev": float("nan")}, EngineError, "not numbers"),
        ({"arrays": {"forces_ev_per_angstrom": np.zeros((3, 3))}}, EngineError, "not numbers"),
    ],
)
def test_a_run_that_failed_gives_no_number_and_stays(tmp_path, how, error, words):
    atoms = made(tmp_path, Wells(3, how))
    moved(atoms, 2)
    with pytest.raises(error) as caught:
        moved(atoms, 1)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert "points/000003" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert folders(tmp_path) == ["points/000002", "points/000003"]
    assert not atoms.calc.results  # those of the geometry before are not handed out again


def test_no_geometry_is_begun_without_time(tmp_path):
    atoms = made(tmp_path, wall_time_s=0.2)
    moved(atoms, 1)
    time.sleep(0.25)
    atoms.calc._longest_s = 0.1
    with pytest.raises(EngineError, match="out of its wall time after 1 geometries"):
        moved(atoms, 1)
    assert folders(tmp_path) == ["points/000001"]


def band(images=5):
    path = [CELL.copy() for _ in range(images)]
    for x, image in zip(np.linspace(-1, 1, images), path, strict=True):
        image.translate_sites(
            [0], [4 + x - image.cart_coords[0][0], 4.1 - image.cart_coords[0][1], 4 - image.cart_coords[0][2]],
            frac_coords=False, to_unit_cell=False,
        )  # fmt: skip
    for end in (path[0], path[-1]):
        end.translate_sites([0], [0, -0.1, 0], frac_coords=False, to_unit_cell=False)
    return path


def test_every_image_of_a_band_starts_from_itself(tmp_path):
    wells = Wells()
    found = run_neb(band(), PointCalculator(wells, CELL, tmp_path / "points", bulky=("wav*",)), CARD)
    assert found.converged
    assert max(found.energies_ev) - found.energies_ev[0] == pytest.approx(1.0, abs=1e-3)
    assert found.energies_ev[0] == pytest.approx(found.energies_ev[-1], abs=1e-12)
    for folder, before in wells.calls:
        assert before is None or before.parent == folder.parent
    assert sum(before is None for _, before in wells.calls) == 5
    kept = folders(tmp_path / "points")
    assert [name.split("/")[0] for name in kept] == ["00", "01", "02", "03", "04"]


def test_a_band_with_unconverged_electrons_has_no_energies(tmp_path):
    wells = Wells(8, {"electronic_converged": False, "error": "pw.out:17: the electrons did not converge"})
    found = run_neb(band(), PointCalculator(wells, CELL, tmp_path / "points"), CARD)
    assert found.electronic_converged is False
    assert not found.converged
    assert found.energies_ev == []
    assert "pw.out:17" in found.error


def test_a_stop_is_noticed_while_a_program_runs(tmp_path):
    stop = threading.Event()

    def pulse():
        if stop.is_set():
            raise monitor.StopRequested

    threading.Timer(0.5, stop.set).start()
    monitor.listen(None, pulse)
    began = time.monotonic()
    try:
        with pytest.raises(monitor.StopRequested):
            run_program(
                [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, output="out", program="sleeper"
            )
    finally:
        monitor.listen(None)
    assert time.monotonic() - began < 30
