"""Every hop that is equivalent to one of a few, as a network of sites in one cell: what diffusion by hops needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.errors import StructureError
from anodeflow.structures.migration import Hop, operations_of

_SAME_ANGSTROM = 0.15


@dataclass(frozen=True)
class Jump:
    """One directed jump of what moves: of the vacancy, or of the added atom.

    Attributes
    ----------
    origin, target
        Numbers of its sites in the cell.
    vector_angstrom
        From the one to the other, through the faces of the cell where it leads there.
    """

    origin: int
    target: int
    vector_angstrom: tuple[float, float, float]


def hop_network(host: Structure, hops: Sequence[Hop]) -> list[list[Jump]]:
    """Return all jumps that symmetry makes of each hop, forward; the way back is the same jump, reversed.

    Parameters
    ----------
    host
        The cell in which the hops were found.
    hops
        Of one mechanism, as :func:`anodeflow.structures.migration.lithium_hops` returns them.

    Returns
    -------
    list
        One list of jumps a hop; sites have the same numbers in all of them. A symmetric hop holds both directions.

    Raises
    ------
    StructureError
        If symmetry does not bring sites back onto sites.
    """
    if not hops:
        return []
    rotations, translations = operations_of(host, hops[0].mechanism)
    sites: list[NDArray[np.float64]] = []
    networks = []
    for hop in hops:
        moved, back = (np.array(hop.start), np.array(hop.end)), hop.mechanism in ("vacancy", "interface")
        first, second = (moved[1], moved[0]) if back else moved
        jumps: dict[tuple[int, int, tuple[int, ...]], Jump] = {}
        for rotation, translation in zip(rotations, translations, strict=True):
            a, b = rotation @ first + translation, rotation @ second + translation
            vector = (b - a) @ host.lattice.matrix
            pair = _number(host, sites, a), _number(host, sites, b)
            directions = [(pair, vector)] + ([((pair[1], pair[0]), -vector)] if hop.symmetric else [])
            for (origin, target), way in directions:
                key = (origin, target, tuple(np.round(way / _SAME_ANGSTROM).astype(int).tolist()))
                if not any(_same(key, other, jumps[other], way) for other in _near(key, jumps)):
                    jumps[key] = Jump(origin, target, (float(way[0]), float(way[1]), float(way[2])))
        networks.append(list(jumps.values()))
    _check(hops, networks)
    return networks


def _near(
    key: tuple[int, int, tuple[int, ...]], jumps: dict[tuple[int, int, tuple[int, ...]], Jump]
) -> list[tuple[int, int, tuple[int, ...]]]:
    return [other for other in jumps if other[:2] == key[:2]]


def _same(
    key: tuple[int, int, tuple[int, ...]], other: tuple[int, int, tuple[int, ...]], jump: Jump,
    way: NDArray[np.float64],
) -> bool:  # fmt: skip
    return key == other or float(np.linalg.norm(np.array(jump.vector_angstrom) - way)) < _SAME_ANGSTROM


def _number(host: Structure, sites: list[NDArray[np.float64]], frac: NDArray[np.float64]) -> int:
    """Return the number of a site, which is added if it is new."""
    for number, site in enumerate(sites):
        apart = frac - site
        if np.linalg.norm((apart - np.rint(apart)) @ host.lattice.matrix) < _SAME_ANGSTROM:
            return number
    sites.append(frac)
    return len(sites) - 1


def _check(hops: Sequence[Hop], networks: list[list[Jump]]) -> None:
    """Refuse a network in which sites have other numbers of ways out than the hop says."""
    for hop, jumps in zip(hops, networks, strict=True):
        expected = hop.multiplicity_back if hop.mechanism == "vacancy" else hop.multiplicity
        ways = {number: sum(jump.origin == number for jump in jumps) for number in {jump.origin for jump in jumps}}
        if set(ways.values()) != {expected}:
            raise StructureError(
                f"hop {hop.label} leaves its sites in {sorted(set(ways.values()))} ways, not in {expected}",
                "relax the crystal with its symmetry kept",
            )
