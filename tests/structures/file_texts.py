"""Structure files as text, put together from their parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pymatgen.core import Structure

LICL = ("Li1 Li 0 0 0", "Cl1 Cl 0.5 0.5 0.5")
LIAL_ORIGIN_2 = ("Al1 Al 0.125 0.125 0.125", "Li1 Li 0.375 0.375 0.375")
COLUMNS = "label type_symbol fract_x fract_y fract_z"


def cell(a, b=None, c=None, alpha=90, beta=90, gamma=90) -> str:
    values = {"length_a": a, "length_b": b or a, "length_c": c or a}
    values |= {"angle_alpha": alpha, "angle_beta": beta, "angle_gamma": gamma}
    return "".join(f"_cell_{name} {value}\n" for name, value in values.items())


def sites(rows: Iterable[str] = LICL, columns: str = COLUMNS) -> str:
    return "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns.split()) + "\n".join(rows) + "\n"


def operations(texts: Iterable[str]) -> str:
    return "loop_\n_space_group_symop_operation_xyz\n" + "".join(f"'{text}'\n" for text in texts)


def cif(*parts: str, symbol: str | None = None, a: float | str = 5.148, name: str = "x") -> str:
    """A CIF of LiCl, or of what `parts` state instead: its cell and sites are added where no part brings them."""
    text = "".join(part if part.endswith("\n") else part + "\n" for part in parts)
    if symbol is not None:
        text = f"_symmetry_space_group_name_H-M '{symbol}'\n" + text
    if "_cell_length" not in text:
        text = cell(a) + text
    return f"data_{name}\n" + text + ("" if "_atom_site_fract_x" in text else sites())


def facts(structure: Structure) -> tuple[str, int]:
    """Formula of the cell, and its space group."""
    assert structure.is_ordered
    return structure.composition.formula, structure.get_space_group_info(0.01)[1]


def written(folder: Path, content: str | bytes, name: str = "x.cif") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
