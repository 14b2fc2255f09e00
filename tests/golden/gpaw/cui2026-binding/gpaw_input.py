"""Card cui2026-binding; anodeflow relaxes this cell with the task relax_cell."""

from ase.io import read
from gpaw import GPAW

atoms = read("start.vasp", format="vasp")
atoms.calc = GPAW(
    mode={'name': 'pw', 'ecut': 500.0, 'dedecut': 'estimate'},
    xc='PBE',
    kpts={'size': [4, 4, 4], 'gamma': True},
    charge=1,
    spinpol=True,
    maxiter=150,
    convergence={'energy': 3.225806451612903e-08},
    magmoms=[0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625],
    occupations={'name': 'methfessel-paxton', 'order': 0, 'width': 0.1},
    txt="gpaw.txt",
)
print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
