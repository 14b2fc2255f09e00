"""What every study file shares, and how a file becomes a validated study."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pymatgen.core import Structure

from anodeflow.documents import EngineRecord, StudyDoc
from anodeflow.errors import EngineError, InputError
from anodeflow.files import json_sha256
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.packings import packing
from anodeflow.suggest import did_you_mean
from anodeflow.workflows.cards import MethodCard, load_card
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.calculation import structure_digest
from anodeflow.workflows.jobs.deferred import deferred_job
from anodeflow.workflows.store.fields import SUMMARY
from anodeflow.workflows.studies import registry
from anodeflow.workflows.studies.added_keys import without_unset
from anodeflow.workflows.studies.card_roles import (
    ROLES,
    Cards,
    Role,
    brief,
    check_roles,
    for_electrons,
    plane_wave_card,
)
from anodeflow.workflows.studies.checking.jobs import add_check, check_preflight, planned_points, with_check
from anodeflow.workflows.studies.checking.options import Check, identity_of
from anodeflow.workflows.studies.cost import Cost, Costs, expected_steps
from anodeflow.workflows.studies.graph import Documents, Entry, Identity, Setup, Stage, Step, Travelling
from anodeflow.workflows.studies.laying_out import Relaxed, jobs_of, plan
from anodeflow.workflows.studies.notes import cell_notes, dispersion_notes, each_once, kept_cells
from anodeflow.workflows.studies.own_crystals import check_names, gather_names
from anodeflow.yaml_input import Written, read_yaml, validate

if TYPE_CHECKING:
    from jobflow import Flow


class Options(Written):
    """Base of everything written in a study file."""


class Study(Options):
    """What to compute, with which engine and card. One class a kind of study.

    Parameters
    ----------
    study
        Kind of study, e.g. ``binding-energy``.
    title
        One line for tables and figures.
    engine
        Name of the engine.
    card
        Name or path of the method card.
    cards
        For engines with electrons, other cards of crystals, slabs or interfaces: see :mod:`~.card_roles`.
    """

    kind: ClassVar[str] = ""
    #: Key of the list whose mappings have a ``name`` that is a label, not that of a structure.
    labelled: ClassVar[str] = ""

    study: str
    title: str = Field("", description="one line for tables and figures")
    engine: str = Field("sevennet-0", description="what computes: see the page on engines")
    card: str = Field(
        "embedded", description="how accurately: a method card of the package, or the path of one of yours"
    )
    cards: Cards | None = Field(
        None, description="another card of a role: crystal, slab, interface; with electrons only"
    )
    warm_start: str | None = Field(
        None, description="cheap engine whose relaxed geometries the relaxations start from, e.g. sevennet-0"
    )
    coarse_start: bool | None = Field(
        None, description="relax with half as many k-points along each axis first; the result is that of the card"
    )
    structures: dict[str, str] | None = Field(
        None, description="own structures by name: their files; or write {crystal: FILE, name: NAME} for a crystal"
    )
    check: Check | None = Field(
        None,
        description="structures that an engine with electrons computes again",
    )
    _folder: Path = Path()
    _dry: bool = False
    _relaxed: Relaxed | None = None
    _costs: Costs = PrivateAttr(default_factory=Costs)

    @model_validator(mode="before")
    @classmethod
    def _gather_names(cls, data: Any) -> Any:
        """Accept ``{crystal: FILE, name: NAME}`` for a crystal: see :mod:`~.own_crystals`."""
        if not isinstance(data, dict):
            return data
        return gather_names(data, {k: field.annotation for k, field in cls.model_fields.items()}, cls.labelled)

    @field_validator("structures")
    @classmethod
    def _check_names(cls, own: dict[str, str] | None) -> dict[str, str] | None:
        return None if own is None else check_names(own)

    def with_changes(self, **changes: str | None) -> Self:
        """Return this study with another engine or card (then of all cells); None changes nothing."""
        given = {key: value for key, value in changes.items() if value is not None}
        if not given:
            return self
        written = self.model_dump(exclude_unset=True, exclude={"cards"} if "card" in given else None)
        changed = type(self).model_validate(written | given)
        changed._folder, changed._dry = self._folder, self._dry
        return changed

    def as_dry_run(self, relaxed: Relaxed | None = None) -> Self:
        """Return this study to be planned: what is missing here becomes a note; on geometries `relaxed` already."""
        self._dry, self._relaxed = True, relaxed
        return self

    def missing(self) -> list[str]:
        """Return programs and pseudopotentials that are not on this machine, each with where it was looked for."""
        return self.loaded_engine.missing(self.elements(), self.method)

    def _missing_for_warm_start(self) -> list[str]:
        """Return what the engine of `warm_start` lacks on this machine."""
        if self.warm_start is None:
            return []
        cheap = get_engine(self.warm_start)
        if cheap.capabilities.electrons:
            raise InputError(f"warm_start: '{self.warm_start}' is not a potential", "name a cheap engine: sevennet-0")
        cheap.check_dispersion(self.method)
        return cheap.missing(self.elements(), self.method)

    @cached_property
    def method(self) -> MethodCard:
        """The card that is used: the one written, or a default where that says nothing of the engine's electrons."""
        if self.loaded_engine.capabilities.electrons and not for_electrons(self.written_card):
            return plane_wave_card(self.only_crystals(), self.written_card.dispersion)
        return self.written_card

    def only_crystals(self) -> bool:
        """Return whether no cell has a vacuum or an interface: what decides the default card, one for all cells."""
        return False

    @cached_property
    def written_card(self) -> MethodCard:
        """The card of the study file (a path is relative to it); without one, the most special of those by role."""
        named = [] if self.cards is None or "card" in self.model_fields_set else list(self.cards.named().values())
        return load_card(self.beside(named[0] if named else self.card))

    @cached_property
    def role_cards(self) -> dict[Role, MethodCard]:
        """The cards of the roles that have another one; none for an engine without electrons, to which it is the same.

        Raises
        ------
        InputError
            If their energies have nothing to do with each other.
        """
        if self.cards is None or not self.loaded_engine.capabilities.electrons:
            return {}
        named = {role: load_card(self.beside(name)) for role, name in self.cards.named().items()}
        every: dict[str, MethodCard] = {} if len(named) == len(ROLES) else {"study": self.method}
        every |= {str(role): card for role, card in named.items()}
        check_roles(every, self.loaded_engine, self.elements())
        return {role: card for role, card in named.items() if card.hash != self.method.hash}

    @cached_property
    def loaded_engine(self) -> Engine:
        """The engine that :attr:`engine` names."""
        return get_engine(self.engine)

    def crystal(self, name: str) -> Structure:
        """Return a catalogue crystal, a further packing of one, one of :attr:`structures`, or a file.

        A path is relative to the study file.
        """
        known = packing(name)
        return load_crystal(self._file_of(name)) if known is None else known

    def _file_of(self, name: str) -> str | Path:
        """Return the file of an own structure of this name, else what :meth:`beside` returns."""
        return self.beside((self.structures or {}).get(name, name))

    def beside(self, name: str) -> str | Path:
        """Return the file of this name beside the study file, or the name where there is none."""
        beside = self._folder / name
        try:
            return beside if beside.is_file() else name
        except (OSError, ValueError):  # no name of a file
            raise InputError(f"'{name[:60]}' is neither a known name nor the path of a file", "check it") from None

    def crystals_used(self) -> list[str]:
        """Return names or paths of all crystals of the study."""
        raise NotImplementedError

    @cached_property
    def hash(self) -> str:
        """Hash of what is computed: settings, card, engine model and the crystals' geometry."""
        record = self.loaded_engine.record_with(self.method, self.elements())
        content: dict[str, Any] = {
            "settings": self.hashed_settings(),
            "card": self.method.hash,
            **({"cards": {role: card.hash for role, card in self.role_cards.items()}} if self.role_cards else {}),
            "engine": record.hash,
            "crystals": {name: structure_digest(self.crystal(name)) for name in self.crystals_used()},
        }
        if record.potentials:
            content["potentials"] = record.potentials
        if self.check is not None:
            content["check"] = identity_of(self, self.check)
        return json_sha256(content, sort_keys=True)[:16]

    def hashed_settings(self) -> dict[str, Any]:
        """Return the settings that decide what is computed, for the hash."""
        hashed_elsewhere = {"title", "card", "cards", "structures"}
        settings: dict[str, Any] = without_unset(self.model_dump(mode="json", exclude=hashed_elsewhere))
        return settings

    def elements(self) -> list[str]:
        """Return the elements of all crystals of the study."""
        return sorted({e for name in self.crystals_used() for e in self.crystal(name).symbol_set})

    def preflight(self) -> list[str]:
        """Check everything that can be checked before a calculation, and return notes.

        Raises
        ------
        AnodeflowError
            If the study could not be run.
        """
        for card in (self.method, *self.role_cards.values()):
            self.loaded_engine.check_dispersion(card)
        missing = [*self.missing(), *self._missing_for_warm_start()]
        checked = [] if self.check is None else check_preflight(self, self.check, self._dry)
        if self._dry and missing:
            return [*self.notes_on_cards(), *(f"missing: {item}" for item in missing), *checked]
        if missing:
            raise EngineError(
                f"engine '{self.engine}' cannot run here: {'; '.join(missing)}",
                "supply it, or see what would be sent: anodeflow plan STUDY --write DIR",
            )
        return [*self.notes_on_cards(), *self._engine_notes(), *checked]

    def notes_on_cards(self) -> list[str]:
        """Return which cards the roles have, and what was not taken as it is written; with dispersion, which."""
        notes = dispersion_notes(self.method)  # cards of all roles have the same
        if self.method is not self.written_card:
            notes.append(
                f"card '{self.written_card.name}' says nothing of electrons: {self.engine} has the default "
                f"{brief(self.method)} in its place"
            )
        if self.role_cards:
            return [*notes, f"cards by role: {self.cards_text}"]
        if self.cards is not None and not self.loaded_engine.capabilities.electrons:
            notes.append(
                f"cards by role are for engines with electrons: {self.engine} has card {self.method.name} for all"
            )
        return notes

    @property
    def cards_text(self) -> str:
        """The card, and those of the roles that have another, such as ``a; crystal: b``."""
        cards = self.role_cards.items()
        return "; ".join([self.method.record.text, *(f"{role}: {card.record.text}" for role, card in cards)])

    def _engine_notes(self) -> list[str]:
        """Return what the engine does not honour of the cards."""
        cards = [self.method, *self.role_cards.values()]
        if self.coarse_start and not self.loaded_engine.capabilities.kpoints:
            return [f"coarse_start: engine '{self.engine}' has no k-points, nothing is left out"]
        return list(dict.fromkeys(note for card in cards for note in self.loaded_engine.preflight(card)))

    def card_of(self, step: Step) -> MethodCard:
        """Return the card of one planned calculation."""
        return step.card or self.setup.card_of(step.role)

    def engine_of(self, step: Step) -> Engine:
        """Return the engine of one planned calculation."""
        return self.loaded_engine if step.engine is None else get_engine(step.engine)

    def steps_of(self, step: Step) -> int:
        """Return how many ionic steps one planned calculation is expected to take."""
        return expected_steps(step, self.setup, self.engine_of(step))

    def seconds_of(self, step: Step) -> float:
        """Return the core-seconds one planned calculation is expected to take."""
        return self.cost_of(step).seconds(self.steps_of(step))

    def cost_of(self, step: Step) -> Cost:
        """Return what one planned calculation costs."""
        return self._costs.of(step, self.setup, self.card_of(step), self.engine_of(step))

    def check_cells(self) -> list[str]:
        """Build every cell once, ask the engine about each, and return its notes, each once, and those on kept cells.

        Raises
        ------
        AnodeflowError
            If a cell cannot be built or computed with its card.
        """
        notes = []
        asked: dict[tuple[Any, ...], list[str]] = {}  # the segments of a run are one question
        for step in self.planned:
            card = self.card_of(step)
            question = (id(step.structure), step.task, id(card), step.charge, step.engine)
            try:
                # of a band or of dynamics engines look at the electrons, as of a single point
                if question not in asked:
                    asked[question] = self.engine_of(step).check(
                        step.structure, cast(Task, step.task), card, step.charge
                    )
                checked = asked[question]
            except EngineError:
                if self._dry and self.missing():  # a dry run lists what is missing, and continues
                    continue
                raise
            notes += [f"{step.label}: {note}" for note in checked]
        return [*each_once(notes), *cell_notes(self.planned, self.card_of)]

    def sources(self) -> list[str]:
        """Return the source of the card, and what the engine does not honour, for the last document."""
        cards = {card.name: card for card in (self.method, *self.role_cards.values())}
        listed = [f"card {name}: {card.source}" for name, card in cards.items()]
        return [*listed, *self.notes_on_cards(), *self._engine_notes()]

    # --- what is computed ----------------------------------------------------------------------------

    @cached_property
    def setup(self) -> Setup:
        """Engine and cards, as they travel with jobs."""
        return Setup(
            engine=self.engine, card=self.method, warm_start=self.warm_start, coarse_start=bool(self.coarse_start),
            cards=self.role_cards,
        )  # fmt: skip

    @property
    def identity(self) -> Identity:
        """Whose jobs these are."""
        return Identity(study=self.kind, study_hash=self.hash)

    def declare(self) -> list[Entry]:
        """Return every calculation of the study, in the order of the plan: see :mod:`~.graph`."""
        raise NotImplementedError

    def summarised(self, entries: list[Entry]) -> list[str]:
        """Return labels of what the last document is made of: stages, or calculations where there is no stage."""
        stages = [entry.label for entry in entries if isinstance(entry, Stage)]
        return list(dict.fromkeys(stages or [entry.label for entry in entries]))

    def facts(self) -> Travelling | None:
        """Return what the last document needs of the study's files, which are out of reach where it is made."""
        return None

    def document(self, results: Documents, record: Record, facts: Any) -> StudyDoc:
        """Return the last document. Files of the study are out of reach here.

        Parameters
        ----------
        results
            The documents of :meth:`summarised` by label, None for what was not computed.
        record
            For :func:`last_document`.
        facts
            What :meth:`facts` returned when the study was started.
        """
        raise NotImplementedError

    def is_state(self, label: str) -> bool:
        """Return whether a calculation of this label, which is not a reference, is a state to be checked."""
        return True

    def moving_frames(self) -> dict[str, int]:
        """Return how many frames the dynamics of each system will have; nothing for a study without."""
        return {}

    @cached_property
    def planned_without_check(self) -> list[Step]:
        """Every calculation but those of the check, on catalogue geometries."""
        return plan(self.declare(), self.setup, self._relaxed)

    @cached_property
    def planned(self) -> list[Step]:
        """Every calculation, on catalogue geometries."""
        if self.check is None:
            return self.planned_without_check
        return [*self.planned_without_check, *planned_points(self, self.check)]

    def flow(self) -> Flow:
        """Return the study as a jobflow Flow: what it declares, and its last document."""
        from jobflow import Flow

        entries, identity = self.declare(), self.identity
        jobs, outputs = jobs_of(entries, self.setup, identity)
        labels = self.summarised(entries)
        settings = type(self).model_validate(self.model_dump())  # without the engine and what else it has loaded
        record = Record(identity=identity, setup=self.setup, sources=[*self.sources(), *kept_cells(entries)])
        checked = None if self.check is None else add_check(self, self.check, settings, jobs, list(outputs.values()))
        summary = _summarise(settings, record, labels, [outputs[label] for label in labels], self.facts(), checked)
        identity.identify(summary, SUMMARY)
        return Flow([*jobs, summary], output=summary.output, name=self.title or self.kind)


