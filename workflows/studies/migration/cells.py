"""Host cells of the migration study and the two ends of each hop: what a study file may say, how they are built."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.interface_registries import RegistrySearchDoc
from anodeflow.errors import InputError, StructureError
from anodeflow.structures.catalogue import called
from anodeflow.structures.cleaving import primitive_cell
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.migration import Hop, Mechanism, choose_hops, kinds_of_crossing, lithium_hops
from anodeflow.structures.migration_paths import hop_cells
from anodeflow.structures.registry import registry_at
from anodeflow.structures.shifts import standard_shift
from anodeflow.structures.slabs import build_slab
from anodeflow.structures.supercells import supercell_for
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.jobs.registry_search import APART_ANGSTROM
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.binding.cells import Surface
from anodeflow.workflows.studies.card_roles import Role
from anodeflow.workflows.studies.registries import built_gap, found_registries, named_crystal, search_is_default
from anodeflow.yaml_input import Layers, Miller, Repeats, Shift

#: Relaxed crystals have their symmetry to this accuracy.
_SYMPREC_ANGSTROM = 0.02
#: A lattice atom that moves further than this while an interface or slab relaxes has left its site.
_LEFT_ANGSTROM = 1.2
#: Atoms of one contact built of crystals of two engines are this near to each other, on their side.
_SAME_SITE_ANGSTROM = 0.7


class Cell(Options):
    """How the cells are built."""

    min_image_distance_angstrom: float = Field(10.0, ge=4, le=40, description="between the defect and its images")
    max_atoms: int = Field(300, ge=2, le=2000, description="a larger cell is refused")
    min_thickness_angstrom: float = Field(10.0, ge=3, le=60, description="of slabs, and of each side of an interface")
    vacuum_angstrom: float | None = Field(
        None, ge=5, le=100, description=f"default: that of the card, else {VACUUM_WITH_LITHIUM_ANGSTROM:g}"
    )


class Side(Options):
    """One side of an interface."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    miller: Miller | None = Field(None, description="index of the face that is joined, in the cell that is given")
    termination: int | str = Field(0, description="number or label of `anodeflow build slab --list`")
    layers: Layers | None = Field(None, ge=2, description="planes of atoms; default: from the cell's thickness")


class MigrationPath(Options):
    """Where lithium moves, and how: a crystal with a mechanism, or the two sides of an interface."""

    mechanism: Mechanism = Field(
        description="what moves: a vacancy, an interstitial Li, Li on a surface, or Li at an interface"
    )
    crystal: str | None = Field(None, description="name of the catalogue, or a structure file")
    surface: Surface | None = Field(None, description="the face that Li moves on")
    film: Side | None = Field(None, description="side of an interface that is strained")
    substrate: Side | None = Field(None, description="the other side")
    max_distance_angstrom: float = Field(4.0, ge=0.5, le=15, description="longest hop that is looked for")
    hops: list[str] | None = Field(None, min_length=1, description="labels; default: all inequivalent hops")
    sites: list[str] | None = Field(None, min_length=2, description="orbits between which hops are looked for")
    shortest: int | None = Field(None, ge=1, le=1000, description="only so many of the shortest hops")
    landscape: int | None = Field(
        None, ge=1, le=100, description="of an interface: one hop of each kind across the contact, so many kinds"
    )
    max_strain_percent: float = Field(5.0, ge=1e-3, le=15, description="of an interface")
    max_area_angstrom2: float = Field(200.0, gt=1, le=1000, description="of an interface")
    gap_angstrom: float = Field(2.5, ge=1, le=6, description="of an interface, before it is relaxed")
    repeat: tuple[Repeats, Repeats] = Field((1, 1), description="of the matched cell of an interface")
    shift: Shift | None = Field(None, description="of an interface, in place of a search of its registry")
    registry: str | None = Field(None, description="of an interface, such as 'Li over S'; default: the lowest")
    registries: Literal[1] | None = Field(None, description="1: the lowest of a search, the default of an interface")
    search_engine: str | None = Field(None, description="potential that scores registries")

    @model_validator(mode="after")
    def _complete(self) -> MigrationPath:
        if self.mechanism == "interface":
            if self.film is None or self.substrate is None:
                raise ValueError("mechanism interface needs 'film: {crystal: ...}' and 'substrate: {crystal: ...}'")
            if self.crystal is not None or self.surface is not None:
                raise ValueError("mechanism interface takes film and substrate, not crystal or surface")
            if search_is_default(self.shift is not None, self.registries, self.registry, self.search_engine):
                self.registries = 1
        elif self.film is not None or self.substrate is not None:
            raise ValueError(f"film and substrate belong to mechanism interface, not {self.mechanism}")
        elif self.crystal is None:
            raise ValueError(f"mechanism {self.mechanism} needs 'crystal: ...'")
        if (self.mechanism == "surface") != (self.surface is not None):
            raise ValueError(
                "mechanism surface needs 'surface: {miller: [h, k, l]}'"
                if self.mechanism == "surface"
                else f"'surface' belongs to mechanism surface, not {self.mechanism}"
            )
        if sum(choice is not None for choice in (self.hops, self.shortest, self.landscape)) > 1:
            raise ValueError("give one of hops, shortest and landscape")
        if self.landscape is not None and self.mechanism != "interface":
            raise ValueError(f"landscape belongs to mechanism interface, not {self.mechanism}")
        return self

    @property
    def crystals(self) -> list[str]:
        """Names or files of the crystals."""
        if self.film is not None and self.substrate is not None:
            return list(dict.fromkeys([self.film.crystal, self.substrate.crystal]))
        return [self.crystal or ""]

    @property
    def name(self) -> str:
        """The crystal, face or interface, for tables."""
        if self.film is not None and self.substrate is not None:
            return " || ".join(_side_name(side) for side in (self.film, self.substrate))
        stem = called(self.crystal or "")
        return stem if self.surface is None else f"{stem}({''.join(map(str, self.surface.miller))})"

    @property
    def label(self) -> str:
        """For the names of calculations."""
        return f"{self.name}/{self.mechanism}"

    @property
    def needs_host(self) -> bool:
        """Whether the host without a defect has to be relaxed; a perfect crystal is relaxed already."""
        return self.mechanism in ("surface", "interface")

    @property
    def role(self) -> Role:
        """Which card its cells have."""
        if self.mechanism == "interface":
            return "interface"
        return "slab" if self.mechanism == "surface" else "crystal"

    @property
    def host_task(self) -> Task:
        """How the host is relaxed: an interface along its normal, too."""
        return "relax_c" if self.mechanism == "interface" else "relax"


