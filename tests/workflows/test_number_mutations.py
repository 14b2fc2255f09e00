"""Nonsense in place of numbers of studies and cards: a sample of what benchmarks/absurd_numbers.py tries in full."""

import random
import time
from pathlib import Path

import pytest
from number_mutations import (
    LARGE,
    NONSENSE,
    ODD,
    Mutation,
    changed,
    mutations,
    planned,
    study_attempts,
    subjects,
    trial,
)

from anodeflow.errors import AnodeflowError, InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.matching import lattice_matches
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.cards import card_names, load_card
from anodeflow.workflows.studies.base import read_study

SURFACE = {
    "study": "surface-energy",
    "surfaces": [{"crystal": "LiCl", "miller": [1, 0, 0], "layers": [4, 6, 8, 10]}],
}
CONTACT = {
    "film": {"crystal": "Li", "miller": [1, 0, 0], "layers": 15},
    "substrate": {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 9},
    "max_strain_percent": 7,
}
DYNAMICS = {
    "study": "molecular-dynamics",
    "card": "lacss2024-aimd",
    "systems": [{"crystal": "Al", "supercell": [2, 2, 2]}],
    "duration_ps": 1,
}


def _study(folder: Path, data: dict) -> Path:
    import yaml

    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_every_study_and_card_is_tried_and_no_number_of_them_is_left_out():
    counts = {name: len({mutation.where for mutation in every}) for name, every, _ in subjects()}
    assert set(counts) >= {f"card {name}" for name in card_names()}
    assert counts["examples/binding-energy.yaml"] >= 80  # eight hosts, their surfaces and what the file leaves out
    assert sum(counts.values()) > 500


@pytest.mark.parametrize("name", ["examples/surface-energy.yaml", "examples/migration.yaml", "card pbe-slab"])
def test_nonsense_is_refused_in_one_line_and_what_is_accepted_can_be_planned(name, tmp_path):
    (found,) = [subject for subject in subjects() if subject[0] == name]
    _, every, attempts_in = found
    sample = random.Random(name).sample([m for m in every if not m.may_be_right], 60)
    attempt_of = attempts_in(tmp_path)
    assert [trial(mutation, attempt_of(mutation)) for mutation in sample] == ["refused"] * 60


def test_a_study_whose_numbers_are_right_is_accepted(tmp_path):
    mutation = Mutation(("vacuum_angstrom",), "right", 20)
    with pytest.raises(AssertionError, match="accepted"):  # the trial itself can fail
        trial(mutation, study_attempts(_study(tmp_path, SURFACE), SURFACE, tmp_path)(mutation))
    assert changed(SURFACE, mutation)["vacuum_angstrom"] == 20
    assert not mutation.may_be_right
    assert set(NONSENSE) | set(ODD) | set(LARGE) == {m.kind for m in mutations(read_study(_study(tmp_path, SURFACE)))}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"warm_start": "abc"}, "unknown engine 'abc'"),
        ({"warm_start": "vasp"}, "not a potential"),
        ({"surfaces": [{"crystal": "LiCl", "miller": [1, True, 0], "layers": [4]}]}, "not numbers"),
        ({"surfaces": [{"crystal": "LiCl", "miller": [1, 0, 0], "layers": [2**63]}]}, "layers"),
        ({"surfaces": [{"crystal": "LiCl", "miller": [1, 0, 0], "layers": [900]}]}, "more than max_atoms"),
    ],
)
def test_a_surface_study_of_nonsense_is_refused_before_anything_is_built(change, reason, tmp_path):
    start = time.perf_counter()
    with pytest.raises(AnodeflowError, match=reason):
        planned(read_study(_study(tmp_path, SURFACE | change)))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"analysis": {"window_ps": 1e308}}, "window_ps"),
        ({"duration_ps": 1e30}, "duration_ps"),
        ({"segment_ps": 1e-12}, "segment_ps"),
        ({"equilibration_ps": 1e-12}, "not a multiple of"),
        ({"duration_ps": 100_000, "segment_ps": 0.02}, "5000000 jobs"),
        ({"systems": [{"crystal": "Al", "supercell": [100, 100, 100]}]}, "has 4000000 atoms, more than max_atoms=400"),
        ({"systems": [{"crystal": "Al", "repeat": [10**30, 1]}]}, "repeat"),  # unused, and still nonsense
        ({"systems": [CONTACT | {"repeat": [100, 2]}]}, "atoms, more than max_atoms=5000"),
    ],
)
def test_dynamics_of_nonsense_are_refused_before_anything_is_built(change, reason, tmp_path):
    with pytest.raises(AnodeflowError, match=reason):
        planned(read_study(_study(tmp_path, DYNAMICS | change)))


def test_a_builder_counts_the_atoms_before_it_builds_them():
    start = time.perf_counter()
    with pytest.raises(InputError, match=f"{2 * 10**30} atoms, more than max_atoms=400"):
        build_slab(load_crystal("LiCl"), (1, 0, 0), layers=10**30)
    assert time.perf_counter() - start < 5


def test_matches_of_few_atoms_on_a_large_area_are_found_without_looking_at_the_larger_ones():
    film, substrate = slab_spec("Li", (1, 0, 0), layers=5).build(), slab_spec("LiCl", (1, 0, 0), layers=7).build()
    start = time.perf_counter()
    wide = lattice_matches(film, substrate, max_strain=0.07, max_area_angstrom2=1000, max_atoms=200)
    assert time.perf_counter() - start < 10
    every = lattice_matches(film, substrate, max_strain=0.07, max_area_angstrom2=250, max_atoms=None)
    assert [m for m in wide if m.area_angstrom2 < 249] == [
        m for m in every if m.atoms <= 200 and m.area_angstrom2 < 249
    ]
    with pytest.raises(InputError, match="at most 10 atoms: the smallest has 19 "):
        lattice_matches(film, substrate, max_strain=0.07, max_area_angstrom2=1000, max_atoms=10)


def test_a_card_of_nonsense_is_refused(tmp_path):
    card = load_card("pbe-slab").model_dump(mode="json", exclude_none=True)
    path = _study(tmp_path, card | {"kpoints": {"mesh": [10**30, 1, 1]}})
    with pytest.raises(InputError, match="mesh"):
        load_card(path)
