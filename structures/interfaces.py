"""Interfaces of two crystals: two slabs brought to one in-plane cell and stacked, and the families a study
needs of them (lateral shifts, gaps, thicknesses).

The substrate lies below, the film above. Without vacuum the cell is periodic and holds two contacts: contact 1
between the substrate's upper and the film's lower face, contact 2 between the film's upper face and the next
image of the substrate. Heights stay those of the unstrained slabs: relax along z before using an energy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from math import isfinite
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import spglib
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from anodeflow.errors import ConvergenceError, InputError, StructureError
from anodeflow.structures.argyrodite import argyrodite_configurations, parse_argyrodite
from anodeflow.structures.catalogue import get_entry, load_crystal
from anodeflow.structures.cleaving import DEFAULT_BONDS, SYMPREC_ANGSTROM, coordination_numbers
from anodeflow.structures.matching import (
    InPlaneStrain,
    LatticeMatch,
    Strained,
    check_strained,
    displacement_cell,
    in_plane_strain,
    lattice_matches,
    lattice_symmetry,
    supercell_points,
)
from anodeflow.structures.sites import element_symbols, worst_overlap
from anodeflow.structures.slabs import SlabModel, build_slab

COMFORTABLE_STRAIN = 0.02
MIN_SIDE_ANGSTROM = 10.0
AREA_TOLERANCE = 1e-6

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

#: Young's moduli in GPa, used only to name the softer side. Li: doi 10.1007/s10853-018-2971-3; Li6PS5Cl:
#: doi 10.1149/2.0061602jes; LiCl and Li9Al4: theory as cited in Nature Communications 2024 (Li-Al-Cl); Al: handbook.
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
        """The slab, `layers` planes thick if given."""
        return build_slab(
            self.bulk,
            self.miller,
            termination=self.termination,
            min_thickness_angstrom=self.min_thickness_angstrom,
            layers=self.layers if layers is None else layers,
            symmetric_preferred=self.symmetric_preferred,
            crystal=self.crystal,
        )


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
        What :func:`scan_registry` ranked by.
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
        """Everything but the structure, for JSON."""
        own = {k: v for k, v in vars(self).items() if k != "structure"}
        nested = {k: own[k].as_dict() for k in ("film", "substrate", "match")}
        strains = {k: dict(vars(own[k])) for k in ("film_strain", "substrate_strain")}
        extra = {"contacts": self.contacts, "terminations": self.terminations, "atoms": len(self.structure)}
        composition = {"formula": self.structure.composition.formula, "film_indices": self.film_indices}
        return own | nested | strains | extra | composition | {"max_strain_percent": self.max_strain_percent}


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
    film_matrix = np.diag(repeat) @ _film_matrix(match, film_face)
    substrate_matrix = np.diag(repeat) @ np.array(match.substrate_matrix)
    over = np.linalg.det(film_matrix) < 0
    low_species, low, low_top = _side_atoms(substrate, substrate_matrix, cell, False)
    top_species, top, top_height = _side_atoms(film, film_matrix, cell, bool(over))
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
    distance, pair = _shortest_across(structure)
    equivalent, reason = _contacts_equivalent(structure, film, substrate, vacuum_angstrom, shift)
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
        gaps_angstrom=_gaps(structure, vacuum_angstrom),
        vacuum_angstrom=vacuum_angstrom,
        shift=(float(shift[0]), float(shift[1])),
        repeat=(int(repeat[0]), int(repeat[1])),
        film_face=film_face,
        n_film_units=_formula_units(film) * match.film_cells * cells,
        n_substrate_units=_formula_units(substrate) * match.substrate_cells * cells,
        shortest_contact_angstrom=distance,
        contact_elements=pair,
        contacts_equivalent=equivalent,
        contacts_decided_by=reason,
    )
    if model.max_strain_percent > 100 * max_strain + 1e-6:
        raise InputError(
            f"the {strained} side would be strained by {model.max_strain_percent:.2f} % in a cell of"
            f" {model.area_angstrom2:.1f} square angstrom, the limit is {max_strain:.1%}",
            "take another match, or raise max_strain",
        )
    model = replace(model, warnings=tuple(_warnings(model)))
    check_interface(model)
    return model


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
        found = Counter((symbols[n], int(coordination[n])) for n in own)
        if Counter(symbols[n] for n in own) != _times(Counter(element_symbols(slab.structure)), cells * repeats):
            problems.append(f"the {name} does not have the atoms of {cells * repeats} slab cells")
        elif found != _times(expected, cells * repeats):
            bonds_ok = False
            problems.append(f"molecules of the {name} are broken or bound across the contact")
    area = float(np.linalg.norm(np.cross(matrix[0], matrix[1])))
    gaps = _gaps(structure, model.vacuum_angstrom)
    own_cells = [np.diag(model.repeat) @ own for own in model.match.unstrained_cells()]
    strains = [in_plane_strain(own, matrix[:2, :2]) for own in own_cells]
    stated = (model.film_strain, model.substrate_strain)
    if any(not np.allclose(s.tensor, t.tensor, atol=1e-8) for s, t in zip(strains, stated, strict=True)):
        problems.append("the strain is not that of the cell")
    if abs(area - model.area_angstrom2) > AREA_TOLERANCE * area:
        problems.append(f"the area is {area:.4f}, stated is {model.area_angstrom2:.4f} square angstrom")
    if not np.allclose(gaps, model.gaps_angstrom, atol=1e-6) or min(gaps) <= 0:
        problems.append(f"the gaps are {gaps}, stated are {model.gaps_angstrom} angstrom")
    overlap = worst_overlap(structure)
    if overlap is not None:
        value, i, j = overlap
        problems.append(f"{symbols[i]} and {symbols[j]} overlap ({value:.2f} angstrom apart)")
    if problems:
        remedy = "widen gap_angstrom or change shift" if overlap or not bonds_ok else "build it with build_interface"
        raise StructureError(f"{_name(model)}: {'; '.join(problems)}", remedy)
    return {
        "atoms": len(structure),
        "formula": structure.composition.formula,
        "area_angstrom2": area,
        "handedness": handedness,
        "gaps_angstrom": gaps,
        "shortest_contact_angstrom": _shortest_across(structure)[0],
        "max_strain_percent": max(abs(s.max_principal_percent) for s in strains),
        "p_coordination": sorted({int(n) for n, s in zip(coordination, symbols, strict=True) if s == "P"}),
    }


def scan_registry(
    interface: InterfaceModel,
    *,
    n: int | tuple[int, int] = 4,
    gaps: Sequence[float] | None = None,
    energies: Callable[[Structure], float] | None = None,
) -> list[InterfaceModel]:
    """Every inequivalent lateral shift on a grid, and every gap, best first.

    A shift by a lattice vector of either side changes nothing, so that the grid spans the cell these vectors
    generate together; points that a symmetry of both slabs connects count once.

    Parameters
    ----------
    interface
        Where to start; its own shift is the origin of the grid.
    n
        Grid points along each of the two vectors of that cell.
    gaps
        Gaps in angstrom; that of `interface` if absent.
    energies
        Total energy of a structure in eV, lowest first. Without it the shifts are ranked by geometry: the
        largest shortest contact distance first, which is a guess at the least repulsion and no energy.

    Returns
    -------
    list of InterfaceModel
        With `score` and `ranked_by` set. Cells whose atoms overlap are left out.

    Raises
    ------
    InputError
        A grid below one, or gaps that are not positive.
    ConvergenceError
        `energies` returns no finite number.
    StructureError
        Every cell overlaps.
    """
    grid = (n, n) if isinstance(n, int) else tuple(n)
    if len(grid) != 2 or any(not isinstance(k, Integral) or k < 1 for k in grid):
        raise InputError(f"the grid of shifts is {n!r}", "use one or two positive integers, such as 4")
    found, overlapping = [], None
    for gap, shift in product(gaps or interface.gaps_angstrom[:1], _distinct_shifts(interface, grid)):
        try:
            found.append(_rebuild(interface, shift=shift, gap_angstrom=gap))
        except StructureError as error:
            overlapping = error
    if not found:
        raise StructureError(
            f"every shift of {_name(interface)} overlaps: {overlapping.problem if overlapping else 'no gap given'}",
            "use wider gaps",
        )
    if energies is None:
        ranked_by = "geometry: largest shortest contact distance (angstrom)"
        scored = [replace(m, score=m.shortest_contact_angstrom, ranked_by=ranked_by) for m in found]
        return sorted(scored, key=lambda m: (-round(m.score or 0, 6), m.gaps_angstrom, m.shift))
    scored = []
    for model in found:
        energy = float(energies(model.structure.copy()))
        if not isfinite(energy):
            raise ConvergenceError(f"the energy of {_name(model)} at shift {model.shift} is {energy}", "converge it")
        scored.append(replace(model, score=energy, ranked_by="energy (eV per cell)"))
    return sorted(scored, key=lambda m: (m.score, m.gaps_angstrom, m.shift))


def thickness_series(
    film: SlabSpec,
    substrate: SlabModel,
    match: LatticeMatch,
    *,
    film_layers: Sequence[int],
    **options: Any,
) -> list[InterfaceModel]:
    """The same interface with films of growing thickness, for gamma(n) = gamma_true + n sigma.

    Parameters
    ----------
    film
        How to cut the film.
    substrate
        The other slab, the same in all cells.
    match
        Made for these two crystals, with any thickness.
    film_layers
        Planes of the film, at least four different numbers. Both contacts must be equivalent in every cell.
    options
        `strained` (not ``"both"``: the area must be that of one side), `gap_angstrom`, `shift`, `repeat`,
        `max_strain`, `max_atoms` of :func:`build_interface`.

    Returns
    -------
    list of InterfaceModel
        Thinnest first; n is `n_film_units`, beside it `n_substrate_units`.

    Raises
    ------
    InputError
        Fewer than four thicknesses, a film of one layer, vacuum, or both sides strained.
    StructureError
        Contacts that differ, with the numbers of layers that would do.
    """
    layers = sorted(set(film_layers))
    if len(layers) < 4:
        raise InputError(f"{len(layers)} film thicknesses cannot support a fit", "give at least four in film_layers")
    if options.get("vacuum_angstrom") is not None:
        raise InputError("a thickness series needs periodic cells with two contacts", "leave out vacuum_angstrom")
    if options.get("strained", match.strained) == "both":
        raise InputError("with both sides strained the area belongs to neither", "use strained='film' or 'substrate'")
    models = [build_interface(film.build(count), substrate, match, **options) for count in layers]
    bad = [count for count, model in zip(layers, models, strict=True) if not model.contacts_equivalent]
    if bad:
        good = []
        for count in range(max(2, min(layers) - 2), max(layers) + 5):
            if count not in bad:
                model = build_interface(film.build(count), substrate, match, **options)
                good += [count] if model.contacts_equivalent else []
        reason = models[layers.index(bad[0])].contacts_decided_by
        remedy = f"use film_layers from {good}" if good else "use symmetric slabs, or another shift"
        raise StructureError(f"the contacts differ with {bad} film layers: {reason}", remedy)
    check_series(models)
    return models


def check_series(models: Sequence[InterfaceModel]) -> None:
    """Refuse interfaces that one straight line gamma(n) cannot hold.

    Raises
    ------
    InputError
        Fewer than four thicknesses, different areas, substrates or strained sides, or inequivalent contacts.
    """
    units = {round(model.n_film_units, 6) for model in models}
    if len(units) < 4:
        raise InputError(f"{len(units)} film thicknesses cannot support a fit", "use at least four")
    cells = [model.structure.lattice.matrix[:2, :2] for model in models]
    if any(not np.allclose(cell, cells[0], rtol=AREA_TOLERANCE, atol=1e-6) for cell in cells):
        areas = ", ".join(f"{model.area_angstrom2:.3f}" for model in models)
        raise InputError(f"the in-plane cells differ (areas {areas} square angstrom)", "use one match and one side")
    if len({(model.strained, round(model.n_substrate_units, 6)) for model in models}) > 1:
        raise InputError("the substrates or the strained sides differ", "use one substrate and one side")
    if not all(model.contacts_equivalent for model in models):
        raise InputError("not all interfaces have two equivalent contacts", "build them with thickness_series")


def interface(
    film: str | Path | Structure,
    substrate: str | Path | Structure,
    *,
    film_miller: tuple[int, int, int] | None = None,
    substrate_miller: tuple[int, int, int] | None = None,
    film_layers: int | None = None,
    substrate_layers: int | None = None,
    min_thickness_angstrom: float = MIN_SIDE_ANGSTROM,
    strained: Strained | None = None,
    max_strain: float = 0.05,
    comfortable_strain: float = COMFORTABLE_STRAIN,
    max_area_angstrom2: float = 400.0,
    max_atoms: int = 500,
    seed: int = 0,
    **options: Any,
) -> InterfaceModel:
    """The interface of two named crystals, with the cell chosen.

    Parameters
    ----------
    film, substrate
        Catalogue name, argyrodite formula, structure file or structure.
    film_miller, substrate_miller
        Faces, in the cell of the catalogue or of the structure given; `DEFAULT_MILLER` if absent.
    film_layers, substrate_layers, min_thickness_angstrom
        Planes of each side, or the least thickness of both.
    strained
        If absent the softer side of `YOUNG_MODULUS_GPA`, else the film.
    max_strain, max_area_angstrom2, max_atoms
        Limits; `max_atoms` counts one matched cell.
    comfortable_strain
        Of all matches strained less than this the one with the fewest atoms is taken; if there is none, the least
        strained.
    seed
        For the configuration of an argyrodite, the lowest in Ewald energy.
    options
        `gap_angstrom`, `shift`, `vacuum_angstrom`, `film_face`, `repeat` of :func:`build_interface`.

    Returns
    -------
    InterfaceModel

    Raises
    ------
    InputError, StructureError
        As in :func:`slab_spec`, :func:`anodeflow.structures.matching.lattice_matches` and :func:`build_interface`.
    """
    specs = [
        slab_spec(name, miller, layers=layers, min_thickness_angstrom=min_thickness_angstrom, seed=seed)
        for name, miller, layers in (
            (film, film_miller, film_layers),
            (substrate, substrate_miller, substrate_layers),
        )
    ]
    slabs = specs[0].build(), specs[1].build()
    moduli = [_modulus(spec.crystal) for spec in specs]
    if strained is None:
        strained = "substrate" if None not in moduli and (moduli[1] or 0) < (moduli[0] or 0) else "film"
    matches = lattice_matches(
        *slabs, max_area_angstrom2=max_area_angstrom2, max_strain=max_strain, max_atoms=max_atoms, strained=strained
    )
    comfortable = [m for m in matches if abs(m.strain.max_principal_percent) <= 100 * comfortable_strain]
    match = min(comfortable, key=lambda m: m.atoms or 0) if comfortable else matches[0]
    repeat = options.get("repeat", (1, 1))
    return build_interface(
        slabs[0], slabs[1], match, max_strain=max_strain, max_atoms=max_atoms * repeat[0] * repeat[1], **options
    )


def slab_spec(
    crystal: str | Path | Structure,
    miller: tuple[int, int, int] | None = None,
    *,
    layers: int | None = None,
    min_thickness_angstrom: float = MIN_SIDE_ANGSTROM,
    termination: int | str = 0,
    seed: int = 0,
) -> SlabSpec:
    """How to cut a named crystal, an argyrodite formula, a structure file or a structure.

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
    return SlabSpec(bulk, miller, name, termination, layers, min_thickness_angstrom)


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


