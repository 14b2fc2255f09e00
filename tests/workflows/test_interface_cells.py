"""Cells of the interface study: one registry in all thicknesses, whatever the crystals' origins; what is refused."""

import pytest
from morse import Morse, scrambled
from pydantic import ValidationError

from anodeflow.errors import StructureError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.registry import registries
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.jobs.registry_search import search_card, unscored
from anodeflow.workflows.studies.interface.cells import Film, Pair, Substrate, series

WANTED = "Li over Cl"


def pair(films=(3, 5, 7, 9), shift=(0.0, 0.0)):
    return Pair(
        film=Film(crystal="Li", miller=(1, 0, 0), layers=list(films)),
        substrate=Substrate(crystal="LiCl", miller=(1, 0, 0), layers=[3, 5]),
        max_strain_percent=7, max_area_angstrom2=30, gap_angstrom=2.5, shift=shift, max_atoms=100,
    )  # fmt: skip


def energies(crystals):
    """Energy by the Morse model of every cell of the series in one registry, by planes of film and substrate."""
    base = pair().model(crystals, pair().base_layers, (0.0, 0.0), 4.0)
    (entry,) = unscored(base, 2.5, WANTED)
    cells = series(crystals, pair(), entry.shift, 2.6)
    for _, model in cells:
        assert {registry.label for registry in registries(model)} == {WANTED}
    return {
        layers: Morse().compute(Request(model.structure, "static", search_card())).energy_ev for layers, model in cells
    }


def test_every_thickness_has_the_registry_and_its_energy_whatever_origin_order_and_sign_of_zero():
    plain = energies([load_crystal("Li"), load_crystal("LiCl")])
    assert set(plain) == {(3, 3), (5, 3), (7, 3), (9, 3), (3, 5)}
    moved = energies([scrambled("Li", 7), scrambled("LiCl", 8)])
    assert moved == {layers: pytest.approx(energy, abs=1e-3) for layers, energy in plain.items()}


def test_films_whose_contacts_differ_are_refused_with_those_that_do_not():
    crystals = [load_crystal("Li"), load_crystal("LiCl")]
    with pytest.raises(StructureError, match=r"the contacts differ with \d film layers") as caught:
        series(crystals, pair((3, 4, 5, 6)), (0.2, 0.1), 2.6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("films", [(5, 7), (5, 7, 9)])
def test_too_few_thicknesses_are_refused(films):
    with pytest.raises(ValidationError, match="cannot tell strain from interface"):
        pair(films)
