"""Which side of an interface takes the lattice of the other: the one with the smaller Young's modulus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from anodeflow.analysis.elasticity import ElasticDoc
from anodeflow.documents import Document
from anodeflow.errors import ConvergenceError


class StrainedSideDoc(Document):
    """The softer side of an interface, by elastic moduli that the same engine and card gave."""

    film: str = Field(description="crystal of the side that the study file calls film")
    substrate: str = Field(description="crystal of the side that it calls substrate")
    film_young_gpa: float = Field(description="Young's modulus of the film's crystal, Hill average")
    substrate_young_gpa: float = Field(description="of the substrate's crystal")
    strained: Literal["film", "substrate"] = Field(description="the softer of the two; the film where they are equal")
    source: str = Field(description="where the moduli are from")
    system: str | None = Field(None, description="which interface, where the study has several")

    @property
    def text(self) -> str:
        """The choice and its reason in one line."""
        sides = [(self.film, self.film_young_gpa), (self.substrate, self.substrate_young_gpa)]
        softer, stiffer = sides if self.strained == "film" else sides[::-1]
        return (
            f"{softer[0]} is strained: Young's modulus {softer[1]:.1f} GPa, {stiffer[0]} {stiffer[1]:.1f} GPa "
            f"({self.source})"
        )


def strained_side(
    film: str, substrate: str, moduli: Sequence[ElasticDoc | None], source: str, system: str | None = None
) -> StrainedSideDoc:
    """Return the softer side of an interface.

    Parameters
    ----------
    film, substrate
        Names of the crystals.
    moduli
        Of both, in this order.
    source
        Where they are from.
    system
        Which interface, where there are several.

    Raises
    ------
    ConvergenceError
        One of them has no Young's modulus.
    """
    young = []
    for crystal, doc in zip((film, substrate), moduli, strict=True):
        value = None if doc is None else doc.young_gpa.get("Hill")
        if value is None:
            why = "it was not computed" if doc is None else doc.error or "; ".join(doc.warnings)
            raise ConvergenceError(
                f"which side is softer is not known: {crystal} has no Young's modulus ({why})",
                "say which side is strained, strained: film",
            )
        young.append(value)
    return StrainedSideDoc(
        film=film,
        substrate=substrate,
        film_young_gpa=young[0],
        substrate_young_gpa=young[1],
        strained="substrate" if young[1] < young[0] else "film",
        source=source,
        system=system,
    )
