"""Keys of a program's own inputs that a machine may set: how fast it computes and what it writes, never what.

What decides a number stands in the method card, whose hash is a part of every fingerprint; a key that is not a part
of it must not change a converged result. So keys are allowed by name, and those that are known to be physics are told
apart from those that are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anodeflow.suggest import did_you_mean

#: Kind of value by key: int, float, bool, or the words allowed.
_Kind = type | tuple[str, ...]

#: Keys that may be set, by section of the settings.
ALLOWED: dict[str, dict[str, _Kind]] = {
    "vasp": {
        "NCORE": int, "NPAR": int, "KPAR": int, "NSIM": int, "LPLANE": bool, "LSCALAPACK": bool, "LSCALU": bool,
        "LASYNC": bool, "MAXMEM": int, "NELMDL": int, "NWRITE": int, "LVHAR": bool, "LVTOT": bool, "LELF": bool,
        "ALGO": ("Normal", "Fast", "VeryFast", "All", "Damped"), "AMIX": float, "BMIX": float, "AMIX_MAG": float,
        "BMIX_MAG": float, "AMIN": float, "MAXMIX": int,
    },
    "qe": {"npool": int, "nband": int, "ntg": int, "ndiag": int},
    "castep": {
        "opt_strategy": ("default", "speed", "memory"), "num_backup_iter": int, "mix_history_length": int,
        "mix_charge_amp": float, "mix_spin_amp": float,
    },
}  # fmt: skip
#: Keys that are a part of the fingerprint or are set by what a study asks for: the card and the study decide them.
_PHYSICS: dict[str, set[str]] = {
    "vasp": {
        "GGA", "METAGGA", "ENCUT", "ENAUG", "PREC", "EDIFF", "EDIFFG", "ISMEAR", "SIGMA", "ISPIN", "MAGMOM", "NUPDOWN",
        "NELECT", "LREAL", "LASPH", "LDIPOL", "IDIPOL", "DIPOL", "ISIF", "IBRION", "NSW", "POTIM", "ADDGRID", "LHFCALC",
        "AEXX", "HFSCREEN", "IVDW", "LDAU", "LDAUU", "ISYM", "SYMPREC", "NBANDS", "NGX", "NGY", "NGZ", "KSPACING",
        "KGAMMA", "TEBEG", "TEEND", "SMASS", "MDALGO", "IMAGES", "SPRING", "LCLIMB", "IOPT", "PSTRESS", "LSORBIT",
    },
    "qe": {
        "ecutwfc", "ecutrho", "input_dft", "occupations", "smearing", "degauss", "nspin", "tot_charge", "conv_thr",
        "starting_magnetization", "tot_magnetization", "nbnd", "vdw_corr", "forc_conv_thr", "etot_conv_thr", "dt",
        "nosym",
        "tefield", "dipfield", "edir", "emaxpos", "eopreg", "eamp", "ibrav", "press", "cell_dofree", "calculation",
    },
    "castep": {
        "task", "xc_functional", "cut_off_energy", "basis_precision", "finite_basis_corr", "grid_scale",
        "fine_grid_scale", "charge", "spin_polarized", "spin", "spin_fix", "nextra_bands", "fix_occupancy",
        "smearing_scheme", "smearing_width", "elec_energy_tol", "dipole_correction", "dipole_dir", "geom_force_tol",
        "geom_energy_tol", "geom_disp_tol", "geom_stress_tol", "geom_max_iter", "sedc_apply", "sedc_scheme",
    },
}  # fmt: skip
#: pw.x has these as words of its command.
_FLAGS = {"npool": "-nk", "nband": "-nb", "ntg": "-nt", "ndiag": "-nd"}


def checked_keys(program: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a program as it writes them.

    Parameters
    ----------
    program
        Section of the settings.
    keys
        As the settings have them.

    Raises
    ------
    ValueError
        For a key that is physics, that is not known, or whose value is of the wrong kind.
    """
    allowed = ALLOWED[program]
    names = {name.lower(): name for name in (*allowed, *_PHYSICS[program])}
    checked = {}
    for key, value in keys.items():
        name = names.get(str(key).lower(), str(key))
        if name in _PHYSICS[program]:
            raise ValueError(f"{name} decides what is computed, and so it is in the method card, not in the settings")
        if name not in allowed:
            hint = did_you_mean(name, allowed, f"keys: {', '.join(allowed)}", most=2)
            raise ValueError(f"{name} is not a key that may be set for {program}: {hint}")
        checked[name] = _value(name, value, allowed[name])
    return checked


def _value(name: str, value: Any, kind: _Kind) -> Any:
    if isinstance(kind, tuple):
        words = {word.lower(): word for word in kind}
        if str(value).lower() not in words:
            raise ValueError(f"{name} is {value!r}, not one of {', '.join(kind)}")
        return words[str(value).lower()]
    right = isinstance(value, (int, float) if kind is float else kind)
    if not right or (kind is not bool and isinstance(value, bool)):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise ValueError(f"{name} is {value!r}, not {wanted}")
    if kind is not bool and name != "NELMDL" and not value > 0:
        raise ValueError(f"{name} is {value!r}, not positive")
    return value


def pw_words(keys: Mapping[str, Any]) -> list[str]:
    """Return the words of pw.x's command that say how it divides its work."""
    return [word for key, value in keys.items() for word in (_FLAGS[key], str(value))]
