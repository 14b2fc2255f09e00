"""Ordered configurations of the lithium argyrodites Li(7-x)PS(6-x)X(x), X = Cl, Br, I, x from 1 to 2.

The crystal is disordered twice: at most one site of each pair of 48h lithium sites (2 Å apart) is occupied,
and S and X share the free-anion sites 4a and 4d. Both are decided here by a seeded, constrained simulated
annealing on the Ewald energy (doi 10.1016/0010-4655(96)00016-1) of the formal charges Li+1, P+5, S-2, X-1.

Each cage of six pairs around a 4d site is a tetrahedron: its corners are triangles of 48h sites about 2.2 Å
apart, its edges the pairs. Six Li on six edges make at least two such contacts, five at least one, four none:
unless half the cages have lost two Li, the shortest Li-Li distance before relaxation is that of a triangle.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Structure
from scipy.spatial import cKDTree

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.catalogue import get_entry

_Pool = dict[bytes, tuple[float, int, NDArray[np.float64]]]  # energy in eV per cell, seed, charges
_AnionOrder = Literal["auto", "ordered", "random", "lowest"]
HALIDES = ("Cl", "Br", "I")
PS_BOND_MAX_ANGSTROM = 2.5
_LI_LI_MIN_ANGSTROM = 2.0
_CHARGES = {"Li": 1, "P": 5, "S": -2, "Cl": -1, "Br": -1, "I": -1}
_PRIMITIVE = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])  # rows, in half cubic edges


@dataclass(frozen=True)
class ArgyroditeComposition:
    """An argyrodite composition: Li, S and halide X per P, in exact fractions."""

    lithium: Fraction
    sulfur: Fraction
    halogen: Fraction
    halide: str

    def _amounts(self, units: int) -> dict[str, Fraction]:
        per_p = {"Li": self.lithium, "P": Fraction(1), "S": self.sulfur, self.halide: self.halogen}
        return {symbol: amount * units for symbol, amount in per_p.items()}

    @property
    def formula(self) -> str:
        """The formula per P, ``Li5.5PS4.5Cl1.5``; with fractions where no finite decimal is exact."""
        return "".join(symbol + _text(amount) for symbol, amount in self._amounts(1).items())

    def formula_units_that_fit(self, max: int = 20) -> list[int]:
        """Return the numbers of formula units, up to ``max``, that hold the composition in whole atoms."""
        step = math.lcm(*(amount.denominator for amount in self._amounts(1).values()))
        return list(range(step, max + 1, step))

    def counts(self, formula_units: int) -> dict[str, int]:
        """Return atoms of each element in ``formula_units`` formula units.

        Raises
        ------
        InputError
            If that number of formula units cannot hold the composition exactly; nothing is rounded.
        """
        fits = self.formula_units_that_fit()
        whole = isinstance(formula_units, int) and formula_units > 0
        if not whole or any(amount.denominator > 1 for amount in self._amounts(formula_units).values()):
            problem = f"{formula_units} formula units cannot hold {self.formula} in whole atoms"
            raise InputError(problem, f"use one of {fits}" if fits else "none up to 20 can: give exact fractions")
        return {symbol: int(amount) for symbol, amount in self._amounts(formula_units).items()}


@dataclass(frozen=True)
class ArgyroditeConfiguration:
    """One ordered configuration; ``seed`` is that of the annealing run that found it.

    ``ewald_ev_per_fu`` is relative to the lowest of the ensemble. It ranks: unscreened formal charges on
    unrelaxed sites give far too large differences. ``engine_ev_per_fu`` is relative too. ``anion_sites``
    counts the anions on 4a and 4d; its ``site_inversion`` is the halide occupancy of 4d.
    """

    structure: Structure
    ewald_ev_per_fu: float
    ewald_total_ev_per_fu: float
    engine_ev_per_fu: float | None
    seed: int
    anion_sites: dict[str, Any]
    checks: dict[str, Any]


@dataclass(frozen=True)
class ArgyroditeEnsemble:
    """Distinct configurations of one composition in one cell, lowest (engine, else Ewald) energy first.

    The spreads are highest minus lowest energy. ``unselected_ev_per_fu`` is the mean Ewald energy of random
    configurations that keep the rules, above the lowest. ``cell`` gives its vectors over the cubic axes.
    """

    composition: ArgyroditeComposition
    configurations: list[ArgyroditeConfiguration]
    spread_ev_per_fu: float
    engine_spread_ev_per_fu: float | None
    unselected_ev_per_fu: float
    cell: dict[str, Any]
    anion_order: str
    seed: int
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON data: the composition as its formula, structures as pymatgen dictionaries."""
        items = [vars(item) | {"structure": item.structure.as_dict()} for item in self.configurations]
        return vars(self) | {"composition": self.composition.formula, "configurations": items}


