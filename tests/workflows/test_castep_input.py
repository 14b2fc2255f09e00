"""CASTEP inputs: what a card becomes, the list of keywords, and golden files that were reviewed by eye."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from factories import box
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import Dynamics, KPoints, Smearing, load_card
from anodeflow.workflows.engines.castep.cell import cartesian_axis, frozen_components, uses_symmetry
from anodeflow.workflows.engines.castep.keywords import (
    CELL,
    PARAM,
    check_keywords,
    read_cell,
    read_param,
)
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.registry import get_engine

GOLDEN = Path(__file__).parent.parent / "golden" / "castep"
CARD = load_card("cui2026-binding")


@pytest.fixture
def engine():
    get_engine.cache_clear()
    return get_engine("castep")


def aluminium(repeat=2):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.041), ["Al"], [[0, 0, 0]]) * repeat


def with_lithium():
    cell = aluminium()
    cell.append("Li", [0.25, 0.25, 0.25])
    return cell


def slab(adsorbate=True):
    """Al(100), two free layers on a frozen one, Li in a hollow on one side."""
    a = 4.041 / np.sqrt(2)
    lattice = Lattice.orthorhombic(2 * a, 2 * a, 18.0)
    places, free = [], []
    for layer in range(3):
        shift = 0.25 * (layer % 2)
        for x in (0.0, 0.5):
            for y in (0.0, 0.5):
                places.append([x + shift, y + shift, (3.0 + 2.0205 * layer) / 18.0])
                free.append([layer > 0] * 3)
    species = ["Al"] * len(places)
    if adsorbate:
        species.append("Li")
        places.append([0.25, 0.25, (3.0 + 2 * 2.0205 + 2.2) / 18.0])
        free.append([True] * 3)
    return Structure(lattice, species, places, site_properties={"selective_dynamics": free})


ISOLATED = {"spin": "none", "dipole_correction": False}
CASES = {
    "AB-charged": (with_lithium(), "relax", CARD, 1),
    "AB-neutral": (with_lithium(), "relax", CARD, 0),
    "A-crystal": (aluminium(1), "relax_cell", CARD, 0),
    "A-host": (aluminium(), "relax", CARD, 0),
    "B-ion": (box(), "static", CARD.varied("isolated atom", **ISOLATED), 1),
    "B-atom": (box(), "static", CARD.varied("isolated atom", **(ISOLATED | {"spin": "collinear"})), 0),
    "slab": (slab(), "relax", CARD.varied("slab", dipole_correction=True), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_files(engine, tmp_path, name):
    """Rewrite them with ANODEFLOW_WRITE_GOLDEN=1, then read the differences."""
    structure, task, card, charge = CASES[name]
    assert engine.write_inputs(structure, task, card, charge, tmp_path) == ["castep.cell", "castep.param"]
    for suffix in ("cell", "param"):
        golden, text = GOLDEN / f"{name}.{suffix}", (tmp_path / f"castep.{suffix}").read_text()
        if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
            golden.write_text(text)
        assert text == golden.read_text()
    # what is written can be read back by the strict reader
    read_param(tmp_path / "castep.param")
    _, blocks = read_cell(tmp_path / "castep.cell")
    assert len(blocks["positions_frac"]) == len(structure)


def written(engine, tmp_path, structure, task, card=CARD, charge=0):
    engine.write_inputs(structure, task, card, charge, tmp_path)
    return read_param(tmp_path / "castep.param"), *read_cell(tmp_path / "castep.cell")


def test_tolerances_are_in_castep_units(engine, tmp_path):
    param, _, _ = written(engine, tmp_path, aluminium(), "relax_cell")
    assert float(param["elec_energy_tol"].split()[0]) * 32 == pytest.approx(CARD.energy_tolerance_ev, rel=1e-2)
    assert param["geom_force_tol"] == "0.03 eV/ang"
    assert param["geom_energy_tol"] == "1e-05 eV"
    assert param["geom_disp_tol"] == "0.001 ang"
    assert param["geom_stress_tol"] == "0.05 GPa"
    assert param["cut_off_energy"] == "500 eV"
    assert param["finite_basis_corr"] == "automatic"


def test_energies_of_all_tasks_can_be_subtracted(engine, tmp_path):
    """Only what a task needs differs between tasks; electrons and basis are the same."""
    free, _, _ = written(engine, tmp_path, aluminium(), "relax_cell")
    fixed, _, _ = written(engine, tmp_path, aluminium(), "relax")
    static, _, _ = written(engine, tmp_path, aluminium(), "static")
    allowed = {"task", "finite_basis_corr", "calculate_stress"}
    for a, b in ((free, fixed), (fixed, static)):
        differ = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
        assert all(k in allowed or k.startswith("geom_") for k in differ), differ


@pytest.mark.parametrize(("kind", "name"), [
    ("gaussian", "Gaussian"), ("fermi-dirac", "FermiDirac"), ("methfessel-paxton", "HermitePolynomials"),
    ("marzari-vanderbilt", "ColdSmearing"), ("none", None),
])  # fmt: skip
def test_smearing(engine, tmp_path, kind, name):
    card = CARD.model_copy(update={"smearing": Smearing(kind=kind, width_ev=0.1 if name else 0.0)})
    param, _, _ = written(engine, tmp_path, aluminium(), "static", card)
    assert param.get("smearing_scheme") == name
    assert param["fix_occupancy"] == ("false" if name else "true")
    assert ("smearing_width" in param) == bool(name)


def test_smearing_without_width_is_refused(engine, tmp_path):
    card = CARD.model_copy(update={"smearing": Smearing(kind="gaussian", width_ev=0.0)})
    with pytest.raises(InputError, match="needs a width"):
        written(engine, tmp_path, aluminium(), "static", card)


@pytest.mark.parametrize(("mesh", "centre"), [
    ((4, 3, 1), "gamma"), ((4, 3, 1), "monkhorst-pack"), ((2, 2, 2), "gamma"), ((3, 3, 3), "monkhorst-pack"),
])  # fmt: skip
def test_mesh_holds_gamma_exactly_where_it_should(engine, tmp_path, mesh, centre):
    card = CARD.model_copy(update={"kpoints": KPoints(mesh=mesh, centre=centre)})
    _, cell, _ = written(engine, tmp_path, aluminium(), "static", card)
    grid = [int(n) for n in cell["kpoint_mp_grid"].split()]
    offset = [float(x) for x in cell["kpoint_mp_offset"].split()]
    assert tuple(grid) == mesh
    for n, shift in zip(grid, offset, strict=True):
        # Monkhorst and Pack, doi:10.1103/PhysRevB.13.5188, eq. 3, moved by the offset
        points = np.array([(2 * r - n - 1) / (2 * n) for r in range(1, n + 1)]) + shift
        on_gamma = np.abs(points - np.round(points)).min() < 1e-9
        assert on_gamma == (centre == "gamma" or n % 2 == 1)


def test_frozen_atoms_are_counted_within_their_species(engine, tmp_path):
    cell = Structure(
        Lattice.cubic(6.0),
        ["Li", "Cl", "Li", "Cl"],
        [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0.5]],
        site_properties={"selective_dynamics": [[1, 1, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]]},
    )
    _, keywords, blocks = written(engine, tmp_path, cell, "relax")
    assert [line.split() for line in blocks["ionic_constraints"]] == [
        ["1", "Cl", "1", "1.0", "0.0", "0.0"],
        ["2", "Cl", "1", "0.0", "1.0", "0.0"],
        ["3", "Cl", "1", "0.0", "0.0", "1.0"],
        ["4", "Li", "2", "0.0", "0.0", "1.0"],
    ]
    assert keywords["fix_com"] == "false"
    assert frozen_components(cell).sum() == 4


def test_relax_c_frees_the_length_of_c_only(engine, tmp_path):
    _, keywords, blocks = written(engine, tmp_path, aluminium(), "relax_c")
    assert [row.split() for row in blocks["cell_constraints"]] == [["0", "0", "1"], ["0", "0", "0"]]
    assert "fix_all_cell" not in keywords
    leaning = Structure(Lattice.from_parameters(4, 4, 4, 90, 80, 90), ["Al"], [[0, 0, 0]])
    with pytest.raises(EngineError, match="not normal"):
        written(engine, tmp_path, leaning, "relax_c")


def test_dipole_correction_names_a_cartesian_direction(engine, tmp_path):
    structure, task, card, charge = CASES["slab"]
    param, _, _ = written(engine, tmp_path, structure, task, card, charge)
    assert (param["dipole_correction"], param["dipole_dir"]) == ("self consistent", "z")
    # c leans within the slab's plane normal: the normal of a and b decides, not c
    tilted = Structure(Lattice([[3, 0, 0], [0, 3, 0], [1, 0, 20]]), ["Al"], [[0, 0, 0.5]])
    assert cartesian_axis(tilted, 2) == 2
    turned = Structure(Lattice([[3, 0, 0.5], [0, 3, 0], [0, 0, 20]]), ["Al"], [[0, 0, 0.5]])
    with pytest.raises(EngineError, match="x, y or z"):
        cartesian_axis(turned, 2)


def test_symmetry_only_where_the_atoms_have_it():
    def used(structure, card=CARD, task="relax"):
        return uses_symmetry(structure, electronic(structure, task, card))

    assert used(aluminium(1))
    moved = aluminium(1)
    moved.translate_sites([0], [0.001, 0.0007, 0.0003], frac_coords=True)
    assert not used(moved)
    assert not used(box(), CARD.varied("isolated atom", spin="collinear"))  # spin
    # a mesh that has not the symmetry of the cell
    assert not used(aluminium(1), CARD.model_copy(update={"kpoints": KPoints(mesh=(5, 5, 4))}))
    assert not used(slab())  # frozen atoms


def test_dynamics(engine, tmp_path):
    card = CARD.model_copy(
        update={"dynamics": Dynamics(ensemble="nvt", timestep_fs=2.0, duration_ps=50.0, temperature_k=300.0)}
    )
    engine.write_own_dynamics(aluminium(), card, 0, tmp_path)
    param, (cell, _) = read_param(tmp_path / "castep.param"), read_cell(tmp_path / "castep.cell")
    assert param["task"] == "MolecularDynamics"
    assert (param["md_num_iter"], param["md_delta_t"], param["md_temperature"]) == ("25000", "2 fs", "300 K")
    assert (param["md_ensemble"], param["md_thermostat"]) == ("NVT", "langevin")
    assert cell["fix_all_cell"] == "true"
    with pytest.raises(InputError, match="no dynamics"):
        engine.write_own_dynamics(aluminium(), CARD, 0, tmp_path)


@pytest.mark.parametrize(("line", "said"), [
    ("cut_of_energy : 500 eV", "did you mean cut_off_energy"),
    ("geom_max_itr : 30", "did you mean geom_max_iter"),
    ("cut_off_energy : 500 Ry", "unit Ry is not eV"),
    ("cut_off_energy : -500", "greater than 0"),
    ("smearing_scheme : Gausian", "did you mean gaussian"),
    ("geom_max_iter : 3.5", "a whole number"),
    ("geom_max_iter : 0", "at least 1"),
    ("spin_polarized : maybe", "true or false"),
    ("task : GeometryOptimisation", "did you mean geometryoptimization"),
    ("elec_energy_tol :", "1 number"),
    ("stop : now", "stands alone"),
    ("cut_off_energy : 500 600 eV", "1 number"),
])  # fmt: skip
def test_wrong_keywords_name_file_line_and_the_nearest_name(tmp_path, line, said):
    file = tmp_path / "a.param"
    file.write_text(f"# a comment\ntask : SinglePoint\n{line}\n" if "task" not in line else f"# a\n\n{line}\n")
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_param(file)
    assert f"{file}, line 3" in caught.value.problem


@pytest.mark.parametrize(("text", "said"), [
    ("%BLOCK LATTICE_CARD\n%ENDBLOCK LATTICE_CARD\n", "did you mean lattice_cart"),
    ("%BLOCK POSITIONS_FRAC\nAl 0 0 0\n", "has no end"),
    ("%BLOCK POSITIONS_FRAC\n%BLOCK LATTICE_CART\n", "begins inside another"),
    ("%BLOCK POSITIONS_FRAC\n%ENDBLOCK LATTICE_CART\n", "did not begin"),
    ("KPOINT_MP_GRID : 2 2\n", "3 number"),
    ("KPOINTS_MP_GRIDD : 2 2 2\n", "did you mean kpoint_mp_grid"),
    ("FIX_COM : true\nFIX_COM : true\n", "twice"),
])  # fmt: skip
def test_wrong_cells(tmp_path, text, said):
    file = tmp_path / "a.cell"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_cell(file)


def test_spellings_that_castep_takes_are_taken(tmp_path):
    file = tmp_path / "a.param"
    file.write_text("TASK = GEOMETRYOPTIMIZATION\nCut_Off_Energy 500 ! eV\nspin_polarized: T\ncontinuation : default\n")
    assert read_param(file)["cut_off_energy"] == "500"
    check_keywords({"KPOINT_MP_SPACING": "0.04 1/ang"}, CELL, "x")
    check_keywords({"SMEARING_WIDTH": "1.0E-1 EV"}, PARAM, "x")


def test_pseudopotential_files(engine, tmp_path, monkeypatch):
    folder = tmp_path / "pots"
    folder.mkdir()
    monkeypatch.setenv("ANODEFLOW_CASTEP_POTENTIALS", str(folder))
    for name in ("Al_00PBE.usp", "Al_00.usp", "Li_C19_PBE_OTF.usp", "S_1.usp", "S_2.usp"):
        (folder / name).write_text(name)
    _, _, blocks = written(engine, tmp_path / "in", with_lithium(), "relax")
    assert [row.split() for row in blocks["species_pot"]] == [["Al", "Al_00PBE.usp"], ["Li", "Li_C19_PBE_OTF.usp"]]
    first = engine.record(["Al", "Li"])
    assert first.potentials["Al"].startswith("Al_00PBE.usp ")
    (folder / "Al_00PBE.usp").write_text("another one")
    assert engine.record(["Al", "Li"]).potentials["Al"] != first.potentials["Al"]
    missing = engine.missing(["Li", "P", "S"], CARD)
    assert any("castep.mpi" in line for line in missing)
    assert any("of P" in line and str(folder) in line for line in missing)
    assert any("S_1.usp, S_2.usp" in line for line in missing)


def test_library_and_record(engine, tmp_path, monkeypatch):
    settings = tmp_path / "settings.yaml"
    settings.write_text("castep: {library: C19}\n")
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(settings))
    _, _, blocks = written(engine, tmp_path, aluminium(), "static")
    assert blocks["species_pot"] == ["C19"]
    record = engine.record(["Al"])
    assert record.potentials == {"Al": "on-the-fly, C19"}
    assert "not run yet" in record.version
    assert not record.stand_in
    settings.write_text("castep: {library: C19, stand_in: true}\n")
    other = engine.record(["Al"])
    assert other.stand_in
    assert other.kind == "stand-in for CASTEP: not DFT"
    assert other.hash != record.hash


def test_preflight_names_the_program(engine, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_CASTEP_COMMAND", "/no/such/castep.mpi")
    with pytest.raises(EngineError, match=r"/no/such/castep\.mpi"):
        engine.preflight(CARD)
    assert "/no/such/castep.mpi" in engine.missing(["Li"], CARD)[0]


def test_no_half_written_input(engine, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EngineError, match="cannot write"):
        engine.write_inputs(aluminium(), "static", CARD, 0, blocked)


def test_cost_grows_with_the_cell(engine):
    small, large = (engine.seconds_per_step(aluminium(n), CARD) for n in (1, 2))
    assert 0 < small < large
    assert engine.valence_electrons(["Li", "Al", "P", "S", "Cl"]) == {"Li": 3, "Al": 3, "P": 5, "S": 6, "Cl": 7}
