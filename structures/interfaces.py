"""Interfaces of two crystals: two slabs brought to one in-plane cell and stacked.

The substrate lies below, the film above. Without vacuum the cell is periodic and holds two contacts: contact 1
between the substrate's upper and the film's lower face, contact 2 between the film's upper face and the next
image of the substrate. Heights stay those of the unstrained slabs: relax along z before using an energy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from anodeflow.errors import InputError, StructureError
from anodeflow.parameters import named, setting
from anodeflow.structures.cleaving import DEFAULT_BONDS, coordination_numbers
from anodeflow.structures.interface_contacts import (
    TIGHT_FACTOR,
    contacts_equivalent,
    distances_across,
    gaps,
    tight_contacts,
)
from anodeflow.structures.interface_sides import MIN_SIDE_ANGSTROM, softer_by_publication
from anodeflow.structures.matching import (
    InPlaneStrain,
    LatticeMatch,
    Strained,
    check_strained,
    in_plane_strain,
)
from anodeflow.structures.plane_lattices import lattice_symmetry, supercell_points
from anodeflow.structures.sites import element_symbols, worst_overlap
from anodeflow.structures.slabs import SlabModel, face_text

COMFORTABLE_STRAIN = 0.02
AREA_TOLERANCE = 1e-6

#: Advice of a warning, beside that of a wider gap, for an interface that was not chosen by its shift.


@dataclass(frozen=True)
class InterfaceModel:
    """An interface with everything a study must know about it.

    Attributes
    ----------
    structure : Structure
        Right-handed, c along z, a along x; the site property ``side`` is ``"substrate"`` or ``"film"``.
    film, substrate : SlabModel
        The slabs before matching.
    match : LatticeMatch
    strained : str
        The side that was deformed.
    film_strain, substrate_strain : InPlaneStrain
        Computed from `structure` against the unstrained supercells.
    area_angstrom2 : float
    gaps_angstrom : tuple of float
        Distance along z between the outermost nuclei at contact 1 and, in a periodic cell, contact 2.
    vacuum_angstrom : float or None
    shift : tuple of float
        Lateral shift of the film in fractions of the interface cell.
    repeat : tuple of int
        Repeats of the matched cell along a and b.
    film_face : str
        The film's face at contact 1.
    n_film_units, n_substrate_units : float
        Formula units (reduced formula) on each side.
    shortest_contact_angstrom : float
        Shortest distance between an atom of the film and one of the substrate, over all contacts.
    contact_elements : tuple of str
        The pair of elements at that distance, the substrate's first.
    contacts_equivalent : bool
        A symmetry operation of the cell exchanges the two contacts.
    contacts_decided_by : str
        How that was decided, or why not.
    warnings : tuple of str
    score : float or None
        What :func:`anodeflow.structures.interface_series.scan_registry` ranked by.
    ranked_by : str
    """

    structure: Structure
    film: SlabModel
    substrate: SlabModel
    match: LatticeMatch
    strained: Strained
    film_strain: InPlaneStrain
    substrate_strain: InPlaneStrain
    area_angstrom2: float
    gaps_angstrom: tuple[float, ...]
    vacuum_angstrom: float | None
    shift: tuple[float, float]
    repeat: tuple[int, int]
    film_face: Literal["lower", "upper"]
    n_film_units: float
    n_substrate_units: float
    shortest_contact_angstrom: float
    contact_elements: tuple[str, str]
    contacts_equivalent: bool
    contacts_decided_by: str
    warnings: tuple[str, ...] = ()
    score: float | None = None
    ranked_by: str = ""

    @property
    def name(self) -> str:
        """Crystals and faces: ``"Li(100)/LiCl(100)"``."""
        return "/".join(f"{slab.crystal}{face_text(slab.miller)}" for slab in (self.film, self.substrate))

    @property
    def film_indices(self) -> list[int]:
        """Sites of the film."""
        return [n for n, side in enumerate(self.structure.site_properties["side"]) if side == "film"]

    @property
    def substrate_indices(self) -> list[int]:
        """Sites of the substrate."""
        return [n for n, side in enumerate(self.structure.site_properties["side"]) if side == "substrate"]

    @property
    def contacts(self) -> int:
        """Number of contacts in the cell: one with vacuum, else two."""
        return len(self.gaps_angstrom)

    @property
    def max_strain_percent(self) -> float:
        """Largest magnitude of a principal strain on either side."""
        return max(abs(s.max_principal_percent) for s in (self.film_strain, self.substrate_strain))

    @property
    def terminations(self) -> dict[str, str]:
        """Upper face of each slab as its maker named it, and which film face lies at contact 1."""
        return {
            "film": self.film.termination,
            "substrate": self.substrate.termination,
            "film_face_at_contact_1": self.film_face,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the structure, for JSON."""
        own = {k: v for k, v in vars(self).items() if k != "structure"}
        nested = {k: own[k].as_dict() for k in ("film", "substrate", "match")}
        strains = {k: dict(vars(own[k])) for k in ("film_strain", "substrate_strain")}
        extra = {"contacts": self.contacts, "terminations": self.terminations, "atoms": len(self.structure)}
        composition = {"formula": self.structure.composition.formula, "film_indices": self.film_indices}
        return own | nested | strains | extra | composition | {"max_strain_percent": self.max_strain_percent}


