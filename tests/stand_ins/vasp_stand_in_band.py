"""The stand-in's nudged elastic band: IMAGES, SPRING, and with ICHAIN (VTST) the improved tangent and LCLIMB.

Without ICHAIN the tangent is the line between the neighbours and no image climbs, as in VASP itself. The images move
by a common L-BFGS, as with IOPT = 1.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from vasp_stand_in import EV_PER_A3_TO_KBAR, Files, contcar, potential, read_poscar, truth

LONGEST, STIFFNESS, MEMORY = 0.15, 10.0, 15


def tangent(places, energies, k, vtst):
    """Unit tangent at image k."""
    ahead, behind = places[k + 1] - places[k], places[k] - places[k - 1]
    line = ahead + behind
    if vtst:
        up, down = energies[k + 1] - energies[k], energies[k - 1] - energies[k]
        if up > 0 > down:
            line = ahead
        elif up < 0 < down:
            line = behind
        else:
            large, small = max(abs(up), abs(down)), min(abs(up), abs(down))
            line = ahead * large + behind * small if up > down else ahead * small + behind * large
    return line / np.linalg.norm(line)


class Lbfgs:
    """Steps of a band that has forces but no energy."""

    def __init__(self):
        self.pairs, self.before = [], None

    def step(self, forces):
        if self.before is not None:
            moved, change = self.before[0], self.before[1] - forces
            if moved @ change > 1e-10:
                self.pairs = [*self.pairs, (moved, change)][-MEMORY:]
        q, alphas = forces.copy(), []
        for s, y in reversed(self.pairs):
            alphas.append(s @ q / (s @ y))
            q -= alphas[-1] * y
        q /= STIFFNESS
        for (s, y), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q += s * (alpha - y @ q / (s @ y))
        longest = np.linalg.norm(q.reshape(-1, 3), axis=1).max()
        if longest > LONGEST:
            q *= LONGEST / longest
        self.before = q, forces
        return q


def run_band(tags, version, fault, at):
    """Everything behind the inputs of a band; the exit status."""
    images, spring = int(tags["IMAGES"]), -float(tags.get("SPRING", -5))
    vtst, climbs = "ICHAIN" in tags, truth(tags.get("LCLIMB", "F"))
    folders = [Path(f"{k:02d}") for k in range(images + 2)]
    read = [read_poscar(folder / "POSCAR") for folder in folders]
    symbols, counts, cell, first, free = read[0]
    names = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    compute = potential(names)
    fracs = [first]
    for other in read[1:]:
        fracs.append(other[3] - np.round(other[3] - fracs[-1]))
    places = np.array([frac @ cell for frac in fracs])
    program = os.environ.get("VASP_STAND_IN_PROGRAM", "vasp-stand-in")
    xmls = ["vasprun.xml", *[os.devnull] * (images - 1)]
    files = [
        Files(tags, symbols, counts, version, program, folder, xml)
        for folder, xml in zip(folders[1:-1], xmls, strict=True)
    ]
    for made, frac in zip(files, fracs[1:-1], strict=True):
        made.structure(cell, frac, "initialpos")
    ends = [compute(fracs[k], cell)[0] for k in (0, -1)]
    optimiser, delay = Lbfgs(), float(os.environ.get("VASP_STAND_IN_DELAY", 0))
    reached = stopped = False
    moves = vtst or float(tags.get("POTIM", 0.5)) > 0
    for count in range(1, int(tags["NSW"]) + 1):
        if fault == "hang" and count == at:
            time.sleep(600)
        found = [compute(places[k] @ np.linalg.inv(cell), cell) for k in range(1, images + 1)]
        energies = [ends[0], *[f[0] for f in found], ends[1]]
        highest = 1 + int(np.argmax(energies[1:-1]))
        pulls = []
        for k, (energy, forces, stress) in enumerate(found, 1):
            dies = fault == f"image{k}" and count == at
            frac = places[k] @ np.linalg.inv(cell)
            files[k - 1].step(
                count, energy, forces, -stress * EV_PER_A3_TO_KBAR, cell, frac, fault != "nelm", edge=dies
            )
            if dies:
                print(f"image {k}: forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
                return 139
            forces = np.where(free, forces, 0.0)
            line = tangent(places, energies, k, vtst)
            along = np.vdot(forces, line)
            if climbs and k == highest:
                pulls.append(forces - 2 * along * line)
            else:
                apart = [np.linalg.norm(places[k + n] - places[k]) for n in (1, -1)]
                pulls.append(forces - along * line + spring * (apart[0] - apart[1]) * line)
        time.sleep(delay)
        pulls = np.array(pulls)
        reached = np.linalg.norm(pulls, axis=2).max() <= -float(tags["EDIFFG"])
        stopped = any(
            (folder / "STOPCAR").exists() and "LSTOP" in (folder / "STOPCAR").read_text() for folder in folders[1:-1]
        )
        if not reached and not stopped and moves:
            places[1:-1] += optimiser.step(pulls.ravel()).reshape(pulls.shape)
        for folder, place in zip(folders[1:-1], places[1:-1], strict=True):
            contcar(symbols, counts, cell, place @ np.linalg.inv(cell), free, folder)
        if fault == "kill" and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if reached or stopped:
            break
    for made, folder, place in zip(files, folders[1:-1], places[1:-1], strict=True):
        made.close(cell, place @ np.linalg.inv(cell), reached, stopped)
        (folder / "STOPCAR").unlink(missing_ok=True)
        (folder / "WAVECAR").touch()
    return 0
