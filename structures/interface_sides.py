"""The sides of an interface by name: which face a crystal shows, how to cut it with any thickness, how soft it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pymatgen.core import Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.structures.argyrodite import argyrodite_configurations, parse_argyrodite
from anodeflow.structures.catalogue import get_entry, load_crystal
from anodeflow.structures.slabs import SlabModel, build_slab

#: Least thickness if none is given; a thinner side has little that is like the bulk.
MIN_SIDE_ANGSTROM = 10.0

#: The face each crystal of the catalogue shows if none is named; indices refer to the catalogue's cell.
DEFAULT_MILLER: Mapping[str, tuple[int, int, int]] = {
    "Li": (1, 0, 0),
    "Al": (1, 1, 1),
    "LiAl": (1, 1, 0),
    "Li9Al4": (4, 0, 0),
    "LiCl": (1, 0, 0),
    "Li2S": (1, 1, 1),
    "Li3P": (0, 0, 1),
    "Li3Al2": (0, 0, 1),
    "P2S5": (0, 0, 1),
    "Li6PS5Cl": (1, 0, 0),
}

#: Young's moduli in GPa by which the softer side is named where nobody says it and no engine computes it. Li:
#: doi 10.1007/s10853-018-2971-3; Li6PS5Cl: doi 10.1149/2.0061602jes; LiCl and Li9Al4: theory as cited in Nature
#: Communications 2024 (Li-Al-Cl); Al: handbook.
YOUNG_MODULUS_GPA: Mapping[str, float] = {"Li": 7.8, "Li6PS5Cl": 22.1, "LiCl": 49.9, "Li9Al4": 62.4, "Al": 70.0}


@dataclass(frozen=True)
class SlabSpec:
    """How to cut one side, so that it can be cut again with another thickness.

    Attributes
    ----------
    bulk : Structure
        Ordered crystal; `miller` refers to its cell.
    miller : tuple of int
    crystal : str
        Label.
    termination, layers, min_thickness_angstrom, symmetric_preferred
        As in :func:`anodeflow.structures.slabs.build_slab`; here stoichiometric slabs are preferred.
    """

    bulk: Structure = field(repr=False)
    miller: tuple[int, int, int]
    crystal: str
    termination: int | str = 0
    layers: int | None = None
    min_thickness_angstrom: float = MIN_SIDE_ANGSTROM
    symmetric_preferred: bool = False

    def build(self, layers: int | None = None) -> SlabModel:
        """Cut the slab, `layers` planes thick if given."""
        return build_slab(
            self.bulk,
            self.miller,
            termination=self.termination,
            min_thickness_angstrom=self.min_thickness_angstrom,
            layers=self.layers if layers is None else layers,
            symmetric_preferred=self.symmetric_preferred,
            crystal=self.crystal,
        )


def slab_spec(
    crystal: str | Path | Structure,
    miller: tuple[int, int, int] | None = None,
    *,
    layers: int | None = None,
    min_thickness_angstrom: float = MIN_SIDE_ANGSTROM,
    termination: int | str = 0,
    symmetric: bool = False,
    seed: int = 0,
) -> SlabSpec:
    """Say how to cut a named crystal, an argyrodite formula, a structure file or a structure.

    Parameters
    ----------
    crystal
        Name, formula, path or structure.
    miller
        Face; None takes the usual one of the crystal.
    layers
        Planes; None takes the thickness.
    min_thickness_angstrom
        Least thickness.
    termination
        Which of the list of terminations.
    symmetric
        Prefer equal faces, even at the price of stoichiometry.
    seed
        Of the configurations of an argyrodite.

    Returns
    -------
    SlabSpec
        Its `build` cuts the slab.

    Raises
    ------
    InputError
        An unknown name, or no default face is known for this crystal.
    StructureError
        A disordered structure.
    """
    name, bulk = _resolve(crystal, seed)
    if miller is None:
        miller = DEFAULT_MILLER.get("Li6PS5Cl" if _is_argyrodite(name) else name)
        if miller is None:
            raise InputError(f"no default face is known for {name}", "give its Miller index, such as (1, 0, 0)")
    return SlabSpec(bulk, miller, name, termination, layers, min_thickness_angstrom, symmetric)


def softer_by_publication(film: str, substrate: str) -> tuple[Literal["film", "substrate"], str] | None:
    """Return the softer side by published Young's moduli, and these as text; None where one is not known.

    Parameters
    ----------
    film, substrate
        Names of the crystals; an argyrodite has the modulus of Li6PS5Cl.
    """
    known = [YOUNG_MODULUS_GPA.get("Li6PS5Cl" if _is_argyrodite(name) else name) for name in (film, substrate)]
    if known[0] is None or known[1] is None:
        return None
    text = f"published Young's moduli, {film} {known[0]:g} and {substrate} {known[1]:g} GPa"
    return ("substrate" if known[1] < known[0] else "film"), text


def _resolve(crystal: str | Path | Structure, seed: int) -> tuple[str, Structure]:
    if isinstance(crystal, Structure):
        if not crystal.is_ordered:
            raise StructureError(
                f"{crystal.composition.reduced_formula} has partially occupied positions",
                "make an ordered configuration first, for argyrodites with argyrodite_configurations",
            )
        return str(crystal.properties.get("crystal", crystal.composition.reduced_formula)), crystal
    if isinstance(crystal, str):
        if _is_argyrodite(crystal):
            return crystal, _argyrodite(crystal, seed).copy()
        try:
            entry = get_entry(crystal)
        except InputError:
            return Path(crystal).stem, load_crystal(crystal)
        if not entry.is_ordered and _is_argyrodite(entry.name):
            return entry.name, _argyrodite(entry.name, seed).copy()
        return entry.name, load_crystal(entry.name)
    return crystal.stem, load_crystal(crystal)


def _is_argyrodite(name: str) -> bool:
    try:
        parse_argyrodite(name)
    except InputError:
        return False
    return True


@lru_cache(maxsize=8)
def _argyrodite(formula: str, seed: int) -> Structure:
    return argyrodite_configurations(formula, seed=seed).configurations[0].structure
