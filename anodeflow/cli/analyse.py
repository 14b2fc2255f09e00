"""`anodeflow analyse`: structure and transport of a trajectory, also of one that was made elsewhere.

Nothing heavy is imported before the command runs.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anodeflow.cli.atom_types import types_of
from anodeflow.cli.options import check_figure_path, check_folder, json_option
from anodeflow.errors import InputError

if TYPE_CHECKING:
    from anodeflow.analysis.dynamics_documents import TrajectoryAnalysisDoc

_DEFAULT_BINS = 500
_UNEVEN = 0.01


@dataclass(frozen=True)
class Tetrahedra:
    """What ``--tetrahedra P-S:4:2.6`` asks for."""

    pair: str
    wanted: int = 4
    cutoff: float | None = None


@dataclass
class Request:
    """The options, checked."""

    pairs: tuple[str, ...]
    r_max: float
    bins: int
    selection: slice
    tetrahedra: list[Tetrahedra]
    elements: list[str]
    fit_fs: tuple[float, float] | None
    drift_reference: Any
    timestep_fs: float | None
    profile: str | None
    slices: int
    persistence_fs: float
    interphase: str | None
    temperature_k: float | None


@dataclass
class Record:
    """What is noted of each frame besides its atoms."""

    times: list[float | None] = field(default_factory=list)
    potential: list[float | None] = field(default_factory=list)
    kinetic: list[float | None] = field(default_factory=list)
    temperature: list[float | None] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)  # the first and the last


@click.command()
@click.argument("trajectory", type=click.Path(path_type=Path))
@click.option("--pair", "pairs", multiple=True, metavar="A-B", help="g(r) and n(r) of B around A; may be repeated.")
@click.option(
    "--r-max", "r_max", type=float, default=10.0, show_default=True, help="Largest r, Å; any, also beyond the cell."
)
@click.option("--bins", type=int, help=f"Bins up to --r-max.  [default: {_DEFAULT_BINS}]")
@click.option("--width", type=float, help="Width of a bin, Å, instead of --bins.")
@click.option("--frames", metavar="START:STOP:STEP", help="Only these frames of the file, counted from 0.")
@click.option(
    "--tetrahedra",
    multiple=True,
    metavar="A-B[:N[:CUTOFF]]",
    help="Fraction of A with exactly N (4) B within CUTOFF Å (by default from g(r)) against time.",
)
@click.option(
    "--msd", "elements", multiple=True, metavar="ELEMENT", help="Mean squared displacement and D; may be repeated."
)
@click.option(
    "--fit-fs", nargs=2, type=float, help="Lags between which D is fitted, fs.  [default: 5 to 25 % of the run]"
)
@click.option(
    "--drift-reference",
    type=click.Choice(["framework", "all", "none"]),
    default="framework",
    show_default=True,
    help="With --msd: whose motion is taken off. framework: all other elements.",
)
@click.option("--temperature-k", type=float, help="With --msd: also conductivity, Haven ratio, axes, jumps.")
@click.option("--timestep-fs", type=float, help="Time between two frames of the file, where it does not say.")
@click.option(
    "--persistence-fs",
    type=float,
    default=100.0,
    show_default=True,
    help="With --tetrahedra: shorter changes are left out of the persistent fraction.",
)
@click.option("--profile", metavar="AXIS", help="Density of each element along a, b or c.")
@click.option("--slices", type=int, default=100, show_default=True, help="With --profile: number of slices.")
@click.option(
    "--interphase", metavar="AXIS", help="What each atom is like (Li2S, Li3P, LiCl, PS4, ...), along the normal AXIS."
)
@click.option("--format", "kind", help="Format of the file, if its content does not tell.")
@click.option("--types", metavar="LI,CL", help="Elements of LAMMPS' atom types 1, 2, ...; or 1=Li,2=Cl.")
@click.option(
    "--figure",
    "figures",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Draw everything to this file (.png, .pdf, .svg); may be repeated.",
)
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="Write every curve to this file.")
@json_option
def analyse(
    trajectory: Path,
    pairs: tuple[str, ...],
    r_max: float,
    bins: int | None,
    width: float | None,
    frames: str | None,
    tetrahedra: tuple[str, ...],
    elements: tuple[str, ...],
    fit_fs: tuple[float, float] | None,
    drift_reference: str,
    temperature_k: float | None,
    timestep_fs: float | None,
    persistence_fs: float,
    profile: str | None,
    slices: int,
    interphase: str | None,
    kind: str | None,
    types: str | None,
    figures: tuple[Path, ...],
    table: Path | None,
    as_json: bool,
) -> None:
    """Distribution functions, coordination, diffusion and drift of TRAJECTORY.

    Reads what VASP, CASTEP, Quantum ESPRESSO, LAMMPS and ASE write, frame after frame.
    """
    for file in figures:
        check_figure_path(file)
    if table is not None:
        check_folder(table, "table")
    _check_not_overwritten(trajectory, *figures, *([table] if table else []))
    request = Request(
        pairs=pairs,
        r_max=positive(r_max, "--r-max"),
        bins=_bins_of(r_max, bins, width),
        selection=parse_frames(frames),
        tetrahedra=[parse_tetrahedra(text) for text in tetrahedra],
        elements=list(dict.fromkeys(elements)),
        fit_fs=_checked_fit(fit_fs),
        drift_reference=drift_reference,
        timestep_fs=None if timestep_fs is None else positive(timestep_fs, "--timestep-fs"),
        profile=profile,
        slices=slices,
        persistence_fs=positive(persistence_fs, "--persistence-fs"),
        interphase=interphase,
        temperature_k=None if temperature_k is None else positive(temperature_k, "--temperature-k"),
    )
    if temperature_k is not None and not elements:
        raise InputError("--temperature-k says nothing without --msd", "name the element that moves: --msd Li")
    if (figures or table) and not (pairs or request.tetrahedra or request.elements or profile or interphase):
        raise InputError(
            "nothing to draw or to write",
            "ask for something with --pair, --tetrahedra, --msd, --profile or --interphase",
        )
    document = _analyse_file(trajectory, request, kind, None if types is None else types_of(types))
    if frames:
        document.selection = frames
    from anodeflow.cli.output.console import print_json
    from anodeflow.cli.output.trajectories import print_analysis, write_curves

    if table is not None:
        write_curves(document, table)
    if figures:
        from anodeflow.analysis.figures.style import save_figure
        from anodeflow.analysis.figures.trajectories import analysis_figure

        for file in figures:
            save_figure(analysis_figure(document), file)
            click.echo(f"figure: {file}", err=True)
    if table is not None:
        click.echo(f"curves: {table}", err=True)
    if as_json:
        print_json(document.model_dump(mode="json"))
        return
    print_analysis(document)
    if not (pairs or request.tetrahedra or request.elements or profile or interphase):
        _print_choices(list(document.elements))


def _print_choices(elements: list[str]) -> None:
    """Say what could be asked of a file with these elements."""
    from anodeflow.cli.output.tables import say

    mobile = "Li" if "Li" in elements else elements[0]
    pair = "P-S" if {"P", "S"} <= set(elements) else f"{elements[0]}-{elements[-1]}"
    say(
        f"ask for --pair {pair} (g(r), coordination), --tetrahedra {pair} (intact ones against time), --msd {mobile} "
        "(diffusion), --profile c (density along an axis), --interphase c (what the atoms are like); "
        "all with --figure or --csv FILE"
    )


# --- options -----------------------------------------------------------------------------------------


def positive(value: float, option: str) -> float:
    """Return a positive, finite number."""
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {value:g} is not a positive number", "give a larger one")
    return value


def _bins_of(r_max: float, bins: int | None, width: float | None) -> int:
    """Return the number of bins, by number or by width."""
    if width is None:
        return _DEFAULT_BINS if bins is None else bins
    if bins is not None:
        raise InputError(f"--bins {bins} and --width {width:g} both say how wide a bin is", "give one of them")
    number = r_max / positive(width, "--width")
    if abs(number - round(number)) > 1e-6 or round(number) < 1:
        raise InputError(f"--r-max {r_max:g} is not a multiple of --width {width:g}", "choose another width, e.g. 0.02")
    return round(number)


def parse_frames(text: str | None) -> slice:
    """Return ``START:STOP:STEP`` as a slice."""
    if text is None:
        return slice(None)
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
        if not 2 <= len(parts) <= 3:
            raise ValueError
    except ValueError:
        raise InputError(f"--frames '{text[:60]}' is not START:STOP:STEP", "write e.g. 1000: or 0:5000:10") from None
    if any(part is not None and abs(part) > sys.maxsize for part in parts):
        raise InputError(f"--frames '{text[:60]}': no file has that many frames", "write e.g. 1000: or 0:5000:10")
    if len(parts) == 3 and parts[2] is not None and parts[2] < 1:
        raise InputError(f"--frames '{text}': the step is {parts[2]}", "it must be at least 1")
    return slice(*parts)


def parse_tetrahedra(text: str) -> Tetrahedra:
    """Read ``P-S:4:2.6``: pair, number and cutoff."""
    parts = text.split(":")
    try:
        if len(parts) > 3 or not parts[0]:
            raise ValueError
        wanted = int(parts[1]) if len(parts) > 1 else 4
        cutoff = float(parts[2]) if len(parts) > 2 else None
    except ValueError:
        raise InputError(f"--tetrahedra '{text}' is not A-B:N:CUTOFF", "write e.g. P-S, P-S:4 or P-S:4:2.6") from None
    return Tetrahedra(parts[0], wanted, cutoff)


def _checked_fit(fit_fs: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return lags between which a line can be fitted."""
    if not fit_fs:
        return None
    start, end = fit_fs
    if not 0 <= start < end < float("inf"):
        raise InputError(
            f"--fit-fs {start:g} {end:g} are not two lags", "give a smaller and a larger one, e.g. 500 2000"
        )
    return fit_fs


