"""Method cards: how accurately to compute, in terms that belong to no engine."""

from __future__ import annotations

import math
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pymatgen.core import Element, Structure

from anodeflow.documents import CardRecord, Dispersion
from anodeflow.errors import InputError
from anodeflow.files import json_sha256
from anodeflow.suggest import did_you_mean
from anodeflow.yaml_input import Written, read_yaml, validate, zero_or_at_least

# Fields that say where a card comes from, not what is computed: they do not enter the hash.
# Named potentials are what is computed; with their digests they are in the record of the engine, and so in every key.
_DESCRIPTIVE = {"name", "title", "source", "code", "assumed", "base_hash", "potentials_of"}
# Fields that bound the effort, not the result of a converged calculation.
_EFFORT = {"max_steps", "optimiser"}
_Mesh = Annotated[int, Field(ge=1, le=500, description="points along one reciprocal vector")]


class KPoints(Written):
    """Either a mesh or a spacing."""

    model_config = ConfigDict(frozen=True)

    mesh: tuple[_Mesh, _Mesh, _Mesh] | None = Field(
        None, description="points along the three reciprocal vectors, the same for every cell"
    )
    centre: Literal["gamma", "monkhorst-pack"] = Field(
        "gamma", description="of a mesh: on Gamma, or between the points as Monkhorst and Pack have it"
    )
    spacing_per_angstrom: float | None = Field(
        None, gt=0.005, lt=1.0, description="reciprocal lengths without the factor 2 pi (CASTEP's convention)"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> KPoints:
        if (self.mesh is None) == (self.spacing_per_angstrom is None):
            raise ValueError("give either mesh or spacing_per_angstrom")
        return self


class Smearing(Written):
    """Occupation smearing of the electrons."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["gaussian", "fermi-dirac", "methfessel-paxton", "marzari-vanderbilt", "none"] = Field(
        description="the function that electrons are spread by"
    )
    width_ev: Annotated[float, zero_or_at_least(1e-4)] = Field(0.0, ge=0.0, le=1.0, description="its width, eV")


class Dynamics(Written):
    """Settings of a molecular-dynamics run."""

    model_config = ConfigDict(frozen=True)

    ensemble: Literal["nvt", "nve"] = Field(description="nvt: constant temperature; nve: constant energy")
    timestep_fs: float = Field(ge=0.01, le=10, description="time between two steps, fs")
    duration_ps: float = Field(ge=1e-4, le=100_000, description="length of a run, ps")
    temperature_k: float = Field(ge=1, le=5000, description="temperature, K")
    thermostat: Literal["langevin", "nose-hoover"] | None = Field(None, description="of NVT; None: langevin")
    friction_per_ps: float | None = Field(None, ge=1e-4, le=1000, description="Langevin")
    damping_fs: float | None = Field(None, gt=1, le=10000, description="Nose-Hoover: period of the thermostat")
    chain_length: int | None = Field(None, ge=1, le=20, description="Nose-Hoover")


class MethodCard(Written):
    """Engine-neutral settings of a calculation.

    ``assumed`` names every setting that the source does not state, and why it was chosen.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="what studies and documents call the card")
    title: str = Field("", description="what it is for, in a line")
    source: str = Field("", description="the paper or person that the settings are from")
    code: str | None = Field(None, description="program that the source names; its mesh is then taken as stated")
    functional: str = Field(description="exchange-correlation functional, such as PBE")
    potentials: str = Field(description="kind of potentials, such as PAW or ultrasoft")
    potentials_of: dict[str, str] | None = Field(
        None, description="element: VASP's symbol of its potential, e.g. Li: Li; other engines have their own"
    )
    cutoff_ev: float | None = Field(
        None, gt=50, lt=5000, description="kinetic energy of the largest plane wave, eV; a card with it is of electrons"
    )
    kpoints: KPoints | None = Field(None, description="sampling of the Brillouin zone")
    spin: Literal["auto", "none", "collinear"] | None = Field(
        None, description="auto: polarised where the number of electrons is odd; none; collinear: always polarised"
    )
    smearing: Smearing | None = Field(None, description="occupation of the electrons; default: by metal or not")
    energy_tolerance_ev: float | None = Field(
        None, ge=1e-11, le=0.1, description="the self-consistent energy is converged to this, eV"
    )
    force_tolerance_ev_per_angstrom: float = Field(
        gt=1e-5, le=0.5, description="a relaxation ends when no force is larger, eV/Å"
    )
    stress_tolerance_gpa: float = Field(
        0.05, gt=1e-4, le=5, description="a relaxation of a cell ends when no stress is larger, GPa"
    )
    optimiser: str | None = Field(None, description="how the source moves atoms; VASP moves them so, too")
    relax_cell: bool = Field(description="whether crystals relax their cell, too, or atoms only")
    max_steps: int = Field(300, ge=1, le=100000, description="steps after which a relaxation counts as not converged")
    vacuum_angstrom: float | None = Field(
        None, ge=5, le=100, description="above slabs, Å, where the study does not say"
    )
    dipole_correction: bool = Field(False, description="of neutral slabs with one vacuum")
    dispersion: Dispersion | None = Field(
        None, description="DFT-D3 added to energy, forces and stress, by its damping: Becke-Johnson or zero; None: none"
    )
    dynamics: Dynamics | None = Field(None, description="of molecular dynamics, where the study does not say")
    assumed: dict[str, str] = Field(
        default_factory=dict, description="settings that the source does not state, each with the reason for its value"
    )
    base_hash: str | None = Field(None, description="hash of the card that this one was varied from")

    @model_validator(mode="after")
    def _assumed_fields_exist(self) -> MethodCard:
        unknown = set(self.assumed) - set(type(self).model_fields)
        if unknown:
            raise ValueError(f"'assumed' names fields that do not exist: {sorted(unknown)}")
        return self

    @model_validator(mode="after")
    def _potentials_are_of_their_elements(self) -> MethodCard:
        for element, symbol in (self.potentials_of or {}).items():
            if not Element.is_valid_symbol(element):
                raise ValueError(f"potentials_of names '{element}', which is not an element")
            if not re.fullmatch(rf"{element}([._][A-Za-z0-9._]+)?", symbol):
                raise ValueError(f"potentials_of: '{symbol}' is not a potential of {element}, such as {element}_sv")
        return self

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of what decides a converged result.

        Settings left at ``None`` do not enter, so a field added later keeps old hashes.
        """
        settings = self.model_dump(mode="json", exclude=_DESCRIPTIVE | _EFFORT, exclude_none=True)
        return json_sha256(settings, sort_keys=True)[:16]

    @property
    def record(self) -> CardRecord:
        """What documents keep of it: its name and hashes."""
        return CardRecord(name=self.name, hash=self.hash, base_hash=self.base_hash, dispersion=self.dispersion)

    def varied(self, why: str, **changes: Any) -> MethodCard:
        """A card that differs in what one kind of calculation needs (an isolated atom), and says from which it comes.

        Parameters
        ----------
        why
            Goes into the name, e.g. ``isolated atom``.
        **changes
            Fields of the card and their new values.
        """
        named = {"name": f"{self.name} ({why})", "base_hash": self.base_hash or self.hash}
        return MethodCard.model_validate(self.model_dump() | changes | named)

    def kpoint_mesh(self, structure: Structure) -> tuple[int, int, int] | None:
        """The k-point mesh for one cell, or None where the card has none.

        N_i = ceil(|b_i| / spacing), with |b_i| the reciprocal lengths without the factor 2 pi.
        """
        if self.kpoints is None:
            return None
        if self.kpoints.mesh is not None:
            return self.kpoints.mesh
        spacing = self.kpoints.spacing_per_angstrom
        lengths = np.asarray(structure.lattice.reciprocal_lattice_crystallographic.abc)
        return tuple(max(1, math.ceil(length / spacing - 1e-8)) for length in lengths)  # type: ignore[return-value]


@cache
def card_names() -> list[str]:
    """Names of the cards that come with the package."""
    folder = files("anodeflow.workflows").joinpath("method_cards")
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_card(name_or_path: str | Path) -> MethodCard:
    """Read a card that comes with the package (by name) or one of the user's own (by path).

    Raises
    ------
    InputError
        If there is no such card, or it has a wrong key, value or unit.
    """
    text = str(name_or_path)
    if text in card_names():
        path = Path(str(files("anodeflow.workflows").joinpath("method_cards", f"{text}.yaml")))
    else:
        path = Path(text)
        if not path.is_file():
            hint = did_you_mean(text, card_names(), cutoff=0.4)
            raise InputError(f"unknown method card '{text}'", f"{hint} Or give the path of your own card")
    data: dict[str, Any] = read_yaml(path)
    return validate(MethodCard, data, path)
