"""CASTEP outputs: real files by others, a second parser as witness, and every kind of damage."""

import gzip
import io
import random
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from anodeflow.workflows.cards import KPoints, Smearing, load_card
from anodeflow.workflows.engines.castep.outputs import CastepFileError, mismatch, outcome_of, placed, read_castep
from anodeflow.workflows.engines.contract import Reason, Request

DATA = Path(__file__).parent.parent / "data" / "castep"
BASE = load_card("cui2026-binding")


def lines_of(name):
    if name == "ase-md":
        text = files("ase").joinpath("test", "testdata", "castep", "md.castep").read_text()
    elif (DATA / f"{name}.castep.gz").exists():
        text = gzip.decompress((DATA / f"{name}.castep.gz").read_bytes()).decode()
    else:
        text = (DATA / f"{name}.castep").read_text()
    return text.splitlines(keepends=True)


def runs_of(lines):
    return read_castep(Path("x.castep"), [line if isinstance(line, bytes) else line.encode() for line in lines])


def card(cutoff, mesh, *, spin="none", kind="gaussian", width=0.2, force=0.05):
    return BASE.model_copy(
        update={
            "cutoff_ev": cutoff,
            "kpoints": KPoints(mesh=mesh),
            "spin": spin,
            "smearing": Smearing(kind=kind, width_ev=width),
            "force_tolerance_ev_per_angstrom": force,
            "stress_tolerance_gpa": 0.1,
        }
    )


# name: task and a card that asks for what the file holds
ASKED = {
    "H2-geom": ("relax", 300.0, (4, 4, 4), {"kind": "none", "width": 0.0}),
    "O2-geom-spin": ("relax", 300.0, (4, 4, 4), {"spin": "collinear"}),
    "Si-geom-stress": ("relax_cell", 180.0, (4, 4, 4), {}),
    "Si2-occ": ("static", 120.0, (3, 3, 3), {}),
    "Si-quickstart": ("static", 500.0, (4, 4, 4), {}),
}


@cache
def asked(name):
    """Structure, task and card of a real file; the cutoff and mesh are those it echoes."""
    task, _, _, more = ASKED[name]
    run = runs_of(lines_of(name))[-1]
    first = run.evaluations[0]
    structure = Structure(first.matrix, [symbol for symbol, _ in first.fractional], list(first.fractional.values()))
    cutoff = float(run.settings["plane wave basis set cut-off"].split()[0])
    width = run.settings.get("smearing width")
    more = dict(more)
    if width and "width" not in more:
        more["width"] = float(width.split()[0])
    if not width:
        more |= {"kind": "none", "width": 0.0}
    return structure, task, card(cutoff, run.mesh, **more)


def outcome(lines, name):
    """The outcome of a calculation that asked for what the file holds (the LDA of three of them passes as PBE here)."""
    structure, task, wanted = asked(name)
    run = runs_of(lines)[-1]
    if run.settings.get("using functional") == "Local Density Approximation":
        run.settings["using functional"] = "Perdew Burke Ernzerhof"
    request = Request(structure, task, wanted)
    wrong = mismatch(run, request)
    if wrong:
        raise CastepFileError(wrong)
    return outcome_of(run, request, Path("x.castep"))


REAL = ["H2-geom", "O2-geom-spin", "Si-geom-stress", "Si2-occ", "Si-quickstart", "si8-md", "ase-md", "two-runs"]


@pytest.mark.parametrize("name", [n for n in REAL if n != "Si-geom-stress"])
def test_a_second_parser_reads_the_same_numbers(name):
    parsers = pytest.importorskip("castep_outputs.parsers", reason="the package castep-outputs is not installed")
    others = parsers.parse_castep_file(io.StringIO("".join(lines_of(name))))
    runs = runs_of(lines_of(name))
    assert len(runs) == len(others)
    run, other = runs[-1], others[-1]
    # the other parser files what a relaxation gives under its iterations, in an order of its own
    found = sorted(energy for part in _parts(other) for energy in part.get("energies", {}).get("final_energy", []))
    assert sorted(e.energy_ev for e in run.evaluations) == pytest.approx(found, abs=1e-9)
    zero = {energy for part in _parts(other) for energy in part.get("energies", {}).get("est_0K", [])}
    assert {e.zero_ev for e in run.evaluations} - {None} <= zero
    if "initial_positions" in other:
        for atom, place in other["initial_positions"].items():
            if run.evaluations and not run.iterations:
                assert run.evaluations[0].fractional.get(atom) is None or np.allclose(
                    run.evaluations[0].fractional[atom], place, atol=1e-6
                )
    theirs = [f for part in _parts(other) for key, many in part.get("forces", {}).items() for f in many]
    if run.evaluations and run.evaluations[-1].forces:
        last = run.evaluations[-1].forces
        assert any(all(np.allclose(f.get(a, np.inf), last[a], atol=1e-9) for a in last) for f in theirs)


