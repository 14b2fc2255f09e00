"""Disordered electrolytes as ensembles: the spread of their configurations, and the entropy that is not in an energy.

Argyrodites are disordered twice: each of the six pairs of lithium sites of a formula unit holds at most one Li, and S
and the halide share two free-anion sites. The entropy of placing them without any preference is an upper bound:

    S/k = ln(2^n) + 6 H(n/6) + 2 H(c/2),     H(p) = -p ln p - (1 - p) ln(1 - p)

per formula unit with n Li and c halides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field
from pymatgen.core import Composition

from anodeflow.analysis.stability.phases import Energies
from anodeflow.documents import Document
from anodeflow.errors import InputError
from anodeflow.units import BOLTZMANN_EV_PER_K

_PAIRS, _FREE_ANIONS = 6, 2
_HALIDES = ("Cl", "Br", "I")


class EnsembleDoc(Document):
    """How far the configurations of one electrolyte lie above the hull."""

    electrolyte: str
    energies: Energies
    configurations: list[str] = Field(description="lowest first")
    above_hull_ev_per_atom: list[float] = Field(description="of each configuration")
    lowest_ev_per_atom: float
    mean_ev_per_atom: float
    spread_ev_per_atom: float = Field(description="highest minus lowest")
    temperature_k: float | None = Field(None, description="of the entropy below; None: none asked for")
    entropy_ev_per_atom: float | None = Field(
        None, description="T S of ideal disorder of Li and of S with the halide: an upper bound, to be subtracted"
    )


def ensemble_doc(
    electrolyte: str,
    energies: Energies,
    above_hull: Sequence[tuple[str, float]],
    formula: str,
    temperature_k: float | None,
) -> EnsembleDoc:
    """Return what the configurations of one electrolyte say together.

    Parameters
    ----------
    electrolyte
        What the study file calls it.
    energies
        Which kind.
    above_hull
        Name of each configuration, and its energy above the hull, eV/atom.
    formula
        Of the electrolyte.
    temperature_k
        Of the entropy; None for none.

    Returns
    -------
    EnsembleDoc
        With the configurations sorted.
    """
    ranked = sorted(above_hull, key=lambda pair: pair[1])
    values = [value for _, value in ranked]
    entropy = None
    if temperature_k is not None:
        composition = Composition(formula)
        per_atom = argyrodite_entropy(composition) / float(composition.num_atoms)
        entropy = temperature_k * BOLTZMANN_EV_PER_K * per_atom
    return EnsembleDoc(
        electrolyte=electrolyte,
        energies=energies,
        configurations=[name for name, _ in ranked],
        above_hull_ev_per_atom=values,
        lowest_ev_per_atom=values[0],
        mean_ev_per_atom=math.fsum(values) / len(values),
        spread_ev_per_atom=values[-1] - values[0],
        temperature_k=temperature_k,
        entropy_ev_per_atom=entropy,
    )


def argyrodite_entropy(composition: Composition) -> float:
    """Return the entropy of ideal disorder of an argyrodite, in units of k for the composition as given.

    Raises
    ------
    InputError
        If the composition is not that of an argyrodite.

    Examples
    --------
    >>> round(argyrodite_entropy(Composition("Li6PS5Cl")) / math.log(2), 6)
    8.0
    """
    units = float(composition["P"])
    halides = sum(float(composition[halide]) for halide in _HALIDES) / (units or 1.0)
    lithium = float(composition["Li"]) / (units or 1.0)
    if not units or not 0 < lithium <= _PAIRS or not 0 < halides <= _FREE_ANIONS:
        raise InputError(
            f"{composition.reduced_formula} is not an argyrodite Li(7-x)PS(6-x)X(x)", "leave temperature_k out"
        )
    pairs = lithium * math.log(2) + _PAIRS * _mixing(lithium / _PAIRS)
    return units * (pairs + _FREE_ANIONS * _mixing(halides / _FREE_ANIONS))


def _mixing(share: float) -> float:
    return -math.fsum(p * math.log(p) for p in (share, 1 - share) if p > 0)
