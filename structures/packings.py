"""Other packings of a crystal that the catalogue has as a packing model: how far a number depends on the packing."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.files import read_package_yaml
from anodeflow.structures.catalogue import get_entry, is_known_crystal

_DATA = files("anodeflow.structures") / "data" / "packings.yaml"
_NAME = re.compile(r"(.+) packing (\d+)")


def packing_name(crystal: str, number: int) -> str:
    """Return the name of a packing, counted from 1, which is the catalogue's own and has the crystal's name."""
    return crystal if number == 1 else f"{crystal} packing {number}"


def packing_count(crystal: str) -> int:
    """Return how many packings of a crystal there are, the catalogue's own counted; 1 where it is not a model."""
    return 1 + len(_packings().get(crystal, []))


def crystal_of(name: str) -> str:
    """Return the crystal that a further packing is one of, by its name; any other name as it is."""
    match = _NAME.fullmatch(name)
    return match[1] if match is not None and match[1] in _packings() else name


def held_by_dispersion(crystal: str) -> bool:
    """Return whether this is a crystal of the catalogue whose cell must not be relaxed without dispersion.

    By its name, an alias, or the name of a further packing.
    """
    name = crystal_of(crystal)
    return is_known_crystal(name) and get_entry(name).cell_is_fixed


def packing(name: str) -> Structure | None:
    """Return a packing by its name, in the cell of the catalogue; None where the name is none of a packing.

    Raises
    ------
    InputError
        There are not so many.
    """
    crystal = crystal_of(name)
    if crystal == name:
        return None
    number = int(name.rpartition(" ")[2])
    count = packing_count(crystal)
    if not 2 <= number <= count:
        raise InputError(f"'{name}': {crystal} has the packings 2 to {count} beside its own", "name one of these")
    sites = _packings()[crystal][number - 2]
    places = [[float(x) for x in site[1:]] for site in sites]
    elements = [str(site[0]) for site in sites]
    inverted = [[-x for x in place] for place in places]
    return Structure(get_entry(crystal).structure.lattice, elements * 2, [*places, *inverted], to_unit_cell=True)


@cache
def _packings() -> dict[str, list[list[list[str | float]]]]:
    """Return element and fractional coordinates of half of the atoms; an inversion at the origin gives the others."""
    return {crystal: entry["packings"] for crystal, entry in read_package_yaml(_DATA.read_text("utf-8")).items()}
