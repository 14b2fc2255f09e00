"""Coincident supercells of two plane lattices: which small multiples of a film and a substrate nearly agree.

Every sublattice of each side is written as a Hermite normal form, reduced by the symmetry of its own lattice,
and brought to its two shortest vectors. Pairs of sublattices whose shortest vectors agree are aligned in every
way that the strain allows. This finds what the search of Zur and McGill (doi 10.1063/1.333084) finds, and in
addition the alignments it misses where two lattice vectors are nearly equally long, without its duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, isfinite, sqrt
from typing import Any, Literal, get_args

import numpy as np
import spglib
from numpy.typing import ArrayLike, NDArray

from anodeflow.errors import InputError, StructureError
from anodeflow.parameters import named
from anodeflow.structures.plane_lattices import (
    UNIMODULAR,
    adjugate,
    common_divisors,
    determinant,
    hermite_form,
    lattice_symmetry,
    reduced_bases,
)
from anodeflow.structures.slabs import SlabModel

Strained = Literal["film", "substrate", "both"]
Pair = tuple[tuple[int, int], tuple[int, int]]

#: Above this the words film and strain lose their meaning; it also bounds the search behind a refusal.
_LARGEST_STRAIN = 0.2

#: More cells than this within the largest area make the search long.
_LARGEST_MULTIPLE = 500

_CHUNK = 256  # pairs of bases that are compared at a time


@dataclass(frozen=True)
class InPlaneStrain:
    """Strain of one side in the plane of the interface; tension is positive.

    Attributes
    ----------
    tensor : tuple
        Biot strain (stretch minus one), 2x2, not in percent; x runs along a of the strained cell.
    principal_percent : tuple of float
        The two principal strains, the smaller first.
    von_mises_percent : float
        ``sqrt(2/3 e':e')`` with e' the deviator of the tensor and no strain along z.
    max_principal_percent : float
        The principal strain of larger magnitude, with its sign.
    """

    tensor: tuple[tuple[float, float], tuple[float, float]]
    principal_percent: tuple[float, float]
    von_mises_percent: float
    max_principal_percent: float


@dataclass(frozen=True)
class LatticeMatch:
    """Two supercells, one of each side, that agree within a strain.

    Attributes
    ----------
    film_matrix, substrate_matrix : tuple
        Integer 2x2 matrices; their rows are the supercell vectors in units of `film_vectors` and
        `substrate_vectors`. The determinant of `substrate_matrix` is positive. A negative one of `film_matrix`
        says that the film is turned over (only where neither lattice has a mirror line).
    film_vectors, substrate_vectors : tuple
        Unstrained in-plane cells, 2x2, rows, angstrom.
    strained : str
        The side that is deformed: ``"film"``, ``"substrate"`` or ``"both"`` (half of it each).
    strain : InPlaneStrain
        Strain of that side against its own unstrained supercell; for ``"both"`` that of the film.
    area_angstrom2 : float
        Area of the common cell.
    atoms : int or None
        Atoms of both slabs in the common cell; None if bare vectors were given.
    rotation_deg : float
        Turn of the film about z, from the frame of its slab to that of the substrate's slab.
    """

    film_matrix: Pair
    substrate_matrix: Pair
    film_vectors: tuple[Any, ...]
    substrate_vectors: tuple[Any, ...]
    strained: Strained
    strain: InPlaneStrain
    area_angstrom2: float
    atoms: int | None
    rotation_deg: float

    @property
    def film_cells(self) -> int:
        """Cells of the film in the common cell."""
        return abs(round(float(np.linalg.det(self.film_matrix))))

    @property
    def substrate_cells(self) -> int:
        """Cells of the substrate in the common cell."""
        return round(float(np.linalg.det(self.substrate_matrix)))

    @property
    def film_turned_over(self) -> bool:
        """Whether the film is turned by 180 degrees about an axis in the plane."""
        return float(np.linalg.det(self.film_matrix)) < 0

    def unstrained_cells(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return supercells of film and substrate before any strain, 2x2 each, both right-handed, a along x."""
        film, substrate = np.array(self.film_matrix), np.array(self.substrate_matrix)
        return _upright(film @ self.film_vectors), _upright(substrate @ self.substrate_vectors)

    def common_cell(self, strained: Strained | None = None) -> NDArray[np.float64]:
        """Return the in-plane cell of the interface, 2x2, a along x; `strained` replaces that of the match."""
        film, substrate = self.unstrained_cells()
        strained = check_strained(self.strained if strained is None else strained)
        if strained == "both":
            gradient = np.linalg.solve(film, substrate)
            return _upright(film @ _root(_root(gradient @ gradient.T)))
        return substrate if strained == "film" else film

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        shown = {**vars(self), "strain": dict(vars(self.strain)), "film_turned_over": self.film_turned_over}
        return {**shown, "film_cells": self.film_cells, "substrate_cells": self.substrate_cells}