# long: a third or more of it is documentation
def build_interface(
    film: SlabModel,
    substrate: SlabModel,
    match: LatticeMatch,
    *,
    strained: Strained | None = None,
    gap_angstrom: float = 2.2,
    shift: Sequence[float] = (0.0, 0.0),
    vacuum_angstrom: float | None = None,
    film_face: Literal["lower", "upper"] = "lower",
    repeat: tuple[int, int] = (1, 1),
    max_strain: float = 0.05,
    max_atoms: int = 600,
) -> InterfaceModel:
    """Stack a film on a substrate in a matched cell.

    Parameters
    ----------
    film, substrate
        Slabs; their vacuum is taken away.
    match
        From :func:`anodeflow.structures.matching.lattice_matches` for these slabs, or for thicker or thinner ones.
    strained
        The side that is deformed to the other's cell; that of the match if absent.
    gap_angstrom
        Distance along z between the outermost nuclei, at every contact.
    shift
        Lateral shift of the film in fractions of the interface cell.
    vacuum_angstrom
        Empty space over the film, at least 5; None for a periodic cell with two contacts.
    film_face
        ``"upper"`` turns the film over, so that the termination it was built with lies at contact 1.
    repeat
        Repeats of the matched cell along a and b.
    max_strain
        Largest magnitude of a principal strain on either side, as a fraction.
    max_atoms
        Refuse larger cells.

    Returns
    -------
    InterfaceModel
        Checked by :func:`check_interface`.

    Raises
    ------
    InputError
        An unknown side or face, a film or substrate thinner than two layers, a match for other slabs, too much
        strain, too many atoms, or a gap, shift or vacuum without meaning.
    StructureError
        The result breaks a rule, see :func:`check_interface`.
    """
    strained = match.strained if strained is None else check_strained(strained)
    _check_request(film, substrate, match, gap_angstrom, shift, vacuum_angstrom, film_face, repeat, max_atoms)
    cell = np.diag(repeat) @ match.common_cell(strained)
    film_cells = np.diag(repeat) @ film_matrix(match, film_face)
    substrate_cells = np.diag(repeat) @ np.array(match.substrate_matrix)
    over = np.linalg.det(film_cells) < 0
    low_species, low, low_top = _side_atoms(substrate, substrate_cells, cell, False)
    top_species, top, top_height = _side_atoms(film, film_cells, cell, bool(over))
    empty = gap_angstrom if vacuum_angstrom is None else vacuum_angstrom
    low[:, 2] += empty / 2
    top[:, 2] += empty / 2 + low_top + gap_angstrom
    top[:, :2] += np.asarray(shift, dtype=float) @ cell
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = cell
    lattice[2, 2] = low_top + top_height + gap_angstrom + empty
    structure = Structure(
        Lattice(lattice),
        low_species + top_species,
        np.concatenate([low, top]),
        coords_are_cartesian=True,
        to_unit_cell=True,
        site_properties={"side": ["substrate"] * len(low) + ["film"] * len(top)},
    )
    strains = [
        in_plane_strain(np.diag(repeat) @ own, structure.lattice.matrix[:2, :2]) for own in match.unstrained_cells()
    ]
    across = distances_across(structure)
    nearest = min(across, key=lambda pair: across[pair])
    equivalent, reason = contacts_equivalent(structure, film, substrate, vacuum_angstrom, shift)
    cells = repeat[0] * repeat[1]
    model = InterfaceModel(
        structure=structure,
        film=film,
        substrate=substrate,
        match=match,
        strained=strained,
        film_strain=strains[0],
        substrate_strain=strains[1],
        area_angstrom2=float(np.linalg.norm(np.cross(*structure.lattice.matrix[:2]))),
        gaps_angstrom=gaps(structure, vacuum_angstrom),
        vacuum_angstrom=vacuum_angstrom,
        shift=(float(shift[0]), float(shift[1])),
        repeat=(int(repeat[0]), int(repeat[1])),
        film_face=film_face,
        n_film_units=_formula_units(film) * match.film_cells * cells,
        n_substrate_units=_formula_units(substrate) * match.substrate_cells * cells,
        shortest_contact_angstrom=across[nearest],
        contact_elements=nearest,
        contacts_equivalent=equivalent,
        contacts_decided_by=reason,
    )
    if model.max_strain_percent > 100 * max_strain + 1e-6:
        raise InputError(
            f"the {strained} side would be strained by {model.max_strain_percent:.3g} % in a cell of"
            f" {model.area_angstrom2:.1f} square angstrom, the limit is {100 * max_strain:.3g} %",
            f"take another match, or raise {named('max_strain')}",
        )
    model = replace(model, warnings=interface_warnings(model))
    check_interface(model)
    return model


