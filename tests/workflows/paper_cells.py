"""A cell of the right kind for each card of the papers, and its native inputs by any engine."""

import numpy as np
from pymatgen.core import Structure

from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.slabs import build_slab
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.registry import get_engine


def slab_with_lithium():
    """Li9Al4(400) with a Li atom 2.5 angstrom above its highest one; the lower half frozen."""
    slab = Structure.from_sites(
        build_slab(load_crystal("Li9Al4"), (4, 0, 0), min_thickness_angstrom=5, vacuum_angstrom=15).structure
    )
    top = max(slab, key=lambda site: site.coords[2])
    slab.append("Li", top.coords + np.array([0, 0, 2.5]), coords_are_cartesian=True)
    middle = np.median(slab.cart_coords[:, 2])
    slab.add_site_property("selective_dynamics", [[bool(z > middle)] * 3 for z in slab.cart_coords[:, 2]])
    return slab


def licl_slab():
    return Structure.from_sites(build_slab(load_crystal("LiCl"), (1, 0, 0), layers=4, vacuum_angstrom=15).structure)


def lithium_hops(images):
    """Li on Al(111), hollow to hollow; a mesh of 3x3x1 suits the cell."""
    slab = Structure.from_sites(
        build_slab(load_crystal("Al"), (1, 1, 1), layers=3, vacuum_angstrom=12, supercell=(2, 2)).structure
    )
    top = max(site.coords[2] for site in slab)
    highest = [site.coords for site in slab if site.coords[2] > top - 0.1]
    around = sorted(highest, key=lambda c: np.linalg.norm(c - highest[0]))
    ends = [np.mean([around[0], around[1], p], axis=0) + np.array([0, 0, 2.4]) for p in around[2:4]]
    made = []
    for fraction in np.linspace(0, 1, images + 2):
        image = slab.copy()
        image.append("Li", ends[0] * (1 - fraction) + ends[1] * fraction, coords_are_cartesian=True)
        made.append(image)
    return made


def written(name, card, folder):
    """The native inputs of one engine and card for a cell that suits it; names of the files."""
    engine, method = get_engine(name), load_card(card)
    folder.mkdir(parents=True)
    match card:
        case "lacss2024-bulk":
            return engine.write_inputs(load_crystal("Li"), "relax_cell", method, 0, folder)
        case "lacss2024-surface":
            return engine.write_inputs(licl_slab(), "relax", method, 0, folder)
        case "lacss2024-adsorption":
            return engine.write_inputs(slab_with_lithium(), "relax", method, 0, folder)
        case "lacss2024-aimd":
            nose = method.model_copy(
                update={"dynamics": method.dynamics.model_copy(update={"thermostat": "nose-hoover"})}
            )
            cell = load_crystal("LiCl") * (2, 2, 2)
            return engine.write_dynamics_inputs(cell, nose, 0, folder, steps=2499)
        case "cui2026-binding":
            return engine.write_inputs(load_crystal("LiAl"), "relax_cell", method, 1, folder)
        case "cui2026-migration":
            return engine.write_band_inputs(lithium_hops(1), method, 0, folder)
        case "pbe-bulk":
            return engine.write_inputs(load_crystal("Al"), "relax_cell", method, 0, folder)
        case "pbe-slab":
            return engine.write_inputs(licl_slab(), "relax", method, 0, folder)
    raise AssertionError(card)


PAPER_CARDS = ["lacss2024-bulk", "lacss2024-surface", "lacss2024-adsorption", "lacss2024-aimd", "cui2026-binding",
         "cui2026-migration"]  # fmt: skip
