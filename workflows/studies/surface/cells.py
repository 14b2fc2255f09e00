"""Slabs of the surface study: what a study file may say of a face, and how its slabs are cut."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.comparable import amounts
from anodeflow.errors import InputError
from anodeflow.structures.oriented_bulk import crystal_in_slab_cell
from anodeflow.structures.slabs import SlabModel, build_slab
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.base import Options
from anodeflow.workflows.studies.graph import Setup
from anodeflow.yaml_input import Layers, Miller


class SurfaceSpec(Options):
    """One face of one crystal. The Miller index refers to the catalogue's cell (or the user's)."""

    crystal: str = Field(description="name of the catalogue, or a structure file")
    miller: Miller = Field(description="index of the face, in the cell that is given")
    termination: int | str = Field(0, description="number or label of `anodeflow build slab --list`")
    layers: list[Layers] = Field(min_length=1, description="planes of atoms of each slab")
    symmetric: bool = Field(True, description="equal faces are preferred, even at the price of stoichiometry")
    chemical_potentials_ev: dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]] | None = Field(
        None, description="eV per atom, for slabs that are not stoichiometric"
    )

    @model_validator(mode="after")
    def _one_or_a_fit(self) -> SurfaceSpec:
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"{self.label}: a thickness is given twice in layers {self.layers}")
        if len(self.layers) == 2:
            raise ValueError(f"{self.label}: two thicknesses {self.layers} make no fit; give one, or three and more")
        return self

    @property
    def label(self) -> str:
        """Such as ``LiCl(100)``."""
        return f"{self.crystal}({''.join(str(i) for i in self.miller)})"


def slabs(crystal: Structure, surface: SurfaceSpec, vacuum_angstrom: float, max_atoms: int) -> list[SlabModel]:
    """Cut the slabs of one surface, thinnest first.

    Parameters
    ----------
    crystal
        Relaxed, or as the catalogue has it.
    surface
        What the study file says.
    vacuum_angstrom
        Over each slab.
    max_atoms
        A larger slab is refused.

    Raises
    ------
    InputError, StructureError
        See :func:`anodeflow.structures.slabs.build_slab`; also for slabs whose energy would need chemical potentials
        that are not given, and for thicknesses that end in different faces.
    """
    models = [
        build_slab(
            crystal,
            surface.miller,
            termination=surface.termination,
            layers=layers,
            vacuum_angstrom=vacuum_angstrom,
            symmetric_preferred=surface.symmetric,
            crystal=surface.crystal,
            max_atoms=max_atoms,
        )
        for layers in sorted(surface.layers)
    ]
    _check_composition(models, surface)
    return models


def _check_composition(models: list[SlabModel], surface: SurfaceSpec) -> None:
    """Refuse before anything is computed what :func:`anodeflow.analysis.surface_energy.surface_energy_doc` refuses."""
    first = models[0]
    advice = f"layers of whole repeats, multiples of {first.planes_per_repeat}, have no excess"
    for model in models:
        if model.excess and surface.chemical_potentials_ev is None:
            raise InputError(
                f"{surface.label}: {model.layers} layers have {amounts(model.excess)} beyond whole formulas, so "
                "gamma needs chemical potentials",
                f"{advice}; or give chemical_potentials_ev of its elements",
            )
        if model.excess != first.excess:
            raise InputError(
                f"{surface.label}: {model.layers} layers have {amounts(model.excess)} beyond whole formulas, "
                f"{first.layers} layers {amounts(first.excess)}: two terminations",
                f"{advice}; or put them in two studies",
            )


def aligned_crystal(slab: SlabModel, surface: SurfaceSpec, setup: Setup) -> Structure | None:
    """Return the crystal in the slabs' cell, where it tells more than the crystal; None elsewhere.

    It does with k-points by a spacing and three slabs or more. A card with one mesh for all cells has a point or two
    along the normal, which a thin crystal cannot use.
    """
    kpoints = setup.card_of("slab").kpoints
    by_spacing = kpoints is not None and kpoints.mesh is None
    if not (get_engine(setup.engine).capabilities.kpoints and by_spacing) or len(surface.layers) < 3 or slab.excess:
        return None
    return crystal_in_slab_cell(slab)