def _check_not_overwritten(trajectory: Path, *outputs: Path) -> None:
    """Refuse to write over what is read."""
    for file in outputs:
        if file.exists() and trajectory.exists() and file.samefile(trajectory):
            raise InputError(f"'{file}' is the trajectory itself and would be lost", "write to another file")


# --- the analysis ------------------------------------------------------------------------------------


def _analyse_file(
    file: Path, request: Request, kind: str | None = None, types: dict[int, str] | None = None
) -> TrajectoryAnalysisDoc:
    """Read a trajectory once and answer the request.

    Raises
    ------
    InputError
        If the file cannot be read, or something asked for is not in it.
    """
    from importlib.metadata import version

    from anodeflow.analysis.coordination import CoordinationSeries
    from anodeflow.analysis.diffusion import Displacements
    from anodeflow.analysis.drift import run_checks
    from anodeflow.analysis.dynamics_documents import TrajectoryAnalysisDoc
    from anodeflow.analysis.interphase import InterphaseSeries
    from anodeflow.analysis.pair_distances import chunks
    from anodeflow.analysis.profiles import LayerProfile
    from anodeflow.analysis.rdf import PairHistogram
    from anodeflow.analysis.trajectories import open_trajectory

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = open_trajectory(file, format=kind, types=types)
        species = [str(s) for s in opened.species]
        selected = opened if request.selection == slice(None) else opened[request.selection]
        histograms = [PairHistogram(species, pair, request.r_max, request.bins) for pair in request.pairs]
        series = [CoordinationSeries(species, t.pair, t.wanted, t.cutoff) for t in request.tetrahedra]
        displacements = Displacements(species, request.elements, request.drift_reference) if request.elements else None
        profile = LayerProfile(species, request.profile, request.slices) if request.profile else None
        if displacements is not None and request.timestep_fs is None and opened.first().time_fs is None:
            raise InputError(f"{file}: the file does not say the time between frames", "give it with --timestep-fs")
        phases = InterphaseSeries(species, request.interphase) if request.interphase else None
        analyses = [a for a in (*histograms, *series, displacements, profile, phases) if a is not None]
        record = Record()
        for chunk in chunks(followed(selected, record), len(species)):
            for analysis in analyses:
                analysis.add(chunk)
        if not record.times:
            raise InputError(f"{file}: no frame is selected", "look at --frames")
        times = _times_of(record, request, file)
        step = None if times is None or len(times) < 2 else (times[-1] - times[0]) / (len(times) - 1)
        document = TrajectoryAnalysisDoc(
            file=str(file),
            format=opened.format or None,
            atoms=len(species),
            elements={element: species.count(element) for element in dict.fromkeys(species)},
            frames=len(record.times),
            timestep_fs=step,
            rdf=[histogram.document() for histogram in histograms],
            tetrahedra=[s.document(times, persistence_fs=request.persistence_fs) for s in series],
            profile=None if profile is None else profile.document(),
            interphase=None if phases is None else phases.document(times),
            checks=run_checks(
                len(species),
                times,
                potential_ev=record.potential,
                kinetic_ev=record.kinetic,
                temperatures_k=record.temperature,
            ),
            settings={"r_max_angstrom": request.r_max, "bins": request.bins},
            software={name: version(name) for name in ("anodeflow", "numpy", "scipy")},
        )
        if displacements is not None:
            if step is None:
                raise InputError(f"{file}: one frame is not a trajectory to follow atoms in", "look at --frames")
            document.diffusion = [
                displacements.document(element, step, fit_fs=request.fit_fs) for element in request.elements
            ]
            if request.temperature_k is not None:
                document.transport = _transport_of(displacements, document, request.temperature_k, record.cells)
    end = selected.incomplete
    document.truncated = None if end is None else str(end)
    document.warnings = list(dict.fromkeys(str(warning.message) for warning in caught))
    return document


