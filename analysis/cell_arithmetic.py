"""Cells by arithmetic: N/P ratio, areal capacity and Wh/kg from masses, capacities and voltage; the table of anodes.

    N/P = (m w c)(anode) / (m w c)(cathode),     Wh/kg = (m w c)(cathode) V / (m(anode) + m(cathode) + m(rest))

m: mass of an electrode, w: share of active material, c: capacity per gram of it, V: mean voltage of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymatgen.core import Composition

from anodeflow.analysis.reference_values import published_values
from anodeflow.documents import Document
from anodeflow.files import read_package_yaml
from anodeflow.units import MAH_PER_MOL

#: Material: its formula without added lithium, and the lithium that it can take up or give off.
_LITHIUM_OF = {
    "Al": ("Al", 1.0),
    "Li": ("Li", 1.0),
    "Si": ("Si", 3.75),
    "S": ("S", 2.0),
    "NCM811": ("LiNi0.8Co0.1Mn0.1O2", 1.0),
    "NCM622": ("LiNi0.6Co0.2Mn0.2O2", 1.0),
    "NCM90": ("LiNi0.9Co0.05Mn0.05O2", 1.0),
}


class Electrode(BaseModel):
    """One electrode as a file of cells has it."""

    model_config = ConfigDict(extra="forbid")

    material: str
    mass_mg: float | None = Field(None, gt=0, allow_inf_nan=False)
    loading_mg_per_cm2: float | None = Field(None, gt=0, allow_inf_nan=False)
    active_fraction: float = Field(1.0, gt=0, le=1, description="share of the mass that is active material")
    capacity_mah_per_g: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="per gram of active material; None: all its lithium"
    )
    lithium_held: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Li per formula unit that is in it already (pre-lithiation)"
    )

    @model_validator(mode="after")
    def _amount_and_capacity(self) -> Electrode:
        if (self.mass_mg is None) == (self.loading_mg_per_cm2 is None):
            raise ValueError(f"{self.material}: give either mass_mg or loading_mg_per_cm2")
        if self.capacity_mah_per_g is None and self.material not in _LITHIUM_OF:
            raise ValueError(
                f"no capacity of {self.material} is known; give capacity_mah_per_g (known: {', '.join(_LITHIUM_OF)})"
            )
        if self.lithium_held and self.capacity_mah_per_g is not None:
            raise ValueError(f"{self.material}: give either lithium_held or capacity_mah_per_g")
        if self.lithium_held >= _LITHIUM_OF.get(self.material, ("", math.inf))[1]:
            raise ValueError(f"{self.material}: lithium_held {self.lithium_held:g} leaves no capacity")
        return self

    @property
    def amount(self) -> float:
        """Mass, mg, or loading, mg/cm2."""
        return self.mass_mg or self.loading_mg_per_cm2 or 0.0

    @property
    def specific_mah_per_g(self) -> float:
        """Capacity per gram of active material."""
        return self.capacity_mah_per_g or theoretical_mah_per_g(self.material, self.lithium_held) or 0.0

    @property
    def capacity(self) -> float:
        """Return the capacity of the electrode, mAh, or mAh/cm2 where a loading is given."""
        return self.amount * self.active_fraction * self.specific_mah_per_g / 1000


class Cell(BaseModel):
    """One cell as a file of cells has it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    anode: Electrode
    cathode: Electrode
    voltage_v: float | None = Field(None, gt=0, allow_inf_nan=False, description="mean voltage of the cell")
    area_cm2: float | None = Field(None, gt=0, allow_inf_nan=False)
    other_mass: float = Field(0.0, ge=0, allow_inf_nan=False, description="electrolyte, collectors; as the electrodes'")
    cycles: int | None = Field(None, ge=0)
    current_ma_per_cm2: float | None = Field(None, gt=0, allow_inf_nan=False)
    efficiency_percent: float | None = Field(None, gt=0, le=100)
    reference: str = ""

    @model_validator(mode="after")
    def _alike(self) -> Cell:
        if (self.anode.mass_mg is None) != (self.cathode.mass_mg is None):
            raise ValueError(f"{self.name}: give both electrodes by mass_mg, or both by loading_mg_per_cm2")
        return self


class Cells(BaseModel):
    """A file of cells."""

    model_config = ConfigDict(extra="forbid")

    cells: list[Cell] = Field(min_length=1)


class CellRow(Document):
    """One cell of a table, printed or computed."""

    anode: str
    cathode: str
    n_to_p: float | None = None
    areal_capacity_mah_per_cm2: float | None = None
    cycles: int | None = None
    current_ma_per_cm2: float | None = None
    c_rate_per_h: float | None = Field(None, description="current over areal capacity")
    cathode_loading_mg_per_cm2: float | None = Field(None, description="of active material")
    cathode_mah_per_g: float | None = Field(None, description="of active material: areal capacity over loading")
    efficiency_percent: float | None = None
    voltage_v: float | None = None
    wh_per_kg: float | None = Field(None, description="of the masses that are given")
    source: str = ""
    own: bool = Field(False, description="computed from a file of cells")
    warnings: list[str] = Field(default_factory=list)


def theoretical_mah_per_g(material: str, held: float = 0.0) -> float | None:
    """Return the capacity of the lithium of a known material beyond what it holds, mAh/g; None for an unknown one.

    The mass is that of the material with the lithium that it holds.

    Examples
    --------
    >>> round(theoretical_mah_per_g("NCM811"), 1), theoretical_mah_per_g("glass")
    (275.5, None)
    """
    if material not in _LITHIUM_OF:
        return None
    formula, lithium = _LITHIUM_OF[material]
    mass = float(Composition(formula).weight) + held * float(Composition("Li").weight)
    return (lithium - held) * MAH_PER_MOL / mass


