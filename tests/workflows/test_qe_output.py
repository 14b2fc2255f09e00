"""Outputs of pw.x: numbers of real files, and files that are cut off, garbled or end in an error."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Rydberg
from factories import LI, lithium_chloride, ultrasoft_card
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError
from anodeflow.settings import QeSettings
from anodeflow.workflows.cards import MethodCard
from anodeflow.workflows.engines.contract import Reason, Request
from anodeflow.workflows.engines.espresso.calculation import Calculation, Run
from anodeflow.workflows.engines.espresso.outputs import DamagedOutputError, Reader, read_output

DATA = Path(__file__).parent.parent / "data" / "qe"
LICL = lithium_chloride()
MOVED = lithium_chloride([0.52, 0.51, 0.5])
ION = Structure(Lattice.cubic(6.5), ["Li"], [[0.5] * 3])

# file: start, task, smearing, steps, last energy Ry and -TS Ry as printed
FILES = {
    "lithium_ion_static.out": (ION, "static", "gaussian", 1),
    "lithium_chloride_static.out": (LICL, "static", "none", 1),
    "lithium_chloride_relax.out": (MOVED, "relax", "none", 7),
    "lithium_cell.out": (LI, "relax_cell", "methfessel-paxton", 7),
}


def card(smearing: str, **changes) -> MethodCard:
    width_ev = 0.0 if smearing == "none" else 0.1
    return ultrasoft_card(kpoints={"mesh": (4, 4, 4)}, smearing={"kind": smearing, "width_ev": width_ev}, **changes)


def judged(path: Path, start: Structure, task: str, smearing: str, directory: Path):
    """What the engine makes of a file after pw.x was killed: an outcome, or None where it would run again."""
    request = Request(start, task, card(smearing))
    run = Calculation(request, directory, None, QeSettings(), pseudopotentials={})
    damage = None
    reader = Reader(path, start, stress=task == "relax_cell")
    try:
        reader.read()
    except DamagedOutputError as error:
        damage = error
    one = Run(1, start, reader.result, damage, 137)
    run.absorb(one)
    return run.judge(one)


@pytest.mark.parametrize("name", FILES)
def test_last_energy_is_the_last_that_is_printed(name):
    start, task, smearing, steps = FILES[name]
    text = (DATA / name).read_text()
    energies = [float(x) for x in re.findall(r"^!\s+total energy\s+=\s+(\S+) Ry", text, re.MULTILINE)]
    entropies = [float(x) for x in re.findall(r"smearing contrib\. \(-TS\)\s+=\s+(\S+) Ry", text)]
    found = read_output(DATA / name, start, stress=task == "relax_cell")
    assert found.end == "done"
    assert found.version == "6.7MaX"
    assert len(found.steps) == steps == len(energies)
    np.testing.assert_allclose([s.energy_ev for s in found.steps], np.array(energies) * Rydberg)
    share = {"gaussian": 1 / 2, "methfessel-paxton": 1 / 3, "none": 0.0}[smearing]
    entropy = entropies[-1] if entropies else 0.0
    assert found.last.extrapolated_ev(smearing) == pytest.approx((energies[-1] - share * entropy) * Rydberg)


def test_internal_and_free_energy_average_to_the_extrapolated_one():
    found = read_output(DATA / "lithium_cell.out", LI, stress=True)
    text = (DATA / "lithium_cell.out").read_text()
    internal = float(re.findall(r"internal energy E=F\+TS\s+=\s+(\S+) Ry", text)[-1]) * Rydberg
    free = found.last.energy_ev
    assert found.last.extrapolated_ev("gaussian") == pytest.approx((internal + free) / 2, abs=2e-7)
    assert found.last.extrapolated_ev("methfessel-paxton") == pytest.approx((internal + 2 * free) / 3, abs=2e-7)
    assert found.last.extrapolated_ev("marzari-vanderbilt") == free


def test_relaxation_forces_and_positions():
    found = read_output(DATA / "lithium_chloride_relax.out", MOVED)
    text = (DATA / "lithium_chloride_relax.out").read_text()
    rows = re.findall(r"atom\s+\d+ type\s+\d+\s+force =\s+(\S+)\s+(\S+)\s+(\S+)", text)[-2:]
    forces = np.array(rows, dtype=float) * Rydberg / Bohr
    np.testing.assert_allclose(found.last.forces_ev_per_angstrom, forces)
    assert found.last.largest_force == pytest.approx(np.linalg.norm(forces, axis=1).max())
    assert found.optimiser_converged
    # Newton's third law
    np.testing.assert_allclose(found.last.forces_ev_per_angstrom.sum(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.steps[0].fractional, MOVED.frac_coords)
    final = re.search(r"Begin final coordinates.*?\nLi\s+(.*?)\nCl\s+(.*?)\n", text, re.DOTALL)
    np.testing.assert_allclose(found.last.fractional, [[float(x) for x in row.split()] for row in final.groups()])


def test_stress_is_positive_under_tension():
    """bcc Li squeezed to 3.40 angstrom wants to expand: a pressure, so a negative stress."""
    found = read_output(DATA / "lithium_cell.out", LI, stress=True)
    text = (DATA / "lithium_cell.out").read_text()
    pressures = [float(x) / 10 for x in re.findall(r"P=\s*(\S+)", text)]
    assert pressures[0] > 0
    np.testing.assert_allclose([-np.trace(s.stress_gpa) / 3 for s in found.steps], pressures, atol=2e-3)
    assert [s.final_basis for s in found.steps] == [False] * 6 + [True]
    volumes = [abs(np.linalg.det(s.cell_angstrom)) for s in found.steps]
    assert volumes[-1] > volumes[0]
    assert found.steps[-1].same_geometry(found.steps[-2].cell_angstrom, found.steps[-2].fractional)


def test_reading_while_it_grows_gives_the_same(tmp_path):
    whole = read_output(DATA / "lithium_cell.out", LI, stress=True)
    data = (DATA / "lithium_cell.out").read_bytes()
    path = tmp_path / "pw.out"
    reader = Reader(path, LI, stress=True)
    reader.read()
    counts = []
    with path.open("wb", buffering=0) as handle:
        for at in range(0, len(data), 997):
            handle.write(data[at : at + 997])
            counts.append(len(reader.read().steps))
    assert counts == sorted(counts)
    assert [s.energy_ev for s in reader.result.steps] == [s.energy_ev for s in whole.steps]
    assert reader.result.end == "done"


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_converged(name, tmp_path):
    start, task, smearing, _ = FILES[name]
    outcome = judged(DATA / name, start, task, smearing, tmp_path)
    assert outcome.converged


@pytest.mark.parametrize("name", FILES)
def test_files_cut_off_anywhere_never_give_a_wrong_number(name, tmp_path):
    """200 places: a result only from the whole file, else no energy or that of a step that is there."""
    start, task, smearing, _ = FILES[name]
    data = (DATA / name).read_bytes()
    right = judged(DATA / name, start, task, smearing, tmp_path)
    true_energies = set(right.arrays["energies_ev"].tolist()) | {
        s.extrapolated_ev(smearing) for s in read_output(DATA / name, start, stress=task == "relax_cell").steps
    }
    done = data.index(b"JOB DONE.") + len(b"JOB DONE.")
    path = tmp_path / "pw.out"
    for at in np.random.default_rng(20261122).integers(0, len(data), 200):
        path.write_bytes(data[:at])
        outcome = judged(path, start, task, smearing, tmp_path)
        if at > done:
            assert outcome.energy_ev == right.energy_ev
            continue
        assert not outcome.converged
        assert outcome.error
        assert "pw.out" in outcome.error
        assert outcome.energy_ev is None or outcome.energy_ev in true_energies


@given(st.data())
@hypothesis_settings(deadline=None, max_examples=60)
def test_garbled_bytes_are_an_engine_error_or_are_not_read(tmp_path_factory, data):
    name = "lithium_chloride_relax.out"
    content = (DATA / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=40))
    path = tmp_path_factory.mktemp("garbled") / "pw.out"
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    try:
        energies = [step.energy_ev for step in read_output(path, MOVED).steps]
        message = "pw.out:1"
    except EngineError as error:
        energies, message = [], str(error)
    assert re.search(r"pw\.out:\d+", message)
    assert np.isfinite(energies).all()


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"(!    total energy              =) +\S+", r"\1     ******"),
        (r"(!    total energy              =) +\S+", r"\1        NaN"),
        (r"(atom    2 type  2   force =) .*", r"\1        NaN    NaN    NaN"),
        (r"(atom    2 type  2   force =) .*", r"\1 ************************************"),
        (r"(Total force =) +\S+", r"\1      NaN"),
    ],
)
def test_what_is_no_number_names_file_and_line(tmp_path, pattern, replacement):
    text = re.sub(pattern, replacement, (DATA / "lithium_chloride_relax.out").read_text(), count=1)
    path = tmp_path / "pw.out"
    path.write_text(text)
    with pytest.raises(DamagedOutputError, match=r"pw\.out:\d+: '.*' does not hold a"):
        read_output(path, MOVED)
    outcome = judged(path, MOVED, "relax", "none", tmp_path)
    assert not outcome.converged
    assert outcome.energy_ev is None
    assert outcome.reason is Reason.DAMAGED


def test_an_output_that_contradicts_itself_is_no_result(tmp_path):
    text = (DATA / "lithium_cell.out").read_text()
    path = tmp_path / "pw.out"
    at = text.rindex("!    total energy              =     -14.81528983")
    path.write_text(text[:at] + text[at:].replace("-14.81528983", "-14.81528883", 1))
    outcome = judged(path, LI, "relax_cell", "methfessel-paxton", tmp_path)
    assert not outcome.converged
    assert outcome.energy_ev is None
    assert outcome.reason is Reason.DAMAGED
    assert re.search(r"pw\.out:\d+: .* is not E - TS", outcome.error)


def test_forces_on_held_atoms_do_not_count(tmp_path):
    """pw.x prints them from version 7 on; the length of all forces leaves them out in every version."""
    held = MOVED.copy(site_properties={"selective_dynamics": [[False] * 3, [True] * 3]})
    text = (DATA / "lithium_chloride_relax.out").read_text()

    def length_of_the_free(found):
        free = np.array(found[2].split(), dtype=float)
        return f"{found[1]}{found[2]}{found[3]}{np.linalg.norm(free):12.6f}"

    text = re.sub(r"(atom    2 type  2   force =)(.*)(\n\n     Total force =) +\S+", length_of_the_free, text)
    path = tmp_path / "pw.out"
    path.write_text(text)
    found, whole = read_output(path, held), read_output(DATA / "lithium_chloride_relax.out", MOVED)
    assert len(found.steps) == len(whole.steps)
    for step, other in zip(found.steps, whole.steps, strict=True):
        assert not step.forces_ev_per_angstrom[0].any()
        assert np.array_equal(step.forces_ev_per_angstrom[1], other.forces_ev_per_angstrom[1])


def test_another_geometry_is_refused():
    other = MOVED.copy()
    other.translate_sites([1], [0.0, 0.01, 0.0])
    with pytest.raises(DamagedOutputError, match=r"not the one that was asked for: it differs by 0\.0"):
        read_output(DATA / "lithium_chloride_relax.out", other)


def test_another_calculation_is_refused():
    with pytest.raises(EngineError, match="has 2 atoms, the calculation 1"):
        read_output(DATA / "lithium_chloride_relax.out", LI)


def test_unconverged_electrons_give_no_step():
    found = read_output(DATA / "electrons_not_converged.out", LICL)
    assert found.scf_failed
    assert found.steps == []


def test_error_blocks_are_quoted(tmp_path):
    path = DATA / "pseudopotential_not_found.out"
    found = read_output(path, ION)
    assert found.end == "error"
    assert found.error_routine == "readpp"
    assert "Lj.us.UPF not found" in found.error_message
    line = path.read_text().splitlines()[found.error_line - 1]
    assert line.strip().startswith("%%%%")
    with pytest.raises(EngineError, match=r"pw\.out:\d+: pw\.x: Error in routine readpp \(1\): file .* not found"):
        judged(path, ION, "static", "gaussian", tmp_path)


def test_endless_lines_are_passed_over(tmp_path):
    path = tmp_path / "pw.out"
    path.write_bytes(b"x" * 3_000_000 + b"\n" + (DATA / "lithium_chloride_static.out").read_bytes())
    assert len(read_output(path, LICL).steps) == 1