# long: a third or more of it is documentation
def check_interface(model: InterfaceModel) -> dict[str, Any]:
    """Check an interface against the slabs it was made of.

    Parameters
    ----------
    model
        Any interface.

    Returns
    -------
    dict
        What was measured on the structure: atoms, formula, area_angstrom2, handedness (volume of the cell,
        positive if right-handed), gaps_angstrom, shortest_contact_angstrom, max_strain_percent,
        p_coordination (sorted numbers of S around P).

    Raises
    ------
    StructureError
        Disorder, a left-handed or tilted cell, atoms lost, a side label that does not fit, an area, gap or strain
        other than stated, overlapping atoms, or a molecule (PS4) broken or bound to the other side.
    """
    structure, problems = model.structure, []
    matrix = structure.lattice.matrix
    handedness = float(np.linalg.det(matrix))
    if not structure.is_ordered:
        raise StructureError("the interface is disordered", "build it from ordered slabs")
    if handedness <= 0:
        problems.append("the cell is left-handed")
    if np.abs(matrix[2, :2]).max() > 1e-8 or np.abs(matrix[:2, 2]).max() > 1e-8:
        problems.append("c is not perpendicular to the interface")
    bonds_ok, repeats = True, model.repeat[0] * model.repeat[1]
    symbols = element_symbols(structure)
    coordination = coordination_numbers(structure, DEFAULT_BONDS)
    for name, slab, cells in (
        ("film", model.film, model.match.film_cells),
        ("substrate", model.substrate, model.match.substrate_cells),
    ):
        own = [n for n, side in enumerate(structure.site_properties["side"]) if side == name]
        expected = Counter(
            zip(
                element_symbols(slab.structure),
                coordination_numbers(slab.structure, DEFAULT_BONDS).tolist(),
                strict=True,
            )
        )
        coordinated = Counter((symbols[n], int(coordination[n])) for n in own)
        if Counter(symbols[n] for n in own) != _times(Counter(element_symbols(slab.structure)), cells * repeats):
            problems.append(f"the {name} does not have the atoms of {cells * repeats} slab cells")
        elif coordinated != _times(expected, cells * repeats):
            bonds_ok = False
            problems.append(f"molecules of the {name} are broken or bound across the contact")
    area = float(np.linalg.norm(np.cross(matrix[0], matrix[1])))
    found_gaps = gaps(structure, model.vacuum_angstrom)
    own_cells = [np.diag(model.repeat) @ own for own in model.match.unstrained_cells()]
    strains = [in_plane_strain(own, matrix[:2, :2]) for own in own_cells]
    stated = (model.film_strain, model.substrate_strain)
    if any(not np.allclose(s.tensor, t.tensor, atol=1e-8) for s, t in zip(strains, stated, strict=True)):
        problems.append("the strain is not that of the cell")
    if abs(area - model.area_angstrom2) > AREA_TOLERANCE * area:
        problems.append(f"the area is {area:.4f}, stated is {model.area_angstrom2:.4f} square angstrom")
    if not np.allclose(found_gaps, model.gaps_angstrom, atol=1e-6) or min(found_gaps) <= 0:
        problems.append(f"the gaps are {found_gaps}, stated are {model.gaps_angstrom} angstrom")
    overlap = worst_overlap(structure)
    if overlap is not None:
        value, i, j = overlap
        problems.append(f"{symbols[i]} and {symbols[j]} overlap ({value:.2f} angstrom apart)")
    if problems:
        remedy = "build it with build_interface"
        if overlap or not bonds_ok:
            remedy = f"widen {named('gap_angstrom')} or change {named('shift')}"
        raise StructureError(f"{model.name}: {'; '.join(problems)}", remedy)
    return {
        "atoms": len(structure),
        "formula": structure.composition.formula,
        "area_angstrom2": area,
        "handedness": handedness,
        "gaps_angstrom": found_gaps,
        "shortest_contact_angstrom": min(distances_across(structure).values()),
        "max_strain_percent": max(abs(s.max_principal_percent) for s in strains),
        "p_coordination": sorted({int(n) for n, s in zip(coordination, symbols, strict=True) if s == "P"}),
    }