def _modulus(crystal: str) -> float | None:
    return YOUNG_MODULUS_GPA.get("Li6PS5Cl" if _is_argyrodite(crystal) else crystal)


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
            raise InputError(f"the {name} {slab.crystal} has {slab.layers} layer", "build it with layers=2 or more")
        own = slab.structure.lattice.matrix[:2, :2]
        if not np.allclose(own @ own.T, np.array(vectors) @ np.transpose(vectors), rtol=1e-6, atol=1e-6):
            raise InputError(f"the match was made for another {name} than {slab.crystal}", "call lattice_matches again")
    if not 0.5 <= gap <= 20:
        raise InputError(f"gap_angstrom is {gap}", "use 2 to 2.5, at least 0.5 and at most 20")
    if vacuum is not None and not 5 <= vacuum < np.inf:
        raise InputError(f"vacuum_angstrom is {vacuum}", "use at least 5, or None for two contacts")
    if len(shift) != 2 or not all(isfinite(x) for x in shift):
        raise InputError(f"shift is {shift!r}", "use two fractions of the interface cell, such as (0.5, 0)")
    if film_face not in ("lower", "upper"):
        raise InputError(f"unknown film_face {film_face!r}", "use 'lower' or 'upper'")
    if len(repeat) != 2 or any(not isinstance(k, Integral) or k < 1 for k in repeat):
        raise InputError(f"repeat is {repeat!r}", "use two positive integers, such as (2, 2)")
    one = len(film.structure) * match.film_cells + len(substrate.structure) * match.substrate_cells
    if one * repeat[0] * repeat[1] > max_atoms:
        raise InputError(
            f"the cell would have {one * repeat[0] * repeat[1]} atoms, more than max_atoms={max_atoms}",
            f"the matched cell alone has {one}: repeat it less, take thinner slabs or a smaller match",
        )


