"""Physical constants and conversions of units: one table, read by every other module.

A name says what is multiplied by what: ``energy_ev * EV_PER_A2_TO_J_PER_M2``. The values are CODATA 2018
(doi:10.1103/RevModPhys.93.025010). ASE 3 still computes with CODATA 2014, and pw.x has other values for stresses:
numbers that were read or written with theirs keep theirs, in the second half, so that an energy in a store does not
change. The sets differ by 2e-8 in the Rydberg and 4e-7 in the unit of stress, far below any tolerance.
"""

from __future__ import annotations

# --- CODATA 2018 -----------------------------------------------------------------------------------------------------

# 1 eV/angstrom^2 = 1.602176634e-19 J / 1e-20 m^2, exact
EV_PER_A2_TO_J_PER_M2 = 16.02176634
# 1 eV/angstrom^3 = 1.602176634e-19 J / 1e-30 m^3, exact
EV_PER_A3_TO_GPA = 160.2176634
BOLTZMANN_EV_PER_K = 8.617333262e-5
BOHR_ANGSTROM = 0.529177210903
HARTREE_EV = 27.211386245988
RYDBERG_EV = HARTREE_EV / 2
HARTREE_KELVIN = 315775.02480407
ATOMIC_TIME_FS = 2.4188843265857e-2
# A Rydberg unit of time is two Hartree units.
RYDBERG_TIME_FS = 2 * ATOMIC_TIME_FS
# e^2/(4 pi eps0), eV angstrom, to the six decimals that corrections in stored documents were made with
COULOMB_EV_ANGSTROM = 14.399645
# Charge of a mole of electrons: 96485.33212 C / 3.6 C per mAh
MAH_PER_MOL = 96485.33212 / 3.6
# per mole and cm^3: 1e24 cubic angstrom per cm^3 / 6.02214076e23 per mole
A3_PER_CM3_AND_MOL = 1e24 / 6.02214076e23
# 1 eV a particle in kJ a mole, and the gas constant
EV_TO_KJ_PER_MOL = 96.48533212
GAS_CONSTANT_J_PER_MOL_K = 8.31446261815324
# 1 eV = 0.0096485 atomic mass units * angstrom^2/fs^2
EV_TO_AMU_A2_PER_FS2 = 0.00964853322

# --- exact by definition ---------------------------------------------------------------------------------------------

KILOBAR_TO_GPA = 0.1
# 1 angstrom^2/fs = 1e-16 cm^2 / 1e-15 s
A2_PER_FS_TO_CM2_PER_S = 0.1

# --- what other programs compute with --------------------------------------------------------------------------------

# CODATA 2014 as `ase.units` has it: input and output of pw.x, stresses of a relaxation, velocities of ASE.
ASE_BOHR_ANGSTROM = 0.5291772105638411
ASE_RYDBERG_EV = 13.605693012183622
ASE_EV_PER_A3_TO_GPA = 160.21766208
# ASE's unit of time, angstrom sqrt(u/eV): 1 fs is 0.0982 of it.
ASE_FEMTOSECOND = 0.09822694788464063
# pw.x (Modules/constants.f90): Ry/Bohr^3 in GPa
PWSCF_RY_PER_BOHR3_TO_GPA = 14710.50763
