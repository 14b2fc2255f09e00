"""Lines of pw.x: real files agree with themselves; a file in which one number was changed does not."""

import gzip
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from anodeflow.analysis.program_output.espresso import DamagedLineError, PwLines
from anodeflow.analysis.trajectories import open_trajectory
from anodeflow.analysis.trajectories.frames import UnconvergedWarning
from anodeflow.errors import InputError

DATA = Path(__file__).parent.parent / "data"


def text_of(name):
    content = (DATA / name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode()


def read(text):
    """All events of a text, and the reader."""
    lines = PwLines()
    return [event for line in text.encode().splitlines() if (event := lines.feed(line))], lines


RELAX, CELL = "qe/lithium_chloride_relax.out", "qe/lithium_cell.out"
DYNAMICS, VC_DYNAMICS = "trajectories/pw_md_300K.out.gz", "trajectories/pw_vcmd.out.gz"
# file, what is replaced once, by what, and what is said of it
CONTRADICTIONS = [
    (RELAX, r"(!    total energy              =     )-49.66755301", r"\g<1>49.66755301", "near that of the iteration"),
    (RELAX, r"(!    total energy              =     )-49.66755301", r"\g<1>-49.66755311", "add up to"),
    (RELAX, r"(hartree contribution      =       )8.03294149", r"\g<1>8.03294249", "add up to"),
    (RELAX, r"     xc contribution .*\n", "", "add up to"),
    (RELAX, r"     convergence has been achieved in .*\n", "", "said to be converged"),
    (RELAX, r"!    total energy .*\n", "", "whose energy is printed"),
    (RELAX, r"(atom    2 type  2   force =    -0.)00068493", r"\g<1>00168493", "length of all forces"),
    (RELAX, r"(force =     0.00068493    0.00147514    0.)0022", r"\g<1>0023", "length of all forces"),
    (VC_DYNAMICS, r"(force =     0.0)0564786", r"\g<1>0564986", "add up to 0.00000200 Ry/Bohr along x"),
    (RELAX, r"(Total force =     0.)003934", r"\g<1>002934", "length of all forces"),
    (RELAX, r"(     atom    2 type  2   force = .*\n)", r"\1\1", "a row too many"),
    (RELAX, r"Forces acting on atoms", "Forces acting o atoms", "forces that are listed above"),
    (RELAX, r"(?s)!    total energy .*?ATOMIC_POSITIONS.*?\n\n", "", "the electrons before|a geometry whose forces"),
    (RELAX, r"(?s)     Forces acting.*?Cl  .*?\n", "", "the energy before, which are missing"),
    (RELAX, r"(Final energy   =     -49.6677)33", r"\g<1>23", "the last energy above"),
    (RELAX, r"(energy   new            =     -49.6675)53", r"\g<1>54", "the last energy above"),
    (RELAX, r"iteration #  3", "iteration #  4", "iteration 3, which is due"),
    (DYNAMICS, r"(     kinetic energy .*\n)", r"\1\1", "kinetic energy of another step"),
    (VC_DYNAMICS, r"(new lattice vectors.*\n   1.0)0", r"\g<1>1", "the new cell above"),
    (VC_DYNAMICS, r"(new positions in cart coord.*\nLi       0.02)02", r"\g<1>12", "the new positions above"),
    (RELAX, r"\nATOMIC_POSITIONS \(crystal\)\nLi.*\nCl.*\n", "\n", "the second ones"),
    (RELAX, r"(?s)(Begin final.*Li            0.0048)2", r"\g<1>3", "positions of the last geometry"),
    (RELAX, r"(?s)number of scf cycles    =   3.*?(     number of scf cycles    =   4)", r"\1", "SCF cycle 3"),
    (RELAX, r"(Cl            0.5196867816 .*\n)", r"\1\1", "a row too many"),
    (RELAX, r"Cl            0.5196867816", "Li            0.5196867816", "the position of Cl"),
    (RELAX, r"one-electron contribution =     -11.2294", "one-electron contribution =     -11.2\0\0\0", "NUL bytes"),
    (RELAX, r"a\(2\) = \(   0.707107", "a(2) = (   0.607107", "the volume of"),
    (RELAX, r"b\(2\) = \(  0.707107", "b(2) = (  0.607107", "the reciprocal axes"),
    (CELL, r"(smearing contrib. \(-TS\)   =       0.0002)1769", r"\g<1>2769", "is not E - TS"),
    (CELL, r"     smearing contrib. .*\n", "", "lacks its smearing contribution"),
    (CELL, r"(internal energy E=F\+TS    =     -14.815)35907", r"\g<1>35807", "is not E - TS"),
    (CELL, r"(0.00003645  -0.00000000  -0.00000000            5.)36", r"\g<1>96", "same stress in both units"),
    (CELL, r"(kbar\)     P=        )5.36", r"\g<1>7.36", "stress of the pressure"),
    (CELL, r"(CELL_PARAMETERS \(angstrom\)\n  -1.701549270   1.7)0", r"\g<1>1", "a cell of the volume"),
    (CELL, r"CELL_PARAMETERS \(angstrom\)\n.*\n.*\n.*\n", "", "below the cell"),
    (CELL, r"(?s)(Final scf.*a\(1\) = \(  -0.582579   0.5)8", r"\g<1>7", "volume of|reciprocal axes|last geometry"),
    (DYNAMICS, r"(temperature           =         )341.85838577", r"\g<1>351.85838577", "temperature of its kinetic"),
    (DYNAMICS, r"(kinetic energy \(Ekin\) =           )0.00324780", r"\g<1>0.00334780", "temperature of its"),
    (DYNAMICS, r"(Ekin \+ Etot \(const\)   =         -49.41)9", r"\g<1>8", "sum of Etot and Ekin"),
    (DYNAMICS, r"(!    total energy              =     -49.422)90773", r"\g<1>80773", "sum of Etot and Ekin"),
    (DYNAMICS, r"(iteration =     )3", r"\g<1>4", "step 3, which is due"),
    (DYNAMICS, r"(time      =   0.00)58", r"\g<1>78", "the time of step 3"),
    (DYNAMICS, r"(Time step             =    )40.00", r"\g<1>41.00", "same time in both"),
    (VC_DYNAMICS, r"(Ekin =     0.0000)4461", r"\g<1>5461", "sum of the energies"),
    (VC_DYNAMICS, r"(!    total energy              =     -49.422)81930", r"\g<1>71930", "sum of the energies"),
    (VC_DYNAMICS, r"(CELL_PARAMETERS \(angstrom\)\n   5.)13", r"\g<1>23", "a cell of the volume"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused(name, old, new, said, tmp_path):
    text = text_of(name)
    read(text)
    changed, count = re.subn(old, new, text, count=1)
    assert count == 1
    assert changed != text
    with pytest.raises(DamagedLineError, match=said) as caught:
        read(changed)
    assert caught.value.line > 30
    path = tmp_path / "pw.out"
    path.write_text(changed)
    with pytest.raises(InputError, match=rf"pw\.out, line {caught.value.line}: "):
        list(open_trajectory(path, format="espresso"))


def with_lengths(text, held):
    """The text with the length of the forces as it is where some atoms are held."""

    def length(found):
        rows = [row.split()[-3:] for row in found[2].strip().splitlines()]
        free = [force for number, force in enumerate(np.array(rows, dtype=float)) if number not in held]
        return f"{found[1]}{found[2]}{found[3]}{np.linalg.norm(free):12.6f}"

    return re.sub(r"(Forces acting.*\n\n)((?: +atom .*\n)+)(\n +Total force =) +\S+", length, text)


def test_forces_of_held_atoms_are_not_in_their_length():
    """From pw.x 7 on forces of held atoms are printed, older ones print zeros; the length leaves them out."""
    text = text_of(RELAX)
    held = re.sub(r"(\nLi  .*)", r"\1    0   0   0", with_lengths(text, [0]))
    assert read(held)[1].held.tolist() == [[True] * 3, [False] * 3]
    with pytest.raises(DamagedLineError, match="length of all forces"):
        read(re.sub(r"(\nLi  .*)", r"\1    0   0   0", text))
    with pytest.raises(DamagedLineError, match="length of all forces"):
        read(with_lengths(text, [0]))
    zeros = re.sub(r"(atom    1 type  1   force =).*", r"\1     0.00000000    0.00000000    0.00000000", held)
    assert read(zeros)[1].unsettled() is None


def test_one_calculation_with_forces_of_another_length_is_told(tmp_path):
    """Whether anything is held it does not say."""
    text = text_of(RELAX)
    path = tmp_path / "pw.out"
    path.write_text(with_lengths(text[: text.index("     BFGS Geometry")], [0]) + "   JOB DONE.\n")
    with pytest.warns(UserWarning, match="atoms are held, or a number is damaged"):
        frames = list(open_trajectory(path))
    assert len(frames) == 1


def test_unconverged_electrons_are_named(tmp_path):
    with pytest.raises(InputError, match=r"line 163: the electrons did not converge"):
        list(open_trajectory(DATA / "qe/electrons_not_converged.out"))
    text = text_of(RELAX)
    at = [found.start() for found in re.finditer("!    total energy", text)][3]
    end = text.rindex("     Writing output data file")
    path = tmp_path / "pw.out"
    path.write_text(text[:at] + "     convergence NOT achieved after 100 iterations: stopping\n\n" + text[end:])
    with pytest.warns(UnconvergedWarning, match="the electrons did not converge"):
        frames = list(open_trajectory(path))
    assert len(frames) == 3


def test_an_error_of_the_program_is_quoted():
    with pytest.raises(InputError, match=r"pw\.x stopped: Error in routine readpp \(1\): file .* not found"):
        list(open_trajectory(DATA / "qe/pseudopotential_not_found.out"))


def test_a_run_that_does_not_list_its_first_atoms_gives_the_later_geometries(tmp_path):
    text = text_of(RELAX)
    start, end = text.index("     site n."), text.index("     number of k points")
    path = tmp_path / "pw.out"
    path.write_text(text[:start] + text[end:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(open_trajectory(path))
    assert ["left out" in str(warning.message) for warning in caught] == [True]
    whole = list(open_trajectory(DATA / RELAX))[1:]
    assert len(frames) == len(whole)
    for frame, other in zip(frames, whole, strict=True):
        assert np.array_equal(frame.positions, other.positions)
        assert frame.energy_ev == other.energy_ev