def _film_matrix(match: LatticeMatch, film_face: str) -> NDArray[np.int_]:
    """The film's matrix; with a mirrored lattice, hence the film turned over, for its upper face."""
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
    return matrix @ mirrors[0]


def _side_atoms(
    slab: SlabModel, matrix: NDArray[np.int_], cell: NDArray[np.float64], over: bool
) -> tuple[list, NDArray[np.float64], float]:
    """Species, cartesian positions from height 0 and thickness of one side in the common cell."""
    heights = slab.structure.cart_coords[:, 2] - slab.structure.cart_coords[:, 2].min()
    thickness = float(heights.max())
    cells = supercell_points(matrix)
    plane = (slab.structure.frac_coords[:, None, :2] + cells[None]) @ np.linalg.inv(matrix) @ cell
    heights = np.repeat(thickness - heights if over else heights, len(cells))
    species = [specie for specie in slab.structure.species for _ in cells]
    return species, np.column_stack([plane.reshape(-1, 2), heights]), thickness


def _gaps(structure: Structure, vacuum_angstrom: float | None) -> tuple[float, ...]:
    heights, film = structure.cart_coords[:, 2], np.array(structure.site_properties["side"]) == "film"
    first = float(heights[film].min() - heights[~film].max())
    second = float(structure.lattice.c - heights[film].max() + heights[~film].min())
    return (first, second) if vacuum_angstrom is None else (first,)


