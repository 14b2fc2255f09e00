"""What a terminal of 80 columns shows: tables that fit, units in heads, remarks below."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click import unstyle
from click.testing import CliRunner

from anodeflow.cli.main import cli
from anodeflow.cli.output import progress
from anodeflow.cli.output.grid import Grid
from anodeflow.cli.output.tables import print_rows
from anodeflow.cli.results import distinct_rows, frame
from anodeflow.columns import cell_text, core_hours, duration, head

EXAMPLES = Path(__file__).parent.parent / "examples" / "dft" / "results"


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


def _lines(*arguments):
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return [unstyle(line) for line in result.output.splitlines()]


@pytest.mark.parametrize("arguments", [("crystals",), ("cards",), ("reproduce",), ("config",)])
def test_tables_fit_80_columns(terminal, arguments):
    lines = _lines(*arguments)
    rows = lines[: next(n for n, line in enumerate(lines) if n > 5 and not line)]
    table = [line for line in rows if not line.startswith(("lacss2024:", "settings file"))]
    assert max(map(len, table)) <= 80
    # no word of a head is broken: each column is as wide as its longest word
    assert any(set(line) == {"─"} for line in table)


def test_wide_shows_every_column(terminal):
    assert not any("density" in line and "method" in line for line in _lines("crystals"))
    assert any("density" in line and "method" in line for line in _lines("crystals", "--wide"))


def test_columns_that_do_not_fit_are_named_and_shared_ones_stand_below(terminal, capsys):
    rows = [
        {"crystal": f"crystal-{n}", "gamma_j_per_m2": 0.1234567 * n, "termination": "Li2S-Li2S-terminated-long-name",
         "remark_of_it": "unbrokenunbrokenunbroken", "engine": "gpaw", "study_hash": "0123456789abcdef"}
        for n in (1, 2)
    ]  # fmt: skip
    print_rows(rows, as_json=False)
    text = unstyle(capsys.readouterr().out)
    assert "(J/m²)" in text
    assert "0.123" in text
    assert "0.1234" not in text
    assert "all rows: engine gpaw, hash 01234567" in text
    assert max(map(len, text.splitlines())) <= 80


def test_long_remarks_become_letters_below_the_table(capsys):
    table = Grid(("host", "E_int (eV)", "notes"))
    table.add_row("Li", "-1.000", ["cell kept as given, it is fixed in the study", "short"])
    table.add_row("Al", "-0.500", ["cell kept as given, it is fixed in the study"])
    table.add_row("Li2S", "–", "the engine stopped and gave no energy at all")
    table.print()
    text = capsys.readouterr().out
    assert "a, short" in text
    assert text.count("cell kept as given") == 1
    assert "a: cell kept as given" in text
    assert "b: the engine stopped" in text


def test_heads_have_units_and_cells_fixed_decimals():
    assert head("formation_energy_ev_per_atom") == "E_f (eV/atom)"
    assert head("wall_time_s") == "time"
    assert [cell_text("gamma_j_per_m2", x) for x in (0.5, 0.12345, None)] == ["0.500", "0.123", "–"]
    assert cell_text("d_cm2_per_s", 2.5e-7) == "2.50e-07"
    assert cell_text("converged", True) == "yes"
    assert cell_text("completed_at", "2026-11-30T05:27:20.054474") == "2026-11-30 05:27"
    assert cell_text("energy_ev", -3.0) == "-3.000"


def test_long_times_are_hours():
    assert duration(2245.2 * 60) == "37.4 h"
    assert duration(20) == "20 s"
    assert [core_hours(hours) for hours in (1.018e4, 5.689, 0.36, 0.0042)] == ["10180", "5.7", "0.36", "0.004"]


def test_states_of_studies_fit_80_columns(terminal, capsys):
    from anodeflow.cli.status import _print_progress
    from anodeflow.workflows.cluster.progress import Reason, StudyProgress

    rows = [
        StudyProgress("0123456789abcdef", "Li on every phase of the anode, both references", "running", 12, 4, 0, 112,
                      core_hours=1234.5, seconds_left=134712.0),
        StudyProgress("fedcba9876543210", "LiCl(100)", "failed", 1, failed=2,
                      reasons=[Reason("Li/1", "the self-consistent field did not converge in 60 steps " * 2)]),
    ]  # fmt: skip
    _print_progress(rows)
    lines = [unstyle(line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "37.4 h" in text
    assert "0123456789abcdef" in text


class Planned:
    """A study of ten calculations of 60 s each, as the display of a run sees it."""

    def __init__(self):
        self.planned = [SimpleNamespace(label=f"Li/{n}", expected_steps=10) for n in range(10)]

    def steps_of(self, step):
        return step.expected_steps

    def seconds_of(self, _):
        return 60.0


def test_time_left_is_the_plans_at_first_and_then_what_was_measured(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    display = progress.RunDisplay(Planned(), 2, [])
    assert display.seconds_left() == pytest.approx(300)
    # a machine three times as slow: known soon, and exact at the end
    for n in range(8):
        display.running(f"Li/{n}")
        clock[0] += 90
        display.done(f"Li/{n}", reused=False)
        true = (9 - n) * 90
        if n >= 1:
            assert true / 1.5 < display.seconds_left() < 1.5 * true
    display.running("Li/8")
    before = display.seconds_left()
    display.step("Li/8", 5, -1.0, 0.1)
    assert display.seconds_left() < before
    assert "left" in display.time_left()


def test_the_start_of_workers_says_nothing_of_their_speed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    display = progress.RunDisplay(Planned(), 1, [])
    display.running("Li/0")
    clock[0] += 120  # packages are imported
    display.step("Li/0", 0, -1.0, 0.1)
    clock[0] += 60
    display.done("Li/0", reused=False)
    assert display.seconds_left() == pytest.approx(540)


def test_an_empty_table_says_what_is_stored(tmp_path, command):
    store = tmp_path / "s.sqlite"
    command("import", EXAMPLES / "crystals.zip", "--store", store)
    _, text, _ = command("results", "--store", store)
    assert "calculations stored, no rows of --what binding yet" in text
    assert "--what crystals" in text
    _, text, _ = command("results", "--store", store, "--what", "crystals", "--crystal", "Cu")
    assert "matches --crystal Cu in the table crystals" in text
    _, text, _ = command("import", EXAMPLES / "crystals-primitive.zip", "--store", store)
    status, out, said = command("results", "--store", store, "--what", "crystals", "--csv", "--limit", "2")
    assert (status, len(out.splitlines())) == (0, 3)
    assert "crystals: 2 rows as CSV" in said
    table = frame(store, "crystals", crystal="LiAl")
    assert set(table["engine_version"]) == {"gpaw 26.7.0"}
    assert frame(store, "binding").empty


def test_rows_that_say_the_same_are_shown_once():
    row = {"crystal": "Li", "a_angstrom": 3.44, "study_hash": "1", "completed_at": "2026", "imported": None}
    rows = [row, row | {"study_hash": "2"}, row | {"a_angstrom": 3.45}]
    assert distinct_rows(rows) == [rows[0], rows[2]]


def test_bare_analyse_says_what_can_be_asked(command):
    file = Path(__file__).parent / "data" / "trajectories" / "XDATCAR_Li6PS5Cl.gz"
    status, text, _ = command("analyse", file)
    assert status == 0
    assert "ask for --pair P-S" in text
    assert "--msd Li" in text


def test_argyrodites_are_listed_by_rank():
    from anodeflow.cli.output.build import configuration_rows

    sites = {"4a": {"Cl": 3, "S": 1}, "4d": {"Cl": 0, "S": 4}}
    ensemble = SimpleNamespace(configurations=[SimpleNamespace(ewald_ev_per_fu=x, anion_sites=sites) for x in (0, 0.4)])
    rows = configuration_rows(ensemble)
    assert [row["above_lowest_ev_per_fu"] for row in rows] == ["+0.00", "+0.40"]
    assert rows[0]["on 4a"] == "3 Cl 1 S"
    assert rows[0]["on 4d"] == "4 S"
