"""What a card means for one cell: vacuum, mesh, spin, smearing, dipole, charge."""

import pytest
from factories import box
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.cards import KPoints, Smearing, load_card
from anodeflow.workflows.engines.plane_waves.electronic import (
    electronic,
    electrons,
    moments_of_atoms,
    odd_electrons,
    vacuum_axes,
)


@pytest.fixture(scope="module")
def lithium():
    return load_crystal("Li")


@pytest.fixture(scope="module")
def slab(lithium):
    made = build_slab(lithium, (1, 0, 0), layers=5, vacuum_angstrom=12).structure
    return Structure.from_sites(made)


def test_vacuum_is_found_by_geometry(lithium, slab):
    assert vacuum_axes(lithium) == (False, False, False)
    assert vacuum_axes(slab) == (False, False, True)
    assert vacuum_axes(box()) == (True, True, True)
    # an oblique cell: the gap is measured along the normal, not along the lattice vector
    oblique = Structure(Lattice.from_parameters(4, 4, 14, 40, 90, 90), ["Li"], [[0, 0, 0]])
    assert oblique.lattice.c == pytest.approx(14)
    assert vacuum_axes(oblique)[2] is (oblique.volume / 16 >= 6.0 - 1e-9) or vacuum_axes(oblique)[2]


def test_a_slab_wrapped_over_the_boundary_has_the_same_vacuum(slab):
    moved = slab.copy()
    moved.translate_sites(list(range(len(moved))), [0, 0, 0.5], to_unit_cell=True)
    assert vacuum_axes(moved) == (False, False, True)


def test_mesh_from_a_spacing_has_one_point_along_the_vacuum(lithium, slab):
    card = load_card("pbe-slab")
    # 1/(3.44 * 0.04) = 7.27 -> 8
    assert electronic(lithium, "relax", card).mesh == (8, 8, 8)
    assert electronic(slab, "relax", card).mesh == (8, 8, 1)
    assert electronic(box(), "static", card).mesh == (1, 1, 1)


def test_points_along_the_vacuum_are_refused(slab):
    with pytest.raises(InputError, match="12 k-points along c, which is vacuum"):
        electronic(slab, "relax", load_card("lacss2024-bulk"))


def test_a_coarse_mesh_is_named_and_a_senseless_one_refused(lithium):
    card = load_card("lacss2024-surface")
    # 3x1x1 on the cubic cell of Li: 1/3.44 = 0.29 per angstrom along b and c
    notes = electronic(lithium, "relax", card).notes
    assert any("coarse" in note and "0.291" in note and "unconverged in this metal" in note for note in notes)
    assert not any("0.097" in note and "unconverged" in note for note in notes)  # 1/(3 * 3.44): under 0.10
    one = card.model_copy(update={"kpoints": KPoints(mesh=(1, 1, 1))})
    small = Structure(Lattice.cubic(2.0), ["Li"], [[0, 0, 0]])
    assert any("0.500" in note and "the mesh is the paper's" in note for note in electronic(small, "static", one).notes)
    with pytest.raises(InputError, match=r"0\.50 per angstrom"):
        electronic(small, "static", one.model_copy(update={"code": None}))


def test_a_coarse_spacing_is_named_like_a_coarse_mesh(lithium):
    coarse = load_card("pbe-slab").model_copy(update={"kpoints": KPoints(spacing_per_angstrom=0.16)})
    notes = electronic(lithium, "relax", coarse).notes  # 1/(3.44 * 2) = 0.145
    assert len(notes) == 3
    assert all("0.145" in note and "unconverged in this metal" in note for note in notes)
    assert not electronic(lithium, "relax", load_card("pbe-bulk")).notes


def test_even_monkhorst_pack_meshes_are_shifted_and_gamma_ones_are_not(lithium):
    card = load_card("cui2026-migration")
    odd = electronic(lithium, "static", card.model_copy(update={"kpoints": KPoints(mesh=(3, 3, 3))}))
    assert odd.shifted == (False, False, False)
    even = KPoints(mesh=(4, 4, 3), centre="monkhorst-pack")
    assert electronic(lithium, "static", card.model_copy(update={"kpoints": even})).shifted == (True, True, False)
    assert electronic(lithium, "static", load_card("pbe-bulk")).shifted == (False, False, False)


def test_spin_follows_the_number_of_electrons(lithium):
    card = load_card("cui2026-binding")
    assert not electronic(lithium, "relax", card).spin_polarised  # 2 Li: even
    ionised = electronic(lithium, "relax", card, charge=1)
    assert ionised.spin_polarised
    assert ionised.initial_moment == 1.0
    assert odd_electrons(box(), 0)
    assert not odd_electrons(box(), 1)


def test_atoms_follow_hund():
    card = load_card("cui2026-binding")
    assert electronic(box(element="P"), "static", card).initial_moment == 3.0
    assert electronic(box(element="S"), "static", card.varied("atom", spin="collinear")).initial_moment == 2.0
    assert electronic(box(element="S"), "static", card.varied("atom", spin="collinear"), charge=1).initial_moment == 3.0
    moments = moments_of_atoms(box(element="P"), electronic(box(element="P"), "static", card))
    assert sum(moments) == pytest.approx(3.0)


def test_odd_electrons_need_spin_or_smearing():
    card = load_card("cui2026-binding").model_copy(update={"spin": "none"})
    assert not electronic(box(), "static", card).spin_polarised  # smearing spreads the electron
    with pytest.raises(InputError, match="odd number of electrons"):
        electronic(box(), "static", card.model_copy(update={"smearing": Smearing(kind="none")}))


def test_smearing_left_open_suits_metal_and_insulator(lithium):
    card = load_card("pbe-bulk").model_copy(update={"smearing": None})
    assert electronic(lithium, "relax", card).smearing.kind == "methfessel-paxton"
    assert electronic(load_crystal("LiCl"), "relax", card).smearing.kind == "gaussian"


def test_dipole_correction_is_for_neutral_slabs_only(lithium, slab):
    card = load_card("pbe-slab")
    assert electronic(slab, "relax", card).dipole_axis == 2
    assert electronic(lithium, "relax", card).dipole_axis is None
    charged = electronic(slab, "relax", card, charge=1)
    assert charged.dipole_axis is None
    assert any("does not converge with the vacuum" in note for note in charged.notes)
    assert any("no dipole correction" in note for note in charged.notes)
    assert electronic(box(), "static", card.varied("atom", spin="none"), charge=1).notes == []


def test_a_card_without_plane_waves_is_refused(lithium):
    with pytest.raises(InputError, match="no cutoff_ev"):
        electronic(lithium, "static", load_card("embedded"))


def test_electrons_are_counted_by_hand():
    licl = load_crystal("LiCl")
    assert electrons(licl, {"Li": 1, "Cl": 7}, 0) == 32
    assert electrons(licl, {"Li": 3, "Cl": 7}, 1) == 39
    with pytest.raises(InputError, match="Cl"):
        electrons(licl, {"Li": 3}, 0)
