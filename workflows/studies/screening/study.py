"""Interface screening: terminations, matches and registries of two faces with a potential, the best with any engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.interface_screening import ScreenedInterfacesDoc, ScreeningStudyDoc
from anodeflow.analysis.reservoirs import check_reservoir
from anodeflow.errors import InputError
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import CalculationStep, Documents, Entry, Stage, crystal_label, crystal_step
from anodeflow.workflows.studies.registries import check_search_engine, search_engine
from anodeflow.workflows.studies.screening.cells import ScreenedPair, ScreenedSide, candidates
from anodeflow.workflows.studies.screening.jobs import (
    BEST,
    SCREENED,
    BestInterfaces,
    Reservoirs,
    Screening,
    potential,
)
from anodeflow.workflows.studies.strained_side import SOFTER, BySide, check_stress, decided, moduli_stages, without_film


class _ScreeningBySide(BySide):
    """A stage of a screening whose softer side is the film."""

    film: Screening | BestInterfaces
    substrate: Screening | BestInterfaces


class ScreeningStudy(Study):
    """An interface-screening study file."""

    kind: ClassVar[str] = "interface-screening"

    study: Literal["interface-screening"] = Field(description="the kind of study")
    film: ScreenedSide = Field(description="side that is strained onto the other")
    substrate: ScreenedSide = Field(description="side that keeps its lattice")
    matches: int = Field(1, ge=1, le=10, description="lattice matches of each pair of terminations")
    best: int = Field(3, ge=1, le=20, description="interfaces that the study's engine computes")
    candidates: int = Field(8, ge=1, le=24, description="registries scored for each match")
    reservoirs: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="crystals that atoms beyond whole formula units come from, by element; several are a range",
    )
    search_engine: str | None = Field(None, description="potential that screens")
    max_strain_percent: float = Field(5.0, ge=1e-3, le=15, description="largest strain of a lattice match")
    max_area_angstrom2: float = Field(200.0, gt=1, le=1000, description="largest area of a lattice match")
    max_atoms: int = Field(200, ge=2, le=2000, description="larger cells are left out")
    gap_angstrom: float = Field(2.5, ge=1, le=6, description="that cells are planned with")
    strained: Literal["film", "softer"] = Field(
        "film", description="softer: the side with the smaller Young's modulus by the study's engine is the film"
    )

    @field_validator("reservoirs", mode="before")
    @classmethod
    def _some_phase(cls, value: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for element, phases in value.items() if isinstance(value, dict) else ():
            if phases == []:
                raise ValueError(f"no phase is given for {element}")
        return value

    @model_validator(mode="after")
    def _two_crystals(self) -> ScreeningStudy:
        if self.film.terminations == [] or self.substrate.terminations == []:
            raise ValueError("a list of terminations is empty: give some, or 'all'")
        return self

    @property
    def scorer(self) -> str:
        """The potential that screens."""
        return search_engine(self.engine, self.warm_start, self.search_engine)

    @property
    def pair(self) -> ScreenedPair:
        """The two sides and what may be done to match them."""
        return ScreenedPair(
            film=self.film,
            substrate=self.substrate,
            matches=self.matches,
            max_strain_percent=self.max_strain_percent,
            max_area_angstrom2=self.max_area_angstrom2,
            max_atoms=self.max_atoms,
        )

    @property
    def swapped_pair(self) -> ScreenedPair:
        """The two sides where the substrate of the study file is the softer one, and so the film."""
        return self.pair.model_copy(update={"film": self.substrate, "substrate": self.film})

    @property
    def phases(self) -> Reservoirs:
        """The reservoirs, each as a list."""
        return Reservoirs(phases={e: [p] if isinstance(p, str) else p for e, p in self.reservoirs.items()})

    def crystal(self, name: str) -> Structure:
        """See :meth:`Study.crystal`; the formula of an argyrodite gives its lowest ordered configuration."""
        return slab_spec(self.beside(name), (1, 0, 0)).bulk

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys([self.film.crystal, self.substrate.crystal, *self.phases.crystals]))

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        for element, phases in self.phases.phases.items():
            for phase in phases:
                check_reservoir(element, phase, [str(e) for e in self.crystal(phase).composition])
        notes = [*super().preflight(), *check_search_engine(self.scorer, self._dry)]
        notes += self._check_stoichiometry()
        if self.strained == SOFTER:
            notes += check_stress(self.loaded_engine)
        return [*notes, *self.check_cells()]

    def _check_stoichiometry(self) -> list[str]:
        """Refuse atoms in excess that come from nowhere; say which pairs of terminations have no match."""
        sides = [self.crystal(side.crystal) for side in (self.film, self.substrate)]
        tried, left_out = candidates(self.pair, sides)
        for candidate in tried:
            counts = candidate.described()["counts"]
            missing = sorted(set(counts.excess) - set(self.reservoirs))
            if missing:
                raise InputError(
                    f"{candidate.model.name}, {candidate.key}: {counts.excess[missing[0]]:+g} {missing[0]} beyond "
                    "whole formula units, so its energy needs a chemical potential",
                    f"name a phase, reservoirs: {{{missing[0]}: CRYSTAL}}, or other terminations",
                )
        return [f"left out: {line}" for line in left_out]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: the crystals (by the potential, too), the screening, the best."""
        own = self.scorer == self.engine
        card = self.setup.card_of("crystal")
        steps = [crystal_step(name, self.crystal(name), card) for name in self.crystals_used()]
        entries: list[Entry] = list(steps)
        labels = {name: crystal_label(name) for name in self.crystals_used()}
        if not own:
            labels = {name: f"{label} by {self.scorer}" for name, label in labels.items()}
            entries += [self._by_potential(step, labels[step.crystal or ""]) for step in steps]
        if self.strained != SOFTER:
            return [*entries, *self._stages(self.pair, labels)]
        sides = [self.film.crystal, self.substrate.crystal]
        forms = zip(self._stages(self.pair, labels), self._stages(self.swapped_pair, labels), strict=True)
        by_side = [_ScreeningBySide.of(as_written, swapped, sides) for as_written, swapped in forms]
        return [*entries, *moduli_stages(sides), *by_side]

    def _stages(self, pair: ScreenedPair, labels: dict[str, str]) -> list[Stage]:
        """Return the screening of one film on one substrate, and the best of it."""
        needs = list(dict.fromkeys([labels[side.crystal] for side in (pair.film, pair.substrate)]))
        screening = Screening(
            label=SCREENED,
            needs=needs,
            also=[label for label in labels.values() if label not in needs],
            pair=pair,
            reservoirs=self.phases,
            labels=labels,
            engine=self.scorer,
            most=self.candidates,
            own=self.scorer == self.engine,
            gap_angstrom=self.gap_angstrom,
            best=self.best,
        )
        return [screening, BestInterfaces.of(pair, self.phases, self.best)]

    def hashed_settings(self) -> dict[str, Any]:
        """See :meth:`Study.hashed_settings`: without the strained side where it is the film, as it always was."""
        return without_film(super().hashed_settings())

    def _by_potential(self, step: CalculationStep, label: str) -> CalculationStep:
        return replace(step, label=label, **potential(self.scorer))

    def is_state(self, label: str) -> bool:
        """See :meth:`Study.is_state`: the cells of the best interfaces."""
        return label.startswith("best ") and label.endswith("/cell")

    def document(self, results: Documents, record: Record, facts: None) -> ScreeningStudyDoc:
        """See :meth:`Study.document`: what was screened, and the best."""
        nothing = ScreenedInterfacesDoc(error="not computed; see the first failure of this run")
        screened: ScreenedInterfacesDoc = results[SCREENED] or nothing
        best: ScreenedInterfacesDoc = results[BEST] or nothing
        warnings = [f"{name}: {w}" for name, doc in (("screening", screened), ("best", best))
                    for w in ([doc.error] if doc.error else []) + doc.warnings]  # fmt: skip
        if get_engine(self.engine).capabilities.kpoints:
            warnings.append(
                "crystals, slabs and cells have separate k-meshes: a screening ranks, an interface-energy study of the "
                "best registry aligns them"
            )
        film, substrate, side = self.film, self.substrate, None
        if self.strained == SOFTER:
            names = (film.crystal, substrate.crystal)
            sides, _ = decided([(None, names)], results, self.engine, record.setup.card_of("crystal").name)
            side = next(iter(sides), None)
            if side is not None and side.strained == "substrate":
                film, substrate = substrate, film
        return last_document(
            ScreeningStudyDoc,
            self,
            record,
            engine=best.engine or screened.engine,
            film=film.face,
            substrate=substrate.face,
            strained_side=side,
            screened=screened,
            best=best,
            warnings=warnings,
        )
