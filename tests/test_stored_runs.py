"""The archives beside the examples: whole, importable, and what the documentation says of them."""

from pathlib import Path

import pytest

from anodeflow.analysis.dynamics_study import DynamicsStudyDoc
from anodeflow.analysis.study_documents import SurfaceStudyDoc
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study, verify_archive

EXAMPLES = Path(__file__).parent.parent / "examples"
ARCHIVES = sorted(EXAMPLES.rglob("results/*.zip"))


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
