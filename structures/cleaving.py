"""Cutting a crystal: its smallest oriented cell, whole molecules, planes and the gaps between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, gcd
from numbers import Integral
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Species, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.charges import guessed_charges

Bonds = Mapping[tuple[str, str], float]

#: Bonds that a cut never breaks, in angstrom: P-S in PS4 (2.03-2.06) and P4S10 (1.91-2.10), P-P in P2S6
#: (2.25), S-S in polysulfides (2.05). The next P-S, P-P and S-S pairs of these solids lie above 3 angstrom.
DEFAULT_BONDS: Bonds = {("P", "S"): 2.4, ("P", "P"): 2.4, ("S", "S"): 2.3}

#: Atoms (or molecule centres) closer than this along the normal belong to one plane.
_PLANE_TOLERANCE_ANGSTROM = 0.1

#: A face carrying more formal charge than this, per area, is polar (LiCl(111): 0.044 e per square angstrom).
_POLAR_TOLERANCE_E_PER_ANGSTROM2 = 1e-3

SYMPREC_ANGSTROM = 0.01
_LENGTH_TOLERANCE_ANGSTROM = 1e-6

#: A compound with one of these is taken for a salt when formal charges are guessed.
_ANIONS = frozenset({"N", "P", "O", "S", "Se", "F", "Cl", "Br", "I"})

#: Largest Miller index that is cut; beyond it a face has more steps than a slab has layers.
_MAX_INDEX = 20


class Cleaver:
    """One crystal in one orientation, ready to be cut.

    Attributes
    ----------
    lattice : ndarray, shape (3, 3)
        Smallest oriented cell in angstrom: a along x, b in the xy plane, c one lattice spacing high.
    coords : ndarray, shape (N, 3)
        Cartesian; molecules are whole and their centres lie between the lower and the upper cut of the cell.
    planes : list of ndarray
        Atoms of each plane, from below.
    cuts : ndarray, shape (planes,)
        Height of the gap above each plane, as a fraction of the cell's height.
    """

    def __init__(
        self,
        bulk: Structure,
        miller: Sequence[int],
        bonds: Bonds | None,
        oxidation_states: Mapping[str, float] | None,
        crystal: str | None,
    ) -> None:
        if not bulk.is_ordered:
            raise StructureError(
                f"the crystal {bulk.composition.reduced_formula} has partly occupied sites",
                "choose an ordered configuration first",
            )
        self.miller = _check_miller(miller)
        h, k, l = (index // gcd(*self.miller) for index in self.miller)  # noqa: E741
        self.reduced = (h, k, l)
        self.bulk = bulk
        self.bonds = DEFAULT_BONDS if bonds is None else bonds
        self.crystal = crystal or str(bulk.properties.get("crystal", bulk.composition.reduced_formula))
        self.formula = bulk.composition.element_composition.reduced_composition
        cell, self.frame = _oriented_cell(bulk, self.reduced)
        self.cell = cell
        self.lattice = cell.lattice.matrix
        self.height = float(self.lattice[2, 2])
        self.volume = float(cell.volume)
        self.species = cell.species
        self._gather(cell)
        charges = _formal_charges(bulk, oxidation_states)
        self.charges = np.array([charges[site.specie.symbol] for site in cell])
        self.operations = [
            (round(float(w[2, 2])), float(t[2]))
            for w, t in zip(*symmetry(cell), strict=True)
            if abs(w[2, 0]) + abs(w[2, 1]) == 0
        ]

    @property
    def planes_per_repeat(self) -> int:
        """Planes in one lattice spacing."""
        return len(self.planes)

    def _gather(self, cell: Structure) -> None:
        """Make molecules whole, sort their centres into planes, and find the gaps."""
        units, offsets = _molecules(cell, self.bonds)
        fractional = cell.frac_coords + offsets
        masses = np.array([site.specie.atomic_mass for site in cell], dtype=float)
        centres = np.array([np.average(fractional[u, 2], weights=masses[u]) for u in units])
        order, bounds = _split_circle(centres % 1.0, _PLANE_TOLERANCE_ANGSTROM / self.height)
        origin = bounds[0]
        self.centre_heights = np.empty(len(cell))
        self.planes: list[NDArray[np.intp]] = []
        self.cuts = np.asarray(bounds[1:]) % 1.0
        for members in order:
            for index in members:
                atoms = units[index]
                wrapped = (centres[index] - origin) % 1.0 + origin
                fractional[atoms, 2] += round(wrapped - centres[index])
                self.centre_heights[atoms] = wrapped * self.height
            self.planes.append(np.concatenate([units[index] for index in members]))
        self.coords = fractional @ self.lattice
        self.coordination = coordination_numbers(cell, self.bonds)

    def image(self, cut: int, sign: int, shift: float) -> int:
        """Return the cut that an operation z -> sign z + shift maps `cut` on.

        Parameters
        ----------
        cut
            Index of the gap.
        sign
            1 or -1.
        shift
            In fractions of the cell's height.

        Returns
        -------
        int
            Index of the gap.
        """
        distance = self.cuts - (sign * self.cuts[cut] + shift)
        return int(np.argmin(np.abs(distance - np.round(distance))))

    def is_symmetric(self, cut: int, count: int) -> bool:
        """Tell whether an operation of the crystal exchanges the two faces of the film."""
        bottom = (cut - count) % self.planes_per_repeat
        return any(self.image(cut, sign, shift) == bottom for sign, shift in self.operations if sign < 0)

    def stack(self, cut: int, count: int) -> list[tuple[NDArray[np.intp], int]]:
        """Return planes of a film from below: atoms of the oriented cell and the repeat they lie in."""
        numbers = range(cut - count + 1, cut + 1)
        return [(self.planes[n % self.planes_per_repeat], n // self.planes_per_repeat) for n in numbers]

    def thickness(self, cut: int, count: int) -> float:
        """Return the distance in angstrom between the outermost nuclei of a film."""
        heights = np.concatenate([self.coords[p, 2] + r * self.height for p, r in self.stack(cut, count)])
        return float(np.ptp(heights))

    def symmetric_count(self, cut: int, count: int, min_thickness_angstrom: float) -> int:
        """Return the fewest planes, thick enough, whose two faces are equal; `count` if there are none.

        Parameters
        ----------
        cut
            Gap above the highest plane.
        count
            Planes that are wanted.
        min_thickness_angstrom
            Least thickness.

        Returns
        -------
        int
            Planes.
        """
        if self.is_symmetric(cut, count):
            return count
        for more in range(max(2, count - self.planes_per_repeat + 1), count + self.planes_per_repeat):
            if (
                self.is_symmetric(cut, more)
                and self.thickness(cut, more) >= min_thickness_angstrom - _LENGTH_TOLERANCE_ANGSTROM
            ):
                return more
        return count

    def whole_count(self, cut: int, min_thickness_angstrom: float) -> int:
        """Return planes in the fewest repeat units that are thick enough."""
        repeat = self.thickness(cut, self.planes_per_repeat)
        missing = (min_thickness_angstrom - repeat - _LENGTH_TOLERANCE_ANGSTROM) / self.height
        repeats = 1 + max(0, ceil(missing))
        return max(2, repeats * self.planes_per_repeat)

    def is_polar(self, cut: int) -> bool:
        """Tell whether the repeat unit below the gap has a dipole, with charges at the centres of molecules."""
        heights = (self.centre_heights - self.cuts[cut % self.planes_per_repeat] * self.height) % self.height
        dipole = float(self.charges @ heights)
        return abs(dipole) / self.volume > _POLAR_TOLERANCE_E_PER_ANGSTROM2

    def clearance(self, cut: int) -> float:
        """Return the height in angstrom of the atom-free space at a gap; negative where molecules interlock."""
        stack = self.stack(cut, 2 * self.planes_per_repeat)
        heights = [self.coords[plane, 2] + repeat * self.height for plane, repeat in stack]
        below = max(h.max() for h in heights)
        above = min(h.min() for h in heights) + 2 * self.height
        return float(above - below)

    def plane_formula(self, cut: int) -> str:
        """Return the composition of the plane below a gap, in lowest terms."""
        plane = self.planes[cut % self.planes_per_repeat]
        counts = Counter(self.species[atom].symbol for atom in plane)
        divisor = gcd(*counts.values())
        ordered = sorted(counts, key=lambda symbol: (Element(symbol).X, symbol))
        return "".join(f"{s}{counts[s] // divisor if counts[s] > divisor else ''}" for s in ordered)


def _check_miller(miller: Sequence[int]) -> tuple[int, int, int]:
    if len(miller) == 4:
        raise InputError(f"Miller index {tuple(miller)} has four numbers", "leave out the third: (h, k, l)")
    if len(miller) != 3 or any(not isinstance(n, Integral) or isinstance(n, bool) for n in miller):
        raise InputError(f"Miller index {tuple(miller)!r} is not three integers", "use one such as (1, 0, 0)")
    if max(abs(n) for n in miller) > _MAX_INDEX:
        raise InputError(
            f"Miller index ({', '.join(str(n)[:12] for n in miller)}) has a number beyond {_MAX_INDEX}",
            "such a face is a vicinal one: build it from its terraces",
        )
    if not any(miller):
        raise InputError("Miller index (0, 0, 0) names no plane", "use one such as (0, 0, 1)")
    return int(miller[0]), int(miller[1]), int(miller[2])


def describe_cell(lattice: Lattice) -> str:
    """Return the cell a Miller index refers to, as text."""
    lengths = " ".join(f"{name} {value:.3f}" for name, value in zip("abc", lattice.abc, strict=True))
    angles = [
        f"{name} {value:.2f}"
        for name, value in zip(("alpha", "beta", "gamma"), lattice.angles, strict=True)
        if abs(value - 90.0) > 0.005
    ]
    return " ".join(["the cell passed in:", lengths, *(angles or ["all angles 90"])])


def primitive_cell(bulk: Structure, symprec_angstrom: float = SYMPREC_ANGSTROM) -> Structure:
    """Return the primitive cell in the frame of `bulk`: nothing is turned or standardised."""
    numbers, kinds = _numbers(bulk)
    cell = spglib.standardize_cell(
        (bulk.lattice.matrix.tolist(), bulk.frac_coords.tolist(), numbers),
        to_primitive=True,
        no_idealize=True,
        symprec=symprec_angstrom,
    )
    if cell is None:
        return bulk
    lattice, coords, types = cell
    return Structure(lattice, [kinds[number] for number in types], coords)


def _numbers(structure: Structure) -> tuple[list[int], list[Any]]:
    kinds = sorted(set(structure.species), key=str)
    return [kinds.index(specie) for specie in structure.species], kinds


def symmetry(
    structure: Structure, symprec_angstrom: float = SYMPREC_ANGSTROM
) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Return rotations, shape (n, 3, 3), and translations, shape (n, 3), in fractional coordinates."""
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), _numbers(structure)[0])
    operations = spglib.get_symmetry(cell, symprec=symprec_angstrom)
    if operations is None:
        return np.eye(3, dtype=int)[None], np.zeros((1, 3))
    return operations["rotations"], operations["translations"]


