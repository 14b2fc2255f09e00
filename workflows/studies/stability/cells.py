"""Cells of the stability study: an argyrodite as an ensemble of ordered configurations."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field
from pymatgen.core import Structure

from anodeflow.structures.argyrodite import argyrodite_configurations
from anodeflow.workflows.studies.base import Options


class ArgyroditeSpec(Options):
    """An argyrodite as an ensemble of ordered configurations, the lowest of the Ewald energy."""

    argyrodite: str = Field(description="formula, e.g. Li5.5PS4.5Cl1.5")
    configurations: int = Field(3, ge=1, le=12, description="how many of the lowest ordered cells make the ensemble")
    formula_units: int | None = Field(None, ge=1, le=20, description="None: 4, or the next that fits")
    site_inversion: float | None = Field(None, ge=0, le=1, description="halide occupancy of the 4d site")
    seed: int = Field(0, description="of the orderings that are drawn")

    @property
    def names(self) -> list[str]:
        """Return what the configurations are called."""
        return [f"{self.argyrodite} configuration {n + 1}" for n in range(self.configurations)]

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The configurations by name; fewer where there are not so many.

        Raises
        ------
        InputError
            If the formula is not that of an argyrodite, or fits no such cell.
        """
        ensemble = argyrodite_configurations(
            self.argyrodite,
            formula_units=self.formula_units,
            n=self.configurations,
            seed=self.seed,
            site_inversion=self.site_inversion,
        )
        structures = [item.structure for item in ensemble.configurations]
        return {name: Structure.from_sites(cell) for name, cell in zip(self.names, structures, strict=False)}
