"""What is published of VASP's PBE potentials: the cutoff that each needs. POTCARs themselves are under VASP's licence.

Source: VASP Wiki, "Available pseudopotentials" (https://vasp.at/wiki/Available_pseudopotentials), table of the PBE
potentials, column ENMAX. Only values that a second public copy of the table confirms are here.
"""

from __future__ import annotations

SOURCE = "VASP Wiki, Available pseudopotentials"

#: ENMAX by symbol, eV.
ENMAX_EV: dict[str, float] = {
    "H": 250.0, "Li": 140.0, "Li_sv": 499.034, "Be": 247.543, "B": 318.614, "C": 400.0, "N": 400.0, "O": 400.0,
    "F": 400.0, "Na": 101.968, "Na_pv": 259.561, "Mg": 200.0, "Al": 240.3, "Si": 245.345, "P": 255.04, "S": 258.689,
    "Cl": 262.472, "K_pv": 116.731, "K_sv": 259.264, "Ca_sv": 266.622, "Zn": 276.723, "Ga": 134.678, "Ga_d": 282.691,
    "Ge": 173.807, "Ge_d": 310.294, "As": 208.702, "Se": 211.555, "Br": 216.285, "Ag": 249.844, "In": 95.934,
    "In_d": 239.211, "Sn": 103.236, "Sn_d": 241.083, "Sb": 172.069, "Te": 174.982, "I": 175.647,
}  # fmt: skip
