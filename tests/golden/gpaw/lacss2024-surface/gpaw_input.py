"""Card lacss2024-surface; anodeflow relaxes this cell with the task relax."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 400.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [3, 1, 1], 'gamma': True},
    charge=0,
    spinpol=False,
    maxiter=150,
    convergence={'energy': 3.125e-06},
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.05},
    mixer={'backend': 'pulay', 'beta': 0.05, 'nmaxold': 8, 'weight': 100.0},
    poissonsolver={'dipolelayer': 'xy'},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
