"""vasprun.xml and XDATCAR: learned force fields, odd values that do no harm, and files that contradict themselves."""

import gzip
import json
import re
import warnings

import numpy as np
import pytest
from trajectory_files import DATA, unpacked

from anodeflow.analysis.trajectories import open_trajectory
from anodeflow.analysis.trajectories.frames import TrajectoryFlagged
from anodeflow.errors import InputError

LEARNED = gzip.decompress((DATA / "vasprun_learned.xml.gz").read_bytes()).decode()
RELAXED = (DATA / "vasprun_relax.xml").read_text()


def read(text, path):
    """The frames of a text, and the problems that were told of them."""
    path.write_text(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(open_trajectory(path))
    assert all(issubclass(warning.category, TrajectoryFlagged) for warning in caught)
    assert not any("\n" in str(warning.message) for warning in caught)
    return frames, [str(warning.message).removeprefix(f"{path}: ") for warning in caught]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vasprun.xml"


class TestLearnedForces:
    def test_steps_between_calculations_count(self, file):
        frames, told = read(LEARNED, file)
        assert [frame.step for frame in frames] == list(range(1, 201))
        assert told == []
        assert [frame.time_fs for frame in frames] == pytest.approx(2.0 * np.arange(1, 201))
        assert [frame.energy_ev for frame in frames] == pytest.approx(-100 + 0.001 * np.arange(200))
        # one step moves an Li by 0.12 angstrom along each axis, on average
        moves = np.diff([frame.fractional[:12] for frame in frames], axis=0)
        assert ((moves - np.round(moves)) * 12).std() == pytest.approx(0.12, abs=0.003)

    def test_diffusion_and_drift_are_those_of_all_steps(self, file, command):
        file.write_text(LEARNED)
        status, out, _ = command("analyse", file, "--msd", "Li", "--drift-reference", "none", "--json")
        document = json.loads(out)
        assert status == 0
        assert document["frames"] == 200
        assert document["diffusion"][0]["d_cm2_per_s"] == pytest.approx(4.1e-4, abs=0.4e-4)
        assert 1000 * document["checks"]["energy_drift_ev_per_atom_ps"] == pytest.approx(20.8, abs=0.1)
        assert document["warnings"] == []

    def test_a_run_without_any_calculation(self, file):
        alone = re.sub(r" *<scstep>.*?</scstep>\n", "", LEARNED, flags=re.DOTALL)
        alone = re.sub(r" *</?calculation>\n", "", alone)
        frames, told = read(alone, file)
        expected, _ = read(LEARNED, file)
        assert told == []
        for frame, other in zip(frames, expected, strict=True):
            assert (frame.positions == other.positions).all()
            assert (frame.energy_ev, frame.time_fs) == (other.energy_ev, other.time_fs)

    @pytest.mark.parametrize(("version", "apart"), [("6.4.3", 20.0), ("6.5.0", 20.0), ("6.4.2", 2.0)])
    def test_a_force_field_that_only_runs_may_write_every_tenth_step(self, file, version, apart):
        tags = (
            ' <i type="string" name="ML_MODE">run</i>\n <i type="int" name="ML_OUTBLOCK"> 10</i>\n'
            f' <i type="int" name="NSW">{200 if apart == 2.0 else 2000:6d}</i>\n'
        )
        text = re.sub(r' *<i type="int" name="NSW">.*\n', tags, LEARNED).replace("6.4.2 ", f"{version} ")
        frames, told = read(text, file)
        assert frames[1].time_fs - frames[0].time_fs == apart
        assert told == []

    def test_frames_that_are_missing_are_missed(self, file):
        blocks = LEARNED.split(" <calculation>\n")
        _, told = read(" <calculation>\n".join(blocks[:10] + blocks[14:]), file)
        assert told == ["180 frames of 200 steps asked for (NSW): the run was stopped, or frames are missing"]

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            (
                "  <structure>\n",
                "  <strukture>\n",
                "outside of a step|a second table|a calculation without a structure",
            ),
            (" <calculation>\n", " <calculatjon>\n", "an electronic step outside of a calculation"),
            (" </calculation>\n", "\n", "within the calculation of line|a second structure"),
            ("  </scstep>\n", "\n", "an electronic step has no end"),
            ("  </structure>\n", "\n", "a structure has no end"),
        ],
    )
    def test_a_tag_that_is_lost_loses_no_frame_silently(self, file, old, new, words):
        for number in (3, 20, -3):
            parts = LEARNED.split(old)
            at = number % (len(parts) - 1) + 1
            file.write_text(old.join(parts[:at]) + new + old.join(parts[at:]))
            with pytest.raises(InputError, match=words) as caught:
                list(open_trajectory(file))
            assert re.search(r"line \d+", str(caught.value))


