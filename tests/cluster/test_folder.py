"""The cluster folder: every template filled, nothing in it that a shell could run, and the doctor's findings."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from anodeflow.errors import InputError
from anodeflow.workflows.cluster import scheduler
from anodeflow.workflows.cluster.folder import ClusterFolder, Size, find_folder, walltime_seconds
from anodeflow.workflows.cluster.rendering import ClusterOptions, write_folder


@pytest.mark.parametrize("kind", ["slurm", "pbs", "sge"])
@pytest.mark.parametrize("engine", ["vasp", "castep", "qe", "gpaw", "potential"])
@pytest.mark.parametrize("full", [False, True])
def test_every_folder_is_complete_and_valid(tmp_path, monkeypatch, kind, engine, full):
    more = {"account": "ab12", "partition": "gpu", "modules": ["intel/2024.1", "vasp"], "gpu": True} if full else {}
    files = write_folder(ClusterOptions(kind, tmp_path / "c", engine=engine, **more))
    folder = ClusterFolder(tmp_path / "c")
    for file in files:
        text = file.read_text()
        assert not re.search(r"@[a-z_]+@", text), file
        assert "password" not in re.sub(r"#.*", "", text).replace("password_variable", ""), file
        if file.suffix == ".yaml":
            assert isinstance(yaml.safe_load(text), dict)
            assert text.startswith("#"), f"{file} does not say what it is"
    assert [size.name for size in folder.settings.sizes] == ["small", "medium", "large"]
    assert folder.size_for(21).name == "medium"
    assert folder.size_for(99999).name == "large"
    assert folder.database.name == "anodeflow"
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(tmp_path / "c" / "settings.yaml"))
    from anodeflow.settings import load_settings

    assert load_settings().runs == tmp_path / "c" / "runs"
    done = subprocess.run(["bash", "-n", tmp_path / "c" / "environment.sh"], check=False)
    assert done.returncode == 0
    script = script_of(folder)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "$$" not in script
    assert "exec " in script
    heading = {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$"}[kind]
    directives = [line for line in script.splitlines() if line.startswith(heading)]
    assert any("24:00:00" in line for line in directives)
    assert any("gpu" in line for line in directives) is full
    assert ("module load vasp" in (tmp_path / "c" / "environment.sh").read_text()) is full


def script_of(folder):
    from types import SimpleNamespace

    from anodeflow.workflows.cluster.launching import queue_script
    from anodeflow.workflows.cluster.resources import adapter_values

    size = folder.settings.sizes[-1]
    asked = adapter_values(folder.settings.scheduler, size, size.walltime)
    return queue_script(folder, SimpleNamespace(fw_id=7, name="a b", spec={"_queueadapter": asked}), str(folder.path))


def test_memory_goes_where_each_scheduler_wants_it(tmp_path):
    """PBS refuses a job-wide mem beside select: memory is part of a chunk (qsub manual of PBS Professional)."""
    for kind, given, line in (("pbs", "64gb", "#PBS -l select=2:ncpus=16:mpiprocs=16:mem=64gb"),
                              ("slurm", "64G", "#SBATCH --mem=64G"), ("sge", "4G", "#$ -l h_vmem=4G")):  # fmt: skip
        write_folder(ClusterOptions(kind, tmp_path / kind, engine="vasp"))
        file = tmp_path / kind / "my_qadapter.yaml"
        file.write_text(file.read_text().replace("mem: null", f"mem: {given}"))
        lines = script_of(ClusterFolder(tmp_path / kind)).splitlines()
        assert line in lines
        assert sum(given in one for one in lines) == 1


@pytest.mark.parametrize(
    "value",
    ["a;reboot", "a\nreboot", "a b", "$(reboot)", "`reboot`", "a'b", 'a"b', "a&b", "a|b", "", "-x", "a\\b", "ä"],
)
@pytest.mark.parametrize("key", ["account", "partition", "worker", "parallel_environment", "walltime", "modules"])
def test_nothing_that_a_shell_could_run_gets_in(tmp_path, key, value):
    if value == "" and key in ("worker", "parallel_environment"):
        return  # the default
    with pytest.raises(InputError) as caught:
        write_folder(ClusterOptions("sge", tmp_path / "c", **{key: [value] if key == "modules" else value}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_odd_folders_and_databases(tmp_path, command):
    for folder in ("a b", "a;b", "a'b", "$HOME"):
        with pytest.raises(InputError, match="no spaces"):
            write_folder(ClusterOptions("slurm", tmp_path / folder))
    for uri in ("mongodb://u:secret@h/x", "mongodb://u:p;x@h/x"):
        with pytest.raises(InputError, match="holds a password") as caught:
            write_folder(ClusterOptions("slurm", tmp_path / "c", uri=uri))
        assert "secret" not in str(caught.value)
    for uri in ("mongodb://h/x?a='b", "http://h", "mongodb://h;x/y"):
        with pytest.raises(InputError):
            write_folder(ClusterOptions("slurm", tmp_path / "c", uri=uri))
    arguments = ["hpc", "init", "--scheduler", "slurm", "--output", tmp_path / "c"]
    assert command(*arguments)[0] == 0
    before = (tmp_path / "c" / "cluster.yaml").read_text()
    status, _, err = command(*arguments, "--walltime", "12:00:00")
    assert status == 2
    assert "is there already" in err
    assert (tmp_path / "c" / "cluster.yaml").read_text() == before
    assert command(*arguments, "--walltime", "12:00:00", "--replace")[0] == 0


def test_replacing_a_folder_keeps_what_was_edited(tmp_path, command):
    folder = tmp_path / "c"
    arguments = ["hpc", "init", "--scheduler", "slurm", "--output", folder, "--replace"]
    assert command(*arguments)[0] == 0
    edited = folder / "environment.sh"
    text = edited.read_text() + "module load vasp/6.4\n"
    edited.write_text(text)
    status, out, _ = command(*arguments, "--walltime", "12:00:00", "--account", "ab12")
    assert status == 0
    assert f"kept {edited}, which was edited" in out
    assert edited.read_text() == text
    assert "module load vasp" not in (folder / "environment.sh.new").read_text()
    # The others are new.
    assert ClusterFolder(folder).settings.sizes[-1].walltime_s == 12 * 3600
    assert "ab12" in (folder / "my_qadapter.yaml").read_text()
    assert [file.name for file in folder.glob("*.new")] == ["environment.sh.new"]
    # One that its owner takes over is as it was written again.
    (folder / "environment.sh.new").replace(edited)
    assert f"wrote {edited}" in command(*arguments)[1]
    assert list(folder.glob("*.new")) == []


def test_a_folder_of_which_nothing_is_known_is_not_written_over(tmp_path, command):
    """Made before its files were noted."""
    folder = tmp_path / "c"
    arguments = ["hpc", "init", "--scheduler", "slurm", "--output", folder, "--replace"]
    command(*arguments)
    (folder / ".written.json").unlink()
    before = (folder / "cluster.yaml").read_text()
    assert command(*arguments, "--walltime", "12:00:00")[0] == 0
    assert (folder / "cluster.yaml").read_text() == before
    assert "12:00:00" in (folder / "cluster.yaml.new").read_text()


def test_names_in_the_queue_tell_jobs_apart():
    from anodeflow.workflows.cluster.launching import job_name

    labels = [f"{host}/{kind}/i{site}" for host in ("Li10GeP2S12", "Li10SiP2S12", "Al") for kind in ("bulk", "slab-100")
              for site in range(1, 4)]  # fmt: skip
    names = [job_name(label, 100 + number) for number, label in enumerate(labels)]
    assert len(set(names)) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,14}", name) for name in names)
    # The same label in two studies, and what a person sees of a long one: both its ends.
    assert job_name("Li/bulk/i1", 7) != job_name("Li/bulk/i1", 8)
    assert job_name("Li10GeP2S12/bulk/i1", 27) == "Li10GeP-k-i1-27"
    assert job_name("Li/bulk/i1", 7) == "Li-bulk-i1-7"


def test_finding_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(InputError, match="no cluster folder is known"):
        find_folder()
    with pytest.raises(InputError, match="is not a cluster folder"):
        find_folder(tmp_path)
    write_folder(ClusterOptions("pbs", tmp_path / "anodeflow" / "cluster"))
    assert find_folder().settings.scheduler == "pbs"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version: 1", "version: 2", "update anodeflow"),
        ("walltime: '24:00:00'", "walltime: soon", "not a time"),
        ("atoms: 20", "atoms: 200", "do not grow"),
        ("name: small", "name: light", "light"),
        ("scheduler: slurm", "scheduler: slrum", "scheduler"),
        ("attempts: 6", "atempts: 6", "atempts"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, old, new, words):
    write_folder(ClusterOptions("slurm", tmp_path / "c"))
    file = tmp_path / "c" / "cluster.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        _ = ClusterFolder(tmp_path / "c").settings


def test_a_time_without_quotes_is_not_a_number_of_seconds_to_the_base_of_sixty(tmp_path):
    write_folder(ClusterOptions("slurm", tmp_path / "c"))
    file = tmp_path / "c" / "cluster.yaml"
    file.write_text(file.read_text().replace("'24:00:00'", "24:00:00"))
    assert ClusterFolder(tmp_path / "c").settings.sizes[-1].walltime_s == 86400


def test_tables_of_qstat():
    pbs = (
        "server:\n                                                            Req'd  Req'd   Elap\n"
        "Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time\n"
        "--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----\n"
        "1234.server     me       workq    Li-bulk     12345   1  16    --  24:00 R 00:10\n"
        "1235[].server   me       workq    Li-bulk       --    1  16    --  24:00 Q   --\n"
        "1236.server     me       workq    Li-bulk       --    1  16    --  24:00 C   --\n"
    )
    assert scheduler.parse_qstat(pbs, "pbs") == {"1234": "R", "1235": "Q"}
    sge = (
        "job-ID  prior   name       user         state submit/start at     queue          slots ja-task-ID\n"
        "-------------------------------------------------------------------------------------------------\n"
        "      7 0.55500 Li-bulk    me           r     11/22/2026 04:00:00 all.q@node1        4\n"
        "      8 0.00000 Li-bulk    me           qw    11/22/2026 04:00:01                    4\n"
    )
    assert scheduler.parse_qstat(sge, "sge") == {"7": "r", "8": "qw"}
    assert scheduler.parse_qstat("", "sge") == {}


def test_the_doctor_names_every_broken_link(tmp_path, command, mongo_server, monkeypatch):
    server = mongo_server()
    folder = tmp_path / "c"
    write_folder(ClusterOptions("slurm", folder, uri=server.uri("x")))
    (folder / "database.yaml").write_text(
        (folder / "database.yaml").read_text().replace("timeout_s: 20", "timeout_s: 0.5")
    )
    for name in ("ANODEFLOW_SETTINGS", "FW_CONFIG_FILE", "JOBFLOW_CONFIG_FILE"):
        monkeypatch.setenv(name, "")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (
        ("squeue", "echo '1|RUNNING'"),
        ("sbatch", "cat > /dev/null"),
        ("env", 'exec /usr/bin/env "$@"'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.path.dirname(shutil.which('sh'))}")
    status, out, _ = command("hpc", "doctor", "--folder", folder, "--json")
    found = {row["link"]: row for row in json.loads(out) if row["verdict"] != "warning"}
    assert found["database"]["verdict"] == "good"
    assert found["scheduler"]["found"] == "slurm answers, 1 jobs of yours"
    assert found["python"]["verdict"] == "good"
    assert status == 0, out
    (tools / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: fast' >&2\nexit 1\n")
    (tools / "squeue").unlink()
    adapter = folder / "my_qadapter.yaml"
    adapter.write_text(adapter.read_text().replace("exec /", "/").replace("/python", "/no-python"))
    (folder / "my_launchpad.yaml").write_text("password: secret\n")
    server.stop()
    status, out, _ = command("hpc", "doctor", "--folder", folder, "--json")
    assert status == 4
    broken = {row["link"]: row for row in json.loads(out) if row["verdict"] == "broken"}
    assert set(broken) == {"secrets", "database", "scheduler", "script", "python"}
    assert "invalid partition specified: fast" in broken["script"]["found"]
    assert all(row["remedy"] for row in broken.values())
    assert "secret" not in out.replace("secrets", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("90:30", 5430), ("24:00:00", 86400), ("7-00", 7 * 86400), ("7-12:30", 7 * 86400 + 45000),
     ("1-00:00:01", 86401)],
)  # fmt: skip
def test_a_time_is_what_slurm_takes_it_for(text, seconds):
    """The formats of sbatch --time (its manual page)."""
    assert walltime_seconds(text) == seconds
    size = Size(name="a", atoms=1, walltime=text)
    assert size.walltime_s == seconds
    assert size.walltime.count(":") == 2  # PBS and SGE know no other


@pytest.mark.parametrize("text", ["", "0", "00:00:00", "7-", "-5", "1:60:00", "24 h", "1-00:00:00:00", "9" * 50])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time"):
        walltime_seconds(text)


def test_a_number_that_yaml_may_have_made_of_minutes_and_seconds_is_refused():
    with pytest.raises(ValueError, match="'90' are minutes"):
        Size(name="a", atoms=1, walltime=90)
    assert Size(name="a", atoms=1, walltime=86400).walltime == "24:00:00"  # of 24:00:00 without quotes
