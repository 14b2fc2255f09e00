"""Made-up studies whose documents fit together, and archives with other files than they were written with."""

import hashlib
import json
import zipfile

import numpy as np
from factories import STUDY_HASH, finished_job
from monty.json import jsanitize
from pymatgen.core import Lattice, Structure

from anodeflow.analysis.crystal_properties import CrystalDoc, CrystalStudyDoc
from anodeflow.documents import CalculationDoc, CardRecord, EngineRecord
from anodeflow.workflows.fingerprints import fingerprint

ENGINE = EngineRecord(
    name="springs", kind="machine-learning potential", version="springs 1", model="model", hash="00112233aabbccdd"
)
CARD = CardRecord(name="embedded", hash="ffeeddccbbaa9988")
CRYSTAL = Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])


def key_of(structure=CRYSTAL, task="static"):
    """The fingerprint of a made-up calculation."""
    return fingerprint(structure, task, 0, CARD.hash, ENGINE)


def calculation(energy_ev=-1.25, structure=CRYSTAL, directory=None, label="Li/crystal", arrays="b1"):
    """What a static calculation ends in; its arrays stand in a document of their own."""
    doc = CalculationDoc(
        fingerprint=key_of(structure), label=label, engine=ENGINE, card=CARD, task="static", energy_ev=energy_ev,
        structure=structure, initial_structure=structure, converged=True, max_force_ev_per_angstrom=0.25,
        directory=directory, arrays={},
    )  # fmt: skip
    return jsanitize(doc, strict=True, enum_values=True) | {"arrays": {"blob_uuid": arrays, "store": "data"}}


def arrays_of(number, energy_ev=-1.25, structure=CRYSTAL, identity="b1"):
    """The arrays of that calculation."""
    forces = np.zeros((len(structure), 3))
    forces[0, 0] = 0.25
    data = {
        "energies_ev": [energy_ev],
        "forces_ev_per_angstrom": forces.tolist(),
        "positions_angstrom": [structure.cart_coords.tolist()],
        "cells_angstrom": [structure.lattice.matrix.tolist()],
    }
    return {"blob_uuid": identity, "job_uuid": f"{STUDY_HASH}-{number}", "job_index": 1, "data": data}


def summary(energy_ev=-1.25, structure=CRYSTAL, **changes):
    """The last document of a study of that crystal alone."""
    crystal = CrystalDoc(
        crystal="Li", formula="Li", energy_per_atom_ev=energy_ev / len(structure), calculation=key_of(structure)
    )
    fields = {"study": "crystal-properties", "study_hash": STUDY_HASH, "title": "ä", "engine": ENGINE, "card": CARD,
              "crystals": [crystal], "software": {"ase": "3.29"},
              "settings": {"study": "crystal-properties", "engine": "springs", "crystals": ["Li"]}}  # fmt: skip
    return jsanitize(CrystalStudyDoc(**fields | changes), strict=True, enum_values=True)


def fill(store, directory=None):
    """Put a study of one calculation into a store."""
    store.additional_stores["data"].update([arrays_of(1)])
    store.docs_store.update(
        [finished_job(2, "summary", summary()), finished_job(1, "Li/crystal", calculation(directory=directory))],
        ["uuid", "index"],
    )


def rewrite(archive, goal, change, *, sums=False):
    """The archive at another place after `change` of its {name: bytes}; with new checksums if they are asked for."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(goal, "w", zipfile.ZIP_DEFLATED) as sink:
        files = {name: source.read(name) for name in source.namelist()}
        change(files)
        if sums:
            files.pop("CHECKSUMS.sha256", None)
            lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
            files["CHECKSUMS.sha256"] = "".join(lines).encode()
        for name, data in files.items():
            sink.writestr(name, data)
    return goal


def edit(name, change):
    """A change of one JSON file of an archive, for :func:`rewrite`: `change` of its content."""

    def edited(files):
        content = json.loads(files[name])
        changed = change(content)
        files[name] = json.dumps(content if changed is None else changed).encode()

    return edited
