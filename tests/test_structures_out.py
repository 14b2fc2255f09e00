"""Structures as files: of a stored calculation, of all of a study, and of the catalogue."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from anodeflow.cli.results import frame
from anodeflow.structures.catalogue import load_crystal

ARCHIVE = Path(__file__).parent.parent / "examples" / "dft" / "results" / "crystals.zip"
STUDY = "2274ab350229e4d0"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from anodeflow.workflows.store import open_job_store
    from anodeflow.workflows.store.archive import import_study

    place = tmp_path_factory.mktemp("show") / "s.sqlite"
    opened = open_job_store(place)
    import_study(ARCHIVE, opened)
    opened.close()
    return place


@pytest.fixture(scope="module")
def lithium(store):
    """The calculation of the LiAl crystal."""
    rows = frame(store, "calculations")
    return rows[rows["label"].str.startswith("LiAl/")].iloc[0]


def test_a_calculation_is_shown_by_the_first_digits(store, lithium, command):
    status, text, _ = command("show", lithium["fingerprint"][:8], "--store", store)
    assert status == 0
    for word in ("LiAl/", "gpaw 26.7.0", "pbe-bulk", f"{lithium['energy_ev']:.3f}", "Li8 Al8"):
        assert word in text
    assert "@class" not in text


@pytest.mark.parametrize("name", ["LiAl.cif", "LiAl.vasp", "LiAl.xyz", "POSCAR"])
def test_its_structure_is_written_in_each_format(store, lithium, command, tmp_path, name):
    command("show", lithium["fingerprint"][:10], "--store", store, "-o", tmp_path / name)
    if name.endswith("xyz"):
        atoms = ase.io.read(tmp_path / name)
        assert atoms.get_potential_energy() == pytest.approx(lithium["energy_ev"])
        assert np.cbrt(atoms.get_volume()) == pytest.approx(6.365, abs=1e-3)
        return
    read = Structure.from_file(tmp_path / name)
    assert read.lattice.a == pytest.approx(6.365, abs=1e-3)
    assert StructureMatcher(ltol=0.01).fit(read, load_crystal("LiAl"))


def test_all_structures_of_a_study_go_into_one_folder(store, command, tmp_path):
    status, text, _ = command("export", STUDY[:6], "--store", store, "--structures", tmp_path / "all")
    assert status == 0
    files = sorted(file.name for file in (tmp_path / "all").iterdir())
    assert len(files) == 3 * int(text.split(": ")[1].split()[0])
    assert {Path(name).suffix for name in files} == {".cif", ".vasp", ".xyz"}
    status, _, error = command("export", STUDY[:6], "--store", store, "--structures", tmp_path / "all")
    assert status == 2
    assert "is not empty" in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["all"]


def test_a_crystal_of_the_catalogue_is_written(command, tmp_path):
    status, _, _ = command("crystals", "Li9Al4", "-o", tmp_path / "Li9Al4.cif")
    assert status == 0
    assert StructureMatcher().fit(Structure.from_file(tmp_path / "Li9Al4.cif"), load_crystal("Li9Al4"))


def test_what_cannot_be_written_is_one_line(store, command, tmp_path):
    for arguments, words in (
        (("crystals", "LiAl", "-o", tmp_path / "LiAl.abc"), "no ending of a structure file"),
        (("crystals", "-o", tmp_path / "LiAl.cif"), "which crystal"),
        (("show", "ffffffff", "--store", store, "-o", tmp_path / "x.cif"), "no calculation 'ffffffff'"),
        (("show", "ffffffff", "--store", store), "no finished study"),
        (("export", STUDY, "--store", store), "nothing to write"),
    ):
        status, _, error = command(*arguments)
        assert status
        assert words in error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
