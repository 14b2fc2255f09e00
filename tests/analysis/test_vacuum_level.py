"""Vacuum levels and work functions, and Li+ without a charged cell: by hand, by shifts, and in files of programs."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from anodeflow.analysis.binding import binding_energy
from anodeflow.analysis.program_output.potentials import read_grid, read_level, read_potential
from anodeflow.analysis.vacuum_level import (
    PlanarPotential,
    ion_binding_energy_ev,
    ion_descriptor_ev,
    slab_levels,
    vacuum_levels,
    work_function_ev,
)
from anodeflow.errors import InputError
from anodeflow.units import BOHR_ANGSTROM, HARTREE_EV, RYDBERG_EV

HEIGHT, PLANES = 24.0, 240
FERMI = -1.2
energy = st.floats(-50, 50, allow_nan=False)
work = st.floats(0.5, 8, allow_nan=False)


def slab(top=3.0, bottom=3.0, slope=0.0, shift=0.0, height=HEIGHT, planes=PLANES):
    """A slab between 2 and 10 angstrom: deep inside, levels outside, with the step of a dipole correction at 18."""
    z = np.arange(planes) * height / planes
    # the vacuum is above the slab, and continues below it across the end of the cell
    outside = np.where((z > 6) & (z < 18), top, bottom)
    depth = 14 * np.exp(-(((z - 6) / 3.0) ** 4)) * (1 + 0.2 * np.cos(2 * np.pi * z / 2.0))
    step = top + (bottom - top) / (1 + np.exp(-(z - 18) / 0.15))
    level = np.where(z < 6, bottom, step) if top != bottom else outside
    return PlanarPotential(z, level - depth + slope * (z - 12) + shift, height)


def test_the_vacuum_level_of_a_symmetric_slab():
    levels = vacuum_levels(slab())
    assert levels["top"] == levels["bottom"]
    assert levels["top"].level_ev == pytest.approx(3.0, abs=2e-3)
    assert levels["top"].spread_ev < 0.02
    assert levels["top"].height_angstrom > 10
    assert work_function_ev(levels["top"], FERMI) == pytest.approx(4.2, abs=2e-3)


@pytest.mark.parametrize(("top", "bottom"), [(3.0, 3.8), (3.8, 3.0)])
@pytest.mark.parametrize("moved", [0.0, 7.0, 15.0])
def test_two_faces_have_two_levels(top, bottom, moved):
    """Wherever the cell ends: what comes after the slab on the way up is its top."""
    plain = slab(top, bottom)
    roll = round(moved / HEIGHT * PLANES)
    potential = PlanarPotential(plain.z_angstrom, np.roll(plain.potential_ev, roll), HEIGHT)
    levels = vacuum_levels(potential)
    assert levels["top"].level_ev == pytest.approx(top, abs=5e-3)
    assert levels["bottom"].level_ev == pytest.approx(bottom, abs=5e-3)


def test_a_vacuum_that_is_not_flat_is_refused():
    with pytest.raises(InputError, match=r"vacuum is not flat.*dipole correction") as caught:
        vacuum_levels(slab(slope=0.08))
    assert "\n" not in str(caught.value)
    z = np.arange(60) * 0.1
    crystal = PlanarPotential(z, np.cos(2 * np.pi * z / 2), 6.0)
    with pytest.raises(InputError, match="not flat"):
        vacuum_levels(crystal)


@pytest.mark.parametrize(
    ("z", "v", "height", "words"),
    [
        ([0, 1], [0, 1], 2, "at least 10 planes"),
        (range(12), [*range(11), float("nan")], 13, "not finite"),
        (range(12), range(12), 11, "one period"),
        ([*range(11), 3], range(12), 20, "do not rise"),
    ],
)
def test_a_potential_that_is_none_is_refused(z, v, height, words):
    with pytest.raises(InputError, match=words):
        PlanarPotential(np.array(list(z), dtype=float), np.array(list(v), dtype=float), height)


def test_levels_of_two_scales_are_refused():
    with pytest.raises(InputError, match="take both from one calculation"):
        work_function_ev(vacuum_levels(slab())["top"], 5.0)


@given(shift=energy)
def test_the_zero_of_the_potential_does_not_matter(shift):
    """Codes and pseudopotentials put the mean potential elsewhere; potential and Fermi level move together."""
    level = vacuum_levels(slab(shift=shift))["top"]
    assert work_function_ev(level, FERMI + shift) == pytest.approx(4.2, abs=2e-3)


@given(e_ab=energy, e_a=energy, e_li=energy, w=work, ionisation=work)
def test_the_ion_is_the_electron_brought_to_the_vacuum(e_ab, e_a, e_li, w, ionisation):
    """E_ads + W - IE is E_AB + W - E_A - E(Li+), with E(Li+) = E(Li) + IE: no charged cell is needed."""
    adsorption = binding_energy(e_ab, e_a, e_li)
    expected = (e_ab + w) - e_a - (e_li + ionisation)
    assert ion_binding_energy_ev(adsorption, w, ionisation) == pytest.approx(expected, abs=1e-9)


@given(x=energy, y=energy, w_x=work, w_y=work, ionisation=work, shift=energy)
def test_the_descriptor_of_ions_knows_neither_reservoir_nor_ionisation_energy(x, y, w_x, w_y, ionisation, shift):
    ions = [ion_binding_energy_ev(e + shift, w, ionisation) for e, w in ((x, w_x), (y, w_y))]
    assert ions[1] - ions[0] == pytest.approx(ion_descriptor_ev(y - x, w_x, w_y), abs=1e-9)
    assert ion_descriptor_ev(y - x, w_x, w_x) == pytest.approx(y - x, abs=1e-9)
    assert ion_descriptor_ev(y - x, w_x, w_y) == pytest.approx(-ion_descriptor_ev(x - y, w_y, w_x), abs=1e-9)


@pytest.mark.parametrize("values", [(float("nan"), 4.0, 5.3), (-1.0, float("inf"), 5.3), (-1.0, 4.0, 0.0)])
def test_no_ion_is_made_of_what_is_no_energy(values):
    with pytest.raises(InputError, match="no binding energy of an ion"):
        ion_binding_energy_ev(*values)
    with pytest.raises(InputError, match="no descriptor"):
        ion_descriptor_ev(float("nan"), 4.0, 3.0)


# --- files of programs ------------------------------------------------------------------------------------------------


def grid(potential):
    """The planar potential on a 2 x 3 grid, not the same at every point of a plane."""
    ripple = np.array([[0.1, -0.2, 0.1], [-0.1, 0.2, -0.1]])[:, :, None]
    return potential.potential_ev[None, None, :] + ripple


def write_locpot(folder, potential):
    cell = Structure(Lattice.orthorhombic(2.8, 2.8, HEIGHT), ["Al"], [[0, 0, 6 / HEIGHT]])
    values = grid(potential).transpose(2, 1, 0).ravel()  # x runs fastest
    lines = [" ".join(f"{v:.8f}" for v in values[n : n + 5]) for n in range(0, len(values), 5)]
    file = folder / "LOCPOT"
    file.write_text(Poscar(cell).get_str() + f"\n 2 3 {PLANES}\n" + "\n".join(lines) + "\n")
    return file


def write_average(folder, potential):
    rows = zip(potential.z_angstrom / BOHR_ANGSTROM, potential.potential_ev / RYDBERG_EV, strict=True)
    file = folder / "avg.dat"
    file.write_text("".join(f"{z:14.9f} {v:14.9f} {v:14.9f}\n" for z, v in rows))
    return file


def write_castep(folder, potential):
    values = grid(potential) / HARTREE_EV
    header = [
        " BEGIN header", "", "           Real Lattice(A)               Lattice parameters(A)    Cell Angles",
        "    2.8000000   0.0000000   0.0000000     a =    2.800000  alpha =   90.000000",
        "    0.0000000   2.8000000   0.0000000     b =    2.800000  beta  =   90.000000",
        f"    0.0000000   0.0000000  {HEIGHT:.7f}     c =   {HEIGHT:.6f}  gamma =   90.000000", "",
        "   1                            ! nspins", f"    2   3   {PLANES}     ! fine FFT grid along <a,b,c>",
        ' END header: data is "<a b c> pot" in units of Hartrees', "",
    ]  # fmt: skip
    rows = [f"{i + 1} {j + 1} {k + 1} {values[i, j, k]:.9f}" for k in range(PLANES) for j in range(3) for i in range(2)]
    file = folder / "slab.pot_fmt"
    file.write_text("\n".join([*header, *rows]) + "\n")
    return file


def write_pp(folder, potential):
    """As pp.x writes `filplot`, its grid one point wider than the cell along x."""
    values = np.full((3, 3, PLANES), 99.0)
    values[:2] = grid(potential) / RYDBERG_EV
    words = values.ravel(order="F")
    alat = 2.8 / BOHR_ANGSTROM
    header = [
        "", f"{3:8d}{3:8d}{PLANES:8d}{2:8d}{3:8d}{PLANES:8d}{1:8d}{1:8d}",
        f"     0  {alat:12.8f}" + f"{0:12.8f}" * 5, " 1.0 0.0 0.0", " 0.0 1.0 0.0", f" 0.0 0.0 {HEIGHT / 2.8:.12f}",
        "       200.0000000000        4.0000000000       30.0000000000    11", "   1   Al    3.00",
        "   1     0.000000000    0.000000000    2.142857143    1",
    ]  # fmt: skip
    rows = ["".join(f"{v:17.9E}" for v in words[n : n + 5]) for n in range(0, len(words), 5)]
    file = folder / "potential.dat"
    file.write_text("\n".join([*header, *rows]) + "\n")
    return file


WRITERS = {"vasp": write_locpot, "pp.x": write_pp, "average.x": write_average, "castep": write_castep}


@pytest.mark.parametrize("program", WRITERS)
def test_the_potential_of_every_program_is_the_same(program, tmp_path):
    expected = slab(3.0, 3.8)
    potential = read_potential(WRITERS[program](tmp_path, expected))
    assert potential.height_angstrom == pytest.approx(HEIGHT, abs=1e-5)
    np.testing.assert_allclose(potential.z_angstrom, expected.z_angstrom, atol=1e-5)
    np.testing.assert_allclose(potential.potential_ev, expected.potential_ev, atol=1e-5)
    assert vacuum_levels(potential)["bottom"].level_ev == pytest.approx(3.8, abs=5e-3)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (" E-fermi :  -1.2345     XC(G=0):  -9.1234     alpha+bet : -8.0", -1.2345),
        ("     the Fermi energy is     3.4567 ev", 3.4567),
        ("     highest occupied, lowest unoccupied level (ev):    -2.5000    3.5000", -2.5),
        ("     highest occupied level (ev):    -2.5000", -2.5),
        (" |  Fermi energy for spin-degenerate system:     4.250000 eV  |", 4.25),
        ("Fermi level: -4.17301", -4.17301),
    ],
)
def test_the_last_level_that_a_program_printed_counts(line, level, tmp_path):
    file = tmp_path / "out"
    file.write_text("the Fermi energy is 99.0 ev\n" + line + "\n")
    assert read_level(file) == level


@pytest.mark.parametrize("program", WRITERS)
def test_damaged_files_are_refused_in_one_line(program, tmp_path):
    file = WRITERS[program](tmp_path, slab())
    whole = file.read_text()
    for text in ("", "nonsense\n" * 5, whole[: len(whole) // 3].rpartition("\n")[0] + "\n1.0 x 2.0\n"):
        file.write_text(text)
        with pytest.raises(InputError) as caught:
            read_potential(file)
        assert "\n" not in str(caught.value)
        assert file.name in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_potential(tmp_path / "none")
    with pytest.raises(InputError, match="holds no Fermi level"):
        read_level(file)


@pytest.mark.parametrize(("program", "values"), [("vasp", write_locpot), ("pp.x", write_pp), ("castep", write_castep)])
def test_a_grid_keeps_all_points_and_the_cell(program, values, tmp_path):
    read = read_grid(values(tmp_path, slab(3.0, 3.8)))
    np.testing.assert_allclose(read.values_ev, grid(slab(3.0, 3.8)), atol=1e-5)
    np.testing.assert_allclose(read.cell_angstrom, np.diag([2.8, 2.8, HEIGHT]), atol=1e-5)


def test_another_quantity_of_pp_is_no_potential(tmp_path):
    file = write_pp(tmp_path, slab())
    file.write_text(file.read_text().replace("    11\n", "     0\n", 1))
    with pytest.raises(InputError, match="plot_num 0"):
        read_potential(file)


def test_the_command_prints_the_ion(tmp_path, command):
    file = write_average(tmp_path, slab())
    status, out, err = command("workfunction", file, "--fermi-ev", FERMI, "--e-ads-ev", -1.9, "--json")
    assert status == 0, err
    row = json.loads(out)
    assert row["work_function_ev"] == pytest.approx(4.2, abs=2e-3)
    assert row["e_int_ion_ev"] == pytest.approx(-1.9 + 4.2 - 5.303, abs=2e-3)
    status, out, _ = command("workfunction", file, "--fermi-ev", FERMI)
    assert "work function 4.20" in out
    (tmp_path / "scf.out").write_text("     the Fermi energy is    -1.2000 ev\n")
    assert command("workfunction", file, "--output", tmp_path / "scf.out")[0] == 0
    for arguments in ([file], [file, "--fermi-ev", 0, "--output", "x"], ["none.dat", "--fermi-ev", 0]):
        status, out, err = command("workfunction", *arguments)
        assert (status, out) == (2, "")
        assert len(err.strip().splitlines()) == 1


def test_a_face_takes_only_the_flat_layer_of_its_own_half_of_the_vacuum():
    """A layer over one face is not the level of the other, behind the step of the dipole correction."""
    vacuum = (10.0, 16.0)  # the slab reaches from 2 to 10 of 24 angstrom; the step is at 18, its middle
    both = slab_levels(slab(3.0, 3.8), vacuum, FERMI, "Fermi level")
    assert (both.top_ev, both.bottom_ev) == (pytest.approx(3.0, abs=5e-3), pytest.approx(3.8, abs=5e-3))
    assert both.work_function_ev == pytest.approx(4.2, abs=5e-3)
    joined = slab_levels(slab(), vacuum, FERMI, "Fermi level")
    assert joined.top_ev == joined.bottom_ev
    for tilted, known in ((slice(0, 60), "top_ev"), (slice(70, 180), "bottom_ev")):
        plain = slab(3.0, 3.8)
        values = plain.potential_ev.copy()
        values[tilted] += 0.05 * (plain.z_angstrom[tilted] - plain.z_angstrom[tilted][0])
        if known == "top_ev":  # below the slab, across the end of the cell
            values[180:] += 0.05 * (plain.z_angstrom[180:] - 24)
        levels = slab_levels(PlanarPotential(plain.z_angstrom, values, HEIGHT), vacuum, FERMI, "Fermi level")
        if known == "top_ev":
            assert levels.top_ev == pytest.approx(3.0, abs=5e-3)
            assert levels.bottom_ev is None
        else:
            assert levels.work_function_ev is None
            assert "over the top is not flat" in levels.error
