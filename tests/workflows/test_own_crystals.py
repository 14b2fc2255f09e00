"""A user's own structures have a name wherever a crystal may be named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.workflows.studies import load_study

LINES = {
    "crystal-properties": "crystals: [LiCl, {item}]",
    "voltage": "crystals: [Al, Li, {item}]",
    "stability": "electrolytes: [Li2S]\nanodes: [Li]\ncoatings: [LiCl]\nphases: [S8, {item}]",
    "binding-energy": "hosts:\n  - {item}\nenvironments: [bulk]",
    "surface-energy": "surfaces:\n  - {face}",
    "interface-energy": (
        "film: {{crystal: Li, miller: [1, 0, 0], layers: [5, 7, 9, 11]}}\nsubstrate: {face}\nmax_strain_percent: 9"
    ),
    "molecular-dynamics": "ensemble: nvt\ntemperature_k: 300\nduration_ps: 1\nsystems:\n  - {item}",
}


@pytest.fixture
def salt(tmp_path: Path) -> Path:
    """A salt that the catalogue does not hold, in a file with a long name."""
    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.3), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    file = tmp_path / "run17_final.v2.cif"
    crystal.to(str(file))
    return file


def study_text(kind: str, name: str = ", name: My salt", extra: str = "") -> str:
    item = "{crystal: run17_final.v2.cif" + name
    lines = LINES[kind].format(item=item + "}", face=item + ", miller: [1, 0, 0], layers: [3, 5, 7]}")
    return f"study: {kind}\n{lines}\n{extra}"


def load(folder: Path, text: str):
    (folder / "study.yaml").write_text(text)
    return load_study(folder / "study.yaml")


@pytest.mark.parametrize("kind", sorted(LINES))
def test_every_kind_of_study_takes_a_name(kind: str, salt: Path) -> None:
    study = load(salt.parent, study_text(kind))
    assert any("My salt" in step.label for step in study.planned), [step.label for step in study.planned]
    if kind != "molecular-dynamics":  # the name of a system is its label: the file inside keeps its own
        assert not any("run17" in step.label for step in study.planned)


def test_the_hash_depends_on_the_structure_and_its_name_not_on_its_file(salt: Path) -> None:
    first = load(salt.parent, study_text("binding-energy")).hash
    renamed = salt.rename(salt.parent / "other.cif")
    text = study_text("binding-energy").replace("run17_final.v2", "other")
    assert load(salt.parent, text).hash == first
    assert load(salt.parent, text.replace("My salt", "Salt")).hash != first
    Structure.from_file(renamed).scale_lattice(150.0).to(str(renamed))
    assert load(salt.parent, text).hash != first


def test_structures_may_be_named_once_for_the_whole_study(salt: Path) -> None:
    text = study_text("binding-energy").replace("{crystal: run17_final.v2.cif, name: My salt}", "{crystal: My salt}")
    study = load(salt.parent, text + "structures: {My salt: run17_final.v2.cif}\ninterphases: [My salt]\nanodes: []\n")
    assert study.hash == load(salt.parent, study_text("binding-energy") + "interphases: [My salt]\nanodes: []\n").hash


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        (", name: Li2S", "", "crystal of the catalogue"),
        (", name: lpsc", "", "crystal of the catalogue"),
        (", name: a/b", "", "not a name for a structure"),
        (", name: ''", "", "not a name for a structure"),
        (", name: My salt", "structures: {My salt: other.cif}", "names two structures"),
        (", name: [1]", "", "name"),
    ],
)
def test_bad_names_are_refused_in_one_line(name: str, extra: str, message: str, salt: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(salt.parent, study_text("binding-energy", name, extra))
    assert "\n" not in str(error.value)


def test_a_crystal_of_the_catalogue_keeps_its_name(salt: Path) -> None:
    with pytest.raises(InputError, match="leave out 'name: Mine'"):
        load(salt.parent, "study: binding-energy\nhosts: [{crystal: LiCl, name: Mine}]\nenvironments: [bulk]\n")


def test_a_host_is_named_by_its_file_in_pairs_too(salt: Path) -> None:
    lines = "hosts: [Li, run17_final.v2.cif]\nenvironments: [bulk]\nanodes: [Li]\ninterphases: [{}]\n"
    by_file, by_stem = (
        load(salt.parent, "study: binding-energy\n" + lines.format(name))
        for name in ("run17_final.v2.cif", "run17_final.v2")
    )
    assert by_file.interphases == ["run17_final.v2"]
    assert by_file.hash == by_stem.hash