def _shortest_across(structure: Structure) -> tuple[float, tuple[str, str]]:
    """Shortest distance between the two sides, and the elements there, the substrate's first."""
    film = np.array(structure.site_properties["side"]) == "film"
    radius = 3.0
    while True:
        first, second, _, distance = structure.get_neighbor_list(radius)
        across = ~film[first] & film[second]
        if across.any():
            best = np.flatnonzero(across)[np.argmin(distance[across])]
            symbols = element_symbols(structure)
            return float(distance[best]), (symbols[first[best]], symbols[second[best]])
        radius *= 1.5


def _operations(structure: Structure) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Symmetry operations that keep film and substrate apart."""
    numbers = [site.specie.Z + 200 * (site.properties["side"] == "film") for site in structure]
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers)
    found = spglib.get_symmetry(cell, symprec=SYMPREC_ANGSTROM)
    if found is None:
        return np.eye(3, dtype=int)[None], np.zeros((1, 3))
    return found["rotations"], found["translations"]


def _contacts_equivalent(
    structure: Structure,
    film: SlabModel,
    substrate: SlabModel,
    vacuum_angstrom: float | None,
    shift: Sequence[float],
) -> tuple[bool, str]:
    if vacuum_angstrom is not None:
        return False, "there is one contact, the other faces meet vacuum"
    if (_operations(structure)[0][:, 2, 2] == -1).any():
        how = f"a symmetry operation of the cell (spglib, {SYMPREC_ANGSTROM} angstrom) exchanges the two contacts"
        return True, how
    sides = (("film", film), ("substrate", substrate))
    named = [f"the {side} {slab.crystal} shows two different faces" for side, slab in sides if not slab.symmetric]
    if named:
        return False, " and ".join(named)
    centred = [t / 2 for w, t, flips in _moves(structure) if flips and (w == -np.eye(2)).all()]
    hint = ""
    if centred:
        x, y = np.round((centred[0] + np.asarray(shift)) % 1.0, 6)
        hint = f" (shift=({x:g}, {y:g}) has one)"
    return False, f"both slabs are symmetric, but at this shift no operation exchanges the contacts{hint}"


def _moves(structure: Structure) -> list[tuple[NDArray[np.int_], NDArray[np.float64], bool]]:
    """What symmetry does to a shift s of the film: to W s + t. The flag: it exchanges the two contacts.

    An operation {W|t1} of the substrate takes the film, which has {W|t2} and is shifted by s, to a film shifted
    by W s + t1 - t2.
    """
    found = []
    for side in ("film", "substrate"):
        sites = [site for site in structure if site.properties["side"] == side]
        rotations, translations = _operations(Structure.from_sites(sites))
        found.append({r.tobytes(): (r, t) for r, t in zip(rotations, translations, strict=True)})
    film, substrate = found
    shared = [(r, substrate[key][1] - t) for key, (r, t) in film.items() if key in substrate]
    return [(r[:2, :2], t[:2], bool(r[2, 2] == -1)) for r, t in shared]


def _distinct_shifts(model: InterfaceModel, grid: Sequence[int]) -> list[tuple[float, float]]:
    """Shifts of the film over the cell of displacements, one for each orbit of the symmetry.

    Those of the grid, and in a periodic cell those with a centre of inversion, which make the contacts equal.
    """
    repeat = np.diag(model.repeat)
    film, substrate = (
        repeat @ _film_matrix(model.match, model.film_face),
        repeat @ np.array(model.match.substrate_matrix, dtype=int),
    )
    cell = displacement_cell(film, substrate, model.structure.lattice.matrix[:2, :2])
    moves = [move for move in _moves(model.structure) if not move[2] or model.vacuum_angstrom is None]
    points = [np.array([i / grid[0], j / grid[1]]) @ cell for i, j in product(range(grid[0]), range(grid[1]))]
    centred = [t / 2 for w, t, flips in moves if flips and (w == -np.eye(2)).all()][:1]
    points += [centre + np.array(corner) / 2 @ cell for centre in centred for corner in product((0, 1), repeat=2)]
    back, shifts = np.linalg.inv(cell), []
    seen: set[tuple[float, ...]] = set()
    for shift in points:
        orbit = {tuple((np.round((w @ shift + t) @ back, 5) % 1.0 + 0.0).tolist()) for w, t, _ in moves}
        if not orbit & seen:
            inside = (np.round(shift @ back, 9) % 1.0) @ cell
            shifts.append(tuple((np.round(inside + model.shift, 9) + 0.0).tolist()))
        seen |= orbit
    return shifts


def _rebuild(model: InterfaceModel, *, shift: Sequence[float], gap_angstrom: float) -> InterfaceModel:
    return build_interface(
        model.film,
        model.substrate,
        model.match,
        strained=model.strained,
        gap_angstrom=gap_angstrom,
        shift=shift,
        vacuum_angstrom=model.vacuum_angstrom,
        film_face=model.film_face,
        repeat=model.repeat,
        max_strain=1.0,
        max_atoms=len(model.structure),
    )


def _formula_units(slab: SlabModel) -> float:
    return float(slab.formula_units)


def _times(counts: Counter, factor: int) -> Counter:
    return Counter({key: value * factor for key, value in counts.items()})


def _name(model: InterfaceModel) -> str:
    film, substrate = model.film, model.substrate
    return f"{film.crystal}{film.miller}/{substrate.crystal}{substrate.miller}"


def _warnings(model: InterfaceModel) -> list[str]:
    texts = []
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
    moduli = [_modulus(slab.crystal) for slab in (model.film, model.substrate)]
    softer = {True: "film", False: "substrate"}[(moduli[0] or 0) < (moduli[1] or 0)]
    if None not in moduli and model.strained not in (softer, "both"):
        texts.append(f"the {model.strained} carries the strain, but the {softer} is the softer side")
    if not model.contacts_equivalent:
        texts.append(f"the contacts are not equivalent: {model.contacts_decided_by}")
    return texts
