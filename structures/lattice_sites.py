"""Sites that atoms of a crystal occupy: where a foreign atom can replace one, and those that one can leave."""

from __future__ import annotations

from typing import Literal

import numpy as np
import spglib
from pymatgen.core import Element, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.lithium_states import State
from anodeflow.structures.sites import Site, covalent_radius_angstrom, element_symbols, first_shell

# The atom of a site is where the site is; relaxation of the host moves it by less than this.
_SAME_PLACE_ANGSTROM = 0.5
# Li in a larger share of the places of an element makes another phase, not a dilute solution: Al3Li is one.
_MOST_REPLACED = 0.2


def states_of_crystal(structure: Structure, element: str = "Li") -> tuple[State, ...]:
    """Return the states that an element can have in a crystal.

    Any crystal can take an atom between its own. It replaces an atom only in a metal: in the place of a cation of
    another charge it would leave electrons or holes, in that of an anion a different compound. Only what the crystal
    holds can leave.

    Parameters
    ----------
    structure
        The host crystal.
    element
        Chemical symbol.
    """
    states: list[State] = ["interstitial"]
    if replaced_elements(structure, element):
        states.append("substitution")
    if element in element_symbols(structure):
        states.append("held")
    return tuple(states)


def replaced_elements(structure: Structure, element: str = "Li") -> list[str]:
    """Return the elements of a host that another can replace: all others of a metal.

    In the metal of the element itself that is the element: one atom more of the metal.

    Parameters
    ----------
    structure
        The host crystal.
    element
        Chemical symbol of the atom that replaces.
    """
    symbols = sorted(set(element_symbols(structure)))
    if not all(Element(symbol).is_metal for symbol in symbols):
        return []
    return [symbol for symbol in symbols if symbol != element] or symbols


def occupied_sites(
    structure: Structure, element: str, kind: Literal["substitution", "held"], *, symprec: float = 0.01
) -> list[Site]:
    """Find the symmetry-inequivalent sites that atoms of one element occupy.

    Parameters
    ----------
    structure
        Ordered crystal; any cell of it.
    element
        Of the atoms.
    kind
        What the sites are for: ``substitution``, labelled ``sub-Al1``, ...; or ``held``, labelled ``held-1``, ...
    symprec
        Tolerance of the symmetry search, angstrom.

    Returns
    -------
    list of Site
        Most frequent first, then by the nearest distance; coordination and nearest distance of the atom there.

    Raises
    ------
    InputError
        The symbol names no element.
    StructureError
        The crystal holds none of the element, is disordered, or no symmetry is found.
    """
    covalent_radius_angstrom(element)
    formula = structure.composition.reduced_formula
    if not structure.is_ordered:
        raise StructureError(f"{formula} has partially occupied positions", "build an ordered configuration first")
    symbols = element_symbols(structure)
    if element not in symbols:
        raise StructureError(f"{formula} holds no {element}", f"it holds {', '.join(sorted(set(symbols)))}")
    numbers = [Element(symbol).Z for symbol in symbols]
    dataset = spglib.get_symmetry_dataset(
        (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers), symprec=symprec
    )
    if dataset is None:
        raise StructureError(f"no symmetry was found in {formula} with symprec {symprec}", "change symprec")
    orbits: dict[int, list[int]] = {}
    for atom, orbit in enumerate(dataset.crystallographic_orbits):
        if symbols[atom] == element:
            orbits.setdefault(int(orbit), []).append(atom)
    sites = sorted((_around(structure, atoms) for atoms in orbits.values()), key=lambda item: item[0])
    prefix = "held-" if kind == "held" else f"sub-{element}"
    return [
        Site(f"{prefix}{n}", kind, frac, -key[0], key[1], coordination)
        for n, (key, frac, coordination) in enumerate(sites, start=1)
    ]


