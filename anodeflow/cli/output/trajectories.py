"""What was found in a trajectory: on a terminal, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import number, print_rows
from anodeflow.errors import InputError
from anodeflow.files import atomic_path

if TYPE_CHECKING:
    from anodeflow.analysis.dynamics_documents import TrajectoryAnalysisDoc
    from anodeflow.analysis.interphase import InterphaseDoc
    from anodeflow.analysis.transport import TransportDoc


def _curves(document: TrajectoryAnalysisDoc) -> Iterator[tuple[str, str, str, float, float, float | None]]:
    """Yield every point of every curve: quantity, of what, unit of x, x, y, standard error."""
    for rdf in document.rdf:
        for k, (r, g) in enumerate(zip(rdf.r_angstrom, rdf.g, strict=True)):
            yield "g", rdf.pair, "angstrom", r, g, rdf.g_se[k] if rdf.g_se else None
        errors = rdf.running_coordination_se
        for k, (r, n) in enumerate(zip(rdf.r_upper_angstrom, rdf.running_coordination, strict=True)):
            yield "running_coordination", rdf.pair, "angstrom", r, n, errors[k] if errors else None
    for run in document.tetrahedra:
        times, unit = (run.times_fs, "fs") if run.times_fs is not None else (list(range(run.frames)), "frame")
        for name in ("intact_fraction", "persistent_fraction", "mean_coordination"):
            for t, y in zip(times, getattr(run, name), strict=False):
                yield name, run.pair, unit, t, y, None
    for d in document.diffusion:
        for k, (t, y) in enumerate(zip(d.lag_fs, d.msd_angstrom2, strict=True)):
            yield "msd_angstrom2", d.element, "fs", t, y, d.msd_se_angstrom2[k] if d.msd_se_angstrom2 else None
    if document.profile is not None:
        for element, windows in document.profile.density_per_angstrom3.items():
            for (start, stop), values in zip(document.profile.windows, windows, strict=True):
                for z, y in zip(document.profile.z_angstrom, values, strict=True):
                    yield "density_per_angstrom3", f"{element} frames {start}:{stop}", "angstrom", z, y, None
    if document.interphase is not None:
        yield from _interphase_curves(document.interphase)


def _interphase_curves(phases: InterphaseDoc) -> Iterator[tuple[str, str, str, float, float, float | None]]:
    times, unit = (phases.times_ps, "ps") if phases.times_ps is not None else (list(range(phases.frames)), "frame")
    for name in phases.phases:
        for t, atoms in zip(times, phases.atoms[name], strict=True):
            yield "atoms_like", name, unit, t, atoms, None
        for (start, stop), values in zip(phases.windows, phases.layers[name], strict=True):
            for z, share in zip(phases.z_angstrom, values, strict=True):
                yield "atoms_like_in_slice", f"{name} frames {start}:{stop}", "angstrom", z, share, None
    for t, thickness in zip(times, phases.thickness_angstrom, strict=True):
        yield "interphase_thickness_angstrom", "products", unit, t, thickness, None
    for contact, plane in enumerate(phases.planes, start=1):
        for t, lithium in zip(times, plane.net_li, strict=True):
            yield "li_into_electrolyte", f"contact {contact}", unit, t, lithium, None


def write_curves(document: TrajectoryAnalysisDoc, file: Path) -> None:
    """Write all curves as one long table (CSV), atomically.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        with atomic_path(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["quantity", "of", "x_unit", "x", "y", "standard_error"])
            for quantity, of, unit, x, y, spread in _curves(document):
                writer.writerow(
                    [quantity, of, unit, f"{x:.10g}", f"{y:.10g}", "" if spread is None else f"{spread:.4g}"]
                )
    except OSError as error:
        raise InputError(f"cannot write '{file}': {error.strerror}", "choose another folder") from None


def _print_transport(moved: TransportDoc) -> None:
    axes = ", ".join(f"{d:.2e}" for d in moved.d_by_axis_cm2_per_s)
    say(f"{moved.element}: D along x, y, z = {axes} cm2/s")
    line = f"{moved.element}: at {moved.temperature_k:g} K sigma = {moved.nernst_einstein_s_per_cm:.2e} S/cm"
    line += " (Nernst-Einstein)"
    if moved.conductivity_s_per_cm is not None:
        error = "" if moved.conductivity_se_s_per_cm is None else f" ± {moved.conductivity_se_s_per_cm:.0e}"
        line += f", {moved.conductivity_s_per_cm:.2e}{error} S/cm by collective displacement"
    if moved.haven_ratio is not None:
        line += f", Haven ratio {moved.haven_ratio:.2f}"
    say(line)
    jumps = moved.jumps
    if jumps is not None:
        factor = "" if jumps.correlation_factor is None else f", D / D of jumps {jumps.correlation_factor:.2f}"
        say(
            f"{moved.element}: {jumps.jumps} jumps between {jumps.sites} sites, {jumps.rate_per_ps:.3g} per atom and "
            f"ps, {jumps.returns} undone at once{factor}"
        )


