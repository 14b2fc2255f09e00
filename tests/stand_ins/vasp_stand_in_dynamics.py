"""The stand-in's molecular dynamics: POTIM, TEBEG, MDALGO 2 (SMASS -3: NVE, else Nose) and 3 (Langevin), RANDOM_SEED.

As in VASP, step k computes x(k) and then moves; CONTCAR holds x(k + 1), the velocities, and behind them the time step
and the thermostat's variables. The integrator is leapfrog, so the velocities of a POSCAR are those half a step before.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from vasp_stand_in import EV_PER_A3_TO_KBAR, Files, contcar, potential, read_poscar

MASSES = {"Li": 6.94, "Al": 26.9815385, "P": 30.973761998, "S": 32.06, "Cl": 35.45}
# eV/angstrom on one amu, in angstrom/fs^2
ACCELERATION = 0.0096485332
KELVIN = 8.617333262e-5


def behind_the_atoms(count):
    """Velocities (None: not given) and thermostat of POSCAR."""
    lines = Path("POSCAR").read_text().splitlines()
    at = 8 + (lines[7].strip()[:1].upper() == "S") + count
    rows = [[float(x) for x in line.split()] for line in lines[at:] if line.strip()]
    velocities = np.array([row[:3] for row in rows[:count]]) if len(rows) >= count else None
    return velocities, rows[count + 2][:2] if len(rows) > count + 2 else [0.0, 0.0]


def run_dynamics(tags, version, fault, at):
    """Everything behind the inputs of molecular dynamics; the exit status."""
    symbols, counts, cell, frac, free = read_poscar()
    names = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    compute = potential(names)
    files = Files(tags, symbols, counts, version, os.environ.get("VASP_STAND_IN_PROGRAM", "vasp-stand-in"))
    files.structure(cell, frac, "initialpos")
    dt, kelvins = float(tags["POTIM"]), float(tags["TEBEG"])
    algorithm, smass = int(tags["MDALGO"]), float(tags.get("SMASS", -3))
    rng = np.random.default_rng(int(tags.get("RANDOM_SEED", "1").split()[0]))
    masses = np.array([MASSES[name] for name in names])[:, None]
    degrees = 3 * len(names) - 3
    velocities, (friction, swung) = behind_the_atoms(len(names))
    if velocities is None:
        velocities = rng.normal(size=frac.shape) * np.sqrt(KELVIN * kelvins / masses * ACCELERATION)
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    nose = algorithm == 2 and smass >= 0
    heat = degrees * KELVIN * kelvins
    mass = 2 * heat * (40 * dt / 2 / np.pi) ** 2
    if smass > 0:
        mass = smass * np.linalg.norm(cell[0]) ** 2 / ACCELERATION
    gamma = 0.0
    if algorithm == 3:
        gamma = np.repeat([float(x) for x in tags["LANGEVIN_GAMMA"].split()], counts)[:, None] / 1000
    delay, stopped = float(os.environ.get("VASP_STAND_IN_DELAY", 0)), False
    for count in range(1, int(tags["NSW"]) + 1):
        if fault == "hang" and count == at:
            time.sleep(600)
        energy, forces, stress = compute(frac, cell)
        if fault == "nan" and count == at:
            energy = float("nan")
        old = velocities
        push = forces / masses * ACCELERATION
        push -= (masses * push).sum(axis=0) / masses.sum()
        if nose:
            velocities = (old * (1 - friction * dt / 2) + push * dt) / (1 + friction * dt / 2)
        else:
            damping = np.exp(-gamma * dt)
            velocities = damping * old + push * dt
            noise = rng.normal(size=old.shape) * np.sqrt((1 - damping**2) * KELVIN * kelvins / masses * ACCELERATION)
            velocities += noise - (masses * noise).sum(axis=0) / masses.sum()
        kinetic = float((masses * ((old + velocities) / 2) ** 2).sum() / 2 / ACCELERATION)
        thermostat = (heat * swung, mass * friction**2 / 2) if nose else (0.0, 0.0)
        crash = fault == "crash" and count == at
        moving = (kinetic, *thermostat, 2 * kinetic / degrees / KELVIN)
        stress = -stress * EV_PER_A3_TO_KBAR
        files.step(count, energy, forces, stress, cell, frac, fault != "nelm", edge=crash, moving=moving)
        if crash:
            print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
            return 139
        if nose:
            # the friction half a step on, from the kinetic energy of this half
            half = float((masses * velocities**2).sum() / 2 / ACCELERATION)
            swung += friction * dt + (2 * half - heat) / mass * dt**2 / 2
            friction += (2 * half - heat) / mass * dt
        frac = frac + velocities * dt @ np.linalg.inv(cell)
        lines = [" ".join(f"{x:23.15E}" for x in row) for row in velocities]
        lines += ["", "1", f"{dt:23.15E}", f"{friction:23.15E} {swung:23.15E} 0.0 0.0"]
        contcar(symbols, counts, cell, frac, free, behind="\n".join(lines) + "\n")
        time.sleep(delay)
        if fault == "kill" and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        stopped = Path("STOPCAR").exists() and "LSTOP" in Path("STOPCAR").read_text()
        if stopped:
            break
    files.close(cell, frac, False, stopped)
    Path("STOPCAR").unlink(missing_ok=True)
    return 0
