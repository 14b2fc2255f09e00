"""DFT-D3: what a card's ``dispersion`` means, the same in every engine.

Two-body terms only, with the parameters that were published for them: the three-body term was not fitted with them,
VASP has none, and pw.x's is switched off. Pairs are summed to the distances of Grimme's program, as in pw.x and VASP.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from anodeflow.documents import DISPERSIONS, Dispersion
from anodeflow.errors import EngineError
from anodeflow.workflows.cards import MethodCard

#: Where pairs and neighbours (for coordination numbers) end, bohr.
PAIRS_BOHR, NEIGHBOURS_BOHR = 9000.0**0.5, 1600.0**0.5
PACKAGE = "dftd3"
_REMEDY = "pip install 'anodeflow[dispersion]'"


@dataclass(frozen=True)
class D3:
    """The correction of one functional with one damping.

    Attributes
    ----------
    name
        As it is written behind the functional, such as PBE-D3(BJ).
    parameters
        Of the damping function, by the names that they have in the package ``dftd3``; radii in bohr.
    source
        Where they are published.
    """

    name: str
    parameters: Mapping[str, float]
    source: str


_TWO_BODY = {"s6": 1.0, "s9": 0.0}
_D3_OF: dict[tuple[str, Dispersion], tuple[dict[str, float], str]] = {
    ("PBE", "d3-bj"): ({"s8": 0.7875, "a1": 0.4289, "a2": 4.4407}, "doi:10.1002/jcc.21759"),
    ("PBE", "d3-zero"): ({"s8": 0.722, "rs6": 1.217, "rs8": 1.0}, "doi:10.1063/1.3382344"),
}


def d3_of(card: MethodCard) -> D3 | None:
    """Return the correction that a card asks for; None where it asks for none.

    Raises
    ------
    EngineError
        If there are no parameters for its functional.
    """
    if card.dispersion is None:
        return None
    known = _D3_OF.get((card.functional, card.dispersion))
    if known is None:
        have = sorted({functional for functional, damping in _D3_OF if damping == card.dispersion})
        raise EngineError(
            f"card '{card.name}': no parameters of {card.dispersion} for functional {card.functional}",
            f"functionals with parameters: {', '.join(have)}; or leave 'dispersion' out",
        )
    parameters, source = known
    name = f"{card.functional}-{DISPERSIONS[card.dispersion]}"
    return D3(name, MappingProxyType(_TWO_BODY | parameters), source)


def missing_package(card: MethodCard) -> list[str]:
    """Return that the package for a card's correction is not there; nothing where it is, or none is asked for."""
    if card.dispersion is None or importlib.util.find_spec(PACKAGE) is not None:
        return []
    return [
        f"program: the Python package {PACKAGE}, for 'dispersion' of card '{card.name}', is not installed ({_REMEDY})"
    ]


def need_package(card: MethodCard) -> None:
    """Refuse a card whose correction cannot be computed here.

    Raises
    ------
    EngineError
        If the package is not installed.
    """
    if missing_package(card):
        raise EngineError(f"'dispersion' of card '{card.name}' needs the Python package {PACKAGE}", _REMEDY)


def parts(card: MethodCard, energy_ev: float | None, dispersion_ev: float | None, program: str | None = None) -> Any:
    """Return the fields of :class:`~anodeflow.documents.DispersionPart`; None without a correction or without numbers.

    Parameters
    ----------
    card
        Which correction.
    energy_ev
        The energy with it, eV.
    dispersion_ev
        The correction, eV.
    program
        What computed it; the package ``dftd3`` if None.
    """
    correction = d3_of(card)
    if correction is None or energy_ev is None or dispersion_ev is None:
        return None
    return {
        "method": correction.name,
        "energy_ev": dispersion_ev,
        "electronic_ev": energy_ev - dispersion_ev,
        "program": program or f"{PACKAGE} {version(PACKAGE)}",
        "source": correction.source,
    }
