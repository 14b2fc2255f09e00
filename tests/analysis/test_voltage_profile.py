"""Voltage profiles: plateaus, capacities and volumes of made-up crystals, by hand."""

import pytest
from factories import calculation_doc
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.analysis.voltage_profile import (
    capacity_mah_per_g,
    voltage_phases,
    voltage_profile,
    voltage_study_fields,
)
from anodeflow.errors import InputError, ReferenceMismatchError
from anodeflow.structures.catalogue import load_crystal

EXACT = 1e-9
FARADAY_MAH = 96485.33212 / 3.6
# Formation energy, eV per Al, and volume, cubic angstrom per Al.
COMPOUNDS = {"LiAl": (-0.36, 32.0), "Li3Al2": (-0.45, 40.0), "Li9Al4": (-0.48, 54.0)}


def crystal(formula, energy_ev, volume):
    """One formula unit in a cube, far enough from each other to be a structure."""
    composition = Composition(formula)
    species = [s for s, n in composition.get_el_amt_dict().items() for _ in range(int(n))]
    coords = [[(i + 0.5) / len(species), 0.25, 0.5] for i in range(len(species))]
    structure = Structure(Lattice.cubic(volume ** (1 / 3)), species, coords)
    return calculation_doc(energy_ev, structure, label=f"{formula}/crystal", task="relax_cell")


def calculations(**changes):
    made = {"Al": crystal("Al", -3.7, 16.0), "Li": crystal("Li", -1.9, 20.0)}
    for formula, (formation, volume) in (COMPOUNDS | changes).items():
        amounts = Composition(formula).get_el_amt_dict()
        energy = amounts["Al"] * (formation - 3.7) - 1.9 * amounts["Li"]
        made[formula] = crystal(formula, energy, volume * amounts["Al"])
    return made


def near(value):
    return pytest.approx(value, abs=EXACT)


def test_plateaus_by_hand():
    plateaus, lithiated = voltage_profile("Al", voltage_phases(calculations()))
    assert [(p.poor, p.rich) for p in plateaus] == [("Al", "LiAl"), ("LiAl", "Li3Al2"), ("Li3Al2", "Li9Al4")]
    # (0.45 - 0.36)/0.5 and (0.48 - 0.45)/0.75
    assert [p.voltage_v for p in plateaus] == [near(0.36), near(0.18), near(0.04)]
    assert [p.lithium_to for p in plateaus] == [near(1.0), near(1.5), near(2.25)]
    assert [d.phases for d in lithiated] == ["Al", "LiAl", "Li3Al2", "Li9Al4"]
    # the area under the plateaus is the formation energy
    assert lithiated[0].average_voltage_v is None
    assert lithiated[-1].average_voltage_v == near(0.48 / 2.25)
    assert lithiated[0].voltage_high_v is None
    assert lithiated[-1].voltage_low_v == 0.0


def test_capacities_and_volumes_by_hand():
    _, (al, lial, *_) = voltage_profile("Al", voltage_phases(calculations()))
    assert lial.capacity_mah_per_g == near(FARADAY_MAH / 26.9815386)
    assert lial.capacity_mah_per_g == pytest.approx(993.3, abs=0.1)
    assert lial.capacity_mah_per_g_lithiated == near(FARADAY_MAH / (26.9815386 + 6.941))
    assert lial.volume_change_percent == pytest.approx(100.0, abs=1e-6)
    # mAh/cm3 = mAh/g times density, of the host and of both
    density = 26.9815386 / 0.602214076 / 16.0
    assert lial.capacity_mah_per_cm3_host == pytest.approx(lial.capacity_mah_per_g * density, rel=1e-9)
    assert lial.capacity_mah_per_cm3_lithiated == pytest.approx(lial.capacity_mah_per_cm3_host / 2, rel=1e-9)
    assert (al.capacity_mah_per_g, al.volume_change_percent) == (0.0, near(0.0))


def test_a_phase_above_the_hull_makes_no_plateau():
    docs = voltage_phases(calculations(Li3Al2=(-0.37, 40.0)))
    plateaus, _ = voltage_profile("Al", docs)
    assert [p.rich for p in plateaus] == ["LiAl", "Li9Al4"]
    assert plateaus[1].voltage_v == near((0.48 - 0.36) / 1.25)
    above = {doc.crystal: doc.above_hull_ev_per_atom for doc in docs}
    # 0.36 + 0.5 * 0.096 - 0.37 eV per Al, 2.5 atoms
    assert above["Li3Al2"] == near((0.36 + 0.5 * 0.096 - 0.37) / 2.5)
    assert above["LiAl"] == near(0.0)


def test_a_host_may_be_a_compound_that_falls_apart():
    # Al as what LiAl is made of: from LiAl on, counted per formula unit of LiAl
    plateaus, lithiated = voltage_profile("LiAl", voltage_phases(calculations()))
    assert [p.rich for p in plateaus] == ["Li3Al2", "Li9Al4"]
    assert lithiated[1].capacity_mah_per_g == near(capacity_mah_per_g(Composition("LiAl"), 0.5))


def test_a_host_that_takes_up_no_lithium_is_refused():
    docs = voltage_phases({"Al": crystal("Al", -3.7, 16.0), "Li": crystal("Li", -1.9, 20.0)})
    with pytest.raises(InputError, match="Al takes up no lithium"):
        voltage_profile("Al", docs)


def test_two_engines_are_refused_and_an_unconverged_phase_is_named():
    made = calculations()
    made["LiAl"] = calculation_doc(-6.0, load_crystal("LiAl"), label="LiAl/crystal", engine="e2")
    with pytest.raises(ReferenceMismatchError, match="e2"):
        voltage_phases(made)
    made["LiAl"] = calculation_doc(None, load_crystal("LiAl"), label="LiAl/crystal", converged=False)
    fields = voltage_study_fields("Al", made)
    assert [p.rich for p in fields["plateaus"]] == ["Li3Al2", "Li9Al4"]
    assert any("LiAl: 'LiAl/crystal' did not converge" in w for w in fields["warnings"])
    assert voltage_study_fields("Al", {"Al": None, "Li": None})["plateaus"] == []
