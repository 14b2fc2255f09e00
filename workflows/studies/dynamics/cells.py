"""What a molecular-dynamics study file may say of the systems that move, and how their cells are built."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pymatgen.core import Element, Structure

from anodeflow.analysis.interface_registries import RegistrySearchDoc
from anodeflow.errors import InputError
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interface_sides import softer_by_publication
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.registry import contact_problems, registries
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import Travelling
from anodeflow.workflows.studies.registries import found_registries, named_crystal, search_is_default
from anodeflow.workflows.studies.strained_side import SOFTER
from anodeflow.yaml_input import Layers, Miller, Repeats, Shift

#: Dynamics may begin with contacts that are closer than those of rigid sides by this, angstrom.
_CLOSER_ANGSTROM = 0.8


class _InterfaceSide(Options):
    """One side of an interface."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    miller: Miller = Field(description="index of the face that is joined, in the cell that is given")
    layers: Layers | None = Field(None, ge=2, description="planes of atoms, in place of min_thickness_angstrom")


class System(Options):
    """What moves: a crystal of the catalogue, a structure file as it is, or the interface of two crystals."""

    name: str = Field("", description="for tables and figures; default: made of what it is")
    crystal: str | None = Field(None, description="name of the catalogue, or a structure file, whose cell may relax")
    structure: str | None = Field(None, description="a file; its cell is kept")
    supercell: tuple[Repeats, Repeats, Repeats] = Field(
        (1, 1, 1), description="repeats of a crystal or structure along its vectors"
    )
    film: _InterfaceSide | None = Field(None, description="one side of an interface")
    substrate: _InterfaceSide | None = Field(None, description="the other side")
    min_thickness_angstrom: float = Field(9.0, ge=2, le=100, description="least thickness of each side of an interface")
    gap_angstrom: float = Field(
        2.3,
        ge=1,
        le=6,
        description="between the sides before they are relaxed; with a search, the gap that cells are planned with",
    )
    shift: Shift = Field((0.0, 0.0), description="in place of a search of the registry")
    registry: str | None = Field(None, description="the one to take, such as 'Li over S'; default: the lowest")
    registries: Literal[1] | None = Field(None, description="1: the lowest of a search, the default of an interface")
    search_engine: str | None = Field(None, description="potential that scores registries")
    repeat: tuple[Repeats, Repeats] = Field((1, 1), description="of the matched cell of an interface in the plane")
    strained: Literal["film", "substrate", "both", "softer"] | None = Field(
        None,
        description="which side takes the lattice of the other; both: half each; softer: by moduli that the study's "
        "engine computes; default: the softer by published moduli",
    )
    max_strain_percent: float = Field(5.0, ge=1e-3, le=15, description="largest strain of a lattice match")
    max_area_angstrom2: float = Field(250.0, gt=1, le=2000, description="largest area of a lattice match")
    max_atoms: int = Field(400, ge=2, le=5000, description="a larger cell is refused")
    relax_height: bool = Field(
        True, description="the start of an interface relaxes its height, too; a reactive one may collapse in it"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> System:
        kinds = [key for key in ("crystal", "structure", "film") if getattr(self, key) is not None]
        if len(kinds) != 1 or (self.film is None) != (self.substrate is None):
            raise ValueError("give one of 'crystal', 'structure', or 'film' and 'substrate'")
        given = "shift" in self.model_fields_set
        asked = (self.registries, self.registry, self.search_engine)
        if self.film is not None and search_is_default(given, *asked):
            self.registries = 1
        return self

    @property
    def label(self) -> str:
        """Its name, or one made of what it is."""
        if self.name:
            return self.name
        if self.film is not None and self.substrate is not None:
            return "/".join(f"{s.crystal}({''.join(map(str, s.miller))})" for s in (self.film, self.substrate))
        return self.crystal or Path(str(self.structure)).stem

    @property
    def options(self) -> dict[str, Any]:
        """Options of :func:`anodeflow.structures.interface_pairs.interface` but for shift and repeat, plain values."""
        if self.film is None or self.substrate is None:
            return {}
        return {
            "film_miller": list(self.film.miller),
            "substrate_miller": list(self.substrate.miller),
            "film_layers": self.film.layers,
            "substrate_layers": self.substrate.layers,
            "min_thickness_angstrom": self.min_thickness_angstrom,
            "strained": "film" if self.strained == SOFTER else self.strained,
            "max_strain": self.max_strain_percent / 100,
            "max_area_angstrom2": self.max_area_angstrom2,
            "max_atoms": self.max_atoms,
            "gap_angstrom": self.gap_angstrom,
        }

    def straining(self, side: Literal["film", "substrate"]) -> System:
        """Return the same with this side strained."""
        return self.model_copy(update={"strained": side})

    @property
    def crystals(self) -> list[str]:
        """Names of the crystals it is built of."""
        return [side.crystal for side in (self.film, self.substrate) if side is not None] or [
            str(self.crystal or self.structure)
        ]


class Analysis(Options):
    """What is made of the trajectories."""

    pairs: list[str] = Field(default_factory=lambda: ["P-S", "Li-S", "Li-P", "Li-Cl"], description="where present")
    r_max_angstrom: float = Field(8.0, gt=1, le=50, description="largest distance of g(r)")
    window_ps: float | None = Field(
        None, ge=1e-3, le=100_000, description="length of 'before' and 'after'; None: a fifth of the run, at most 1 ps"
    )
    ps_cutoff_angstrom: float | None = Field(None, gt=1.5, lt=4, description="None: first minimum of g(r)")

    @field_validator("pairs")
    @classmethod
    def _are_pairs(cls, pairs: list[str]) -> list[str]:
        for pair in pairs:
            parts = pair.split("-")
            if len(parts) != 2 or not all(Element.is_valid_symbol(part) for part in parts):
                raise ValueError(f"'{pair}' is not a pair of elements; write centre and neighbour like P-S")
        return pairs


def build(
    system: System, crystals: dict[str, Structure], search: RegistrySearchDoc | None = None
) -> tuple[Structure, InterfaceModel | None]:
    """Build the cell of a system; return it and the interface it is, if it is one.

    Parameters
    ----------
    system
        What the study file says.
    crystals
        By name.
    search
        The search of its registry; None takes the shift of the system.

    Raises
    ------
    InputError, StructureError
        If there is no match, or atoms overlap.
    """
    if system.film is None or system.substrate is None:
        structure = crystals[system.crystals[0]].copy()
        atoms = len(structure) * math.prod(system.supercell)
        if atoms > system.max_atoms and system.supercell != (1, 1, 1):
            raise InputError(
                f"{system.label}: supercell {' x '.join(map(str, system.supercell))} has {atoms} atoms, more than "
                f"max_atoms={system.max_atoms}",
                "repeat the cell less, or raise max_atoms",
            )
        return structure.make_supercell(system.supercell), None
    sides = [named_crystal(crystals[side.crystal], side.crystal) for side in (system.film, system.substrate)]
    shift, gap = system.shift, system.gap_angstrom
    if search is not None:
        lowest = found_registries(search, 1)[0]
        # that of the search is of the matched cell, and its gap one that need not be where dynamics should begin
        shift = (lowest.shift[0] / system.repeat[0], lowest.shift[1] / system.repeat[1])
        gap = max(gap, lowest.gap_angstrom - _CLOSER_ANGSTROM)
    options = system.options | {"gap_angstrom": gap, "shift": shift, "repeat": system.repeat}
    model = interface(*sides, **options)
    cell = model.structure
    return Structure(cell.lattice, cell.species, cell.frac_coords), model


def start_task(system: System, model: InterfaceModel | None) -> Task:
    """Return how the start of a run is relaxed."""
    return "relax_c" if model is not None and system.relax_height else "relax"


class InterfaceFacts(Travelling):
    """What a reader of the result should know of the interface that moves."""

    interface: str
    strained_side: str
    strain_percent: float
    area_angstrom2: float
    gap_angstrom: float
    film_thickness_angstrom: float
    substrate_thickness_angstrom: float
    terminations: str
    broken_bonds: int
    registries: list[str]
    shortest_contact_angstrom: float
    warnings: list[str]
    strained_by: str | None = None

    @classmethod
    def of(cls, model: InterfaceModel, strained: str | None) -> InterfaceFacts:
        """Return what is known of an interface.

        Parameters
        ----------
        model
            Its cell.
        strained
            What the study file says of the strained side.
        """
        published = softer_by_publication(model.film.crystal, model.substrate.crystal)
        return cls(
            strained_by=None if strained is not None or published is None else published[1],
            interface=model.name,
            strained_side=model.strained,
            strain_percent=model.max_strain_percent,
            area_angstrom2=model.area_angstrom2,
            gap_angstrom=model.gaps_angstrom[0],
            film_thickness_angstrom=model.film.thickness_angstrom,
            substrate_thickness_angstrom=model.substrate.thickness_angstrom,
            terminations=f"{model.film.termination} | {model.substrate.termination}",
            broken_bonds=model.film.broken_bonds + model.substrate.broken_bonds,
            registries=[registry.label for registry in registries(model)],
            shortest_contact_angstrom=model.shortest_contact_angstrom,
            warnings=[*model.warnings, *contact_problems(model, model.structure)],
        )
