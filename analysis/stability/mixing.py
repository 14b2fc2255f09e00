"""The energy of mixing two phases over their ratio: what an interface could gain by reacting, at most.

    dE(x) = E_hull(x A + (1 - x) B) - x E(A) - (1 - x) E(B)

per atom, x the share of A's atoms (W. D. Richards et al., Chem. Mater. 28, 266 (2016),
doi:10.1021/acs.chemmater.5b04082). Open to lithium, E is the grand potential and atoms are counted without lithium.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from pymatgen.core import Composition

from anodeflow.analysis.stability.hull import Hull, share_of
from anodeflow.analysis.stability.phases import Energies, Phase
from anodeflow.analysis.stability.reactions import Reaction, products_text, reaction
from anodeflow.documents import Document

#: A point closer to the line between its neighbours is not a kink, eV/atom.
_STRAIGHT_EV = 1e-10


class MixingPoint(Document):
    """One kink of a mixing curve."""

    share_of_first: float = Field(description="of the atoms of the mixture; without lithium where it is exchanged")
    energy_ev_per_atom: float
    reaction: Reaction


class MixingDoc(Document):
    """The mixing curve of two phases, with one kind of energies."""

    first: str
    second: str
    energies: Energies
    potential_v: float | None = Field(None, description="open to lithium at this potential against Li; None: closed")
    points: list[MixingPoint] = Field(default_factory=list, description="linear in between")
    lowest_ev_per_atom: float | None = Field(None, description="driving force: the deepest point of the curve")
    lowest_share_of_first: float | None = None
    lowest_products: str | None = None
    mutual_ev_per_atom: float | None = Field(
        None, description="deepest point below the line between the two ends: without what each does by itself"
    )
    excess_ev_per_formula: float | None = Field(
        None, description="per formula unit of the second, with the first in excess"
    )
    excess_reaction: Reaction | None = None
    error: str | None = None


def mixing_doc(hull: Hull, first: str, second: str) -> MixingDoc:
    """Return the mixing curve of two phases.

    Parameters
    ----------
    hull
        Closed, or open to lithium.
    first, second
        Names of the phases: an anode and an electrolyte.

    Returns
    -------
    MixingDoc
        ``error`` where there is nothing to mix: an anode that is nothing but the exchanged lithium.

    Raises
    ------
    InputError
        If one is not in the set.
    """
    a, b = hull.phase(first), hull.phase(second)
    doc = MixingDoc(first=first, second=second, energies=hull.energies, potential_v=hull.potential_v)
    ends = [hull.framework(phase.composition) for phase in (a, b)]
    if not all(ends):
        doc.error = "nothing but the exchanged lithium: see the decomposition at this potential"
        return doc
    if ends[0].fractional_composition.almost_equals(ends[1].fractional_composition, atol=1e-9):
        doc.error = "the two differ in lithium alone, which is exchanged"
        return doc
    doc.points = _kinks([_point(hull, a, b, c) for c in hull.critical_compositions(a.composition, b.composition)])
    lowest = min(doc.points, key=lambda point: point.energy_ev_per_atom)
    doc.lowest_ev_per_atom = lowest.energy_ev_per_atom
    doc.lowest_share_of_first = lowest.share_of_first
    doc.lowest_products = products_text(lowest.reaction.products, hull.phases)
    alone_a, alone_b = doc.points[0].energy_ev_per_atom, doc.points[-1].energy_ev_per_atom
    doc.mutual_ev_per_atom = min(
        p.energy_ev_per_atom - p.share_of_first * alone_a - (1 - p.share_of_first) * alone_b for p in doc.points
    )
    # the tangent at the end where the first is in excess, in formula units of the second
    near = doc.points[1]
    slope = (near.energy_ev_per_atom - alone_a) / (1 - near.share_of_first)
    doc.excess_ev_per_formula = (alone_a + slope) * float(ends[1].num_atoms)
    doc.excess_reaction = near.reaction
    return doc


def _point(hull: Hull, a: Phase, b: Phase, mixture: Composition) -> MixingPoint:
    """Return one point of a curve."""
    atoms = [float(hull.framework(phase.composition).num_atoms) for phase in (a, b)]
    first, second = (hull.framework(phase.composition).fractional_composition for phase in (a, b))
    share = min(1.0, max(0.0, share_of(mixture, first, second)))
    units = {a.name: share / atoms[0], b.name: (1 - share) / atoms[1]}
    own = sum(n * hull.own_energy(hull.phases[name]) for name, n in units.items())
    whole = a.composition * units[a.name] + b.composition * units[b.name]
    products = hull.decomposition(whole)
    energy = sum(n * hull.own_energy(hull.phases[name]) for name, n in products.items()) - own
    # per formula unit of the second, or of the first where there is no second
    scale = units[b.name] if units[b.name] > 1e-12 else units[a.name]
    return MixingPoint(
        share_of_first=share,
        energy_ev_per_atom=energy,
        reaction=reaction(
            {name: n / scale for name, n in units.items()},
            {name: n / scale for name, n in products.items()},
            hull.phases,
            exchanged=hull.potential_v is not None,
        ),
    )


def _kinks(points: list[MixingPoint]) -> list[MixingPoint]:
    """Return the ends and the points that lie below the line between their neighbours, from the first phase on."""
    points = sorted(points, key=lambda point: -point.share_of_first)
    kept = [points[0]]
    for here, after in pairwise(points[1:]):
        before = kept[-1]
        span = before.share_of_first - after.share_of_first
        part = (before.share_of_first - here.share_of_first) / span
        line = before.energy_ev_per_atom + part * (after.energy_ev_per_atom - before.energy_ev_per_atom)
        if line - here.energy_ev_per_atom > _STRAIGHT_EV:
            kept.append(here)
    return [*kept, points[-1]]
