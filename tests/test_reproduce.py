"""`anodeflow reproduce`: what it knows of papers, what it says before it computes, and its last table."""

import json

import pytest

from anodeflow.cli import reproduce
from anodeflow.errors import EngineError
from anodeflow.workflows.paper_list import papers, papers_folder, verdict
from anodeflow.workflows.studies import load_study


def test_without_a_paper_it_lists_them(command):
    status, out, _ = command("reproduce")
    assert status == 0
    for words in ("lacss2024", "doi:10.1038/s41467-024-48585-7", "Supp. Fig. 27", "J. Cui", "aimd", "core hours"):
        assert words in out
    status, out, _ = command("reproduce", "--json")
    entries = {entry["paper"]: entry for entry in json.loads(out)}
    assert list(entries["lacss2024"]["parts"]) == ["bulk", "surface", "interface", "adsorption", "moduli", "aimd"]
    assert entries["cui2026"]["journal"] == "Chemical Science (2026)"


def test_every_part_has_its_file():
    files = [part.file for paper in papers().values() for part in paper.all_parts.values() if part.file]
    assert sorted(files) == sorted(f.name for f in papers_folder().glob("*.yaml") if f.name != "papers.yaml")


def test_costs_are_those_of_the_plan():
    for name, part in (("lacss2024", "bulk"), ("lacss2024", "adsorption"), ("wu2025", "voltage")):
        described = papers()[name].parts[part]
        study = load_study(papers_folder() / described.file)
        hours = sum(study.seconds_of(step) for step in study.planned) / 3600
        assert described.core_hours / 3 < hours < 3 * described.core_hours, part


def test_a_dry_run_says_what_it_costs_and_computes_nothing(command, tmp_path):
    status, out, _ = command("reproduce", "wu2025", "--dry-run", "--part", "voltage,cell", "--json", cwd=tmp_path)
    assert status == 0
    rows = json.loads(out)
    assert [(row["part"], row["calculations"], row["engine"]) for row in rows] == [
        ("voltage", 5, "sevennet-0"), ("cell", 0, "–"),
    ]  # fmt: skip
    status, out, _ = command("reproduce", "lacss2024", "--part", "bulk", "--dry-run", "--engine", "vasp", cwd=tmp_path)
    assert status == 0
    assert "nothing was computed" in out
    assert "missing: vasp" in out
    assert not list(tmp_path.iterdir())


def test_all_parts_are_tried_and_end_in_one_table(command, tmp_path, monkeypatch):
    asked = []

    def fails(study, *_):
        asked.append(study.kind)
        raise EngineError("the potential is <b>away</b>", "bring it back")

    monkeypatch.setattr("anodeflow.cli.run.run_study", fails)
    status, out, err = command("reproduce", "wu2025", cwd=tmp_path)
    assert status == 4
    assert asked == ["stability", "voltage"]
    assert err.count("the potential is <b>away</b>; bring it back") == 2
    table = out[out.index("Published beside computed") :]
    assert table.count("failed") == 2
    assert "375 Wh/kg" in table
    assert "agrees within" in table
    status, _, err = command("reproduce", "wu2025", "--part", "window", cwd=tmp_path)  # alone, it is the error
    assert status == EngineError.exit_code


def test_published_is_only_what_the_paper_printed(capsys):
    def row(paper, value):
        return {"paper": paper, "quantity": "Young's modulus of LiCl", "published": value, "ours": 50.6, "unit": "GPa",
                "difference": 50.6 - value, "convention": "Hill", "engine": "e", "card": "c", "note": ""}  # fmt: skip

    rows = reproduce._for_part("lacss2024", "moduli", [row("lacss2024", 49.9), row("Materials Project", 51.3)])
    reproduce._print_comparison("lacss2024", papers()["lacss2024"], rows)
    first, _, second = capsys.readouterr().out.partition("Not of the paper")
    assert "49.9 GPa" in first
    assert "51.3 GPa" not in first
    assert "51.3 GPa" in second
    (only,) = reproduce._for_part("lacss2024", "aimd", [])
    assert (only["published"], only["verdict"], only["shown"]) == (None, "no number printed", "Fig. 5e,f")


@pytest.mark.parametrize(("published", "ours", "unit", "expected"), [
    (-1.97, -1.93, "eV", "agrees within 0.1 eV"),
    (-1.52, -1.23, "eV", "differs by +0.29 eV"),
    (0.33, 0.2, "V", "differs by −0.13 V"),
    (62.4, 57.0, "GPa", "agrees within 6.2 GPa"),
    (1.1, 1.12, "", "agrees within 0.05"),
    (1.71, None, "V", "not computed"),
    (None, 1.0, "V", "no number printed"),
])  # fmt: skip
def test_verdicts(published, ours, unit, expected):
    assert verdict(published, ours, unit) == expected
