"""What must stay the same while code moves: hashes of studies, labels, and the keys under which results are found.

A study's hash and a calculation's fingerprint are written into every stored document. If one of them changes, results
that were computed once are no longer found. The values under tests/golden/identities were written by version 0.1.0,
before its modules were rearranged. ANODEFLOW_WRITE_GOLDEN=1 adds what is not there yet; to replace a value, which
should happen only where an identity is meant to change, remove it first.

The order of atoms in a slab or an interface, and the sign of a zero in its cell, can depend on the rounding errors of a
processor, and with them the fingerprint. For these the golden file holds a list: the keys of different processors, null
where one has no such site. It was made with OPENBLAS_CORETYPE = Prescott, Nehalem, Sandybridge, Haswell, Zen, SkylakeX,
Cooperlake and SapphireRapids.
"""

import importlib.util
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from jobflow import CURRENT_JOB

from anodeflow.workflows.jobs.registry_search import unscored
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.studies import load_study

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "stand_ins"))
from vasp_setup import write_potcars  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "identities"
PAPERS = "workflows/papers"
EXAMPLES = sorted(
    str(file.relative_to(ROOT))
    for file in (ROOT / "examples").rglob("*.yaml")
    if file.read_text().startswith("study:") or "\nstudy:" in file.read_text()
)
if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
    STUDIES = [*EXAMPLES, *(f"{PAPERS}/{file.name}" for file in sorted((ROOT / PAPERS).glob("*-*.yaml")))]
else:
    STUDIES = sorted(json.loads((GOLDEN / "hashes.json").read_text()))
