import pytest

from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.oriented_bulk import aligned_crystals, strained_film_slab
from anodeflow.structures.registry import candidate_shifts, registries, registry_at
from anodeflow.structures.registry_series import in_registry_of
from anodeflow.structures.shifts import with_shift


def cell(film_layers, substrate_layers):
    return interface(
        "Li", "LiCl", film_miller=(1, 0, 0), substrate_miller=(1, 0, 0), film_layers=film_layers,
        substrate_layers=substrate_layers, smallest=True, strained="film", max_strain=0.07, max_area_angstrom2=30,
        gap_angstrom=4.0,
    )  # fmt: skip


def test_cells_of_other_thickness_get_the_registry_and_the_gap_of_the_first():
    base = cell(5, 5)
    for shift in candidate_shifts(base, grid_angstrom=20):
        first = with_shift(base, shift, 2.8)
        for layers in ((7, 5), (5, 4), (6, 6)):
            other = in_registry_of(first, cell(*layers))
            assert registry_at(other).label == registry_at(first).label
            assert other.gaps_angstrom[0] == pytest.approx(2.8)
            assert (other.film.layers, other.substrate.layers) == layers
    # planes of even number do not matter to contact 1, and turn up at contact 2
    odd = in_registry_of(with_shift(base, (0.5, 0.5), 2.8), cell(6, 5))
    assert len({registry.label for registry in registries(odd)}) == 2


def test_crystals_in_the_plane_of_an_interface():
    model = cell(5, 5)
    crystals = aligned_crystals(model)
    a, b = model.structure.lattice.abc[:2]
    for crystal in (crystals.strained_film, crystals.substrate):
        assert crystal.lattice.abc[:2] == pytest.approx((a, b))
        assert crystal.lattice.angles == pytest.approx((90, 90, 90))
    assert crystals.film.lattice.abc == pytest.approx((3.44, 3.44, 3.44), abs=0.02)
    assert crystals.film.composition == crystals.strained_film.composition
    slab = strained_film_slab(model, 12.0)
    assert slab.lattice.abc[:2] == pytest.approx((a, b))
    assert slab.composition.formula == "Li5"
    heights = slab.cart_coords[:, 2]
    assert slab.lattice.c - (heights.max() - heights.min()) == pytest.approx(12.0)
