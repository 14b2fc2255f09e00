"""Archives that a stranger edited, with new checksums: each is refused in one line, and leaves nothing behind."""

import json
import random
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from archives import edit, rewrite

from anodeflow.errors import InputError
from anodeflow.workflows.store import open_job_store
from anodeflow.workflows.store.archive import import_study, verify_archive

RESULTS = Path(__file__).parents[2] / "examples" / "dft" / "results"
CRYSTALS, WITH_FILES = RESULTS / "crystals.zip", RESULTS / "adsorption-li9al4.zip"
SECONDS, MEGABYTES = 20, 200
GIANT = 10**400


LIAL = "documents/00003.json"
LAST = "documents/00005.json"


def data_of(name):
    return name.replace(".json", ".data.json")


def in_output(key, value):
    """A change of one field of the calculation's output."""

    def changed(content):
        content["output"][key] = value

    return edit(LIAL, changed)


def in_job(key, value):
    def changed(content):
        content[key] = value

    return edit(LIAL, changed)


def in_arrays(change):
    def changed(blobs):
        for blob in blobs:
            change(blob["data"])

    return edit(data_of(LIAL), changed)


def in_last(change):
    return edit(LAST, lambda content: change(content["output"]))


def in_versions(**changes):
    return edit("versions.json", lambda content: content.update(changes))


def together(*changes):
    def changed(files):
        for change in changes:
            change(files)

    return changed


def lower_energy(content):
    content["output"]["energy_ev"] -= 3.0


def lower_energies(data):
    data["energies_ev"] = [energy - 3.0 for energy in data["energies_ev"]]


def relabelled(record):
    record |= {
        "name": "vasp",
        "kind": "plane-wave DFT (PAW)",
        "version": "vasp 6.4.2",
        "model": "POTCAR library PBE_54",
    }


def relabelled_study(files):
    for name in [n for n in files if n.startswith("documents/") and not n.endswith(".data.json")]:
        edit(name, lambda content: relabelled(content["output"]["engine"]))(files)
    edit("versions.json", lambda content: relabelled(content["engine"]))(files)

    def settings(content):
        content["output"]["settings"]["engine"] = "vasp"

    edit(LAST, settings)(files)
    files["study.yaml"] = files["study.yaml"].replace(b"engine: gpaw", b"engine: vasp")


def repeated_key(files):
    files[LIAL] = files[LIAL].replace(b'"energy_ev"', b'"energy_ev": -51.05, "energy_ev"', 1)


def nested(files):
    files[LIAL] = b"[" * 200_000 + b"]" * 200_000


def deep(content):
    inner = content["metadata"]
    for _ in range(60):
        inner["a"] = {}
        inner = inner["a"]


def move_atom(content):
    content["output"]["structure"]["sites"][0]["abc"][0] += 0.1
    content["output"]["structure"]["sites"][0]["xyz"][0] += 0.5


def move_start(content):
    content["output"]["initial_structure"]["sites"][0]["abc"][0] += 0.1


def other_atoms(content):
    for site in content["output"]["structure"]["sites"]:
        site["species"][0]["element"] = "Na"
        site["label"] = "Na"


def swap_arrays(files):
    other = data_of("documents/00000.json")
    mine, theirs = json.loads(files[data_of(LIAL)]), json.loads(files[other])
    for one, two in zip(mine, theirs, strict=False):
        one["data"], two["data"] = two["data"], one["data"]
    files[data_of(LIAL)], files[other] = json.dumps(mine).encode(), json.dumps(theirs).encode()


def swap_documents(files):
    files[LIAL], files["documents/00000.json"] = files["documents/00000.json"], files[LIAL]


def twice(files):
    files["documents/00006.json"] = files[LIAL]
    files["documents/00006.data.json"] = files[data_of(LIAL)]
    in_versions(documents=7)(files)


def without_summary(files):
    del files[LAST]
    in_versions(documents=5)(files)


def other_result(output):
    output["crystals"][0]["energy_per_atom_ev"] -= 1.0


FOREIGN = {"@module": "os", "@class": "system", "command": "touch /tmp/owned"}

