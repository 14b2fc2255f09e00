"""Card cui2026-migration; one geometry of many."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 450.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [3, 3, 1]},
    charge=0,
    spinpol=True,
    maxiter=150,
    convergence={'energy': 2.7027027027027024e-08},
    magmoms=[0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693, 0.07692307692307693],
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.05},
    symmetry={'point_group': False},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
