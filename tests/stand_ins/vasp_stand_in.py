#!/usr/bin/env python3
"""A test program behind VASP's files: reads its inputs, writes its outputs, computes with a pair potential.

Environment variables
---------------------
VASP_STAND_IN_FAULT
    One of ``licence`` (stops at once, no files), ``crash@N`` (dies in ionic step N), ``kill@N`` (SIGKILL after step
    N), ``imageK@N`` (image K of a band dies in step N), ``nelm`` (electrons never converge), ``nelm@once`` (not in
    the first run), ``zbrent@once`` (VASP's message, first run), ``nan@N`` (stars for numbers in step N), ``hang@N``
    (sleeps in step N).
VASP_STAND_IN_VERSION
    Default 6.4.2. Below 6.4 LATTICE_CONSTRAINTS is ignored, as VASP does.
VASP_STAND_IN_PROGRAM
    Name in vasprun.xml; default vasp-stand-in.
VASP_STAND_IN_DELAY
    Seconds an ionic step takes.
VASP_STAND_IN_CALCULATOR
    Name of an anodeflow potential (``chgnet``) in place of the pair potential.
"""

import math
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

EV_PER_A3_TO_KBAR = 1602.1766208
# Depth (eV), distance (angstrom) and steepness (1/angstrom) of a Morse pair; pairs not named are mixed.
PAIRS = {
    ("Li", "Li"): (0.15, 3.511, 1.0), ("Al", "Al"): (0.27, 3.302, 1.1), ("Al", "Li"): (0.25, 3.4, 1.0),
    ("Cl", "Li"): (0.85, 2.759, 1.3), ("Li", "S"): (0.75, 2.47, 1.3), ("Li", "P"): (0.6, 2.6, 1.2),
    ("Cl", "Cl"): (0.02, 4.2, 1.0), ("S", "S"): (0.02, 4.2, 1.0), ("P", "P"): (0.02, 4.0, 1.0),
    ("P", "S"): (2.0, 2.05, 1.6), ("Al", "Cl"): (0.9, 2.2, 1.4), ("Al", "S"): (0.7, 2.4, 1.3),
}  # fmt: skip
CUTOFF, SMOOTH = 6.0, 1.5


def morse(symbols, frac, cell):
    """Energy, forces and stress (tension positive) of Morse pairs, smoothly cut off; all images within the cutoff."""
    heights = abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    reach = [range(-int(n), int(n) + 1) for n in np.ceil(CUTOFF / heights) + 1]
    shifts = np.array([[x, y, z] for x in reach[0] for y in reach[1] for z in reach[2]]) @ cell
    inside = np.mod(frac, 1.0) @ cell
    vectors = inside[None, :, None, :] + shifts[None, None] - inside[:, None, None, :]
    distances = np.linalg.norm(vectors, axis=-1)
    i, j, n = np.nonzero((distances < CUTOFF) & (distances > 1e-9))
    d, v = distances[i, j, n], vectors[i, j, n]
    table = {(x, y): PAIRS.get(tuple(sorted((x, y))), (0.05, 3.5, 1.0)) for x in set(symbols) for y in set(symbols)}
    depth, r0, k = np.array([table[symbols[x], symbols[y]] for x, y in zip(i, j, strict=True)]).reshape(-1, 3).T
    x = np.exp(-k * (d - r0))
    e, de = depth * (x * x - 2 * x), depth * (-2 * k * x * x + 2 * k * x)
    t = np.clip((d - (CUTOFF - SMOOTH)) / SMOOTH, 0.0, 1.0)
    s, ds = 1 - 3 * t**2 + 2 * t**3, (-6 * t + 6 * t**2) / SMOOTH
    pair = ((de * s + e * ds) / d)[:, None] * v
    forces = np.zeros((len(symbols), 3))
    np.add.at(forces, i, pair)
    stress = v.T @ pair / 2 / abs(np.linalg.det(cell))
    # a constant an atom, so that energies look like VASP's
    return float((e * s).sum() / 2) - 1.0 * len(symbols), forces, stress


