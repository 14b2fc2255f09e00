"""Cells by arithmetic: by hand, beside the published numbers, and what a file of cells may not say."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anodeflow.analysis.cell_arithmetic import (
    Cell,
    Electrode,
    anode_rows,
    cell_row,
    published_beside,
    table_beside,
    theoretical_mah_per_g,
)
from anodeflow.analysis.figures.cells import cells_figure
from anodeflow.errors import InputError

WU2025 = {
    "name": "Al, as weighed",
    "anode": {"material": "Al", "mass_mg": 4.3},
    "cathode": {"material": "NCM811", "mass_mg": 20, "active_fraction": 0.7, "capacity_mah_per_g": 187.5},
    "voltage_v": 3.47,
}
SHEET = {
    "name": "foil",
    "anode": {"material": "Al", "loading_mg_per_cm2": 5.4},
    "cathode": {"material": "NCM811", "loading_mg_per_cm2": 20, "active_fraction": 0.8, "capacity_mah_per_g": 190},
    "voltage_v": 3.45, "current_ma_per_cm2": 2, "cycles": 300,
}  # fmt: skip


def test_the_cell_of_wu2025():
    row = cell_row(Cell.model_validate(WU2025))
    # 20 mg of 70 % at 187.5 mAh/g: 2.625 mAh; 4.3 mg at 993.3: 4.271 mAh
    assert row.n_to_p == pytest.approx(4.3 * 0.99332 / 2.625, rel=1e-4)
    assert row.wh_per_kg == pytest.approx(2.625 * 3.47 / 24.3 * 1000)
    assert row.wh_per_kg == pytest.approx(375, abs=1)
    assert row.areal_capacity_mah_per_cm2 is None
    with_area = cell_row(Cell.model_validate(WU2025 | {"area_cm2": 0.785}))
    assert with_area.areal_capacity_mah_per_cm2 == pytest.approx(2.625 / 0.785)
    compared = {r["quantity"]: r for r in published_beside("wu2025", [row])}
    assert abs(compared["energy, Al, as weighed"]["difference"]) < 1
    assert compared["N/P, Li0.28Al"]["ours"] is None


def test_an_electrode_by_mass_or_by_area():
    assert Electrode(material="Al", mass_mg=2).capacity == pytest.approx(2 * 0.99332, rel=1e-4)
    assert Electrode(material="Al", loading_mg_per_cm2=2, active_fraction=0.5).capacity == pytest.approx(
        0.99332, rel=1e-4
    )


def test_loadings_give_areal_capacity_and_rate():
    row = cell_row(Cell.model_validate(SHEET))
    assert row.areal_capacity_mah_per_cm2 == pytest.approx(20 * 0.8 * 0.190)
    assert row.cathode_loading_mg_per_cm2 == pytest.approx(16)
    assert row.c_rate_per_h == pytest.approx(2 / 3.04)
    assert row.wh_per_kg == pytest.approx(3.04 * 3.45 / 25.4 * 1000)
    heavier = cell_row(Cell.model_validate(SHEET | {"other_mass": 25.4}))
    assert heavier.wh_per_kg == pytest.approx(row.wh_per_kg / 2)


def test_lithium_that_an_anode_holds_takes_capacity_and_weighs():
    # (1 - x) F / (M(Al) + x M(Li))
    x = 0.28
    expected = (1 - x) * 96485.33212 / 3.6 / (26.9815386 + x * 6.941)
    assert theoretical_mah_per_g("Al", x) == pytest.approx(expected, rel=1e-5)
    held = WU2025 | {"anode": {"material": "Al", "mass_mg": 4.3, "lithium_held": x}}
    assert cell_row(Cell.model_validate(held)).n_to_p == pytest.approx(1.1, abs=0.01)


@pytest.mark.parametrize(
    ("material", "mah_per_g"), [("Al", 993.3), ("Li", 3861), ("S", 1672), ("Si", 3579), ("NCM811", 275.5)]
)
def test_known_capacities(material, mah_per_g):
    assert theoretical_mah_per_g(material) == pytest.approx(mah_per_g, rel=1e-3)


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0.05, 1), st.floats(1, 3000), st.floats(0.1, 10))
def test_what_does_not_depend_on_the_size_of_a_cell(anode, cathode, fraction, capacity, scale):
    def row(factor):
        return cell_row(
            Cell.model_validate(
                {
                    "name": "x",
                    "voltage_v": 3.0,
                    "anode": {"material": "Al", "mass_mg": factor * anode},
                    "cathode": {
                        "material": "X",
                        "mass_mg": factor * cathode,
                        "active_fraction": fraction,
                        "capacity_mah_per_g": capacity,
                    },
                }
            )
        )

    assert row(scale).n_to_p == pytest.approx(row(1).n_to_p)
    assert row(scale).wh_per_kg == pytest.approx(row(1).wh_per_kg)


def test_an_anode_that_is_too_small_and_a_capacity_that_is_too_large_are_named():
    small = cell_row(Cell.model_validate(WU2025 | {"anode": {"material": "Al", "mass_mg": 2}}))
    assert any("below 1" in warning for warning in small.warnings)
    much = WU2025 | {"anode": {"material": "Al", "mass_mg": 4, "capacity_mah_per_g": 1500}}
    assert any("1500 mAh/g of Al is more than 993" in w for w in cell_row(Cell.model_validate(much)).warnings)


def test_the_published_table():
    rows = anode_rows()
    assert len(rows) == 15
    assert all(row.source.endswith("names the paper of each row") and not row.own for row in rows)
    powder = rows[0]
    assert (powder.anode, powder.n_to_p, powder.cycles, powder.efficiency_percent) == ("Al powder", 1.05, 1000, 84.7)
    # more capacity than the printed loading holds lithium for
    impossible = [row.anode for row in rows if any("go together" in warning for warning in row.warnings)]
    assert impossible == ["LiAl-d", "LiAl-p", "Li-Si-HC"]
    beside = table_beside("cui2026", rows)
    assert len(beside) == 15
    assert [r["quantity"] for r in beside if r["difference"] < -0.01] == [f"areal capacity, {a}" for a in impossible]


def test_a_figure_needs_currents():
    with pytest.raises(InputError, match="no cell has both"):
        cells_figure([cell_row(Cell.model_validate(WU2025))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anode": {"material": "Al"}}, "give either mass_mg or loading_mg_per_cm2"),
        ({"anode": {"material": "Al", "mass_mg": 1, "loading_mg_per_cm2": 1}}, "give either mass_mg"),
        ({"anode": {"material": "Al", "loading_mg_per_cm2": 1}}, "give both electrodes by mass_mg"),
        ({"anode": {"material": "glass", "mass_mg": 1}}, "no capacity of glass is known"),
        ({"anode": {"material": "Al", "mass_mg": -1}}, "greater than 0"),
        ({"anode": {"material": "Al", "mass_mg": 1, "lithium_held": 1}}, "leaves no capacity"),
        ({"anode": {"material": "Al", "mass_mg": 1, "lithium_held": 0.1, "capacity_mah_per_g": 9}}, "give either lith"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_a_cell_may_not_say(change, message):
    with pytest.raises(ValidationError, match=message):
        Cell.model_validate(WU2025 | change)


def test_the_command(command, tmp_path):
    file, figure = tmp_path / "cells.yaml", tmp_path / "f.png"
    file.write_text(yaml.safe_dump({"cells": [SHEET]}))
    status, out, _ = command("cells", file, "--figure", figure, "--json")
    assert status == 0
    rows = json.loads(out)
    assert (len(rows), rows[0]["anode"], rows[0]["own"]) == (16, "foil", True)
    assert figure.stat().st_size > 10000
    status, out, _ = command("cells")
    assert status == 0
    assert "Li-LiC6" in out
    file.write_text("cells: []\n")
    status, _, err = command("cells", file)
    assert status == 2
    assert len(err.strip().splitlines()) == 1


def test_papers_of_cells(command, tmp_path):
    status, out, _ = command("reproduce", "cui2026", "--part", "table", "--output", tmp_path, "--json")
    assert status == 0
    assert (tmp_path / "cui2026-table.png").exists()
    assert len(json.loads(out)) == 15
    status, out, _ = command("reproduce", "wu2025", "--part", "cell", "--output", tmp_path)
    assert status == 0
    assert "Published beside computed" in out
    status, _, err = command("reproduce", "wu2025", "--part", "cells", "--output", tmp_path)
    assert status == 2
    assert "its parts: window, voltage, cell" in err
    assert not list(Path(tmp_path).glob("*.sqlite"))