def _parts(run):
    return [*run.get("geom_opt", {}).get("iterations", []), *run.get("md", []), run]


def test_relaxation_of_a_molecule():
    result = outcome(lines_of("O2-geom-spin"), "O2-geom-spin")
    assert result.converged
    # the last "NB est. 0K energy" of the file, read by eye
    assert result.energy_ev == pytest.approx(-862.8538597439, abs=1e-9)
    assert result.ionic_steps == 4
    assert result.max_force_ev_per_angstrom == pytest.approx(0.00032, abs=1e-8)
    assert result.structure.get_distance(0, 1) == pytest.approx(1.33209, abs=1e-4)
    assert result.arrays["energies_ev"].shape == (5,)
    assert result.arrays["positions_angstrom"].shape == (5, 2, 3)


def test_fixed_occupations():
    result = outcome(lines_of("H2-geom"), "H2-geom")
    assert result.converged
    assert result.energy_ev == pytest.approx(-31.69654969917, abs=1e-9)


def test_relaxation_of_a_cell_that_failed():
    """Thirty steps, never converged; enthalpies hold a finite-basis correction that changes with the cell."""
    result = outcome(lines_of("Si-geom-stress"), "Si-geom-stress")
    assert not result.converged
    assert result.ionic_converged is False
    assert "not relaxed after 30 steps" in result.error
    assert "Smax 1.21" in result.error
    assert result.max_stress_gpa == pytest.approx(1.214642, abs=1e-6)
    # tension is positive: CASTEP prints -1.21 and a pressure of +1.21
    assert np.trace(result.arrays["stress_gpa"]) / 3 == pytest.approx(-1.214642, abs=1e-5)
    # the step ended on the fourth trial of its line search, whose energy and cell belong together
    assert result.energy_ev == pytest.approx(-216.0333740979, abs=1e-9)
    assert result.structure.volume == pytest.approx(39.886429, abs=1e-4)
    run = runs_of(lines_of("Si-geom-stress"))[-1]
    for step in run.iterations:
        # correction = 2/3 dE/dlnE * ln(N/N_ideal), doi:10.1088/0953-8984/2/19/007: some meV here, never more
        assert 0.001 < step.enthalpy_ev - step.evaluation.variational_ev < 0.005
    final = run.final_evaluation()
    assert final is not None
    assert final.line == 6513 - 4


def test_energy_at_no_smearing_is_taken():
    run = runs_of(lines_of("Si2-occ"))[-1]
    (state,) = run.evaluations
    assert (state.energy_ev, state.free_ev) == (-215.2266245504, -215.5131593161)
    assert state.total_ev == -215.3698919332
    # in the middle between E and E - TS, and not the 102.6 eV that verbose output prints before the first cycle
    assert state.total_ev == pytest.approx((state.energy_ev + state.free_ev) / 2, abs=1e-9)


def test_potentials_version_and_mesh():
    run = runs_of(lines_of("O2-geom-spin"))[-1]
    assert run.version == "17.2"
    assert run.potentials == {"O": "2|1.1|15|18|20|20:21(qc=7)"}
    assert run.mesh == (4, 4, 4)


def test_the_last_of_several_runs_counts():
    first, second = lines_of("H2-geom"), lines_of("O2-geom-spin")
    runs = runs_of([*first, *second])
    assert len(runs) == 2
    assert outcome([*first, *second], "O2-geom-spin").energy_ev == pytest.approx(-862.8538597439)
    assert outcome([*second, *second], "O2-geom-spin").converged
    # a finished run followed by one that was killed: the older result does not stand for the newer run
    cut = second[: second.index(next(x for x in second if "starting iteration         3" in x))]
    result = outcome([*second, *cut], "O2-geom-spin")
    assert not result.converged
    assert "before the run does" in result.error
    with pytest.raises(CastepFileError, match="atoms H2"):
        outcome([*second, *first], "O2-geom-spin")


def test_another_functional_is_recognised():
    structure, task, wanted = asked("Si-quickstart")
    run = runs_of(lines_of("Si-quickstart"))[-1]
    assert "Local Density Approximation" in mismatch(run, Request(structure, task, wanted))


