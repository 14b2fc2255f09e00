"""pymatgen as the second reader: of a CIF as it stands, or of one that leaves nothing to the reader."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from gemmi import cif
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifParser

from anodeflow.structures.files.expansion import FULL_OCCUPANCY, SAME_POSITION_ANGSTROM, ListedSite
from anodeflow.structures.files.space_groups import Operations

MAX_SITES = 1500
"""pymatgen's time grows with the square of the sites: 4,000 take 8 s."""
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def by_pymatgen(text: str, site_tolerance: float = 1e-4) -> Structure | None:
    """pymatgen's reading of a CIF.

    Parameters
    ----------
    text
        The CIF.
    site_tolerance
        Fractional distance below which two positions are one.

    Returns
    -------
    Structure or None
        None where it gives none, or several.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = CifParser.from_str(
                text, check_cif=False, occupancy_tolerance=FULL_OCCUPANCY, site_tolerance=site_tolerance
            )
            structures = parser.parse_structures(primitive=False, on_error="ignore")
    except Exception:  # it raises anything on what it does not know, and the first reader has the better message
        return None
    return structures[0] if len(structures) == 1 else None


def by_pymatgen_from_sites(lattice: Lattice, sites: Sequence[ListedSite], operations: Operations) -> Structure | None:
    """pymatgen's expansion of a list of sites, given to it as a CIF with operations, elements and occupancies.

    Parameters
    ----------
    lattice
        The cell.
    sites
        The asymmetric unit.
    operations
        The space group.

    Returns
    -------
    Structure or None
        None where it gives none.
    """
    document = cif.Document()
    block = document.add_new_block("x")
    for name, value in zip(_CELL, lattice.parameters, strict=True):
        block.set_pair(f"_cell_{name}", f"{value:.10f}")
    loop = block.init_loop("_symmetry_equiv_pos_", ["as_xyz"])
    for text in operations.as_xyz():
        loop.add_row([cif.quote(text)])
    loop = block.init_loop("_atom_site_", ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"])
    for n, site in enumerate(sites, start=1):
        loop.add_row([f"{site.element}{n}", site.element, *map(repr, site.coords), repr(site.occupancy)])
    tolerance = max(2 * SAME_POSITION_ANGSTROM / min(lattice.abc), *(4 * max(site.uncertainty) for site in sites))
    return by_pymatgen(str(document.as_string()), tolerance)