class Record(Travelling):
    """What the last document of a study says of how it came about."""

    identity: Identity
    setup: Setup
    sources: list[str]


@deferred_job(takes_missing=True)
def _summarise(
    study: Study, record: Record, labels: list[str], docs: list[Any], facts: Any = None, check: Any = None
) -> StudyDoc:
    """Make the last document of a study.

    Parameters
    ----------
    study
        What the study file says; not its files.
    record
        How it came about.
    labels, docs
        What it is made of; None for what was not computed.
    facts
        What :meth:`Study.facts` returned.
    check
        The document of the check; None where there is none.
    """
    document = study.document(dict(zip(labels, docs, strict=True)), record, facts)
    return document if study.check is None else with_check(document, check)


D = TypeVar("D", bound=StudyDoc)


def last_document(
    doc_class: type[D], study: Study, record: Record, *, engine: EngineRecord | None = None, **fields: Any
) -> D:
    """Return the last document of a study with all that says where it comes from.

    Parameters
    ----------
    doc_class
        Its class.
    study, record
        As :meth:`Study.document` is given them.
    engine
        Who computed, as a calculation says; None if there is none.
    **fields
        The rest, warnings included.
    """
    card = record.setup.card
    shared = {
        "study": study.kind,
        "study_hash": record.identity.study_hash,
        "title": study.title,
        "settings": study.model_dump(mode="json"),
        "sources": record.sources,
        "software": {name: version(name) for name in ("anodeflow", "ase", "pymatgen", "jobflow", "numpy")},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": engine or get_engine(study.engine).record(),
        "card": card.record,
        "cards": {role: c.record for role, c in record.setup.cards.items()} or None,
    }
    return doc_class(**shared | fields)


def read_study(path: str | Path) -> Study:
    """Read and validate a study file of any kind of the registry.

    Raises
    ------
    InputError
        If the file, a key or a value is wrong.
    """
    file = Path(path)
    data: dict[str, Any] = read_yaml(file)
    name = data.get("study")
    known = {kind.name: kind for kind in registry.STUDIES}
    if name is None:
        raise InputError(f"{file}: key 'study' is missing", f"add 'study: ...', one of: {', '.join(known)}")
    if name not in known:
        hint = did_you_mean(str(name), known, f"known kinds: {', '.join(known)}", most=1, cutoff=0.3)
        raise InputError(f"{file}: unknown study '{name}'", hint)
    study: Study = validate(registry.load(known[str(name)].study), data, file)
    study._folder = file.resolve().parent
    return study
