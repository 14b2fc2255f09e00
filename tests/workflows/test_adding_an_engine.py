"""The engine of docs/adding-an-engine.md is taken out of the page and run."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines import registry
from anodeflow.workflows.engines.contract import Request

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-engine.md"


@pytest.fixture
def engine(monkeypatch):
    """Register the page's engine for one test."""
    code, line = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    module = types.ModuleType("lennard_jones")
    exec(compile(code, str(PAGE), "exec"), module.__dict__)  # noqa: S102 - the page's own code
    monkeypatch.setitem(sys.modules, "lennard_jones", module)
    monkeypatch.setattr(registry, "PROGRAMS", dict(registry.PROGRAMS))
    exec(line, {"PROGRAMS": registry.PROGRAMS})  # noqa: S102
    registry.get_engine.cache_clear()
    yield registry.get_engine("lennard-jones")
    registry.get_engine.cache_clear()


def test_the_engine_of_the_page_computes_and_relaxes(engine):
    # two atoms far apart: at 2^(1/6) sigma the energy is -epsilon, shifted so that it is zero at the cutoff
    card, shift = load_card("embedded"), 4 * 0.1 * ((2.6 / 7) ** 12 - (2.6 / 7) ** 6)
    pair = Structure(Lattice.cubic(20.0), ["Li", "Li"], [[0.4, 0.5, 0.5], [0.55, 0.5, 0.5]])
    outcome = engine.compute(Request(pair, "relax", card))
    assert outcome.converged
    assert outcome.structure.get_distance(0, 1) == pytest.approx(2 ** (1 / 6) * 2.6, abs=0.05)
    assert outcome.energy_ev == pytest.approx(-0.1 - shift, abs=1e-3)
    static = engine.compute(Request(pair, "static", card))
    r = 3.0
    expected = 4 * 0.1 * ((2.6 / r) ** 12 - (2.6 / r) ** 6) - shift
    assert static.energy_ev == pytest.approx(expected, rel=1e-6)
    assert np.abs(static.arrays["forces_ev_per_angstrom"].sum(axis=0)).max() < 1e-9
