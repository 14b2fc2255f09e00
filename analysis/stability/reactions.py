"""Reactions between phases as documents: what reacts, to what, how much lithium is exchanged."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from anodeflow.analysis.stability.hull import NEGLIGIBLE, lithium_of
from anodeflow.analysis.stability.phases import Phase
from anodeflow.documents import Document


class Reaction(Document):
    """A balanced reaction; amounts are formula units by the name of the phase."""

    reactants: dict[str, float]
    products: dict[str, float]
    lithium_taken_up: float = Field(0.0, description="atoms of Li from the reservoir; negative: given off")
    text: str


def reaction(
    reactants: Mapping[str, float], products: Mapping[str, float], phases: Mapping[str, Phase], exchanged: bool = False
) -> Reaction:
    """Return a reaction.

    Parameters
    ----------
    reactants, products
        Formula units by name.
    phases
        By name.
    exchanged
        Lithium comes from, or goes to, a reservoir.

    Returns
    -------
    Reaction
        Without negligible amounts.
    """
    left = {name: n for name, n in reactants.items() if n > NEGLIGIBLE}
    right = {name: n for name, n in products.items() if n > NEGLIGIBLE}
    lithium = lithium_of(right, phases) - lithium_of(left, phases) if exchanged else 0.0
    lithium = lithium if abs(lithium) > NEGLIGIBLE else 0.0
    sides = [_side(left, phases), _side(right, phases)]
    if lithium:
        end = 0 if lithium > 0 else 1
        sides[end] = " + ".join(filter(None, (sides[end], f"{_amount(abs(lithium))}Li")))
    return Reaction(reactants=left, products=right, lithium_taken_up=lithium, text=" -> ".join(sides))


def products_text(products: Mapping[str, float], phases: Mapping[str, Phase]) -> str:
    """Return the formulas of products, without amounts: ``Li2S + LiCl + P``."""
    return " + ".join(sorted({phases[name].formula for name in products}))


def _side(amounts: Mapping[str, float], phases: Mapping[str, Phase]) -> str:
    return " + ".join(f"{_amount(n)}{phases[name].formula}" for name, n in sorted(amounts.items()))


def _amount(number: float) -> str:
    text = f"{number:.4g}"
    return "" if text == "1" else f"{text} "
