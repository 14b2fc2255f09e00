"""`anodeflow workfunction`: vacuum level and work function of a slab, and the binding energy of Li+ on it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from anodeflow.cli.options import json_text_option
from anodeflow.errors import InputError


@click.command()
@click.argument("potential", type=click.Path(path_type=Path))
@click.option("--fermi-ev", type=float, help="Fermi level, or highest occupied level, eV.")
@click.option("--output", type=click.Path(path_type=Path), help="Output of the program: its last level is taken.")
@click.option("--side", type=click.Choice(["top", "bottom"]), default="top", show_default=True, help="Face with Li.")
@click.option("--e-ads-ev", type=float, help="E_int of neutral Li on it against the free atom, eV.")
@click.option("--ionisation-ev", type=float, help="Of Li.  [default: 5.303, PBE]")
@json_text_option
def workfunction(
    potential: Path,
    fermi_ev: float | None,
    output: Path | None,
    side: str,
    e_ads_ev: float | None,
    ionisation_ev: float | None,
    as_json: bool,
) -> None:
    """Work function of the slab of POTENTIAL: LOCPOT, output of average.x, formatted potential of CASTEP, or .gpw.

    With --e-ads-ev also E_int(Li+) = E_ads(Li, free atom) + W - IE.
    """
    from anodeflow.analysis.program_output.potentials import read_level, read_potential
    from anodeflow.analysis.reference_values import reference_value
    from anodeflow.analysis.vacuum_level import ion_binding_energy_ev, vacuum_levels, work_function_ev

    if (fermi_ev is None) == (output is None):
        raise InputError("the Fermi level is missing or given twice", "give either --fermi-ev or --output")
    fermi = read_level(output) if output is not None else float(fermi_ev or 0.0)
    levels = vacuum_levels(read_potential(potential))
    level = levels["top" if side == "top" else "bottom"]
    work = work_function_ev(level, fermi)
    row = {
        "side": side,
        "vacuum_level_ev": level.level_ev,
        "vacuum_spread_ev": level.spread_ev,
        "vacuum_height_angstrom": level.height_angstrom,
        "dipole_step_ev": levels["top"].level_ev - levels["bottom"].level_ev,
        "fermi_ev": fermi,
        "work_function_ev": work,
    }
    lines = [
        f"vacuum level {level.level_ev:.3f} eV over the {side}, flat within {level.spread_ev:.3f} eV over "
        f"{level.height_angstrom:.1f} angstrom; Fermi level {fermi:.3f} eV",
        f"work function {work:.3f} eV",
    ]
    if e_ads_ev is not None:
        energy = reference_value("li_ionisation_energy_pbe")
        ionisation = energy.value if ionisation_ev is None else ionisation_ev
        ion = ion_binding_energy_ev(e_ads_ev, work, ionisation)
        row |= {"e_ads_ev": e_ads_ev, "ionisation_energy_ev": ionisation, "e_int_ion_ev": ion}
        lines.append(f"E_int(Li+) = {e_ads_ev:+.3f} + {work:.3f} - {ionisation:.3f} = {ion:+.3f} eV/Li")
        if ionisation_ev is None:
            lines.append(energy.cite())
    click.echo(json.dumps(row) if as_json else "\n".join(lines))
