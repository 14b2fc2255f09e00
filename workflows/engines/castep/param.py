"""The ``.param`` file of CASTEP: what a method card becomes in its keywords; the choices are told in ``inputs``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pymatgen.core import Structure

from anodeflow.errors import InputError
from anodeflow.workflows.cards import Dynamics, MethodCard
from anodeflow.workflows.dispersion import d3_of
from anodeflow.workflows.engines.castep.cell import cartesian_axis
from anodeflow.workflows.engines.castep.keywords import PARAM, SEED, check_keywords
from anodeflow.workflows.engines.contract import Task
from anodeflow.workflows.engines.plane_waves.electronic import Electronic

_TASKS = {"static": "SinglePoint"} | dict.fromkeys(("relax", "relax_cell", "relax_c"), "GeometryOptimization")
_SCHEMES = {
    "gaussian": "Gaussian",
    "fermi-dirac": "FermiDirac",
    "methfessel-paxton": "HermitePolynomials",
    "marzari-vanderbilt": "ColdSmearing",
}
# Double precision carries no less (total energies of 1e3 to 1e5 eV), and no force needs more.
_TIGHTEST_EV_PER_ATOM = 1e-9
_LOOSEST_EV_PER_ATOM = 1e-5
_ENERGY_PER_FORCE = 1e-5 / 0.03
_DISPLACEMENT_PER_FORCE = 0.001 / 0.03
# Of one geometry of a band or of dynamics.
_POINT_EV_PER_ATOM = 1e-7
_SCF_CYCLES = 200
# Damping to zero, and Becke's and Johnson's.
_DISPERSIONS = {"d3-zero": "D3", "d3-bj": "D3-BJ"}
_POTENTIAL = "write_formatted_potential"
# Between Li (13) and Al (76): CASTEP's own guess, 500 GPa, makes the first steps of soft cells tiny.
_MODULUS_GPA = 50.0
# Part of the wall time after which CASTEP is to end by itself.
_RUN_TIME_SHARE = 0.95


def param_entries(
    structure: Structure, task: Task, card: MethodCard, settings: Electronic, wall_time_s: float | None = None
) -> dict[str, str]:
    """Keywords of the ``.param`` file.

    Parameters
    ----------
    structure
        The geometry.
    task, card
        What to do, how accurately.
    settings
        What the card means for the cell.
    wall_time_s
        Time the job is given, s.
    """
    cell_is_free = task in ("relax_cell", "relax_c")
    entries = {
        "task": _TASKS[task],
        "xc_functional": settings.functional,
        "cut_off_energy": f"{settings.cutoff_ev:.6g} eV",
        "finite_basis_corr": "automatic" if cell_is_free else "none",
    }
    entries |= _electrons(structure, settings) | _dispersion(card)
    if settings.slab and not settings.charge:
        entries[_POTENTIAL] = "true"  # of which the vacuum level is read
    if task != "static":
        force = card.force_tolerance_ev_per_angstrom
        entries |= {
            "geom_method": "LBFGS",
            "geom_max_iter": str(card.max_steps),
            "geom_force_tol": f"{force:.6g} eV/ang",
            "geom_energy_tol": f"{force * _ENERGY_PER_FORCE:.3g} eV",
            "geom_disp_tol": f"{force * _DISPLACEMENT_PER_FORCE:.3g} ang",
        }
    if cell_is_free:
        entries |= {
            "geom_stress_tol": f"{card.stress_tolerance_gpa:.6g} GPa",
            "geom_modulus_est": f"{_MODULUS_GPA:.6g} GPa",
            "calculate_stress": "true",
        }
    entries |= _running(wall_time_s)
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def point_entries(
    structure: Structure, card: MethodCard, settings: Electronic, before: str | None, wall_time_s: float | None
) -> dict[str, str]:
    """Keywords of the ``.param`` file of one geometry of a band or of dynamics.

    Parameters
    ----------
    structure, card, settings, wall_time_s
        As for :func:`param_entries`; `settings` are those of the first geometry of all.
    before
        Checkpoint of the geometry before, in the same folder: electrons start from it.
    """
    # forces need better electrons than energies, the more so when these start from those of other places
    tight = min(settings.energy_tolerance_ev, _POINT_EV_PER_ATOM * len(structure))
    entries = param_entries(structure, "static", card, replace(settings, energy_tolerance_ev=tight), wall_time_s)
    entries["write_checkpoint"] = "all"
    entries.pop(_POTENTIAL, None)
    if before is not None:
        entries["reuse"] = before
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def dynamics_entries(
    structure: Structure, card: MethodCard, settings: Electronic, wall_time_s: float | None = None
) -> dict[str, str]:
    """Keywords of the ``.param`` file of a molecular-dynamics run.

    Raises
    ------
    InputError
        If the card has no dynamics.
    """
    run = card.dynamics
    if run is None:
        raise InputError(f"card '{card.name}' has no dynamics", "add it, or choose another card")
    entries = {
        "task": "MolecularDynamics",
        "xc_functional": settings.functional,
        "cut_off_energy": f"{settings.cutoff_ev:.6g} eV",
        "finite_basis_corr": "none",
    }
    entries |= _electrons(structure, settings) | _dispersion(card)
    entries |= {
        "md_ensemble": run.ensemble.upper(),
        "md_temperature": f"{run.temperature_k:.6g} K",
        "md_delta_t": f"{run.timestep_fs:.6g} fs",
        "md_num_iter": str(max(1, round(run.duration_ps * 1000.0 / run.timestep_fs))),
    }
    if run.ensemble == "nvt":
        entries |= _thermostat(run)
    entries |= _running(wall_time_s)
    check_keywords(entries, PARAM, f"{SEED}.param")
    return entries


def _thermostat(run: Dynamics) -> dict[str, str]:
    if (run.thermostat or "langevin") == "langevin":
        friction = run.friction_per_ps
        damping = {} if friction is None else {"md_ion_t": f"{1000.0 / friction:.6g} fs"}
        return {"md_thermostat": "langevin", **damping}
    entries = {"md_thermostat": "nose-hoover"}
    if run.damping_fs is not None:
        entries["md_ion_t"] = f"{run.damping_fs:.6g} fs"
    if run.chain_length is not None:
        entries["md_nhc_length"] = str(run.chain_length)
    return entries


def _electrons(structure: Structure, settings: Electronic) -> dict[str, str]:
    per_atom = settings.energy_tolerance_ev / len(structure)
    entries = {
        "charge": f"{settings.charge:d}",
        "spin_polarized": "true" if settings.spin_polarised else "false",
    }
    if settings.spin_polarised:
        entries["spin"] = f"{settings.initial_moment:.6g}"
    if settings.smearing.kind == "none":
        entries["fix_occupancy"] = "true"
    else:
        if settings.smearing.width_ev <= 0.0:
            raise InputError(
                f"smearing {settings.smearing.kind} of width {settings.smearing.width_ev} eV: CASTEP needs a width",
                "give width_ev, or smearing: {kind: none}",
            )
        entries |= {
            "fix_occupancy": "false",
            "smearing_scheme": _SCHEMES[settings.smearing.kind],
            "smearing_width": f"{settings.smearing.width_ev:.6g} eV",
        }
        if settings.spin_polarised and settings.isolated and len(structure) == 1:
            # an atom keeps Hund's moment; without this its occupations may wander
            entries["spin_fix"] = "-1"
    entries |= {
        "metals_method": "dm",
        "mixing_scheme": "Pulay",
        "max_scf_cycles": str(_SCF_CYCLES),
        "elec_energy_tol": f"{min(max(per_atom, _TIGHTEST_EV_PER_ATOM), _LOOSEST_EV_PER_ATOM):.3g} eV",
    }
    if settings.dipole_axis is not None:
        entries |= {
            "dipole_correction": "self consistent",
            "dipole_dir": "xyz"[cartesian_axis(structure, settings.dipole_axis)],
        }
    return entries


def _dispersion(card: MethodCard) -> dict[str, str]:
    """Return what a card's dispersion is in CASTEP: DFT-D3 without the three-body term, known from CASTEP 20 on.

    Raises
    ------
    EngineError
        If there are no parameters for its functional.
    """
    if d3_of(card) is None:
        return {}
    return {"sedc_apply": "true", "sedc_scheme": _DISPERSIONS[str(card.dispersion)]}


def _running(wall_time_s: float | None) -> dict[str, str]:
    # A restart takes the geometry from the .castep file, so wavefunctions need not be kept.
    entries = {"popn_calculate": "false", "write_checkpoint": "minimal", "num_dump_cycles": "0"}
    if wall_time_s is not None:
        entries["run_time"] = str(max(1, int(_RUN_TIME_SHARE * wall_time_s)))
    return entries


def param_text(entries: Mapping[str, str], title: str) -> str:
    """The ``.param`` file."""
    width = max(map(len, entries))
    return "\n".join([f"# {title}", *(f"{name:<{width}} : {value}" for name, value in entries.items())]) + "\n"
