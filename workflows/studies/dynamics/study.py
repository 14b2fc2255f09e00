"""Molecular dynamics in segments: crystals, structure files and interfaces, several seeds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job
from pydantic import Field, field_validator, model_validator
from pymatgen.core import Element, Structure

from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, DynamicsSystemDoc, system_doc
from anodeflow.documents import CalculationDoc, CardRecord
from anodeflow.errors import AnodeflowError, EngineError, InputError
from anodeflow.structures.interface_sides import slab_spec
from anodeflow.structures.structure_files import read_structure
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.motion.dynamics import equilibrating
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.jobs.calculation import CalculationMaker
from anodeflow.workflows.jobs.segment import DynamicsRun, dynamics_segment
from anodeflow.workflows.studies.base import Options, PlannedCalculation, Study, identify, origin
from anodeflow.workflows.studies.dynamics.cells import System, build, interface_facts, start_task

SETTLED = JobConfig(on_missing_references=OnMissing.NONE)
# Vibrations of Li have periods of 60 fs and more: longer steps lose energy at their turning points.
LONG_TIMESTEP_FS = 2.5
# A killed run goes on from the last checkpoint; each costs one evaluation of the forces.
CHECKPOINT_STEPS = 250
# With electrons a step may take an hour, and one evaluation more in 20 is little against losing a day.
CHECKPOINT_STEPS_ELECTRONS = 20
DEFAULTS = {"ensemble": "nvt", "timestep_fs": 2.0, "temperature_k": 300.0}
OVERRIDES = (
    "ensemble", "timestep_fs", "duration_ps", "temperature_k", "thermostat", "friction_per_ps", "damping_fs",
    "chain_length",
)  # fmt: skip


class Analysis(Options):
    """What is made of the trajectories."""

    pairs: list[str] = Field(default_factory=lambda: ["P-S", "Li-S", "Li-P", "Li-Cl"], description="where present")
    r_max_angstrom: float = Field(8.0, gt=1, le=50)
    window_ps: float | None = Field(
        None, gt=0, description="length of 'before' and 'after'; None: a fifth of the run, at most 1 ps"
    )
    ps_cutoff_angstrom: float | None = Field(None, gt=1.5, lt=4, description="None: first minimum of g(r)")

    @field_validator("pairs")
    @classmethod
    def _are_pairs(cls, pairs: list[str]) -> list[str]:
        for pair in pairs:
            parts = pair.split("-")
            if len(parts) != 2 or not all(Element.is_valid_symbol(part) for part in parts):
                raise ValueError(f"'{pair}' is no pair of elements; write centre and neighbour like P-S")
        return pairs


class PlannedSegment(PlannedCalculation):
    """A segment of the dry run."""

    task: Any = "dynamics"
    dynamics: Dynamics = Field(description="that hold for this segment")
    first: bool = Field(description="of its run: velocities are drawn")

    @property
    def timestep_fs(self) -> float:
        """For the display of progress."""
        return self.dynamics.timestep_fs

    def write_inputs(self, engine: Engine, card: MethodCard, directory: Path) -> list[str]:
        """See :meth:`PlannedCalculation.write_inputs`."""
        moving = card.model_copy(update={"dynamics": self.dynamics})
        return engine.write_dynamics_inputs(
            self.structure, moving, self.charge, directory, steps=self.expected_steps, continued=not self.first
        )


class DynamicsStudy(Study):
    """A molecular-dynamics study file.

    What it says of ensemble, time step, temperature, thermostat and duration overrides the card. Segments are the
    same whatever the duration: a longer ``duration_ps`` goes on where the shorter one ended.
    """

    kind: ClassVar[str] = "molecular-dynamics"

    study: Literal["molecular-dynamics"]
    systems: list[System] = Field(min_length=1)
    seeds: list[int] = Field(default=[1], min_length=1)
    ensemble: Literal["nvt", "nve"] | None = None
    timestep_fs: float | None = Field(None, gt=0, le=10)
    temperature_k: float | None = Field(None, gt=0, le=5000)
    duration_ps: float | None = Field(None, gt=0, le=100_000)
    thermostat: Literal["langevin", "nose-hoover"] | None = None
    friction_per_ps: float | None = Field(None, gt=0, le=1000)
    damping_fs: float | None = Field(None, gt=1, le=10000)
    chain_length: int | None = Field(None, ge=1, le=20)
    equilibration_ps: float = Field(0.0, ge=0, le=1000, description="Langevin's, counted before time 0")
    segment_ps: float = Field(1.0, gt=0, le=1000)
    sample_every: int = Field(10, ge=1, le=10_000, description="steps between frames")
    relax_crystals: bool = Field(True, description="cells of crystals first; interfaces are built of the relaxed ones")
    prerelax: bool = True
    prerelax_force_ev_per_angstrom: float = Field(0.1, ge=0.01, le=0.5)
    prerelax_max_steps: int = Field(60, ge=1, le=5000)
    analysis: Analysis = Field(default_factory=Analysis)

    @model_validator(mode="after")
    def _consistent(self) -> DynamicsStudy:
        labels = [system.label for system in self.systems]
        for key, given in (("seeds", self.seeds), ("systems", labels)):
            if len(set(given)) != len(given):
                raise ValueError(f"{key} {given} names one twice; give each once")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds {self.seeds} holds a negative number; use 0 and above")
        return self

    # --- settings ------------------------------------------------------------------------------------

    @property
    def dynamics(self) -> Dynamics:
        """The card's dynamics with what the study overrides.

        Raises
        ------
        InputError
            If neither card nor study says how long.
        """
        own = {key: getattr(self, key) for key in OVERRIDES if getattr(self, key) is not None}
        if self.method.dynamics is None and "duration_ps" not in own:
            raise InputError(
                f"neither the study nor card '{self.method.name}' says how the atoms are to move",
                "give at least duration_ps in the study, or a card with 'dynamics', such as lacss2024-aimd",
            )
        base = self.method.dynamics.model_dump() if self.method.dynamics else DEFAULTS
        return Dynamics.model_validate(base | own)

    def steps(self, picoseconds: float, what: str, multiple_of: int = 1) -> int:
        """Steps in a time.

        Raises
        ------
        InputError
            If it is no whole multiple of the time step (times ``multiple_of``).
        """
        timestep = self.dynamics.timestep_fs
        exact = picoseconds * 1000 / (timestep * multiple_of)
        whole = round(exact)
        if abs(exact - whole) > 1e-6 * max(1.0, exact):
            unit = f"{multiple_of} steps of {timestep:g} fs" if multiple_of > 1 else f"the time step of {timestep:g} fs"
            near = max(1, whole) * timestep * multiple_of / 1000
            raise InputError(f"{what}: {picoseconds:g} ps is no multiple of {unit}", f"use {near:g}")
        return whole * multiple_of

    def segments(self) -> list[tuple[int, int]]:
        """First and last step of each segment, equilibration (with negative steps) first.

        Raises
        ------
        InputError
            If times are no multiples of each other.
        """
        length = self.steps(self.segment_ps, "segment_ps", self.sample_every)
        total = self.steps(self.dynamics.duration_ps, "duration_ps")
        if total % length:
            whole = max(1, round(total / length)) * self.segment_ps
            raise InputError(
                f"duration_ps: {self.dynamics.duration_ps:g} is no multiple of segment_ps {self.segment_ps:g}",
                f"use {whole:g}, or another segment_ps",
            )
        before = self.steps(self.equilibration_ps, "equilibration_ps", self.sample_every)
        return [*([(-before, 0)] if before else []), *((n, n + length) for n in range(0, total, length))]

    def run(self, seed: int) -> DynamicsRun:
        """What a replica is, apart from its geometry."""
        length = self.steps(self.segment_ps, "segment_ps", self.sample_every)
        divisors = range(self.sample_every, length + 1, self.sample_every)
        most = CHECKPOINT_STEPS_ELECTRONS if self.who.capabilities.electrons else CHECKPOINT_STEPS
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
        where = self._beside(name)
        if any(system.structure == name for system in self.systems):
            return read_structure(Path(where))
        return slab_spec(where, (1, 0, 0)).bulk

    def preflight(self) -> list[str]:
        """See :meth:`Study.preflight`."""
        dynamics = self.dynamics
        self.segments()
        notes = super().preflight()
        if not self.who.capabilities.md:
            raise EngineError(
                f"engine '{self.engine}' runs no molecular dynamics here",
                "use one that does: a potential, gpaw, qe, castep or vasp",
            )
        if dynamics.timestep_fs > LONG_TIMESTEP_FS:
            notes.append(
                f"timestep_fs {dynamics.timestep_fs:g} is long for Li: above {LONG_TIMESTEP_FS:g} the conserved "
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
                notes.append(f"{system.label}: strain of the {model.strained} {model.max_strain_percent:.2f} %")
        return [*notes, *self.check_cells()]

    def _check_pairs(self) -> None:
        """Pairs that were asked for must be somewhere; the usual ones are taken where they are."""
        if self.analysis.pairs == Analysis().pairs:
            return
        present = [{e for name in s.crystals for e in self.crystal(name).symbol_set} for s in self.systems]
        for pair in self.analysis.pairs:
            if not any(set(pair.split("-")) <= elements for elements in present):
                raise InputError(
                    f"analysis asks for {pair}, which no system has", f"elements are {', '.join(self.elements())}"
                )

    def prerelax_card(self) -> MethodCard:
        """The card of the relaxation before the dynamics: a start, not a result."""
        return self.method.varied(
            "start of dynamics",
            force_tolerance_ev_per_angstrom=self.prerelax_force_ev_per_angstrom,
            stress_tolerance_gpa=max(self.method.stress_tolerance_gpa, 0.3),
            max_steps=self.prerelax_max_steps,
            dynamics=None,
        )

    def relaxed_crystals(self) -> list[str]:
        """Crystals whose cells are relaxed; structure files are taken as they are."""
        names = [n for system in self.systems if system.structure is None for n in system.crystals]
        return list(dict.fromkeys(names)) if self.relax_crystals else []

    def _plan(self) -> list[PlannedCalculation]:
        planned: list[PlannedCalculation] = [
            PlannedCalculation(
                label=f"{name}/crystal", task="relax_cell", structure=self.crystal(name), expected_steps=15
            )
            for name in self.relaxed_crystals()
        ]
        for system in self.systems:
            structure, model = build(system, {name: self.crystal(name) for name in system.crystals})
            if self.prerelax:
                planned.append(
                    PlannedCalculation(
                        label=f"{system.label}/start", task=start_task(system, model), structure=structure,
                        estimated=True, expected_steps=self.prerelax_max_steps, card=self.prerelax_card(),
                    )
                )  # fmt: skip
            for seed in self.seeds:
                planned += [
                    PlannedSegment(
                        label=_label(system.label, seed, number, first), structure=structure, estimated=True,
                        expected_steps=last - first,
                        dynamics=equilibrating(self.dynamics) if first < 0 else self.dynamics,
                        first=first == self.segments()[0][0],
                    )
                    for number, (first, last) in enumerate(self.segments(), self.segments()[0][0] >= 0)
                ]  # fmt: skip
        return planned

    def flow(self) -> Flow:
        """The study as a Flow: crystals, cells, segments by system and seed, one document a system, one summary."""
        made = {
            name: self.identify(
                self.maker("relax_cell").make(self.crystal(name), f"{name}/crystal", name), f"{name}/crystal"
            )
            for name in self.relaxed_crystals()
        }
        runs = [self.run(seed).model_dump(mode="json") for seed in self.seeds]
        systems = []
        for system in self.systems:
            cells = {name: made[name].output if name in made else self.crystal(name) for name in system.crystals}
            one = dynamics_system(
                system.model_dump(mode="json"),
                list(cells),
                list(cells.values()),
                runs,
                self.segments(),
                self.method.model_dump(mode="json"),
                self.prerelax_card().model_dump(mode="json") if self.prerelax else None,
                self.engine,
                self.analysis.model_dump(mode="json"),
                self.hash,
            )
            systems.append(self.identify(one, f"{system.label}/cell"))
        summary = summarise(
            [one.output for one in systems],
            [system.label for system in self.systems],
            self.engine,
            self.card_record(),
            self.model_dump(mode="json"),
            self.dynamics.model_dump(mode="json"),
            self.hash,
            self.sources(),
        )
        self.identify(summary, "summary")
        return Flow([*made.values(), *systems, summary], output=summary.output, name=self.title or self.kind)


def _label(system: str, seed: int, number: int, first_step: int) -> str:
    return f"{system}/seed {seed}/{'equilibration' if first_step < 0 else f'segment {number}'}"


@job(config=SETTLED)
def dynamics_system(
    system: dict[str, Any],
    names: list[str],
    crystals: list[CalculationDoc | Structure | None],
    runs: list[dict[str, Any]],
    segments: list[tuple[int, int]],
    card: dict[str, Any],
    prerelax_card: dict[str, Any] | None,
    engine: str,
    analysis: dict[str, Any],
    study_hash: str,
) -> Response | DynamicsSystemDoc:
    """Build the cell and lay out its relaxation and the segments of every seed."""
    spec = System.model_validate(system)
    kind = DynamicsStudy.kind
    try:
        cells = {}
        for name, crystal in zip(names, crystals, strict=True):
            if crystal is None:
                raise EngineError(f"the crystal {name} was not computed", "see the first failure of this run")
            if isinstance(crystal, CalculationDoc):
                crystal.converged_energy_ev()
                crystal = crystal.structure
            cells[name] = crystal
        structure, model = build(spec, cells)
    except AnodeflowError as error:
        return DynamicsSystemDoc(name=spec.label, error=str(error))
    jobs: list[Job] = []
    start: Any = structure
    if prerelax_card is not None:
        maker = CalculationMaker(task=start_task(spec, model), card=prerelax_card, engine=engine)
        relaxed = maker.make(structure, f"{spec.label}/start")
        jobs.append(identify(relaxed, f"{spec.label}/start", study_hash, kind))
        start = relaxed.output
    replicas: list[list[Any]] = []
    for run in runs:
        previous: Any = None
        outputs = []
        for number, (first, last) in enumerate(segments, segments[0][0] >= 0):
            label = _label(spec.label, run["seed"], number, first)
            made = dynamics_segment(
                start if previous is None else None, previous, run, card, engine, label, first, last
            )
            identify(made, label, study_hash, kind)
            made.update_metadata({"kind": "calculation"})
            previous = made.output
            outputs.append(previous)
            jobs.append(made)
        replicas.append(outputs)
    collected = collect(
        spec.label, structure, start, replicas, [r["seed"] for r in runs], interface_facts(model), analysis
    )
    identify(collected, f"{spec.label}/result", study_hash, kind)
    return Response(replace=Flow([*jobs, collected], output=collected.output, name=spec.label))


@job(config=SETTLED)
def collect(
    name: str,
    built: Structure,
    start: CalculationDoc | Structure | None,
    replicas: list[list[DynamicsSegmentDoc | None]],
    seeds: list[int],
    facts: dict[str, Any],
    analysis: dict[str, Any],
) -> DynamicsSystemDoc:
    """What the trajectories of one system say; replicas are used up to their first missing segment."""
    try:
        structure = start.structure if isinstance(start, CalculationDoc) else start
        return system_doc(name, structure or built, replicas, seeds, facts, **analysis)
    except AnodeflowError as error:
        return DynamicsSystemDoc(name=name, error=str(error), facts=facts)


@job(config=SETTLED)
def summarise(
    systems: list[DynamicsSystemDoc | None],
    names: list[str],
    engine: str,
    card: dict[str, str],
    settings: dict[str, Any],
    dynamics: dict[str, Any],
    study_hash: str,
    notes: list[str],
) -> DynamicsStudyDoc:
    """All systems of a study."""
    docs = [
        doc or DynamicsSystemDoc(name=name, error="not computed; see the first failure of this run")
        for doc, name in zip(systems, names, strict=True)
    ]
    return DynamicsStudyDoc(
        **origin(DynamicsStudy.kind, study_hash, settings, notes),
        engine=get_engine(engine).record(),
        card=CardRecord.model_validate(card),
        dynamics=dynamics,
        systems=docs,
        warnings=[f"{d.name}: {text}" for d in docs for text in ([d.error] if d.error else d.warnings)],
    )
