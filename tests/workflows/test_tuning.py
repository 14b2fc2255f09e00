"""Tuning: data by system, each refusal, and a toy surface that a tiny model learns, stopped and resumed."""

import functools
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from factories import calculation_doc, card_record, engine_record, finished_job, one_line, write_yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from monty.json import jsanitize
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from tiny_models import tiny_chgnet, tiny_sevennet
from toy_pairs import Pairs

from anodeflow.analysis.checks import CheckDoc, CheckedStructure
from anodeflow.analysis.labelled_frames import (
    energy_references,
    frames_of,
    named_system,
    reference_frames,
    split_systems,
    spread_evenly,
    system_of,
)
from anodeflow.analysis.program_output.gpaw import printed_steps
from anodeflow.errors import EngineError, InputError, StoreError
from anodeflow.files import file_sha256
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.close_pairs import covalent_sum
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.tuning.data_set import data_set
from anodeflow.workflows.tuning.progress import EndedError, Progress
from anodeflow.workflows.tuning.replay import repelling_distances, replayed_cells, wall_weight
from anodeflow.workflows.tuning.settings import Replay, Tuning, load_tuning

ZERO_EV = 3.7  # of the toy's energies, an atom
GPAW = engine_record("g1", name="gpaw")


def toy_doc(label, structure, steps=1, **changes):
    """A relaxation by the toy surface, as a document of GPAW."""
    rng = np.random.default_rng(sum(map(ord, label)))
    positions, energies, forces, stress = [], [], None, None
    for _ in range(steps):
        moved = structure.copy().perturb(0.15, seed=rng)
        atoms = AseAtomsAdaptor.get_atoms(moved, msonable=False)
        atoms.calc = Pairs()
        energies.append(float(atoms.get_potential_energy()) + ZERO_EV * len(moved))
        forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False) * 160.21766208
        positions.append(moved.cart_coords.tolist())
    last = Structure(structure.lattice, structure.species, positions[-1], coords_are_cartesian=True)
    arrays = {"forces_ev_per_angstrom": forces.tolist(), "energies_ev": energies, "positions_angstrom": positions,
              "cells_angstrom": [structure.lattice.matrix.tolist()] * steps}  # fmt: skip
    fields = {"engine": GPAW, "arrays": arrays, "stress_gpa": stress.tolist(), "electronic_converged": True}
    return calculation_doc(energies[-1], last, label=label, **(fields | changes))


def stretched(factor, element="Al"):
    crystal = load_crystal("Al").copy()
    crystal.scale_lattice(crystal.volume * factor)
    if element != "Al":
        crystal.replace_species({"Al": element})
    return crystal


