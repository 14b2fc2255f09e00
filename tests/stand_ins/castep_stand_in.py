"""A test program behind CASTEP's files: reads ``SEED.cell`` and ``SEED.param``, takes all atoms for Al in effective-
medium theory, and writes a ``.castep`` file in CASTEP's layout. Its numbers are of no use but for testing.

``CASTEP_STAND_IN_FAULT`` makes it fail: ``licence``, ``scf``, ``nan``, ``stars``, ``die`` (killed in the second
iteration), ``cut`` (killed once in the second iteration, well-behaved the next time), ``noconv``, ``slow``, ``later``
(electrons not converged in a run that starts from a checkpoint).
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa

BANNER = """\
 +-------------------------------------------------+
 |                                                 |
 |      CCC   AA    SSS  TTTTT  EEEEE  PPPP        |
 +-------------------------------------------------+
 |                                                 |
 | Welcome to Academic Release CASTEP version 99.9 |
 | (a stand-in for tests: no DFT)                  |
 +-------------------------------------------------+

"""
LINE = "-" * 72


def fortran(number):
    """A number as Fortran writes it: three digits of exponent."""
    mantissa, exponent = f"{number:.8E}".split("E")
    return f"{mantissa}E{int(exponent):+04d}".rjust(16)


def read_param(path):
    """Keywords and values, lower case."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {name.strip().lower(): value.strip().lower() for name, value in (line.split(":") for line in lines)}


def read_cell(path):
    """Keywords, and the lines of each block."""
    entries, blocks, current = {}, {}, None
    for line in filter(None, map(str.strip, path.read_text().splitlines())):
        if line.startswith("%BLOCK"):
            current = line.split()[1].lower()
            blocks[current] = []
        elif line.startswith("%ENDBLOCK"):
            current = None
        elif current:
            blocks[current].append(line)
        else:
            name, _, value = line.partition(":")
            entries[name.strip().lower()] = value.strip()
    return entries, blocks


