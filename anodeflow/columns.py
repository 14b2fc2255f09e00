"""Names of columns with their units, as a person reads them."""

from __future__ import annotations

import re

_UNITS = {
    "ev_per_angstrom": "eV/Å", "ev_per_atom_ps": "eV/atom/ps", "ev_per_atom": "eV/atom", "ev_per_unit": "eV/unit",
    "j_per_m2_per_unit": "J/m²/unit", "j_per_m2": "J/m²", "angstrom3": "Å³", "angstrom2": "Å²", "angstrom": "Å",
    "ev_per_fu": "eV/f.u.", "g_per_cm3": "g/cm³", "mah_per_g": "mAh/g", "mah_per_cm3": "mAh/cm³", "s_per_cm": "S/cm",
    "cm2_per_s": "cm²/s", "gpa": "GPa", "percent": "%", "degree": "°", "ev": "eV", "ps": "ps", "fs": "fs", "k": "K",
    "v": "V", "s": "s",
}  # fmt: skip
# Of numbers in a table; a unit that is not here has four digits.
_DECIMALS = {
    "ev_per_angstrom": 4, "ev_per_atom": 4, "ev_per_unit": 4, "j_per_m2_per_unit": 4, "j_per_m2": 3, "angstrom3": 2,
    "angstrom2": 2, "angstrom": 3, "gpa": 1, "percent": 2, "degree": 1, "ev": 3, "ps": 2, "fs": 1, "k": 0, "v": 3,
    "g_per_cm3": 3, "mah_per_g": 0, "mah_per_cm3": 0,
}  # fmt: skip
_SCIENTIFIC = ("cm2_per_s", "s_per_cm")
# As the field writes quantities.
_SYMBOLS = {
    "binding energy": "E_int", "formation energy": "E_f", "formation": "E_f", "work of adhesion": "W_ad",
    "adhesion": "W_ad", "d": "D", "wall time": "time", "study hash": "hash", "completed at": "computed",
    "kpoints": "k-points",
}  # fmt: skip
_HEXADECIMAL = re.compile(r"[0-9a-f]{12,64}$")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
# A unit of one letter is one at the end of a name only.
_UNIT = re.compile(
    rf"_({'|'.join(u for u in _UNITS if len(u) > 1)})(?=_|$)|_({'|'.join(u for u in _UNITS if len(u) == 1)})$"
)


def head(name: str) -> str:
    """Return the head of a column, with the unit that ends or stands in its name.

    Examples
    --------
    >>> head("gamma_j_per_m2"), head("binding_energy_ev_bulk_metal"), head("li_per_host_atom")
    ('gamma (J/m²)', 'E_int bulk metal (eV)', 'li per host atom')
    """
    match = _UNIT.search(name)
    if match is None:
        return _symbol(name.replace("_", " "))
    bare = _symbol((name[: match.start()] + name[match.end() :]).replace("_", " "))
    return bare if _unit(name) == "s" else f"{bare} ({_UNITS[match[1] or match[2]]})"


def _symbol(bare: str) -> str:
    for words, symbol in _SYMBOLS.items():
        if bare == words or (len(words) > 1 and bare.startswith(f"{words} ")):
            return symbol + bare[len(words) :]
    return bare


def _unit(name: str) -> str | None:
    match = _UNIT.search(name)
    return None if match is None else match[1] or match[2]


def cell_text(name: str, value: object) -> str:
    """Return a value of a column as a person reads it: decimals by its unit, times in hours, short fingerprints.

    Parameters
    ----------
    name
        Of the column, with its unit.
    value
        None becomes a dash.

    Returns
    -------
    str
        For a cell of a table.

    Examples
    --------
    >>> cell_text("gamma_j_per_m2", 0.36081), cell_text("wall_time_s", 134712), cell_text("d_cm2_per_s", 1.5e-6)
    ('0.361', '37.4 h', '1.50e-06')
    """
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    unit = _unit(name)
    if isinstance(value, int | float):
        if unit == "s" or name.endswith("_seconds"):
            return duration(value)
        if isinstance(value, int):
            return str(value)
        if unit in _SCIENTIFIC:
            return f"{value:.2e}"
        if name.startswith("cutoff"):
            return f"{value:g}"
        if unit in _DECIMALS:
            return f"{value:.{_DECIMALS[unit]}f}"
        return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
    if isinstance(value, str) and _INSTANT.match(value):
        return value[:16].replace("T", " ")
    if isinstance(value, str) and _HEXADECIMAL.match(value):
        return value[:8]
    return str(value)


def duration(seconds: float) -> str:
    """Return a time in the unit a person would choose.

    Examples
    --------
    >>> duration(0.24), duration(45), duration(700), duration(134712)
    ('0.2 s', '45 s', '12 min', '37.4 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def core_hours(hours: float) -> str:
    """Return a cost in core hours without exponents.

    Examples
    --------
    >>> core_hours(0), core_hours(0.0042), core_hours(0.36), core_hours(5.689), core_hours(2245.2)
    ('0', '0.004', '0.36', '5.7', '2245')
    """
    if not hours:
        return "0"
    decimals = next((digits for least, digits in ((100, 0), (1, 1), (0.01, 2)) if hours >= least), 3)
    return f"{hours:.{decimals}f}"
