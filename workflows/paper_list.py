"""The papers that `anodeflow reproduce` knows: whose they are, their parts, and when a computed number agrees."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from anodeflow.errors import InputError
from anodeflow.files import read_package_yaml
from anodeflow.suggest import did_you_mean

#: By unit, within how much a computed number agrees with a printed one: (absolute, relative). About what two plane-wave
#: codes, or the digits that are printed, leave open; a potential is held to the same.
_WITHIN = {
    "eV": (0.1, 0.0),
    "J/m2": (0.05, 0.0),
    "V": (0.05, 0.0),
    "GPa": (0.0, 0.1),
    "mAh/g": (0.0, 0.01),
    "%": (2.0, 0.0),
    "Wh/kg": (0.0, 0.02),
    "mAh/cm2": (0.0, 0.1),
    "": (0.05, 0.0),
}


class Part(BaseModel):
    """One part of a paper.

    Attributes
    ----------
    file
        The study file, or the file of cells; None for the published table alone.
    computes, shown
        What is computed, and the figure or table of the paper.
    printed
        Whether the paper prints a number of it.
    core_hours
        Expected cost with the engine of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None
    computes: str
    shown: str
    printed: bool
    core_hours: float = Field(ge=0)


class Paper(BaseModel):
    """One paper: `parts` are studies, `cells` arithmetic."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authors: str | None
    title: str | None
    about: str
    journal: str
    doi: str
    parts: dict[str, Part]
    cells: dict[str, Part] = Field(default_factory=dict)

    @property
    def all_parts(self) -> dict[str, Part]:
        """Studies, then arithmetic."""
        return {**self.parts, **self.cells}

    def cite(self) -> str:
        """Return the paper in one line."""
        given = [self.authors, self.title or self.about, self.journal]
        return f"{', '.join(word for word in given if word)}, doi:{self.doi}"


def papers_folder() -> Path:
    """Return the folder of the study files."""
    return Path(str(files("anodeflow.workflows").joinpath("papers")))


@cache
def papers() -> dict[str, Paper]:
    """Return all papers by their short names."""
    content = read_package_yaml((papers_folder() / "papers.yaml").read_text("utf-8"))
    return {name: Paper.model_validate(entry) for name, entry in content.items()}


def paper_of(name: str) -> Paper:
    """Return one paper.

    Raises
    ------
    InputError
        If it is unknown; the nearest name is offered.
    """
    known = papers()
    if name not in known:
        raise InputError(f"unknown paper '{name}'", did_you_mean(name, known, most=1, cutoff=0.3))
    return known[name]


def verdict(published: float | None, ours: float | None, unit: str) -> str:
    """Return how a computed number stands beside the printed one.

    Parameters
    ----------
    published, ours
        Both in `unit`; None for what is not printed, or was not computed.
    unit
        As the reference values name it.
    """
    if published is None:
        return "no number printed"
    if ours is None:
        return "not computed"
    absolute, relative = _WITHIN.get(unit, (0.0, 0.05))
    within = max(absolute, relative * abs(published))
    if abs(ours - published) <= within:
        return f"agrees within {within:.2g} {unit}".rstrip()
    return f"differs by {ours - published:+.2g} {unit}".rstrip().replace("-", "−")