def _side_name(side: Side) -> str:
    face = "" if side.miller is None else f"({''.join(map(str, side.miller))})"
    return f"{called(side.crystal)}{face}"


@dataclass(frozen=True)
class HopCells:
    """A hop with the two cells of its ends, unrelaxed; of one across a contact where it leads, as text."""

    hop: Hop
    start: Structure
    end: Structure
    start_name: str
    end_name: str
    notes: list[str] = field(default_factory=list)
    place: str | None = None


def interface_options(path: MigrationPath, cell: Cell) -> dict[str, Any]:
    """Return options of :func:`anodeflow.structures.interface_pairs.interface` but for shift and repeat, plain values.

    Parameters
    ----------
    path, cell
        What the study file says.
    """
    film, substrate = path.film, path.substrate
    if film is None or substrate is None:
        return {}
    return {
        "film_miller": None if film.miller is None else list(film.miller),
        "substrate_miller": None if substrate.miller is None else list(substrate.miller),
        "film_layers": film.layers,
        "substrate_layers": substrate.layers,
        "film_termination": film.termination,
        "substrate_termination": substrate.termination,
        "min_thickness_angstrom": cell.min_thickness_angstrom,
        "strained": "film",
        "max_strain": path.max_strain_percent / 100,
        "max_area_angstrom2": path.max_area_angstrom2,
        "max_atoms": cell.max_atoms,
        "gap_angstrom": path.gap_angstrom,
    }