def parse_argyrodite(formula: str) -> ArgyroditeComposition:
    """Read ``Li5.5PS4.5Cl1.5``, ``Li22P4S18Cl6`` or ``Li16/3PS13/3Cl5/3`` exactly and check it.

    Raises
    ------
    InputError
        If the formula cannot be read, is not charge balanced, or has per P other than six S + X (4 in PS4,
        2 free), more than two X, or more than six Li (one per 48h pair).
    """
    text = formula.replace(" ", "")
    tokens = re.findall(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?(?:/(\d+))?", text, re.ASCII)
    amounts = {symbol: Fraction(number or 1) / (int(below or 1) or 1) for symbol, number, below in tokens}
    read = "".join(symbol + number + (below and f"/{below}") for symbol, number, below in tokens)
    zero = any(int(below or 1) == 0 for *_, below in tokens) or not all(amounts.values())
    if not text or read != text or len(amounts) != len(tokens) or zero:
        raise InputError(f"cannot read the formula {formula!r}", "write it like Li5.5PS4.5Cl1.5")
    halides = [symbol for symbol in HALIDES if symbol in amounts]
    if len(halides) != 1 or set(amounts) != {"Li", "P", "S", *halides}:
        raise InputError(f"{formula!r} contains {', '.join(amounts)}", "give Li, P, S and one of Cl, Br, I")
    halide = halides[0]
    a, b, c = (amounts[symbol] / amounts["P"] for symbol in ("Li", "S", halide))
    charge = a + 5 - 2 * b - c
    remedy = f"argyrodites here are Li(7-x)PS(6-x){halide}(x) with x from 1 to 2"
    if 1 <= c <= 2:
        remedy = f"with this halide content it is {ArgyroditeComposition(7 - c, 6 - c, c, halide).formula}"
    problems = {
        f"is not charge balanced: {float(charge):+g} e per P with Li+1, P+5, S-2, {halide}-1": charge != 0,
        f"has {float(b + c):g} S + {halide} per P, the sites hold 6 (4 in PS4, 2 free)": b + c != 6,
        f"has {float(c):g} {halide} per P, more than the 2 free-anion sites": c > 2,
        f"has {float(a):g} Li per P, more than the 6 pairs of 48h sites": a > 6,
    }
    for problem, symbols in problems.items():
        if symbols:
            raise InputError(f"{formula} {problem}", remedy)
    return ArgyroditeComposition(a, b, c, halide)


# long: a third or more of it is documentation
def argyrodite_configurations(
    formula: str | ArgyroditeComposition,
    *,
    formula_units: int | None = None,
    n: int = 5,
    seed: int = 0,
    anion_order: _AnionOrder = "auto",
    site_inversion: float | Fraction | None = None,
    lattice_angstrom: float = 9.860,
    energies: Callable[[Structure], float] | None = None,
) -> ArgyroditeEnsemble:
    """Make an ensemble of ordered configurations, selected by Ewald energy.

    Parameters
    ----------
    formula
        The composition, see :func:`parse_argyrodite`.
    formula_units
        4 (the cubic cell) where that fits, else the smallest larger number that does. The cell is the most
        compact supercell of the primitive cell, right-angled if that costs little.
    n
        Configurations wanted, distinct under the symmetry of the empty framework.
    seed
        The same seed gives the same ensemble.
    anion_order
        ``ordered``: X fills 4a, the excess fills 4d. ``random``: each configuration has its own random S/X
        arrangement and only its Li are annealed. ``lowest``: S and X are annealed too. ``auto``: ordered for
        one X per P without ``site_inversion``, else random.
    site_inversion
        Halide occupancy of the 4d site, 0 to 1.
    lattice_angstrom
        Edge of the cubic cell of 4 formula units. PS4 stays rigid when it changes.
    energies
        Total energy of a structure in eV; it ranks the ``n`` configurations.

    Returns
    -------
    ArgyroditeEnsemble
        The lowest first.

    Raises
    ------
    InputError
        If an option has no meaning, or the cell cannot hold the composition or the inversion exactly.
    StructureError
        If a configuration breaks a rule of the crystal.
    ConvergenceError
        If ``energies`` returns no finite number.
    """
    composition = parse_argyrodite(formula) if isinstance(formula, str) else formula
    if formula_units is None:
        fits = composition.formula_units_that_fit()
        formula_units = 4 if 4 in fits else next((k for k in fits if k > 4), 4)
    counts = composition.counts(formula_units)
    if n < 1 or not 9.0 <= lattice_angstrom <= 11.0:
        problem = f"{n} configurations with a cubic edge of {lattice_angstrom} Å"
        raise InputError(problem, "ask for n >= 1 and an edge between 9 and 11 Å")
    order: str = anion_order
    if order == "auto":
        order = "ordered" if composition.halogen == 1 and site_inversion is None else "random"
    on_4d = _halides_on_4d(composition, formula_units, order, site_inversion)
    frame = _Framework.build(formula_units, lattice_angstrom)
    random, free = order == "random", [frame.groups["4a"], frame.groups["4d"]]
    swap = [] if random else [np.concatenate(free)] if on_4d is None else free
    pool: _Pool = {}
    lowest: list[float] = []
    for k in range(n if random else max(n, 24 if formula_units <= 8 else 12)):
        run_seed = int(np.random.SeedSequence([seed, k]).generate_state(1)[0])
        rng = np.random.default_rng(run_seed)
        start, states = frame.draw(rng, counts, on_4d), _Pool()
        for _ in range(4 if random else 1):
            for energy, state in frame.anneal(rng, start, swap):
                states.setdefault(frame.canonical(state), (energy, run_seed, state))
        lowest.append(min(energy for energy, *_ in states.values()))
        new = sorted((key for key in states if key not in pool), key=lambda key: (states[key][0], key))
        pool |= {key: states[key] for key in (new[:1] if random else new)}
        hits = sum(energy < min(lowest) + 1e-6 for energy in lowest)
        if not random and hits >= 6 and len(pool) >= n:
            break
    chosen = sorted(pool.values(), key=lambda entry: (round(entry[0], 6), entry[1]))[:n]
    warnings = []
    if composition.halide != "Cl" and lattice_angstrom == 9.860:
        warnings.append(f"9.860 Å is the cubic edge of Li6PS5Cl; give the one of {composition.formula}")
    if len(chosen) < n:
        warnings.append(f"only {len(chosen)} distinct configurations were found, {n} were asked for")
    if not random and hits < 2:
        warnings.append("only one annealing run reached the lowest energy; another seed may find a lower one")
    configurations = []
    for energy, run_seed, charges in chosen:
        structure, anion_sites, pairs = frame.decode(charges, composition.halide)
        engine = None if energies is None else float(energies(structure.copy())) / formula_units
        if engine is not None and not math.isfinite(engine):
            raise ConvergenceError(f"the engine returned {engine} eV for {composition.formula}", "converge it")
        checks = check_argyrodite(structure, counts) | pairs
        ewald = (energy - chosen[0][0]) / formula_units, energy / formula_units
        configurations.append(ArgyroditeConfiguration(structure, *ewald, engine, run_seed, anion_sites, checks))
    spread, engine_spread = configurations[-1].ewald_ev_per_fu, None
    engines = [item.engine_ev_per_fu for item in configurations if item.engine_ev_per_fu is not None]
    if engines:
        engine_spread = max(engines) - min(engines)
        ranked = sorted(zip(engines, configurations, strict=True), key=lambda pair: pair[0])
        configurations = [replace(item, engine_ev_per_fu=value - min(engines)) for value, item in ranked]
    rng = np.random.default_rng(seed)
    drawn = [frame.draw(rng, counts, on_4d) for _ in range(200)]
    mean = float(np.mean([charges @ frame.matrix @ charges for charges in drawn]))
    unselected = (mean - chosen[0][0]) / formula_units
    rows = (np.array(_supercell(formula_units)) / 2).tolist()
    cell = {"formula_units": formula_units, "atoms": sum(counts.values()), "vectors_over_cubic_axes": rows}
    cell |= {"lengths_angstrom": list(frame.lattice.abc), "angles_deg": list(frame.lattice.angles)}
    cell["cubic_edge_angstrom"] = lattice_angstrom
    return ArgyroditeEnsemble(
        composition, configurations, spread, engine_spread, unselected, cell, order, seed, warnings
    )


def check_argyrodite(structure: Structure, counts: dict[str, int]) -> dict[str, Any]:
    """Verify an unrelaxed configuration with ``counts`` atoms per element and return the values found.

    Raises
    ------
    StructureError
        If the composition, charge, a PS4 tetrahedron, the Li-Li distance or the handedness is wrong.
    """
    symbols = np.array([site.specie.symbol for site in structure])
    first, second, _, distance = structure.get_neighbor_list(4.0)
    li_li = distance[(symbols[first] == "Li") & (symbols[second] == "Li")]
    bonded = (symbols[first] == "P") & (distance < PS_BOND_MAX_ANGSTROM)
    neighbours = np.bincount(first[bonded], minlength=len(symbols))[symbols == "P"]
    charge = sum(_CHARGES[symbol] for symbol in symbols)
    facts: dict[str, Any] = {
        "formula": structure.composition.formula,
        "charge_e": int(charge),
        "shortest_li_li_angstrom": float(li_li.min(initial=np.inf)),
        "shortest_distance_angstrom": float(distance.min()),
        "s_per_p": sorted(set(neighbours.tolist())),
        "p_s_angstrom": [float(distance[bonded].min(initial=9)), float(distance[bonded].max(initial=0))],
        "right_handed": bool(np.linalg.det(structure.lattice.matrix) > 0),
    }
    shortest, longest = facts["p_s_angstrom"]
    problems = {
        "composition": Counter(symbols.tolist()) != Counter(counts),
        "charge": charge != 0,
        "PS4 tetrahedron": facts["s_per_p"] != [4] or not 1.95 < shortest <= longest < 2.15,
        "Li-Li distance": facts["shortest_li_li_angstrom"] <= _LI_LI_MIN_ANGSTROM,
        "handedness": not facts["right_handed"],
    }
    if any(problems.values()):
        wrong = ", ".join(name for name, failed in problems.items() if failed)
        raise StructureError(f"an argyrodite has a wrong {wrong}: {facts}", "check the parent crystal")
    return facts


def _text(value: Fraction) -> str:
    """Return the shortest exact text of an amount; nothing for one."""
    for digits in range(13):
        if (value * 10**digits).denominator == 1:
            return "" if value == 1 else f"{Decimal(int(value * 10**digits)).scaleb(-digits):f}"
    return f"{value.numerator}/{value.denominator}"


def _halides_on_4d(
    composition: ArgyroditeComposition, units: int, order: str, inversion: float | Fraction | None
) -> int | None:
    """Return how many halides are on the ``units`` 4d sites; None leaves it open."""
    if order not in ("ordered", "random", "lowest"):
        raise InputError(f"anion order {order!r} is unknown", "use auto, ordered, random or lowest")
    least = int(composition.halogen * units) - units  # 4a is full then
    if inversion is None:
        return least if order == "ordered" else None
    possible = range(least, (least if order == "ordered" else units) + 1)
    for number in possible:
        if abs(number - float(inversion) * units) < 1e-9:
            return number
    choices = ", ".join(str(Fraction(k, units)) for k in possible)
    problem = f"{units} {order} {composition.formula} cannot have a site inversion of {inversion} exactly"
    raise InputError(problem, f"use one of {choices}, or another cell or anion order")


@lru_cache
def _supercell(units: int) -> list[list[int]]:
    """Return vectors, in half cubic edges, of the most compact right-handed cell of ``units`` primitive cells.

    Compact: the longest shortest vector, then the least sum of squares, over all Hermite normal forms. A
    right-angled cell wins if its shortest vector is at least 0.8 of the best.
    """
    radius = 4 * (units / 4) ** (1 / 3)
    span = range(-int(radius), int(radius) + 1)
    points = [p for p in itertools.product(span, repeat=3) if 0 < np.dot(p, p) <= radius**2]
    points.sort(key=lambda p: (int(np.dot(p, p)), [-x for x in p]))
    table, cells = np.array(points), []
    for a, c in itertools.product(range(1, units + 1), repeat=2):
        if units % (a * c):
            continue
        for b, d, e in itertools.product(range(a), range(a), range(c)):
            hermite = np.array([[a, 0, 0], [b, c, 0], [d, e, units // (a * c)]]) @ _PRIMITIVE
            weights = table @ np.linalg.inv(hermite)
            short = table[np.abs(weights - weights.round()).max(axis=1) < 1e-6]
            u = short[0]
            v = next((p for p in short if np.cross(u, p).any()), u)
            w = next((p for p in short if np.dot(np.cross(u, v), p) > 0), u)
            gram = np.array([u, v, w]) @ np.array([u, v, w]).T
            if round(abs(np.linalg.det([u, v, w]))) == 2 * units:
                square = bool((gram == np.diag(np.diag(gram))).all())
                cells.append((-int(u @ u), int(np.trace(gram)), square, [(-x).tolist() for x in (u, v, w)]))
    best = min(cells)
    right = min((cell for cell in cells if cell[2] and cell[0] <= 0.64 * best[0]), default=best)
    return [[-x for x in row] for row in right[3]]


@dataclass(frozen=True)
class _Framework:
    """All candidate sites of a cell, their symmetry and their Ewald matrix for unit charges (eV)."""

    lattice: Lattice
    frac_coords: NDArray[np.float64]
    partner: NDArray[np.int64]  # for Li, the other site of the 48h pair
    matrix: NDArray[np.float64]
    permutations: NDArray[np.int64]
    groups: dict[str, NDArray[np.int64]]  # P, S, 4a, 4d, Li

    @classmethod
    def build(cls, units: int, edge: float) -> _Framework:
        """Find the sites of the catalogue's crystal by geometry and repeat them in the cell."""
        parent = get_entry("Li6PS5Cl").structure
        symbols = [{el.symbol for el in site.species.elements} for site in parent]
        li, p = (np.array([symbol in elements for elements in symbols]) for symbol in ("Li", "P"))
        frac, a = parent.frac_coords.copy(), parent.lattice.a
        to_p = parent.lattice.get_all_distances(frac, frac[p])
        bonded = ~li & ~p & (to_p.min(axis=1) < PS_BOND_MAX_ANGSTROM)
        # A free anion has its nearest P at a/2 (4a) or at sqrt(3)/4 a = 0.433 a (4c or 4d, by origin).
        free = np.where(to_p.min(axis=1) > 0.466 * a, "4a", "4d")
        kinds = np.select([li, p, bonded], ["Li", "P", "S"], free)
        if Counter(kinds.tolist()) != {"Li": 48, "P": 4, "S": 16, "4a": 4, "4d": 4}:
            raise StructureError(f"the parent cell has {Counter(kinds.tolist())}", "correct the catalogue entry")
        bonds = frac - frac[p][to_p.argmin(axis=1)]
        frac[bonded] += (bonds - bonds.round())[bonded] * (a / edge - 1)  # keeps the P-S vectors in Å
        frac = frac @ np.linalg.inv(_PRIMITIVE / 2)
        frac -= np.floor(frac + 1e-6)
        _, first = np.unique(frac.round(5), axis=0, return_index=True)
        cell = Lattice(_PRIMITIVE * edge / 2)
        sites = Structure(cell, ["Li+"] * len(first), frac[first], site_properties={"kind": kinds[first]})
        sites.make_supercell((np.array(_supercell(units)) @ np.linalg.inv(_PRIMITIVE)).round().astype(int))
        kinds = np.array(sites.site_properties["kind"])
        matrix = EwaldSummation(sites, acc_factor=14).total_energy_matrix
        away = np.where(np.eye(len(kinds)) + (kinds != "Li"), np.inf, 0.0)
        partner = (sites.distance_matrix + away).argmin(axis=1)
        groups = {kind: np.flatnonzero(kinds == kind) for kind in ("Li", "P", "S", "4a", "4d")}
        if (partner[partner[groups["Li"]]] != groups["Li"]).any():
            raise StructureError("the 48h sites of the parent do not form pairs", "correct the catalogue entry")
        frac = sites.frac_coords
        codes = np.unique(kinds, return_inverse=True)[1].tolist()
        symmetry = spglib.get_symmetry((sites.lattice.matrix.tolist(), frac.tolist(), codes), symprec=1e-3)
        if symmetry is None:
            raise StructureError("spglib finds no symmetry in the parent cell", "correct the catalogue entry")
        tree = cKDTree(frac % 1 % 1, boxsize=1)  # twice: -1e-17 % 1 is 1.0
        images = [
            tree.query((frac @ rotation.T + shift) % 1 % 1)[1]
            for rotation, shift in zip(symmetry["rotations"], symmetry["translations"], strict=True)
        ]
        return cls(sites.lattice, frac, partner, (matrix + matrix.T) / 2, np.array(images), groups)

    def draw(self, rng: np.random.Generator, counts: dict[str, int], on_4d: int | None) -> NDArray[np.float64]:
        """Return the charges of a random arrangement that keeps the rules, with ``on_4d`` halides on 4d if given."""
        sites, charges = self.groups, np.zeros(len(self.partner))
        charges[sites["P"]] = _CHARGES["P"]
        for kind in ("S", "4a", "4d"):
            charges[sites[kind]] = _CHARGES["S"]
        halides = sum(counts.get(symbol, 0) for symbol in HALIDES)
        a, d = rng.permutation(sites["4a"]), rng.permutation(sites["4d"])
        if on_4d is None:
            charges[rng.permutation(np.concatenate([a, d]))[:halides]] = -1
        else:
            charges[a[: halides - on_4d]] = charges[d[:on_4d]] = -1
        pairs = rng.permutation(sites["Li"][self.partner[sites["Li"]] > sites["Li"]])[: counts["Li"]]
        charges[np.where(rng.random(len(pairs)) < 0.5, pairs, self.partner[pairs])] = 1
        return charges

    def moves(self, charges: NDArray[Any], swap: list[NDArray[Any]]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return allowed transfers of one unit of charge (from, to), by kind: Li flips, Li hops, S/X swaps."""
        li = self.groups["Li"]
        full = li[charges[li] > 0]
        empty = li[charges[li] + charges[self.partner[li]] == 0]
        kinds = [(full, self.partner[full]), (np.repeat(full, len(empty)), np.tile(empty, len(full)))]
        for group in swap:
            x, s = group[charges[group] == -1], group[charges[group] == -2]
            kinds.append((np.repeat(x, len(s)), np.tile(s, len(x))))
        return [pair for pair in kinds if len(pair[0])]

    def anneal(
        self, rng: np.random.Generator, start: NDArray[Any], swap: list[NDArray[Any]]
    ) -> Iterator[tuple[float, NDArray[np.float64]]]:
        """Anneal from 1 to 0.06 eV; yield the local minimum (eV per cell) below each temperature."""
        charges, field, kinds = start.copy(), self.matrix @ start, self.moves(start, swap)
        own = np.add.outer(np.diag(self.matrix), np.diag(self.matrix)) - 2 * self.matrix
        for kt in np.geomspace(1.0, 0.06, 80):
            for kind, pick, chance in rng.random((4 * len(self.groups["Li"]), 3)):
                source, target = kinds[int(kind * len(kinds))]
                k = int(pick * len(source))
                s, t = source[k], target[k]
                if chance < math.exp(min(0.0, -(2 * (field[t] - field[s]) + own[s, t]) / kt)):
                    charges[s] -= 1
                    charges[t] += 1
                    field += self.matrix[t] - self.matrix[s]
                    if len(kinds) > 1:
                        kinds = self.moves(charges, swap)
                    else:  # flips alone: only this one changes, to its reverse
                        source[k], target[k] = t, s
            state, change = charges.copy(), np.array([-1.0])
            while change.min() < -1e-7:
                a, b = (np.concatenate(sites) for sites in zip(*self.moves(state, swap), strict=True))
                local = self.matrix @ state
                change = 2 * (local[b] - local[a]) + own[a, b]
                if change.min() < -1e-7:
                    state[a[change.argmin()]] -= 1
                    state[b[change.argmin()]] += 1
            yield float(state @ self.matrix @ state), state

    def canonical(self, charges: NDArray[Any]) -> bytes:
        """Return the same bytes for all arrangements that a symmetry of the empty framework connects."""
        result: bytes = min(row.tobytes() for row in charges.astype(np.int8)[self.permutations])
        return result

    def decode(self, charges: NDArray[Any], halide: str) -> tuple[Structure, dict[str, Any], dict[str, int]]:
        """Return the structure, sorted Li, P, S, X; the anions on 4a and 4d; the 48h pairs by occupation."""
        names = {_CHARGES[symbol]: symbol for symbol in ("Li", "P", "S", halide)}
        order = [i for charge in names for i in np.flatnonzero(charges == charge)]
        structure = Structure(self.lattice, [names[int(charges[i])] for i in order], self.frac_coords[order])
        on = {kind: charges[self.groups[kind]] == -1 for kind in ("4a", "4d")}
        anions: dict[str, Any] = {k: {halide: int(x.sum()), "S": int((~x).sum())} for k, x in on.items()}
        both = charges[self.groups["Li"]] + charges[self.partner[self.groups["Li"]]]
        if both.max() > 1:
            raise StructureError("a pair of 48h sites holds two Li", "report this: a move broke the rule")
        pairs = {"pairs_with_one_li": int((both == 1).sum()) // 2, "empty_pairs": int((both == 0).sum()) // 2}
        return structure, anions | {"site_inversion": float(on["4d"].mean())}, pairs
