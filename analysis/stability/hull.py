"""The hull of a set of phases, closed or open to lithium at a fixed potential.

pymatgen's phase diagrams do the geometry; what is asked of them here is an energy and the phases it belongs to, in
formula units, so that every reaction that is printed conserves every element. Open to lithium, the energy is the grand
potential Phi = E - mu(Li) N(Li), with mu(Li) = mu(Li metal) - e V (S. P. Ong et al., Chem. Mater. 20, 1798 (2008),
doi:10.1021/cm702327g).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pymatgen.analysis.phase_diagram import GrandPotentialPhaseDiagram, PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from anodeflow.analysis.stability.phases import Energies, Phase, check_phases
from anodeflow.errors import InputError

#: Amounts below this, per atom, are rounding errors.
NEGLIGIBLE = 1e-8
_LITHIUM = Element("Li")


class Hull:
    """The hull of phases with one kind of energies.

    Parameters
    ----------
    phases
        With all elements among them.
    energies
        ``raw`` or ``corrected``: never both in one hull.
    potential_v
        Open to lithium at this potential against Li metal; None: closed.

    Raises
    ------
    InputError
        If the phases make no hull, see :func:`~anodeflow.analysis.stability.phases.check_phases`.
    """

    def __init__(self, phases: Sequence[Phase], energies: Energies = "raw", potential_v: float | None = None) -> None:
        check_phases(list(phases))
        self.energies = energies
        self.potential_v = potential_v
        self.phases = {phase.name: phase for phase in phases}
        entries = [PDEntry(p.composition, p.energy(energies), name=p.name) for p in phases]
        metal = min(p.energy(energies) / p.atoms for p in phases if p.composition.elements == [_LITHIUM])
        self.lithium_metal_ev = metal
        self.lithium_ev = metal - (potential_v or 0.0)
        self._diagram: PhaseDiagram = (
            PhaseDiagram(entries)
            if potential_v is None
            else GrandPotentialPhaseDiagram(entries, {_LITHIUM: self.lithium_ev})
        )

    @property
    def elements(self) -> set[str]:
        """Symbols of all elements, lithium included."""
        return {symbol for phase in self.phases.values() for symbol in phase.composition.get_el_amt_dict()}

    def phase(self, name: str) -> Phase:
        """Return a phase by its name, or InputError if it is not in the set."""
        if name not in self.phases:
            raise InputError(f"'{name}' is not in the set of phases", f"its phases: {', '.join(self.phases)}")
        return self.phases[name]

    def framework(self, composition: Composition) -> Composition:
        """Return what a hull counts atoms of: the composition, without lithium where lithium is exchanged."""
        if self.potential_v is None:
            return composition
        return Composition({e: n for e, n in composition.items() if e != _LITHIUM})

    def own_energy(self, phase: Phase) -> float:
        """Return the energy of one formula unit of a phase, eV: the grand potential where lithium is exchanged."""
        energy = phase.energy(self.energies)
        return energy if self.potential_v is None else energy - self.lithium_ev * phase.composition[_LITHIUM]

    def energy(self, composition: Composition) -> float:
        """Return the lowest energy of this composition, eV: a sum over the phases of :meth:`decomposition`."""
        return sum(n * self.own_energy(self.phases[name]) for name, n in self.decomposition(composition).items())

    def decomposition(self, composition: Composition) -> dict[str, float]:
        """Return the phases in equilibrium at a composition, in formula units by name.

        Open to lithium, they hold as much of every other element as the composition does.

        Raises
        ------
        InputError
            If it holds an element that no phase has, or nothing but exchanged lithium.
        """
        self.check(composition)
        kept = self.framework(composition)
        amounts = {}
        for entry, share in self._diagram.get_decomposition(kept).items():
            name = str(entry.name)  # type: ignore[attr-defined]  # all are PDEntry
            counted = self.framework(self.phases[name].composition).num_atoms
            amounts[name] = float(share * kept.num_atoms / counted)
        return amounts

    def critical_compositions(self, first: Composition, second: Composition) -> list[Composition]:
        """Return the compositions between two at which the phases in equilibrium change, from first to second.

        The two are included; all are counted as :meth:`framework` does, and normalised to one atom.
        """
        ends = [self.framework(c).fractional_composition for c in (first, second)]
        return list(self._diagram.get_critical_compositions(*ends))

    def check(self, composition: Composition) -> None:
        """Refuse a composition that this hull does not cover."""
        unknown = sorted(set(composition.get_el_amt_dict()) - self.elements)
        if unknown:
            raise InputError(
                f"{composition.reduced_formula} holds {', '.join(unknown)}, which no phase of the set does",
                "add the phases of this element",
            )
        if not self.framework(composition):
            raise InputError(f"{composition.reduced_formula} is nothing but the exchanged lithium", "use a closed hull")

    def distance_ev_per_atom(self, name: str) -> float:
        """Return the energy of a phase above the hull, eV per atom of :meth:`framework`; 0 on the hull."""
        phase = self.phase(name)
        above = self.own_energy(phase) - self.energy(phase.composition)
        return max(above, 0.0) / float(self.framework(phase.composition).num_atoms)

    def formation_ev_per_atom(self, name: str) -> float:
        """Return the energy of a phase against the crystals of its elements, eV per atom."""
        phase = self.phase(name)
        elements = sum(n * self._element_ev(symbol) for symbol, n in phase.composition.get_el_amt_dict().items())
        return (phase.energy(self.energies) - elements) / phase.atoms

    def _element_ev(self, symbol: str) -> float:
        pure = [Element(symbol)]
        return min(p.energy(self.energies) / p.atoms for p in self.phases.values() if p.composition.elements == pure)


def lithium_of(amounts: Mapping[str, float], phases: Mapping[str, Phase]) -> float:
    """Return the lithium in these formula units of phases."""
    return sum(n * float(phases[name].composition[_LITHIUM]) for name, n in amounts.items())


def share_of(mixture: Composition, first: Composition, second: Composition) -> float:
    """Return x of mixture = x first + (1 - x) second, all normalised to one atom."""
    symbols = sorted({e.symbol for c in (mixture, first, second) for e in c.elements})
    a, b, c = (np.array([float(x[s]) for s in symbols]) for x in (first, second, mixture))
    return float(np.dot(c - b, a - b) / np.dot(a - b, a - b))
