"""Files written atomically, digests, units and guesses at misspelt words."""

import doctest
import hashlib
import json
import os

import ase.units
import pytest
from scipy import constants

from anodeflow import files, parameters, suggest, units
from anodeflow.files import atomic_path, file_sha256, json_sha256, sha256, short_digest, write_atomically


@pytest.mark.parametrize("module", [files, parameters, suggest], ids=lambda m: m.__name__)
def test_the_examples_in_the_docstrings_run(module):
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["Li₂S\r\nγ\n", b"\x00\xff\r\n", ""])
def test_a_file_holds_what_was_written_and_nothing_else_is_left(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text("before")
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        assert temporary.suffix == ".png"
        assert temporary.parent == path.parent
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["absent/a", "folder"])
def test_what_cannot_be_written_is_an_os_error_and_leaves_nothing(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    with pytest.raises(OSError, match=r"absent|folder"):
        write_atomically(tmp_path / name, "x")
    assert [f.name for f in tmp_path.iterdir()] == ["folder"]


def test_the_longest_name_a_disk_takes_can_be_written(tmp_path):
    path = tmp_path / ("ß" * 120 + ".json")
    write_atomically(path, "x")
    assert path.read_text() == "x"


def test_digests_are_sha256(tmp_path):
    content = {"b": 1, "a": [1.5, "γ"]}
    (tmp_path / "a").write_bytes(b"Li")
    assert file_sha256(tmp_path / "a") == sha256("Li") == sha256(b"Li") == hashlib.sha256(b"Li").hexdigest()
    assert short_digest("Li") == sha256("Li")[:16]
    assert json_sha256(content) == hashlib.sha256(json.dumps(content).encode()).hexdigest()
    assert json_sha256(content, sort_keys=True) == json_sha256({"a": [1.5, "γ"], "b": 1})
    assert json_sha256(content, sort_keys=True) != json_sha256(content)


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "truth", "relative"),
    [
        (units.EV_PER_A2_TO_J_PER_M2, constants.e / 1e-20, 1e-14),
        (units.EV_PER_A3_TO_GPA, constants.e / 1e-30 / 1e9, 1e-14),
        (units.BOLTZMANN_EV_PER_K, constants.k / constants.e, 1e-10),
        (units.BOHR_ANGSTROM, constants.physical_constants["Bohr radius"][0] * 1e10, 1e-9),
        (units.HARTREE_EV, constants.physical_constants["Hartree energy in eV"][0], 1e-11),
        (units.RYDBERG_EV, constants.physical_constants["Rydberg constant times hc in eV"][0], 1e-11),
        (units.HARTREE_KELVIN, constants.physical_constants["hartree-kelvin relationship"][0], 1e-11),
        (units.ATOMIC_TIME_FS, constants.physical_constants["atomic unit of time"][0] * 1e15, 1e-11),
        (units.COULOMB_EV_ANGSTROM, constants.e / (4 * constants.pi * constants.epsilon_0) * 1e10, 1e-7),
        (units.EV_TO_AMU_A2_PER_FS2, constants.e / constants.m_u * 1e-10, 1e-8),
        (units.PWSCF_RY_PER_BOHR3_TO_GPA, units.RYDBERG_EV / units.BOHR_ANGSTROM**3 * units.EV_PER_A3_TO_GPA, 1e-6),
    ],
)
def test_the_constants_are_those_of_nature(value, truth, relative):
    assert value == pytest.approx(truth, rel=relative)


def test_what_is_exchanged_with_ase_is_in_its_units():
    assert pytest.approx(ase.units.Bohr, rel=1e-14) == units.ASE_BOHR_ANGSTROM
    assert pytest.approx(ase.units.Rydberg, rel=1e-14) == units.ASE_RYDBERG_EV
    assert pytest.approx(1 / ase.units.GPa, rel=1e-14) == units.ASE_EV_PER_A3_TO_GPA
    assert pytest.approx(ase.units.fs, rel=1e-14) == units.ASE_FEMTOSECOND


# --- guesses ---------------------------------------------------------------------------------------------------------


def test_a_misspelt_word_is_guessed_and_a_strange_one_gets_the_list():
    known = ["binding-energy", "surface-energy", "interface-energy"]
    assert suggest.did_you_mean("bindng-energy", known, most=1) == "did you mean binding-energy?"
    assert suggest.did_you_mean("xyz", known) == "known: binding-energy, surface-energy, interface-energy"
    assert suggest.did_you_mean("xyz", known, "see --help") == "see --help"
    assert suggest.nearest("xyz", known) == []
