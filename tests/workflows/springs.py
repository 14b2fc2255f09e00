"""A crystal of springs for tests of dynamics: fast, with or without anharmonic bonds, momentum conserved."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from pymatgen.core import Lattice, Structure

EDGE = 3
SPACING = 2.8


def sites(edge=EDGE) -> np.ndarray:
    return np.array([(x, y, z) for x in range(edge) for y in range(edge) for z in range(edge)])


def crystal(symbol="Al", edge=EDGE) -> Structure:
    return Structure(Lattice.cubic(edge * SPACING), [symbol] * edge**3, sites(edge) / edge)


def atoms(symbol="Al") -> Atoms:
    return Atoms([symbol] * EDGE**3, positions=sites() * SPACING, cell=np.eye(3) * EDGE * SPACING, pbc=True)


class Springs(Calculator):
    """Simple cubic, each atom tied to its six neighbours: k d^2 / 2 + q d^4 / 4 of the relative displacement d."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, k=3.0, q=0.0, edge=EDGE):
        super().__init__()
        self.k, self.q = k, q
        self.home = sites(edge) * SPACING
        where = {tuple(site): n for n, site in enumerate(sites(edge))}
        pairs = [
            (n, where[tuple((np.array(site) + step) % edge)])
            for site, n in where.items()
            for step in np.eye(3, dtype=int)
        ]
        self.bonds = np.zeros((len(pairs), len(where)))
        for row, (i, j) in enumerate(pairs):
            self.bonds[row, i], self.bonds[row, j] = 1, -1

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        d = self.bonds @ (atoms.positions - self.home)
        squared = (d**2).sum(axis=1)
        energy = float((self.k * squared / 2 + self.q * squared**2 / 4).sum())
        forces = -self.bonds.T @ ((self.k + self.q * squared)[:, None] * d)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": np.zeros(6)}
