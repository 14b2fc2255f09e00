"""The end of a molecular-dynamics study: what the trajectories of all seeds of a system say together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_serializer
from pymatgen.core import Structure

from anodeflow.analysis.arrhenius import ArrheniusDoc, DiffusionPoint, arrhenius, pooled
from anodeflow.analysis.coordination import IntactTetrahedraDoc, intact_tetrahedra
from anodeflow.analysis.diffusion import DiffusionDoc, Displacements
from anodeflow.analysis.drift import RunChecksDoc, run_checks
from anodeflow.analysis.dynamics_runs import DynamicsSegmentDoc
from anodeflow.analysis.interphase import InterphaseDoc, interphase
from anodeflow.analysis.pair_distances import chunks
from anodeflow.analysis.profiles import ProfileDoc, layer_profile
from anodeflow.analysis.rdf import RdfDoc, pair_elements, partial_rdf
from anodeflow.analysis.strained_side import StrainedSideDoc
from anodeflow.analysis.trajectories.compact import CompactTrajectory
from anodeflow.analysis.trajectories.frames import Frame
from anodeflow.analysis.trajectories.joined import join_trajectories
from anodeflow.analysis.transport import TransportDoc, followed_transport
from anodeflow.documents import Document, StudyDoc
from anodeflow.errors import AnodeflowError, InputError

_LONGEST_WINDOW_PS = 1.0
# Above this the ensemble is not the one that was asked for.
_DRIFT_LIMIT_EV_PER_ATOM_PS = 1e-3
_PROFILE_BINS = 100
# About so many frames have their atoms labelled, which takes some milliseconds each.
_INTERPHASE_FRAMES = 400
# Fewer make no line of a mean squared displacement.
_MIN_DIFFUSION_FRAMES = 100


class RdfBeforeAfter(Document):
    """A partial radial distribution function at the beginning and at the end of a run, all seeds together."""

    pair: str
    before: RdfDoc
    after: RdfDoc


class DynamicsReplicaDoc(Document):
    """One seed."""

    seed: int
    run: str = Field(description="hash of what the run is")
    segments: list[str] = Field(description="fingerprints, in order")
    trajectories: list[str] = Field(description="paths of their frames, in order")
    segments_wanted: int
    first_step: int = Field(description="negative: equilibration, counted before time 0")
    last_step: int
    timestep_fs: float
    time_ps: list[float] = Field(description="of every frame")
    checks: RunChecksDoc = Field(description="temperature and drift of the conserved quantity, over production")
    tetrahedra: IntactTetrahedraDoc | None = Field(None, description="P with four S, every frame")
    half_broken_ps: float | None = Field(
        None, description="until half of the PS4 have broken for good, from the first frame; None: more are whole"
    )
    profile: ProfileDoc | None = Field(None, description="densities along the normal of an interface")
    diffusion: DiffusionDoc | None = Field(None, description="of Li, over production")
    interphase: InterphaseDoc | None = Field(None, description="of an interface with an electrolyte: what forms")
    transport: TransportDoc | None = Field(None, description="of Li in a crystal, over production")
    final_structure: Structure
    wall_time_s: float
    steps_per_hour: float
    warnings: list[str] = Field(default_factory=list)

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("interphase", "transport")

    @field_serializer("final_structure", when_used="json")
    def _as_dictionary(self, structure: Structure | None) -> dict[str, Any] | None:
        return None if structure is None else structure.as_dict()

    @property
    def complete(self) -> bool:
        """Whether it ran to its end."""
        return len(self.segments) == self.segments_wanted


class DynamicsSystemDoc(Document):
    """All seeds of one system."""

    doc_type: Literal["DynamicsSystemDoc"] = Field("DynamicsSystemDoc", description="class of the document")
    name: str = Field(description="of the system")
    facts: dict[str, Any] = Field(default_factory=dict, description="of an interface: strain, area, gap, thicknesses")
    atoms: int = Field(0, description="of the cell")
    formula: str = Field("", description="of the cell")
    initial_structure: Structure | None = Field(None, description="relaxed, before the first step")
    replicas: list[DynamicsReplicaDoc] = Field(default_factory=list, description="a result for each seed")
    window_ps: float | None = Field(None, description="length of 'before' and 'after'")
    rdfs: list[RdfBeforeAfter] = Field(default_factory=list, description="g(r) before and after, of each pair")
    ps_cutoff_angstrom: float | None = Field(None, description="P and S closer than this are bonded")
    ps_cutoff_source: str = Field("", description="where that distance is from")
    time_ps: list[float] = Field(default_factory=list, description="moments that all seeds have")
    intact_ps4_mean: list[float] | None = Field(None, description="mean of the seeds")
    intact_ps4_spread: list[float] | None = Field(None, description="standard deviation of the seeds")
    intact_ps4_before: float | None = Field(None, description="mean over the window before")
    intact_ps4_after: float | None = Field(None, description="mean over the window after")
    intact_ps4_after_spread: float | None = Field(None, description="standard deviation over seeds")
    warnings: list[str] = Field(default_factory=list, description="what must be known of the result")
    error: str | None = Field(None, description="why there is no result; none where there is one")
    system: str | None = Field(None, description="name without the temperature, where there are several")
    temperature_k: float | None = Field(None, description="where the study has several")

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = ("system", "temperature_k")

    @field_serializer("initial_structure", when_used="json")
    def _as_dictionary(self, structure: Structure | None) -> dict[str, Any] | None:
        return None if structure is None else structure.as_dict()

    @property
    def complete(self) -> bool:
        """Whether every seed ran to its end."""
        return self.error is None and bool(self.replicas) and all(r.complete for r in self.replicas)


class DynamicsStudyDoc(StudyDoc):
    """The end of a molecular-dynamics study."""

    doc_type: Literal["DynamicsStudyDoc"] = Field("DynamicsStudyDoc", description="class of the document")
    dynamics: dict[str, Any] = Field(description="ensemble, time step, temperature, duration, thermostat")
    systems: list[DynamicsSystemDoc] = Field(description="a result for each system")
    arrhenius: list[ArrheniusDoc] | None = Field(None, description="of each system, where there are temperatures_k")
    strained_sides: list[StrainedSideDoc] | None = Field(
        None, description="by which moduli the strained side of an interface was chosen, where they were computed"
    )

    LEFT_OUT_IF_NONE: ClassVar[tuple[str, ...]] = (*StudyDoc.LEFT_OUT_IF_NONE, "arrhenius", "strained_sides")

    @property
    def complete(self) -> bool:
        """Whether every system ran to its end."""
        return all(system.complete for system in self.systems)


def _positions_and_cells(frames: Iterable[Frame]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return what the analyses take of a frame."""
    for frame in frames:
        yield frame.positions, frame.cell