@pytest.mark.parametrize(("change", "said"), [
    ({"cutoff_ev": 310.0}, "cut-off 300.0000"),
    ({"spin": "none"}, "spin treatment"),
    ({"kpoints": KPoints(mesh=(3, 3, 3))}, "k-mesh"),
    ({"smearing": Smearing(kind="gaussian", width_ev=0.1)}, "smearing width"),
])  # fmt: skip
def test_a_file_of_other_settings_is_recognised(change, said):
    structure, task, wanted = asked("O2-geom-spin")
    run = runs_of(lines_of("O2-geom-spin"))[-1]
    assert mismatch(run, Request(structure, task, wanted)) is None
    assert said in mismatch(run, Request(structure, task, wanted.model_copy(update=change)))
    assert "net charge" in mismatch(run, Request(structure, task, wanted, 2))
    assert "type of calculation" in mismatch(run, Request(structure, "static", wanted))


def test_forces_above_the_card_are_not_converged_whatever_castep_says():
    structure, task, wanted = asked("O2-geom-spin")
    strict = wanted.model_copy(update={"force_tolerance_ev_per_angstrom": 1e-4})
    run = runs_of(lines_of("O2-geom-spin"))[-1]
    result = outcome_of(run, Request(structure, task, strict), Path("x.castep"))
    assert result.ionic_converged is False
    assert result.reason is Reason.NOT_RELAXED
    assert "though CASTEP is content" in result.error


def test_atoms_come_back_in_our_order():
    structure, task, _ = asked("O2-geom-spin")
    run = runs_of(lines_of("O2-geom-spin"))[-1]
    state = run.evaluations[-1]
    state.fractional = {("O", 2): state.fractional["O", 2], ("O", 1): state.fractional["O", 1] + 1.0}
    back = placed(state, structure, task)
    assert back.frac_coords[0] == pytest.approx([0.016791, 0.0, 0.0], abs=1e-6)  # and in the image of the start


FINAL = "Final energy, E             =  "
ZERO = "NB est. 0K energy (E-0.5TS)      =  "
FORCE = " * O               1     "


@pytest.mark.parametrize(("old", "new", "said"), [
    (f"{ZERO}-862.8538597439     eV", f"{ZERO}NaN     eV", "NaN"),
    (f"{FINAL}-862.8538597439     eV", f"{FINAL}**************     eV", "no number"),
    (f"{FINAL}-862.8538597439     eV", f"{FINAL}-862.8538", "not in eV"),
    (f"{FORCE}-0.00032             -0.00000", f"{FORCE}********             -0.00000", "no number"),
    (" BFGS: finished iteration     3", " BFGS: finished iteration     7", "iteration 3 is due"),
])  # fmt: skip
def test_nonsense_names_file_and_line(old, new, said):
    text = "".join(lines_of("O2-geom-spin"))
    assert old in text
    with pytest.raises(CastepFileError, match=re.escape(said)) as caught:
        runs_of(text.replace(old, new).splitlines(keepends=True))
    assert re.search(r"x\.castep, line \d+", str(caught.value))


