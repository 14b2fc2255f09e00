"""Host cells of the binding-energy study, and Li in them: what a study file may say, and how it is built."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.lithium_states import State
from anodeflow.structures.adsorption import adsorption_sites, insert_both
from anodeflow.structures.catalogue import called
from anodeflow.structures.defaults import VACUUM_WITH_LITHIUM_ANGSTROM
from anodeflow.structures.interstitials import interstitial_sites
from anodeflow.structures.lattice_sites import (
    atom_at,
    check_state,
    occupied_sites,
    remove,
    replace,
    replaced_elements,
    states_of_crystal,
)
from anodeflow.structures.packings import packing_count, packing_name
from anodeflow.structures.sites import Site, insert
from anodeflow.structures.slabs import build_slab
from anodeflow.structures.supercells import interstitial_supercell, standard_primitive_cell, supercell_for
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import BuiltCell
from anodeflow.yaml_input import Miller, Repeats, zero_or_at_least

Environment = Literal["bulk", "surface"]
BulkState = Literal["interstitial", "substitution", "held"]
#: Relaxed sites that are one differ by a thousandth of an angstrom.
_MergeDistance = Annotated[float, zero_or_at_least(0.01)]


class Surface(Options):
    """The face of a host. The Miller index refers to the catalogue's cell (or the user's)."""

    miller: Miller = Field(description="index of the face, in the cell that is given")
    termination: int | str = Field(0, description="number or label of `anodeflow build slab --list`")
    sides: Literal["top", "both"] = Field("top", description="Li on one face, or on both (two Li, no dipole)")
    supercell: tuple[Repeats, Repeats] | None = Field(
        None, description="in-plane repeats, so the coverage; default: from the study's slab"
    )
    min_thickness_angstrom: float | None = Field(None, ge=3, le=60, description="default: that of the study's slab")
    merge_distance_angstrom: _MergeDistance | None = Field(
        None,
        ge=0,
        le=5,
        description="sites closer than this along the face count as one; default: the builder's",
    )


class Host(Options):
    """One host: a catalogue crystal or a structure file."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    surface: Surface | None = Field(None, description="the face that Li is put on; needed for the environment surface")
    merge_distance_angstrom: _MergeDistance = Field(
        0.7, ge=0, le=5, description="interstitial sites closer than this count as one"
    )
    cell: Literal["relaxed", "fixed"] | None = Field(
        None,
        description="default: fixed where the catalogue says so (dispersion-bound crystals), else the card's",
    )
    environments: list[Environment] | None = Field(
        None, description="where Li goes for this host; default: the study's"
    )
    states: list[BulkState] | None = Field(
        None, min_length=1, description="of Li in the crystal; default: the study's, of those the host can have"
    )
    dielectric_constant: float | None = Field(
        None, gt=1, le=1000, description="static, of an insulator: corrects charged cells for their periodic images"
    )
    sites: list[str] | None = Field(
        None,
        min_length=1,
        description="only these of the sites, by label: for engines too expensive for all; the document says so",
    )
    packings: int | None = Field(
        None,
        ge=2,
        le=9,
        description="of a packing model (P2S5): so many packings are hosts, and dE is a spread over them",
    )

    @property
    def label(self) -> str:
        """The crystal's name, or the stem of the file's name."""
        return called(self.crystal)


def with_packings(hosts: list[Any]) -> list[Any]:
    """Return the hosts of a study file with a host for each further packing of those that ask for some.

    Raises
    ------
    ValueError
        There are not so many packings of a crystal.
    """
    named = {host.get("crystal") for host in hosts if isinstance(host, dict)}
    listed: list[Any] = []
    for host in hosts:
        listed.append(host)
        count, crystal = (host.get("packings"), host.get("crystal")) if isinstance(host, dict) else (None, None)
        if not isinstance(count, int) or not isinstance(crystal, str):
            continue
        known = packing_count(crystal)
        if count > known:
            raise ValueError(f"host {crystal}: packings {count}, but {known} are known; give 2 to {known}, or none")
        rest = {key: value for key, value in host.items() if key != "packings"}
        others = [packing_name(crystal, number) for number in range(2, count + 1)]
        listed += [rest | {"crystal": name} for name in others if name not in named]
    return listed


class Bulk(Options):
    """How interstitial Li is put into a crystal."""

    min_image_distance_angstrom: float = Field(10.0, ge=4, le=40, description="between Li and its images")
    max_atoms: int = Field(200, ge=2, le=2000, description="a larger cell is refused")


class Slab(Options):
    """How the slabs of all hosts are built."""

    min_thickness_angstrom: float = Field(10.0, ge=3, le=60, description="least thickness of slabs")
    min_lateral_angstrom: float = Field(8.0, ge=2, le=40, description="shortest distance between Li and its images")
    vacuum_angstrom: float | None = Field(
        None, ge=5, le=100, description=f"default: that of the card, else {VACUUM_WITH_LITHIUM_ANGSTROM:g}"
    )
    max_atoms: int = Field(400, ge=2, le=2000, description="a larger cell is refused")


class Cells(Options):
    """How host cells are built: everything :func:`build_host` needs besides the crystal and the host."""

    bulk: Bulk
    slab: Slab