# long: a third of it is documentation
def system_doc(
    name: str,
    start: Structure,
    replicas: Sequence[Sequence[DynamicsSegmentDoc | None]],
    seeds: Sequence[int],
    facts: dict[str, Any],
    *,
    pairs: Sequence[str],
    r_max_angstrom: float,
    window_ps: float | None,
    ps_cutoff_angstrom: float | None,
    system: str | None = None,
    temperature_k: float | None = None,
) -> DynamicsSystemDoc:
    """Read the segments of every seed as one trajectory and analyse them.

    Parameters
    ----------
    name
        Of the system.
    start
        Geometry before the first step.
    replicas
        Segments of each seed in order; None where one was not computed.
    seeds
        Of each replica.
    facts
        Of an interface.
    pairs
        Radial distribution functions to make, where both elements are present.
    r_max_angstrom
        Their reach.
    window_ps
        Length of 'before' and 'after'; None: a fifth of the run, at most 1 ps.
    ps_cutoff_angstrom
        P-S bond; None: the first minimum of the P-S function of the first seed's first frames.
    system, temperature_k
        Name without the temperature, and the temperature, where the study has several.

    Returns
    -------
    DynamicsSystemDoc
        With an error where no seed can be used.

    Raises
    ------
    InputError
        If no segment is there, or files are damaged or do not join.
    """
    species = [site.specie.symbol for site in start]
    doc = DynamicsSystemDoc(
        name=name, facts=facts, atoms=len(start), formula=start.composition.formula, initial_structure=start,
        warnings=list(facts.get("warnings", [])), system=system, temperature_k=temperature_k,
    )  # fmt: skip
    trajectories: list[Any] = []
    for seed, segments in zip(seeds, replicas, strict=True):
        usable = _until_missing(segments)
        if not usable:
            doc.warnings.append(f"seed {seed}: nothing was computed")
            continue
        trajectory, problem = _joined(usable)
        if trajectory is None:
            doc.warnings.append(f"seed {seed}: {problem}")
            continue
        trajectories.append(trajectory)
        doc.replicas.append(_replica(seed, usable, len(segments)))
        if len(usable) < len(segments):
            doc.warnings.append(f"seed {seed}: only {len(usable)} of {len(segments)} segments were computed")
    if not trajectories:
        doc.error = "no seed has a trajectory: " + "; ".join(doc.warnings[-2:])
        return doc
    _windows(doc, trajectories, species, pairs, r_max_angstrom, window_ps)
    if "P" in species and "S" in species:
        _decomposition(doc, trajectories, species, ps_cutoff_angstrom)
    _transport(doc, trajectories, species)
    for replica in doc.replicas:
        drift = replica.checks.energy_drift_ev_per_atom_ps
        if drift is not None and abs(drift) > _DRIFT_LIMIT_EV_PER_ATOM_PS:
            replica.warnings.append(f"the conserved quantity drifts by {1000 * drift:.2g} meV per atom and ps")
        doc.warnings += [f"seed {replica.seed}: {text}" for text in replica.warnings]
    return doc