def potential(symbols):
    """The pair potential, or the one that VASP_STAND_IN_CALCULATOR names."""
    name = os.environ.get("VASP_STAND_IN_CALCULATOR")
    if not name:
        return lambda frac, cell: morse(symbols, frac, cell)
    from ase import Atoms

    from anodeflow.workflows.engines.registry import get_engine

    calculator = get_engine(name).calculator()

    def compute(frac, cell):
        atoms = Atoms(symbols, cell=cell, scaled_positions=frac, pbc=True)
        atoms.calc = calculator
        return float(atoms.get_potential_energy()), atoms.get_forces(), atoms.get_stress(voigt=False)

    return compute


class Relaxation:
    """BFGS in the displacements of the atoms and, scaled to like stiffness, the strain of the cell."""

    def __init__(self, free, strain_free):
        self.free, self.strain_free = free, strain_free
        self.hessian = np.eye(free.size + 9) * 5.0
        self.before = None

    def move(self, frac, cell, forces, stress):
        """New fractional coordinates and cell."""
        scale = 3.0 * len(frac) ** 0.5
        pull = np.where(self.strain_free, -stress * abs(np.linalg.det(cell)), 0.0) / scale
        gradient = -np.concatenate([np.where(self.free, forces, 0.0).ravel(), pull.ravel()])
        if self.before is not None:
            y, s = gradient - self.before[0], self.before[1]
            hs = self.hessian @ s
            if y @ s > 1e-10:
                self.hessian += np.outer(y, y) / (y @ s) - np.outer(hs, hs) / (s @ hs)
        step = -np.linalg.solve(self.hessian, gradient)
        longest = np.abs(step).max()
        step *= min(1.0, 0.15 / longest) if longest > 0 else 1.0
        self.before = gradient, step
        strain = step[-9:].reshape(3, 3) / scale
        frac = frac + step[:-9].reshape(-1, 3) @ np.linalg.inv(cell)
        return frac, cell @ (np.eye(3) + (strain + strain.T) / 2)


def read_incar():
    tags = {}
    for line in Path("INCAR").read_text().splitlines():
        key, equals, value = line.split("#")[0].partition("=")
        if equals:
            tags[key.strip().upper()] = value.strip()
    return tags


def truth(text):
    return text.strip().strip(".").upper().startswith("T")


def read_poscar(name="POSCAR"):
    lines = Path(name).read_text().splitlines()
    scale = float(lines[1])
    cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]]) * scale
    symbols, counts = lines[5].split(), [int(n) for n in lines[6].split()]
    at = 7
    selective = lines[at].strip()[:1].upper() == "S"
    at += selective
    direct = lines[at].strip()[:1].upper() == "D"
    rows = [line.split() for line in lines[at + 1 : at + 1 + sum(counts)]]
    positions = np.array([[float(x) for x in row[:3]] for row in rows])
    free = np.array([[truth(x) for x in row[3:6]] for row in rows]) if selective else np.ones((len(rows), 3), bool)
    if not direct:
        positions = positions @ np.linalg.inv(cell)
    return symbols, counts, cell, positions, free


def titles_and_valences():
    text = Path("POTCAR").read_text()
    return re.findall(r"TITEL\s*=\s*(.+)", text), [float(z) for z in re.findall(r"ZVAL\s*=\s*([\d.]+)", text)]


def rows(matrix, indent="    "):
    return "\n".join(f"{indent}<v> " + " ".join(number(x, 16, 8) for x in row) + " </v>" for row in matrix)


def number(x, width=16, digits=8):
    return f"{x:{width}.{digits}f}" if math.isfinite(x) else "*" * width


