"""The window of an electrolyte against lithium, and what it decomposes to at every voltage.

At a composition with n Li per formula unit, the lowest energy E(n) of any mixture of phases with the same other atoms
is convex and piecewise linear; between two kinks V = -(dE/dn - mu(Li metal)). Where the electrolyte's own n is a kink,
the window lies between the slopes on its two sides: no lithium is taken up or given off in it. For an electrolyte above
the hull that is the window of the phases that it would decompose to without lithium, as in Zhu, He and Mo, ACS Appl.
Mater. Interfaces 7, 23685 (2015), doi:10.1021/acsami.5b07517.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field
from pymatgen.core import Composition, Element

from anodeflow.analysis.stability.hull import Hull
from anodeflow.analysis.stability.phases import Energies
from anodeflow.analysis.stability.reactions import Reaction, products_text, reaction
from anodeflow.documents import Document
from anodeflow.errors import InputError

#: Voltages closer than this are one, V.
_SAME_VOLTAGE_V = 1e-8
#: Lithium per atom of the rest; closer kinks are one.
_SAME_AMOUNT = 1e-7
_LITHIUM = Element("Li")


class DecompositionField(Document):
    """The phases in equilibrium in one range of voltages."""

    voltage_low_v: float
    voltage_high_v: float | None = Field(description="None: no upper end")
    reaction: Reaction
    products: str
    energy_low_ev_per_atom: float = Field(description="of the reaction at the low end, per atom of the electrolyte")
    energy_high_ev_per_atom: float | None = Field(description="at the high end; None where there is none")


class WindowDoc(Document):
    """The window of one phase against lithium, with one kind of energies."""

    electrolyte: str
    formula: str
    energies: Energies
    above_hull_ev_per_atom: float | None = None
    decomposes_to: Reaction | None = Field(None, description="without exchange of lithium; None on the hull")
    reduction_limit_v: float | None = None
    oxidation_limit_v: float | None = Field(None, description="None: no upper end, or no window")
    reduced_to: str | None = None
    oxidised_to: str | None = None
    own_reduction_limit_v: float | None = Field(
        None, description="highest voltage at which taking up lithium lowers the energy of the phase as it is"
    )
    own_oxidation_limit_v: float | None = Field(
        None, description="lowest voltage at which giving off lithium lowers the energy of the phase as it is"
    )
    fields: list[DecompositionField] = Field(default_factory=list, description="from the lowest voltage to the highest")
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class _Kink:
    """A composition at which the voltage of equilibrium jumps.

    Parameters
    ----------
    lithium
        Per formula unit of the rest.
    energy_ev
        Of the hull there, lithium included, eV per formula unit.
    low_v, high_v
        The range of voltages in which this is the lowest grand potential; ``high_v`` may be infinite.
    """

    lithium: float
    energy_ev: float
    low_v: float
    high_v: float


def kinks_against_lithium(hull: Hull, composition: Composition) -> list[_Kink]:
    """Return the kinks of the hull between the rest of a composition and lithium, from no lithium on.

    Parameters
    ----------
    hull
        A closed one.
    composition
        Of one formula unit; its own lithium does not matter.

    Returns
    -------
    list of _Kink
        From the highest voltage to 0 V.

    Raises
    ------
    InputError
        If it is lithium, or the hull does not cover it.
    """
    hull.check(composition)
    rest = Composition({e: n for e, n in composition.items() if e != _LITHIUM})
    if not rest:
        raise InputError("lithium has no window against lithium", "give a compound")
    points: list[tuple[float, float]] = []
    for mixture in hull.critical_compositions(rest, Composition("Li"))[:-1]:
        others = float(mixture.num_atoms - mixture[_LITHIUM])
        if others < 1e-9:
            continue
        lithium = float(mixture[_LITHIUM]) / others * float(rest.num_atoms)
        if points and lithium - points[-1][0] < _SAME_AMOUNT * float(rest.num_atoms):
            continue
        points.append((lithium, hull.energy(rest + Composition({_LITHIUM: lithium}))))
    # mu(Li) between neighbours, then in contact with the metal
    slopes = [(e2 - e1) / (n2 - n1) for (n1, e1), (n2, e2) in pairwise(points)]
    volts = [*(hull.lithium_metal_ev - slope for slope in slopes), 0.0]
    kinks: list[_Kink] = []
    high = math.inf
    for (lithium, energy), low in zip(points, volts, strict=True):
        if high - low > _SAME_VOLTAGE_V:
            kinks.append(_Kink(lithium=lithium, energy_ev=energy, low_v=low, high_v=high))
            high = low
    return kinks


def window_doc(hull: Hull, name: str) -> WindowDoc:
    """Return the window of a phase, and its decomposition at every voltage from 0 V on.

    Parameters
    ----------
    hull
        A closed one, with the phase among its phases.
    name
        Of the phase.

    Returns
    -------
    WindowDoc
        ``error`` where it has none.

    Raises
    ------
    InputError
        If the phase is not in the set.
    """
    phase = hull.phase(name)
    composition, own = phase.composition, float(phase.composition[_LITHIUM])
    doc = WindowDoc(
        electrolyte=name,
        formula=phase.formula,
        energies=hull.energies,
        above_hull_ev_per_atom=hull.distance_ev_per_atom(name),
    )
    closed = hull.decomposition(composition)
    if set(closed) != {name} and (doc.above_hull_ev_per_atom or 0.0) > _SAME_VOLTAGE_V:
        doc.decomposes_to = reaction({name: 1.0}, closed, hull.phases)
    kinks = kinks_against_lithium(hull, composition)
    _own_limits(doc, kinks, phase.energy(hull.energies), own, hull.lithium_metal_ev)
    rest = composition - Composition({_LITHIUM: own})
    for kink in reversed(kinks):
        doc.fields.append(_field(hull, name, kink, rest, own))
    at = next((i for i, k in enumerate(kinks) if abs(k.lithium - own) < _SAME_AMOUNT * float(rest.num_atoms)), None)
    if at is None:
        doc.error = "no window: its composition takes up or gives off lithium at every voltage"
        return doc
    doc.reduction_limit_v = kinks[at].low_v
    doc.oxidation_limit_v = None if math.isinf(kinks[at].high_v) else kinks[at].high_v
    # doc.fields runs from the other end
    here = len(kinks) - 1 - at
    doc.reduced_to = doc.fields[here - 1].products if here > 0 else None
    doc.oxidised_to = doc.fields[here + 1].products if here + 1 < len(doc.fields) else None
    return doc


def decomposition_energy_ev_per_atom(hull: Hull, name: str, potential_v: float) -> float:
    """Return the energy of the lowest decomposition at a fixed potential, eV per atom of the phase; at most 0.

    Parameters
    ----------
    hull
        A closed one.
    name
        Of the phase.
    potential_v
        Against Li metal.

    Returns
    -------
    float
        Phi(products) - Phi(phase), divided by the atoms of the phase, lithium included.
    """
    phase = hull.phase(name)
    mu = hull.lithium_metal_ev - potential_v
    own = phase.energy(hull.energies) - mu * float(phase.composition[_LITHIUM])
    lowest = min(kink.energy_ev - mu * kink.lithium for kink in kinks_against_lithium(hull, phase.composition))
    return min(0.0, lowest - own) / phase.atoms


def _own_limits(doc: WindowDoc, kinks: list[_Kink], energy_ev: float, own: float, metal_ev: float) -> None:
    """Write the limits of the phase itself: of one above the hull they lie inside the window, or past each other."""
    volts = [(k.lithium - own, metal_ev - (k.energy_ev - energy_ev) / (k.lithium - own)) for k in kinks
             if abs(k.lithium - own) > _SAME_AMOUNT]  # fmt: skip
    doc.own_reduction_limit_v = max((v for change, v in volts if change > 0), default=None)
    doc.own_oxidation_limit_v = min((v for change, v in volts if change < 0), default=None)


def _field(hull: Hull, name: str, kink: _Kink, rest: Composition, own: float) -> DecompositionField:
    """Return the field of one kink."""
    phase = hull.phases[name]
    products = hull.decomposition(rest + Composition({_LITHIUM: kink.lithium}))

    def energy(volts: float) -> float:
        change = kink.energy_ev - phase.energy(hull.energies)
        return (change - (kink.lithium - own) * (hull.lithium_metal_ev - volts)) / phase.atoms

    bounded = not math.isinf(kink.high_v)
    return DecompositionField(
        voltage_low_v=kink.low_v,
        voltage_high_v=kink.high_v if bounded else None,
        reaction=reaction({name: 1.0}, products, hull.phases, exchanged=True),
        products=products_text(products, hull.phases),
        energy_low_ev_per_atom=energy(kink.low_v),
        energy_high_ev_per_atom=energy(kink.high_v) if bounded else None,
    )
