"""Cells of the interface study: what a study file may say of the two sides, and how they are put together."""

from __future__ import annotations

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.structures.interface_series import thickness_series
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.interfaces import InterfaceModel
from anodeflow.structures.matching import lattice_matches
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import Travelling


class Side(Options):
    """One side of the interface."""

    crystal: str
    miller: tuple[int, int, int]
    termination: int | str = 0

    @property
    def face(self) -> str:
        """Such as ``LiCl(100)``."""
        return f"{self.crystal}({''.join(map(str, self.miller))})"


class Film(Side):
    """The strained side, in several thicknesses."""

    layers: list[int] = Field(min_length=4, description="planes of atoms; at least four thicknesses")


class Substrate(Side):
    """The side whose in-plane cell is kept."""

    layers: int = Field(ge=2)


class Pair(Travelling):
    """The two sides and what may be done to match them."""

    film: Film
    substrate: Substrate
    max_strain_percent: float
    max_area_angstrom2: float
    gap_angstrom: float
    shift: tuple[float, float]
    max_atoms: int


def series(film: Structure, substrate: Structure, pair: Pair) -> list[InterfaceModel]:
    """Build the interface cells, thinnest film first: the film strained onto the substrate's smallest matching cell.

    Parameters
    ----------
    film, substrate
        The two crystals.
    pair
        What the study file says.

    Raises
    ------
    InputError, StructureError
        Too much strain, too few thicknesses, contacts that differ: see :mod:`anodeflow.structures.interface_series`.
    """
    side, base = pair.film, pair.substrate
    film_spec = slab_spec(film, side.miller, layers=min(side.layers), termination=side.termination)
    kept = slab_spec(substrate, base.miller, layers=base.layers, termination=base.termination).build()
    matches = lattice_matches(
        film_spec.build(),
        kept,
        max_strain=pair.max_strain_percent / 100,
        max_area_angstrom2=pair.max_area_angstrom2,
        max_atoms=pair.max_atoms,
        strained="film",
    )
    smallest = min(matches, key=lambda match: (round(match.area_angstrom2, 3), match.strain.von_mises_percent))
    return thickness_series(
        film_spec,
        kept,
        smallest,
        film_layers=sorted(side.layers),
        gap_angstrom=pair.gap_angstrom,
        shift=pair.shift,
        # relaxed crystals may miss the catalogue's strain by a little
        max_strain=pair.max_strain_percent / 100,
        max_atoms=pair.max_atoms,
    )
