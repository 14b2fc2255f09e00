"""Card lacss2024-bulk; anodeflow relaxes this cell with the task relax_cell."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 600.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [12, 12, 12], 'gamma': True},
    charge=0,
    spinpol=False,
    maxiter=150,
    convergence={'energy': 5e-05},
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.05},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
