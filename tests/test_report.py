"""`anodeflow report`: the page of a study, read back as HTML."""

import base64
import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import get_type_hints

import pytest

from anodeflow.cli.output.studies import imported_line
from anodeflow.report.mathtext import as_html
from anodeflow.report.page import report_page, script_json
from anodeflow.report.record import read_record
from anodeflow.report.structures import poscar
from anodeflow.settings import imported_runs
from anodeflow.workflows.store.renamed import DOCUMENT_CLASSES, may_be_named
from anodeflow.workflows.studies.graph import Result
from anodeflow.workflows.studies.registry import STUDIES, load

RESULTS = Path(__file__).parent.parent / "examples" / "dft" / "results"
ARCHIVES = ("adsorption-li9al4", "crystals-primitive", "surface-li", "interface-over-li")
_VOID = {"meta", "link", "br", "img", "input", "hr"}
_LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """What a page holds: elements in order with their text, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.raw = [], [], text
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in _VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def of(self, tag, **wanted):
        return [(a, text) for name, a, text in self.elements if name == tag and wanted.items() <= a.items()]

    @property
    def data(self):
        return json.loads(self.of("script", id="data")[0][1])

    def numbers(self):
        """Every number of every table, in order."""
        return [float(a["data-value"]) for a, _ in self.of("td") if "data-value" in a]


def page_of(study, store=Path("missing.sqlite")):
    return Page(report_page(read_record(str(study), store, imported_line), "as printed"))


@pytest.fixture(scope="module")
def pages():
    return {name: page_of(RESULTS / f"{name}.zip") for name in ARCHIVES}


def document_of(name):
    with zipfile.ZipFile(RESULTS / f"{name}.zip") as archive:
        names = sorted(n for n in archive.namelist() if re.fullmatch(r"documents/\d+\.json", n))
        return [json.loads(archive.read(n)) for n in names]


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_page_is_one_sound_file_that_loads_nothing(pages, name):
    page = pages[name]
    assert page.open == []  # every element is closed
    assert len(page.raw.encode()) < 8e6
    for tag, attributes, _ in page.elements:
        address = attributes.get(_LOADS.get(tag, ""), "")
        assert not address or address.startswith("data:"), (tag, address)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert "url(" not in page.of("style")[0][1]
    assert all(a["href"].startswith(("#", "https://doi.org/")) for a, _ in page.of("a"))
    policy = page.of("meta", **{"http-equiv": "Content-Security-Policy"})[0][0]["content"]
    assert policy.startswith("default-src 'none'")
    run = [text for a, text in page.of("script") if a.get("type") != "application/json"]
    for script in run:  # only these may run, wherever else a script might get in
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert len(run) == policy.count("sha256-") == 3


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_link_and_label_has_its_goal(pages, name):
    page = pages[name]
    identities = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    assert {a["href"][1:] for a, _ in page.of("a") if a["href"].startswith("#")} <= set(identities)
    assert all(a.get("alt") for a, _ in page.of("img"))
    assert all(a.get("aria-label") for a, _ in page.of("div", role="group"))
    assert [tag for tag, _, _ in page.elements if tag in ("h1", "h2")].count("h1") == 1


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_calculation_is_there_with_its_folder_and_files(pages, name):
    page = pages[name]
    calculations = {
        job["output"]["fingerprint"]: job["output"]
        for job in document_of(name)
        if isinstance(job["output"], dict) and job["output"].get("doc_type") == "CalculationDoc"
    }
    shown = {a["id"].removeprefix("calc-"): text for a, text in page.of("details") if a.get("id")}
    assert set(shown) == set(calculations)
    energies = {float(a["data-value"]) for a, _ in page.of("td") if "data-value" in a}
    for fingerprint, output in calculations.items():
        assert output["energy_ev"] in energies
        for part in (output["engine"]["version"], output["card"]["hash"], output["directory"] or ""):
            assert part in shown[fingerprint]
    with zipfile.ZipFile(RESULTS / f"{name}.zip") as archive:
        for entry in archive.namelist():
            if entry.startswith("files/"):
                folder, file = entry.split("/")[1:3]
                assert any(folder in text and file in text for text in shown.values())


def test_numbers_are_those_of_the_documents(pages):
    last = document_of("surface-li")[-1]["output"]
    [surface] = last["surfaces"]
    assert surface["gamma_j_per_m2"] in pages["surface-li"].numbers()
    assert f"{surface['gamma_j_per_m2']:.3f} J/m²" in pages["surface-li"].of("p", **{"class": "answer"})[0][1]
    crystals = document_of("crystals-primitive")[-1]["output"]["crystals"]
    numbers = pages["crystals-primitive"].numbers()
    for crystal in crystals:
        assert crystal["energy_per_atom_ev"] in numbers
        assert crystal["cell_angstrom"][0] in numbers


def test_the_figure_shows_the_numbers_of_the_documents(pages):
    last = document_of("crystals-primitive")[-1]["output"]
    energies = {c["formation_energy_ev_per_atom"] for c in last["crystals"] if c["formation_energy_ev_per_atom"]}
    bars = next(t for t in pages["crystals-primitive"].data["panels"][1]["data"] if t["type"] == "bar")
    assert sorted(bars["y"]) == pytest.approx(sorted(energies), rel=1e-6)
    layout = pages["crystals-primitive"].data["panels"][1]["layout"]
    assert layout["yaxis"]["title"]["text"] == "formation energy (eV/atom)"
    assert layout["xaxis"]["ticktext"] == ["LiAl", "Li<sub>9</sub>Al<sub>4</sub>"]


def test_structures_are_those_of_the_documents(pages):
    shown = {s["fingerprint"]: s for s in pages["surface-li"].data["structures"]}
    for job in document_of("surface-li"):
        output = job["output"]
        if isinstance(output, dict) and output.get("doc_type") == "CalculationDoc":
            after = shown[output["fingerprint"]]["views"][-1]["poscar"].splitlines()
            assert after[5:7] == ["Li", str(len(output["structure"]["sites"]))]
            assert [float(x) for x in after[8].split()] == pytest.approx(
                output["structure"]["sites"][0]["xyz"], abs=1e-5
            )


def test_a_trajectory_study_fits_on_a_page_and_has_rows():
    page = page_of(RESULTS.parent.parent / "aimd" / "results" / "lacss2024-aimd.zip")
    assert page.open == []
    assert len(page.raw.encode()) < 8e6
    [(image, _)] = page.of("img")
    assert image["src"].startswith("data:image/png")  # as SVG it has 2 MB
    assert "kept" in image["class"]  # beside the panels: they do not show its pictures of structures
    assert len(page.data["panels"]) == 3
    cells = [a["data-value"] for a, _ in page.of("td") if "data-value" in a]
    for value in ("313.71773774442187", "0.62", "10.0"):  # mean temperature, half of the PS4 broken, length
        assert value in cells


def test_poscar_puts_atoms_of_an_element_together():
    site = lambda element, x: {"species": [{"element": element, "occu": 1}], "xyz": [x, 0.0, -1e-9]}  # noqa: E731
    matrix = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    structure = {"lattice": {"matrix": matrix}, "sites": [site("Li", 0.0), site("Cl", 2.0), site("Li", 1.0)]}
    lines = poscar(structure, "two\nlines").splitlines()
    assert lines[0] == "two lines"
    assert lines[5:] == ["Li Cl", "2 1", "Cartesian", "0.00000 0.00000 0.00000", "1.00000 0.00000 0.00000",
                         "2.00000 0.00000 0.00000"]  # fmt: skip


def test_the_page_of_a_store_is_that_of_the_archive(command, pages, tmp_path, monkeypatch):
    monkeypatch.setenv("ANODEFLOW_RUNS", str(tmp_path / "runs"))
    store = tmp_path / "results.sqlite"
    assert command("import", RESULTS / "surface-li.zip", "--store", store)[0] == 0
    assert imported_runs().is_dir()
    page = page_of("662dd3b7", store)  # the first digits of the hash
    theirs = pages["surface-li"]
    assert page.numbers() == theirs.numbers()
    assert page.data == theirs.data
    for tag in ("h1", "td", "dd", "figcaption", "summary"):
        shown, wanted = ([text for _, text in p.of(tag)] for p in (page, theirs))
        assert shown == [text for text in wanted if text != "The study file as it was written"]
    assert "imported from archive" in page.of("p", id="imported")[0][1]


def test_html_in_titles_labels_and_names_is_shown_as_text():
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    record = read_record(str(RESULTS / "surface-li.zip"), Path("missing"), imported_line)
    record.document.title = hostile
    record.document.warnings.append(hostile)
    record.document.surfaces[0].crystal = hostile
    record.imported = hostile
    for job in record.jobs:
        output = job["output"]
        if isinstance(output, dict):
            output["label"] = output["crystal"] = hostile
            output["directory"] = f"/runs/{hostile}-1234567890"
    record.files = {f"{hostile}-1234567890".split("/")[-1]: [(hostile, 3)]}
    record.submitted = hostile
    text = report_page(record, hostile)
    page = Page(text)
    assert page.open == []
    assert len(page.of("script")) == 4
    assert [a for a, _ in page.of("img") if a["src"] == "x"] == []
    assert page.of("h1")[0][1] == hostile
    assert any(hostile in text for _, text in page.of("td"))
    assert page.data["structures"][0]["label"] == hostile
    for panel in page.data["panels"]:  # plotly reads tags
        assert "<script" not in json.dumps(panel)
        assert "<img" not in json.dumps(panel)


def results_of(kind):
    """The classes of documents that jobs of a kind of study end in, its last one included."""
    load(kind.study)
    waiting, results = [Result], []
    while waiting:
        waiting += waiting[0].__subclasses__()
        results.append(waiting.pop(0))
    return [load(kind.document), *(get_type_hints(r.document)["return"] for r in results if r is not Result)]


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.name)
def test_every_kind_can_come_in_an_archive(kind):
    for document in results_of(kind):
        assert may_be_named(document.__module__, document.__name__)
    listed = {name for names in DOCUMENT_CLASSES.values() for name in names}
    assert {table.doc_type for table in kind.tables} <= listed


def test_json_in_a_script_cannot_end_it():
    text = script_json({"a": "</script><!--", "b": float("nan"), "c": "\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--", "b": None, "c": "\u2028&"}


@pytest.mark.parametrize(
    ("label", "html"),
    [
        ("Li$_{9}$Al$_4$", "Li<sub>9</sub>Al<sub>4</sub>"),
        (r"$E_\mathrm{int}$ of Li (eV/Li)", "E<sub>int</sub> of Li (eV/Li)"),
        (r"$\gamma$ (J m$^{-2}$)", "γ (J m<sup>−2</sup>)"),
        (r"Al(1$\overline{1}$0)", "Al(11\u03050)"),
        ("5 $ <a href='javascript:x'>", "5 $ &lt;a href='javascript:x'&gt;"),
    ],
)
def test_labels_of_matplotlib(label, html):
    assert as_html(label) == html


def test_the_command_writes_one_file(command, tmp_path):
    goal = tmp_path / "page.html"
    code, out, _ = command("report", RESULTS / "crystals-primitive.zip", "-o", goal, "--json")
    assert code == 0
    said = json.loads(out)
    assert said["bytes"] == goal.stat().st_size
    page = Page(goal.read_text(encoding="utf-8"))
    assert "LiAl" in page.of("pre")[0][1]  # what the terminal prints
    assert list(tmp_path.iterdir()) == [goal]


def test_bad_input_is_one_line_and_writes_nothing(command, tmp_path):
    store, goal, damaged = tmp_path / "empty.sqlite", tmp_path / "page.html", tmp_path / "damaged.zip"
    study = tmp_path / "study.yaml"
    study.write_text("study: binding-energy\nengine: sevennet-0\nhosts: [LiAl]\n")
    assert command("import", RESULTS / "surface-li.zip", "--store", store)[0] == 0
    text = bytearray((RESULTS / "surface-li.zip").read_bytes())
    text[2000] ^= 1
    damaged.write_bytes(text)
    for what, reason in (
        (study, "no finished study"),
        (damaged, "archive"),
        (tmp_path / "none.zip", "no archive"),
        ("0123456789abcdef", "no finished study"),
        ("nonsense", "not a study file"),
    ):
        code, out, err = command("report", what, "-o", goal, "--store", store)
        assert code, what
        assert reason in err
        assert err.count("\n") == 1
        assert out == ""
        assert not goal.exists()
    assert "does not exist" in command("report", study, "-o", tmp_path / "no" / "page.html")[2]
    assert ".html" in command("report", study, "-o", tmp_path / "page.pdf")[2]


def test_a_locked_store_is_one_line(command, tmp_path, monkeypatch):
    store, locked = tmp_path / "results.sqlite", tmp_path / "locked.sqlite"
    assert command("import", RESULTS / "crystals-primitive.zip", "--store", store)[0] == 0
    monkeypatch.setattr("anodeflow.workflows.store.reading.PATIENCE_S", 0.2)
    with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(locked)) as other:
        source.backup(other)
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        code, _, err = command("report", "c87fb388", "-o", tmp_path / "page.html", "--store", locked)
    assert code
    assert "locked by another process" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_the_script_is_javascript(pages, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node to parse the page's script")
    script = tmp_path / "report.js"
    script.write_text([t for a, t in pages["surface-li"].of("script") if not a.get("type")][-1])
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pdf_without_chromium_is_refused_before_anything_is_written(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, error = command("report", RESULTS / "adsorption.zip", "-o", "r.html", "--pdf", "r.pdf", cwd=tmp_path)
    assert status
    assert "needs Chromium" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_figure_of_an_archive_names_it(command, tmp_path):
    status, _, err = command("figure", RESULTS / "surface-li.zip", "-o", tmp_path / "f.svg")
    assert (status, err) == (0, "")
    drawn = (tmp_path / "f.svg").read_text()
    assert "read from archive" in drawn
    assert "study " in drawn