EDITED = {
    "energy": (edit(LIAL, lower_energy), "its energy is .* that of its last step"),
    "energy and its steps": (together(edit(LIAL, lower_energy), in_arrays(lower_energies)), "the calculation it rests"),
    "result": (in_last(other_result), "the calculation it rests on"),
    "charge": (in_output("charge", 1), "fingerprint"),
    "task": (in_output("task", "static"), "fingerprint"),
    "fingerprint": (in_output("fingerprint", "0" * 32), "fingerprint"),
    "card": (edit(LIAL, lambda c: c["output"]["card"].update(hash="0" * 16)), "fingerprint"),
    "engine's hash": (edit(LIAL, lambda c: c["output"]["engine"].update(hash="0" * 16)), "that of another"),
    "potential": (edit(LIAL, lambda c: c["output"]["engine"]["potentials"].update(Li="x")), "fingerprint"),
    "one relabelled": (edit(LIAL, lambda c: relabelled(c["output"]["engine"])), "'vasp', its hash"),
    "all relabelled": (relabelled_study, "'vasp', its hash"),
    "start": (edit(LIAL, move_start), "fingerprint"),
    "final geometry": (edit(LIAL, move_atom), "where its last step left them"),
    "final atoms": (edit(LIAL, other_atoms), "differ in the pseudopotentials|others than those"),
    "forces": (in_output("max_force_ev_per_angstrom", 5.0), "largest force"),
    "unconverged": (in_output("error", "not relaxed"), "and also that it did not"),
    "folder": (in_output("directory", "/x/LiAl_crystal-0123456789"), "another calculation"),
    "NaN": (in_output("energy_ev", float("nan")), "not finite"),
    "infinity": (in_output("wall_time_s", float("inf")), "not finite"),
    "NaN of BSON": (in_output("energy_ev", {"$numberDouble": "NaN"}), "not finite"),
    "giant integer": (in_output("ionic_steps", GIANT), "64 bits"),
    "integer of 5000 digits": (
        lambda f: f.update({LIAL: f[LIAL].replace(b'"ionic_steps": ', b'"ionic_steps": 1' + b"0" * 5000, 1)}),
        "not JSON",
    ),
    "text for a number": (in_output("energy_ev", "-51.05"), "not a number"),
    "flag for a number": (in_output("energy_ev", True), "not a number"),
    "text for a flag": (in_output("converged", "yes"), "converged"),
    "list for a structure": (in_output("structure", [1, 2]), "CalculationDoc"),
    "no structure": (in_output("structure", None), "CalculationDoc"),
    "no start": (in_output("initial_structure", None), "started from"),
    "flat cell": (
        edit(LIAL, lambda c: c["output"]["structure"]["lattice"].update(matrix=[[0, 0, 0]] * 3)), "where|Calc|cell",
    ),
    "unknown element": (
        edit(LIAL, lambda c: c["output"]["structure"]["sites"][0]["species"][0].update(element="Qq")), "CalculationDoc",
    ),
    "no blobs": (lambda f: f.pop(data_of(LIAL)), "are missing"),
    "empty blobs": (lambda f: f.update({data_of(LIAL): b"[]"}), "are missing"),
    "blobs of a dict": (lambda f: f.update({data_of(LIAL): b"{}"}), "not a list"),
    "blob of another job": (edit(data_of(LIAL), lambda b: b[0].update(job_uuid="x")), "of another job"),
    "blobs of no document": (lambda f: f.update({"documents/00042.data.json": b"[]"}), "of no document"),
    "swapped arrays": (swap_arrays, "shape|last step|where"),
    "swapped documents": (swap_documents, "missing|another job"),
    "shorter forces": (in_arrays(lambda d: d["forces_ev_per_angstrom"].pop()), "has the shape"),
    "ragged forces": (in_arrays(lambda d: d["forces_ev_per_angstrom"][0].pop()), "has no shape"),
    "forces of text": (in_arrays(lambda d: d.update(forces_ev_per_angstrom=[["a"] * 3] * 8)), "shape|numbers"),
    "no energies": (in_arrays(lambda d: d.update(energies_ev=[])), "shape|last step"),
    "foreign class": (in_output("crystal", FOREIGN), "names the class"),
    "foreign callable": (in_output("crystal", {"@module": "os", "@callable": "system"}), "names the class"),
    "foreign class in arrays": (in_arrays(lambda d: d.update(x=FOREIGN)), "names the class"),
    "class of ours that is no document": (
        in_output("crystal", {"@module": "anodeflow.workflows.local.runner", "@class": "LocalRunner"}),
        "names the class",
    ),
    "unknown kind": (in_output("doc_type", "Anything"), "doc_type"),
    "kind is a list": (in_output("doc_type", ["CalculationDoc"]), "doc_type"),
    "newer schema": (in_output("schema_version", 2), "update anodeflow"),
    "negative schema": (in_output("schema_version", -1), "update anodeflow"),
    "text as schema": (in_output("schema_version", "1"), "update anodeflow"),
    "operator": (in_output("crystal", {"$where": "1"}), r"holds the key|not JSON"),
    "code": (in_output("crystal", {"$code": "f()"}), "holds a Code"),
    "nul": (edit(LIAL, lambda c: c["output"].update({"a\0b": 1})), "holds the key"),
    "half a character": (in_output("label", "\ud800"), "half a character"),
    "key twice": (repeated_key, "stands twice"),
    "nested": (nested, "not JSON"),
    "deep": (edit(LIAL, deep), "nests deeper"),
    "empty file": (lambda f: f.update({LIAL: b""}), "not JSON"),
    "binary": (lambda f: f.update({LIAL: bytes(range(256))}), "not JSON"),
    "not an object": (lambda f: f.update({LIAL: b"[1]"}), "not an object"),
    "forged mark": (edit(LIAL, lambda c: c["metadata"].update(imported={})), "only an import writes"),
    "field of no job": (in_job("password", "x"), "of no job"),
    "no uuid": (edit(LIAL, lambda c: {k: v for k, v in c.items() if k != "uuid"}), "lacks 'uuid'"),
    "uuid is an object": (in_job("uuid", {"$ne": None}), "holds the key|not JSON"),
    "index is a flag": (in_job("index", True), "'index'"),
    "no time": (in_job("completed_at", "yesterday"), "not a time"),
    "wrong study": (edit(LIAL, lambda c: c["metadata"].update(study_hash="0" * 16)), "another study"),
    "twice": (twice, "same identity"),
    "no summary": (without_summary, "no summary|rests"),
    "summary is a calculation": (edit(LIAL, lambda c: c["metadata"].update(label="summary")), "last documents"),
    "other settings": (lambda f: f.update({"study.yaml": f["study.yaml"] + b"\nworkers: 4\n"}), "differ in"),
    "bomb of YAML": (lambda f: f.update({"study.yaml": b"a: &a [1]\nb: [*a, *a]\n"}), "alias"),
    "title": (in_versions(title="Measured"), "differ in 'title'"),
    "engine of the archive": (in_versions(engine={"name": "vasp"}), "differ in 'engine'"),
    "control characters": (in_versions(title="a\x1b[2J"), "says title"),
    "counts of text": (in_versions(documents="6"), "documents ="),
    "newer format": (in_versions(format=2), "update anodeflow"),
    "versions is a list": (lambda f: f.update({"versions.json": b"[]"}), "not an object"),
    "no versions": (lambda f: f.pop("versions.json"), "lacks versions"),
    "path upwards": (lambda f: f.update({"../../x.json": b"{}"}), "does not belong"),
    "absolute path": (lambda f: f.update({"/etc/x.json": b"{}"}), "does not belong"),
    "path of Windows": (lambda f: f.update({"documents\\00009.json": b"{}"}), "does not belong|not in both"),
    "a program": (lambda f: f.update({"files/x-0123456789/run.sh": b"#!/bin/sh"}), "does not belong"),
    "a file of nobody": (
        together(lambda f: f.update({"files/x-0123456789/a.txt": b"x"}), in_versions(files=1)), "of no calculation",
    ),
}  # fmt: skip