def build_host(crystal: Structure, host: Host, environment: Environment, cells: Cells) -> BuiltCell:
    """Build the host cell without Li.

    Parameters
    ----------
    crystal
        Relaxed, or as the catalogue has it.
    host, environment, cells
        What the study file says.

    Raises
    ------
    InputError, StructureError
        If there is no such cell.
    """
    if environment == "bulk":
        crystal = standard_primitive_cell(crystal)
        matrix = supercell_for(crystal, cells.bulk.min_image_distance_angstrom, max_atoms=cells.bulk.max_atoms)
        shape = " ".join(",".join(str(int(x)) for x in row) for row in matrix)
        return BuiltCell(
            structure=crystal.make_supercell(matrix, in_place=False),
            model=f"supercell ({shape}) of the relaxed crystal",
        )
    if host.surface is None:
        raise InputError(f"host {host.label} has no surface", "add 'surface: {miller: [h, k, l]}'")
    slab = build_slab(
        crystal,
        host.surface.miller,
        termination=host.surface.termination,
        min_thickness_angstrom=host.surface.min_thickness_angstrom or cells.slab.min_thickness_angstrom,
        vacuum_angstrom=cells.slab.vacuum_angstrom or VACUUM_WITH_LITHIUM_ANGSTROM,
        supercell=host.surface.supercell or (1, 1),
        min_lateral_angstrom=None if host.surface.supercell else cells.slab.min_lateral_angstrom,
        max_atoms=cells.slab.max_atoms,
    )
    hkl = "".join(str(i) for i in host.surface.miller)
    text = (
        f"({hkl}) slab, termination {slab.termination}, {slab.layers} layers, {slab.thickness_angstrom:.1f} angstrom, "
        f"vacuum {slab.vacuum_angstrom:.1f} angstrom, one Li per {slab.area_angstrom2:.1f} square angstrom of "
        + ("both faces" if host.surface.sides == "both" else "one face")
    )
    return BuiltCell(structure=slab.structure, model=text, face=f"({hkl})")


#: How labels of sites start, by state.
_LABELS: dict[State, tuple[str, ...]] = {
    "interstitial": ("i",), "substitution": ("sub-",), "held": ("held-",), "adsorbed": ("top", "bridge", "hollow"),
}  # fmt: skip


def states_of(host: Host, environment: Environment, crystal: Structure, asked: list[BulkState] | None) -> list[State]:
    """Return the states of Li that a host is computed in.

    Parameters
    ----------
    host, environment
        What the study file says.
    crystal
        Of the host.
    asked
        The study's states, for hosts that do not name any; None: all that the host can have.

    Raises
    ------
    InputError
        If the host names a state that it cannot have.
    """
    if environment == "surface":
        return ["adsorbed"]
    possible = states_of_crystal(crystal)
    if host.states is not None:
        for state in host.states:
            check_state(crystal, state, host.label)
        states: list[State] = [state for state in possible if state in host.states]
    else:
        states = [state for state in possible if asked is None or state in asked]
    if host.sites is None:
        return states
    named = [s for s in states if any(label.startswith(_LABELS[s]) for label in host.sites)]
    return named or states[:1]


def li_sites(crystal: Structure, structure: Structure, host: Host, state: State, cells: Cells) -> list[Site]:
    """Find every inequivalent Li site of a state (or those the host names), in coordinates of the host cell.

    Parameters
    ----------
    crystal, structure
        The crystal, and the host cell made of it.
    host, cells
        What the study file says.
    state
        Of Li.

    Raises
    ------
    InputError
        If the host names a site that is not there.
    """
    if state == "adsorbed":
        merge = host.surface.merge_distance_angstrom if host.surface else None
        sites = adsorption_sites(structure, merge_distance_angstrom=merge)
    else:
        crystal = standard_primitive_cell(crystal)
        matrix = supercell_for(crystal, cells.bulk.min_image_distance_angstrom, max_atoms=cells.bulk.max_atoms)
        if state == "interstitial":
            sites = interstitial_sites(crystal, merge_distance_angstrom=host.merge_distance_angstrom)
        elif state == "held":
            sites = occupied_sites(crystal, "Li", "held")
        else:
            replaced = replaced_elements(crystal)
            sites = [site for element in replaced for site in occupied_sites(crystal, element, "substitution")]
        sites = [interstitial_supercell(crystal, site, matrix)[1] for site in sites]
    if host.sites is None:
        return sites
    labels = [site.label for site in sites]
    of_others = tuple(start for other, starts in _LABELS.items() if other != state for start in starts)
    unknown = [label for label in host.sites if label not in labels and not label.startswith(of_others)]
    chosen = [site for site in sites if site.label in host.sites]
    if unknown:
        raise InputError(f"host {host.label} has no site '{unknown[0]}'", f"its sites: {', '.join(labels)}")
    if not chosen:
        where = "on its surface" if state == "adsorbed" else "in the crystal"
        raise InputError(
            f"host {host.label} is computed with Li {where}, and none of its sites ({', '.join(host.sites)}) is there",
            f"add one of {', '.join(labels)}, or name its environments and states",
        )
    return chosen


def lithium_atoms(host: Host, environment: Environment) -> int:
    """Return how many Li a cell with Li holds beyond its host."""
    return 2 if environment == "surface" and host.surface is not None and host.surface.sides == "both" else 1


def removed_by(structure: Structure, site: Site) -> str | None:
    """Return the element of the atom that leaves the host for Li in a site, or None."""
    return structure[atom_at(structure, site)].specie.symbol if site.kind in ("substitution", "held") else None


def with_lithium(structure: Structure, site: Site, host: Host, environment: Environment) -> Structure:
    """Return the cell of a site: with Li as the last atom (or the last two, on both faces), or without the held Li.

    Parameters
    ----------
    structure
        The host.
    site
        Where Li goes.
    host, environment
        What the study file says.
    """
    if site.kind == "held":
        return remove(structure, site)
    if site.kind == "substitution":
        return replace(structure, site)
    if lithium_atoms(host, environment) == 2:
        return insert_both(structure, site)
    return insert(structure, site)
