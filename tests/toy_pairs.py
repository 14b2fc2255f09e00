"""A toy energy surface of pairs, exact in every digit, for tests of potentials."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

REACH = 4.4


class Pairs(Calculator):
    """Morse pairs that end smoothly at 4.4 angstrom; with a hole, a well at 1.75 angstrom behind a low wall."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    hole_ev, place, width = 0.0, 1.75, 0.2

    def _pair(self, r):
        away = np.exp(-1.4 * (r - 2.92))
        inside = r < REACH
        end = np.where(inside, (1 - (r / REACH) ** 6) ** 2, 0.0)
        slope_of_end = np.where(inside, -12 * (1 - (r / REACH) ** 6) * (r / REACH) ** 6 / r, 0.0)
        morse, slope = 0.25 * (away**2 - 2 * away), -0.7 * (away**2 - away)
        well = self.hole_ev * np.exp(-(((r - self.place) / self.width) ** 2) / 2)
        return morse * end - well, slope * end + morse * slope_of_end + well * (r - self.place) / self.width**2

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        first, distance, apart = neighbor_list("idD", atoms, REACH)
        energies, slopes = self._pair(distance)
        pulls = slopes[:, None] * apart / distance[:, None]
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, pulls)
        stress = np.einsum("ni,nj->ij", apart, pulls) / 2 / atoms.get_volume()
        energy = float(energies.sum() / 2)
        self.results = {
            "energy": energy, "free_energy": energy, "forces": forces,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }  # fmt: skip