class Writer:
    """Writes one run; atoms come grouped by species, as in CASTEP's own files."""

    def __init__(self, seed, fault):
        self.seed, self.fault = seed, fault
        self.param = read_param(Path(f"{seed}.param"))
        self.cell, self.blocks = read_cell(Path(f"{seed}.cell"))
        matrix = np.array([[float(x) for x in row.split()] for row in self.blocks["lattice_cart"][1:]])
        rows = [row.split() for row in self.blocks["positions_frac"]]
        symbols = sorted({row[0] for row in rows}, reverse=True)
        order = [i for symbol in symbols for i, row in enumerate(rows) if row[0] == symbol]
        self.names = []
        for i in order:
            self.names.append((rows[i][0], sum(row[0] == rows[i][0] for row in rows[: i + 1])))
        self.atoms = Atoms(
            "Al" * len(order),
            scaled_positions=[[float(x) for x in rows[i][1:4]] for i in order],
            cell=matrix,
            pbc=True,
        )
        self.held = [
            self.names.index((words[1], int(words[2])))
            for words in (row.split() for row in self.blocks.get("ionic_constraints", []))
            if words[3] == "1.0"
        ]
        self.atoms.set_constraint(FixAtoms(sorted(set(self.held))))
        self.atoms.calc = EMT()
        self.file = open(f"{seed}.castep", "a")  # noqa: SIM115 - stays open until the end

    def say(self, text=""):
        self.file.write(text + "\n")
        self.file.flush()

    def header(self):
        p, say = self.param, self.say
        self.file.write(BANNER)
        say(" ***************************** General Parameters ******************************\n  ")
        kind = "single point energy" if p["task"] == "singlepoint" else "geometry optimization"
        say(f" type of calculation                            : {kind}\n")
        say(" *********************** Exchange-Correlation Parameters ***********************\n  ")
        say(" using functional                               : Perdew Burke Ernzerhof\n")
        say(" **************************** Basis Set Parameters *****************************\n  ")
        cutoff = float(p["cut_off_energy"].split()[0])
        say(f" plane wave basis set cut-off                   :   {cutoff:.4f}   eV")
        say(f" finite basis set correction                    : {p['finite_basis_corr']}\n")
        say(" **************************** Electronic Parameters ****************************\n  ")
        say(f" net charge of system                           :  {float(p['charge']):.3f}")
        say(f" treating system as {'spin' if p['spin_polarized'] == 'true' else 'non-spin'}-polarized\n")
        say(" ********************* Electronic Minimization Parameters **********************\n  ")
        say(f" max. number of SCF cycles                      :        {p['max_scf_cycles']}")
        if "smearing_width" in p:
            width = float(p["smearing_width"].split()[0])
            say(f" smearing width                                 : {width:.4f}       eV")
        say(f" periodic dipole correction                     : {p.get('dipole_correction', 'none').upper()}\n")
        say(" *******************************************************************************\n  ")
        self.unit_cell()
        say(f"                         Total number of ions in cell = {len(self.atoms):4d}\n")
        self.contents()
        say("                          Files used for pseudopotentials:")
        for symbol in sorted({symbol for symbol, _ in self.names}):
            say(f"                                    {symbol} 1|2.0|5|6|7|20:21")
        say()
        mesh = self.cell["kpoint_mp_grid"].split()
        say(f"                       MP grid size for SCF calculation is {mesh[0]:>2} {mesh[1]:>2} {mesh[2]:>2}\n")

    def unit_cell(self):
        self.say("        Real Lattice(A)                      Reciprocal Lattice(1/A)")
        inverse = 2 * np.pi * np.linalg.inv(self.atoms.cell.array).T
        for row, other in zip(self.atoms.cell.array, inverse, strict=True):
            self.say("  " + "".join(f"{x:14.7f}" for x in row) + "   " + "".join(f"{x:14.9f}" for x in other))
        self.say()

    def contents(self):
        say = self.say
        say("            " + "x" * 60)
        say("            x  Element    Atom        Fractional coordinates of atoms  x")
        say("            x            Number           u          v          w      x")
        say("            x" + "-" * 58 + "x")
        for (symbol, number), place in zip(self.names, self.atoms.get_scaled_positions(wrap=False), strict=True):
            say(f"            x  {symbol:<2}{number:12d}      " + "".join(f"{x:11.6f}" for x in place) + "   x")
        say("            " + "x" * 60 + "\n\n")

    def ground_state(self):
        say = self.say
        energy = self.atoms.get_potential_energy()
        say(LINE + " <-- SCF")
        say("SCF loop      Energy           Fermi           Energy gain       Timer   <-- SCF")
        say(LINE + " <-- SCF")
        say(f"Initial  {energy + 1:16.8E}  0.00000000E+000                         1.00  <-- SCF")
        last = energy - 0.02 * ("smearing_scheme" in self.param)
        for cycle, above in enumerate((0.1, 0.01, 0.0), start=1):
            say(f"{cycle:7d}  {fortran(last + above)}  1.00000000E+000   1.00000000E-003       1.00  <-- SCF")
        say(LINE + " <-- SCF\n ")
        if self.fault == "scf":
            say("*Warning* max. SCF cycles performed but system has not reached the groundstate.")
        shown = {"nan": "            NaN", "stars": "***************"}.get(self.fault, f"{energy:20.10f}")
        if "smearing_scheme" in self.param:
            # the entropy makes the energies differ, so that a test sees which one is taken
            say(f"Final energy, E             =  {energy + 0.02:.10f}     eV")
            say(f"Final free energy (E-TS)    =  {energy - 0.02:.10f}     eV")
            say("(energies not corrected for finite basis set)\n ")
            say(f"NB est. 0K energy (E-0.5TS)      =  {shown}     eV\n ")
        else:
            say(f"Final energy = {shown}     eV\n")

    def forces(self):
        say, width = self.say, 84
        forces = self.atoms.get_forces(apply_constraint=True)
        kind = "Constrained Symmetrised Forces" if self.held else "Symmetrised Forces"
        say(" " + f" {kind} ".center(width, "*"))
        say(" *" + " " * (width - 2) + "*")
        say(" *" + "Cartesian components (eV/A)".center(width - 2) + "*")
        say(" * " + "-" * (width - 4) + " *")
        say(" *" + "x                    y                    z".center(width - 2) + "*")
        for i, ((symbol, number), force) in enumerate(zip(self.names, forces, strict=True)):
            mark = "(cons'd)" if i in self.held else "        "
            say(f" * {symbol:<2}{number:13d}" + "".join(f"{x:13.5f}{mark}" for x in force) + "*")
        say(" *" + " " * (width - 2) + "*")
        say(" " + "*" * width)

    def stress(self):
        say = self.say
        tensor = self.atoms.get_stress(voigt=False) / GPa
        say("\n *********** Symmetrised Stress Tensor ***********")
        say(" *          Cartesian components (GPa)           *")
        say(" * --------------------------------------------- *")
        say(" *             x             y             z     *")
        for name, row in zip("xyz", tensor, strict=True):
            say(f" *  {name} " + "".join(f"{x:14.6f}" for x in row) + "  *")
        say(f" *  Pressure: {-np.trace(tensor) / 3:9.4f}                          *")
        say(" *************************************************")

    def everything(self):
        self.ground_state()
        self.forces()
        if self.param.get("calculate_stress") == "true":
            self.stress()

    def relax(self):
        p, say = self.param, self.say
        if p["finite_basis_corr"] == "automatic":
            cutoff = float(p["cut_off_energy"].split()[0])
            for less in (10.0, 5.0):
                say(f"Calculating total energy with cut-off of  {cutoff - less:.3f} eV.")
                say(LINE + " <-- SCF")
                say(f"Final energy, E             =  {self.atoms.get_potential_energy() + 0.1 * less:.10f}     eV")
                say(f"Final free energy (E-TS)    =  {self.atoms.get_potential_energy() + 0.1 * less:.10f}     eV")
                say(f"NB est. 0K energy (E-0.5TS)      =  {self.atoms.get_potential_energy() + 0.1 * less:.10f}     eV")
            say(f"Calculating total energy with cut-off of  {cutoff:.3f} eV.")
        self.everything()
        free = self.cell.get("fix_all_cell") != "true"
        masks = {None: [1] * 6, "0 0 1": [0, 0, 1, 0, 0, 0]}
        mask = masks[self.blocks.get("cell_constraints", [None])[0]]
        target = FrechetCellFilter(self.atoms, mask=mask) if free else self.atoms
        limit, pressure = (float(p.get(k, "1e9").split()[0]) for k in ("geom_force_tol", "geom_stress_tol"))
        optimiser = BFGS(target, logfile=os.devnull, maxstep=0.2)
        most = 0 if self.fault == "noconv" else int(p["geom_max_iter"])
        done = False
        for step, _ in enumerate(optimiser.irun(fmax=0.0, steps=most)):
            if step:
                say(f"\n{'=' * 80}\n Starting LBFGS iteration {step:10d} ...\n{'=' * 80}\n")
                if free:
                    self.unit_cell()
                self.contents()
                if step == 2 and self.fault in ("die", "cut"):
                    Path("was_cut").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                self.everything()
            force = np.linalg.norm(self.atoms.get_forces(), axis=1).max()
            stress = np.abs(self.atoms.get_stress()[np.flatnonzero(mask)]).max() / GPa if free else 0.0
            enthalpy = self.atoms.get_potential_energy() - (0.02 if "smearing_scheme" in p else 0.0)
            say(f" LBFGS: finished iteration {step:5d} with enthalpy= {enthalpy:16.8E} eV\n ")
            verdict = "Yes" if force < limit else "No "
            say(f" |  |F|max   |   {force:.6E} |   {limit:.6E} |       eV/A | {verdict} | <-- LBFGS")
            if self.fault == "slow":
                time.sleep(1.0)
            done = force <= 0.98 * limit and stress <= 0.98 * pressure
            if done:
                break
        if done:
            say(" LBFGS: Geometry optimization completed successfully.\n")
        else:
            say(f" LBFGS: WARNING - Geometry optimization failed to converge after {most:10d} steps\n")
        say(f"{'=' * 80}\n LBFGS: Final Configuration:\n{'=' * 80}\n")
        if free:
            self.unit_cell()
        self.contents()
        say(f" LBFGS: Final Enthalpy     = {enthalpy:16.8E} eV\n")
        self.forces()
        if free:
            self.stress()


def main():
    seed, fault = sys.argv[1], os.environ.get("CASTEP_STAND_IN_FAULT", "")
    if fault == "licence":
        Path(f"{seed}.0001.err").write_text("Error in licence check: no licence for feature CASTEP could be had\n")
        return 1
    if fault == "cut" and Path("was_cut").exists():
        fault = ""
    writer = Writer(seed, fault)
    if "reuse" in writer.param:
        Path(writer.param["reuse"]).read_text()  # a checkpoint that is not there ends the run
        writer.fault = "scf" if fault == "later" else fault
    writer.header()
    if writer.param["task"] == "singlepoint":
        writer.everything()
    else:
        writer.relax()
    if writer.param.get("write_checkpoint") == "all":
        Path(f"{seed}.check").write_text("electrons")
    writer.say("\nTotal time          =      1.00 s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