def _transport_of(displacements: Any, document: TrajectoryAnalysisDoc, temperature_k: float, cells: list[Any]) -> Any:
    """Return the transport of every element that was followed; jumps where the first cell is the last."""
    from anodeflow.analysis.transport import followed_transport

    jumps = bool((cells[0] == cells[-1]).all())
    return [followed_transport(displacements, d, temperature_k, cells[0], jumps=jumps) for d in document.diffusion]


def followed(selected: Any, record: Record) -> Iterator[tuple[Any, Any]]:
    """Yield positions and cell of each frame, noting the rest."""
    for frame in selected:
        record.times.append(frame.time_fs)
        record.potential.append(frame.energy_ev)
        record.kinetic.append(frame.kinetic_energy_ev)
        record.temperature.append(frame.temperature_k)
        record.cells[1:] = [frame.cell] if record.cells else []
        if not record.cells:
            record.cells.append(frame.cell)
        yield frame.positions, frame.cell


def _times_of(record: Record, request: Request, file: Path) -> list[float] | None:
    """Return the time of each frame, fs; None if nobody says.

    Raises
    ------
    InputError
        If the times of the file are uneven, or not those of ``--timestep-fs``.
    """
    stated = [time for time in record.times if time is not None]
    stride = request.selection.step or 1
    if len(stated) < len(record.times):
        if request.timestep_fs is None:
            return None
        return [number * request.timestep_fs * stride for number in range(len(record.times))]
    if len(stated) > 1:
        steps = [b - a for a, b in pairwise(stated)]
        mean = (stated[-1] - stated[0]) / len(steps)
        if mean <= 0 or max(abs(step - mean) for step in steps) > _UNEVEN * mean:
            raise InputError(
                f"{file}: the times between frames are uneven ({min(steps):g} to {max(steps):g} fs)",
                "choose frames with --frames, or join segments of one run first",
            )
        if request.timestep_fs is not None and abs(request.timestep_fs * stride - mean) > _UNEVEN * mean:
            raise InputError(
                f"{file}: frames are {mean / stride:g} fs apart, --timestep-fs says {request.timestep_fs:g}",
                "leave --timestep-fs out",
            )
    return stated