def _until_missing(segments: Sequence[DynamicsSegmentDoc | None]) -> list[DynamicsSegmentDoc]:
    usable: list[DynamicsSegmentDoc] = []
    for segment in segments:
        if segment is None:
            break
        usable.append(segment)
    return usable


def _joined(segments: list[DynamicsSegmentDoc]) -> tuple[Any, str]:
    """Return all frames of a replica, or say why they cannot be had."""
    try:
        for segment in segments:
            part = CompactTrajectory(Path(segment.directory) / segment.trajectory)
            if len(part) != segment.frames:
                raise InputError(
                    f"{part.path} holds {len(part)} frames, {segment.frames} were written", "run the study again"
                )
        files = [CompactTrajectory(Path(s.directory) / s.trajectory, strict=True) for s in segments]
        return join_trajectories(files, strict=True), ""
    except (AnodeflowError, OSError) as error:
        return None, str(error)


def _replica(seed: int, segments: list[DynamicsSegmentDoc], wanted: int) -> DynamicsReplicaDoc:
    production = [s for s in segments if s.phase == "production"] or segments
    last = segments[-1]

    def column(of: list[DynamicsSegmentDoc], key: str) -> NDArray[np.float64]:
        return np.concatenate([np.asarray((s.arrays or {})[key], dtype=float) for s in of])

    wall = sum(s.wall_time_s for s in segments)
    values = column(production, "conserved_ev")
    conserved = values.tolist() if np.isfinite(values).all() else None
    return DynamicsReplicaDoc(
        seed=seed,
        run=last.run,
        segments=[s.fingerprint for s in segments],
        trajectories=[str(Path(s.directory) / s.trajectory) for s in segments],
        segments_wanted=wanted,
        first_step=segments[0].first_step,
        last_step=last.last_step,
        timestep_fs=last.timestep_fs,
        time_ps=(column(segments, "step") * last.timestep_fs / 1000).round(9).tolist(),
        checks=run_checks(
            len(last.structure),
            (column(production, "step") * last.timestep_fs).tolist(),
            # without a conserved quantity no energy has to stay where it is
            potential_ev=column(production, "potential_ev").tolist() if conserved is not None else None,
            kinetic_ev=column(production, "kinetic_ev").tolist(),
            conserved_ev=conserved,
        ),
        final_structure=last.structure,
        wall_time_s=wall,
        steps_per_hour=(last.last_step - segments[0].first_step) / wall * 3600 if wall else 0.0,
        warnings=list(dict.fromkeys(text for s in segments for text in s.warnings)),
    )


def _windows(
    doc: DynamicsSystemDoc, trajectories: list[Any], species: list[str], pairs: Sequence[str], r_max: float,
    window_ps: float | None,
) -> None:  # fmt: skip
    """Add the distribution functions at both ends of the runs."""
    shortest = min(r.time_ps[-1] - r.time_ps[0] for r in doc.replicas)
    doc.window_ps = min(window_ps or min(_LONGEST_WINDOW_PS, shortest / 5), shortest)
    before, after = [], []
    for replica, trajectory in zip(doc.replicas, trajectories, strict=True):
        times = np.array(replica.time_ps)
        first = max(1, int((times <= times[0] + doc.window_ps + 1e-9).sum()))
        last = max(1, int((times >= times[-1] - doc.window_ps - 1e-9).sum()))
        before.append(trajectory[:first])
        after.append(trajectory[len(times) - last :])
    for pair in pairs:
        try:
            pair_elements(pair, species)
        except InputError:
            continue
        early, late = (
            partial_rdf(_positions_and_cells(chain(*part)), species, pair, r_max=r_max, bins=round(r_max / 0.02))
            for part in (before, after)
        )
        doc.rdfs.append(RdfBeforeAfter(pair=pair, before=early, after=late))


