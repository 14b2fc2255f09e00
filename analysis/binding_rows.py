"""Documents of convergence rows: how E_int of a state moves with one setting of its cells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anodeflow.documents import Document
from anodeflow.lithium_states import State


class VariedSetting(Document):
    """The setting of a convergence row that is not the study's."""

    setting: str = Field(description="key of the study file, or of the card")
    value: float = Field(description="in the unit of the setting's name")


class ConvergenceRow(Document):
    """E_int of one state with one value of the setting that is varied."""

    value: float = Field(description="of the setting")
    is_base: bool = Field(description="whether it is the study's own value")
    same_as: float | None = Field(None, description="value that gives the same cells and k-points: not computed again")
    model: str = Field(description="the cell")
    atoms: int | None = Field(None, description="of the cell without the added Li")
    best_site: str | None = Field(None, description="label of the lowest site")
    binding_energy_ev: dict[str, float] = Field(default_factory=dict, description="per convention, eV per Li")
    work_function_ev: float | None = Field(None, description="of the slab with Li")
    ion_binding_energy_ev: float | None = Field(None, description="E_int(Li+) by its work function, eV per Li")
    from_base_ev: float | None = Field(None, description="E_int less that of the study's own value")
    from_finest_ev: float | None = Field(None, description="E_int less that of the most accurate value")
    ion_from_base_ev: float | None = Field(None, description="the same of E_int(Li+)")
    ion_from_finest_ev: float | None = Field(None, description="the same of E_int(Li+)")
    notes: list[str] = Field(
        default_factory=list, description="of its lowest site, such as why it has no work function"
    )
    error: str | None = Field(None, description="why there is no result")


class BindingConvergence(Document):
    """How E_int of one state moves with one setting, the most accurate value last."""

    crystal: str = Field(description="the host")
    environment: Literal["bulk", "surface"] = Field(description="in a crystal, or on a surface")
    state: State = Field(description="where Li is")
    setting: str = Field(description="what is varied, all else as the study has it")
    convention: str = Field(description="what E_Li is in the changes and the spread")
    rows: list[ConvergenceRow] = Field(description="by value, the most accurate last")
    spread_ev: float | None = Field(
        None,
        description="largest change of E_int from the study's own value to those at least as accurate; where that is "
        "the most accurate, to any",
    )
    ion_spread_ev: float | None = Field(None, description="the same of E_int(Li+)")
    within_ev: float = Field(description="what counts as converged")
    converged: bool | None = Field(None, description="whether every spread is within that; None: not known")

    @property
    def where(self) -> str:
        """Host, environment and state, such as ``LiAl/bulk, held``; on a surface there is but one state."""
        place = f"{self.crystal}/{self.environment}"
        return place if self.state == "adsorbed" else f"{place}, {self.state}"

    @property
    def without_ion(self) -> list[float]:
        """Values whose slab has no work function although others have."""
        if all(row.ion_binding_energy_ev is None for row in self.rows):
            return []
        return [row.value for row in self.rows if row.error is None and row.ion_binding_energy_ev is None]

    @property
    def verdict(self) -> str:
        """Such as ``converged within 0.02 eV``."""
        spreads = [f"{self.spread_ev:.3f} eV"] if self.spread_ev is not None else []
        spreads += [f"Li+ {self.ion_spread_ev:.3f} eV"] if self.ion_spread_ev is not None else []
        without = ", ".join(f"{value:g}" for value in self.without_ion)
        without = f"; Li+ has no number at {without}, whose slab has no work function" if without else ""
        if self.converged is None:
            known = (
                f" (changes by {', '.join(spreads)}){without}" if spreads else ": fewer than two values have a result"
            )
            return f"not known whether converged{known}"
        not_ = "" if self.converged else "not "
        return f"{not_}converged within {self.within_ev:g} eV (changes by {', '.join(spreads)}){without}"
