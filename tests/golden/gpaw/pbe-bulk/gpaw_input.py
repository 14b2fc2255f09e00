"""Card pbe-bulk; anodeflow relaxes this cell with the task relax_cell."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 500.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [8, 8, 8], 'gamma': True},
    charge=0,
    spinpol=False,
    maxiter=150,
    convergence={'energy': 8.333333333333333e-08},
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.1},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
