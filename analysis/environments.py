"""What phase each atom is like, by its neighbours: Li2S, Li3P, LiCl, PS4, a Li-poor phosphide, Li-Al or a metal.

The rules, in this order, with the distances of :data:`_REACH_ANGSTROM`:

- P with four S is ``PS4``, with one to three ``PSx`` (a broken tetrahedron, or P2S6); without S it is ``LixP`` if it
  is bonded to P or has fewer than six Li, else ``Li3P``.
- S bonded to P belongs to it. Other S, and Cl, belong to ``PS4`` where at least three P of whole tetrahedra are
  within 5.6 angstrom, as on the free sites of an argyrodite; else S is ``Li2S`` and Cl is ``LiCl`` if Li is around.
- S, Cl and P next to Al, and Al next to them, are ``other``; other Al is ``Li-Al`` if at least a sixth of its metal
  neighbours is Li, or ``metal``.
- Li next to two or more of S, P and Cl is what most of them are, the nearest deciding; else it is ``Li-Al`` if at least
  a sixth of its metal neighbours is Al, or ``metal``.

A phase is named by nearest neighbours alone: ``Li2S`` is S with Li around it, crystalline or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

#: Phases an atom may be like, from metal to electrolyte.
PHASES = ("metal", "Li-Al", "LiCl", "Li2S", "Li3P", "LixP", "PSx", "PS4", "other")
#: What the electrolyte becomes.
PRODUCTS = ("LiCl", "Li2S", "Li3P", "LixP", "PSx")
METAL, LI_AL, LICL, LI2S, LI3P, LIXP, PSX, PS4, OTHER = range(len(PHASES))

#: Distances up to which two atoms are neighbours, angstrom: beyond the first shell of the crystals, with room for heat.
_REACH_ANGSTROM = {
    ("P", "S"): 2.6, ("P", "P"): 2.6, ("S", "S"): 2.4, ("Li", "S"): 3.1, ("Li", "P"): 3.1, ("Li", "Cl"): 3.2,
    ("Al", "S"): 2.8, ("Al", "Cl"): 2.8, ("Al", "P"): 2.8, ("Li", "Li"): 3.6, ("Al", "Li"): 3.4, ("Al", "Al"): 3.4,
}  # fmt: skip
_FREE_SITE_ANGSTROM = 5.6
_FREE_SITE_P, _LI_AROUND_P, _ANIONS_OF_LI = 3, 6, 2
_ALLOY_SHARE = 1 / 6
_ANIONS = ("S", "P", "Cl")


class Environments:
    """Says what phase each atom of a frame is like.

    Parameters
    ----------
    species
        Element of each atom, shape (N,).
    ps_angstrom
        Distance of a P-S bond, where it is known better.
    """

    def __init__(self, species: Sequence[str], ps_angstrom: float | None = None) -> None:
        self.species = np.asarray(species, dtype=str)
        self._reach = _REACH_ANGSTROM | ({} if ps_angstrom is None else {("P", "S"): ps_angstrom})
        self._of = {element: self.species == element for element in ("Li", "Al", "P", "S", "Cl")}
        self._farthest = _FREE_SITE_ANGSTROM if self._of["P"].any() else max(self._reach.values())
        self._limits = self._table()

    def _table(self) -> Floats:
        """Return the reach of every pair of atoms' elements, by their numbers in ``_names``."""
        self._names = list(dict.fromkeys(self.species.tolist()))
        self._number = np.array([self._names.index(symbol) for symbol in self.species])
        limits = np.zeros((len(self._names), len(self._names)))
        for (a, b), reach in self._reach.items():
            if a in self._names and b in self._names:
                i, j = self._names.index(a), self._names.index(b)
                limits[i, j] = limits[j, i] = reach
        return limits

    def labels(self, positions: Floats, cell: Floats) -> NDArray[np.int8]:
        """Return the phase of each atom, a number of :data:`PHASES`.

        Parameters
        ----------
        positions
            Angstrom, wrapped or not, shape (N, 3).
        cell
            Rows are lattice vectors, angstrom, shape (3, 3).

        Returns
        -------
        array
            Shape (N,).
        """
        folded = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
        folded, lattice = np.ascontiguousarray(folded), np.ascontiguousarray(cell, dtype=float)
        first, second, _, distance = find_points_in_spheres(
            folded, folded, r=self._farthest, pbc=np.ones(3, dtype=np.int64), lattice=lattice, tol=1e-8
        )
        apart = distance > 1e-6
        first, second, distance = first[apart], second[apart], distance[apart]
        near = distance <= self._limits[self._number[first], self._number[second]]
        pairs = _Pairs(first[near], second[near], distance[near], len(folded))
        labels = np.full(len(folded), OTHER, dtype=np.int8)
        self._label_p(labels, pairs)
        self._label_anions(labels, pairs, (first, second, distance))
        self._label_al(labels, pairs)
        self._label_li(labels, pairs)
        return labels

    def _label_p(self, labels: NDArray[np.int8], pairs: _Pairs) -> None:
        is_p = self._of["P"]
        sulfur, phosphorus, lithium = (pairs.count(self._of[element]) for element in ("S", "P", "Li"))
        labels[is_p & (sulfur >= 4)] = PS4
        labels[is_p & (sulfur > 0) & (sulfur < 4)] = PSX
        alone = is_p & (sulfur == 0)
        labels[alone] = LIXP
        labels[alone & (phosphorus == 0) & (lithium >= _LI_AROUND_P)] = LI3P

    def _label_anions(self, labels: NDArray[np.int8], pairs: _Pairs, far: tuple[Integers, Integers, Floats]) -> None:
        """Label S and Cl, once P is labelled."""
        first, second, distance = far
        whole = np.bincount(
            first[(labels[second] == PS4) & self._of["P"][second] & (distance <= _FREE_SITE_ANGSTROM)],
            minlength=len(labels),
        )
        lithium, bonded = pairs.count(self._of["Li"]), pairs.nearest(self._of["P"])
        for element, phase in (("S", LI2S), ("Cl", LICL)):
            is_anion = self._of[element]
            labels[is_anion & (lithium > 0)] = phase
            labels[is_anion & (whole >= _FREE_SITE_P)] = PS4
        to_p = self._of["S"] & (bonded >= 0)
        labels[to_p] = labels[bonded[to_p]]
        labels[self._of["S"] & ~to_p & (pairs.count(self._of["S"]) > 0)] = OTHER
        with_al = pairs.count(self._of["Al"]) > 0
        for element in _ANIONS:
            labels[self._of[element] & with_al & (labels != PS4) & (labels != PSX)] = OTHER

    def _label_al(self, labels: NDArray[np.int8], pairs: _Pairs) -> None:
        is_al = self._of["Al"]
        anions = sum(pairs.count(self._of[element]) for element in _ANIONS)
        lithium = pairs.count(self._of["Li"])
        metals = lithium + pairs.count(is_al)
        labels[is_al] = METAL
        labels[is_al & (lithium >= _ALLOY_SHARE * metals) & (lithium > 0)] = LI_AL
        labels[is_al & (anions > 0)] = OTHER

    def _label_li(self, labels: NDArray[np.int8], pairs: _Pairs) -> None:
        """Label Li, once all others are labelled."""
        is_li, is_anion = self._of["Li"], np.logical_or.reduce([self._of[element] for element in _ANIONS])
        aluminium = pairs.count(self._of["Al"])
        metals = aluminium + pairs.count(is_li)
        labels[is_li] = METAL
        labels[is_li & (aluminium >= _ALLOY_SHARE * metals) & (aluminium > 0)] = LI_AL
        to_anion = is_li[pairs.first] & is_anion[pairs.second]
        votes = np.zeros((len(labels), len(PHASES)))
        # a share of a vote for being near breaks ties without ever outweighing one neighbour
        weight = 1 + 0.1 * (1 - pairs.distance[to_anion] / 4)
        np.add.at(votes, (pairs.first[to_anion], labels[pairs.second[to_anion]]), weight)
        ionic = is_li & (pairs.count(is_anion) >= _ANIONS_OF_LI)
        labels[ionic] = votes[ionic].argmax(axis=1)


class _Pairs:
    """Neighbours within the reach of their elements."""

    def __init__(self, first: Integers, second: Integers, distance: Floats, atoms: int) -> None:
        self.first, self.second, self.distance, self.atoms = first, second, distance, atoms

    def count(self, of: NDArray[np.bool_]) -> Integers:
        """Return how many neighbours of a kind each atom has."""
        return np.bincount(self.first[of[self.second]], minlength=self.atoms)

    def nearest(self, of: NDArray[np.bool_]) -> Integers:
        """Return the nearest neighbour of a kind of each atom, -1 where there is none."""
        chosen = np.flatnonzero(of[self.second])
        order = chosen[np.argsort(-self.distance[chosen], kind="stable")]
        nearest = np.full(self.atoms, -1, dtype=np.intp)
        nearest[self.first[order]] = self.second[order]
        return nearest
