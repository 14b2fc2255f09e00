"""Card lacss2024-aimd; one geometry of many."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 280.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [1, 1, 1], 'gamma': True},
    charge=0,
    spinpol=False,
    maxiter=150,
    convergence={'energy': 3.90625e-07},
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.05},
    symmetry={'point_group': False},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