def print_interphase(phases: InterphaseDoc, of: str = "interphase") -> None:
    """Print what the atoms are like at both ends, how thick the products are, and how they grow.

    Parameters
    ----------
    phases
        Of one run.
    of
        What the lines begin with.
    """
    amounts = ", ".join(f"{name} {phases.first[name]} -> {phases.last[name]:.0f}" for name in phases.phases)
    say(f"{of}: atoms like {amounts}")
    products = ", ".join(f"{name} {value:.1f}" for name, value in phases.thickness_by_phase_angstrom.items())
    tail = phases.thickness_angstrom[-max(1, round(0.1 * phases.frames)) :]
    say(f"{of}: products {sum(tail) / len(tail):.1f} Å thick, all contacts together ({products})")
    crossed = [str(plane.net_li[-1]) for plane in phases.planes]
    if crossed:
        say(f"{of}: Li into the electrolyte through its contacts: {', '.join(crossed)}")
    law = phases.growth
    if law is None:
        return
    low, high = law.linear_ci_angstrom_per_ps
    exponent = ""
    if law.exponent is not None and law.exponent_ci is not None:
        exponent = f", n = {law.exponent:.2f} [{law.exponent_ci[0]:.2f}, {law.exponent_ci[1]:.2f}] of t^n"
    say(
        f"{of}: growth {law.linear_angstrom_per_ps:.3g} [{low:.3g}, {high:.3g}] Å/ps if linear, K = "
        f"{law.parabolic_angstrom2_per_ps:.3g} Å²/ps if parabolic{exponent}: {law.law}"
    )


def print_analysis(document: TrajectoryAnalysisDoc) -> None:
    """Print what was found as tables and lines."""
    atoms = " ".join(f"{element}{count}" for element, count in document.elements.items())
    step = "" if document.timestep_fs is None else f", {document.timestep_fs:g} fs apart"
    say(f"{document.file}: {atoms}, {document.frames} frames{step}")
    if document.rdf:
        rows = [
            {
                "pair": d.pair,
                "first_peak_angstrom": number(d.first_peak_angstrom, error=d.first_peak_se_angstrom),
                "height": d.first_peak_height,
                "first_minimum_angstrom": number(d.first_minimum_angstrom),
                "coordination_number": number(d.coordination_number, error=d.coordination_number_se),
                "meaning": f"{d.neighbour} around {d.centre}",
            }
            for d in document.rdf
        ]
        print_rows(rows, as_json=False)
    for run in document.tetrahedra:
        say(
            f"{run.pair}: {run.centres} {run.pair.split('-')[0]}, intact ({run.wanted} neighbours within "
            f"{run.cutoff_angstrom:.3f} Å, {run.cutoff_source}): {run.first_intact_fraction:.3f} at first, "
            f"{run.last_intact_fraction:.3f} over the last tenth (persistent: {run.last_persistent_fraction:.3f})"
        )
    for d in document.diffusion:
        error = "" if d.d_se_cm2_per_s is None else f" ± {d.d_se_cm2_per_s:.1e}"
        flag = "" if d.diffusive else "  NOT DIFFUSIVE"
        say(
            f"{d.element}: D = {d.d_cm2_per_s:.3e}{error} cm2/s (lags {d.fit_fs[0]:g} to {d.fit_fs[1]:g} fs, "
            f"d ln MSD / d ln t = {d.loglog_slope:.2f}){flag}"
        )
    for moved in document.transport or []:
        _print_transport(moved)
    if document.interphase is not None:
        print_interphase(document.interphase)
    checks = document.checks
    if checks is not None and checks.energy_drift_ev_per_atom_ps is not None:
        error_mev = 1000 * (checks.energy_drift_se_ev_per_atom_ps or 0)
        say(
            f"{checks.energy} energy: drift {1000 * checks.energy_drift_ev_per_atom_ps:+.3f} ± {error_mev:.3f} meV per "
            "atom and ps"
        )
    if checks is not None and checks.mean_temperature_k is not None:
        say(
            f"temperature: {number(checks.mean_temperature_k, 1, checks.mean_temperature_se_k)} K, spread "
            f"{checks.temperature_std_k:.1f} K (canonical {checks.canonical_std_k:.1f} K)"
        )
    phases: list[Any] = [document.interphase] if document.interphase else []
    phases += [part for moved in document.transport or [] for part in (moved, moved.jumps) if part is not None]
    parts: list[Any] = [
        *phases,
        *document.rdf,
        *document.tetrahedra,
        *document.diffusion,
        *([checks] if checks else []),
    ]
    for warning in [*document.warnings, *(text for part in parts for text in part.warnings)]:
        say(f"note: {warning}")