def in_plane_strain(unstrained: ArrayLike, strained: ArrayLike) -> InPlaneStrain:
    """Return the strain that turns one in-plane cell into another; a rotation between them does not count.

    Parameters
    ----------
    unstrained, strained
        In-plane cells, rows, shape (2, 2), angstrom.

    Returns
    -------
    InPlaneStrain
    """
    after = _upright(np.asarray(strained, dtype=float))
    gradient = np.linalg.solve(_upright(np.asarray(unstrained, dtype=float)), after)
    tensor = _root(gradient.T @ gradient) - np.eye(2)
    low, high = (float(value) for value in np.linalg.eigvalsh(tensor))
    mean = (low + high) / 3
    mises = sqrt(2 / 3 * ((low - mean) ** 2 + (high - mean) ** 2 + mean**2))
    largest = high if abs(high) >= abs(low) else low
    rows = tuple(tuple(float(x) for x in row) for row in tensor)
    return InPlaneStrain(rows, (100 * low, 100 * high), 100 * mises, 100 * largest)  # type: ignore[arg-type]


# long: a third or more of it is documentation
def lattice_matches(
    film: SlabModel | ArrayLike,
    substrate: SlabModel | ArrayLike,
    *,
    max_area_angstrom2: float = 400.0,
    max_strain: float = 0.05,
    max_area_mismatch: float | None = None,
    max_atoms: int | None = 400,
    strained: Strained = "film",
    equivalence: Literal["lattices", "slabs"] = "lattices",
    primitive_only: bool = True,
) -> list[LatticeMatch]:
    """Find coincident supercells of a film and a substrate.

    Parameters
    ----------
    film, substrate
        Slabs, or in-plane lattice vectors as rows (2x2, 2x3 or 3x3, angstrom).
    max_area_angstrom2
        Largest area of the common cell.
    max_strain
        Largest magnitude of a principal strain, as a fraction, of the side that is strained.
    max_area_mismatch
        Largest relative difference of the areas of the two unstrained supercells; no limit if absent.
    max_atoms
        Largest number of atoms; None for no limit. Without effect for bare vectors.
    strained
        The side that is deformed to the other's cell; ``"both"`` meet half way.
    equivalence
        ``"lattices"``: matches that a symmetry of either lattice connects are one, even if the atoms tell them
        apart. ``"slabs"``: only symmetries of the slabs themselves count (both must be `SlabModel`), so that
        every orientation of an unsymmetrical crystal appears.
    primitive_only
        Leave out supercells of smaller matches.

    Returns
    -------
    list of LatticeMatch
        Lowest strain first, then smallest area and fewest atoms.

    Raises
    ------
    InputError
        A limit makes no sense, or nothing fits; then the message says what would.
    StructureError
        Lattice vectors that span no area or are left-handed.
    """
    check_strained(strained)
    for name, limit, top in (
        ("max_area_angstrom2", max_area_angstrom2, np.inf),
        ("max_strain", max_strain, _LARGEST_STRAIN + 1e-12),
    ):
        if not (isfinite(limit) and 0 < limit <= top):
            raise InputError(
                f"{named(name)} is {limit}", f"use a positive number{'' if top > 1 else f' up to {top:.2g}'}"
            )
    sides = [_plane_vectors(film, "film"), _plane_vectors(substrate, "substrate")]
    metrics = [vectors @ vectors.T for vectors in sides]
    if equivalence == "slabs":
        if not (isinstance(film, SlabModel) and isinstance(substrate, SlabModel)):
            raise InputError("equivalence 'slabs' needs two slabs", "use 'lattices', or give slabs, not vectors")
        groups = [_slab_group(film), _slab_group(substrate)]
    elif equivalence == "lattices":
        groups = [lattice_symmetry(metric) for metric in metrics]
    else:
        raise InputError(f"unknown equivalence {equivalence!r}", "use 'lattices' or 'slabs'")
    atoms = None
    if isinstance(film, SlabModel) and isinstance(substrate, SlabModel):
        atoms = len(film.structure), len(substrate.structure)
    search = _Search(sides, metrics, groups, strained, atoms, primitive_only)
    limits = max_area_angstrom2, max_strain, max_area_mismatch
    if atoms is None or max_atoms is None:
        matches = search.run(*limits)
    elif matches := search.run(*limits, max_atoms):
        return sorted(matches, key=_match_order)
    else:
        matches = search.smallest(*limits, max_atoms)
    within = f"within {100 * max_strain:.3g} % strain"
    if matches and (atoms is None or max_atoms is None):
        return sorted(matches, key=_match_order)
    if matches:
        least = min(matches, key=lambda m: (m.atoms or 0, _match_order(m)))
        raise InputError(
            f"no match {within} has at most {max_atoms} atoms: the smallest has {least.atoms} ({_describe(least)})",
            f"raise {named('max_atoms')}, raise {named('max_strain')}, or take thinner slabs",
        )
    best, searched = search.least_strained(max_area_angstrom2, max_strain)
    known = f"nor is one within {100 * searched:.3g} %" if best is None else f"the best has {_describe(best)}"
    raise InputError(
        f"no match {within} up to {max_area_angstrom2:g} square angstrom: {known}",
        f"raise {'' if max_area_mismatch is None else 'max_area_mismatch, '}{named('max_strain')} or"
        f" {named('max_area_angstrom2')}, or strain the other side",
    )