def _check_request(
    film: SlabModel,
    substrate: SlabModel,
    match: LatticeMatch,
    gap: float,
    shift: Sequence[float],
    vacuum: float | None,
    film_face: str,
    repeat: Sequence[int],
    max_atoms: int,
) -> None:
    for name, slab, vectors in (("film", film, match.film_vectors), ("substrate", substrate, match.substrate_vectors)):
        if not slab.structure.is_ordered:
            raise StructureError(f"the {name} {slab.crystal} is disordered", "choose an ordered configuration first")
        if slab.layers < 2:
            raise InputError(
                f"the {name} {slab.crystal} has {slab.layers} layer", f"build it with {setting('layers', 2)} or more"
            )
        own = slab.structure.lattice.matrix[:2, :2]
        if not np.allclose(own @ own.T, np.array(vectors) @ np.transpose(vectors), rtol=1e-6, atol=1e-6):
            raise InputError(f"the match was made for another {name} than {slab.crystal}", "call lattice_matches again")
    if not 0.5 <= gap <= 20:
        raise InputError(f"{named('gap_angstrom')} is {gap}", "use 2 to 2.5, at least 0.5 and at most 20")
    if vacuum is not None and not 5 <= vacuum < np.inf:
        raise InputError(f"{named('vacuum_angstrom')} is {vacuum}", "use at least 5, or None for two contacts")
    if len(shift) != 2 or not all(isfinite(x) for x in shift):
        raise InputError(f"{named('shift')} is {shift!r}", "use two fractions of the interface cell, such as (0.5, 0)")
    if film_face not in ("lower", "upper"):
        raise InputError(f"unknown film_face {film_face!r}", "use 'lower' or 'upper'")
    if len(repeat) != 2 or any(not isinstance(k, Integral) or k < 1 for k in repeat):
        raise InputError(f"repeat is {repeat!r}", "use two positive integers, such as (2, 2)")
    atoms = len(film.structure) * match.film_cells + len(substrate.structure) * match.substrate_cells
    if atoms * repeat[0] * repeat[1] > max_atoms:
        raise InputError(
            f"the cell would have {atoms * repeat[0] * repeat[1]} atoms, more than {setting('max_atoms', max_atoms)}",
            f"the matched cell alone has {atoms}: repeat it less, take thinner slabs or a smaller match",
        )