def _around(
    structure: Structure, atoms: list[int]
) -> tuple[tuple[int, float, tuple[float, ...]], tuple[float, float, float], str]:
    """Return what sorts an orbit, and the place and shell of the atom of it that sorts first in the cell."""
    frac = structure.frac_coords[atoms] % 1.0
    frac[frac > 1.0 - 1e-6] = 0.0
    chosen = min((tuple(np.round(point, 4)), atom) for point, atom in zip(frac, atoms, strict=True))[1]
    others = structure.copy()
    others.remove_sites([chosen])
    # alone in its cell, an atom has its own images around it
    nearest, shell = first_shell(others if len(others) else structure, structure.frac_coords[chosen])
    if not len(others) or nearest > min(structure.lattice.abc):
        near = structure.get_neighbors(structure[chosen], 2.0 * max(structure.lattice.abc))
        nearest = min(neighbour.nn_distance for neighbour in near)
        shell = f"{sum(n.nn_distance <= 1.15 * nearest for n in near)} {element_symbols(structure)[chosen]}"
    distances = tuple(sorted(round(n.nn_distance, 2) for n in structure.get_neighbors(structure[chosen], 2 * nearest)))
    x, y, z = (float(value) for value in frac[atoms.index(chosen)])
    return (-len(atoms), round(float(nearest), 4), distances), (x, y, z), shell


def atom_at(structure: Structure, site: Site) -> int:
    """Return the index of the atom that occupies a site.

    Raises
    ------
    StructureError
        If there is none within 0.5 angstrom.
    """
    distances = structure.lattice.get_all_distances([site.frac_coords], structure.frac_coords)[0]
    atom = int(np.argmin(distances))
    if distances[atom] > _SAME_PLACE_ANGSTROM:
        raise StructureError(
            f"no atom of the host is at site {site.label!r}: the nearest is {distances[atom]:.2f} angstrom away",
            "check that the site belongs to this host, and that relaxing it did not rebuild it",
        )
    return atom


def remove(structure: Structure, site: Site) -> Structure:
    """Return a copy of the host without the atom of a site; the others keep their order.

    Raises
    ------
    StructureError
        If there is no atom, or no other atom.
    """
    if len(structure) == 1:
        raise StructureError("the only atom of the cell cannot be removed", "give a larger supercell")
    left = structure.copy()
    left.remove_sites([atom_at(structure, site)])
    return left


def replace(structure: Structure, site: Site, element: str = "Li") -> Structure:
    """Return a copy of the host with another element in the place of the atom of a site, as the last atom.

    Parameters
    ----------
    structure
        The host.
    site
        Of :func:`occupied_sites`.
    element
        Chemical symbol of the new atom.

    Raises
    ------
    StructureError
        If there is no atom, or if the replaced atoms are so large a share of their element that another phase results.
    """
    symbols = element_symbols(structure)
    atom = atom_at(structure, site)
    count = symbols.count(symbols[atom])
    if 1 / count > _MOST_REPLACED:
        raise StructureError(
            f"{element} in the place of 1 of {count} {symbols[atom]} makes another phase of "
            f"{structure.composition.reduced_formula}, not a solution in it",
            "give a larger supercell: raise min_image_distance_angstrom",
        )
    replaced = structure.copy()
    replaced.remove_sites([atom])
    replaced.append(element, structure.frac_coords[atom], validate_proximity=False)
    return replaced


def check_state(structure: Structure, state: State, name: str, element: str = "Li") -> None:
    """Refuse a state that an element cannot have in a crystal.

    Parameters
    ----------
    structure
        The host crystal.
    state
        ``interstitial``, ``substitution`` or ``held``.
    name
        Of the host, for the message.
    element
        Chemical symbol.

    Raises
    ------
    InputError
        If it cannot.
    """
    possible = states_of_crystal(structure, element)
    if state in possible:
        return
    reasons = {
        "held": f"it holds no {element}",
        "substitution": f"it is not a metal, and {element} in the place of one of its atoms makes another compound",
        "adsorbed": "that is the state of a surface",
    }
    raise InputError(
        f"{element} cannot be in state '{state}' in {name}: {reasons[state]}",
        f"states of {name}: {', '.join(possible)}",
    )