# what stands in the file, what is put in its place once, and what is said of it
CONTRADICTIONS = [
    ("O2-geom-spin", f"{ZERO}-862.8538597439", f"{ZERO}-862.8538607439", "half way between"),
    ("O2-geom-spin", f"{FINAL}-862.8538597439", f"{FINAL}-862.8538497439", "half way between"),
    ("H2-geom", "Final energy =  -31.69654969917", "Final energy =  -31.69754969917", "its last SCF cycle"),
    ("O2-geom-spin", "enthalpy= -8.62853860E+002", "enthalpy= -8.62853960E+002", "comes nearer"),
    ("O2-geom-spin", "   3.175129E-004 ", "   3.975129E-004 ", "the largest force of that step"),
    ("O2-geom-spin", "Final Enthalpy     = -8.62853860E", "Final Enthalpy     = -8.62953860E", "that of the last step"),
    ("O2-geom-spin", "-0.00032     -0.00000     -0.00000 *", "-0.00032     -0.00000     *\n", "inside a table"),
    ("Si-geom-stress", "  x     -1.214642", "  x     -1.224642", "pressure is said to be"),
    ("Si-geom-stress", "Pressure:    1.2146", "Pressure:    1.3146", "pressure is said to be"),
    ("Si-geom-stress", "   2.7118462   2.7118462  -0.0", "   2.7118462   2.7218462  -0.0", "its reciprocal"),
    ("H2-geom", "Total number of ions in cell =    2", "Total number of ions in cell =    " + "2" * 5000, "no error"),
    ("H2-geom", "      1  -2", "      " + "1" * 5000 + "  -2", "cycle"),
    ("O2-geom-spin", "O                 2         0.28", "O       " + "2" * 5000 + "  0.28", "is no coordinate"),
    ("O2-geom-spin", "-862.8538597439", "-862.85\0\0\0\0\0439", "NUL bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused(name, old, new, said):
    text = "".join(lines_of(name))
    assert old in text
    changed = text.replace(old, new, 1)
    if said == "no error":
        assert runs_of(changed.splitlines(keepends=True))[-1].ions is None
        return
    with pytest.raises(CastepFileError, match=said) as caught:
        runs_of(changed.splitlines(keepends=True))
    assert re.search(r"x\.castep, line \d+", str(caught.value))
    assert len(str(caught.value)) < 400


def test_a_trial_without_its_geometry_is_refused():
    """Else its energy would be taken for that of the trial before."""
    lines = lines_of("O2-geom-spin")
    trials = [n for n, line in enumerate(lines) if "with trial guess" in line]
    start = next(n for n in range(trials[2], len(lines)) if "Cell Contents" in lines[n])
    end = next(n for n in range(start, len(lines)) if "<-- SCF" in lines[n])
    with pytest.raises(CastepFileError, match="coordinates is missing"):
        runs_of([*lines[:start], *lines[end:]])


def test_electrons_that_did_not_converge():
    text = "".join(lines_of("O2-geom-spin"))
    mark = "Final energy, E             =  -862.8538597439"
    broken = text.replace(
        mark, "*Warning* max. SCF cycles performed but system has not reached the groundstate.\n" + mark
    )
    result = outcome(broken.splitlines(keepends=True), "O2-geom-spin")
    assert result.electronic_converged is False
    assert not result.converged
    assert "electrons not converged in 30 cycles" in result.error
    assert result.reason is Reason.ELECTRONS


def test_an_energy_at_another_cutoff_is_not_taken():
    """A static run cut short within its finite-basis correction shows energies at lower cutoffs first."""
    text = "".join(lines_of("Si-quickstart"))
    cutoff = asked("Si-quickstart")[2].cutoff_ev
    lower = text.replace(
        "\nFinal energy", f"\nCalculating total energy with cut-off of  {cutoff - 10:.3f} eV.\nFinal energy", 1
    )
    result = outcome(lower.splitlines(keepends=True), "Si-quickstart")
    assert result.energy_ev is None
    assert "at a cutoff of" in result.error
    assert result.reason is Reason.DAMAGED


def test_not_castep_at_all(tmp_path):
    with pytest.raises(CastepFileError, match="holds no CASTEP run"):
        runs_of(["hello\n"])
    with pytest.raises(CastepFileError, match="cannot read"):
        read_castep(tmp_path / "no.castep")
    (tmp_path / "b.castep").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(CastepFileError):
        read_castep(tmp_path / "b.castep")


@pytest.mark.parametrize("name", list(ASKED))
def test_truncated_anywhere(name):
    """Two hundred cuts of every file: an error, an unconverged result, or exactly the result of the whole file."""
    text = "".join(lines_of(name))
    whole = outcome(text.splitlines(keepends=True), name)
    allowed = {e.total_ev for e in runs_of(text.splitlines(keepends=True))[-1].evaluations}
    end = text.rindex("Total time")
    where = random.Random(1)
    cuts = [where.randrange(len(text)) for _ in range(200)]
    for cut in [*cuts, end, end + 5, len(text) - 1]:
        try:
            result = outcome(text[:cut].splitlines(keepends=True), name)
        except CastepFileError:
            continue
        if cut <= end:
            assert not result.converged, cut
            assert result.error, cut
        assert result.energy_ev is None or result.energy_ev in allowed
        assert not result.converged or result.energy_ev == whole.energy_ev


@pytest.mark.parametrize(
    "pair", [("O2-geom-spin", "H2-geom"), ("O2-geom-spin", "O2-geom-spin"), ("Si2-occ", "Si-quickstart")]
)
def test_two_programs_writing_to_one_file(pair):
    first, second = (lines_of(name) for name in pair)
    true = {outcome(lines_of(name), name).energy_ev for name in pair}
    for seed in range(12):
        where, a, b, mixed = random.Random(seed), list(first), list(second), []
        chunk = 1 if seed < 6 else 40
        while a or b:
            side = a if a and (not b or where.random() < 0.5) else b
            count = where.randint(1, chunk)
            mixed += side[:count]
            del side[:count]
        for name in pair:
            try:
                result = outcome(mixed, name)
            except CastepFileError:
                continue
            assert not result.converged or result.energy_ev in true, seed


def test_lines_lost_in_the_middle():
    """Blocks of lines taken out: never a converged result with an energy the whole file does not end on."""
    lines = lines_of("O2-geom-spin")
    whole = outcome(lines, "O2-geom-spin").energy_ev
    where = random.Random(3)
    for _ in range(100):
        start = where.randrange(70, len(lines))
        short = lines[:start] + lines[start + where.randint(1, 60) :]
        try:
            result = outcome(short, "O2-geom-spin")
        except CastepFileError:
            continue
        assert not result.converged or result.energy_ev == whole