SYSTEMS = {"soft": 1.06, "middle": 1.0, "hard": 0.94, "tested": 1.03}
DOCS = functools.cache(
    lambda each=6: [toy_doc(f"{name}/{n}", stretched(volume)) for name, volume in SYSTEMS.items() for n in range(each)]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_sevennet(tmp_path_factory.mktemp("tiny") / "tiny.pth")


@pytest.fixture
def tuning_of(tmp_path, model):
    """Write a store and a tuning file; return the file."""

    def write(docs, check=None, **changes):
        store = open_job_store(tmp_path / "s.sqlite")
        named = [*((doc.label, doc) for doc in docs), *([] if check is None else [("check", check)])]
        jobs = [
            finished_job(n, label, jsanitize(doc.model_dump(), strict=True, enum_values=True))
            for n, (label, doc) in enumerate(named)
        ]
        store.docs_store.update(jobs, ["uuid", "index"])
        content = {"tune": f"sevennet:{model}", "data": [{"store": "s.sqlite"}], "test": ["tested"],
                   "validation": ["middle"], "replay": {"crystals": []}}  # fmt: skip
        return write_yaml(tmp_path, content | changes, "tune.yaml")

    return write


# --- the data


def test_a_relaxation_gives_its_printed_steps_too():
    doc = toy_doc("soft/0", stretched(1.0), steps=3)
    printed = [(energy, np.full((4, 3), n), None) for n, energy in enumerate(doc.arrays["energies_ev"])]
    assert [f.step for f in frames_of(doc, "soft")] == [2]
    frames = frames_of(doc, "soft", [printed[0], (99.0, np.zeros((4, 3)), None), printed[1], printed[2]])
    assert [f.step for f in frames] == [0, 1, 2]
    assert frames[1].forces_ev_per_angstrom[0, 0] == 1
    assert np.allclose(frames[0].structure.cart_coords, doc.arrays["positions_angstrom"][0])
    assert np.array_equal(frames[2].forces_ev_per_angstrom, doc.arrays["forces_ev_per_angstrom"])
    assert len({f.digest for f in frames}) == 3
    assert [[f.step for f in spread_evenly(frames, most)] for most in (None, 2, 1)] == [[0, 1, 2], [0, 2], [2]]


def test_what_gpaw_prints_is_what_its_documents_say(examples, tmp_path):
    from anodeflow.workflows.store.archive import read_archive
    from anodeflow.workflows.store.archive_reading import ArchiveFile

    file = examples / "dft" / "results" / "interface-registries.zip"
    _, jobs = read_archive(file)
    job = next(job for job in jobs if job.label == "interface/registry 2")
    with ArchiveFile(file) as archive:
        name = next(name for name in archive.files if name.startswith("files/interface_registry_2"))
        text = archive.text(name)
    steps = list(printed_steps(text))
    energies = np.asarray(job.arrays["energies_ev"])
    assert len(steps) == len(energies) > 3
    assert np.allclose([s.energy_ev for s in steps], energies, atol=2e-6)
    assert np.allclose(steps[-1].forces_ev_per_angstrom, job.arrays["forces_ev_per_angstrom"], atol=1e-5)
    assert list(printed_steps(text[: len(text) // 2]))[-1].energy_ev in [s.energy_ev for s in steps]


def test_systems_are_the_heads_of_labels_or_named():
    assert system_of("Li(100) strained/5 layers", ["Li"]) == system_of("Li(100)/5 layers/cleaved", ["Li"]) == "Li(100)"
    assert named_system("interface/registry 1", {"over Cl": ["interface/reg*1"]}) == "over Cl"
    assert named_system("Li(100)/5 layers", {"over Cl": ["interface/reg*1"]}) is None


def test_frames_of_a_check_belong_to_what_was_checked(examples, model, tmp_path):
    file = write_yaml(tmp_path, {
        "tune": f"sevennet:{model}", "data": [{"archive": str(examples / "dft" / "results" / "labels-2.zip")}],
        "systems": {"one of Al": ["check/displaced 1 of *"]}, "test": ["Al"], "validation": ["Li"],
    }, "tune.yaml")  # fmt: skip
    frames = data_set(load_tuning(file), engine_record("b", name="tiny")).all()
    systems = Counter(frame.system for frame in frames)
    assert systems == {"Al": 2, "one of Al": 1, "Li": 3, "LiAl": 3, "LiCl": 3, "Li2S": 3, "Li3P": 3}
    assert {str(e) for f in frames if f.system == "Li3P" for e in f.structure.symbol_set} == {"Li", "P"}


def test_a_checked_frame_of_dynamics_belongs_to_what_moved(tuning_of):
    moved = toy_doc("check/frame 1", stretched(1.3))
    checked = CheckedStructure(label="check/frame 1", kind="frame", of="Li/LPSC/600 K/seed 1, step 50", group="Li/LPSC",
                               formula="Al4", species=["Al"], environments=["metal"],
                               calculations=[moved.fingerprint])  # fmt: skip
    record = {"engine": engine_record("e"), "card": card_record()}
    check = CheckDoc(check_engine=record["engine"], check_card=record["card"], structures=[checked], **record)
    data = data_set(load_tuning(tuning_of([*DOCS(), moved], check=check, test=["Li/LPSC"])), engine_record("b"))
    (frame,) = data.frames["test"]
    assert frame.label == "check/frame 1 of Li/LPSC/600 K/seed 1, step 50"


@settings(max_examples=25)
@given(
    st.sets(st.text("abcd", min_size=1, max_size=4), min_size=3, max_size=12), st.floats(0.01, 0.99),
    st.integers(0, 99),    st.data(),
)  # fmt: skip
def test_every_system_is_in_one_set_and_none_is_empty(systems, share, seed, data):
    test = data.draw(st.lists(st.sampled_from(sorted(systems)), min_size=1, max_size=len(systems) - 2, unique=True))
    of = split_systems(systems, test, share, seed)
    assert set(of) == systems
    assert {name for name, kind in of.items() if kind == "test"} == set(test)
    assert set(of.values()) == {"training", "validation", "test"}
    assert of == split_systems(sorted(systems, reverse=True), test, share, seed)


def test_references_are_the_shifts_of_elements():
    cells = [load_crystal(name) for name in ("Li", "LiCl", "LiAl", "Li9Al4")]
    shifts = {"Li": 1.5, "Al": -20.0, "Cl": 4.0}
    apart = [sum(shifts[site.specie.symbol] for site in cell) for cell in cells]
    assert energy_references(cells, apart) == pytest.approx(shifts)


def test_crystals_decide_the_zeros_where_they_hold_every_element():
    docs = [toy_doc("Al/crystal", stretched(1.0)), toy_doc("Al(100)/5 layers", stretched(1.1))]
    frames = [frame for doc in docs for frame in frames_of(doc, "x")]
    assert reference_frames(frames) == [0]
    other = frames_of(toy_doc("AlP(100)/5 layers", stretched(1.1, "P")), "y")
    assert reference_frames([*frames, *other]) == [0, 1, 2]


# --- what is refused


def more(label, volume=1.1, element="Al", **changes):
    """One more document."""
    return lambda: toy_doc(label, stretched(volume, element), **changes)


@pytest.mark.parametrize(
    ("docs", "changes", "message"),
    [
        ([more("soft/x", engine=engine_record("q", name="qe"))], {}, "2 engines"),
        ([more("soft/x", card=card_record("c2"))], {}, "2 cards (card c1 (c1): 24,"),
        ([], {"test": ["unheard of"]}, "no system is called 'unheard of'"),
        ([], {"validation": ["tested"]}, "in test and in validation"),
        ([], {"test": ["*"], "validation": 0.5}, "no system is left to train on"),
        ([], {"test": ["tested", "hard", "soft"]}, "no system is left to train on"),
        ([], {"exclude": ["soft/*"]}, "6 frames to train on (hard)"),
        ([], {"exclude": ["soft/0", "Soft/*"]}, "exclude: 'Soft/*' fits no calculation of the data"),
        ([], {"systems": {"mine": ["soft/0", "sift/*"]}}, "systems, mine: 'sift/*' fits no calculation of the data"),
        ([more("soft/x", electronic_converged=False, converged=False)], {},
         "the electrons of 1 calculations did not converge, the first: 'soft/x'"),
        ([more("tested/P", element="P")], {}, "holds P, which no training frame has"),
        ([], {"card": "pbe-bulk"}, "the data hold no frame: 24 not with card pbe-bulk"),
        ([], {"data": [{"store": "s.sqlite", "study": "abc"}]}, "0 studies of 's.sqlite' begin with 'abc'"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_are_one_line(docs, changes, message, tuning_of):
    file = tuning_of([*DOCS(), *(doc() for doc in docs)], **changes)
    with pytest.raises(InputError, match=re.escape(message)):
        data_set(load_tuning(file), engine_record("b", name="tiny"))


@pytest.mark.parametrize(
    ("docs", "changes", "message"),
    [
        ([more("soft/P", element="P")], {}, "is a model for Al, and the data hold P"),
        ([], {"replay": {"crystals": ["LiCl"]}}, "is a model for Al, and the data hold Cl, Li"),
        ([], {"tune": "gpaw"}, "'gpaw' cannot be tuned here"),
        ([], {"tune": "chgnet", "replay": {"weight": 0.3}}, "CHGNet's trainer weighs all cells alike"),
        ([], {"data": [{"store": "s.sqlite", "archive": "x.zip"}]}, "give either store or archive"),
        ([], {"test": []}, "'test' is []"),
        ([], {"epoch": 3}, "unknown key 'epoch'"),
        ([], {"data": [{"store": "s\0"}]}, "'s\\0' holds the character NUL"),
        ([], {"tune": "chgnet:s.sqlite"}, "'s.sqlite' cannot be tuned: "),
        ([], {"tune": "sevennet:"}, "names no model file; write 'sevennet:PATH_TO_MODEL'"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(docs, changes, message, tuning_of, command):
    file = tuning_of([*DOCS(), *(doc() for doc in docs)], **changes)
    status, _, err = command("tune", file, "--dry-run", cwd=file.parent)
    assert status in (2, 3)
    assert message in one_line(err)


def test_a_test_system_under_another_name_is_refused(tuning_of):
    twin = toy_doc("soft/0", stretched(1.06)).model_copy(update={"label": "tested/same", "fingerprint": "other"})
    with pytest.raises(InputError, match=r"holds a geometry of 'soft' \(training\): tested/same, soft/0"):
        data_set(load_tuning(tuning_of([*DOCS(), twin])), engine_record("b"))


def test_labels_of_another_functional_are_refused(tuning_of):
    docs = [toy_doc(f"{name}/{n}", stretched(v), engine=engine_record("r", name="gpaw", functional="r2SCAN"))
            for name, v in SYSTEMS.items() for n in range(6)]  # fmt: skip
    with pytest.raises(InputError, match="frames are of r2SCAN, and 'chgnet' is of PBE"):
        data_set(load_tuning(tuning_of(docs)), engine_record("b", name="chgnet", functional="PBE"))


def test_a_dry_run_says_what_the_data_are(tuning_of, command):
    file = tuning_of(DOCS())
    status, out, err = command("tune", file, "--dry-run", "--json")
    assert status == 0, err
    rows = {row["system"]: row for row in json.loads(out)["systems"]}
    assert {name: row["set"] for name, row in rows.items()} == {
        "soft": "training", "hard": "training", "middle": "validation", "tested": "test"
    }  # fmt: skip
    assert rows["soft"]["frames"] == rows["soft"]["with_stress"] == 6
    assert json.loads(out)["missing"][0].startswith("12 frames of 2 systems are few (100 of 5 at least)")
    assert "tested" in command("tune", file, "--dry-run")[1]


# --- replay


def two_atoms(energy_of):
    """What a model says whose energy is that of two atoms at a distance, in a row of boxes."""

    def labels_of(cells):
        return [(sum(energy_of(cell.get_distance(2 * n, 2 * n + 1)) for n in range(len(cell) // 2)),
                 np.zeros((len(cell), 3)), None) for cell in cells]  # fmt: skip

    return labels_of


@pytest.mark.parametrize(
    ("energy_of", "nearest"),
    [(lambda r: (r - 2.4) ** 2, 1.0), (lambda r: (r - 2.4) ** 2 if r > 1.6 else -5.0, 1.6)],
)
def test_pairs_are_replayed_as_near_as_the_base_repels(energy_of, nearest):
    distances = repelling_distances("Li", "Li", 30, two_atoms(energy_of))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] == pytest.approx(1.4 * covalent_sum("Li", "Li"))
    assert nearest <= distances[-1] < nearest + 0.1


def cells_of(**replay):
    tuning = Tuning(tune="x", data=[{"store": "s"}], test=["t"], replay={"crystals": ["LiCl"], "frames": 3} | replay)
    return replayed_cells(tuning, two_atoms(lambda r: (r - 2.4) ** 2))


def test_near_and_compressed_cells_join_the_displaced_ones():
    few = cells_of(pair_distances=0, pushed=0, compressed=0)
    more = cells_of(pair_distances=5, pushed=6, compressed=2)
    assert [len(few["LiCl"]), len(more["LiCl"])] == [3, 11]
    assert few["LiCl"] == more["LiCl"][-3:]  # the same, the last of which validates
    distances = [cell.distance_matrix[np.triu_indices(8, 1)].min() for cell in more["LiCl"]]
    assert min(distances[:6]) < 1.4
    assert max(distances[:6]) < min(distances[-3:])
    assert all(cell.volume <= load_crystal("LiCl").volume for cell in more["LiCl"][6:8])
    assert [len(cell) for cell in more["pairs in vacuum"]] == [10, 10, 10]
    assert "pairs in vacuum" not in few


def test_a_wall_weighs_less_the_steeper_it_is():
    forces = np.array([[30.0, 0, 0], [-30.0, 0, 0]])
    assert wall_weight(forces) == pytest.approx(0.1)
    assert wall_weight(forces / 20) == wall_weight(0 * forces) == 1


def test_a_slab_is_replayed_where_it_is_said_why():
    slab = {"crystal": "LiCl", "miller": [1, 0, 0], "layers": 3}
    with pytest.raises(ValueError, match="because"):
        cells_of(slabs=[slab])
    cells = cells_of(slabs=[slab | {"because": "GPAW gives the same energy"}])
    assert [cell.composition.formula for cell in cells["LiCl(100), 3 layers"]] == ["Li3 Cl3"] * 3


def test_a_replay_without_the_later_keys_is_the_one_of_before():
    off = Replay(pair_distances=0, pushed=0, compressed=0)
    assert set(off.hashed()) == {"crystals", "frames", "displacement_angstrom", "strain"}
    assert {"pair_distances", "pushed", "compressed"} <= set(Replay().hashed())
    assert Replay(weight=0.5).hashed()["weight"] == 0.5


# --- progress


def epochs(progress, losses, start=1):
    from anodeflow.analysis.tuning import Epoch

    for number, loss in enumerate(losses, start=start):
        file = progress.folder / f"checkpoint_{number}.pth"
        file.write_text(str(number))
        progress.take(Epoch(epoch=number, loss=loss), file, 1.0)


def test_training_ends_by_patience_and_keeps_the_best(tmp_path):
    progress = Progress(tmp_path, "f", patience=3)
    with pytest.raises(EndedError, match="for 3 epochs"):
        epochs(progress, [5, 4, 2, 3, 3, 3, 1])
    assert (progress.best_epoch, progress.best.read_text()) == (3, "3")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["best_3.pth", "checkpoint_6.pth", "progress.json"]
    again = Progress(tmp_path, "f", patience=3)
    assert again.epochs == progress.epochs
    with pytest.raises(EndedError):
        again.end_if_due()


def test_what_was_changed_or_is_of_another_training_is_refused(tmp_path):
    epochs(Progress(tmp_path, "f", patience=3), [5, 4])
    with pytest.raises(StoreError, match="another training"):
        Progress(tmp_path, "g", patience=3)
    (tmp_path / "best_2.pth").write_text("worse")
    with pytest.raises(StoreError, match=r"best_2\.pth' is missing or was changed"):
        Progress(tmp_path, "f", patience=3)


@pytest.mark.parametrize("loss", [float("nan"), 1e6])
def test_a_diverging_training_is_refused(loss, tmp_path):
    with pytest.raises(EngineError, match="the training diverges"):
        epochs(Progress(tmp_path, "f", patience=3), [5, loss])


# --- the whole


NAMES = ("at once", "stopped")
TRAINING = {"epochs": 30, "patience": 30, "batch_size": 4, "learning_rate": 0.02, "decay": 0.95}


@pytest.mark.slow
def test_a_toy_surface_is_learned(tuning_of, command, tmp_path):
    file = tuning_of(DOCS(), training=TRAINING, replay={"crystals": ["Al"], "frames": 2})
    status, out, err = command("tune", file, "--folder", tmp_path / "tuned", "--json")
    assert status == 0, err
    card = json.loads(out)
    errors = {(e["set"], e["model"]): e for e in card["errors"]}
    before, after = (errors["test", when]["forces"][0] for when in ("before", "after"))
    assert after["rmse_ev_per_angstrom"] < 0.3 * before["rmse_ev_per_angstrom"]
    assert after["slope"] == pytest.approx(1, abs=0.2)


def test_a_tuned_model_is_an_engine_with_a_card(tuning_of, command, tmp_path):
    file = tuning_of(DOCS(), training=TRAINING | {"epochs": 1}, replay={"crystals": ["Al"], "frames": 2, "weight": 0.5})
    status, out, err = command("tune", file, "--folder", tmp_path / "tuned", "--json")
    assert status == 0, err
    card = json.loads(out)
    assert card["licence"] is None
    assert card["replay"] == {"Al": 5, "pairs in vacuum": 1}
    assert {(e["set"], e["model"]) for e in card["errors"]} >= {("test", "before"), ("test", "after")}
    assert card["references_ev"]["Al"] == pytest.approx(ZERO_EV, abs=3)
    # the model is an engine, with its digest in the fingerprint and its card in the record
    engine = get_engine(f"sevennet:{tmp_path}/tuned/model.pth")
    record = engine.record()
    assert record.hash == card["model_sha256"][:16]
    assert "frames by gpaw, card card c1" in record.training_data
    # the same again is read, not trained
    assert json.loads(command("tune", file, "--folder", tmp_path / "tuned", "--json")[1]) == card
    # a model that was lost or changed is written again from the weights of its best epoch
    for content in (None, b"another"):
        model = tmp_path / "tuned" / "model.pth"
        model.unlink() if content is None else model.write_bytes(content)
        again = json.loads(command("tune", file, "--folder", tmp_path / "tuned", "--json")[1])
        assert again["model_sha256"] == card["model_sha256"] == file_sha256(model)


@pytest.mark.slow
def test_a_stopped_training_continues_to_the_same_model(tuning_of, command, tmp_path, monkeypatch):
    file = tuning_of(DOCS(), training=TRAINING | {"epochs": 2})
    status, out, err = command("tune", file, "--folder", tmp_path / NAMES[0], "--json")
    assert status == 0, err
    at_once = json.loads(out)
    taken = Progress.take

    def stop(self, epoch, checkpoint, seconds):
        taken(self, epoch, checkpoint, seconds)
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "take", stop)
        assert command("tune", file, "--folder", tmp_path / NAMES[1])[0] != 0
    assert not (tmp_path / NAMES[1] / "card.json").exists()
    stopped = json.loads(command("tune", file, "--folder", tmp_path / NAMES[1], "--json")[1])
    weights = [torch.load(tmp_path / name / "model.pth", weights_only=False)["model_state_dict"] for name in NAMES]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert [e["loss"] for e in stopped["epochs"]] == [e["loss"] for e in at_once["epochs"]]


@pytest.mark.slow
def test_chgnet_is_tuned_by_its_own_trainer(tuning_of, command, tmp_path):
    model = tiny_chgnet(tmp_path / "tiny.pth.tar")
    file = tuning_of(DOCS(), tune=f"chgnet:{model}", training=TRAINING | {"epochs": 6})
    status, out, err = command("tune", file, "--folder", tmp_path / "tuned", "--json")
    assert status == 0, err
    card = json.loads(out)
    errors = {(e["set"], e["model"]): e for e in card["errors"]}
    assert (
        errors["validation", "after"]["forces"][0]["rmse_ev_per_angstrom"]
        < (errors["validation", "before"]["forces"][0]["rmse_ev_per_angstrom"])
    )
    assert get_engine(f"chgnet:{tmp_path}/tuned/model.pth").record().hash == card["model_sha256"][:16]