class TestOddValues:
    def test_stars_among_unused_parameters_are_named_and_do_no_harm(self, file):
        text = (DATA.parent / "vasp" / "odd-parameter" / "vasprun.xml").read_text()
        frames, told = read(text, file)
        assert [(frame.energy_ev, frame.electronic_converged) for frame in frames] == [(-3.8, True)]
        assert told == ["values that are none, and are not used: KINTER is '******' in line 37"]

    @pytest.mark.parametrize("tag", ["NELM", "POTIM", "NSW", "TEBEG", "IBRION"])
    def test_a_value_that_is_needed_is_taken_from_its_other_copy(self, file, tag):
        expected, _ = read(RELAXED, file)
        odd = re.sub(rf'(<i[^>]*name="{tag}"[^>]*>)([^<]*)(</i>)', r"\g<1>******\3", RELAXED, count=1)
        frames, told = read(odd, file)
        assert [f.electronic_converged for f in frames] == [f.electronic_converged for f in expected]
        assert [f.time_fs for f in frames] == [f.time_fs for f in expected]
        assert odd == RELAXED or any(f"{tag} is '******'" in problem for problem in told)

    @pytest.mark.parametrize("digits", [4301, 100_000])
    def test_numbers_of_thousands_of_digits(self, tmp_path, file, digits):
        huge = "9" * digits
        file.write_text(RELAXED.replace('name="NELM">   200<', f'name="NELM">{huge}<'))
        assert len(list(open_trajectory(file))) == 3
        path = tmp_path / "XDATCAR"
        head = "x\n1\n4 0 0\n0 4 0\n0 0 4\nLi\n{count}\nDirect configuration= {step}\n0.1 0.2 0.3\n"
        for count, step, words in ((huge, 1, "count of atoms"), (1, huge, "number of the configuration")):
            path.write_text(head.format(count=count, step=step))
            with pytest.raises(InputError, match=f"{words} is '9+', not a whole number") as caught:
                list(open_trajectory(path))
            assert len(str(caught.value)) < 400


class TestContradictions:
    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            # the second basis is that of the first step
            ("<v>       2.70000000       2.70000000", "<v>       2.70000000       2.10000000", "a volume of"),
            ("<v>      -0.18518519", "<v>      -0.18518819", "inverse of the reciprocal cell"),
            ("<atoms>       2 <", "<atoms>       3 <", "2 atoms in the list where '3' are announced"),
            ("<rc><c>   2</c><c>Si<", "<rc><c>   2</c><c>Ge<", r"list of atoms \(Si2\) and .* kinds \(Ge2\)"),
            ("</modeling>", "</modeling>\n<modeling>", "a second run begins"),
            ("  <scstep>\n", "  <scstep>\n\0\0\0\0\n", "zero bytes"),
        ],
    )
    def test_those_that_are_errors(self, file, old, new, words):
        assert old in RELAXED
        file.write_text(new.join(RELAXED.rsplit(old, 1)))
        with pytest.raises(InputError, match=words) as caught:
            list(open_trajectory(file))
        assert "\n" not in str(caught.value)

    def test_a_repeated_step(self, file):
        steps = RELAXED.split(" <calculation>")
        _, told = read(" <calculation>".join([*steps[:2], steps[1], *steps[2:]]), file)
        assert told == ["everything is as one step before in 1 of 4 frames (from 0: frame 1)"]

    def test_the_start_and_the_end(self, file):
        first = RELAXED.index("<calculation>")
        place = "<v>       0.25000000       0.25000000       0.25000000 </v>"
        for number, words in ((0, "not that of initialpos in 1 of 3"), (-1, "not that of finalpos")):
            at = [match.start() for match in re.finditer(place, RELAXED) if match.start() > first][:3][number]
            _, told = read(RELAXED[:at] + place.replace("0.25", "0.27", 1) + RELAXED[at + len(place) :], file)
            assert any(words in problem for problem in told)

    def test_an_energy_that_is_not_that_of_its_last_electronic_step(self, file):
        at = [match.start() for match in re.finditer(r'"e_fr_energy">    -10.61671452', RELAXED)][-1]
        _, told = read(RELAXED[:at] + RELAXED[at:].replace("-10.", "-11.", 1), file)
        assert any("energy is that of the last electronic step" in problem for problem in told)

    def test_a_lost_digit(self, file, tmp_path):
        text = gzip.decompress((DATA / "XDATCAR_Li6PS5Cl.gz").read_bytes()).decode()
        lines = text.splitlines()
        lines[100] = lines[100].replace("0.", "0.", 1)[:4] + lines[100][5:]
        frames, told = read("\n".join(lines) + "\n", tmp_path / "XDATCAR")
        assert len(frames) == 3
        assert told == ["some numbers have other digits than the rest in 1 of 3 frames (from 0: frame 0)"]

    def test_a_configuration_that_is_lost(self, tmp_path):
        text = (DATA / "XDATCAR_drift").read_text()
        parts = re.split(r"(?=Direct configuration)", text)
        frames, told = read("".join([*parts[:3], *parts[4:]]), tmp_path / "XDATCAR")
        assert len(frames) == 3
        assert "the number of the configuration is not 1 above that of the one before in 1 of 3 frames" in told[0]


def test_unconverged_electrons_are_told_by_every_selection(tmp_path, command):
    path = unpacked("vasprun_relax.xml", tmp_path)
    text = path.read_text()
    second = text.split("<calculation>")[2].count("<scstep>")
    path.write_text(text.replace('name="NELM">   200<', f'name="NELM">   {second}<'))
    with pytest.warns(TrajectoryFlagged, match=r"electrons did not converge in 2 of 3 frames \(from 0: frames 0, 1\)"):
        list(open_trajectory(path))
    with pytest.warns(TrajectoryFlagged, match=r"electrons did not converge in 1 of 2 frames \(from 0: frame 1\)"):
        list(open_trajectory(path)[1:])
    status, out, _ = command("analyse", path, "--pair", "Si-Si")
    assert status == 0
    assert "note: " in out
    assert "the electrons did not converge in 2 of 3 frames (from 0: frames 0, 1)" in out
