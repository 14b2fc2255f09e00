"""Hops of lithium found by symmetry: between vacancies, interstitial sites, sites of a surface, across an interface."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.adsorption import adsorption_sites
from anodeflow.structures.cleaving import symmetry
from anodeflow.structures.interstitials import interstitial_sites
from anodeflow.structures.sites import element_symbols, overlap_distance_angstrom
from anodeflow.suggest import did_you_mean

Mechanism = Literal["vacancy", "interstitial", "surface", "interface"]

#: A hop that passes a third site closer than this is two hops.
_VIA_ANGSTROM = 0.5
#: Relaxed crystals keep their symmetry to this accuracy.
SYMPREC_ANGSTROM = 0.02
_SAME_POINT_ANGSTROM = 0.1
#: Atoms whose heights differ by less than this lie in one plane of an interface as built.
_SAME_PLANE_ANGSTROM = 0.3


@dataclass(frozen=True)
class Hop:
    """One elementary hop of one atom, and how many like it there are.

    Attributes
    ----------
    label
        ``"Li1-Li1"``: from a site of the first orbit to one of the second; further hops between the same orbits
        are ``"Li1-Li1.2"``, by distance.
    mechanism
        ``"vacancy"`` (the atom of the start site moves into the vacancy on the end site), ``"interstitial"``,
        ``"surface"`` or ``"interface"``.
    start, end
        Fractional coordinates in the cell of the host; ``end - start`` is the hop. The site of the vacancy (`end`), or
        where the atom between sites begins (`start`), lies in the cell and is the same for all hops of its orbit; the
        other one is not folded.
    start_site, end_site
        Names of the orbits.
    distance_angstrom
        Straight distance.
    multiplicity, multiplicity_back
        Equivalent hops that leave one start site; reverse hops that leave one end site.
    symmetric
        A symmetry operation of the host exchanges start and end, so forward and backward barriers are equal.
    """

    label: str
    mechanism: Mechanism
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_site: str
    end_site: str
    distance_angstrom: float
    multiplicity: int
    multiplicity_back: int
    symmetric: bool

    @property
    def text(self) -> str:
        """One line for people."""
        ways = f"{self.multiplicity} from each {self.start_site}"
        return f"{self.label} ({self.distance_angstrom:.2f} angstrom, {ways})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON; :meth:`from_dict` reads them back."""
        return {**asdict(self), "start": list(self.start), "end": list(self.end)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Hop:
        """Make a hop from the dictionary of :meth:`as_dict`."""
        return cls(**{**data, "start": tuple(data["start"]), "end": tuple(data["end"])})


@dataclass(frozen=True)
class Points:
    """Sites between which an atom hops: fractional coordinates (n, 3), the orbit of each, the orbits' names."""

    frac: NDArray[np.float64]
    orbit: NDArray[np.int_]
    names: list[str]


def lithium_hops(
    host: Structure,
    mechanism: Mechanism,
    *,
    max_distance_angstrom: float = 4.0,
    sites: Sequence[str] | None = None,
    element: str = "Li",
) -> list[Hop]:
    """Find every symmetry-inequivalent elementary hop up to a distance.

    Hops whose straight line runs into another atom (closer than 0.6 times the sum of the covalent radii), or within
    0.5 angstrom of a third site (bridges of a surface aside), are left out: they are not single hops.

    Parameters
    ----------
    host
        The perfect crystal (``vacancy``, ``interstitial``), the slab with vacuum above (``surface``), or an
        interface whose atoms carry the site property ``side`` (``interface``). For a crystal give the primitive or the
        conventional cell: a supercell of lower symmetry counts equivalent hops apart.
    mechanism
        How the atom moves. ``interface`` means the vacancy mechanism, from the film's first Li planes to the
        substrate's, across the contact inside the cell.
    max_distance_angstrom
        Longest straight distance.
    sites
        Names of orbits between which hops are looked for. By default all, on a surface the hollows.
    element
        What hops.

    Returns
    -------
    list of Hop
        Shortest first.

    Raises
    ------
    InputError
        An unknown mechanism or site, or a distance that is not positive.
    StructureError
        The crystal holds no such atom, or there is no hop up to this distance.
    """
    if not (np.isfinite(max_distance_angstrom) and 0 < max_distance_angstrom <= 15):
        raise InputError(f"max_distance_angstrom is {max_distance_angstrom}", "give 0 to 15 angstrom, such as 4")
    finders = {
        "vacancy": _vacancy_points,
        "interstitial": _interstitial_points,
        "surface": _surface_points,
        "interface": _interface_points,
    }
    if mechanism not in finders:
        raise InputError(f"unknown mechanism {mechanism!r}", f"use one of {', '.join(finders)}")
    operations = operations_of(host, mechanism)
    points = finders[mechanism](host, element, operations)
    if sites is None and mechanism == "surface":
        sites = [name for name in points.names if name.startswith("hollow")] or None
    chosen = _chosen_orbits(points, sites)
    hops = _inequivalent(host, points, chosen, operations, mechanism, max_distance_angstrom)
    hops = [hop for hop in hops if not _runs_into_an_atom(host, hop, element) and not _passes_a_site(host, hop, points)]
    if not hops:
        raise StructureError(
            f"{host.composition.reduced_formula}: no {mechanism} hop of {element} within {max_distance_angstrom} "
            "angstrom",
            "raise max_distance_angstrom"
            + ("; sites further from the contact may be too far" if mechanism == "interface" else ""),
        )
    return _labelled(hops)


def choose_hops(hops: Sequence[Hop], labels: Sequence[str] | None) -> list[Hop]:
    """Return the hops with these labels, in the order given; all where `labels` is None.

    Raises
    ------
    InputError
        A label that no hop has; the nearest are offered.
    """
    if labels is None:
        return list(hops)
    known = {hop.label: hop for hop in hops}
    for label in labels:
        if label not in known:
            hint = did_you_mean(label, known, f"known: {', '.join(h.text for h in hops)}")
            raise InputError(f"unknown hop '{label}'", hint)
    return [known[label] for label in dict.fromkeys(labels)]


def kinds_of_crossing(host: Structure, hops: Sequence[Hop], element: str = "Li") -> list[tuple[Hop, str]]:
    """Return one hop of each kind across an interface, in the order given, each with its geometry as text.

    Hops are of one kind if they lead between the same planes over the same distance: in a cell of a few repeats there
    are several that differ by atoms far from them alone.

    Parameters
    ----------
    host
        The interface the hops were found in, as built; its atoms carry the site property ``side``.
    hops
        Of mechanism ``interface``.
    element
        What hops; its atoms make the planes.

    Returns
    -------
    list of (Hop, str)
        The text is such as ``plane 1 of the film to plane 1 of the substrate, 2.57 angstrom, 1.44 of it sideways``.
    """
    planes = {side: _planes_from_contact(host, side, element) for side in ("film", "substrate")}
    kinds: dict[tuple[int, int, float, float], tuple[Hop, str]] = {}
    for hop in hops:
        start, end = (host.lattice.get_cartesian_coords(np.mod(f, 1.0))[2] for f in (hop.start, hop.end))
        first, second = (
            1 + int(np.abs(planes[side] - height).argmin()) for side, height in (("film", start), ("substrate", end))
        )
        step = host.lattice.get_cartesian_coords(np.array(hop.end) - np.array(hop.start))
        sideways = float(np.linalg.norm(step[:2]))
        text = (
            f"plane {first} of the film to plane {second} of the substrate, {hop.distance_angstrom:.2f} angstrom, "
            f"{sideways:.2f} of it sideways"
        )
        kinds.setdefault((first, second, round(hop.distance_angstrom, 1), round(sideways, 1)), (hop, text))
    return list(kinds.values())


def _planes_from_contact(host: Structure, side: str, element: str) -> NDArray[np.float64]:
    """Return the heights of the planes of one element on one side of contact 1, the nearest first, angstrom."""
    sides, symbols = np.array(host.site_properties["side"]), np.array(element_symbols(host))
    heights = np.sort(np.mod(host.frac_coords[(sides == side) & (symbols == element), 2], 1.0) * host.lattice.c)
    planes = [group.mean() for group in np.split(heights, np.flatnonzero(np.diff(heights) > _SAME_PLANE_ANGSTROM) + 1)]
    return np.array(planes if side == "film" else planes[::-1])


# --- the sites -------------------------------------------------------------------------------------------------------


def operations_of(host: Structure, mechanism: Mechanism) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return operations of the host; of surfaces and interfaces those that keep up up, and the two sides apart."""
    marked = host
    if "side" in host.site_properties:
        marked = Structure(
            host.lattice,
            [f"{site.specie.symbol}{2 if site.properties['side'] == 'film' else 1}+" for site in host],
            host.frac_coords,
        )
    rotations, translations = symmetry(marked, SYMPREC_ANGSTROM)
    if mechanism in ("surface", "interface"):
        upright = [r[2, 2] == 1 and not r[2, :2].any() and not r[:2, 2].any() for r in rotations]
        rotations, translations = rotations[upright], translations[upright]
    if mechanism == "interface":  # one contact, not its image across the cell
        still = np.abs(translations[:, 2] - np.round(translations[:, 2])) < 1e-2
        rotations, translations = rotations[still], translations[still]
    return rotations.astype(float), translations


def _require(host: Structure, element: str) -> list[int]:
    atoms = [n for n, symbol in enumerate(element_symbols(host)) if symbol == element]
    if not atoms:
        raise StructureError(
            f"{host.composition.reduced_formula} holds no {element}, so none can hop into a vacancy",
            "use mechanism: interstitial, or surface",
        )
    return atoms


def _vacancy_points(host: Structure, element: str, operations: Any) -> Points:
    indices = _require(host, element)
    frac = host.frac_coords[indices]
    orbit = _orbits(host, frac, operations)
    return Points(frac, orbit, [f"{element}{n + 1}" for n in range(orbit.max() + 1)])


def _interface_points(host: Structure, element: str, operations: Any) -> Points:
    if "side" not in host.site_properties:
        raise InputError("the structure does not say which atoms are the film's", "build it with build_interface")
    sides = np.array(host.site_properties["side"])
    indices = np.array(_require(host, element))
    for side in ("film", "substrate"):
        if not (sides[indices] == side).any():
            raise StructureError(
                f"the {side} of the interface holds no {element}, so none can cross by way of a vacancy",
                "choose two crystals with lithium",
            )
    frac = host.frac_coords[indices]
    orbit = _orbits(host, frac, operations)
    film, substrate = (host.frac_coords[sides == side, 2] for side in ("film", "substrate"))
    contact = (film.min() + substrate.max()) / 2
    names = [""] * (orbit.max() + 1)
    for side in ("film", "substrate"):
        own = [n for n in range(len(names)) if sides[indices[orbit == n][0]] == side]
        depth = {n: float(abs(frac[orbit == n, 2].mean() - contact)) for n in own}
        for place, n in enumerate(sorted(own, key=lambda k: (round(depth[k], 4), k)), start=1):
            names[n] = f"{side}{place}"
    return Points(frac, orbit, names)


def _interstitial_points(host: Structure, element: str, operations: Any) -> Points:
    return _site_points(host, interstitial_sites(host, element=element), operations)


def _surface_points(host: Structure, element: str, operations: Any) -> Points:
    sites = [replace(s, label=s.label.replace("-", "")) for s in adsorption_sites(host, element=element)]
    return _site_points(host, sites, operations)


def _site_points(host: Structure, sites: Sequence[Any], operations: Any) -> Points:
    frac, orbit = [], []
    for n, site in enumerate(sites):
        images = operations[0] @ np.array(site.frac_coords) + operations[1]
        kept: list[NDArray[np.float64]] = []
        for image in images - np.floor(images):
            if not kept or _shortest(host, image, np.array(kept)).min() > _SAME_POINT_ANGSTROM:
                kept.append(image)
        frac += kept
        orbit += [n] * len(kept)
    return Points(np.array(frac), np.array(orbit), [site.label for site in sites])


def _shortest(host: Structure, frac: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances from one point to others; good where they are much shorter than the cell."""
    delta = others - frac
    result: NDArray[np.float64] = np.linalg.norm((delta - np.round(delta)) @ host.lattice.matrix, axis=1)
    return result


def _orbits(host: Structure, frac: NDArray[np.float64], operations: Any) -> NDArray[np.int_]:
    """Return the number of the orbit of each point, counted from 0 in the order of appearance."""
    targets, _ = _moves(host, frac, operations)
    orbit = np.full(len(frac), -1)
    for point in range(len(frac)):
        if orbit[point] < 0:
            orbit[np.unique(targets[:, point])] = orbit.max() + 1
    return orbit


def _moves(host: Structure, frac: NDArray[np.float64], operations: Any) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return where operations take points: index (operations, points) and lattice vector (operations, points, 3)."""
    rotations, translations = operations
    images = np.einsum("oij,pj->opi", rotations, frac) + translations[:, None, :]
    delta = images[:, :, None, :] - frac[None, None]
    whole = np.round(delta)
    distance = np.linalg.norm((delta - whole) @ host.lattice.matrix, axis=-1)
    target = distance.argmin(axis=2)
    if distance.min(axis=2).max() > 3 * _SAME_POINT_ANGSTROM:
        raise StructureError(
            f"the symmetry of {host.composition.reduced_formula} does not map its sites onto each other",
            "relax the structure more tightly",
        )
    shift = np.take_along_axis(whole, target[:, :, None, None], axis=2)[:, :, 0, :]
    return target, shift.astype(int)


def _chosen_orbits(points: Points, sites: Sequence[str] | None) -> set[int]:
    if sites is None:
        return set(range(len(points.names)))
    for name in sites:
        if name not in points.names:
            raise InputError(f"unknown site '{name}'", did_you_mean(name, points.names, cutoff=0.4))
    return {points.names.index(name) for name in sites}


# --- the hops --------------------------------------------------------------------------------------------------------


def _inequivalent(
    host: Structure,
    points: Points,
    chosen: set[int],
    operations: Any,
    mechanism: Mechanism,
    cutoff: float,
) -> list[Hop]:
    """Return one hop of each class, unlabelled."""
    directed = _directed(host, points, chosen, mechanism, cutoff)
    targets, shifts = _moves(host, points.frac, operations)
    rotations = np.round(operations[0]).astype(int)
    seen: set[tuple[int, ...]] = set()
    hops = []
    for key in sorted(directed, key=lambda k: (round(directed[k], 4), k)):
        if key in seen:
            continue
        first, second, vector = key[0], key[1], np.array(key[2:])
        images = np.concatenate(
            [
                targets[:, [first]],
                targets[:, [second]],
                rotations @ vector + shifts[:, second] - shifts[:, first],
            ],
            axis=1,
        )
        forward = {tuple(int(x) for x in image) for image in images}
        backward = {(k[1], k[0], -k[2], -k[3], -k[4]) for k in forward}
        seen |= forward | backward
        # From the orbit named first to the later one; the interface from film to substrate.
        turned = points.orbit[first] > points.orbit[second]
        if mechanism == "interface":
            turned = points.names[points.orbit[first]].startswith("substrate")
        there, back = (backward, forward) if turned else (forward, backward)
        # Hops into one vacancy, or from one interstitial site, share a cell.
        fixed = 1 if mechanism in ("vacancy", "interface") else 0
        chosen_key = min(there, key=lambda k: (k[fixed], k[1 - fixed], [abs(x) for x in k[2:]], k[2:]))
        start, end = points.frac[chosen_key[0]], points.frac[chosen_key[1]]
        if fixed:
            start = start - np.array(chosen_key[2:])
        else:
            end = end + np.array(chosen_key[2:])
        counts: dict[int, int] = defaultdict(int)
        for k in there:
            counts[k[0]] += 1
        reverse: dict[int, int] = defaultdict(int)
        for k in back:
            reverse[k[0]] += 1
        hops.append(
            Hop(
                label="",
                mechanism=mechanism,
                start=tuple(float(x) for x in start),  # type: ignore[arg-type]
                end=tuple(float(x) for x in end),  # type: ignore[arg-type]
                start_site=points.names[points.orbit[chosen_key[0]]],
                end_site=points.names[points.orbit[chosen_key[1]]],
                distance_angstrom=float(np.linalg.norm(host.lattice.get_cartesian_coords(end - start))),
                multiplicity=max(counts.values()),
                multiplicity_back=max(reverse.values()),
                symmetric=bool(forward & backward),
            )
        )
    return hops


def _directed(
    host: Structure, points: Points, chosen: set[int], mechanism: Mechanism, cutoff: float
) -> dict[tuple[int, ...], float]:
    """Return all hops (start, end, lattice vector of the end) with their distance."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(host.lattice.matrix), axis=0)
    counts = [int(np.ceil(cutoff / h)) + 1 for h in heights]
    if mechanism in ("surface", "interface"):
        counts[2] = 0
    axes = [np.arange(-c, c + 1) for c in counts]
    vectors = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    usable = [n for n in range(len(points.frac)) if points.orbit[n] in chosen]
    film = [points.names[points.orbit[n]].startswith("film") for n in range(len(points.frac))]
    directed = {}
    for first in usable:
        for second in usable:
            if mechanism == "interface" and film[first] == film[second]:
                continue
            steps = (points.frac[second] + vectors - points.frac[first]) @ host.lattice.matrix
            lengths = np.linalg.norm(steps, axis=1)
            for n in np.flatnonzero((lengths <= cutoff + 1e-6) & (lengths > 0.3)):
                directed[(first, second, *(int(x) for x in vectors[n]))] = float(lengths[n])
    return directed


def _along(host: Structure, hop: Hop) -> NDArray[np.float64]:
    """Return Cartesian points on the straight line, every 0.2 angstrom or closer, without its ends."""
    number = max(3, int(np.ceil(hop.distance_angstrom / 0.2)))
    start, end = host.lattice.get_cartesian_coords([hop.start, hop.end])
    result: NDArray[np.float64] = start + np.linspace(0, 1, number + 1)[1:-1, None] * (end - start)
    return result


def _runs_into_an_atom(host: Structure, hop: Hop, element: str) -> bool:
    symbols = element_symbols(host)
    limits = np.array([overlap_distance_angstrom(element, symbol) for symbol in symbols])
    ends = host.lattice.get_cartesian_coords([hop.start, hop.end])
    for point in _along(host, hop):
        for site in host.get_sites_in_sphere(point, float(limits.max())):
            own = np.linalg.norm(ends - site.coords, axis=1).min() < 0.5  # the atom itself, or the one that is missing
            if not own and site.nn_distance < limits[site.index]:
                return True
    return False


def _passes_a_site(host: Structure, hop: Hop, points: Points) -> bool:
    line = host.lattice.get_fractional_coords(_along(host, hop))
    ends = np.array([hop.start, hop.end])
    for frac, orbit in zip(points.frac, points.orbit, strict=True):
        if points.names[orbit].startswith("bridge"):  # the usual saddle between two hollows
            continue
        if any(_shortest(host, frac, end[None])[0] < _SAME_POINT_ANGSTROM for end in ends):
            continue
        if _shortest(host, frac, line).min() < _VIA_ANGSTROM:
            return True
    return False


def _labelled(hops: list[Hop]) -> list[Hop]:
    counts: dict[str, int] = defaultdict(int)
    labelled = []
    for hop in hops:
        name = f"{hop.start_site}-{hop.end_site}"
        counts[name] += 1
        labelled.append(replace(hop, label=name if counts[name] == 1 else f"{name}.{counts[name]}"))
    return labelled
