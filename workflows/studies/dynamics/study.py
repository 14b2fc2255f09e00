"""Molecular dynamics in segments: crystals, structure files and interfaces, several seeds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pymatgen.core import Structure

from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, DynamicsSystemDoc, arrhenius_of
from anodeflow.errors import EngineError, InputError
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.structure_files import read_structure
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.jobs.segment import DynamicsRun
from anodeflow.workflows.studies.base import Record, Study, last_document
from anodeflow.workflows.studies.crystals.elastic import elastic_label
from anodeflow.workflows.studies.dynamics.cells import Analysis, InterfaceFacts, System, build
from anodeflow.workflows.studies.dynamics.jobs import MovingSystem
from anodeflow.workflows.studies.graph import Documents, Entry, Stage, crystal_step
from anodeflow.workflows.studies.registries import RegistryStage, check_search_engine, search_engine
from anodeflow.workflows.studies.strained_side import SOFTER, BySide, check_stress, decided, moduli_of, moduli_stages
from anodeflow.yaml_input import Seed

# Vibrations of Li have periods of 60 fs and more: longer steps lose energy at their turning points.
_LONG_TIMESTEP_FS = 2.5
# A killed run continues from the last checkpoint; each costs one evaluation of the forces.
_CHECKPOINT_STEPS = 250
# With electrons a step may take an hour, and one evaluation more in 20 is little against losing a day.
_CHECKPOINT_STEPS_ELECTRONS = 20
# Each segment is a job; so many of them a workflow still holds.
_MOST_SEGMENTS = 5000
_DEFAULTS = {"ensemble": "nvt", "timestep_fs": 2.0, "temperature_k": 300.0}
_OVERRIDES = (
    "ensemble", "timestep_fs", "duration_ps", "temperature_k", "thermostat", "friction_per_ps", "damping_fs",
    "chain_length",
)  # fmt: skip


class _MovingBySide(BySide):
    """A stage of an interface that moves, its softer side strained."""

    film: RegistryStage | MovingSystem
    substrate: RegistryStage | MovingSystem


class DynamicsStudy(Study):
    """A molecular-dynamics study file.

    What it says of ensemble, time step, temperature, thermostat and duration overrides the card. Segments are the
    same whatever the duration: a longer ``duration_ps`` continues where the shorter one ended.
    """

    kind: ClassVar[str] = "molecular-dynamics"
    labelled: ClassVar[str] = "systems"

    study: Literal["molecular-dynamics"] = Field(description="the kind of study")
    systems: list[System] = Field(min_length=1, description="what moves")
    seeds: list[Seed] = Field(default=[1], min_length=1, description="one run each, of velocities and thermostat")
    ensemble: Literal["nvt", "nve"] | None = Field(
        None, description="nvt: constant temperature; nve: constant energy; default: the card's"
    )
    timestep_fs: float | None = Field(
        None, ge=0.01, le=10, description="time between two steps; default: the card's, else 2"
    )
    temperature_k: float | None = Field(None, ge=1, le=5000, description="default: the card's, else 300")
    temperatures_k: list[Annotated[float, Field(ge=1, le=5000)]] | None = Field(
        None, min_length=2, description="in place of temperature_k: every system at each, and its Arrhenius law"
    )
    duration_ps: float | None = Field(
        None, ge=1e-4, le=100_000, description="length of each run, after equilibration; default: the card's"
    )
    thermostat: Literal["langevin", "nose-hoover"] | None = Field(
        None, description="of nvt; default: the card's, else langevin"
    )
    friction_per_ps: float | None = Field(None, ge=1e-4, le=1000, description="of langevin; default: the card's")
    damping_fs: float | None = Field(
        None, gt=1, le=10000, description="of nose-hoover, period of the thermostat; default: the card's"
    )
    chain_length: int | None = Field(None, ge=1, le=20, description="of nose-hoover; default: the card's")
    equilibration_ps: float = Field(0.0, ge=0, le=1000, description="Langevin's, counted before time 0")
    segment_ps: float = Field(
        1.0, ge=1e-5, le=1000, description="a run is computed in segments of this length, a job each"
    )
    sample_every: int = Field(10, ge=1, le=10_000, description="steps between frames")
    relax_crystals: bool = Field(True, description="cells of crystals first; interfaces are built of the relaxed ones")
    prerelax: bool = Field(True, description="relax atoms before they move, so that no contact explodes")
    prerelax_force_ev_per_angstrom: float = Field(
        0.1, ge=0.01, le=0.5, description="that relaxation ends when no force is larger"
    )
    prerelax_max_steps: int = Field(
        60, ge=1, le=5000, description="that relaxation ends after so many steps, converged or not"
    )
    analysis: Analysis = Field(default_factory=Analysis, description="what is made of the trajectories")

    @model_validator(mode="after")
    def _consistent(self) -> DynamicsStudy:
        labels = [system.label for system in self.systems]
        if self.temperatures_k is not None and self.temperature_k is not None:
            raise ValueError("temperature_k and temperatures_k exclude each other; leave one out")
        for key, given in (("seeds", self.seeds), ("systems", labels), ("temperatures_k", self.temperatures_k or [])):
            if len(set(given)) != len(given):
                raise ValueError(f"{key} {given} names one twice; give each once")
        if any(system.strained == SOFTER for system in self.systems) and not self.relax_crystals:
            raise ValueError("strained: softer takes the moduli of relaxed crystals; say which side, or relax_crystals")
        return self

    # --- settings ------------------------------------------------------------------------------------

    @property
    def dynamics(self) -> Dynamics:
        """The card's dynamics with what the study overrides."""
        return self.dynamics_with(self.method)

    def dynamics_with(self, card: MethodCard) -> Dynamics:
        """Return the dynamics of a card with what the study overrides.

        Raises
        ------
        InputError
            If neither card nor study says how long.
        """
        own = {key: getattr(self, key) for key in _OVERRIDES if getattr(self, key) is not None}
        if card.dynamics is None and "duration_ps" not in own:
            raise InputError(
                f"neither the study nor card '{card.name}' says how the atoms are to move",
                "give at least duration_ps in the study, or a card with 'dynamics', such as lacss2024-aimd",
            )
        base = card.dynamics.model_dump() if card.dynamics else _DEFAULTS
        return Dynamics.model_validate(base | own)

    def steps(self, picoseconds: float, setting: str, multiple_of: int = 1) -> int:
        """Return the number of steps in a time.

        Raises
        ------
        InputError
            If it is not a whole multiple of the time step (times ``multiple_of``).
        """
        timestep = self.dynamics.timestep_fs
        exact = picoseconds * 1000 / (timestep * multiple_of)
        whole = round(exact)
        if abs(exact - whole) > 1e-6 * max(1.0, exact) or (whole == 0 and picoseconds > 0):
            unit = f"{multiple_of} steps of {timestep:g} fs" if multiple_of > 1 else f"the time step of {timestep:g} fs"
            near = max(1, whole) * timestep * multiple_of / 1000
            raise InputError(f"{setting}: {picoseconds:g} ps is not a multiple of {unit}", f"use {near:g}")
        return whole * multiple_of

    def segments(self) -> list[tuple[int, int]]:
        """Return first and last step of each segment, equilibration (with negative steps) first.

        Raises
        ------
        InputError
            If times are not multiples of each other.
        """
        length = self.steps(self.segment_ps, "segment_ps", self.sample_every)
        total = self.steps(self.dynamics.duration_ps, "duration_ps")
        if total % length:
            whole = max(1, round(total / length)) * self.segment_ps
            raise InputError(
                f"duration_ps: {self.dynamics.duration_ps:g} is not a multiple of segment_ps {self.segment_ps:g}",
                f"use {whole:g}, or another segment_ps",
            )
        if total // length > _MOST_SEGMENTS:
            raise InputError(
                f"segment_ps: {self.segment_ps:g} makes {total // length} jobs of duration_ps "
                f"{self.dynamics.duration_ps:g}, more than {_MOST_SEGMENTS}",
                f"use {self.dynamics.duration_ps / _MOST_SEGMENTS:g} or more",
            )
        before = self.steps(self.equilibration_ps, "equilibration_ps", self.sample_every)
        return [*([(-before, 0)] if before else []), *((n, n + length) for n in range(0, total, length))]

    @property
    def runs(self) -> list[DynamicsRun]:
        """What every replica of a system is: one a seed, of each temperature."""
        runs = [self.run(seed) for seed in self.seeds]
        if self.temperatures_k is None:
            return runs
        return [
            run.model_copy(update={"dynamics": run.dynamics.model_copy(update={"temperature_k": temperature})})
            for temperature in self.temperatures_k
            for run in runs
        ]

    def run(self, seed: int) -> DynamicsRun:
        """Return what a replica is, apart from its geometry."""
        length = self.steps(self.segment_ps, "segment_ps", self.sample_every)
        divisors = range(self.sample_every, length + 1, self.sample_every)
        most = _CHECKPOINT_STEPS_ELECTRONS if self.loaded_engine.capabilities.electrons else _CHECKPOINT_STEPS
        fitting = [n for n in divisors if length % n == 0 and n <= max(most, self.sample_every)]
        return DynamicsRun(
            dynamics=self.dynamics,
            seed=seed,
            equilibration_steps=self.steps(self.equilibration_ps, "equilibration_ps", self.sample_every),
            sample_every=self.sample_every,
            checkpoint_every=max(fitting),
        )

    # --- matter --------------------------------------------------------------------------------------

    def crystals_used(self) -> list[str]:
        """See :meth:`Study.crystals_used`."""
        return list(dict.fromkeys(name for system in self.systems for name in system.crystals))

    def crystal(self, name: str) -> Structure:
        """See :meth:`Study.crystal`; the formula of an argyrodite gives its lowest ordered configuration."""
        if any(system.structure == name for system in self.systems):
            return read_structure(Path(self.beside(name)))
        where = self._file_of(name)
        return slab_spec(where, (1, 0, 0)).bulk

    def only_crystals(self) -> bool:
        """See :meth:`Study.only_crystals`."""
        return not any(system.film for system in self.systems)

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        dynamics = self.dynamics
        self.segments()
        notes = super().preflight()
        if not self.loaded_engine.capabilities.md:
            raise EngineError(
                f"engine '{self.engine}' runs no molecular dynamics here",
                "use one that does: a potential, gpaw, qe, castep or vasp",
            )
        if dynamics.timestep_fs > _LONG_TIMESTEP_FS:
            notes.append(
                f"timestep_fs {dynamics.timestep_fs:g} is long for Li: above {_LONG_TIMESTEP_FS:g} the conserved "
                "quantity drifts; look at it in the result"
            )
        self._check_pairs()
        for system in self.systems:
            structure, model = build(system, {name: self.crystal(name) for name in system.crystals})
            if len(structure) < 2:
                raise InputError(
                    f"{system.label} is a cell of one atom, which cannot move against its centre of mass",
                    "give a supercell, e.g. supercell: [2, 2, 2]",
                )
            if model is not None:
                notes += [f"{system.label}: {text}" for text in model.warnings]
                by = InterfaceFacts.of(model, system.strained).strained_by
                chosen = "" if by is None else f", the softer side by {by}; 'strained: softer' computes them"
                notes.append(f"{system.label}: strain of the {model.strained} {model.max_strain_percent:.2f} %{chosen}")
        if any(system.strained == SOFTER for system in self.systems):
            notes += check_stress(self.loaded_engine)
        for system in self.systems:
            if system.registries:
                engine = search_engine(self.engine, self.warm_start, system.search_engine)
                notes += check_search_engine(engine, self._dry)
        return [*notes, *self.check_cells()]

    def _check_pairs(self) -> None:
        """Refuse a pair that was asked for and is nowhere; the usual ones are taken where they are."""
        if self.analysis.pairs == Analysis().pairs:
            return
        present = [{e for name in s.crystals for e in self.crystal(name).symbol_set} for s in self.systems]
        for pair in self.analysis.pairs:
            if not any(set(pair.split("-")) <= elements for elements in present):
                raise InputError(
                    f"analysis asks for {pair}, which no system has", f"elements are {', '.join(self.elements())}"
                )

    def prerelax_card(self) -> MethodCard:
        """Return the card of the relaxation before the dynamics: a start, not a result."""
        return self.method.varied(
            "start of dynamics",
            force_tolerance_ev_per_angstrom=self.prerelax_force_ev_per_angstrom,
            stress_tolerance_gpa=max(self.method.stress_tolerance_gpa, 0.3),
            max_steps=self.prerelax_max_steps,
            dynamics=None,
        )

    def relaxed_crystals(self) -> list[str]:
        """Return the crystals whose cells are relaxed; structure files are taken as they are."""
        names = [n for system in self.systems if system.structure is None for n in system.crystals]
        return list(dict.fromkeys(names)) if self.relax_crystals else []

    def declare(self) -> list[Entry]:
        """See :meth:`Study.declare`: the crystals to relax, then each system."""
        relaxed = self.relaxed_crystals()
        runs, segments = self.runs, self.segments()
        card = self.setup.card_of("crystal")
        crystals = [crystal_step(name, self.crystal(name), card, expected_steps=15) for name in relaxed]
        systems: list[Entry] = []
        softer = [name for system in self.systems if system.strained == SOFTER for name in system.crystals]
        for system in self.systems:
            as_given = [(name, self.crystal(name)) for name in dict.fromkeys(system.crystals) if name not in relaxed]
            options = {
                "prerelax_card": self.prerelax_card() if self.prerelax else None,
                "runs": runs,
                "segments": segments,
                "analysis": self.analysis,
                "by_temperature": self.temperatures_k is not None,
            }
            if system.strained != SOFTER:
                systems += self._stages(system, as_given, options)
                continue
            sides: tuple[Literal["film", "substrate"], ...] = ("film", "substrate")
            forms = [self._stages(system.straining(side), as_given, options) for side in sides]
            systems += [_MovingBySide.of(film, sub, system.crystals) for film, sub in zip(*forms, strict=True)]
        return [*crystals, *moduli_stages(softer), *systems]

    def _stages(self, system: System, as_given: list[tuple[str, Structure]], options: dict[str, Any]) -> list[Stage]:
        """Return the search of a system's registry, if there is one, and its runs."""
        moving = MovingSystem.of(system, as_given, **options)
        return [self._search(system, as_given), moving] if system.registries else [moving]

    def _search(self, system: System, as_given: list[tuple[str, Structure]]) -> RegistryStage:
        """Return the search of the registry of an interface; rigid, since a start is not to react before it moves."""
        engine = search_engine(self.engine, self.warm_start, system.search_engine)
        more = {"as_given": as_given, "only": system.registry, "rigid": True}
        return RegistryStage.of(system.label, system.crystals, system.options, engine, **more)

    def is_state(self, label: str) -> bool:
        """See :meth:`Study.is_state`: none, as what moves is checked by frames."""
        return False

    def moving_frames(self) -> dict[str, int]:
        """See :meth:`Study.moving_frames`: those of production, all seeds and temperatures."""
        steps = max(last for _, last in self.segments())
        return {system.label: len(self.runs) * (steps // self.sample_every + 1) for system in self.systems}

    def summarised(self, entries: list[Entry]) -> list[str]:
        """See :meth:`Study.summarised`: the systems."""
        moving = {f"{system.label}/cell" for system in self.systems}
        moduli = {elastic_label(name) for system in self.systems for name in system.crystals}
        return [entry.label for entry in entries if entry.label in moving | moduli]

    def document(self, results: Documents, record: Record, facts: None) -> DynamicsStudyDoc:
        """See :meth:`Study.document`: all systems."""
        docs: list[DynamicsSystemDoc] = []
        softer = [(system.label, system.crystals) for system in self.systems if system.strained == SOFTER]
        sides, _ = decided(softer, results, self.engine, record.setup.card_of("crystal").name)
        moduli = moduli_of(results, [name for _, crystals in softer for name in crystals])
        for label, result in results.items():
            if label in moduli:
                continue
            name, error = label.removesuffix("/cell"), "not computed; see the first failure of this run"
            several = result if isinstance(result, list) else [result]
            docs += [doc or DynamicsSystemDoc(name=name, error=error) for doc in several]
        dynamics = self.dynamics_with(record.setup.card).model_dump(mode="json")
        if self.temperatures_k is not None:
            dynamics["temperatures_k"] = self.temperatures_k
        laws = arrhenius_of(docs) if self.temperatures_k is not None else None
        return last_document(
            DynamicsStudyDoc,
            self,
            record,
            dynamics=dynamics,
            systems=docs,
            arrhenius=laws,
            strained_sides=sides or None,
            warnings=[f"{d.name}: {text}" for d in docs for text in ([d.error] if d.error else d.warnings)]
            + [f"{law.system}: {text}" for law in laws or [] for text in [*law.warnings, *filter(None, [law.error])]],
        )
