"""Hops counted by hand and by brute force, found whatever the cell, and refused where there are none."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.migration import Hop, choose_hops, lithium_hops
from anodeflow.structures.slabs import build_slab


def facts(hops):
    return [(hop.label, round(hop.distance_angstrom, 3), hop.multiplicity, hop.symmetric) for hop in hops]


# Distance in units of a, and the number of equivalent neighbours.
BY_HAND = [
    ("Li", 3.2, [(3**0.5 / 2, 8)]),  # bcc: 8 first neighbours, one inequivalent hop
    ("Li", 3.6, [(3**0.5 / 2, 8), (1.0, 6)]),
    ("LiCl", 4.0, [(0.5**0.5, 12)]),  # fcc of cations
    ("Li2S", 4.0, [(0.5, 6)]),  # simple cubic lithium: tetrahedron to tetrahedron along <100>
    ("Li2S", 4.2, [(0.5, 6), (0.5**0.5, 12)]),
    ("LiAl", 3.0, [(3**0.5 / 4, 4)]),  # diamond
]


@pytest.mark.parametrize(("name", "cutoff", "expected"), BY_HAND)
def test_vacancy_hops_of_cubic_crystals(name, cutoff, expected):
    crystal = load_crystal(name)
    hops = lithium_hops(crystal, "vacancy", max_distance_angstrom=cutoff)
    assert [(round(h.distance_angstrom / crystal.lattice.a, 4), h.multiplicity) for h in hops] == [
        (round(d, 4), n) for d, n in expected
    ]
    assert all(hop.symmetric and hop.multiplicity_back == hop.multiplicity for hop in hops)


@pytest.mark.parametrize("name", ["Li3P", "Li9Al4", "Li3Al2"])
def test_hops_account_for_every_neighbour(name):
    crystal = primitive_cell(load_crystal(name))
    cutoff = 2.95
    hops = lithium_hops(crystal, "vacancy", max_distance_angstrom=cutoff)
    leaving: dict[str, int] = {}
    for hop in hops:
        leaving[hop.start_site] = leaving.get(hop.start_site, 0) + hop.multiplicity
        if not hop.symmetric:
            leaving[hop.end_site] = leaving.get(hop.end_site, 0) + hop.multiplicity_back
    lithium = Structure.from_sites([site for site in crystal if site.specie.symbol == "Li"])
    counts = sorted({len(lithium.get_neighbors(site, cutoff)) for site in lithium})
    assert sorted(set(leaving.values())) == counts


@pytest.mark.parametrize(
    ("name", "mechanism", "cutoff"),
    [("Li", "vacancy", 3.6), ("Li2S", "vacancy", 4.2), ("Li9Al4", "vacancy", 3.2), ("Li", "interstitial", 2.2)],
)
def test_the_hops_do_not_depend_on_the_cell(name, mechanism, cutoff):
    conventional = load_crystal(name)
    turned = conventional.copy()
    turned.translate_sites(range(len(turned)), [0.13, 0.27, 0.41])
    expected = facts(lithium_hops(primitive_cell(conventional), mechanism, max_distance_angstrom=cutoff))
    for cell in (conventional, turned):
        found = facts(lithium_hops(cell, mechanism, max_distance_angstrom=cutoff))
        assert sorted(f[1:] for f in found) == sorted(f[1:] for f in expected)


def test_a_hop_through_an_anion_or_over_another_site_is_no_hop():
    licl = load_crystal("LiCl")
    distances = [h.distance_angstrom for h in lithium_hops(licl, "vacancy", max_distance_angstrom=5.3)]
    assert distances == pytest.approx([licl.lattice.a / 2**0.5])  # the <100> one of length a runs into Cl
    aluminium = lithium_hops(load_crystal("Al"), "interstitial", max_distance_angstrom=2.9)
    # octahedron to tetrahedron and back; octahedron to octahedron passes the tetrahedral or the bond's middle
    assert (aluminium[0].multiplicity, aluminium[0].multiplicity_back) == (8, 4)
    assert aluminium[0].distance_angstrom == pytest.approx(3**0.5 / 4 * load_crystal("Al").lattice.a, abs=1e-3)
    assert not aluminium[0].symmetric


def test_hops_on_a_close_packed_face():
    slab = build_slab(load_crystal("Al"), (1, 1, 1), min_thickness_angstrom=6, vacuum_angstrom=12).structure
    hops = lithium_hops(slab, "surface", max_distance_angstrom=2.0)
    nearest = load_crystal("Al").lattice.a / 2**0.5
    # fcc to hcp hollow over a bridge; the two differ in the second layer, so the ends are not equivalent
    assert [(h.label, h.multiplicity, h.symmetric) for h in hops] == [("hollow1-hollow2", 3, False)]
    assert hops[0].distance_angstrom == pytest.approx(nearest / 3**0.5, abs=0.05)
    assert {h.label for h in lithium_hops(slab, "surface", max_distance_angstrom=2.9)} >= {"hollow1-hollow1"}


def test_hops_across_an_interface_go_from_film_to_substrate():
    model = interface(
        "LiAl", "Li2S", film_miller=(1, 1, 0), substrate_miller=(1, 1, 0), film_layers=4, substrate_layers=4,
        max_area_angstrom2=110, gap_angstrom=2.5,
    )  # fmt: skip
    hops = lithium_hops(model.structure, "interface", max_distance_angstrom=4.5)
    assert hops
    for hop in hops:
        assert hop.start_site.startswith("film")
        assert hop.end_site.startswith("substrate")
        step = model.structure.lattice.get_cartesian_coords(np.array(hop.end) - np.array(hop.start))
        assert step[2] < 0  # down through the contact inside the cell
        assert np.linalg.norm(step) == pytest.approx(hop.distance_angstrom)
        assert not hop.symmetric
    lengths = [h.distance_angstrom for h in hops]
    assert lengths == pytest.approx(sorted(lengths))


def test_labels_survive_a_round_trip_and_name_what_they_mean():
    hops = lithium_hops(load_crystal("Li3P"), "vacancy")
    assert [Hop.from_dict(hop.as_dict()) for hop in hops] == hops
    assert len({hop.label for hop in hops}) == len(hops)
    assert choose_hops(hops, [hops[1].label, hops[0].label]) == [hops[1], hops[0]]
    assert choose_hops(hops, None) == hops
    assert "3.79 angstrom" in next(h.text for h in hops if h.label == "Li1-Li1")


@pytest.mark.parametrize(
    ("host", "options", "kind", "words"),
    [
        ("Al", {"mechanism": "vacancy"}, StructureError, ["Al holds no Li", "interstitial"]),
        ("Li", {"mechanism": "vacansy"}, InputError, ["vacansy", "vacancy"]),
        ("Li", {"mechanism": "vacancy", "max_distance_angstrom": 2.0}, StructureError, ["within 2.0", "raise"]),
        ("Li", {"mechanism": "vacancy", "max_distance_angstrom": float("nan")}, InputError, ["nan"]),
        ("Li", {"mechanism": "vacancy", "max_distance_angstrom": -1}, InputError, ["-1"]),
        ("Li", {"mechanism": "interface"}, InputError, ["film"]),
        ("Li3P", {"mechanism": "vacancy", "sites": ["Li1", "L2"]}, InputError, ["unknown site 'L2'", "Li2"]),
    ],
)
def test_one_clear_line(host, options, kind, words):
    with pytest.raises(kind) as caught:
        lithium_hops(load_crystal(host), **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_unknown_hop_offers_the_nearest():
    hops = lithium_hops(load_crystal("Li3P"), "vacancy")
    with pytest.raises(InputError, match="did you mean Li1-Li1"):
        choose_hops(hops, ["Li1_Li1"])
    with pytest.raises(InputError, match="known: Li2-Li2"):
        choose_hops(hops, ["xyz"])


def test_an_interface_without_lithium_on_one_side():
    cell = Structure(
        Lattice.orthorhombic(4, 4, 12), ["Al", "Li"], [[0, 0, 0.1], [0, 0, 0.5]],
        site_properties={"side": ["substrate", "film"]},
    )  # fmt: skip
    with pytest.raises(StructureError, match="the substrate of the interface holds no Li"):
        lithium_hops(cell, "interface", max_distance_angstrom=6)