def _match_order(match: LatticeMatch) -> tuple[float, float, int]:
    """Sort key: strain (to a thousandth of a percent), area, atoms."""
    return round(abs(match.strain.max_principal_percent), 3), round(match.area_angstrom2, 3), match.atoms or 0


def check_strained(strained: str) -> Strained:
    """Return the name of the strained side, if it is one.

    Raises
    ------
    InputError
        It is not.
    """
    if strained not in get_args(Strained):
        raise InputError(f"unknown side {strained!r}", f"use one of {', '.join(get_args(Strained))}")
    return strained  # type: ignore[return-value]


def _slab_group(slab: SlabModel) -> NDArray[np.int_]:
    """Return in-plane parts of the symmetry operations of a slab that keep its upper face up."""
    numbers = [site.specie.Z for site in slab.structure]
    cell = (slab.structure.lattice.matrix.tolist(), slab.structure.frac_coords.tolist(), numbers)
    operations = spglib.get_symmetry(cell, symprec=0.01)
    rotations = np.eye(3, dtype=int)[None] if operations is None else operations["rotations"]
    flat = np.unique(rotations[rotations[:, 2, 2] == 1][:, :2, :2], axis=0)
    return flat.transpose(0, 2, 1)


@dataclass
class _Search:
    """One pair of lattices, ready to be matched."""

    sides: list[NDArray[np.float64]]
    metrics: list[NDArray[np.float64]]
    groups: list[NDArray[np.int_]]
    strained: Strained
    atoms: tuple[int, int] | None
    primitive_only: bool

    def smallest(
        self, max_area: float, max_strain: float, max_area_mismatch: float | None, above: int
    ) -> list[LatticeMatch]:
        """Find matches of more atoms than `above`, the one of fewest among them; none where there is none.

        The limit grows twofold, because most matches of a large area are of many more atoms than anyone asks for.
        """
        areas = [sqrt(np.linalg.det(metric)) for metric in self.metrics]
        most = sum(4 * max_area / area * n for area, n in zip(areas, self.atoms or (0, 0), strict=True))
        matches: list[LatticeMatch] = []
        while not matches and above < most:
            above = 2 * max(above, 1)
            matches = self.run(max_area, max_strain, max_area_mismatch, above)
        return matches

    def run(
        self, max_area: float, max_strain: float, max_area_mismatch: float | None, max_atoms: int | None = None
    ) -> list[LatticeMatch]:
        """Find every inequivalent match of at most so many atoms, unsorted."""
        low, high = {
            "film": (1 - max_strain, 1 + max_strain),
            "substrate": (1 / (1 + max_strain), 1 / (1 - max_strain)),
            "both": ((1 + max_strain) ** -2, (1 + max_strain) ** 2),
        }[self.strained]
        low, high = low - 1e-9, high + 1e-9
        areas = [sqrt(np.linalg.det(metric)) for metric in self.metrics]
        tops = [int(max_area * factor / area + 1e-6) for area, factor in zip(areas, (low**-2, high**2), strict=True)]
        if max(tops) > _LARGEST_MULTIPLE:
            raise InputError(
                f"{max(tops)} cells of one side fit into {max_area:g} square angstrom",
                f"lower {named('max_area_angstrom2')}",
            )
        cells = [[self._sublattices(k, n) for n in range(1, top + 1)] for k, top in enumerate(tops)]
        matches: dict[tuple[int, ...], LatticeMatch] = {}
        for i, j in product(range(1, tops[0] + 1), range(1, tops[1] + 1)):
            ratio = j * areas[1] / (i * areas[0])
            common = {"film": j * areas[1], "substrate": i * areas[0]}.get(
                self.strained, sqrt(i * areas[0] * j * areas[1])
            )
            mismatch = max_area_mismatch is not None and max(ratio, 1 / ratio) - 1 > max_area_mismatch
            if not low**2 <= ratio <= high**2 or common > max_area * (1 + 1e-9) or mismatch:
                continue
            if max_atoms is not None and self.atoms is not None and i * self.atoms[0] + j * self.atoms[1] > max_atoms:
                continue
            for films, substrates in self._aligned(cells[0][i - 1], cells[1][j - 1], low, high):
                for pair in self._distinct(films, substrates):
                    key = (*pair[0].ravel().tolist(), *pair[1].ravel().tolist())
                    matches[key] = self._match(*pair, common)
        return list(matches.values())

    def least_strained(self, max_area: float, above: float) -> tuple[LatticeMatch | None, float]:
        """Find the best match, whatever the areas differ by, and return with it the strain up to which was searched.

        The limit grows twofold from `above`, because the time of a search grows with its square.
        """
        searched, limit = above, max(above, 1e-4)
        while searched < _LARGEST_STRAIN:
            try:
                matches = self.run(max_area, limit, None)
            except InputError:  # too many cells of the side that is compressed
                break
            if matches:
                return min(matches, key=_match_order), limit
            searched, limit = limit, min(2 * limit, _LARGEST_STRAIN)
        return None, searched

    def _sublattices(self, side: int, multiple: int) -> NDArray[np.int_]:
        """Return reduced bases, shape (n, 2, 2), of the sublattices of one index that the group does not connect."""
        rows = [[[multiple // r, q], [0, r]] for r in range(1, multiple + 1) if multiple % r == 0 for q in range(r)]
        bases = np.array(rows)
        images = hermite_form(bases[:, None] @ self.groups[side][None]).reshape(len(bases), -1, 4)
        codes = (images @ np.array([0, 1, 0, multiple + 1])).min(axis=1)
        return reduced_bases(bases[np.unique(codes, return_index=True)[1]], self.metrics[side])

    def _aligned(
        self, films: NDArray[np.int_], substrates: NDArray[np.int_], low: float, high: float
    ) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
        """Return pairs of bases whose stretch from film to substrate lies between `low` and `high`."""
        film_metrics = films @ self.metrics[0] @ films.transpose(0, 2, 1)
        metrics = substrates @ self.metrics[1] @ substrates.transpose(0, 2, 1)
        lengths = [np.sqrt(np.diagonal(m, axis1=1, axis2=2)) for m in (film_metrics, metrics)]
        ratio = lengths[1][None] / lengths[0][:, None]
        first, second = np.nonzero(((ratio >= low) & (ratio <= high)).all(axis=2))
        if not len(first):
            return
        aspect = float((lengths[1][:, 1] / lengths[1][:, 0])[second].max())
        # A long thin cell shears by whole short vectors before the strain notices.
        steps = range(2, 2 + ceil((high - low) * aspect))
        turns = np.concatenate([UNIMODULAR, *(np.array([[[1, 0], [k, 1]], [[1, 0], [-k, 1]]]) for k in steps)])
        # Mirrored alignments too: a mirror line of either lattice makes proper ones of them.
        inverse = np.linalg.inv(film_metrics)[first]
        for turn in turns:
            turned = turn @ metrics[second] @ turn.T
            trace = np.einsum("nij,nji->n", inverse, turned)
            areas = np.linalg.det(turned) * np.linalg.det(inverse)
            spread = np.sqrt(np.maximum(trace**2 - 4 * areas, 0))
            fits = (trace + spread <= 2 * high**2) & (trace - spread >= 2 * low**2)
            if fits.any():
                yield films[first[fits]], turn @ substrates[second[fits]]

    def _distinct(
        self, films: NDArray[np.int_], substrates: NDArray[np.int_]
    ) -> Iterator[tuple[NDArray[np.int_], NDArray[np.int_]]]:
        """Return the canonical form of each pair of bases: the smallest of all that the two groups connect."""
        if self.primitive_only:
            keep = common_divisors(films, substrates) == 1
            films, substrates = films[keep], substrates[keep]
        for start in range(0, len(films), _CHUNK):
            left = films[start : start + _CHUNK, None] @ self.groups[0]
            normal = hermite_form(left)
            turns = normal @ adjugate(left) // determinant(left)[..., None, None]
            right = turns[:, :, None] @ (substrates[start : start + _CHUNK, None] @ self.groups[1])[:, None]
            shape = (*right.shape[:3], 4)
            pairs = [np.broadcast_to(normal[:, :, None], right.shape).reshape(shape), right.reshape(shape)]
            flat = np.concatenate(pairs, axis=-1).reshape(len(left), -1, 8)
            alive = np.ones(flat.shape[:2], dtype=bool)
            for column in np.moveaxis(flat, -1, 0):
                least = np.where(alive, column, np.iinfo(column.dtype).max).min(axis=1)
                alive &= column == least[:, None]
            for row in np.unique(flat[np.arange(len(flat)), alive.argmax(axis=1)], axis=0):
                yield row[:4].reshape(2, 2), row[4:].reshape(2, 2)

    def _match(self, film: NDArray[np.int_], substrate: NDArray[np.int_], area: float) -> LatticeMatch:
        """Return the match of a canonical pair, in the equivalent form with the smallest turn of the film."""
        lefts, rights = film @ self.groups[0], substrate @ self.groups[1]
        turns = np.linalg.inv(lefts @ self.sides[0])[:, None] @ (rights @ self.sides[1])[None]
        over = np.linalg.det(turns) < 0
        turns = np.where(over[..., None, None], np.diag([-1.0, 1.0]) @ turns, turns)
        angles = np.degrees(np.arctan2(turns[..., 0, 1] - turns[..., 1, 0], np.trace(turns, axis1=-2, axis2=-1)))
        angles = np.round(np.where(angles < -180 + 1e-6, 180.0, angles), 9) + 0.0
        order = np.lexsort([(angles < 0).ravel(), np.abs(angles).round(4).ravel(), over.ravel()])
        g, h = np.unravel_index(order[0], over.shape)
        left, right = lefts[g], rights[h]
        if determinant(right) < 0:
            left, right = left * np.array([[1], [-1]]), right * np.array([[1], [-1]])
        fixed, metric = (left, self.metrics[0]) if self.strained == "substrate" else (right, self.metrics[1])
        reduced = reduced_bases(fixed[None], metric)[0]
        change = reduced @ adjugate(fixed) // determinant(fixed)
        left, right = change @ left, change @ right
        if left.ravel()[np.flatnonzero(left)[0]] < 0:
            left, right = -left, -right
        atoms = None
        if self.atoms is not None:
            atoms = sum(abs(int(determinant(m))) * n for m, n in zip((left, right), self.atoms, strict=True))
        blank = InPlaneStrain(((0.0, 0.0), (0.0, 0.0)), (0.0, 0.0), 0.0, 0.0)
        rows = (_rows(left), _rows(right), _rows(self.sides[0]), _rows(self.sides[1]))
        match = LatticeMatch(*rows, self.strained, blank, float(area), atoms, float(angles[g, h]))
        own = match.unstrained_cells()[self.strained == "substrate"]
        return replace(match, strain=in_plane_strain(own, match.common_cell()))


def _describe(match: LatticeMatch) -> str:
    return f"{abs(match.strain.max_principal_percent):.3g} % strain on {match.area_angstrom2:.1f} square angstrom"


def _rows(matrix: NDArray[Any]) -> tuple[Any, ...]:
    return tuple(tuple(x.item() for x in row) for row in matrix)


def _plane_vectors(side: SlabModel | ArrayLike, name: str) -> NDArray[np.float64]:
    """Return in-plane vectors, 2x2; three-dimensional ones are turned so that a runs along x."""
    matrix = side.structure.lattice.matrix if isinstance(side, SlabModel) else np.asarray(side, dtype=float)
    if matrix.shape not in {(2, 2), (2, 3), (3, 3)} or not np.isfinite(matrix).all():
        raise InputError(f"the lattice vectors of the {name} have shape {matrix.shape}", "give 2x2, 2x3 or 3x3 numbers")
    vectors = matrix[:2]
    metric = vectors @ vectors.T
    if np.linalg.det(metric) < 1e-4 * metric[0, 0] * metric[1, 1] or metric[0, 0] == 0:
        raise StructureError(f"the lattice vectors of the {name} span no area", "give two independent vectors")
    if matrix.shape[0] == matrix.shape[1] and np.linalg.det(matrix) < 0:
        raise StructureError(f"the cell of the {name} is left-handed", "exchange its first two vectors")
    if matrix.shape == (2, 2):
        return vectors
    a, along = sqrt(metric[0, 0]), metric[0, 1] / sqrt(metric[0, 0])
    return np.array([[a, 0.0], [along, sqrt(metric[1, 1] - along**2)]])


def _upright(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same in-plane cell, right-handed, a along x."""
    a = float(np.linalg.norm(cell[0]))
    return np.array([[a, 0.0], [float(cell[0] @ cell[1]) / a, abs(float(np.linalg.det(cell))) / a]])


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    result: NDArray[np.float64] = (vectors * np.sqrt(values)) @ vectors.T
    return result
