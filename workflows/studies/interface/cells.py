"""Cells of the interface study: what a study file may say of the two sides, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_serializer, field_validator
from pymatgen.core import Structure

from anodeflow.errors import StructureError
from anodeflow.structures.interface_pairs import interface
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.registry_series import in_registry_of
from anodeflow.workflows.jobs.registry_search import APART_ANGSTROM
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import Travelling
from anodeflow.workflows.studies.registries import named_crystal
from anodeflow.yaml_input import Layers, Miller

_MIN_FILMS = 4


class Side(Options):
    """One side of the interface."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    miller: Miller = Field(description="index of the face that is joined, in the cell that is given")
    termination: int | str = Field(0, description="number or label of `anodeflow build slab --list`")

    @property
    def face(self) -> str:
        """Such as ``LiCl(100)``."""
        return f"{self.crystal}({''.join(map(str, self.miller))})"


class Film(Side):
    """The strained side, in several thicknesses."""

    layers: list[Layers] = Field(
        min_length=1, description="planes of atoms: at least four thicknesses for the fit, or one without it"
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("layers")
    @classmethod
    def _one_or_a_fit(cls, value: list[int]) -> list[int]:
        if len(set(value)) not in (1, *range(_MIN_FILMS, 100)):
            raise ValueError(
                f"{value} cannot tell strain from interface: give at least {_MIN_FILMS} thicknesses, or one, whose "
                "strain is that of the strained crystal"
            )
        return value


class Substrate(Side):
    """The side whose in-plane cell is kept."""

    layers: list[Annotated[Layers, Field(ge=2)]] = Field(
        min_length=1, description="planes of atoms, one number or several"
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_serializer("layers")
    def _one_is_a_number(self, value: list[int]) -> list[int] | int:
        """Write one thickness as the number that it was when there could be only one: hashes of studies stay."""
        return value[0] if len(value) == 1 else value


class Pair(Travelling):
    """The two sides and what may be done to match them."""

    film: Film
    substrate: Substrate
    max_strain_percent: float
    max_area_angstrom2: float
    gap_angstrom: float
    shift: tuple[float, float]
    max_atoms: int

    @property
    def base_layers(self) -> tuple[int, int]:
        """Planes of film and substrate in the cell in which registries are compared.

        The thinnest film, on the substrate in the middle of its list (the thinner of two).
        """
        substrates = sorted(set(self.substrate.layers))
        return min(self.film.layers), substrates[(len(substrates) - 1) // 2]

    @property
    def thicknesses(self) -> list[tuple[int, int]]:
        """Planes of film and substrate of every cell: films on one substrate, and the thinnest film on the others."""
        film, substrate = self.base_layers
        others = sorted(set(self.substrate.layers) - {substrate})
        return [*((n, substrate) for n in sorted(set(self.film.layers))), *((film, m) for m in others)]

    def options(self, layers: tuple[int, int]) -> dict[str, Any]:
        """Return the options of :func:`anodeflow.structures.interface_pairs.interface`, plain values."""
        return {
            "film_miller": list(self.film.miller),
            "substrate_miller": list(self.substrate.miller),
            "film_layers": layers[0],
            "substrate_layers": layers[1],
            "film_termination": self.film.termination,
            "substrate_termination": self.substrate.termination,
            "smallest": True,
            "strained": "film",
            # relaxed crystals may miss the catalogue's strain by a little
            "max_strain": self.max_strain_percent / 100,
            "max_area_angstrom2": self.max_area_angstrom2,
            "max_atoms": self.max_atoms,
            "gap_angstrom": self.gap_angstrom,
        }

    def model(
        self, crystals: Sequence[Structure], layers: tuple[int, int], shift: Sequence[float], gap_angstrom: float
    ) -> InterfaceModel:
        """Build one cell.

        Parameters
        ----------
        crystals
            Film and substrate.
        layers
            Planes of both.
        shift, gap_angstrom
            Where the film is.
        """
        sides = [named_crystal(c, s.crystal) for c, s in zip(crystals, (self.film, self.substrate), strict=True)]
        return interface(*sides, **self.options(layers) | {"shift": tuple(shift), "gap_angstrom": gap_angstrom})

    def film_model(self, crystals: Sequence[Structure], layers: int) -> InterfaceModel:
        """Build a cell with a film of so many planes, for its film alone.

        Parameters
        ----------
        crystals
            Film and substrate.
        layers
            Planes of the film.
        """
        return self.model(crystals, (layers, self.base_layers[1]), self.shift, APART_ANGSTROM)


def series(
    crystals: Sequence[Structure], pair: Pair, shift: Sequence[float], gap_angstrom: float
) -> list[tuple[tuple[int, int], InterfaceModel]]:
    """Build the interface cells of all thicknesses in the registry of one.

    Parameters
    ----------
    crystals
        Film and substrate.
    pair
        What the study file says.
    shift, gap_angstrom
        Of the cell with ``pair.base_layers``.

    Returns
    -------
    list
        Planes of film and substrate with the cell; films of growing thickness first.

    Raises
    ------
    InputError, StructureError
        Too much strain, or contacts that differ in some of the cells.
    """
    base = pair.model(crystals, pair.base_layers, shift, gap_angstrom)
    cells = [
        (layers, base if layers == pair.base_layers else in_registry_of(base, _with(pair, crystals, layers)))
        for layers in pair.thicknesses
    ]
    bad = [layers for layers, model in cells if not model.contacts_equivalent]
    good = [n for n in range(2, max(pair.film.layers) + 3) if _is_good(pair, crystals, n, base)] if bad else []
    if bad and good:
        model = next(model for layers, model in cells if layers == bad[0])
        raise StructureError(
            f"the contacts differ with {bad[0][0]} film layers: {model.contacts_decided_by}",
            f"use film layers from {good}",
        )
    return cells


def _with(pair: Pair, crystals: Sequence[Structure], layers: tuple[int, int]) -> InterfaceModel:
    return pair.model(crystals, layers, pair.shift, APART_ANGSTROM)


def _is_good(pair: Pair, crystals: Sequence[Structure], film_layers: int, base: InterfaceModel) -> bool:
    """Tell whether the contacts of a film of this thickness are equivalent."""
    try:
        cell = _with(pair, crystals, (film_layers, pair.base_layers[1]))
        return in_registry_of(base, cell).contacts_equivalent
    except StructureError:
        return False
