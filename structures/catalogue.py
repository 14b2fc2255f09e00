"""The crystals the studies are made of, each with its source, and the way in for a user's own structure
file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import spglib
from pymatgen.core import Composition, Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.files import read_package_yaml
from anodeflow.structures.sites import element_symbols, shortest_contact
from anodeflow.suggest import nearest

CATALOGUE = files("anodeflow.structures") / "data" / "crystals"
_FAMILIES = ("metals", "chlorides", "sulfides", "phosphides", "molecular", "thiophosphates")
"""Data files of the catalogue, in the order of its entries."""

TRUST = {
    "A": "refined experiment or database DFT, seen in two sources or reproduced by a second calculation",
    "B": "one source that passes all checks",
    "C": "a model: a start for a calculation, not a measurement",
}
"""How far the coordinates of an entry can be relied on."""

SYMPREC_ANGSTROM = 0.01
_DISTANCE_TOLERANCE_ANGSTROM = 0.02
_DENSITY_TOLERANCE = 1e-3
"""Relative; densities are stated to three decimals."""
_ORBIT_TOLERANCE = 1e-3
"""Fractional distance below which the images of one site are one atom."""


@dataclass(frozen=True)
class CrystalEntry:
    """One crystal of the catalogue, verified.

    Parameters
    ----------
    name
        Name in the catalogue, such as ``"Li9Al4"``.
    formula
        Reduced formula.
    title
        One line for people.
    kind
        ``"metal"`` or ``"insulator"``.
    space_group_symbol, space_group_number
        International symbol and number.
    source
        Citation.
    method
        Where the cell comes from: ``"experiment"`` or the calculation that relaxed it.
    licence
        Licence of the numbers and whom to credit.
    trust
        ``"A"``, ``"B"`` or ``"C"``, see :data:`TRUST`.
    notes
        What to know before using it.
    oxidation_states
        Oxidation state of each element, its average where atoms of one element differ; None for metals.
    shortest_distance_angstrom
        Stated shortest distance between two atoms, which the structure was checked against.
    aliases
        Other names it answers to.
    cell_is_fixed
        The cell is not to be relaxed, because dispersion, which PBE lacks, holds the crystal together.
    """

    name: str
    formula: str
    title: str
    kind: Literal["metal", "insulator"]
    space_group_symbol: str
    space_group_number: int
    source: str
    method: str
    licence: str
    trust: Literal["A", "B", "C"]
    notes: str
    oxidation_states: dict[str, float] | None
    shortest_distance_angstrom: float
    aliases: tuple[str, ...]
    cell_is_fixed: bool
    _structure: Structure = field(repr=False, compare=False)

    @property
    def structure(self) -> Structure:
        """The cell as written in the catalogue; a fresh copy each time."""
        return self._structure.copy()

    @property
    def is_ordered(self) -> bool:
        """Whether every position is fully occupied by one element."""
        return self._structure.is_ordered


def crystal_names() -> list[str]:
    """Return the names of all crystals in the catalogue, in its order.

    Returns
    -------
    list of str
    """
    return list(_raw())


def is_known_crystal(name: str) -> bool:
    """Tell whether this is the name or an alias of a crystal in the catalogue, upper or lower case."""
    return name.strip().casefold() in _names_and_aliases()


def get_entry(name: str) -> CrystalEntry:
    """Return one verified entry of the catalogue.

    Parameters
    ----------
    name
        Name or alias, upper or lower case: ``"Li6PS5Cl"``, ``"lpsc"``.

    Returns
    -------
    CrystalEntry

    Raises
    ------
    InputError
        No crystal has this name; the nearest names are listed.
    StructureError
        The entry is broken: wrong space group, formula, orbit size, shortest distance or charge.
    """
    known = _names_and_aliases()
    known_name = known.get(str(name).strip().casefold())
    if known_name is None:
        near = list(dict.fromkeys(known[key] for key in nearest(str(name).casefold(), known)))
        guess = f"nearest: {', '.join(near)}; " if near else ""
        raise InputError(
            f"unknown crystal {str(name)!r}",
            f"{guess}use one of {', '.join(crystal_names())}, or a path to a CIF or POSCAR",
        )
    return _entry(known_name)


def load_crystal(name_or_path: str | Path) -> Structure:
    """Load an ordered, periodic, checked structure by catalogue name or from a file.

    Parameters
    ----------
    name_or_path
        Catalogue name or alias; or the path of a CIF, POSCAR, extended XYZ or another file that
        :func:`~anodeflow.structures.structure_files.read_structure` reads. A text that is a catalogue name is
        never taken for a file; a `Path` always is.

    Returns
    -------
    Structure
        The cell as written, not reduced.

    Raises
    ------
    InputError
        The name is unknown; the file is missing, empty, not readable, or holds several structures.
    StructureError
        Partial occupancy, overlapping atoms, coordinates that are not numbers, no volume, not periodic, or a
        CIF that contradicts itself or whose symmetry cannot be known.
    """
    if isinstance(name_or_path, str) and is_known_crystal(name_or_path):
        entry = get_entry(name_or_path)
        if not entry.is_ordered:
            raise StructureError(
                f"{entry.name} has partially occupied positions, an ordered configuration is needed",
                "make one with `anodeflow build argyrodite`",
            )
        return entry.structure
    path = Path(name_or_path).expanduser()
    looks_like_path = isinstance(name_or_path, Path) or "/" in name_or_path or path.suffix or path.exists()
    if not looks_like_path:
        get_entry(str(name_or_path))  # raises, with the nearest names
    from anodeflow.structures.structure_files import read_structure  # its parsers take seconds to import

    return read_structure(path)


def called(name: str) -> str:
    """Return what a crystal is called: its name, or the stem of its file.

    Examples
    --------
    >>> called("cells/my LiCl.cif"), called("LiCl"), called("Li5.5PS4.5Cl1.5")
    ('my LiCl', 'LiCl', 'Li5.5PS4.5Cl1.5')
    """
    suffix = Path(name).suffix
    of_a_file = bool(suffix) and ("/" in name or not suffix[1:].isdigit())
    return Path(name).stem if of_a_file else name


def crystal_table() -> list[dict[str, Any]]:
    """Return the catalogue as rows for a table.

    Returns
    -------
    list of dict
        JSON-able: name, formula, title, kind, space_group, space_group_number, cell (a, b, c in angstrom,
        alpha, beta, gamma in degrees), atoms (in the cell, partial occupancies summed), density_g_per_cm3,
        shortest_distance_angstrom, ordered, cell_is_fixed, trust, method, source, licence.

    Raises
    ------
    StructureError
        An entry is broken.
    """
    rows = []
    for name in crystal_names():
        entry = get_entry(name)
        structure = entry.structure
        rows.append(
            {
                "name": entry.name,
                "formula": entry.formula,
                "title": entry.title,
                "kind": entry.kind,
                "space_group": entry.space_group_symbol,
                "space_group_number": entry.space_group_number,
                "cell": [round(float(x), 4) for x in structure.lattice.parameters],
                "atoms": round(float(structure.composition.num_atoms)),
                "density_g_per_cm3": round(float(structure.density), 4),
                "shortest_distance_angstrom": entry.shortest_distance_angstrom,
                "ordered": entry.is_ordered,
                "cell_is_fixed": entry.cell_is_fixed,
                "trust": entry.trust,
                "method": entry.method,
                "source": entry.source,
                "licence": entry.licence,
            }
        )
    return rows


@lru_cache(maxsize=1)
def _families() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the mappings written in each data file, by family and name."""
    return {family: read_package_yaml((CATALOGUE / f"{family}.yaml").read_text("utf-8")) for family in _FAMILIES}