def _oriented_cell(bulk: Structure, miller: tuple[int, ...]) -> tuple[Structure, NDArray[np.float64]]:
    """Return the smallest cell with a and b in the plane `miller`, and the turn back to the frame of `bulk`."""
    primitive = primitive_cell(bulk)
    steps = bulk.lattice.get_fractional_coords(primitive.lattice.matrix) @ np.array(miller)
    # The primitive vectors are whole multiples of 1/multiple of the given ones.
    multiple = round(len(bulk) / len(primitive))
    indices = np.round(steps * multiple).astype(int)
    if np.abs(indices / multiple - steps).max() > 1e-3:
        raise StructureError(
            f"the primitive cell of {bulk.composition.reduced_formula} does not divide the given cell",
            "check the structure for atoms that are displaced by about 0.01 angstrom",
        )
    h, k, m = (int(n) // gcd(*indices.tolist()) for n in indices)
    # Two integer vectors in the plane and one that climbs a single lattice spacing, from Bezout's identity.
    g, p, q = _bezout(h, k)
    _, r, s = _bezout(g, m)
    basis = np.array([[k // g, -h // g, 0], [p * m, q * m, -g]] if g else [[1, 0, 0], [0, 1, 0]])
    climb = np.array([r * p, r * q, s])
    a, b = _gauss_reduce(*(basis @ primitive.lattice.matrix))
    c = climb @ primitive.lattice.matrix
    if np.dot(np.cross(a, b), c) < 0:
        a, b = (-a, b) if abs(np.dot(a, b)) < _LENGTH_TOLERANCE_ANGSTROM else (b, a)
    inverse = np.linalg.pinv(np.array([a, b]))
    c = c - np.round(c @ inverse) @ np.array([a, b])
    normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    along = a / np.linalg.norm(a)
    frame = np.array([along, np.cross(normal, along), normal]).T
    lattice = Lattice(np.array([a, b, c]) @ frame)
    coords = lattice.get_fractional_coords(primitive.cart_coords @ frame)
    return Structure(lattice, primitive.species, coords, to_unit_cell=True), frame


def _bezout(m: int, n: int) -> tuple[int, int, int]:
    """Return the greatest common divisor g >= 0 of m and n, and x, y with x m + y n = g."""
    if n == 0:
        return abs(m), (m > 0) - (m < 0), 0
    g, x, y = _bezout(n, m % n)
    return g, y, x - (m // n) * y


def _gauss_reduce(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the two shortest vectors of a plane lattice, at 90 to 120 degrees."""
    while True:
        if a @ a > b @ b + 1e-8:
            a, b = b, a
        times = round(float(a @ b / (a @ a)) - 1e-8)
        if times == 0:
            break
        b = b - times * a
    return (a, -b) if a @ b > 0 else (a, b)


def _molecules(cell: Structure, bonds: Bonds) -> tuple[list[NDArray[np.intp]], NDArray[np.int_]]:
    """Return atoms of each molecule and the lattice steps that make it whole.

    The atoms of a network that has no end along the normal stand alone.
    """
    first, second, images = _bond_list(cell, bonds)
    neighbours: list[list[tuple[int, NDArray[np.int_]]]] = [[] for _ in cell]
    for i, j, image in zip(first, second, images, strict=True):
        neighbours[i].append((int(j), image))
    offsets = np.zeros((len(cell), 3), dtype=int)
    seen = np.zeros(len(cell), dtype=bool)
    units: list[NDArray[np.intp]] = []
    for start in range(len(cell)):
        if seen[start]:
            continue
        seen[start] = True
        members, endless = [start], False
        for atom in members:  # grows while it is walked
            for other, image in neighbours[atom]:
                step = offsets[atom] + image
                if not seen[other]:
                    seen[other] = True
                    offsets[other] = step
                    members.append(other)
                endless |= bool(step[2] != offsets[other][2])
        if endless:
            offsets[members] = 0
            units.extend(np.array([member]) for member in members)
        else:
            units.append(np.array(members))
    return units, offsets


def _bond_list(structure: Structure, bonds: Bonds) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    first, second, images, distances = structure.get_neighbor_list(max([0.1, *bonds.values()]))
    symbols = [site.specie.symbol for site in structure]
    limits = {frozenset(pair): limit for pair, limit in bonds.items()}
    keep = [
        distance <= limits.get(frozenset((symbols[i], symbols[j])), 0.0)
        for i, j, distance in zip(first, second, distances, strict=True)
    ]
    return first[keep], second[keep], np.round(images[keep]).astype(int)


def coordination_numbers(structure: Structure, bonds: Bonds) -> NDArray[np.int_]:
    """Return the number of bonds of each atom."""
    return np.bincount(_bond_list(structure, bonds)[0].astype(int), minlength=len(structure))


def _split_circle(values: NDArray[np.float64], tolerance: float) -> tuple[list[NDArray[np.intp]], list[float]]:
    """Group points of the circle [0, 1) at every gap wider than the tolerance (or at the widest gaps).

    Returns the members of each group and the middles of the gaps, one more than groups, rising over one turn.
    """
    order = np.argsort(values, kind="stable")
    turned = values[order]
    gaps = np.diff([*turned, turned[0] + 1.0])
    breaks = np.flatnonzero(gaps > min(tolerance, 0.999 * gaps.max()))
    groups, bounds = [], [turned[breaks[-1]] + gaps[breaks[-1]] / 2 - 1.0]
    start = breaks[-1] + 1 - len(values)
    for stop in breaks:
        groups.append(order[np.arange(start, stop + 1)])
        bounds.append(float(turned[stop] + gaps[stop] / 2))
        start = stop + 1
    return groups, bounds


def _formal_charges(bulk: Structure, given: Mapping[str, float] | None) -> dict[str, float]:
    """Return the formal charge of each element: given, else written on the sites, else guessed for salts, else none."""
    symbols = {site.specie.symbol for site in bulk}
    if given is not None:
        missing = sorted(symbols - set(given))
        if missing:
            raise InputError(f"oxidation_states lacks {', '.join(missing)}", "give one for every element")
        charges = {symbol: float(given[symbol]) for symbol in symbols}
    elif all(isinstance(site.specie, Species) and site.specie.oxi_state is not None for site in bulk):
        charges = {site.specie.symbol: float(site.specie.oxi_state or 0) for site in bulk}
    else:
        formula = bulk.composition.element_composition.reduced_composition
        guesses = guessed_charges(formula) if len(symbols) > 1 and symbols & _ANIONS else ()
        charges = dict.fromkeys(symbols, 0.0) | (guesses[0] if guesses else {})
    total = sum(charges[site.specie.symbol] for site in bulk)
    if abs(total) > 1e-3:
        raise InputError(
            f"the oxidation states {charges} leave {total:+.3f} e on {bulk.composition.reduced_formula}",
            "correct them so that the crystal is neutral",
        )
    return charges
