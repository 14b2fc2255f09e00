"""The whole path on a real potential: run, stop, kill, resume, query, draw; numbers traced to their inputs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from factories import write_yaml
from processes import children

from anodeflow.workflows.store import integrity_check, open_job_store

# The run that they all look at takes over 20 s; the README's first command is such a run, too.
pytestmark = pytest.mark.slow

TINY = {
    "study": "binding-energy",
    "title": "tiny",
    "engine": "chgnet",
    "hosts": ["Li", {"crystal": "LiCl", "surface": {"miller": [1, 0, 0]}}],
    "slab": {"min_thickness_angstrom": 5, "min_lateral_angstrom": 5},
    "environments": ["bulk"],
    "anodes": ["Li"],
    "interphases": ["LiCl"],
    "references": ["bulk_metal", "neutral_atom"],
    "bulk": {"min_image_distance_angstrom": 6.0},
}


def write_study(folder, **changes):
    return write_yaml(folder, TINY | changes, "tiny.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, anodeflow):
    """The tiny study, run once: (folder, document printed by --json)."""
    folder = tmp_path_factory.mktemp("tiny")
    study = write_study(folder, hosts=[*TINY["hosts"][:1], TINY["hosts"][1] | {"environments": ["bulk", "surface"]}])
    done = anodeflow("run", study, "--json", "--figure", "f.png", "--figure", "f.pdf", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_its_archive_is_imported_with_a_published_shift_in_it(finished, tmp_path, command):
    folder, document = finished
    assert any(r["convention"] == "neutral_atom" and r["sources"] for h in document["hosts"] for r in h["references"])
    status, _, err = command("export", "tiny.yaml", "-o", tmp_path / "tiny.zip", cwd=folder)
    assert status == 0, err
    status, _, err = command("import", tmp_path / "tiny.zip", "--store", tmp_path / "s.sqlite", cwd=tmp_path)
    assert status == 0, err


def test_every_number_can_be_traced_and_recomputed(finished):
    folder, document = finished
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True, read_only=True)
    calculations = {d["output"]["fingerprint"]: d["output"] for d in store.query({"output.doc_type": "CalculationDoc"})}
    for host in document["hosts"]:
        reference = next(r for r in host["references"] if r["convention"] == "bulk_metal")
        metal = calculations[reference["rests_on"][0]]
        mu = metal["energy_ev"] / len(metal["structure"]["sites"])
        assert reference["energy_ev"] == pytest.approx(mu)
        e_a = calculations[host["host_calculation"]]["energy_ev"]
        for site in host["sites"]:
            e_ab = calculations[site["calculation"]]
            assert e_ab["converged"]
            assert e_ab["max_force_ev_per_angstrom"] <= 0.03
            more = {"interstitial": 1, "adsorbed": 1, "substitution": 0, "held": -1}[host["state"]]
            if host["state"] == "held":
                expected = e_a - e_ab["energy_ev"] - mu
            else:
                returned = sum(reservoir["chemical_potential_ev"] for reservoir in host.get("reservoirs", []))
                expected = e_ab["energy_ev"] + returned - e_a - mu
            assert len(e_ab["structure"]["sites"]) == host["host_atoms"] + more
            assert site["binding_energy_ev"]["bulk_metal"] == pytest.approx(expected)
        lowest = min(s["binding_energy_ev"]["bulk_metal"] for s in host["sites"])
        assert host["binding_energy_ev"]["bulk_metal"] == pytest.approx(lowest)
        difference = host["binding_energy_ev"]["bulk_metal"] - host["binding_energy_ev"]["neutral_atom"]
        assert difference == pytest.approx(1.586)


def test_descriptor_is_the_difference(finished):
    _, document = finished
    e = {(h["crystal"], h["state"]): h["binding_energy_ev"]["bulk_metal"] for h in document["hosts"]}
    added, held = document["descriptors"][:2]
    assert (added["kind"], held["kind"]) == ("added", "held")
    assert added["states"] == {"Li": "substitution", "LiCl": "interstitial"}
    assert added["d_e_ev"][0][0] == pytest.approx(e["LiCl", "interstitial"] - e["Li", "substitution"])
    assert held["d_e_ev"][0][0] == pytest.approx(e["LiCl", "held"] - e["Li", "held"])


def test_physics_of_the_tiny_study(finished):
    _, document = finished
    hosts = {(h["crystal"], h["state"]): h for h in document["hosts"]}
    # A self-interstitial of bcc Li costs 0.4-0.7 eV (DFT literature); it is never bound against the metal.
    assert 0.2 < hosts["Li", "interstitial"]["binding_energy_ev"]["bulk_metal"] < 1.0
    # An atom more of the metal is worth what the metal is worth; one less costs the vacancy, 0.5 eV in DFT.
    assert hosts["Li", "substitution"]["binding_energy_ev"]["bulk_metal"] == pytest.approx(0, abs=1e-9)
    assert -1.0 < hosts["Li", "held"]["binding_energy_ev"]["bulk_metal"] < -0.2
    # A salt keeps its Li by electronvolts: taken out as an atom, it has to be given back its electron.
    assert -5.5 < hosts["LiCl", "held"]["binding_energy_ev"]["bulk_metal"] < -2.0
    # A pristine cell of the relaxed crystal is already relaxed and has exactly its energy.
    store = open_job_store(finished[0] / "anodeflow.sqlite", must_exist=True, read_only=True)
    docs = {d["output"]["label"]: d["output"] for d in store.query({"output.doc_type": "CalculationDoc"})}
    for name in ("Li", "LiCl"):
        per_atom = [docs[f"{name}/{w}"]["energy_ev"] / len(docs[f"{name}/{w}"]["structure"]["sites"])
                    for w in ("crystal", "bulk/host")]  # fmt: skip
        assert per_atom[0] == pytest.approx(per_atom[1], abs=2e-4)
    assert any("extra electron" in w for w in hosts["LiCl", "interstitial"]["warnings"])
    assert {s["kind"] for s in hosts["LiCl", "adsorbed"]["sites"]} >= {"top", "hollow"}


def test_results_are_there_after_the_process_ended(finished, command):
    folder, document = finished
    status, out, _ = command("results", "--json", "--store", folder / "anodeflow.sqlite")
    rows = json.loads(out)
    assert status == 0
    assert {(r["crystal"], r["environment"]) for r in rows} == {("Li", "bulk"), ("LiCl", "bulk"), ("LiCl", "surface")}
    printed = {(h["crystal"], h["state"]): h["binding_energy_ev"]["bulk_metal"] for h in document["hosts"]}
    assert {(r["crystal"], r["state"]) for r in rows} == set(printed)
    for row in rows:
        assert row["binding_energy_ev_bulk_metal"] == printed[row["crystal"], row["state"]]
        assert row["engine_kind"] == "machine-learning potential"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--crystal", "LiCl"], 3),
        (["--environment", "surface"], 1),
        (["--engine", "sevennet-0"], 0),
        (["--card", "embedded"], 6),
        (["--limit", "1"], 1),
        (["--query", '{"output.host_atoms": {"$gt": 20}}'], 1),
        (["--what", "descriptor", "--environment", "bulk"], 2),
        (["--what", "descriptor", "--state", "held"], 1),
        (["--state", "held"], 2),
        (["--state", "adsorbed", "--limit", "1"], 1),
        (["--what", "sites", "--state", "substitution"], 1),
        (["--what", "descriptor", "--crystal", "Al"], 0),
        (["--what", "studies"], 1),
        (["--what", "sites", "--crystal", "Li"], 4),
    ],
)
def test_filters(finished, command, arguments, count):
    status, out, _ = command("results", "--json", "--store", finished[0] / "anodeflow.sqlite", *arguments)
    assert status == 0
    assert len(json.loads(out)) == count


def test_tables_name_engine_reference_and_charge(finished, command):
    folder, _ = finished
    status, out, _ = command("run", folder / "tiny.yaml", "--store", folder / "anodeflow.sqlite")
    assert status == 0
    for words in ("machine-learning potential", "bcc Li metal", "Negative is bound", "neutral", "card embedded"):
        assert words in out


def test_second_run_computes_nothing_and_keeps_the_store_small(finished, command):
    folder, document = finished
    store = open_job_store(folder / "anodeflow.sqlite", must_exist=True)
    before = store.count()
    status, out, err = command("run", "tiny.yaml", "--json", cwd=folder)
    assert status == 0
    assert "0 calculations computed" in err
    assert [h["binding_energy_ev"] for h in json.loads(out)["hosts"]] == [
        h["binding_energy_ev"] for h in document["hosts"]
    ]
    assert store.count() == before


def test_a_study_that_shares_hosts_reuses_them(finished, command):
    folder, _ = finished
    other = write_yaml(folder, TINY | {"hosts": ["LiCl"], "anodes": [], "interphases": []}, "other.yaml")
    status, _, err = command("run", other, "--json", cwd=folder)
    assert status == 0
    assert "0 calculations computed" in err


def test_figures_are_pictures(finished, command, tmp_path):
    folder, _ = finished
    assert (folder / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "f.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "f.png").stat().st_size > 20_000
    file = tmp_path / "again.svg"
    status, out, _ = command("figure", folder / "tiny.yaml", "-o", file, "--store", folder / "anodeflow.sqlite")
    assert status == 0
    assert "again.svg" in out
    text = file.read_text()
    assert "machine-learning potential" in text
    assert "bcc Li metal" in text


def start(folder, *arguments):
    # -u: progress lines must arrive while the run goes on; a shell's background jobs pass on that they ignore Ctrl-C
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "anodeflow", "run", "tiny.yaml", "--json", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def wait_for(process, words):
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"'{words}' never came")


def energies(document):
    return {(h["crystal"], h["state"]): h["binding_energy_ev"]["bulk_metal"] for h in document["hosts"]}


def test_ctrl_c_is_clean_and_the_run_goes_on_later(finished, anodeflow, tmp_path):
    write_study(tmp_path)
    process = start(tmp_path)
    wait_for(process, "[2/")
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Continue with: anodeflow run tiny.yaml" in err
    assert "Traceback" not in err
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    assert integrity_check(tmp_path / "anodeflow.sqlite")
    again = anodeflow("run", "tiny.yaml", "--json", cwd=tmp_path)
    assert again.returncode == 0
    reused = int(again.stderr.split(" reused")[0].split()[-1])
    assert reused >= 2
    wanted = energies(finished[1])
    assert energies(json.loads(again.stdout)) == pytest.approx(
        {k: wanted[k] for k in wanted if k[1] != "adsorbed"}, abs=1e-5
    )


def test_kill_9_of_everything_loses_no_finished_calculation(finished, anodeflow, tmp_path):
    write_study(tmp_path)
    process = start(tmp_path)
    wait_for(process, "[3/")
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)  # workers do not outlive their parent
    assert integrity_check(tmp_path / "anodeflow.sqlite")
    again = anodeflow("run", "tiny.yaml", "--json", cwd=tmp_path)
    assert again.returncode == 0
    assert int(again.stderr.split(" reused")[0].split()[-1]) >= 3
    wanted = energies(finished[1])
    assert energies(json.loads(again.stdout)) == pytest.approx(
        {k: wanted[k] for k in wanted if k[1] != "adsorbed"}, abs=1e-5
    )


def test_a_killed_worker_is_replaced(tmp_path):
    write_study(tmp_path)
    process = start(tmp_path, "--workers", "1")
    wait_for(process, "[1/")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert all(h["binding_energy_ev"] for h in json.loads(out)["hosts"])


def test_unconverged_never_becomes_a_binding_energy(tmp_path, anodeflow, command):
    from anodeflow.workflows.cards import load_card

    card = load_card("embedded").model_dump(mode="json", exclude_none=True) | {"name": "short", "max_steps": 5}
    write_yaml(tmp_path, card, "short.yaml")
    study = write_study(tmp_path, card="short.yaml", hosts=["LiCl"], anodes=[], interphases=[])
    done = anodeflow("run", study, "--json", cwd=tmp_path)
    assert done.returncode == 4
    host = json.loads(done.stdout)["hosts"][0]
    assert host["binding_energy_ev"] == {}
    assert "not relaxed after 5 steps" in host["error"]
    # Run again: the same attempt is not repeated, and the verdict is the same.
    assert command("run", study, "--json", cwd=tmp_path)[0] == 4
    # With more steps the finished ones are kept and the others go on.
    write_yaml(tmp_path, card | {"max_steps": 250}, "short.yaml")
    more = anodeflow("run", study, "--json", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["hosts"][0]["binding_energy_ev"]
