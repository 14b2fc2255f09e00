"""Whole studies with real engines through a real SLURM: from the file to the number, by the commands of a user."""

import json

import pytest
import yaml
from slurm_user import PATIENCE_S, Cluster
from ultrasoft import ultrasoft  # noqa: F401 - a fixture

from anodeflow.workflows.store import open_job_store

pytestmark = pytest.mark.slow


def through(cluster, study):
    """Submit a study and wait for it: the summary, the rows of its calculations as `results` has them."""
    (cluster.place / "study.yaml").write_text(yaml.safe_dump(study))
    report = json.loads(cluster.run("submit", "study.yaml", "--json", "--tag", "real"))
    assert report["submitted"]
    launcher = cluster.launcher()
    log = cluster.place / "launch.log"
    assert launcher.wait(PATIENCE_S) == 0, log.read_text()
    row = cluster.status()
    assert (row["state"], row["failed"], row["unconverged"]) == ("done", 0, 0), row
    where = ("--store", cluster.folder.path, "--json", "--tag", "real")
    rows = json.loads(cluster.run("results", "--what", "calculations", *where))
    assert {one["label"] for one in rows} == {planned["label"] for planned in report["planned"]}
    # Each was computed in a job of the queue, not by the process that sends them.
    scripts = list((cluster.folder.path / "launches" / report["study_hash"]).glob("*/queue.sh"))
    assert len(scripts) == len(rows)
    store = open_job_store(cluster.folder.store, must_exist=True, read_only=True)
    summary = store.query_one({"metadata.label": "summary", "metadata.study_hash": report["study_hash"]})["output"]
    return summary, rows


def test_binding_energies_with_the_embedded_potential(slurm, uri, tmp_path):
    pytest.importorskip("chgnet")
    study = {
        "study": "binding-energy", "title": "Li in Li, embedded", "engine": "chgnet", "hosts": ["Li"],
        "references": ["bulk_metal"], "bulk": {"min_image_distance_angstrom": 6.0}, "states": ["interstitial"],
    }  # fmt: skip
    cluster = Cluster(slurm, tmp_path, uri)
    summary, rows = through(cluster, study)
    assert {row["engine"] for row in rows} == {"chgnet"}
    assert not any(row["engine"].endswith("(STAND-IN)") for row in rows)
    energies = {row["label"]: row["energy_ev"] for row in rows}
    atoms = {row["label"]: row["atoms"] for row in rows}
    metal = energies["Li/crystal"] / atoms["Li/crystal"]
    (host,) = summary["hosts"]
    for site in host["sites"]:
        added = energies[f"Li/bulk/{site['label']}"] - energies["Li/bulk/host"] - metal
        assert site["binding_energy_ev"]["bulk_metal"] == pytest.approx(added)
    # An atom too many in bcc Li costs energy: the self-interstitial, some tenths of an eV.
    assert 0.1 < host["binding_energy_ev"]["bulk_metal"] < 1.5


def test_a_crystal_with_plane_waves(slurm, uri, tmp_path, ultrasoft):  # noqa: F811
    """LiCl relaxed by pw.x at a cutoff far too small for results."""
    cluster = Cluster(slurm, tmp_path, uri, engine="qe")
    cluster.change("settings.yaml", ("command: [srun, pw.x]", f"command: [pw.x]\n  potentials: {ultrasoft}"))
    card = {
        "name": "small", "functional": "PBE", "potentials": "ultrasoft",
        "cutoff_ev": 345, "kpoints": {"mesh": [2, 2, 2]},
        "smearing": {"kind": "gaussian", "width_ev": 0.1}, "energy_tolerance_ev": 1e-5,
        "force_tolerance_ev_per_angstrom": 0.05, "stress_tolerance_gpa": 0.5, "relax_cell": True,
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(card))
    study = {"study": "crystal-properties", "title": "LiCl with pw.x", "engine": "qe", "card": "small.yaml",
             "crystals": ["Li", "LiCl"], "cells": "primitive"}  # fmt: skip
    summary, rows = through(cluster, study)
    assert {row["engine"] for row in rows} == {"qe"}
    assert summary["engine"]["version"].startswith("Quantum ESPRESSO pw.x ")
    assert set(summary["engine"]["potentials"]) >= {"Li"}
    crystals = {one["crystal"]: one for one in summary["crystals"]}
    assert [one["error"] for one in crystals.values()] == [None, None]
    assert crystals["LiCl"]["cell_angstrom"][0] == pytest.approx(5.15, rel=0.05)
    assert crystals["LiCl"]["space_group"] == "Fm-3m (225)"
