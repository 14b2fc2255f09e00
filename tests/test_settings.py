"""The machine's settings: file, environment, and what a person can get wrong."""

from pathlib import Path

import pytest

from anodeflow.errors import InputError
from anodeflow.settings import load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_defaults_without_a_file():
    settings = load_settings()
    assert settings.vasp.command == ("vasp_std",)
    assert settings.gpaw.processes == 1
    assert not settings.vasp.stand_in


def test_a_command_is_split_into_words_and_never_seen_by_a_shell(monkeypatch, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("vasp: {command: \"srun -n 4 '/opt/my vasp/vasp_std'\"}\nqe: {potentials: ~/upf}\n")
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(file))
    settings = load_settings()
    assert settings.vasp.command == ("srun", "-n", "4", "/opt/my vasp/vasp_std")
    assert settings.qe.potentials == Path("~/upf")
    monkeypatch.setenv("ANODEFLOW_VASP_COMMAND", "vasp_std; rm -rf /")
    assert load_settings().vasp.command == ("vasp_std;", "rm", "-rf", "/")


def test_the_environment_overrides_the_file(monkeypatch, tmp_path):
    (tmp_path / "config" / "anodeflow").mkdir(parents=True)
    (tmp_path / "config" / "anodeflow" / "settings.yaml").write_text("gpaw: {processes: 4}\nruns: /scratch/me\n")
    assert load_settings().gpaw.processes == 4
    monkeypatch.setenv("ANODEFLOW_GPAW_PROCESSES", "2")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path))
    assert load_settings().gpaw.processes == 2
    assert load_settings().runs == tmp_path


def test_wrong_keys_values_and_files_are_one_line(monkeypatch, tmp_path):
    file = tmp_path / "settings.yaml"
    monkeypatch.setenv("ANODEFLOW_SETTINGS", str(file))
    with pytest.raises(InputError, match="is not a file"):
        load_settings()
    file.write_text("vasp: {comand: vasp_std}\n")
    with pytest.raises(InputError, match="comand"):
        load_settings()
    file.write_text("gpaw: {processes: 0}\n")
    with pytest.raises(InputError, match="processes"):
        load_settings()
