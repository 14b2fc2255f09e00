"""Stability of electrolytes: windows against lithium, distance to the hull, what interfaces gain by reacting."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from pymatgen.core import Structure

from anodeflow.analysis.stability.documents import (
    StabilityPhaseDoc,
    StabilityResults,
    StabilityRoles,
    StabilityStudyDoc,
    corrections_apply,
    stability_phases,
    stability_results,
    trained_on_corrected,
)
from anodeflow.analysis.stability.phases import CORRECTED_FUNCTIONAL, CORRECTIONS_SOURCE
from anodeflow.documents import CalculationDoc
from anodeflow.errors import AnodeflowError, InputError
from anodeflow.structures.catalogue import crystal_names, get_entry
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.graph import Documents, Entry, Travelling, crystal_label, crystal_step
from anodeflow.workflows.studies.lithium import (
    CELL_KEPT,
    check_given_once,
    computed_cell,
    keeps_cell,
)
from anodeflow.workflows.studies.stability.cells import ArgyroditeSpec


class StabilityStudy(Study):
    """A stability study file: its crystals are relaxed as `crystal-properties` does, and compared."""

    kind: ClassVar[str] = "stability"

    study: Literal["stability"] = Field(description="the kind of study")
    electrolytes: list[str | ArgyroditeSpec] = Field(min_length=1, description="whose windows are wanted")
    temperature_k: float | None = Field(
        None, ge=1, le=3000, description="of the entropy of ideal disorder that is printed beside ensembles"
    )
    anodes: list[str] = Field(["Li", "Li9Al4", "LiAl", "Al"], description="mixed with each electrolyte and coating")
    coatings: list[str] = Field(["LiCl", "Li2S", "Li3P"], description="mixed with each anode and electrolyte")
    phases: list[str] | None = Field(
        None, description="the rest of the hull; None: every ordered crystal of the catalogue with these elements"
    )
    without: list[str] = Field(default_factory=list, description="crystals of the catalogue to leave out of the hull")
    potentials_v: list[float] = Field(
        [0.0, 0.33], description="where lithium is exchanged: at Li metal, and at the plateau of Al and LiAl"
    )
    cells: Literal["primitive", "as given"] = Field("primitive", description="which cell of each crystal is computed")

    @field_validator("electrolytes", "anodes", "coatings", "phases", "without")
    @classmethod
    def _as_the_catalogue_has_it(cls, names: list[Any] | None) -> list[Any] | None:
        if names is None:
            return None
        known = [_catalogue_name(name) if isinstance(name, str) else name for name in names]
        check_given_once([name if isinstance(name, str) else name.argyrodite for name in known])
        return known

    @field_validator("potentials_v")
    @classmethod
    def _in_reach(cls, volts: list[float]) -> list[float]:
        outside = [v for v in volts if not 0 <= v <= 10]
        if outside:
            raise ValueError(f"potential {outside[0]:g} V is not between 0 and 10 V against Li metal")
        return volts

    @property
    def roles(self) -> StabilityRoles:
        """Which phases are looked at."""
        return StabilityRoles(
            electrolytes=[name for name in self.electrolytes if isinstance(name, str)],
            ensembles={spec.argyrodite: list(spec.structures) for spec in self._ensembles},
            temperature_k=self.temperature_k,
            anodes=self.anodes,
            coatings=self.coatings,
            potentials_v=self.potentials_v,
        )

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`: what is looked at, then the rest of the hull."""
        ordered = [name for name in self.electrolytes if isinstance(name, str)]
        configurations = [name for spec in self._ensembles for name in spec.structures]
        wanted = [*ordered, *configurations, *self.anodes, *self.coatings]
        others = self._known_phases(wanted) if self.phases is None else self.phases
        return list(dict.fromkeys([*wanted, *(name for name in others if name not in self.without)]))

    @property
    def _ensembles(self) -> list[ArgyroditeSpec]:
        return [spec for spec in self.electrolytes if isinstance(spec, ArgyroditeSpec)]

    def crystal(self, name: str) -> Structure:
        """See :meth:`Study.crystal`; a configuration of an ensemble has its own structure."""
        for spec in self._ensembles:
            if name in spec.names:
                return spec.structures[name].copy()
        return super().crystal(name)

    def _known_phases(self, wanted: list[str]) -> list[str]:
        """Return the ordered crystals of the catalogue that hold no element that these do not."""
        elements = {symbol for name in wanted for symbol in self.crystal(name).symbol_set}
        entries = (get_entry(name) for name in crystal_names())
        return [e.name for e in entries if e.is_ordered and set(e.structure.symbol_set) <= elements]

    def computed(self, name: str) -> Structure:
        """Return the cell that is computed."""
        given = self.crystal(name)
        if any(name in spec.names for spec in self._ensembles):
            return given
        return computed_cell(given, self.cells)

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return True

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`.

        Raises
        ------
        AnodeflowError
            If there is no lithium, an element has no crystal, or a phase that is left out is wanted or unknown.
        """
        for name in self.without:
            if name not in (self.phases or ()):
                get_entry(name)  # a misspelt one would stay in the hull
        used = self.crystals_used()
        clash = [name for name in self.without if name in used]
        if clash:
            raise InputError(f"'{clash[0]}' is to be left out, but the study asks for it", "take it off one list")
        elements = self.elements()
        if "Li" not in elements:
            raise InputError("no crystal of the study holds Li", "voltages are against Li metal: add Li")
        pure = {c.elements[0].symbol for c in (self.crystal(name).composition for name in used) if c.is_element}
        missing = sorted(set(elements) - pure)
        if missing:
            known = {get_entry(n).structure.symbol_set[0]: n for n in crystal_names() if _is_element(n)}
            have = [known[symbol] for symbol in missing if symbol in known]
            remedy = f"add {', '.join(have)} to phases" if have else "add a file of its crystal to phases"
            raise InputError(f"no crystal of the element {', '.join(missing)} in the set", remedy)
        return [*super().preflight(), *self.check_cells(), *self.facts().notes]

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: one relaxation a crystal, the same as in a crystal-properties study."""
        card = self.setup.card_of("crystal")
        return [crystal_step(n, self.computed(n), card) for n in self.crystals_used()]

    def facts(self) -> _HullFacts:
        """See :meth:`Study.facts`: what the catalogue has that the hull lacks, and what dispersion holds together."""
        used = self.crystals_used()
        lacking = [name for name in self._known_phases(used) if name not in used and name not in self.without]
        few = [
            f"{spec.argyrodite}: only {len(spec.structures)} of {spec.configurations} configurations are distinct"
            for spec in self._ensembles
            if len(spec.structures) < spec.configurations
        ]
        note = f"the hull lacks known phases of these elements: {', '.join(lacking)}"
        return _HullFacts(
            crystals=used,
            roles=self.roles,
            notes=[*([note] if lacking else []), *few],
            dispersion=[name for name in used if keeps_cell(name, self.setup.card_of("crystal"))],
        )

    def document(self, results: Documents, record: Record, facts: _HullFacts) -> StabilityStudyDoc:
        """See :meth:`Study.document`: the phases, windows and mixing curves."""
        calculations: dict[str, CalculationDoc | None] = {n: results[crystal_label(n)] for n in facts.crystals}
        phases: list[StabilityPhaseDoc] = []
        warnings, follows = list(facts.notes), StabilityResults()
        try:
            phases = stability_phases(calculations)
            for doc in phases:
                if doc.crystal in facts.dispersion:
                    doc.warnings.append(CELL_KEPT)
            follows = stability_results(phases, facts.roles)
        except AnodeflowError as error:
            warnings.append(str(error))
        warnings += [f"{doc.crystal}: {doc.error}; the hull lacks it" for doc in phases if doc.error]
        unlike = [w for w in follows.windows if w.error and w.energies == "raw"]
        warnings += [f"{window.electrolyte}: {window.error}" for window in unlike]
        engine = next((c.engine for c in calculations.values() if c is not None), None)
        corrects = engine is not None and trained_on_corrected(engine.name)
        card = record.setup.card_of("crystal").record
        if engine is not None and not corrections_apply(engine, card):
            ours = f"engine '{engine.name}' is of {engine.energies_of}"
            if card.dispersion is not None:
                ours = f"card '{card.name}' adds dispersion"
            warnings.append(
                f"no anion corrections: they were fitted to {CORRECTED_FUNCTIONAL}, and {ours}; 'corrected' is the "
                "same as 'raw'"
            )
        return last_document(
            StabilityStudyDoc,
            self,
            record,
            engine=engine,
            phases=phases,
            windows=follows.windows,
            at_potentials=follows.at_potentials,
            mixing=follows.mixing,
            ensembles=follows.ensembles,
            engine_corrects=corrects,
            sources=[*record.sources, CORRECTIONS_SOURCE],
            warnings=warnings,
        )


class _HullFacts(Travelling):
    """What the last document needs of the study's files and the catalogue."""

    crystals: list[str]
    roles: StabilityRoles
    notes: list[str]
    dispersion: list[str]


def _catalogue_name(name: str) -> str:
    """Return the catalogue's name of a crystal that is called by an alias; other names as they are."""
    try:
        return get_entry(name).name
    except InputError:
        return name


def _is_element(name: str) -> bool:
    return get_entry(name).structure.composition.is_element
