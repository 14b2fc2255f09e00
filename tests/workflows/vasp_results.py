"""Real results of VASP, and what was asked for to get them."""

import gzip
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Request
from anodeflow.workflows.engines.plane_waves.electronic import Electronic
from anodeflow.workflows.engines.vasp import outputs
from anodeflow.workflows.engines.vasp.inputs import Inputs
from anodeflow.workflows.engines.vasp.outputs import Reader

DATA = Path(__file__).parents[1] / "data" / "vasp"
CARD = load_card("lacss2024-bulk")
# folder: last energy(sigma->0) in OUTCAR, eV
ENERGIES = {"converged": -6.50161629, "elec-unconverged": -6.50149309, "ionic-unconverged": -10.53701997,
            "si-relax": -10.61882724}  # fmt: skip


def unpacked(name, folder):
    for file in (DATA / name).glob("*.gz"):
        (folder / file.name[:-3]).write_bytes(gzip.decompress(file.read_bytes()))
    return folder


def as_asked(folder, **changes):
    """The start and the inputs of which a run is the result, from the run itself."""
    from pymatgen.io.vasp.inputs import Incar

    head = Reader(folder).read().head
    cell, coords = head.initial
    tags = dict(head.incar) | {"NELM": int(head.number("NELM"))} | changes
    settings = Electronic(
        300.0, head.mesh, True, False, 0.0, None, tags.get("EDIFF", 1e-4), 0, None, (False,) * 3, "PBE"
    )
    plain = Structure(cell, [str(symbol) for symbol in head.species], coords)
    return plain, Inputs(Incar(tags), None, plain, np.arange(len(plain)), [], settings)


def outcome_of(folder, start, inputs, task, card):
    return outputs.outcome_of(folder, Request(start, task, card), inputs, stand_in=False)
