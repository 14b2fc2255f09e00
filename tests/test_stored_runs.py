"""The archives beside the examples: whole, importable, and what the documentation says of them."""

import importlib.util
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from anodeflow.analysis.dynamics_study import DynamicsStudyDoc
from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study, verify_archive

EXAMPLES = Path(__file__).parent.parent / "examples"
PAPERS = EXAMPLES.parent / "workflows" / "papers"
ARCHIVES = sorted(EXAMPLES.rglob("results/*.zip"))
# The order of atoms in their slabs depends on the rounding of the processor: they were computed on one with AVX2.
ON_HASWELL = {"adsorption-li9al4", "lacss2024-aimd"}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda file: file.stem)
def test_nothing_was_changed(archive):
    assert verify_archive(archive).documents > 5


def summary(archive, tmp_path, monkeypatch):
    """The last document of the study, from a store into which the archive was imported."""
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    store = open_job_store(tmp_path / "store.sqlite")
    import_study(archive, store)
    return store.query_one({"metadata.label": "summary"}, load=True)["output"]


@pytest.mark.parametrize("name", ["surfaces", "surface-li"])
def test_surface_energies_of_dft_are_converged_with_thickness(name, tmp_path, monkeypatch):
    study = SurfaceStudyDoc.model_validate(summary(EXAMPLES / f"dft/results/{name}.zip", tmp_path, monkeypatch))
    for surface in study.surfaces:
        assert surface.thickness.converged
        assert surface.thickness.judged_by == "single slabs"
        low, high = surface.gamma_ci_j_per_m2
        assert low < surface.thickness.gamma_j_per_m2 < high


def test_the_electrolyte_decays_on_lithium_and_later_on_the_alloy(tmp_path, monkeypatch):
    study = DynamicsStudyDoc.model_validate(
        summary(EXAMPLES / "aimd/results/lacss2024-aimd.zip", tmp_path, monkeypatch)
    )
    lithium, alloy = study.systems
    assert [lithium.name, alloy.name] == ["Li/LPSC", "Li9Al4/LPSC"]
    for system in study.systems:
        assert system.complete
        assert [replica.seed for replica in system.replicas] == [1, 2, 3]
        assert min(replica.time_ps[-1] for replica in system.replicas) >= 10
        assert {replica.tetrahedra.first_intact_fraction for replica in system.replicas} == {1.0}
    # every seed on Li before any seed on the alloy
    assert max(r.half_broken_ps for r in lithium.replicas) < min(r.half_broken_ps for r in alloy.replicas)
    at_end = [next(rdf for rdf in s.rdfs if rdf.pair == "P-S").after for s in study.systems]
    first_peak = [max(g for r, g in zip(d.r_angstrom, d.g, strict=True) if r < 2.6) for d in at_end]
    assert first_peak[0] < first_peak[1]


# What a later run of the same study says otherwise.
OF_THE_RUN = {"@version", "@module", "finished_at", "software", "version", "device"}
# How sure a number is, and what is to be known of it, is judged by stricter rules than when the archives were written;
# a title may be reworded.
STATED_OTHERWISE = {"numerical_uncertainty_ev", "warnings", "title"}
# Its study searches the registry of its interfaces now, and so has another hash: the archive is read, not reused.
OTHER_STUDY_NOW = {"lacss2024-aimd"}

REUSED = [
    pytest.param(archive, id=archive.stem, marks=[pytest.mark.slow] if archive.parent.parent.name == "aimd" else [])
    for archive in ARCHIVES
]