class Files:
    """Everything that is written, as it comes."""

    def __init__(self, tags, symbols, counts, version, program, folder=Path(), xml="vasprun.xml"):
        self.tags, self.symbols, self.counts = tags, symbols, counts
        self.titles, self.valences = titles_and_valences()
        self.nelm = int(tags.get("NELM", 60))
        self.folder = folder
        self.xml = Path(xml).open("w")  # noqa: SIM115 - written as it runs
        self.outcar = (folder / "OUTCAR").open("w")
        self.oszicar = (folder / "OSZICAR").open("w")
        self.xdatcar = (folder / "XDATCAR").open("w")
        self.head(version, program)

    def out(self, text):
        self.outcar.write(text + "\n")

    def head(self, version, program):
        self.out(
            f" vasp.{version} stand-in: no DFT, a pair potential for tests\n"
            " executed on  nothing\n running on    1 total cores"
        )
        for title in [*self.titles, *self.titles]:
            self.out(f" POTCAR:    {title}")
        self.out(f"   ions per type =  {' '.join(f'{n:5d}' for n in self.counts)}")
        self.out(
            "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1"
            "   number of bands    NBANDS=      8"
        )
        self.out("   total plane-waves  NPLWV =   1000\n   ISPIN  =      1\n   IBRION =      2\n")
        kind = {"INT": {"NELM", "NSW", "IBRION", "ISIF", "ISMEAR", "ISPIN", "NELMIN", "ISYM", "IDIPOL", "LORBIT"}}
        incar = []
        for key, value in self.tags.items():
            if value[:1] in ".TF" and value.strip(".").upper() in ("TRUE", "FALSE", "T", "F"):
                incar.append(f'  <i type="logical" name="{key}"> {"T" if truth(value) else "F"}  </i>')
            elif key in kind["INT"]:
                incar.append(f'  <i type="int" name="{key}">{int(value):6d}</i>')
            elif re.fullmatch(r"[-+.\dEe]+", value):
                incar.append(f'  <i name="{key}">{float(value):16.8f}</i>')
            elif key in ("MAGMOM", "DIPOL", "LATTICE_CONSTRAINTS", "LANGEVIN_GAMMA", "RANDOM_SEED"):
                continue
            else:
                incar.append(f'  <i type="string" name="{key}">{value.lower()}</i>')
        points = Path("KPOINTS").read_text().splitlines()
        style = "Gamma" if points[2].strip()[:1].upper() == "G" else "Monkhorst-Pack"
        mesh = [int(n) for n in points[3].split()]
        names = [s for s, n in zip(self.symbols, self.counts, strict=True) for _ in range(n)]
        atoms = "\n".join(f"    <rc><c>{s:2s}</c><c>{self.symbols.index(s) + 1:4d}</c></rc>" for s in names)
        types = "\n".join(
            f"    <rc><c>{n:4d}</c><c>{s:2s}</c><c>1.0</c><c>{z:16.8f}</c><c> {t:40s}</c></rc>"
            for n, s, z, t in zip(self.counts, self.symbols, self.valences, self.titles, strict=True)
        )
        electrons = sum(n * z for n, z in zip(self.counts, self.valences, strict=True))
        self.xml.write(f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">{program} </i>
  <i name="version" type="string">{version}  </i>
  <i name="subversion" type="string">pair potential for tests </i>
 </generator>
 <incar>
{chr(10).join(incar)}
 </incar>
 <kpoints>
  <generation param="{style}">
   <v type="int" name="divisions">{mesh[0]:8d}{mesh[1]:8d}{mesh[2]:8d} </v>
   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">{float(self.tags.get("ENCUT", 400)):16.8f}</i>
   <i name="EDIFF">{float(self.tags.get("EDIFF", 1e-4)):16.8f}</i>
   <i type="int" name="ISPIN">{int(self.tags.get("ISPIN", 1)):6d}</i>
   <i type="int" name="NELM">{self.nelm:6d}</i>
   <i name="NELECT">{float(self.tags.get("NELECT", electrons)):16.8f}</i>
   <i type="int" name="LORBIT">     0</i>
   <i type="logical" name="LHFCALC"> F  </i>
   <i name="AEXX">      0.00000000</i>
   <i name="HFSCREEN">      0.00000000</i>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">{int(self.tags.get("NSW", 0)):6d}</i>
   <i type="int" name="IBRION">{int(self.tags.get("IBRION", -1)):6d}</i>
   <i type="int" name="ISIF">{int(self.tags.get("ISIF", 2)):6d}</i>
   <i name="EDIFFG">{float(self.tags.get("EDIFFG", 1e-3)):16.8f}</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{sum(self.counts):8d} </atoms>
  <types>{len(self.counts):8d} </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{atoms}
   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
{types}
   </set>
  </array>
 </atominfo>
""")

    def structure(self, cell, frac, name=None):
        label = f' name="{name}" ' if name else ""
        self.xml.write(f"""  <structure{label}>
   <crystal>
    <varray name="basis" >
{rows(cell)}
    </varray>
    <i name="volume">{abs(np.linalg.det(cell)):16.8f} </i>
    <varray name="rec_basis" >
{rows(np.linalg.inv(cell).T)}
    </varray>
   </crystal>
   <varray name="positions" >
{rows(np.mod(frac, 1.0))}
   </varray>
  </structure>
""")

    def step(self, count, energy, forces, stress_kbar, cell, frac, converged, edge=False, moving=None):
        """One ionic step; `moving` holds kinetic, potential and kinetic energy of the thermostat, and kelvins."""
        iterations = 6 if converged else self.nelm
        self.xml.write(" <calculation>\n")
        for n in range(iterations):
            e = energy + (
                0.0 if n == iterations - 1 else (1.0 if not converged else 0.1 ** (n + 2)) * (1 if n % 2 else -1)
            )
            if converged and n == iterations - 2:
                e = energy
            self.xml.write(f"""  <scstep>
   <time name="total">    0.00    0.00</time>
   <energy>
    <i name="e_fr_energy">{number(e)} </i>
    <i name="e_wo_entrp">{number(e)} </i>
    <i name="e_0_energy">{number(e)} </i>
   </energy>
  </scstep>
""")
            self.oszicar.write(f"DAV: {n + 1:3d} {e:20.12E}   -0.1E+00   -0.1E+00   100   0.1E+00\n")
            self.out(f"--------------------------------------- Iteration {count:6d}({n + 1:4d})  ------------\n")
            self.out(f"  energy without entropy = {e:18.8f}  energy(sigma->0) = {e:18.8f}\n")
        if converged:
            self.out(
                "------------------------ aborting loop because EDIFF is reached ----------------------------------"
            )
        self.structure(cell, frac)
        if edge:
            self.flush()
            return
        values = dict.fromkeys(("e_fr_energy", "e_wo_entrp", "e_0_energy"), energy)
        if moving is not None:
            kinetic, potential, swing, kelvins = moving
            total = energy + kinetic + potential + swing
            values |= {"kinetic": kinetic, "lattice kinetic": 0.0, "nosepot": potential, "nosekinetic": swing}
            values["total"] = total
        last = "\n".join(f'   <i name="{k}">{number(x)} </i>' for k, x in values.items())
        self.xml.write(f"""  <varray name="forces" >
{rows(forces)}
  </varray>
  <varray name="stress" >
{rows(stress_kbar)}
  </varray>
  <energy>
{last}
  </energy>
 </calculation>
""")
        line = "-" * 83
        cart = np.mod(frac, 1.0) @ cell
        table = "\n".join(" ".join(f"{x:12.5f}" for x in [*p, *f]) for p, f in zip(cart, forces, strict=True))
        self.out(" E-fermi :   1.0000     XC(G=0):  -5.0000     alpha+bet : -3.0000\n")
        self.out(" number of electron       8.0000000 magnetization\n")
        self.out(f" POSITION                                       TOTAL-FORCE (eV/Angst)\n {line}\n{table}\n {line}")
        self.out("    total drift:                                0.000000      0.000000      0.000000\n")
        self.out("  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  -----")
        self.out(f"  free  energy   TOTEN  = {number(energy, 19)} eV\n")
        self.out(f"  energy  without entropy={number(energy, 19)}  energy(sigma->0) ={number(energy, 19)}\n")
        if moving is None:
            self.oszicar.write(f"{count:4d} F= {energy:.8E} E0= {energy:.8E}  d E =-.100000E-01\n")
        else:
            self.out(f"  kinetic energy EKIN   = {kinetic:17.6f}\n  total energy   ETOTAL = {total:17.6f} eV\n")
            self.oszicar.write(
                f"{count:7d} T={kelvins:6.0f}. E= {total:.8E} F= {energy:.8E} E0= {energy:.8E}  EK= {kinetic:.5E} "
                f"SP= {potential:.2E} SK= {swing:.2E}\n"
            )
        self.flush()

    def flush(self):
        for handle in (self.xml, self.outcar, self.oszicar, self.xdatcar):
            handle.flush()

    def close(self, cell, frac, reached, stopped):
        if reached:
            self.out(" reached required accuracy - stopping structural energy minimisation")
        if stopped:
            self.out(" soft stop encountered!  aborting job ...")
        self.structure(cell, frac, "finalpos")
        self.xml.write("</modeling>\n")
        self.out("\n General timing and accounting informations for this job:\n ====\n")
        self.out("                  Total CPU time used (sec):        1.000")
        self.flush()


def contcar(symbols, counts, cell, frac, free, folder=Path(), behind=""):
    flags = ["".join(f"   {'T' if x else 'F'}" for x in row) for row in free]
    text = ["stand-in", "1.0"] + [" ".join(f"{x:22.16f}" for x in row) for row in cell]
    text += [" ".join(symbols), " ".join(map(str, counts)), "Selective dynamics", "Direct"]
    text += [" ".join(f"{x:20.16f}" for x in np.mod(row, 1.0)) + f for row, f in zip(frac, flags, strict=True)]
    (folder / "CONTCAR").write_text("\n".join(text) + "\n\n" + behind)


def main():
    fault, _, when = os.environ.get("VASP_STAND_IN_FAULT", "").partition("@")
    once = Path(".stand-in-was-here")
    if when == "once" and once.exists():
        fault = ""
    once.touch()
    at = int(when) if when.isdigit() else 0
    if fault == "licence":
        print("VASP licence: no licence file found for this host, stopping", file=sys.stderr)
        return 1
    version = os.environ.get("VASP_STAND_IN_VERSION", "6.4.2")
    tags = read_incar()
    if "IMAGES" in tags:
        from vasp_stand_in_band import run_band

        return run_band(tags, version, fault, at)
    if tags.get("IBRION") == "0":
        from vasp_stand_in_dynamics import run_dynamics

        return run_dynamics(tags, version, fault, at)
    symbols, counts, cell, frac, free = read_poscar()
    names = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    compute = potential(names)
    files = Files(tags, symbols, counts, version, os.environ.get("VASP_STAND_IN_PROGRAM", "vasp-stand-in"))
    files.structure(cell, frac, "initialpos")
    steps, isif = max(1, int(tags.get("NSW", 0))), int(tags.get("ISIF", 2))
    relaxing = int(tags.get("IBRION", -1)) in (1, 2, 3) and int(tags.get("NSW", 0)) > 0
    tolerance, edge = -float(tags.get("EDIFFG", -0.01)), float(os.environ.get("VASP_STAND_IN_DELAY", 0))
    strain_free = np.full((3, 3), isif == 3)
    known = tuple(int(x) for x in version.split(".")[:2]) >= (6, 4)
    if "LATTICE_CONSTRAINTS" in tags and known:
        lattice = np.array([truth(x) for x in tags["LATTICE_CONSTRAINTS"].split()])
        strain_free &= np.outer(lattice, lattice)
    relaxation = Relaxation(free, strain_free)
    reached = stopped = False
    for count in range(1, steps + 1):
        if fault == "hang" and count == at:
            time.sleep(600)
        energy, forces, stress = compute(frac, cell)
        if fault == "nan" and count == at:
            energy = math.nan
        crash = fault == "crash" and count == at
        # VASP's sign: a compressed cell has a positive stress
        files.step(count, energy, forces, -stress * EV_PER_A3_TO_KBAR, cell, frac, fault != "nelm", edge=crash)
        if crash:
            print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
            return 139
        time.sleep(edge)
        moving = np.linalg.norm(np.where(free, forces, 0.0), axis=1).max()
        cell_force = np.abs(np.where(strain_free, stress, 0.0)).max() * abs(np.linalg.det(cell)) / len(names)
        moving = max(moving, cell_force)
        reached = relaxing and moving <= tolerance
        stopped = Path("STOPCAR").exists() and "LSTOP" in Path("STOPCAR").read_text()
        if relaxing and not reached and not stopped:
            frac, cell = relaxation.move(frac, cell, forces, stress)
        contcar(symbols, counts, cell, frac, free)
        if fault == "kill" and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "zbrent" and count == 2:
            print("ZBRENT: fatal error in bracketing", flush=True)
            return 1
        if not relaxing or reached or stopped:
            break
    files.close(cell, frac, reached, stopped)
    Path("STOPCAR").unlink(missing_ok=True)
    Path("WAVECAR").touch()
    print("reached required accuracy" if reached else "ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
