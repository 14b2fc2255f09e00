"""A relaxation begins with the geometry of a coarser mesh, and ends where it would have ended without."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.documents import EngineRecord
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Request
from anodeflow.workflows.engines.motion.relax import run_ase
from anodeflow.workflows.engines.plane_waves.electronic import electronic, may_hold_metal
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.jobs.first_geometry import coarser
from anodeflow.workflows.store import open_job_store

CARD = MethodCard(
    name="mesh", functional="PBE", potentials="none", relax_cell=False,
    kpoints={"spacing_per_angstrom": 0.05}, energy_tolerance_ev=1e-6,
    force_tolerance_ev_per_angstrom=0.01, stress_tolerance_gpa=0.05, max_steps=50,
)  # fmt: skip
CELL = Structure(Lattice.cubic(5.0), ["Li", "Cl"], [[0, 0, 0], [0.48, 0.5, 0.5]])
LENGTH = {4: 2.50, 2: 2.56}
"""Length of the bond along x with so many k-points along it, angstrom."""


class Bond(AseCalculator):
    """A spring between two atoms, whose length depends on the mesh."""

    implemented_properties = ("energy", "forces")

    def __init__(self, length, log, killed_at=None):
        super().__init__()
        self.length, self.log, self.killed_at = length, log, killed_at

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.log.append((self.length, float(atoms.positions[1, 0] - atoms.positions[0, 0])))
        if len(self.log) == self.killed_at:
            raise KeyboardInterrupt
        stretched = atoms.positions[1] - atoms.positions[0] - [self.length, 2.5, 2.5]
        self.results = {
            "energy": 2.0 * float(stretched @ stretched),
            "forces": np.array([4 * stretched, -4 * stretched]),
        }


class MeshEngine(Engine):
    """Computes with :class:`Bond`."""

    name = "mesh"
    capabilities = Capabilities(electrons=True, kpoints=True, files=True, takes_curvatures=True)
    log, killed_at = [], None

    def record(self, elements=()):
        return EngineRecord(name="mesh", kind="test engine", version="1", hash="6" * 16, stand_in=True)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        length = LENGTH[request.card.kpoint_mesh(request.structure)[0]]
        calculator = Bond(length, self.log, self.killed_at)
        outcome = run_ase(request.structure, calculator, request.task, request.card, monitor, folder)
        outcome.electronic_converged = True
        return outcome


@pytest.fixture
def engine(monkeypatch, tmp_path):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    made = MeshEngine()
    made.log = []
    for module in ("recognised", "first_geometry"):
        monkeypatch.setattr(
            f"anodeflow.workflows.jobs.{module}.get_engine", lambda name: made if name == "mesh" else get_engine(name)
        )
    return made


def relaxed(folder, **options):
    folder.mkdir(exist_ok=True)
    job = CalculationMaker(task="relax", card=CARD, engine="mesh", **options).make(CELL, "LiCl/pair")
    return job.run(open_job_store(folder / "store.sqlite")).output


def bond(document):
    return float(document.structure.cart_coords[1, 0] - document.structure.cart_coords[0, 0])


def test_the_coarser_mesh_goes_first_and_the_result_is_that_of_the_card(engine, tmp_path, monkeypatch):
    found = relaxed(tmp_path / "with", coarse_start=True)
    lengths = [length for length, _ in engine.log]
    fine = lengths.index(2.50)
    assert set(lengths[:fine]) == {2.56}
    assert set(lengths[fine:]) == {2.50}
    assert engine.log[fine][1] == pytest.approx(2.56, abs=0.01)  # it began where the coarser mesh ended
    assert bond(found) == pytest.approx(2.50, abs=0.01)
    assert found.coarse_mesh == (2, 2, 2)
    assert found.initial_structure == CELL
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "other runs"))
    plain = relaxed(tmp_path / "without")
    assert plain.fingerprint == found.fingerprint
    assert plain.coarse_mesh is None


def test_one_killed_in_either_relaxation_goes_on_there(engine, tmp_path):
    engine.killed_at = 2  # in the second step of the coarser mesh
    with pytest.raises(KeyboardInterrupt):
        relaxed(tmp_path, coarse_start=True)
    at = engine.log[0][1]
    engine.log.clear()
    whole = len(_until_killed_in_the_finer(engine, tmp_path))
    assert engine.log[0] == (2.56, pytest.approx(at)), "it continues in the folder of the coarser mesh"
    engine.log.clear()
    engine.killed_at = None
    found = relaxed(tmp_path, coarse_start=True)
    assert whole > 1
    assert {length for length, _ in engine.log} == {2.50}, "what the coarser mesh found is kept"
    assert engine.log[0][1] == pytest.approx(2.56, abs=0.01)
    assert bond(found) == pytest.approx(2.50, abs=0.01)
    assert found.coarse_mesh == (2, 2, 2)


def _until_killed_in_the_finer(engine, folder):
    """Run until the first step of the finer mesh, and stop there."""
    count = {"fine": 0}

    class Stops(list):
        def append(self, item):
            super().append(item)
            count["fine"] += item[0] == 2.50
            if count["fine"] == 1:
                raise KeyboardInterrupt

    engine.killed_at, engine.log = None, Stops()
    with pytest.raises(KeyboardInterrupt):
        relaxed(folder, coarse_start=True)
    return engine.log


def test_a_mesh_that_saves_little_is_left_alone():
    assert coarser(CARD, CELL).kpoint_mesh(CELL) == (2, 2, 2)
    wide = Structure(Lattice.orthorhombic(5.0, 30.0, 30.0), ["Cl"], [[0, 0, 0]])
    assert CARD.kpoint_mesh(wide) == (4, 1, 1)
    assert coarser(CARD, wide) is None
    # one point along a vacuum, whatever the spacing says: 9 are not halved to 4 there
    slab = layers("Cl", side=7.0, height=15.0)
    assert CARD.kpoint_mesh(slab) == (3, 3, 2)
    assert coarser(CARD, slab) is None
    assert coarser(CARD.model_copy(update={"kpoints": None}), CELL) is None


def layers(*symbols, side, height):
    """Two layers of these atoms in a square cell with a vacuum above."""
    atoms = [symbols[n % len(symbols)] for n in range(8)]
    places = [(x / 2, y / 2, z * 2.0 / height) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    return Structure(Lattice.tetragonal(side, height), atoms, places)


def test_a_metal_has_no_coarser_mesh_where_that_would_be_too_coarse():
    card = load_card("pbe-slab")
    metal, salt = layers("Al", side=7.42, height=20.0), layers("Li", "Cl", side=7.42, height=20.0)
    assert card.kpoint_mesh(metal)[:2] == (4, 4)
    assert coarser(card, salt).kpoint_mesh(salt) == (2, 2, 1)
    assert coarser(card, metal) is None  # 2x2x1, 0.067 per angstrom, as of Al(111) with 36 atoms
    dense = card.varied("dense", kpoints={"spacing_per_angstrom": 0.02})
    assert coarser(dense, metal).kpoint_mesh(metal) == (4, 4, 1)
    bulk = load_crystal("Al") * (1, 1, 1)
    assert coarser(card, bulk).kpoint_mesh(bulk) == (4, 4, 4)  # 0.062


def test_a_coarser_mesh_has_one_point_along_a_vacuum_that_a_dense_card_halves_to_two():
    dense = load_card("pbe-slab").varied("dense", kpoints={"spacing_per_angstrom": 0.02})
    slab = layers("Al", side=7.42, height=15.0)
    assert dense.kpoint_mesh(slab)[2] == 4
    assert electronic(slab, "relax", coarser(dense, slab)).mesh == (4, 4, 1)


@pytest.mark.parametrize(
    ("formula", "metal"),
    [("Li9Al4", True), ("LiCl", False), ("Li9Cl8", False), ("AlLi8Cl8", False), ("Li20Cl8", True), ("Li6PS5Cl", False),
     ("P2S5", False), ("LiP", False)],
)  # fmt: skip
def test_a_cell_may_hold_a_metal_if_it_has_more_electrons_than_its_anions_take_up(formula, metal):
    atoms = [str(element) for element, number in Composition(formula).items() for _ in range(int(number))]
    cell = Structure(Lattice.cubic(9.0), atoms, [[n / len(atoms), 0, 0] for n in range(len(atoms))])
    assert may_hold_metal(cell) is metal


def test_a_geometry_from_a_mesh_that_is_no_longer_made_is_still_begun_with(engine, tmp_path, monkeypatch):
    _until_killed_in_the_finer(engine, tmp_path)
    monkeypatch.setattr("anodeflow.workflows.jobs.first_geometry.coarser", lambda card, structure: None)
    engine.log, engine.killed_at = [], None
    found = relaxed(tmp_path, coarse_start=True)
    assert {length for length, _ in engine.log} == {2.50}
    assert engine.log[0][1] == pytest.approx(2.56, abs=0.01)
    assert found.coarse_mesh == (2, 2, 2)
    engine.log = []
    assert relaxed(tmp_path, coarse_start=True).fingerprint == found.fingerprint
    assert engine.log == [], "and what it ended in is handed out"


def test_the_coarser_mesh_is_centred_as_the_finer_one():
    shifted = CARD.varied("shifted", kpoints={"mesh": (4, 4, 4), "centre": "monkhorst-pack"})
    assert coarser(shifted, CELL).kpoints.centre == "monkhorst-pack"


def test_what_the_coarser_mesh_cannot_relax_is_relaxed_without(engine, tmp_path, monkeypatch):
    def fails(request, folder=None, monitor=None):
        if request.card.kpoint_mesh(request.structure) == (2, 2, 2):
            request = Request(request.structure, request.task, request.card.model_copy(update={"max_steps": 1}))
        return MeshEngine.compute(engine, request, folder, monitor)

    monkeypatch.setattr(engine, "compute", fails)
    found = relaxed(tmp_path, coarse_start=True)
    assert found.converged
    assert found.coarse_mesh is None
    assert "no start from a coarser k-mesh: not relaxed after 1 steps" in found.warnings[0]


class Wells(AseCalculator):
    """Every atom in a well at its place in caesium chloride."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - [[0.3, 0.3, 0.3], [2.8, 2.8, 2.8]]
        self.results = {"energy": float((away**2).sum()), "forces": -2 * away}


