"""Guessed formal charges are pymatgen's."""

import pytest
from monty.serialization import loadfn
from pymatgen.core import Composition, Species
from pymatgen.core.composition import MODULE_DIR

from anodeflow.structures.charges import guessed_charges


@pytest.mark.parametrize("formula", ["Li2S", "LiCl", "Li3P", "Li6PS5Cl", "P4S10", "Li2SO4"])
def test_guesses_are_those_of_pymatgen(formula):
    ours = guessed_charges(Composition(formula))
    assert ours == Composition(formula).oxi_state_guesses()
    assert sum(ours[0][symbol] * n for symbol, n in Composition(formula).get_el_amt_dict().items()) == 0


def test_the_table_of_occurrences_is_pymatgens():
    guessed_charges(Composition("LiF"))
    table = loadfn(f"{MODULE_DIR}/icsd_bv.yaml")["occurrence"]
    assert list(Composition.oxi_prob.items()) == [(Species.from_str(ion), count) for ion, count in table.items()]
