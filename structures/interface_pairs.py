"""The interface of two crystals by name: face, thickness, strained side and matching cell chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.structures.interface_sides import MIN_SIDE_ANGSTROM, slab_spec, softer_by_publication
from anodeflow.structures.interfaces import COMFORTABLE_STRAIN, InterfaceModel, build_interface
from anodeflow.structures.matching import Strained, lattice_matches

_MOST_REPEATED = 5000  # atoms


# long: most of it is documentation
def interface(
    film: str | Path | Structure,
    substrate: str | Path | Structure,
    *,
    film_miller: tuple[int, int, int] | None = None,
    substrate_miller: tuple[int, int, int] | None = None,
    film_layers: int | None = None,
    substrate_layers: int | None = None,
    film_termination: int | str = 0,
    substrate_termination: int | str = 0,
    film_symmetric: bool = False,
    substrate_symmetric: bool = False,
    min_thickness_angstrom: float = MIN_SIDE_ANGSTROM,
    strained: Strained | None = None,
    max_strain: float = 0.05,
    comfortable_strain: float = COMFORTABLE_STRAIN,
    max_area_angstrom2: float = 400.0,
    max_atoms: int = 500,
    smallest: bool = False,
    match: int | None = None,
    seed: int = 0,
    **options: Any,
) -> InterfaceModel:
    """Build the interface of two named crystals, with the cell chosen.

    Parameters
    ----------
    film, substrate
        Catalogue name, argyrodite formula, structure file or structure.
    film_miller, substrate_miller
        Faces, in the cell of the catalogue or of the structure given; if absent those of
        `interface_sides.DEFAULT_MILLER`.
    film_layers, substrate_layers, min_thickness_angstrom
        Planes of each side, or the least thickness of both.
    film_termination, substrate_termination
        Which of the terminations of each face.
    film_symmetric, substrate_symmetric
        Prefer equal faces, even at the price of stoichiometry.
    strained
        If absent the softer side by the published moduli of `interface_sides.YOUNG_MODULUS_GPA`, else the film.
    max_strain, max_area_angstrom2, max_atoms
        Limits; `max_atoms` counts one matched cell. One that is repeated has at most 5000 atoms.
    comfortable_strain
        Of all matches strained less than this the one with the fewest atoms is taken; if there is none, the least
        strained.
    smallest
        Take the match of the smallest area instead.
    match
        Take this one of :func:`anodeflow.structures.matching.lattice_matches`, counted from 0, whatever the others.
    seed
        For the configuration of an argyrodite, the lowest in Ewald energy.
    options
        `gap_angstrom`, `shift`, `vacuum_angstrom`, `film_face`, `repeat` of
        :func:`anodeflow.structures.interfaces.build_interface`.

    Returns
    -------
    InterfaceModel

    Raises
    ------
    InputError, StructureError
        As in :func:`anodeflow.structures.interface_sides.slab_spec`,
        :func:`anodeflow.structures.matching.lattice_matches` and
        :func:`anodeflow.structures.interfaces.build_interface`.
    """
    specs = [
        slab_spec(
            name,
            miller,
            layers=layers,
            min_thickness_angstrom=min_thickness_angstrom,
            termination=termination,
            symmetric=symmetric,
            seed=seed,
        )
        for name, miller, layers, termination, symmetric in (
            (film, film_miller, film_layers, film_termination, film_symmetric),
            (substrate, substrate_miller, substrate_layers, substrate_termination, substrate_symmetric),
        )
    ]
    slabs = specs[0].build(), specs[1].build()
    if strained is None:
        published = softer_by_publication(specs[0].crystal, specs[1].crystal)
        strained = "film" if published is None else published[0]
    matches = lattice_matches(
        *slabs, max_area_angstrom2=max_area_angstrom2, max_strain=max_strain, max_atoms=max_atoms, strained=strained
    )
    if match is not None and not 0 <= match < len(matches):
        raise InputError(f"no match {match}", f"use 0 to {len(matches) - 1}, see --list")
    comfortable = [m for m in matches if abs(m.strain.max_principal_percent) <= 100 * comfortable_strain]
    chosen = min(comfortable, key=lambda m: m.atoms or 0) if comfortable else matches[0]
    if smallest:
        chosen = min(matches, key=lambda m: (round(m.area_angstrom2, 3), m.strain.von_mises_percent))
    if match is not None:
        chosen = matches[match]
    repeat = options.get("repeat", (1, 1))
    repeated = max(max_atoms, min(max_atoms * repeat[0] * repeat[1], _MOST_REPEATED))
    return build_interface(slabs[0], slabs[1], chosen, max_strain=max_strain, max_atoms=repeated, **options)
