"""An argyrodite as a measured, disordered crystal gives it: composition, cubic edge and site inversion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from anodeflow.errors import StructureError
from anodeflow.structures.argyrodite import (
    HALIDES,
    PS_BOND_MAX_ANGSTROM,
    ArgyroditeComposition,
    parse_argyrodite,
)
from anodeflow.structures.files.expansion import space_group_numbers

_SPACE_GROUP = 216
SYMPREC_ANGSTROM = 0.05
_FREE_ANION_TOLERANCE = 0.05
"""How far the anions per P may be from 4 in PS4 and 2 free ones."""
_LITHIUM_TOLERANCE = 0.05
"""Lithium per P beyond which the difference to the balanced charge is reported."""


@dataclass(frozen=True)
class MeasuredArgyrodite:
    """What ordered configurations need of a disordered argyrodite.

    Parameters
    ----------
    composition
        Of whole atoms in the cell asked for; lithium follows from the charges.
    lattice_angstrom
        Edge of the cubic cell.
    site_inversion
        Halide occupancy of the 4d site, in whole atoms of the cell.
    warnings
        Where the cell differs from the crystal, in one line each.
    """

    composition: ArgyroditeComposition
    lattice_angstrom: float
    site_inversion: Fraction
    warnings: list[str]


def measured_argyrodite(structure: Structure, formula_units: int = 4) -> MeasuredArgyrodite:
    """Return composition, edge and site inversion of a disordered argyrodite in F-43m.

    Parameters
    ----------
    structure
        The average crystal, with partial occupancies, in any cell.
    formula_units
        Size of the cell to fill: the halides are rounded to whole atoms of it.

    Returns
    -------
    MeasuredArgyrodite

    Raises
    ------
    StructureError
        It is not a lithium argyrodite in F-43m, or its anions do not fill their sites.
    InputError
        Its halide content is out of range.
    """
    elements = {element.symbol for element in structure.composition.elements}
    halides = [symbol for symbol in HALIDES if symbol in elements]
    if (
        len(halides) != 1
        or elements != {"Li", "P", "S", *halides}
        or _SPACE_GROUP not in space_group_numbers(structure)
    ):
        raise StructureError(
            f"{structure.composition.reduced_formula} is not an argyrodite of Li, P, S and one halide in F-43m",
            "give the average crystal as it was refined, or the formula",
        )
    halide = halides[0]
    cubic = SpacegroupAnalyzer(structure, symprec=SYMPREC_ANGSTROM).get_conventional_standard_structure()
    edge = float(cubic.lattice.a)
    amounts = {"bonded": {"S": 0.0, halide: 0.0}, "4a": {"S": 0.0, halide: 0.0}, "4d": {"S": 0.0, halide: 0.0}}
    phosphorus = np.array([site.frac_coords for site in cubic if "P" in site.species])
    lithium = sum(site.species["Li"] for site in cubic)
    for site in cubic:
        if "S" in site.species or halide in site.species:
            nearest = float(cubic.lattice.get_all_distances(site.frac_coords, phosphorus).min())
            # As in the framework: a/2 from the nearest P for 4a, 0.433 a for 4d.
            kind = "bonded" if nearest < PS_BOND_MAX_ANGSTROM else "4a" if nearest > 0.466 * edge else "4d"
            for symbol in ("S", halide):
                amounts[kind][symbol] += float(site.species[symbol]) / len(phosphorus)
    filled = {"bonded": amounts["bonded"]["S"], "4a": sum(amounts["4a"].values()), "4d": sum(amounts["4d"].values())}
    if any(abs(filled[kind] - right) > _FREE_ANION_TOLERANCE for kind, right in (("bonded", 4), ("4a", 1), ("4d", 1))):
        raise StructureError(
            f"its anions per P are {filled['bonded']:.3g} S in PS4, {filled['4a']:.3g} on 4a and {filled['4d']:.3g}"
            " on 4d, not 4, 1 and 1",
            "correct the occupancies",
        )
    measured = amounts["4a"][halide] + amounts["4d"][halide]
    count = round(measured * formula_units)
    on_4d = min(max(round(amounts["4d"][halide] * formula_units), count - formula_units), formula_units)
    x = Fraction(count, formula_units)
    composition = parse_argyrodite(f"Li{7 - x}PS{6 - x}{halide}{x}")
    warnings = []
    if abs(measured - float(x)) > 5e-3 or abs(amounts["4d"][halide] - on_4d / formula_units) > 5e-3:
        warnings.append(
            f"the crystal has {measured:.3f} {halide} per P, {amounts['4d'][halide]:.3f} of them on 4d; a cell of"
            f" {formula_units} formula units holds {float(x):g} and {on_4d / formula_units:g}"
        )
    if abs(lithium / len(phosphorus) - (7 - measured)) > _LITHIUM_TOLERANCE:
        warnings.append(
            f"the crystal has {lithium / len(phosphorus):.3f} Li per P, charge balance needs {7 - measured:.3f}; the"
            " configurations are balanced"
        )
    return MeasuredArgyrodite(composition, edge, Fraction(on_4d, formula_units), warnings)
