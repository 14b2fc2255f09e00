"""What CASTEP, Quantum ESPRESSO and GPAW get for every card: golden files that were reviewed by eye.

Those of VASP are in test_vasp_inputs.py. ANODEFLOW_WRITE_GOLDEN=1 writes them anew; read the differences then.
"""

import os
import re
from pathlib import Path

import pytest
from factories import write_upf_headers
from needs import needs_gpaw
from paper_cells import PAPER_CARDS, written

GOLDEN = Path(__file__).parents[1] / "golden"
NUMBER = re.compile(r"-?\d+\.\d+(?:[eEdD][+-]?\d+)?")


@pytest.fixture
def potentials(tmp_path, monkeypatch):
    """Header-only pseudopotentials."""
    folder = write_upf_headers(tmp_path / "potentials")
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(folder))
    return folder


def assert_alike(made, kept, name):
    """The same text; numbers may differ in what rounding does to them, and a coordinate 0 may be a 1."""
    assert NUMBER.sub("#", made) == NUMBER.sub("#", kept), name
    for one, other in zip(NUMBER.findall(made), NUMBER.findall(kept), strict=True):
        one, other = (float(text.lower().replace("d", "e")) for text in (one, other))
        assert one == pytest.approx(other, abs=2e-6, rel=1e-6) or abs(abs(one - other) - 1) < 2e-6, name


@pytest.mark.parametrize("card", [*PAPER_CARDS, "pbe-bulk", "pbe-slab"])
@pytest.mark.parametrize("engine", ["castep", "qe", pytest.param("gpaw", marks=needs_gpaw)])
def test_every_card(engine, card, potentials, tmp_path):
    names = written(engine, card, tmp_path / "out")
    golden = GOLDEN / engine / card
    for name in names:
        text = (tmp_path / "out" / name).read_text().replace(str(potentials), "/potentials")
        if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
            (golden / name).parent.mkdir(parents=True, exist_ok=True)
            (golden / name).write_text(text)
        assert_alike(text, (golden / name).read_text(), f"{engine} {card} {name}")
    assert sorted(names) == sorted(str(p.relative_to(golden)) for p in golden.rglob("*") if p.is_file())
