"""Formal charges guessed from a formula, as pymatgen guesses them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pymatgen.core import Composition, Species
from pymatgen.core.composition import MODULE_DIR

from anodeflow.files import read_package_yaml


@cache
def guessed_charges(formula: Composition) -> tuple[dict[str, float], ...]:
    """Return the neutral assignments of oxidation states to a formula, the likeliest first.

    Parameters
    ----------
    formula
        With whole numbers of atoms.
    """
    _read_prior_probabilities()
    return formula.oxi_state_guesses()


def _read_prior_probabilities() -> None:
    """Fill pymatgen's table of how often an ion occurs; its own reader takes a quarter of a second for it."""
    table = Path(MODULE_DIR) / "icsd_bv.yaml"
    if Composition.oxi_prob is None and table.is_file():
        occurrence = read_package_yaml(table.read_text("utf-8"))["occurrence"]
        Composition.oxi_prob = {Species.from_str(ion): count for ion, count in occurrence.items()}
