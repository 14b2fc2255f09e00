"""A study as one file: the same bytes every time, checked to the last, and never more than its own files."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from factories import STUDY_HASH

from anodeflow.errors import InputError, StoreError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import export_study, import_study, verify_archive

sys.path.insert(0, str(Path(__file__).parent))
from archives import fill, rewrite


@pytest.fixture
def archive(tmp_path):
    store = open_job_store(tmp_path / "a.sqlite")
    fill(store)
    export_study(store, STUDY_HASH, tmp_path / "study.zip", submitted="study: crystal-properties\n")
    return tmp_path / "study.zip"


def test_a_study_travels_to_another_store(archive, tmp_path, uri):
    for where in (tmp_path / "b.sqlite", uri):
        store = open_job_store(where)
        contents = import_study(archive, store)
        assert (contents.documents, contents.blobs, contents.title) == (2, 1, "ä")
        found = store.query_one({"name": "Li/crystal"})
        assert found["output"]["energy_ev"] == -1.25
        assert found["metadata"]["imported"]["anodeflow"] == contents.anodeflow
        assert import_study(archive, store) == contents
        # The same bytes from whichever store.
        again = tmp_path / "again.zip"
        export_study(store, STUDY_HASH, again, submitted="study: crystal-properties\n")
        assert again.read_bytes() == archive.read_bytes()


def test_what_is_in_it(archive):
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        versions = json.loads(opened.read("versions.json"))
        assert "crystals" in opened.read("study.yaml").decode()
        assert opened.read("submitted.yaml") == b"study: crystal-properties\n"
        assert b"cff-version" in opened.read("CITATION.cff")
    assert names.count("documents/00000.json") == 1
    assert versions["study_hash"] == STUDY_HASH
    assert versions["computed_with"] == {"ase": "3.29"}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_a_stranger_can_check_and_read_it(archive, tmp_path):
    """With nothing of ours: an empty environment, sha256sum, and a Python without any package."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(place)
    nothing = {"PATH": os.defpath}

    def check():
        command = ["sha256sum", "-c", "CHECKSUMS.sha256"]
        return subprocess.run(command, cwd=place, env=nothing, capture_output=True, text=True, check=False)

    done = check()
    assert done.returncode == 0
    assert done.stdout.count(": OK") == len(list(place.rglob("*.*"))) - 1
    code = "import json; print(json.load(open('documents/00000.json'))['output']['energy_ev'])"
    python = [sys.executable, "-I", "-S", "-c", code]
    assert (
        subprocess.run(python, cwd=place, env=nothing, capture_output=True, text=True, check=True).stdout == "-1.25\n"
    )
    (place / "study.yaml").write_text("crystals: [Al]\n")
    done = check()
    assert "study.yaml: FAILED" in done.stdout


def test_every_truncation_is_one_clear_error(archive, tmp_path):
    whole = archive.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        short = tmp_path / "short.zip"
        short.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"truncated|not a zip"):
            verify_archive(short)


def test_every_changed_byte_is_noticed(archive, tmp_path):
    whole = archive.read_bytes()
    changed = tmp_path / "changed.zip"
    noticed = 0
    positions = np.random.default_rng(2).integers(0, len(whole), 150)
    wanted = verify_archive(archive)
    for position in positions:
        data = bytearray(whole)
        data[position] ^= 0x10
        changed.write_bytes(data)
        try:
            # A byte that no reader looks at (time stamps) may change; nothing that is read may.
            assert verify_archive(changed) == wanted
        except InputError:
            noticed += 1
    assert noticed > 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.update({"../../etc/cron.d/x": b""}), "does not belong there"),
        (lambda f: f.update({"/root/.ssh/authorized_keys": b""}), "does not belong there"),
        (lambda f: f.update({"documents/00009.json": b"{}"}), "not in both"),
        (lambda f: f.pop("documents/00000.json"), "not in both"),
        (lambda f: f.update({"documents/00000.json": b"{}"}), "was changed"),
        (lambda f: f.pop("CHECKSUMS.sha256"), "lacks CHECKSUMS"),
        (lambda f: f.update({"versions.json": b"{}"}), "was changed"),
    ],
)
def test_tampered_archives(archive, tmp_path, change, words):
    store = open_job_store(tmp_path / "c.sqlite")
    with pytest.raises(InputError, match=words):
        import_study(rewrite(archive, tmp_path / "bad.zip", change), store)
    assert store.count() == 0
    assert not (tmp_path.parent / "etc").exists()


def test_a_newer_format_asks_for_an_update(archive, tmp_path):
    import hashlib

    def newer(files):
        old = files["versions.json"]
        files["versions.json"] = old.replace(b'"format": 1', b'"format": 9')
        pairs = [
            (hashlib.sha256(d).hexdigest().encode(), hashlib.sha256(files["versions.json"]).hexdigest().encode())
            for d in [old]
        ]
        for was, now in pairs:
            files["CHECKSUMS.sha256"] = files["CHECKSUMS.sha256"].replace(was, now)

    with pytest.raises(InputError, match="format 9"):
        verify_archive(rewrite(archive, tmp_path / "new.zip", newer))


def test_what_cannot_be_exported(tmp_path):
    store = open_job_store(tmp_path / "a.sqlite")
    fill(store)
    with pytest.raises(StoreError, match="no finished study feed"):
        export_study(store, "feed", tmp_path / "x.zip")
    with pytest.raises(InputError, match=r"no ending \.zip"):
        export_study(store, STUDY_HASH, tmp_path / "x.tar")
    with pytest.raises(InputError, match="does not exist"):
        export_study(store, STUDY_HASH, tmp_path / "no" / "x.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_the_commands(archive, tmp_path, command):
    out = tmp_path / "by-command.zip"
    assert command("export", STUDY_HASH, "-o", out, "--store", tmp_path / "a.sqlite")[0] == 0
    status, text, _ = command("import", out, "--check")
    assert status == 0
    assert "is sound" in text
    assert command("import", out, "--store", tmp_path / "d.sqlite")[0] == 0
    assert open_job_store(tmp_path / "d.sqlite").count() == 2
    out.write_bytes(b"PK")
    status, _, err = command("import", out, "--store", tmp_path / "e.sqlite")
    assert status == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "e.sqlite").exists()