def _decomposition(doc: DynamicsSystemDoc, trajectories: list[Any], species: list[str], cutoff: float | None) -> None:
    """Add the share of intact PS4 against time, each seed with the same cutoff, and all of them."""
    for replica, trajectory in zip(doc.replicas, trajectories, strict=True):
        tetrahedra = intact_tetrahedra(
            _positions_and_cells(trajectory), species, "P-S", wanted=4, cutoff=cutoff,
            times_fs=[1000 * t for t in replica.time_ps],
        )  # fmt: skip
        if cutoff is None:
            cutoff, doc.ps_cutoff_source = tetrahedra.cutoff_angstrom, tetrahedra.cutoff_source
        replica.tetrahedra = tetrahedra
        replica.half_broken_ps = half_broken_ps(tetrahedra)
    doc.ps_cutoff_angstrom = cutoff
    doc.ps_cutoff_source = doc.ps_cutoff_source or "given in the study"
    common = min(len(r.time_ps) for r in doc.replicas)
    values = np.array([r.tetrahedra.intact_fraction[:common] for r in doc.replicas if r.tetrahedra])
    doc.time_ps = doc.replicas[0].time_ps[:common]
    doc.intact_ps4_mean = values.mean(axis=0).tolist()
    doc.intact_ps4_spread = values.std(axis=0, ddof=1).tolist() if len(values) > 1 else None
    times = np.array(doc.time_ps)
    window = doc.window_ps or 0.0
    doc.intact_ps4_before = float(values[:, times <= times[0] + window + 1e-9].mean())
    ends = values[:, times >= times[-1] - window - 1e-9].mean(axis=1)
    doc.intact_ps4_after = float(ends.mean())
    doc.intact_ps4_after_spread = float(ends.std(ddof=1)) if len(ends) > 1 else None


def half_broken_ps(tetrahedra: IntactTetrahedraDoc) -> float | None:
    """Return the time until half of the centres have broken and stay so, ps; None if more are whole at the end."""
    if not tetrahedra.times_fs:
        return None
    moments = sorted(moment for moment in tetrahedra.broken_at if moment is not None)
    half = (tetrahedra.centres + 1) // 2
    return None if len(moments) < half else (moments[half - 1] - tetrahedra.times_fs[0]) / 1000


def _transport(doc: DynamicsSystemDoc, trajectories: list[Any], species: list[str]) -> None:
    """Add profiles of interfaces and diffusion of Li; what a run is too short for is left out, with a note."""
    for replica, trajectory in zip(doc.replicas, trajectories, strict=True):
        times = np.array(replica.time_ps)
        production = trajectory[int((times < -1e-9).sum()) :]
        try:
            if doc.facts:
                replica.profile = layer_profile(
                    _positions_and_cells(trajectory), species, bins=_PROFILE_BINS, windows=min(5, len(times))
                )
                if {"P", "S"} <= set(species):
                    replica.interphase = interphase(
                        _positions_and_cells(trajectory),
                        species,
                        times_fs=(1000 * times).tolist(),
                        every=max(1, len(times) // _INTERPHASE_FRAMES),
                        ps_angstrom=doc.ps_cutoff_angstrom,
                    )
            elif "Li" in species and len(times) > _MIN_DIFFUSION_FRAMES:
                _lithium_transport(doc, replica, production, species, float(times[-1] - times[-2]) * 1000)
        except AnodeflowError as error:
            replica.warnings.append(str(error))


def _lithium_transport(
    doc: DynamicsSystemDoc, replica: DynamicsReplicaDoc, production: Any, species: list[str], step_fs: float
) -> None:
    """Add diffusion of Li in a crystal, and what else its paths say."""
    displacements = Displacements(species, ["Li"])
    for chunk in chunks(_positions_and_cells(production), len(species)):
        displacements.add(chunk)
    replica.diffusion = displacements.document("Li", step_fs)
    replica.warnings += replica.diffusion.warnings
    temperature = doc.temperature_k or replica.checks.mean_temperature_k
    if temperature is None:
        return
    replica.transport = followed_transport(
        displacements, replica.diffusion, temperature, replica.final_structure.lattice.matrix
    )


def arrhenius_of(systems: Sequence[DynamicsSystemDoc]) -> list[ArrheniusDoc]:
    """Return the Arrhenius law of Li in every system that moved at several temperatures.

    Parameters
    ----------
    systems
        One a system and temperature.
    """
    laws = []
    for name in dict.fromkeys(doc.system for doc in systems if doc.system is not None):
        points, density = [], None
        for doc in systems:
            every = [_point(doc, replica) for replica in doc.replicas] if doc.system == name else []
            seeds = [point for point in every if point is not None]
            if seeds:
                points.append(pooled(seeds))
                first = doc.replicas[0].final_structure
                density = first.composition["Li"] / first.volume
        laws.append(arrhenius(name, "Li", points, carriers_per_angstrom3=density))
    return laws


def _point(doc: DynamicsSystemDoc, replica: DynamicsReplicaDoc) -> DiffusionPoint | None:
    if replica.diffusion is None or doc.temperature_k is None:
        return None
    moved = replica.transport
    return DiffusionPoint(
        temperature_k=doc.temperature_k,
        d_cm2_per_s=replica.diffusion.d_cm2_per_s,
        d_se_cm2_per_s=replica.diffusion.d_se_cm2_per_s,
        diffusive=replica.diffusion.diffusive,
        conductivity_s_per_cm=None if moved is None else moved.conductivity_s_per_cm,
        haven_ratio=None if moved is None else moved.haven_ratio,
    )
