"""Levels of slabs with every engine that has electrons: what its files hold becomes one set of numbers."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Locpot, Poscar
from ultrasoft import ultrasoft  # noqa: F401 - a fixture

from anodeflow.documents import SlabLevels
from anodeflow.errors import EngineError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.slabs import build_slab
from anodeflow.units import HARTREE_EV
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.castep.keywords import SEED
from anodeflow.workflows.engines.castep.potential import levels_of as castep_levels
from anodeflow.workflows.engines.contract import Outcome, Request
from anodeflow.workflows.engines.espresso.engine import QeEngine
from anodeflow.workflows.engines.espresso.potential import electron_levels, pp_command
from anodeflow.workflows.engines.plane_waves.electronic import electronic
from anodeflow.workflows.engines.plane_waves.levels import add_levels, leaving_level_of, levels_on_grid
from anodeflow.workflows.engines.vasp.potential import levels_of as vasp_levels
from anodeflow.workflows.monitor import StopRequested

HEIGHT, PLANES = 20.0, 100
SLAB = Structure(Lattice.orthorhombic(2.8, 2.8, HEIGHT), ["Al"] * 3, [[0, 0, 0.1], [0.5, 0.5, 0.2], [0, 0, 0.3]])
#: Vacuum at 3 eV, from 6 to 22 angstrom.
VACUUM, FERMI = 3.0, -1.2
METAL = [-3.0, -1.3, -1.1, 0.5]
SALT = [-3.0, -2.2, 1.5]


def values(axis=2):
    z = np.arange(PLANES) * HEIGHT / PLANES
    depth = 14 * np.exp(-(((z - 4) / 2.5) ** 4))
    flat = np.broadcast_to(VACUUM - depth, (2, 3, PLANES))
    return np.moveaxis(flat, 2, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_vacuum_may_lie_along_any_vector(axis):
    frac = np.zeros((3, 3))
    frac[:, axis] = [0.1, 0.2, 0.3]
    lengths = [2.8, 2.8, 2.8]
    lengths[axis] = HEIGHT
    slab = Structure(Lattice.orthorhombic(*lengths), ["Al"] * 3, frac)
    levels = levels_on_grid(values(axis), slab, axis, FERMI, "Fermi level")
    assert levels["top_ev"] - levels["level_ev"] == pytest.approx(4.2, abs=1e-3)


def test_of_an_insulator_the_electron_leaves_from_the_highest_occupied_level():
    """Its Fermi level lies anywhere in the gap."""
    assert leaving_level_of(FERMI, METAL) == (FERMI, "Fermi level")
    assert leaving_level_of(0.9, SALT) == leaving_level_of(-1.0, SALT) == (-2.2, "highest occupied level")
    assert leaving_level_of(FERMI, []) == (FERMI, "Fermi level")


@pytest.mark.parametrize(("electrons", "level"), [(METAL, FERMI), (SALT, -2.2)])
def test_vasp(electrons, level, tmp_path):
    Locpot(Poscar(SLAB), {"total": values()}).write_file(str(tmp_path / "LOCPOT"))
    (tmp_path / "OUTCAR").write_text(f" E-fermi :  {FERMI:.4f}     XC(G=0):  -9.1234     alpha+bet : -8.0\n")
    fermi_only = vasp_levels(tmp_path, SLAB, 2)
    assert fermi_only["top_ev"] - fermi_only["level_ev"] == pytest.approx(4.2, abs=1e-3)
    bands = "".join(f"    {n}  {e:10.6f}   {float(e < FERMI):.6f}\n" for n, e in enumerate(electrons, 1))
    head = "  3  3  1  1\n  0.1 0.2 0.2 0.2 0.5\n 1.0\n CAR\n slab\n"
    (tmp_path / "EIGENVAL").write_text(head + f"  3  1  {len(electrons)}\n\n  0.0 0.0 0.0 1.0\n" + bands)
    assert vasp_levels(tmp_path, SLAB, 2)["level_ev"] == pytest.approx(level)


@pytest.mark.parametrize(("electrons", "level"), [(METAL, FERMI), (SALT, -2.2)])
def test_castep(electrons, level, tmp_path):
    header = [
        " BEGIN header", "", "           Real Lattice(A)               Lattice parameters(A)    Cell Angles",
        "    2.8000000   0.0000000   0.0000000     a =    2.800000  alpha =   90.000000",
        "    0.0000000   2.8000000   0.0000000     b =    2.800000  beta  =   90.000000",
        f"    0.0000000   0.0000000  {HEIGHT:.7f}     c =   {HEIGHT:.6f}  gamma =   90.000000", "",
        "   1                            ! nspins", f"    2   3   {PLANES}     ! fine FFT grid along <a,b,c>",
        ' END header: data is "<a b c> pot" in units of Hartrees', "",
    ]  # fmt: skip
    grid = values() / HARTREE_EV
    rows = [f"{i + 1} {j + 1} {k + 1} {grid[i, j, k]:.9f}" for k in range(PLANES) for j in range(3) for i in range(2)]
    (tmp_path / f"{SEED}.pot_fmt").write_text("\n".join([*header, *rows]) + "\n")
    (tmp_path / f"{SEED}.castep").write_text(f" |  Fermi energy for spin-degenerate system:  {FERMI:.6f} eV  |\n")
    assert castep_levels(tmp_path, SLAB, 2)["level_ev"] == FERMI
    lines = [
        "Number of k-points     1", "Number of spin components 1", "Number of electrons  9.000",
        f"Number of eigenvalues  {len(electrons)}", f"Fermi energy (in atomic units)  {FERMI / HARTREE_EV:.6f}",
        "Unit cell vectors", "   5.3 0.0 0.0", "   0.0 5.3 0.0", "   0.0 0.0 37.8",
        "K-point     1  0.00000000  0.00000000  0.00000000  1.00000000", "Spin component 1",
        *(f"   {energy / HARTREE_EV:.8f}" for energy in electrons),
    ]  # fmt: skip
    (tmp_path / f"{SEED}.bands").write_text("\n".join(lines) + "\n")
    assert castep_levels(tmp_path, SLAB, 2)["level_ev"] == pytest.approx(level, abs=1e-5)


def test_pw_left_its_levels_in_its_data_file(tmp_path):
    file = tmp_path / "data-file-schema.xml"
    levels = " ".join(f"{e / HARTREE_EV:.10e}" for e in SALT)
    text = (
        '<?xml version="1.0"?><espresso><output><band_structure><fermi_energy>{:.10e}</fermi_energy>'
        '<ks_energies><eigenvalues size="3">{}</eigenvalues></ks_energies></band_structure></output></espresso>'
    )
    file.write_text(text.format(0.9 / HARTREE_EV, levels))
    assert leaving_level_of(*electron_levels(file)) == (pytest.approx(-2.2), "highest occupied level")
    file.write_text("<espresso><output>")
    with pytest.raises(EngineError, match="cannot be read"):
        electron_levels(file)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("pw.x",), ["pp.x"]),
        (("mpirun", "-np", "4", "/opt/qe/bin/pw.x", "-nk", "2"), ["mpirun", "-np", "4", "/opt/qe/bin/pp.x"]),
        (("srun", "pw-7.2.x"), ["srun", "pp-7.2.x"]),
    ],
)
def test_pp_lies_beside_pw(command, expected):
    assert pp_command(command) == expected
    with pytest.raises(EngineError, match=r"names no pw\.x"):
        pp_command(["./start-qe"])


def test_a_potential_that_cannot_be_had_costs_no_relaxation():
    settings = electronic(SLAB, "static", load_card("pbe-slab"))
    done = Outcome(SLAB, -1.0, None, True)

    def lost(axis):
        raise EngineError("pp.x ended with status 1", "see 'pp.out'")

    add_levels(done, settings, lost)
    assert (done.converged, done.levels) == (True, None)
    assert done.warnings == ["no vacuum level: pp.x ended with status 1; see 'pp.out'"]

    def stopped(axis):
        raise StopRequested

    with pytest.raises(StopRequested):
        add_levels(done, settings, stopped)


@pytest.mark.slow
def test_work_functions_with_pw_and_pp(ultrasoft, tmp_path, monkeypatch):  # noqa: F811
    """Al(111), three layers, for real; with Li on its top the two faces differ, apart by the step of the dipole layer.

    GPAW gives 4.187 eV for the bare slab at this cutoff and mesh, pw.x 4.188.
    """
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(ultrasoft))
    slabs = [build_slab(load_crystal("Al"), (1, 1, 1), layers=3, vacuum_angstrom=v).structure for v in (12, 17)]
    bare, covered = (Structure(slab.lattice, slab.species, slab.frac_coords) for slab in slabs)
    highest = max(covered, key=lambda site: site.coords[2])
    covered.append("Li", highest.coords + np.array([0, 0, 2.6]), coords_are_cartesian=True)
    card = load_card("pbe-slab").varied("tiny", cutoff_ev=345, kpoints={"mesh": (6, 6, 1)})
    outcomes = {}
    for name, slab in (("bare", bare), ("covered", covered)):
        (tmp_path / name).mkdir()
        outcomes[name] = QeEngine().compute(Request(slab, "static", card), tmp_path / name)
        assert outcomes[name].converged
        assert not [text for text in outcomes[name].warnings if "vacuum" in text]
        assert not (tmp_path / name / "potential.dat").exists()
    levels = SlabLevels(**outcomes["bare"].levels)
    assert levels.work_function_ev == pytest.approx(4.188, abs=0.03)
    assert levels.bottom_ev == pytest.approx(levels.top_ev, abs=0.01)
    assert levels.spread_ev < 0.03
    one_sided = SlabLevels(**outcomes["covered"].levels)
    # Li gives electrons to Al, and its face has the smaller work function; three layers are too few to keep that from
    # the other face. GPAW, same slab: 3.68 and 3.86 eV.
    assert one_sided.work_function_ev == pytest.approx(3.68, abs=0.12)
    assert one_sided.bottom_ev - one_sided.level_ev == pytest.approx(3.86, abs=0.12)
    assert one_sided.work_function_ev < one_sided.bottom_ev - one_sided.level_ev < levels.work_function_ev - 0.2
    assert one_sided.spread_ev < 0.05
