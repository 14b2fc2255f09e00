"""The command line: what a person can get wrong, each one clear line and an exit status."""

import json
import subprocess
import sys

import pytest
from factories import one_line, write_yaml

GOOD = {"study": "binding-energy", "hosts": ["Al"], "engine": "chgnet"}


def study(folder, **changes):
    data = {k: v for k, v in (GOOD | changes).items() if v is not None}
    return write_yaml(folder, data, "s.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hosts": ["LiAll"]}, ["unknown crystal 'LiAll'", "LiAl"]),
        ({"hosts": ["Li6PS5Cl"]}, ["Li6PS5Cl", "ordered"]),
        ({"hosts": []}, ["s.yaml", "hosts"]),
        ({"hosts": ["Al", "Al"]}, ["Al is given twice"]),
        ({"host": ["Al"]}, ["unknown key 'host'", "hosts"]),
        ({"study": "bindin-energy"}, ["unknown study", "binding-energy"]),
        ({"study": None}, ["'study' is missing"]),
        ({"engine": "chgnett"}, ["unknown engine 'chgnett'", "chgnet"]),
        ({"engine": "mace:/no/model"}, ["mace"]),
        ({"engine": "sevennet"}, ["names no model file"]),
        ({"engine": "sevennet:/no/such.pth"}, ["no model file", "/no/such.pth"]),
        ({"card": "lacss"}, ["unknown method card 'lacss'", "lacss2024"]),
        ({"environments": ["surface"]}, ["Al", "miller"]),
        ({"environments": ["sruface"]}, ["environments", "sruface", "surface"]),
        ({"hosts": [{"crystal": "Al", "surface": {"miller": [0, 0, 0]}}], "environments": ["surface"]}, ["(0, 0, 0)"]),
        ({"hosts": [{"crystal": "Al", "surface": {"miler": [1, 1, 1]}}]}, ["miler", "miller"]),
        (
            {"hosts": [{"crystal": "Al", "surface": {"miller": [1, 1, 1], "thickness_nm": 1.2}}]},
            ["thickness_nm", "min_thickness_angstrom"],
        ),
        ({"bulk": {"min_image_distance_angstrom": "1 nm"}}, ["1 nm", "plain number", "min_image_distance_angstrom"]),
        ({"bulk": {"min_image_distance_angstrom": 30, "max_atoms": 60}}, ["60"]),
        ({"anodes": ["Cu"]}, ["Cu", "not among the hosts"]),
        ({"references": ["ion"]}, ["ion", "balance"]),
        ({"references": ["bulk"]}, ["references", "bulk_metal"]),
        ({"lithium_charge": 1}, ["cannot hold a charge", "charged: neutral"]),
    ],
)  # fmt: skip
def test_a_wrong_study_is_refused_before_anything_runs(tmp_path, command, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("run", study(tmp_path, **changes))
    line = one_line(err)
    assert status in (2, 3)
    assert out == ""
    assert all(word in line for word in words), line
    assert not (tmp_path / "anodeflow.sqlite").exists()


def test_a_users_own_files(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 4.0\nloop_\n")
    (tmp_path / "overlap.vasp").write_text("x\n1.0\n4 0 0\n0 4 0\n0 0 4\nAl Li\n1 1\nDirect\n0 0 0\n0 0 0.05\n")
    for name, words in [("broken.cif", "broken.cif"), ("overlap.vasp", "0.200 angstrom"), ("none.cif", "none.cif")]:
        status, _, err = command("plan", study(tmp_path, hosts=[name]))
        assert status == 2
        assert words in one_line(err)
    (tmp_path / "mine.vasp").write_text(
        "Al\n1.0\n4.04 0 0\n0 4.04 0\n0 0 4.04\nAl\n4\nDirect\n0 0 0\n0.5 0.5 0\n0.5 0 0.5\n0 0.5 0.5\n"
    )
    status, out, err = command("plan", study(tmp_path, hosts=["mine.vasp"]), "--json")
    assert status == 0, err
    labels = [job["calculation"] for job in json.loads(out)["jobs"]]
    assert labels == [
        "Li/crystal",
        "mine/crystal",
        "mine/bulk/host",
        "mine/bulk/i1",
        "mine/bulk/i2",
        "mine/bulk/sub-Al1",
    ]


def test_plan_shows_jobs_atoms_kpoints_and_cost(tmp_path, command):
    status, out, err = command("plan", study(tmp_path, hosts=["LiCl"], card="cui2026-binding"), "--json")
    assert status == 0, err
    plan = json.loads(out)
    assert plan["calculations"] == len(plan["jobs"]) == 5
    jobs = {job["calculation"]: job for job in plan["jobs"]}
    assert jobs["LiCl/bulk/held-1"]["atoms"] == jobs["LiCl/bulk/host"]["atoms"] - 1
    assert jobs["LiCl/crystal"]["kpoints"] == "5×5×5"  # ceil(1/5.148/0.04)
    assert jobs["LiCl/bulk/i1"]["atoms"] == jobs["LiCl/bulk/host"]["atoms"] + 1
    assert plan["expected_core_hours"] > 0
    assert any("do not apply" in note for note in plan["notes"])


def test_plan_of_the_example_names_every_host(examples, command):
    status, out, err = command("plan", examples / "binding-energy.yaml", "--json")
    assert status == 0, err
    plan = json.loads(out)
    hosts = {job["calculation"].split("/")[0] for job in plan["jobs"]}
    assert hosts == {"Al", "Li", "LiAl", "Li9Al4", "LiCl", "Li2S", "Li3P", "P2S5"}
    tasks = {job["calculation"]: job["task"] for job in plan["jobs"]}
    assert tasks["Li9Al4/crystal"] == "relax_cell"
    assert tasks["P2S5/crystal"] == "relax"  # dispersion holds it together; PBE has none


def test_neutral_in_place_of_an_ion_is_said(tmp_path, command):
    status, out, _ = command("plan", study(tmp_path, lithium_charge=1, charged="neutral"), "--json")
    assert status == 0
    assert any("neutral Li in place of Li+" in note for note in json.loads(out)["notes"])


def test_missing_package_is_one_line(tmp_path, command, monkeypatch):
    import importlib.util

    from anodeflow.workflows.engines import registry as engines

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "chgnet" else real(n, *a))
    engines.get_engine.cache_clear()
    status, _, err = command("plan", study(tmp_path))
    engines.get_engine.cache_clear()
    assert status == 3
    assert "pip install 'anodeflow[embedded]'" in one_line(err)


def test_stores_that_cannot_be_used(tmp_path, command):
    import sqlite3

    status, _, err = command("results", "--store", tmp_path / "none.sqlite")
    assert status == 6
    assert "none.sqlite" in one_line(err)
    (tmp_path / "text.sqlite").write_text("this is no database, but it is long enough to look like a file" * 20)
    status, _, err = command("results", "--store", tmp_path / "text.sqlite")
    assert status == 6
    one_line(err)
    from anodeflow.workflows.store import open_job_store

    newer = tmp_path / "newer.sqlite"
    open_job_store(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    status, _, err = command("results", "--store", newer)
    assert status == 6
    assert "999" in one_line(err)
    status, _, err = command("run", study(tmp_path), "--store", tmp_path / "no" / "folder" / "x.sqlite")
    assert status == 6
    assert "folder" in one_line(err)


def test_figures_that_could_not_be_written_are_refused_first(tmp_path, command):
    for name, words in [("f.doc", "ending"), ("no/f.png", "does not exist")]:
        status, _, err = command("run", study(tmp_path), "--figure", tmp_path / name)
        assert status == 2
        assert words in one_line(err)
    assert not (tmp_path / "anodeflow.sqlite").exists()


def test_figure_of_a_study_that_was_not_run(tmp_path, command):
    from anodeflow.workflows.store import open_job_store

    open_job_store(tmp_path / "s.sqlite").close()
    status, _, err = command("figure", study(tmp_path), "-o", tmp_path / "f.png", "--store", tmp_path / "s.sqlite")
    assert status == 2
    assert "run it first" in one_line(err)
    assert not (tmp_path / "f.png").exists()


def test_bad_queries(tmp_path, command):
    from anodeflow.workflows.store import open_job_store

    filled = open_job_store(tmp_path / "s.sqlite")
    filled.update({"uuid": "u", "index": 1, "name": "x", "output": {"doc_type": "BindingEnergyDoc"}}, ["uuid", "index"])
    filled.close()
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    bad = ("{", "[1]", '{"$where": "1"}', '{"a": {"$nonsense": 1}}', '{"$or": 1}', '{"name": {"$regex": "("}}', deep)
    for text in bad:
        status, _, err = command("results", "--store", tmp_path / "s.sqlite", "--query", text)
        assert status == 2, text
        one_line(err)


def test_crystals(command):
    status, out, _ = command("crystals", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) >= {"Li", "Al", "LiAl", "Li3Al2", "Li9Al4", "LiCl", "Li2S", "Li3P", "P2S5", "Li6PS5Cl"}
    assert all(row["source"] for row in rows.values())
    status, out, _ = command("crystals", "Li9Al4", "--json")
    assert len(json.loads(out)["sites"]) == 26
    status, out, err = command("crystals", "Li9Al5")
    assert status == 2
    assert "Li9Al4" in one_line(err)


def test_a_misspelt_command_is_met_with_the_right_one(command):
    status, _, err = command("crystal")
    assert status == 2
    assert "did you mean 'crystals'" in err


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from anodeflow.cli.main import cli; "
        "cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pymatgen", "ase", "jobflow", "torch", "matplotlib", "rich"} & set(out.split())


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1,1]\nb: &b [*a,*a]\nstudy: *b\n",
        "a: &a [*a]\nstudy: binding-energy\n",
        "study: " + "[" * 5000 + "\n",
        "study: binding-energy\nseed: " + "9" * 5000 + "\nhosts: [Al]\n",
        "study: binding-energy\nhosts: [" + "a" * 5000 + "]\n",
        'study: binding-energy\nengine: chgnet\nhosts: [Al]\ntitle: "\\uD800"\n',
        "study: binding-energy\nengine: chgnet\nhosts: [Al]\nenvironments: [bulk, bulk]\n",
        "x" * 2_000_000,
        "study: !!python/object/apply:os.system [ls]\n",
    ],
    ids=["bomb", "recursive", "deep", "digits", "long name", "surrogate", "twice", "large", "tag"],
)
def test_hostile_yaml_is_one_line(tmp_path, command, text):
    file = tmp_path / "h.yaml"
    file.write_text(text)
    status, _, err = command("plan", file)
    assert status != 0
    one_line(err)


def test_nothing_ever_prints_a_traceback(command, monkeypatch, tmp_path):
    from anodeflow.workflows import studies

    def broken(_):
        raise ZeroDivisionError("boom\nboom")

    monkeypatch.setattr(studies, "load_study", broken)
    status, _, err = command("plan", study(tmp_path))
    assert status == 70
    assert "ANODEFLOW_DEBUG=1" in one_line(err)
    monkeypatch.setenv("ANODEFLOW_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        command("plan", study(tmp_path))