def film_matrix(match: LatticeMatch, film_face: str) -> NDArray[np.int_]:
    """Return the film's matrix; with a mirrored lattice, hence the film turned over, for its upper face."""
    matrix = np.array(match.film_matrix)
    if (film_face == "upper") == match.film_turned_over:
        return matrix
    vectors = np.array(match.film_vectors)
    mirrors = [g for g in lattice_symmetry(vectors @ vectors.T) if np.linalg.det(g) < 0]
    if not mirrors:
        other = "lower" if film_face == "upper" else "upper"
        raise InputError(
            f"the oblique film cannot show its {film_face} face in this match",
            f"use film_face={other!r}, or a match whose film_turned_over is {not match.film_turned_over}",
        )
    result: NDArray[np.int_] = matrix @ mirrors[0]
    return result


def _side_atoms(
    slab: SlabModel, matrix: NDArray[np.int_], cell: NDArray[np.float64], over: bool
) -> tuple[list[Any], NDArray[np.float64], float]:
    """Return species, cartesian positions from height 0 and thickness of one side in the common cell."""
    heights = slab.structure.cart_coords[:, 2] - slab.structure.cart_coords[:, 2].min()
    thickness = float(heights.max())
    cells = supercell_points(matrix)
    plane = (slab.structure.frac_coords[:, None, :2] + cells[None]) @ np.linalg.inv(matrix) @ cell
    heights = np.repeat(thickness - heights if over else heights, len(cells))
    species = [specie for specie in slab.structure.species for _ in cells]
    return species, np.column_stack([plane.reshape(-1, 2), heights]), thickness


def _formula_units(slab: SlabModel) -> float:
    return float(slab.formula_units)


def _times(counts: Counter[Any], factor: int) -> Counter[Any]:
    return Counter({key: value * factor for key, value in counts.items()})


def interface_warnings(model: InterfaceModel) -> tuple[str, ...]:
    """Return what a reader of an energy of this interface should know."""
    across, texts = distances_across(model.structure), []
    sides = (("film", model.film, model.film_strain), ("substrate", model.substrate, model.substrate_strain))
    for name, slab, strain in sides:
        if abs(strain.max_principal_percent) > 100 * COMFORTABLE_STRAIN:
            texts.append(f"the {name} {slab.crystal} is strained by {strain.max_principal_percent:+.2f} %")
        if slab.thickness_angstrom < MIN_SIDE_ANGSTROM:
            texts.append(f"the {name} {slab.crystal} is {slab.thickness_angstrom:.1f} angstrom thick, less than 10")
        if not slab.stoichiometric:
            texts.append(f"the {name} {slab.crystal} is not stoichiometric: energies need chemical potentials")
        if slab.polar:
            texts.append(f"the {name} {slab.crystal} has a polar face")
    published = softer_by_publication(model.film.crystal, model.substrate.crystal)
    if published is not None and model.strained not in (published[0], "both"):
        texts.append(
            f"the {model.strained} carries the strain, but the {published[0]} is the softer side by {published[1]}"
        )
    tight = tight_contacts(across)
    if tight:
        pair, touching = next(iter(tight.items()))
        wide = ceil(100 * TIGHT_FACTOR * max(tight.values())) / 100
        elsewhere = f"another {setting('shift', 'x', 'y')}, the best of {named('scan_registry')}, or "
        if model.ranked_by:  # this shift is the best of a scan already
            elsewhere = ""
        texts.append(
            f"{pair[1]} of the film lies {across[pair]:.2f} angstrom from {pair[0]} of the substrate,"
            f" {100 * across[pair] / touching:.3g} % of the {touching:.2f} at which they touch:"
            f" use {elsewhere}{setting('gap_angstrom', f'{wide:g}')}"
        )
    if not model.contacts_equivalent:
        texts.append(f"the contacts are not equivalent: {model.contacts_decided_by}")
    return tuple(texts)
