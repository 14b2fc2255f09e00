"""What a terminal of 80 columns shows: tables that fit, units in heads, remarks below."""

from __future__ import annotations

import pytest
from click import unstyle
from click.testing import CliRunner

from anodeflow.cli.main import cli
from anodeflow.cli.output.grid import Grid
from anodeflow.cli.output.tables import print_rows
from anodeflow.columns import cell_text, duration, head


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
