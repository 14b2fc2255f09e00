"""The molecular-dynamics study on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anodeflow.cli.output.grid import say
from anodeflow.cli.output.tables import new_table, number, print_footing, print_heading
from anodeflow.cli.output.trajectories import print_interphase

if TYPE_CHECKING:
    from anodeflow.analysis.dynamics_study import DynamicsStudyDoc, DynamicsSystemDoc


def print_dynamics(document: DynamicsStudyDoc) -> None:
    """Print runs by system and seed, bonds before and after, distribution functions."""
    print_heading(document)
    wanted = document.dynamics
    ensemble = wanted["ensemble"].upper()
    thermostat = "" if ensemble == "NVE" else f" ({wanted.get('thermostat') or 'langevin'})"
    temperatures = ", ".join(f"{t:g}" for t in wanted.get("temperatures_k") or [wanted["temperature_k"]])
    say(
        f"{ensemble}{thermostat}, {temperatures} K, steps of {wanted['timestep_fs']:g} fs, "
        f"{wanted['duration_ps']:g} ps wanted"
    )
    runs = new_table(
        ("system", "atoms", "seed", "time (ps)", "T (K)", "drift (meV/atom/ps)", "PS4 intact", "ps/hour", "notes"),
        spare=("ps/hour", "atoms"),
    )
    for system in document.systems:
        if system.error:
            runs.add_row(system.name, "–", "–", "–", "–", "–", "–", "–", system.error)
        for replica in system.replicas:
            checks = replica.checks
            intact = replica.tetrahedra.intact_fraction if replica.tetrahedra else None
            drift = checks.energy_drift_ev_per_atom_ps
            runs.add_row(
                system.name,
                str(system.atoms),
                str(replica.seed),
                f"{replica.last_step * replica.timestep_fs / 1000:g}",
                f"{number(checks.mean_temperature_k, 0)} ± {number(checks.temperature_std_k, 0)}",
                "–" if drift is None else f"{1000 * drift:+.2g}",
                f"{intact[0]:.2f} -> {intact[-1]:.2f}" if intact else "–",
                f"{replica.steps_per_hour * replica.timestep_fs / 1000:.1f}",
                replica.warnings or ("" if replica.complete else "not at its end"),
            )
    runs.print()
    for system in document.systems:
        _print_system(system)
    if document.arrhenius:
        _print_transport(document)
    print_footing(document)


def _print_transport(document: DynamicsStudyDoc) -> None:
    """Print what Li does at each temperature, and its Arrhenius law."""
    table = new_table(
        (
            "system",
            "T (K)",
            "seed",
            "D(Li) (cm²/s)",
            "along x, y, z",
            "sigma (S/cm)",
            "Haven",
            "jumps (1/ps)",
            "D / D jumps",
        ),
        spare=("D / D jumps", "along x, y, z", "jumps (1/ps)", "Haven"),
    )
    for system in document.systems:
        for replica in system.replicas:
            moved, known = replica.transport, replica.diffusion
            if moved is None or known is None:
                continue
            jumps = moved.jumps
            table.add_row(
                system.system or system.name,
                "–" if system.temperature_k is None else f"{system.temperature_k:g}",
                str(replica.seed),
                _scientific(known.d_cm2_per_s, known.d_se_cm2_per_s) + ("" if known.diffusive else " (not diffusive)"),
                ", ".join(f"{d:.1e}" for d in moved.d_by_axis_cm2_per_s),
                _scientific(moved.conductivity_s_per_cm, moved.conductivity_se_s_per_cm),
                number(moved.haven_ratio, 2),
                "–" if jumps is None else f"{jumps.rate_per_ps:.3g} ({jumps.jumps} seen)",
                "–" if jumps is None else number(jumps.correlation_factor, 2),
            )
    table.print()
    for law in document.arrhenius or []:
        if law.activation_ev is None or law.activation_ci_ev is None:
            say(f"{law.system}: {law.error}")
            continue
        low, high = law.activation_ci_ev
        line = (
            f"{law.system}: E(Li) = {law.activation_ev:.3f} eV [{low:.3f}, {high:.3f}] from {law.fitted} temperatures"
        )
        if law.d_at_ci_cm2_per_s is not None:
            ends = law.d_at_ci_cm2_per_s
            line += f"; at {law.at_k:g} K D = {law.d_at_cm2_per_s:.1e} [{ends[0]:.1e}, {ends[1]:.1e}] cm2/s"
        if law.conductivity_at_ci_s_per_cm is not None:
            ends = law.conductivity_at_ci_s_per_cm
            line += (
                f", sigma = {law.conductivity_at_s_per_cm:.1e} [{ends[0]:.1e}, {ends[1]:.1e}] S/cm (Nernst-Einstein)"
            )
        say(line)
        for warning in law.warnings:
            say(f"{law.system}: {warning}")


def _scientific(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2e}" + ("" if error is None else f" ± {error:.0e}")


def _print_system(system: DynamicsSystemDoc) -> None:
    facts = system.facts
    if facts:
        say(
            f"{system.name}: {system.formula}; {facts['strained_side']} strained by {facts['strain_percent']:.2f} %, "
            f"sides {facts['film_thickness_angstrom']:.1f} and {facts['substrate_thickness_angstrom']:.1f} Å thick, "
            f"gap {facts['gap_angstrom']:.2f} Å, broken bonds {facts['broken_bonds']}"
        )
        if facts.get("strained_by"):
            say(f"{system.name}: the strained side is the softer by {facts['strained_by']}")
    if system.intact_ps4_after is not None and system.intact_ps4_before is not None:
        spread = system.intact_ps4_after_spread
        say(
            f"{system.name}: intact PS4 {system.intact_ps4_before:.2f} before, {system.intact_ps4_after:.2f}"
            f"{f' ± {spread:.2f}' if spread is not None else ''} after ({len(system.replicas)} seeds; P-S below "
            f"{system.ps_cutoff_angstrom:.2f} Å, {system.ps_cutoff_source})"
        )
        halves = [
            f"more than {r.time_ps[-1] - r.time_ps[0]:.2f}" if r.half_broken_ps is None else f"{r.half_broken_ps:.2f}"
            for r in system.replicas
        ]
        say(f"{system.name}: half of the PS4 broken for good after {', '.join(halves)} ps (one number a seed)")
    for replica in system.replicas:
        if replica.interphase is not None:
            print_interphase(replica.interphase, f"{system.name}, seed {replica.seed}")
    if not system.rdfs:
        return
    columns = ("pair", "peak before (Å)", "height", "neighbours", "peak after (Å)", "height", "neighbours")
    table = new_table(columns, columns)
    for rdf in system.rdfs:
        cells = []
        for side in (rdf.before, rdf.after):
            cells += [
                number(side.first_peak_angstrom, 2),
                number(side.first_peak_height, 1),
                number(side.coordination_number, 2),
            ]
        table.add_row(rdf.pair, *cells)
    say(f"{system.name}: radial distribution functions, first and last {system.window_ps:g} ps")
    table.print()
