"""The CASTEP keywords this package writes, and what may stand behind them.

A short list of our own, not CASTEP's: everything that is written, or read back from a file of a user, is checked
against it, so that a misspelt keyword or a value in the wrong unit is an error before a job is queued.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anodeflow.errors import InputError
from anodeflow.suggest import did_you_mean

# Name of a calculation's files.
SEED = "castep"

Kind = Literal["logical", "integer", "real", "physical", "choice", "integers", "reals", "text", "flag"]

_TRUE, _FALSE = {"true", "t", "yes", ".true."}, {"false", "f", "no", ".false."}
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?\Z")


@dataclass(frozen=True)
class Keyword:
    """What may stand behind one keyword.

    Attributes
    ----------
    kind
        Kind of value. ``flag``: the keyword stands alone.
    units
        For ``physical``: units that may be written, the first of which CASTEP takes where none is.
    choices
        For ``choice``: the words allowed, lower case.
    above, least
        Bounds of a number: greater than, at least.
    size
        For ``integers`` and ``reals``: how many.
    """

    kind: Kind
    units: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None
    size: int = 3


def _physical(*units: str) -> Keyword:
    return Keyword("physical", units=units, above=0.0)


_LOGICAL = Keyword("logical")
_COUNT = Keyword("integer", least=1)

PARAM: dict[str, Keyword] = {
    "task": Keyword("choice", choices=("singlepoint", "energy", "geometryoptimization", "moleculardynamics")),
    "xc_functional": Keyword("choice", choices=("pbe", "pbesol", "rpbe", "lda", "pw91")),
    "sedc_apply": _LOGICAL,
    "sedc_scheme": Keyword("choice", choices=("d3", "d3-bj")),
    "cut_off_energy": _physical("eV"),
    "basis_precision": Keyword("choice", choices=("coarse", "medium", "fine", "precise", "extreme")),
    "finite_basis_corr": Keyword("choice", choices=("none", "manual", "automatic")),
    "grid_scale": Keyword("real", above=0.0),
    "fine_grid_scale": Keyword("real", above=0.0),
    "charge": Keyword("real"),
    "spin_polarized": _LOGICAL,
    "spin": Keyword("real"),
    "spin_fix": Keyword("integer"),
    "nextra_bands": Keyword("integer", least=0),
    "perc_extra_bands": Keyword("real", least=0.0),
    "fix_occupancy": _LOGICAL,
    "smearing_scheme": Keyword(
        "choice", choices=("gaussian", "gaussiansplines", "fermidirac", "hermitepolynomials", "coldsmearing")
    ),
    "smearing_width": _physical("eV"),
    "metals_method": Keyword("choice", choices=("none", "dm", "edft")),
    "mixing_scheme": Keyword("choice", choices=("kerker", "linear", "broyden", "pulay")),
    "mix_history_length": _COUNT,
    "mix_charge_amp": Keyword("real", above=0.0),
    "mix_spin_amp": Keyword("real", above=0.0),
    "max_scf_cycles": _COUNT,
    "elec_energy_tol": _physical("eV"),
    "elec_convergence_win": Keyword("integer", least=2),
    "dipole_correction": Keyword("choice", choices=("none", "static", "self consistent")),
    "dipole_dir": Keyword("choice", choices=("x", "y", "z", "a")),
    "calculate_stress": _LOGICAL,
    "popn_calculate": _LOGICAL,
    "geom_method": Keyword("choice", choices=("bfgs", "lbfgs", "tpsd", "fire", "dampedmd", "delocalized")),
    "geom_max_iter": _COUNT,
    "geom_energy_tol": _physical("eV"),
    "geom_force_tol": _physical("eV/ang"),
    "geom_disp_tol": _physical("ang"),
    "geom_stress_tol": _physical("GPa"),
    "geom_convergence_win": Keyword("integer", least=2),
    "geom_modulus_est": _physical("GPa"),
    "md_ensemble": Keyword("choice", choices=("nve", "nvt")),
    "md_thermostat": Keyword("choice", choices=("nose-hoover", "langevin", "hoover-langevin")),
    "md_temperature": _physical("K"),
    "md_delta_t": _physical("fs"),
    "md_num_iter": _COUNT,
    "md_ion_t": _physical("fs"),
    "md_nhc_length": _COUNT,
    "iprint": Keyword("integer", least=1),
    "opt_strategy": Keyword("choice", choices=("default", "speed", "memory")),
    "num_backup_iter": _COUNT,
    "num_dump_cycles": Keyword("integer", least=0),
    "run_time": _COUNT,
    "write_checkpoint": Keyword("choice", choices=("none", "minimal", "all")),
    "continuation": Keyword("text"),
    "reuse": Keyword("text"),
    "write_cell_structure": _LOGICAL,
    "write_formatted_potential": _LOGICAL,
    "rand_seed": Keyword("integer"),
    "stop": Keyword("flag"),
    "comment": Keyword("text"),
}  # fmt: skip

CELL: dict[str, Keyword] = {
    "kpoint_mp_grid": Keyword("integers", least=1),
    "kpoint_mp_offset": Keyword("reals"),
    "kpoint_mp_spacing": _physical("1/ang"),
    "symmetry_generate": Keyword("flag"),
    "snap_to_symmetry": Keyword("flag"),
    "symmetry_tol": _physical("ang"),
    "fix_all_cell": _LOGICAL,
    "fix_all_ions": _LOGICAL,
    "fix_com": _LOGICAL,
}
_CELL_BLOCKS = (
    "lattice_cart",
    "lattice_abc",
    "positions_frac",
    "positions_abs",
    "species_pot",
    "species_mass",
    "ionic_constraints",
    "cell_constraints",
    "ionic_velocities",
)


def check_keywords(entries: Mapping[str, str], known: Mapping[str, Keyword], where: str) -> None:
    """Check keywords and their values.

    Parameters
    ----------
    entries
        Keyword (any case) and the text behind it.
    known
        :data:`PARAM` or :data:`CELL`.
    where
        File, for messages.

    Raises
    ------
    InputError
        For a keyword that is not known (the nearest ones are named), or a value of the wrong kind, unit or size.
    """
    for name, value in entries.items():
        lower = name.lower()
        if lower not in known:
            remedy = did_you_mean(lower, [*known, *_CELL_BLOCKS], "correct or remove it", most=2, cutoff=0.6)
            raise InputError(f"{where}: unknown keyword '{name}'", remedy)
        problem = _problem(known[lower], str(value).strip())
        if problem:
            raise InputError(f"{where}: {name} : {value} -- {problem}", "correct the value")


def _problem(keyword: Keyword, value: str) -> str | None:
    """What is wrong with a value, or None."""
    words = value.split()
    match keyword.kind:
        case "flag":
            return None if not words else "this keyword stands alone"
        case "text":
            return None if words else "a value is missing"
        case "logical":
            return None if value.lower() in _TRUE | _FALSE else "true or false is wanted"
        case "choice":
            if value.lower() in keyword.choices:
                return None
            hint = did_you_mean(value.lower(), keyword.choices, "", most=1)
            return f"one of {', '.join(keyword.choices)} is wanted{hint and f'; {hint}'}"
        case "integer" | "real":
            return _number(keyword, words, 1)
        case "physical":
            if len(words) == 2 and words[1].lower() not in {u.lower() for u in keyword.units}:
                return f"unit {words[1]} is not {' or '.join(keyword.units)}"
            return _number(keyword, words[:1] if len(words) == 2 else words, 1)
        case _:
            return _number(keyword, words, keyword.size)


def _number(keyword: Keyword, words: list[str], size: int) -> str | None:
    whole = keyword.kind in ("integer", "integers")
    if len(words) != size:
        return f"{size} number(s) wanted, {len(words)} found"
    for word in words:
        if not _REAL.match(word) or (whole and not word.lstrip("+-").isdigit()):
            return f"{'a whole number' if whole else 'a number'} is wanted, not '{word}'"
        number = float(word.lower().replace("d", "e"))
        if keyword.above is not None and not number > keyword.above:
            return f"it has to be greater than {keyword.above:g}"
        if keyword.least is not None and number < keyword.least:
            return f"it has to be at least {keyword.least:g}"
    return None


def read_param(path: Path) -> dict[str, str]:
    """Keywords of a ``.param`` file, lower case, checked.

    Raises
    ------
    InputError
        If the file cannot be read, or a line of it is wrong; file and line are named.
    """
    entries: dict[str, str] = {}
    for number, line in _lines(path):
        name, value = _split(line)
        where = f"{path}, line {number}"
        if name in entries:
            raise InputError(f"{where}: {name} stands here twice", "remove one")
        check_keywords({name: value}, PARAM, where)
        entries[name] = value
    return entries


def read_cell(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Keywords and blocks of a ``.cell`` file, lower case, checked.

    Raises
    ------
    InputError
        If the file cannot be read, or a line of it is wrong; file and line are named.
    """
    entries: dict[str, str] = {}
    blocks: dict[str, list[str]] = {}
    current: str | None = None
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        mark = re.match(r"%(end)?block\s+(\S+)\s*\Z", line, re.IGNORECASE)
        if mark is None:
            if current is not None:
                blocks[current].append(line)
                continue
            name, value = _split(line)
            if name in entries:
                raise InputError(f"{where}: {name} stands here twice", "remove one")
            check_keywords({name: value}, CELL, where)
            entries[name] = value
            continue
        name = mark.group(2).lower()
        if name not in _CELL_BLOCKS:
            remedy = did_you_mean(name, _CELL_BLOCKS, "remove it", most=2, cutoff=0.6)
            raise InputError(f"{where}: unknown block '{name}'", remedy)
        if mark.group(1) is None:
            if current is not None or name in blocks:
                raise InputError(f"{where}: block {name} begins inside another, or for the second time", "close it")
            current, blocks[name] = name, []
        else:
            if current != name:
                raise InputError(f"{where}: block {name} ends here but did not begin", "correct the name")
            current = None
    if current is not None:
        raise InputError(f"{path}: block {current} has no end", f"add %ENDBLOCK {current.upper()}")
    return entries, blocks


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines of an input file without comments, numbered from 1."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}", "check the path") from None
    stripped = ((i, re.split(r"[#!;]", line, maxsplit=1)[0].strip()) for i, line in enumerate(text.splitlines(), 1))
    return [(i, line) for i, line in stripped if line and not line.upper().startswith("COMMENT")]


def _split(line: str) -> tuple[str, str]:
    """Keyword and value; a colon, an equals sign or a space stands between them."""
    parts = re.split(r"\s*[:=]\s*|\s+", line, maxsplit=1)
    return parts[0].lower(), parts[1].strip() if len(parts) > 1 else ""