AS_WRITTEN = "as written"
POTENTIALS = ("sevennet-0", "sevennet-l3i5", "chgnet")
PACKAGES = {"sevennet-0": "sevenn", "sevennet-l3i5": "sevenn", "chgnet": "chgnet", "gpaw": "gpaw"}
EXTRAS = {"gpaw": "gpaw"}
PROGRAMS = ("vasp", "castep", "qe", "gpaw")
ENGINES = (AS_WRITTEN, *POTENTIALS, *PROGRAMS)
# element: electrons outside the core
VALENCE = {"Li": 3, "Al": 3, "P": 5, "S": 6, "Cl": 7}
UPF = (
    '<UPF version="2.0.1">\n<PP_HEADER element="{0}" pseudo_type="US" relativistic="scalar" functional="PBE" '
    'z_valence="{1}" wfc_cutoff="20.0" rho_cutoff="150.0"/>\n<PP_MESH/>\n</UPF>\n'
)
# Bulk cells, whose keys are the same on every processor: a band of a charged cell, and a run with an equilibration.
WRITTEN_HERE = {
    "band": {
        "study": "migration", "lithium_charge": 1, "charged": "neutral", "images": 3,
        "paths": [{"crystal": "LiAl", "mechanism": "vacancy", "max_distance_angstrom": 3.2}],
        "cell": {"min_image_distance_angstrom": 6},
    },
    "dynamics": {
        "study": "molecular-dynamics", "systems": [{"crystal": "LiCl"}], "duration_ps": 0.04, "segment_ps": 0.02,
        "equilibration_ps": 0.02, "sample_every": 5, "thermostat": "nose-hoover", "seeds": [1, 2],
    },
}  # fmt: skip
FEW = ("examples/dft/crystals.yaml", "examples/dft/adsorption.yaml", *WRITTEN_HERE)
# Whose other versions may round another way.
ROUNDING = ("numpy", "scipy", "pymatgen", "spglib")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with headers of pseudopotentials, where every program is this Python: nothing is ever started."""
    for name in [name for name in os.environ if name.startswith("ANODEFLOW_") and "GOLDEN" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    upf = tmp_path / "upf"
    upf.mkdir()
    for element, electrons in VALENCE.items():
        (upf / f"{element}.upf").write_text(UPF.format(element, electrons))
    settings = {
        "runs": str(tmp_path / "runs"),
        "vasp": {"command": [sys.executable], "potentials": str(write_potcars(tmp_path / "potcars"))},
        "castep": {"command": [sys.executable]},
        "qe": {"command": [sys.executable, "-V"], "potentials": str(upf)},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(tmp_path / "settings.yaml"))


def study_with(file, engine, folder):
    """A study of the source tree or of this file with another engine, and a card for plane waves if it has none."""
    if file in WRITTEN_HERE:
        path = folder / f"{file}.yaml"
        path.write_text(yaml.safe_dump(WRITTEN_HERE[file]))
    else:
        path = ROOT / file
    study = load_study(path)
    if engine != AS_WRITTEN:
        needs_card = engine in PROGRAMS and study.method.cutoff_ev is None
        study = study.with_changes(engine=engine, card="pbe-slab" if needs_card else None)
    checked = getattr(study, "check", None)
    for name in filter(None, (study.engine, checked and checked.engine)):
        package = PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the package {package} (pip install 'anodeflow[{EXTRAS.get(package, 'embedded')}]')")
    return study


def golden(name, file, engine, found):
    """What is written for one study and engine, nothing for a newer study.

    A value is a list where it differs between processors.
    """
    path = GOLDEN / name
    written = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
        kept = written.setdefault(file, {}).setdefault(engine, {})
        absent = [None] if kept else []
        for key in kept.keys() | found.keys():
            known = kept.get(key, absent)
            known = known if isinstance(known, list) else [known]
            if found.get(key) not in known:
                kept[key] = [*known, found.get(key)] if known else found[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    return written.get(file, {}).get(engine, {})


def rounds_as_the_goldens():
    """Whether lists of keys hold that of this machine: the same packages, and a processor of the same family."""
    software = json.loads((GOLDEN / "software.json").read_text())
    return platform.machine() == "x86_64" and software == {name: version(name) for name in ROUNDING}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("file", STUDIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_hash_of_a_study_is_what_it_was(file, engine, tmp_path):
    found = {"hash": study_with(file, engine, tmp_path).hash}
    assert found == golden("hashes.json", file, engine, found)


class Asked(Exception):  # noqa: N818 - nothing went wrong
    """A band or a segment was looked for: it would be computed now."""


def looked_for(study, place):
    """Carry out a study whose every calculation is found in the store, ended where it starts.

    Returns
    -------
    labels, keys
        Labels of all bands, segments and calculations in the flow; and the fingerprint that each was looked for under.
        A band or segment is not found; what needs its result is left out.
    """
    store, planned = open_job_store(place), {c.label: c for c in study.planned}
    labels, keys, lost = [], {}, set()
    in_the_store = store.query_one

    def query_one(criteria=None, *arguments, **options):
        key = (criteria or {}).get("output.fingerprint")
        if key is None:
            return in_the_store(criteria, *arguments, **options)
        label = CURRENT_JOB.job.name
        keys[label] = key
        if criteria["output.doc_type"] == "RegistrySearchDoc":
            return {"output": registries_as_listed(planned[label], key, list(planned).index(label))}
        if criteria["output.doc_type"] != "CalculationDoc":
            raise Asked
        return {"output": finished(planned[label], key)}

    def carry_out(flow):
        for job, _ in flow.iterflow():
            if job.metadata.get("kind") == "calculation":
                labels.append(job.name)
            try:
                response = job.run(store)
            except Asked:
                lost.add(job.uuid)
                continue
            except ValueError:  # jobflow's: a reference without a result
                assert lost & set(job.input_uuids), job.name
                lost.add(job.uuid)
                continue
            for more in (response.replace, response.detour, response.addition):
                if more is not None:
                    carry_out(more)

    store.query_one = query_one
    carry_out(study.flow())
    return labels, keys


def finished(calculation, key):
    """The stored output of a planned calculation that converged where it started."""
    geometry = calculation.structure.as_dict()
    return {
        "doc_type": "CalculationDoc", "fingerprint": key, "label": calculation.label, "task": calculation.task,
        "structure": geometry, "initial_structure": geometry, "charge": calculation.charge, "converged": True,
        "energy_ev": -3.0 * len(calculation.structure), "max_force_ev_per_angstrom": 0.0,
        "stress_gpa": [[0.0] * 3] * 3,
        "engine": {"name": "none", "kind": "none", "version": "1", "hash": "0"}, "card": {"name": "none", "hash": "0"},
    }  # fmt: skip


def registries_as_listed(step, key, place):
    """The stored output of a search whose energies are in the order of the plan, in which it has this place."""
    listed = unscored(step.search.model, 2.5, most=step.search.most)
    for n, entry in enumerate(listed):
        entry.energy_ev, entry.relaxed = -3.0 * len(step.structure) + 0.1 * place + 0.001 * n, True
    return {
        "doc_type": "RegistrySearchDoc", "fingerprint": key, "label": step.label, "converged": True,
        "engine": {"name": "none", "kind": "none", "version": "1", "hash": "0"}, "card": {"name": "none", "hash": "0"},
        "interface": "", "atoms": len(step.structure), "area_angstrom2": step.search.model.area_angstrom2,
        "grid_angstrom": 1.0, "registries": [entry.model_dump(mode="json") for entry in listed],
    }  # fmt: skip


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("file", "engine"),
    [
        *(
            # of each kind the first in the tests that everybody runs: the others together take over 20 s
            pytest.param(file, AS_WRITTEN, marks=[pytest.mark.slow] if file.startswith("examples/dft") else [])
            for file in [*EXAMPLES, f"{PAPERS}/cui2026-migration.yaml"]
        ),
        *((file, engine) for engine in (*PROGRAMS, *POTENTIALS) for file in FEW),
        pytest.param("examples/interface-energy.yaml", "vasp", marks=pytest.mark.slow),
    ],
)
def test_a_run_has_the_calculations_of_its_plan_and_finds_each_where_it_was(file, engine, tmp_path):
    """Where nothing moves, sites, slabs and hops of the catalogue's crystals are those of the relaxed ones.

    With a real engine a label can be missing or new: sites are found in the relaxed host, and a plan says of such
    calculations that they are estimated.
    """
    study = study_with(file, engine, tmp_path)
    labels, keys = looked_for(study, tmp_path / "store.sqlite")
    # the frames that a check takes of dynamics are those of a trajectory, and here nothing moves
    planned = study.planned_without_check if study.moving_frames() else study.planned
    plan = [calculation.label for calculation in planned]
    assert len(set(labels)) == len(labels)
    assert sorted(labels) == sorted(plan)
    assert set(keys) <= set(labels)
    written = golden("fingerprints.json", file, engine, keys)
    sure = {label: key for label, key in written.items() if isinstance(key, str)}
    assert {label: keys.get(label) for label in sure} == sure
    if written and rounds_as_the_goldens():
        assert [label for label in keys | written if keys.get(label) not in as_list(written.get(label))] == []


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_the_goldens_hold_a_calculation_a_band_and_a_segment_of_every_engine():
    written = json.loads((GOLDEN / "fingerprints.json").read_text())
    for engine in (*PROGRAMS, *POTENTIALS):
        sure = {label: key for file in FEW for label, key in written[file][engine].items() if isinstance(key, str)}
        assert all(len(key) == 32 for key in sure.values())
        assert {"Al/crystal", "Li/surface/hollow-1", "LiAl/vacancy/Li1-Li1/band", "LiCl/seed 2/equilibration"} <= set(
            sure
        )
        assert ("Li/atom" in sure) == (engine in PROGRAMS)


@pytest.mark.usefixtures("machine")
def test_the_plan_of_the_first_example_is_what_it_was(command, examples):
    if importlib.util.find_spec("sevenn") is None:
        pytest.skip("needs the package sevenn (pip install 'anodeflow[embedded]')")
    status, out, err = command("plan", examples / "binding-energy.yaml", "--json")
    assert status == 0, err
    columns = ("task", "atoms", "formula", "kpoints", "charge", "expected_steps")
    # sites on P2S5(001): two holes are so alike that the processor decides which kind they are
    rows = [row for row in json.loads(out)["jobs"] if not row["calculation"].startswith("P2S5/surface/")]
    found = {row["calculation"]: "  ".join(str(row[column]) for column in columns) for row in rows}
    assert found == golden("plans.json", "examples/binding-energy.yaml", AS_WRITTEN, found)
