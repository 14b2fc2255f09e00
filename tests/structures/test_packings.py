"""Packings of P2S5: whole cages in the published cell, all different; each a host, and dE a spread over them."""

import numpy as np
import pytest
import yaml
from pymatgen.analysis.structure_matcher import StructureMatcher

from anodeflow.analysis.binding import PackingSpread
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.packings import packing, packing_count, packing_name
from anodeflow.workflows.studies import load_study

NUMBERS = range(2, packing_count("P2S5") + 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_packing_is_two_whole_cages_in_the_published_cell(number):
    structure = packing(packing_name("P2S5", number))
    own = load_crystal("P2S5")
    assert structure.composition == own.composition
    np.testing.assert_allclose(structure.lattice.matrix, own.lattice.matrix)
    for site in structure:
        bonds = sorted(n.nn_distance for n in structure.get_neighbors(site, 2.4))
        if site.species_string == "P":
            assert len(bonds) == 4
            assert bonds[0] == pytest.approx(1.92, abs=0.04)
            assert bonds[1:] == [pytest.approx(2.11, abs=0.05)] * 3
    half = len(structure) // 2
    apart = structure.frac_coords[:half] + structure.frac_coords[half:]
    np.testing.assert_allclose(apart, np.round(apart), atol=1e-9)


def test_no_two_packings_are_the_same():
    assert packing_count("P2S5") >= 3
    structures = [load_crystal("P2S5"), *(packing(packing_name("P2S5", number)) for number in NUMBERS)]
    matcher = StructureMatcher(stol=0.1, scale=False)
    for number, structure in enumerate(structures):
        assert not any(matcher.fit(structure, other) for other in structures[:number])


def test_names_of_packings():
    assert packing_count("LiCl") == 1
    assert packing("P2S5") is packing("LiCl packing 2") is None
    with pytest.raises(InputError, match="packings 2 to"):
        packing("P2S5 packing 40")


@pytest.fixture
def study(tmp_path):
    def written(**changes):
        data = {
            "study": "binding-energy", "engine": "chgnet", "hosts": ["Al", {"crystal": "P2S5", "packings": 3}],
            "anodes": ["Al"], "interphases": ["P2S5"], "bulk": {"min_image_distance_angstrom": 6},
        }  # fmt: skip
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(data | changes))
        return load_study(file)

    return written


def test_every_packing_is_a_host_with_a_kept_cell(study):
    loaded = study()
    labels = ["Al", "P2S5", "P2S5 packing 2", "P2S5 packing 3"]
    assert [host.label for host in loaded.hosts] == labels
    again = type(loaded).model_validate(loaded.model_dump())
    assert again.hosts == loaded.hosts
    tasks = {step.label: step.task for step in loaded.planned if step.label.startswith("P2S5")}
    assert {tasks[f"{label}/crystal"] for label in labels[1:]} == {"relax"}
    assert len({label.partition("/")[0] for label in tasks}) == 3


def test_packings_are_relaxed_with_dispersion_and_their_kept_cells_change_no_hash(study):
    plain, labels = study(engine="sevennet-0"), ["P2S5 packing 2", "P2S5 packing 3"]
    fixed = [{"crystal": label, "cell": "fixed"} for label in labels]
    said = study(engine="sevennet-0", hosts=["Al", {"crystal": "P2S5", "packings": 3}, *fixed])
    assert said.hash == plain.hash
    with_it = study(engine="sevennet-0", card="embedded-d3-bj")
    tasks = {step.label: step.task for step in with_it.planned}
    assert {tasks[f"{label}/crystal"] for label in ["P2S5", *labels]} == {"relax_cell"}


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (["Al", {"crystal": "P2S5", "packings": 9}], "packings 9, but"),
        (["Al", {"crystal": "LiCl", "packings": 2}], "packings 2, but 1"),
    ],
)
def test_packings_that_are_not_known_are_refused(hosts, words, study):
    with pytest.raises(AnodeflowError, match=words):
        study(hosts=hosts, interphases=[])


def test_the_spread_by_hand():
    values = {"P2S5": -1.0, "P2S5 packing 2": -1.5, "P2S5 packing 3": -0.8}
    spread = PackingSpread(
        crystal="P2S5", packings=list(values), environment="bulk", kind="added", convention="bulk_metal",
        d_e_ev={"Al": values},
    )  # fmt: skip
    assert spread.mean_ev("Al") == pytest.approx(-1.1)
    assert spread.range_ev("Al") == (-1.5, -0.8)