@pytest.mark.parametrize("archive", [one for one in REUSED if one.id not in OTHER_STUDY_NOW])
def test_a_run_of_its_study_computes_nothing_and_ends_in_the_same_document(
    archive, tmp_path, monkeypatch, command, anodeflow
):
    with zipfile.ZipFile(archive) as opened:
        versions = json.loads(opened.read("versions.json"))
        last = json.loads(opened.read(f"documents/{versions['documents'] - 1:05d}.json"))
    engine = versions["engine"]["name"]
    if importlib.util.find_spec(engine) is None:
        extra = "gpaw" if engine == "gpaw" else "embedded"
        pytest.skip(f"needs the package {engine} (pip install 'anodeflow[{extra}]')")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    store = tmp_path / "store.sqlite"
    assert command("import", archive, "--store", store)[0] == 0
    beside = archive.parent.parent / f"{archive.stem}.yaml"
    arguments = ("run", beside if beside.is_file() else PAPERS / beside.name, "--store", store, "--json")
    if archive.stem in ON_HASWELL:
        done = anodeflow(*arguments, env=os.environ | {"OPENBLAS_CORETYPE": "Haswell"}, timeout=300)
        status, err = done.returncode, done.stderr
    else:
        monkeypatch.setattr(sys, "executable", shutil.which("false"))  # a worker would compute for hours
        status, _, err = command(*arguments)
    assert status == 0, err
    assert err.strip().splitlines()[-1].startswith("0 calculations computed, "), err
    found = open_job_store(store).query_one({"metadata.label": "summary"}, load=True)
    assert found["uuid"] == last["uuid"]
    assert_same(found["output"], last["output"], "summary")


@pytest.mark.parametrize("archive", REUSED)
def test_every_document_is_exported_again_with_the_same_bytes(archive, tmp_path, monkeypatch, command):
    """Packed bytes depend on zlib, so contents are compared; what names versions of this machine is left out.

    So are files of calculations: the folder that a document names may exist on this machine and hold others.
    """
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    store, again = tmp_path / "store.sqlite", tmp_path / "again.zip"
    with zipfile.ZipFile(archive) as opened:
        study = json.loads(opened.read("versions.json"))["study_hash"]
    assert command("import", archive, "--store", store)[0] == 0
    assert command("export", study, "-o", again, "--no-files", "--store", store)[0] == 0
    with zipfile.ZipFile(archive) as kept, zipfile.ZipFile(again) as found:
        # of the software and files of this machine, and younger than some archives
        left_out = ("submitted.yaml", "ro-crate-metadata.json", "files/")
        names, again = ([n for n in opened.namelist() if not n.startswith(left_out)] for opened in (kept, found))
        assert again == names
        # study.yaml: a store that was imported to has the keys of the settings in another order
        of_here = {"README.txt", "CITATION.cff", "versions.json", "CHECKSUMS.sha256", "study.yaml"}
        assert [name for name in names if name not in of_here and found.read(name) != kept.read(name)] == []
        versions = [json.loads(opened.read("versions.json")) for opened in (kept, found)]
        assert yaml.safe_load(found.read("study.yaml")) == yaml.safe_load(kept.read("study.yaml"))
    of_here = {"exported_with", "anodeflow", "files"}
    was, now = ({key: value for key, value in each.items() if key not in of_here} for each in versions)
    assert now == was


def assert_same(found, kept, where):
    """The same content; numbers within what a sum in another order changes. Fields may be new, none may be lost."""
    if isinstance(kept, dict):
        assert kept.keys() <= found.keys(), where
        for key in kept.keys() - OF_THE_RUN - STATED_OTHERWISE:
            assert_same(found[key], kept[key], f"{where}.{key}")
    elif isinstance(kept, list) and where.endswith(".sources"):  # a later version may say more of what it rests on
        assert [source for source in kept if source not in found] == []
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for number, (one, other) in enumerate(zip(found, kept, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(kept, float):
        assert found == pytest.approx(kept, rel=1e-7, abs=1e-9, nan_ok=True), where
    elif isinstance(kept, str) and kept.startswith("/"):  # a file of a run, wherever it is now
        assert Path(found).parts[-2:] == Path(kept).parts[-2:], where
    else:
        assert found == kept, where