def cell_row(cell: Cell) -> CellRow:
    """Return what follows from masses, capacities and voltage of a cell."""
    negative, positive = cell.anode.capacity, cell.cathode.capacity
    by_area = cell.anode.mass_mg is None
    area = 1.0 if by_area else cell.area_cm2
    mass = cell.anode.amount + cell.cathode.amount + cell.other_mass
    row = CellRow(
        anode=cell.name,
        cathode=cell.cathode.material,
        n_to_p=negative / positive,
        cycles=cell.cycles,
        current_ma_per_cm2=cell.current_ma_per_cm2,
        cathode_mah_per_g=cell.cathode.specific_mah_per_g,
        efficiency_percent=cell.efficiency_percent,
        voltage_v=cell.voltage_v,
        # mAh V / mg = 1000 Wh/kg
        wh_per_kg=None if cell.voltage_v is None else 1000 * positive * cell.voltage_v / mass,
        source=cell.reference,
        own=True,
    )
    if area is not None:
        row.areal_capacity_mah_per_cm2 = positive / area
        row.cathode_loading_mg_per_cm2 = cell.cathode.amount * cell.cathode.active_fraction / area
    _finish(row)
    if negative < positive:
        row.warnings.append(f"N/P {negative / positive:.2f} is below 1: the anode cannot take up all lithium")
    most = theoretical_mah_per_g(cell.anode.material)
    if most is not None and cell.anode.specific_mah_per_g > most * 1.001:
        row.warnings.append(f"{cell.anode.specific_mah_per_g:g} mAh/g of {cell.anode.material} is more than {most:.0f}")
    return row


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = read_package_yaml(
        files("anodeflow.analysis").joinpath("anode_table.yaml").read_text("utf-8")
    )
    return table


def anode_rows() -> list[CellRow]:
    """Return the published table of anodes, with what follows from its numbers."""
    rows = []
    for printed in _table()["rows"]:
        areal, loading = printed["areal_capacity"], printed["loading"]
        row = CellRow(
            anode=printed["anode"],
            cathode=printed["cathode"],
            n_to_p=printed["n_to_p"],
            areal_capacity_mah_per_cm2=areal,
            cycles=printed["cycles"],
            current_ma_per_cm2=printed["current"],
            cathode_loading_mg_per_cm2=loading,
            cathode_mah_per_g=1000 * areal / loading,
            efficiency_percent=printed["efficiency"],
            source=_table()["source"],
            warnings=[printed["note"]] if "note" in printed else [],
        )
        _finish(row)
        rows.append(row)
    return rows


def _finish(row: CellRow) -> None:
    """Write the rate, and a warning where there is more capacity than lithium."""
    if row.areal_capacity_mah_per_cm2 and row.current_ma_per_cm2:
        row.c_rate_per_h = row.current_ma_per_cm2 / row.areal_capacity_mah_per_cm2
    most = theoretical_mah_per_g(row.cathode)
    if most is not None and row.cathode_mah_per_g is not None and row.cathode_mah_per_g > most * 1.01:
        row.warnings.append(
            f"{row.cathode_mah_per_g:.0f} mAh per gram of {row.cathode}, but all its lithium is {most:.0f}:"
            " loading and areal capacity do not go together"
        )


def published_beside(paper: str, rows: Sequence[CellRow]) -> list[dict[str, Any]]:
    """Return published numbers of cells beside ours, as studies have them.

    Parameters
    ----------
    paper
        Whose numbers.
    rows
        Ours; a published number belongs to the cell of its name.
    """
    compared = []
    for quantity in ("n_to_p", "wh_per_kg"):
        for published in (p for p in published_values(f"cell_{quantity}") if p["paper"] == paper):
            ours = next((getattr(row, quantity) for row in rows if row.anode == published["system"]), None)
            name = {"n_to_p": "N/P", "wh_per_kg": "energy"}[quantity]
            beside = _beside(f"{name}, {published['system']}", published["value"], ours, published["unit"])
            compared.append({"paper": paper, **beside, "convention": "arithmetic", "note": published["source"]})
    return compared


def table_beside(paper: str, rows: Sequence[CellRow]) -> list[dict[str, Any]]:
    """Return the printed areal capacities beside what all lithium of the printed cathode loading is.

    Parameters
    ----------
    paper
        That prints the table.
    rows
        Of the table. A cell that gives more than all its lithium is one whose printed numbers do not go together.
    """
    compared = []
    for row in rows:
        most = theoretical_mah_per_g(row.cathode)
        printed, loading = row.areal_capacity_mah_per_cm2, row.cathode_loading_mg_per_cm2
        if most is None or printed is None or loading is None:
            continue
        beside = _beside(f"areal capacity, {row.anode}", printed, loading * most / 1000, "mAh/cm2")
        note = "; ".join(f"{row.anode}: {warning}" for warning in row.warnings if "go together" in warning)
        compared.append({"paper": paper, **beside, "convention": f"all lithium of {row.cathode}", "note": note})
    return compared


def _beside(quantity: str, published: float, ours: float | None, unit: str) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "published": published,
        "reference": None,
        "ours": ours,
        "difference": None if ours is None else ours - published,
        "unit": unit,
        "engine": "–",
        "card": "–",
    }
