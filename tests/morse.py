"""A made-up engine for interfaces: the two sides attract each other across the contact, and nothing else does."""

import numpy as np
from pymatgen.core import Structure

from anodeflow.documents import EngineRecord
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.engines.base import Engine
from anodeflow.workflows.engines.contract import Capabilities, Outcome

# Morse: depth in eV and distance in angstrom of pairs across the contact
PAIRS = {("Li", "Cl"): (0.3, 2.6), ("Li", "Li"): (0.05, 3.2)}


class Morse(Engine):
    """Film and substrate attract each other, Li to Cl most; nothing else has an energy, and nothing relaxes."""

    name = "morse"
    capabilities = Capabilities()

    def record(self, elements=()):
        return EngineRecord(name="morse", kind="test engine", version="1", hash="m" * 16, stand_in=True)

    def preflight(self, card):
        return []

    def seconds_per_step(self, structure, card=None):
        return 0.01

    def compute(self, request, folder=None, monitor=None):
        cell = request.structure
        film = np.array(cell.site_properties["side"]) == "film"
        first, second, _, distance = cell.get_neighbor_list(7.0)
        across = ~film[first] & film[second]
        energy = 0.0
        for substrate, r in zip(first[across], distance[across], strict=True):
            depth, r0 = PAIRS["Li", cell[int(substrate)].specie.symbol]
            energy += depth * (np.exp(-2 * (r - r0)) - 2 * np.exp(-(r - r0)))
        if monitor is not None:
            monitor(0, energy, 0.0)
        return Outcome(cell, energy, True if request.task != "static" else None, None, 0, 0.0)


def scrambled(name, seed):
    """The same crystal with another order of atoms, another origin, and zeros of either sign."""
    rng = np.random.default_rng(seed)
    crystal = load_crystal(name)
    order = rng.permutation(len(crystal))
    moved = (crystal.frac_coords[order] + rng.integers(0, 2) * rng.random(3)) % 1.0
    moved[moved == 0] = rng.choice([0.0, -0.0])
    return Structure(crystal.lattice, [crystal[int(n)].specie for n in order], moved)