def build_host(
    crystals: list[Structure],
    path: MigrationPath,
    cell: Cell,
    vacuum_angstrom: float,
    search: RegistrySearchDoc | None = None,
) -> tuple[Structure, str]:
    """Build the cell in which hops are looked for; return it and its description.

    Parameters
    ----------
    crystals
        One for each of `path.crystals`.
    path, cell
        What the study file says.
    vacuum_angstrom
        Over slabs, where the cell does not say.
    search
        Of the registry of an interface; None takes the shift of the path.

    Returns
    -------
    structure, model
        The primitive cell of a crystal; the slab; or the periodic interface, atoms marked with their ``side``.
    """
    if path.film is not None and path.substrate is not None:
        gap = path.gap_angstrom if search is None else built_gap(found_registries(search, 1)[0])
        model = _interface_of(crystals, path, cell, search, gap)
        text = (
            f"periodic cell with two contacts, {model.film.layers} film and {model.substrate.layers} substrate layers, "
            f"{model.area_angstrom2:.1f} square angstrom, film strained by {model.max_strain_percent:.1f} %, "
            f"{registry_at(model).label}, gap {gap:.1f} angstrom before it is relaxed"
        )
        return model.structure, text
    if path.surface is not None:
        slab = build_slab(
            crystals[0],
            path.surface.miller,
            termination=path.surface.termination,
            min_thickness_angstrom=path.surface.min_thickness_angstrom or cell.min_thickness_angstrom,
            vacuum_angstrom=cell.vacuum_angstrom or vacuum_angstrom,
            supercell=path.surface.supercell or (1, 1),
            min_lateral_angstrom=None if path.surface.supercell else cell.min_image_distance_angstrom,
            max_atoms=cell.max_atoms,
        )
        text = (
            f"slab of {slab.layers} layers, termination {slab.termination}, vacuum {slab.vacuum_angstrom:.1f} "
            f"angstrom, one Li per {slab.area_angstrom2:.1f} square angstrom of one face"
        )
        return slab.structure, text
    host = primitive_cell(crystals[0], _SYMPREC_ANGSTROM)
    matrix = supercell_for(host, cell.min_image_distance_angstrom, max_atoms=cell.max_atoms)
    shape = " ".join(",".join(str(int(x)) for x in row) for row in matrix)
    return host, f"supercell ({shape}) of the primitive cell"


def _interface_of(
    crystals: list[Structure], path: MigrationPath, cell: Cell, search: RegistrySearchDoc | None, gap_angstrom: float
) -> InterfaceModel:
    """Return the interface of a path in the registry that was found, or with the shift of the study."""
    if path.film is None or path.substrate is None:
        raise InputError(f"path {path.label} has no two sides", "give film and substrate")
    structures = dict(zip(path.crystals, crystals, strict=True))
    shift = path.shift or (0.0, 0.0)
    if search is not None:
        lowest = found_registries(search, 1)[0]
        shift = lowest.shift[0] / path.repeat[0], lowest.shift[1] / path.repeat[1]
    options = interface_options(path, cell) | {"repeat": path.repeat}
    film, substrate = (named_crystal(structures[side.crystal], side.crystal) for side in (path.film, path.substrate))
    if search is not None:
        apart = interface(film, substrate, **options | {"gap_angstrom": APART_ANGSTROM})
        shift = standard_shift(apart, shift)
    return interface(film, substrate, **options | {"shift": shift, "gap_angstrom": gap_angstrom})


def standard_contact(
    unrelaxed: list[Structure], built: Structure, path: MigrationPath, cell: Cell, search: RegistrySearchDoc | None
) -> Structure | None:
    """Return the contact as crystals nobody relaxed make it, in the registry found: where hops are found and named.

    Distances and symmetry in it depend on no engine, so that two engines name the same hop alike.

    Parameters
    ----------
    unrelaxed
        One for each of `path.crystals`.
    built
        The host of the relaxed crystals, before it was relaxed itself; its atoms carry the site property ``side``.
    path, cell, search
        As of :func:`build_host`.

    Returns
    -------
    Structure or None
        None where the relaxed crystals fit each other in another way, so that no atom can be named alike.
    """
    for gap in (path.gap_angstrom, APART_ANGSTROM):
        try:
            standard = _interface_of(unrelaxed, path, cell, search, gap).structure
            break
        except StructureError:  # atoms overlap in this registry at this gap
            continue
    else:
        return None
    return standard if _partners(standard, built) is not None else None


def _partners(standard: Structure, built: Structure) -> list[int] | None:
    """Return which atom of one contact is which of another; None if they are not the same but for their lengths."""
    if len(standard) != len(built):
        return None
    kinds, of_built = (
        np.array([f"{site.properties['side']} {site.specie.symbol}" for site in structure])
        for structure in (standard, built)
    )
    sideways = built.frac_coords[None, :, :2] - standard.frac_coords[:, None, :2]
    sideways = (sideways - np.round(sideways)) @ standard.lattice.matrix[:2, :2]
    up = _heights_on_their_side(built)[None, :] - _heights_on_their_side(standard)[:, None]
    distances = np.hypot(np.linalg.norm(sideways, axis=2), up)
    distances[kinds[:, None] != of_built[None, :]] = np.inf
    partners: list[int] = distances.argmin(axis=1).tolist()
    if distances.min(axis=1).max() > _SAME_SITE_ANGSTROM or len(set(partners)) < len(partners):
        return None
    return partners


