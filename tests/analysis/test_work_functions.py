"""Work functions of slabs beside gamma, and Li+ on slabs: by hand, by shifts of every zero, and refused."""

import pytest
from factories import calculation_doc
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.binding import lithium_references
from anodeflow.analysis.descriptor import descriptor_matrix
from anodeflow.analysis.lithium_sites import SiteStart, host_result
from anodeflow.analysis.reference_values import reference_value
from anodeflow.analysis.vacuum_level import ion_binding_energy_ev
from anodeflow.analysis.work_functions import WorkFunctionRow, work_function_doc
from anodeflow.documents import SlabLevels

METAL = Structure(Lattice.cubic(3.44), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SLAB = Structure(Lattice.orthorhombic(4, 4, 20), ["Al", "Al"], [[0, 0, 0.4], [0.5, 0.5, 0.5]])
IONISATION = reference_value("li_ionisation_energy_pbe").value
zero = st.floats(-20, 20, allow_nan=False)
work = st.floats(0.5, 8, allow_nan=False)


def levels(work_function, fermi=-1.0, **changes):
    fields = {"level_ev": fermi, "level": "Fermi level", "top_ev": fermi + work_function, "bottom_ev": fermi + 5.0,
              "spread_ev": 0.01, "height_angstrom": 8.0}  # fmt: skip
    return SlabLevels(**fields | changes)


def slab(label, work_function, task="relax", **changes):
    known = None if work_function is None else levels(work_function)
    return calculation_doc(-8.0, SLAB, label=label, task=task, **{"levels": known} | changes)


def host(crystal, e_cell, slab_levels, e_atom=-0.3, *, bare=None, **changes):
    cell = SLAB.copy().append("Li", (0, 0, 0.6))
    lithium = calculation_doc(-3.8, METAL, label="Li/crystal")
    atom = calculation_doc(e_atom, Structure(Lattice.cubic(12), ["Li"], [[0.5] * 3]), label="Li/atom")
    return host_result(
        pristine=calculation_doc(-8.0, SLAB, label="host", levels=bare),
        with_li=[calculation_doc(e_cell, cell, label=f"{crystal} with Li", levels=slab_levels, **changes)],
        starts=[SiteStart(label="top-1", kind="top", frac_coords=(0, 0, 0.6), multiplicity=1,
                          nearest_distance_angstrom=2.0, coordination="1 Al")],
        references=lithium_references(lithium, ["bulk_metal", "neutral_atom"], {"neutral_atom": atom}),
        metal=lithium, crystal=crystal, environment="surface", description="made up", charge_mode="neutral",
        state="adsorbed",
    )  # fmt: skip


def test_w_is_that_of_the_thickest_relaxed_slab_and_says_how_far_it_is_converged():
    doc = work_function_doc([
        (slab("9", 4.05), 9, 12.0), (slab("5", 4.20), 5, 12.0), (slab("7", 4.08), 7, 12.0),
        (slab("9/cleaved", 4.10, "static"), 9, 12.0), (slab("9/cleaved, vacuum 25", 4.11, "static"), 9, 25.0),
    ])  # fmt: skip
    assert doc.work_function_ev == pytest.approx(4.05)
    assert [row.layers for row in doc.rows] == [5, 7, 9, 9, 9]
    assert [row.vacuum_angstrom for row in doc.rows][-2:] == [12.0, 25.0]
    assert doc.thickness_change_ev == pytest.approx(0.03)
    assert doc.vacuum_change_ev == pytest.approx(0.01)
    assert doc.text.count(": converged") == 2
    assert doc.rows[0].bottom_ev == pytest.approx(5.0)


def test_one_slab_says_what_is_not_known_and_a_change_is_not_converged():
    (row,) = work_function_doc([(slab("5", 4.2), 5, 12.0)]).rows
    assert isinstance(row, WorkFunctionRow)
    assert "only one was computed" in work_function_doc([(slab("5", 4.2), 5, 12.0)]).text
    far = work_function_doc([(slab("5", 4.2), 5, 12.0), (slab("7", 4.0), 7, 12.0)])
    assert "changes by 0.200 eV between the two thickest slabs: not converged" in far.text


def test_no_work_function_without_levels_or_a_flat_vacuum():
    assert work_function_doc([(slab("5", None), 5, 12.0)]) is None
    tilted = levels(4.0, top_ev=None, bottom_ev=None, error="the vacuum is not flat: add a dipole correction")
    doc = work_function_doc([(slab("5", 4.0, levels=tilted), 5, 12.0)])
    assert doc.work_function_ev is None
    assert "the vacuum is not flat" in doc.text


def test_an_ion_on_a_slab_by_hand():
    # E_int against the atom: -10.1 + 8 + 0.3 = -1.8 eV; W = 3.1 eV
    doc = host("Al", -10.1, levels(3.1))
    assert doc.binding_energy_ev["neutral_atom"] == pytest.approx(-1.8)
    assert doc.work_function_ev == pytest.approx(3.1)
    assert doc.ion_binding_energy_ev == pytest.approx(ion_binding_energy_ev(-1.8, 3.1, IONISATION))
    assert doc.ion_binding_energy_ev == pytest.approx(-1.8 + 3.1 - IONISATION)


@pytest.mark.parametrize(
    ("bare", "said"),
    [
        (
            levels(3.9),
            f"3.90 eV of the bare face, to which W tends with fewer Li, it would be {2.1 - IONISATION:.2f} eV",
        ),
        (levels(3.15), None),  # Li hardly moves it
        (levels(3.9, level="highest occupied level"), None),  # not where the electron of Li was
        (levels(3.9, top_ev=None, error="the vacuum is not flat"), None),
        (None, None),
    ],
)
def test_an_ion_on_a_metal_says_what_its_coverage_does(bare, said):
    doc = host("Al", -10.1, levels(3.1), bare=bare)
    of_coverage = [warning for warning in doc.warnings if "coverage" in warning]
    assert len(of_coverage) == (said is not None)
    assert said is None or said in of_coverage[0]
    assert doc.ion_binding_energy_ev == pytest.approx(-1.8 + 3.1 - IONISATION)


def test_a_charged_slab_or_one_without_levels_gives_no_ion():
    assert host("Al", -10.1, None).ion_binding_energy_ev is None
    tilted = levels(4.0, top_ev=None, error="the vacuum is not flat")
    doc = host("Al", -10.1, tilted)
    assert (doc.work_function_ev, doc.ion_binding_energy_ev) == (None, None)
    assert "no work function: the vacuum is not flat" in doc.sites[0].notes


@pytest.mark.parametrize("dielectric_constant", [None, 11.0])
def test_a_charged_insulator_is_flagged_as_not_aligned(dielectric_constant):
    salt = Structure(Lattice.cubic(5.7), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cell = salt.copy().append("Li", (0.25, 0.25, 0.25))
    ion = calculation_doc(7.0, Structure(Lattice.cubic(12), ["Li"], [[0.5] * 3]), label="Li/ion", charge=1)
    lithium = calculation_doc(-3.8, METAL, label="Li/crystal")
    doc = host_result(
        pristine=calculation_doc(-7.0, salt, label="host"),
        with_li=[calculation_doc(-5.0, cell, label="with Li", charge=1)],
        starts=[SiteStart(label="i1", kind="interstitial", frac_coords=(0.25, 0.25, 0.25), multiplicity=1,
                          nearest_distance_angstrom=2.5, coordination="1 Cl")],
        references=lithium_references(lithium, ["ion"], {"ion": ion}), metal=lithium, crystal="Y", environment="bulk",
        description="made up", charge_mode="Li+", state="interstitial", dielectric_constant=dielectric_constant,
    )  # fmt: skip
    assert any("without potential alignment (FNV)" in warning for warning in doc.warnings)
    assert (doc.image_charge_correction_ev > 0) == (dielectric_constant is not None)


@given(fermi=zero, moved=zero, w_x=work, w_y=work, e_x=zero, e_y=zero, atom=zero)
def test_d_e_of_ions_knows_no_zero(fermi, moved, w_x, w_y, e_x, e_y, atom):
    """Neither the zero of a potential nor the energy of the free atom is left in it: only both work functions."""
    docs = [host("X", e_x, levels(w_x, fermi), atom), host("Y", e_y, levels(w_y, fermi + moved), atom)]
    matrix = descriptor_matrix(docs, ["X"], ["Y"], "bulk_metal", "surface")
    assert matrix.d_e_ev[0][0] == pytest.approx(e_y - e_x, abs=1e-8)
    assert matrix.d_e_ion_ev[0][0] == pytest.approx(e_y - e_x + w_y - w_x, abs=1e-8)
    assert matrix.d_e_ion_ev[0][0] == pytest.approx(
        docs[1].ion_binding_energy_ev - docs[0].ion_binding_energy_ev, abs=1e-8
    )


def test_a_pair_without_both_work_functions_has_no_d_e_of_ions():
    docs = [host("X", -10.0, levels(4.0)), host("Y", -10.5, None)]
    assert descriptor_matrix(docs, ["X"], ["Y"], "bulk_metal", "surface").d_e_ion_ev is None