def refused(archive, tmp_path, monkeypatch, words):
    """An import of this archive ends in one line, within the limits, and changes nothing."""
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    store = open_job_store(tmp_path / "store.sqlite")
    began = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        import_study(archive, store)
    assert time.monotonic() - began < SECONDS
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 600
    assert store.count() == store.additional_stores["data"].count() == 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("case", EDITED)
def test_edited_archives(case, tmp_path, monkeypatch):
    change, words = EDITED[case]
    bad = rewrite(CRYSTALS, tmp_path / "bad.zip", change, sums=True)
    refused(bad, tmp_path, monkeypatch, words)


def test_an_archive_that_was_only_packed_again_is_imported(tmp_path):
    again = rewrite(CRYSTALS, tmp_path / "again.zip", lambda files: None, sums=True)
    assert verify_archive(again) == verify_archive(CRYSTALS)


def test_seeded_edits_of_numbers_are_refused_or_change_nothing_that_is_used(tmp_path):
    """Of 40 numbers of calculations, drawn by lot, each multiplied: what is not noticed is no result."""
    draw = random.Random(14)
    harmless = {"wall_time_s", "energy_change_last_step_ev", "ionic_steps", "max_stress_gpa", "index", "volume",
                "a", "b", "c", "alpha", "beta", "gamma", "charge", "xyz", "occu", "job_index",
                # of earlier steps: the last one is what counts
                "energies_ev", "positions_angstrom", "cells_angstrom", "forces_ev_per_angstrom", "stress_gpa",
                "magnetic_moment_bohr"}  # fmt: skip
    noticed = 0
    for _ in range(40):
        path = []

        def scaled(content, path=path):
            leaves = list(numbers_in(content, ()))
            chosen = draw.choice(leaves)
            path.extend(chosen)
            inner = content
            for step in chosen[:-1]:
                inner = inner[step]
            inner[chosen[-1]] = inner[chosen[-1]] * 1.5 + 0.05

        bad = rewrite(CRYSTALS, tmp_path / "bad.zip", edit(draw.choice([LIAL, data_of(LIAL)]), scaled), sums=True)
        try:
            verify_archive(bad)
        except InputError:
            noticed += 1
        else:
            assert {step for step in path if isinstance(step, str)} & harmless, path
    assert noticed > 5