def _heights_on_their_side(structure: Structure) -> NDArray[np.float64]:
    """Return the height of every atom above the lowest of its side, angstrom."""
    heights = np.mod(structure.frac_coords[:, 2], 1.0) * structure.lattice.c
    sides = np.array(structure.site_properties["side"])
    for side in ("film", "substrate"):
        heights[sides == side] -= heights[sides == side].min()
    return heights


def hop_cells_of(
    built: Structure, relaxed: Structure, path: MigrationPath, cell: Cell, standard: Structure | None = None
) -> list[HopCells]:
    """Find the hops of a path, chosen as the study says, and make the cells of their ends.

    Parameters
    ----------
    built
        The host as built.
    relaxed
        The host as relaxed, atoms in the same order; the same where there is nothing to relax.
    path, cell
        What the study file says.
    standard
        Of an interface, where its hops are found and named: :func:`standard_contact`; None takes `built`.

    Raises
    ------
    InputError, StructureError
        See :mod:`anodeflow.structures.migration`.
    """
    if path.mechanism == "interface":
        return _crossings(built, relaxed, path, built if standard is None else standard)
    hops = lithium_hops(relaxed, path.mechanism, max_distance_angstrom=path.max_distance_angstrom, sites=path.sites)
    matrix = None if path.needs_host else supercell_for(relaxed, cell.min_image_distance_angstrom, cell.max_atoms)
    cells = []
    for hop in choose_hops(hops, path.hops)[: path.shortest]:
        start, end = hop_cells(relaxed, hop, matrix)
        between = path.mechanism in ("interstitial", "surface")
        start_name = f"Li on {hop.start_site}" if between else f"no Li on {hop.end_site}"
        cells.append(HopCells(hop, start, end, start_name, f"{hop.label}/end"))
    return cells


def _crossings(built: Structure, relaxed: Structure, path: MigrationPath, standard: Structure) -> list[HopCells]:
    """Return the chosen hops across a contact."""
    hops = lithium_hops(standard, "interface", max_distance_angstrom=path.max_distance_angstrom, sites=path.sites)
    kinds = kinds_of_crossing(standard, hops)
    chosen = choose_hops(hops, path.hops)[: path.shortest]
    if path.landscape is not None:
        chosen = [hop for hop, _ in kinds[: path.landscape]]
    notes = []
    if len(chosen) < len(hops):
        notes.append(
            f"{len(chosen)} of {len(hops)} inequivalent hops, of {len(kinds)} kinds, across the contact as built"
            + ("; the film is where the study says, no registry was searched" if path.registries is None else "")
        )
    if standard is built:
        notes.append("hops are named in the contact of this engine's crystals: another engine may name them otherwise")
    partners = _partners(standard, built) or list(range(len(built)))
    places = [kinds_of_crossing(standard, [hop])[0][1] for hop in chosen]
    cells = []
    for hop, place in zip(chosen, places, strict=True):
        start, end = hop_cells(relaxed, _in_relaxed_host(hop, standard, built, relaxed, partners))
        cells.append(HopCells(hop, start, end, f"no Li on {hop.end_site}", f"{hop.label}/end", notes, place))
    return cells


def _in_relaxed_host(hop: Hop, standard: Structure, built: Structure, relaxed: Structure, partners: list[int]) -> Hop:
    """Return the same hop between the same two atoms' places after the host was relaxed.

    Parameters
    ----------
    hop, standard
        A hop, and the contact it was found in.
    built, relaxed
        The host before and after it was relaxed.
    partners
        Which atom of the host each of the contact is.

    Raises
    ------
    StructureError
        One of the two atoms has left its site.
    """
    ends = []
    for frac in (np.array(hop.start), np.array(hop.end)):
        distances = standard.lattice.get_all_distances([frac], standard.frac_coords)[0]
        atom = partners[int(distances.argmin())]
        step = relaxed.frac_coords[atom] - built.frac_coords[atom]
        step -= np.round(step)
        moved = float(np.linalg.norm(step @ relaxed.lattice.matrix))
        if moved > _LEFT_ANGSTROM:
            raise StructureError(
                f"hop {hop.label}: atom {atom + 1} ({built[atom].specie.symbol}) moved {moved:.2f} angstrom while the "
                "host relaxed, so its site is gone",
                "choose another hop, face or termination",
            )
        away = relaxed.frac_coords[atom] - frac
        ends.append(frac + away - np.round(away))
    length = float(np.linalg.norm(relaxed.lattice.get_cartesian_coords(ends[1] - ends[0])))
    start, end = ((float(x), float(y), float(z)) for x, y, z in ends)
    return replace(hop, start=start, end=end, distance_angstrom=length)
