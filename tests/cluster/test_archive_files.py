"""What the codes wrote travels with a study, without what may not be given away; dynamics go on from it elsewhere."""

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from factories import STUDY_HASH, finished_job

from anodeflow.errors import InputError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import export_study, import_study, verify_archive

sys.path.insert(0, str(Path(__file__).parent))
from archives import fill as fill_study
from archives import key_of, rewrite, summary

CALCULATION = f"Li_crystal-{key_of()[:10]}"
MAY_GO = ("INCAR", "OUTCAR", "vasprun.xml.gz", "POTCAR.spec", "castep.cell", "01/OUTCAR", "trajectory.atraj")
MAY_NOT = ("POTCAR", "WAVECAR", "CHGCAR", "Li.pbe-s-kjpaw_psl.1.0.0.UPF", "castep.check", "Li_00.usp", ".lock",
           "a/b/OUTCAR", "state.gpw")  # fmt: skip


def fill(store, folder):
    fill_study(store, str(folder / CALCULATION))


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "here"))
    for name in (*MAY_GO, *MAY_NOT):
        file = tmp_path / "here" / CALCULATION / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode() * 1000)
    (tmp_path / "here" / "notes.txt").write_text("of nobody's")
    (tmp_path / "here" / CALCULATION / "link.out").symlink_to("/etc/passwd")
    store = open_job_store(tmp_path / "a.sqlite")
    fill(store, tmp_path / "here")
    export_study(store, STUDY_HASH, tmp_path / "study.zip")
    return tmp_path / "study.zip"


def test_files_travel_and_what_may_not_stays(archive, tmp_path, monkeypatch):
    assert verify_archive(archive).files == len(MAY_GO)
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.startswith("files/")]
    assert sorted(names) == sorted(f"files/{CALCULATION}/{name}" for name in MAY_GO)
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "there"))
    there = tmp_path / "there" / "imported" / CALCULATION
    there.mkdir(parents=True)
    (there / "INCAR").write_text("mine")
    import_study(archive, open_job_store(tmp_path / "b.sqlite"))
    for name in MAY_GO:
        assert (there / name).read_bytes() == (b"mine" if name == "INCAR" else name.encode() * 1000)
    assert not list(there.rglob(".*"))


def test_without_files(archive, tmp_path):
    store = open_job_store(tmp_path / "a.sqlite", read_only=True)
    assert export_study(store, STUDY_HASH, tmp_path / "small.zip", files=False).files == 0
    assert verify_archive(tmp_path / "small.zip").files == 0


def with_file(archive, goal, name, data=b"x"):
    """The archive with one more file, its checksum in the list."""

    def add(files):
        files["CHECKSUMS.sha256"] += f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
        files[name] = data

    return rewrite(archive, goal, add)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"files/{CALCULATION}/../../../x.txt", "does not belong there"),
        ("files/../x.txt", "does not belong there"),
        (f"files/{CALCULATION}/.bashrc", "does not belong there"),
        (f"files/{CALCULATION}/POTCAR", "does not belong there"),
        (f"files/{CALCULATION}/a/b/c/x.txt", "does not belong there"),
        ("files//etc/x.txt", "does not belong there"),
        (f"files/{CALCULATION}/more.txt", "holds 8 of 7 files"),
    ],
)
def test_files_that_do_not_belong_there(archive, tmp_path, monkeypatch, name, words):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "there"))
    with pytest.raises(InputError, match=words):
        import_study(with_file(archive, tmp_path / "bad.zip", name), open_job_store(tmp_path / "c.sqlite"))
    assert not (tmp_path / "there").exists()


def test_files_of_another_calculation(archive, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(other, "w") as sink:
        for known in source.namelist():
            content = source.read(known)
            if known == "CHECKSUMS.sha256":
                content = content.replace(CALCULATION.encode() + b"/INCAR", b"Al_bulk-9999999999/INCAR")
            sink.writestr(known.replace(f"{CALCULATION}/INCAR", "Al_bulk-9999999999/INCAR"), content)
    with pytest.raises(InputError, match="of no calculation of this study"):
        verify_archive(other)


def test_dynamics_go_on_from_an_archive(tmp_path, monkeypatch):
    """Segments of another machine are found, their frames are there, and the next one begins where they end."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "workflows"))
    from springs import Springs, crystal

    from anodeflow.workflows.cards import Dynamics, load_card
    from anodeflow.workflows.engines.potentials import models as potentials
    from anodeflow.workflows.jobs.recognised import recognised_of
    from anodeflow.workflows.jobs.segment import DynamicsRun, dynamics_segment

    sys.path.pop(0)
    model = tmp_path / "model"
    model.write_text("springs")
    kind = potentials.Potential("ase", None, lambda path, device: Springs(q=8.0), 1e-6, "test")
    monkeypatch.setitem(potentials.POTENTIALS, "springs", kind)
    monkeypatch.setenv("ANODEFLOW_DEVICE", "cpu")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "here"))
    moving = Dynamics(ensemble="nvt", timestep_fs=2, duration_ps=1, temperature_k=300, thermostat="langevin")
    run = DynamicsRun(dynamics=moving, seed=1, equilibration_steps=0, sample_every=5, checkpoint_every=10).model_dump(
        mode="json"
    )
    card = load_card("lacss2024-aimd").model_dump(mode="json")

    def asked(previous, number):
        made = dynamics_segment(
            None if previous else crystal(), previous, run, card, f"springs:{model}", f"s {number}",
            (number - 1) * 20, number * 20,
        )  # fmt: skip
        made.update_metadata({"study_hash": STUDY_HASH, "label": f"s {number}"})
        return made

    def segment(previous, number, store):
        return asked(previous, number).run(store).output

    store = open_job_store(tmp_path / "a.sqlite")
    first = segment(None, 1, store)
    last = finished_job(9, "summary", summary(engine=first.engine, card=first.card, crystals=[]))
    store.docs_store.update([last], ["uuid", "index"])
    assert export_study(store, STUDY_HASH, tmp_path / "study.zip").files == 2
    straight = segment(first, 2, open_job_store(tmp_path / "straight.sqlite"))

    (tmp_path / "here").rename(tmp_path / "gone")
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "there"))
    other = open_job_store(tmp_path / "b.sqlite")
    import_study(tmp_path / "study.zip", other)
    found = recognised_of(asked(None, 1)).find(other)
    assert found.directory == str(tmp_path / "there" / "imported" / Path(first.directory).name)
    assert segment(None, 1, other).wall_time_s == first.wall_time_s  # not computed again
    assert segment(found, 2, other).checkpoint_digest == straight.checkpoint_digest