def numbers_in(value, path):
    """Where the numbers of a document are."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers_in(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from numbers_in(item, (*path, number))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


# --- what a zip file itself may do


def packed(goal, entries):
    with zipfile.ZipFile(goal, "w", zipfile.ZIP_DEFLATED) as sink:
        for name, data in entries:
            sink.writestr(name, data)
    return goal


def linked(goal):
    entry = zipfile.ZipInfo("documents/00009.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(CRYSTALS) as source, zipfile.ZipFile(goal, "w") as sink:
        for name in source.namelist():
            sink.writestr(name, source.read(name))
        sink.writestr(entry, "/etc/passwd")
    return goal


@pytest.mark.filterwarnings("ignore:Duplicate name")
def doubled(goal):
    with zipfile.ZipFile(CRYSTALS) as source, zipfile.ZipFile(goal, "w") as sink:
        for name in [*source.namelist(), LIAL]:
            sink.writestr(name, source.read(name))
    return goal


def bomb_of_zeros(goal):
    return packed(goal, [("CHECKSUMS.sha256", b""), ("versions.json", b"{}"), ("study.yaml", b""),
                         ("documents/00000.data.json", b" " * (250 << 20))])  # fmt: skip


def bomb_of_many(goal):
    part = b" " * (30 << 20)
    return packed(goal, [(f"documents/{n:05d}.json", part) for n in range(12)])


def bomb_of_lists(goal):
    """Two million empty lists take 200 times the memory of their text."""
    return rewrite(CRYSTALS, goal, lambda f: f.update({data_of(LIAL): b"[" + b"[]," * 2_000_000 + b"[]]"}), sums=True)


def bomb_of_numbers(goal):
    draw = random.Random(5)
    some = b",".join(b"%d" % draw.randrange(10) for _ in range(3_000_000))
    return rewrite(CRYSTALS, goal, lambda f: f.update({data_of(LIAL): b"[" + some + b"]"}), sums=True)


def many_names(goal):
    return packed(goal, ((f"documents/{n:06d}.json", b"") for n in range(120_000)))


def overlapping(goal):
    """One packed block, which 200 entries of the list share."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = b"[" + b"1," * (1 << 20) + b"1]"
    data = block.compress(content) + block.flush()
    crc = zlib.crc32(content)
    name = b"documents/00000.json"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(data), len(content), len(name), 0) + name
    listed = b""
    for number in range(200):
        name = b"documents/%05d.json" % number
        listed += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(data), len(content), len(name),
                              0, 0, 0, 0, 0, 0) + name  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 200, 200, len(listed), len(local) + len(data), 0)
    goal.write_bytes(local + data + listed + end)
    return goal