def test_displaced_atoms_that_came_back_to_a_symmetry_keep_it(engine, tmp_path, monkeypatch):
    starts = []

    def compute(request, folder=None, monitor=None):
        starts.append((request.card.kpoint_mesh(request.structure)[0], request.structure))
        outcome = run_ase(request.structure, Wells(), request.task, request.card, monitor, folder)
        outcome.electronic_converged = True
        return outcome

    monkeypatch.setattr(engine, "compute", compute)
    ideal = Structure(Lattice.cubic(5.0), ["Li", "Cl"], [[0.06, 0.06, 0.06], [0.56, 0.56, 0.56]])
    found = {}
    for name, start, options in (
        ("displaced", ideal.copy().perturb(0.1, seed=2), {"coarse_start": True}),
        ("ideal", ideal, {"coarse_start": True}),
        ("fine only", ideal.copy().perturb(0.1, seed=2), {}),
    ):
        monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / name))
        (tmp_path / name).mkdir()
        maker = CalculationMaker(task="relax", card=CARD, engine="mesh", **options)
        found[name] = maker.make(start, "LiCl/bulk").run(open_job_store(tmp_path / name / "store.sqlite")).output
    assert found["displaced"].kept_space_group == "Pm-3m"
    assert found["ideal"].kept_space_group is None
    assert found["fine only"].kept_space_group is None
    assert found["displaced"].fingerprint == found["fine only"].fingerprint
    mesh, began = starts[1]
    assert mesh == 4
    vector = began.frac_coords[1] - began.frac_coords[0]
    assert np.allclose(vector, 0.5, atol=1e-9), "the finer mesh begins with the symmetry"
    assert found["displaced"].energy_ev == pytest.approx(found["fine only"].energy_ev, abs=1e-4)