@lru_cache(maxsize=1)
def _raw() -> dict[str, dict[str, Any]]:
    raw: dict[str, dict[str, Any]] = {}
    for family, entries in _families().items():
        twice = sorted(raw.keys() & entries.keys())
        if twice:
            raise StructureError(f"{CATALOGUE / family}.yaml: {twice[0]} is in another file, too", "rename one")
        raw |= entries
    return raw


@lru_cache(maxsize=1)
def _names_and_aliases() -> dict[str, str]:
    known: dict[str, str] = {}
    for name, entry in _raw().items():
        for key in (name, *entry.get("aliases", [])):
            if known.setdefault(str(key).casefold(), name) != name:
                raise StructureError(f"{CATALOGUE}: {key!r} names both {known[str(key).casefold()]} and {name}")
    return known


@cache
def _entry(name: str) -> CrystalEntry:
    return build_entry(name, _raw()[name])


def build_entry(name: str, raw: dict[str, Any]) -> CrystalEntry:
    """Build an entry from the mapping written in the catalogue and verify it.

    Parameters
    ----------
    name
        Name of the entry; also its formula unless `raw` has a ``formula``.
    raw
        The mapping: title, kind, space_group, cell, sites, oxidation_states, shortest_distance, density, source,
        method, licence, trust, and optionally formula, aliases, notes, cell_is_fixed.

    Returns
    -------
    CrystalEntry

    Raises
    ------
    StructureError
        A field is missing, or the structure is not what the entry states.
    """
    try:
        group = raw["space_group"]
        structure, orbits = _build_structure(raw)
        entry = CrystalEntry(
            name=name,
            formula=str(raw.get("formula", name)),
            title=str(raw["title"]),
            kind=raw["kind"],
            space_group_symbol=str(group["symbol"]),
            space_group_number=int(group["number"]),
            source=str(raw["source"]),
            method=str(raw["method"]),
            licence=str(raw["licence"]),
            trust=raw["trust"],
            notes=str(raw.get("notes", "")),
            oxidation_states=raw["oxidation_states"],
            shortest_distance_angstrom=float(raw["shortest_distance"]),
            aliases=tuple(raw.get("aliases", ())),
            cell_is_fixed=bool(raw.get("cell_is_fixed", False)),
            _structure=structure,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(name, f"{type(error).__name__}: {error}") from error
    _verify(entry, raw, orbits)
    return entry


def _build_structure(raw: dict[str, Any]) -> tuple[Structure, list[int]]:
    """Return the structure of an entry and the size of each site's orbit."""
    lattice = Lattice.from_parameters(*(float(raw["cell"][k]) for k in ("a", "b", "c", "alpha", "beta", "gamma")))
    species: list[Composition] = []
    coords: list[np.ndarray] = []
    orbits: list[int] = []
    for site in raw["sites"]:
        orbit = _orbit(int(raw["space_group"]["hall_number"]), np.array(site["coords"], dtype=float))
        species += [Composition({site["element"]: float(site.get("occupancy", 1))})] * len(orbit)
        coords += orbit
        orbits.append(len(orbit))
    return Structure(lattice, species, coords), orbits


def _orbit(hall_number: int, coords: np.ndarray) -> list[np.ndarray]:
    """Return every image of a point under the group, fractional, in [0, 1).

    The Hall number (1-530) names group, setting and origin choice at once. pymatgen's own expansion compares
    matrices pair by pair and takes seconds for a face-centred cubic group.
    """
    operations = spglib.get_symmetry_from_database(hall_number)
    if operations is None:
        raise ValueError(f"there is no Hall number {hall_number}")
    orbit: list[np.ndarray] = []
    for image in (operations["rotations"] @ coords + operations["translations"]) % 1.0:
        if not any(np.all(np.abs((image - seen + 0.5) % 1.0 - 0.5) < _ORBIT_TOLERANCE) for seen in orbit):
            orbit.append(image)
    return orbit


def _verify(entry: CrystalEntry, raw: dict[str, Any], orbits: list[int]) -> None:
    structure = entry._structure
    if entry.kind not in ("metal", "insulator"):
        raise _broken(entry.name, f"kind {entry.kind!r} is neither metal nor insulator")
    if entry.trust not in TRUST:
        raise _broken(entry.name, f"trust {entry.trust!r} is none of {', '.join(TRUST)}")
    for site, size in zip(raw["sites"], orbits, strict=True):
        stated = int("".join(filter(str.isdigit, site["wyckoff"])))
        if size != stated:
            raise _broken(entry.name, f"the orbit of {site['element']} {site['coords']} has {size} atoms, not {stated}")
    if not structure.composition.reduced_composition.almost_equals(Composition(entry.formula).reduced_composition):
        raise _broken(entry.name, f"the sites add up to {structure.composition.formula}, not {entry.formula}")
    kinds = {str(species): n for n, species in enumerate({str(site.species) for site in structure})}
    dataset = spglib.get_symmetry_dataset(
        (
            structure.lattice.matrix.tolist(),
            structure.frac_coords.tolist(),
            [kinds[str(site.species)] for site in structure],
        ),
        symprec=SYMPREC_ANGSTROM,
    )
    space_group = (dataset.international, dataset.number) if dataset else ("none", 0)
    if space_group != (entry.space_group_symbol, entry.space_group_number):
        wanted = f"{entry.space_group_symbol} ({entry.space_group_number})"
        raise _broken(entry.name, f"spglib finds {space_group[0]} ({space_group[1]}), stated is {wanted}")
    distance, i, j = shortest_contact(structure)
    if not abs(distance - entry.shortest_distance_angstrom) <= _DISTANCE_TOLERANCE_ANGSTROM:
        symbols = element_symbols(structure)
        raise _broken(
            entry.name,
            f"the shortest distance is {distance:.3f} angstrom ({symbols[i]}-{symbols[j]}), stated is"
            f" {entry.shortest_distance_angstrom}",
        )
    density, stated_density = float(structure.density), float(raw["density"])
    if not abs(density - stated_density) <= _DENSITY_TOLERANCE * stated_density:
        raise _broken(entry.name, f"the density is {density:.3f} g/cm3, stated is {stated_density}")
    if entry.kind == "insulator":
        states = entry.oxidation_states or {}
        missing = {element.symbol for element in structure.composition.elements} - set(states)
        if missing:
            raise _broken(entry.name, f"no oxidation state is stated for {', '.join(sorted(missing))}")
        charge = sum(states[element.symbol] * n for element, n in structure.composition.items())
        if abs(charge) > 1e-6:
            raise _broken(entry.name, f"the charges add up to {charge:+g} in the cell")


def _broken(name: str, problem: str) -> StructureError:
    file = next((CATALOGUE / f"{family}.yaml" for family, known in _families().items() if name in known), CATALOGUE)
    return StructureError(f"{file}: entry {name}: {problem}", "correct the catalogue")
