"""Names of columns with their units, as a person reads them."""

from __future__ import annotations

import re

_UNITS = {
    "ev_per_angstrom": "eV/Å", "ev_per_atom_ps": "eV/atom/ps", "ev_per_atom": "eV/atom", "ev_per_unit": "eV/unit",
    "j_per_m2_per_unit": "J/m²/unit", "j_per_m2": "J/m²", "angstrom3": "Å³", "angstrom2": "Å²", "angstrom": "Å",
    "cm2_per_s": "cm²/s", "gpa": "GPa", "percent": "%", "degree": "°", "ev": "eV", "ps": "ps", "fs": "fs", "k": "K",
    "v": "V", "s": "s",
}  # fmt: skip
# A unit of one letter is one at the end of a name only.
_UNIT = re.compile(
    rf"_({'|'.join(u for u in _UNITS if len(u) > 1)})(?=_|$)|_({'|'.join(u for u in _UNITS if len(u) == 1)})$"
)


def head(name: str) -> str:
    """Return the head of a column, with the unit that ends or stands in its name.

    Examples
    --------
    >>> head("gamma_j_per_m2"), head("binding_energy_ev_bulk_metal"), head("li_per_host_atom")
    ('gamma (J/m²)', 'binding energy bulk metal (eV)', 'li per host atom')
    """
    match = _UNIT.search(name)
    if match is None:
        return name.replace("_", " ")
    bare = (name[: match.start()] + name[match.end() :]).replace("_", " ")
    return f"{bare} ({_UNITS[match[1] or match[2]]})"