def lying_list(goal):
    whole = bytearray(CRYSTALS.read_bytes())
    where = whole.rfind(b"PK\5\6")
    whole[where + 12 : where + 16] = struct.pack("<I", 2**31)
    goal.write_bytes(whole)
    return goal


def lying_size(goal):
    """The list says that a document has a hundredth of its size."""
    whole = bytearray(CRYSTALS.read_bytes())
    where = whole.rfind(LIAL.encode()) - 46
    size = struct.unpack_from("<I", whole, where + 24)[0]
    struct.pack_into("<I", whole, where + 24, size // 100)
    goal.write_bytes(whole)
    return goal


def encrypted(goal):
    whole = bytearray(CRYSTALS.read_bytes())
    where = whole.rfind(LIAL.encode()) - 46
    whole[where + 8] |= 1
    goal.write_bytes(whole)
    return goal


def packed_otherwise(goal):
    with zipfile.ZipFile(CRYSTALS) as source, zipfile.ZipFile(goal, "w", zipfile.ZIP_LZMA) as sink:
        for name in source.namelist():
            sink.writestr(name, source.read(name))
    return goal


def truncated(goal):
    goal.write_bytes(CRYSTALS.read_bytes()[:9000])
    return goal


def of_nothing(goal):
    goal.write_bytes(b"")
    return goal


MADE = {
    linked: "link", doubled: "two files of one name", bomb_of_zeros: "would unpack", bomb_of_many: "would unpack",
    bomb_of_lists: "would unpack|values in", bomb_of_numbers: "values in|arrays", many_names: "larger than|list of",
    overlapping: "would unpack|lacks|truncated", lying_list: "its list of files", lying_size: "damaged|changed",
    encrypted: "encrypted", packed_otherwise: "does not use", truncated: "truncated", of_nothing: "truncated",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_zip_files_that_are_no_archives(make, tmp_path, monkeypatch):
    refused(make(tmp_path / "bad.zip"), tmp_path, monkeypatch, MADE[make])


CHECK = """
import resource, sys
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from anodeflow.errors import InputError
from anodeflow.workflows.store.archive import verify_archive
ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    verify_archive(sys.argv[1])
except InputError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - ready) / 1024)
"""


SLOW = [pytest.param(make, marks=pytest.mark.slow) for make in (bomb_of_many, bomb_of_numbers, many_names)]


@pytest.mark.parametrize("make", [bomb_of_zeros, bomb_of_lists, overlapping, *SLOW],
                         ids=lambda make: make.__name__)  # fmt: skip
def test_a_bomb_is_refused_in_little_memory(make, tmp_path):
    bad = make(tmp_path / "bad.zip")
    done = subprocess.run([sys.executable, "-c", CHECK, bad], capture_output=True, text=True, timeout=SECONDS,
                          check=True)  # fmt: skip
    assert float(done.stdout) < MEGABYTES


def test_a_file_that_its_document_does_not_name(tmp_path, monkeypatch):
    """The trajectory of a segment is the one whose digest the document holds."""
    name = f"files/{Path(name_of_file(WITH_FILES)).parent.name}/more.txt"
    bad = rewrite(WITH_FILES, tmp_path / "bad.zip", lambda f: f.update({name: b"x"}), sums=True)
    with zipfile.ZipFile(WITH_FILES) as opened:
        files = sum(name.startswith("files/") for name in opened.namelist())
    refused(bad, tmp_path, monkeypatch, f"holds {files + 1} of {files} files")


def name_of_file(archive):
    with zipfile.ZipFile(archive) as opened:
        return next(name for name in opened.namelist() if name.startswith("files/"))
