"""The README's figure: DFT of the shipped archive, potentials beside, from what the command of its caption gave."""

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.testing.compare import compare_images

from anodeflow.analysis.comparison import ComparisonDoc
from anodeflow.analysis.figures.binding_comparison import binding_comparison_figure, message
from anodeflow.analysis.figures.style import in_style
from anodeflow.cli.output.comparison import comparison_rows, print_comparison
from anodeflow.errors import InputError
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.comparison import archived_answer, compare_documents

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
STUDY = ROOT / "examples" / "dft" / "binding-3-crystals.yaml"
ARCHIVE = ROOT / "examples" / "dft" / "results" / "binding-3-crystals.zip"
TOLERANCE = 5.0


@pytest.fixture(scope="module")
def comparison():
    """As ``--json`` of the command in the README's caption printed it."""
    return ComparisonDoc.model_validate(json.loads((GOLDEN / "comparisons" / "binding-dft.json").read_text()))


def test_it_looks_as_it_did(comparison, tmp_path):
    """``ACCEPT_FIGURES=1`` accepts a change; then look at it, and draw the README's again by its command."""
    seen = GOLDEN / "figures" / "binding-comparison.png"
    figure = binding_comparison_figure(comparison)
    with in_style(), plt.rc_context({"savefig.bbox": None, "savefig.dpi": 60}):
        figure.savefig(tmp_path / "now.png")
    plt.close(figure)
    if os.environ.get("ACCEPT_FIGURES"):
        seen.write_bytes((tmp_path / "now.png").read_bytes())
    (tmp_path / "seen.png").write_bytes(seen.read_bytes())
    assert compare_images(str(tmp_path / "seen.png"), str(tmp_path / "now.png"), TOLERANCE) is None


def test_its_dft_is_that_of_the_archive(comparison):
    made = compare_documents([archived_answer(ARCHIVE, load_study(STUDY))])
    assert made.against == comparison.against == "gpaw"
    for quantity in made.quantities:
        same = next(q for q in comparison.quantities if (q.quantity, q.place) == (quantity.quantity, quantity.place))
        assert same.of("gpaw").value == pytest.approx(quantity.of("gpaw").value, abs=1e-9)
    # by hand: docs/dft-results.md
    added = {q.place: q.of("gpaw").value for q in made.quantities if q.quantity == "d_e_ev" and "added" in q.place}
    assert added["Al, LiCl, bulk, added"] == pytest.approx(3.330 + 0.343, abs=1e-3)
    assert added["Li, Li3P, bulk, added"] == pytest.approx(
        -84.4209 + 83.3769 + 1.9029, abs=2e-4
    )  # host with Li, host, bcc Li
    assert added["Li9Al4, AlP, bulk, added"] == pytest.approx(0.448 - 0.740, abs=1e-3)
    assert len(added) == 20


def test_more_pairs_than_a_panel_holds_are_drawn_by_kind(comparison):
    _, added, held = binding_comparison_figure(comparison).axes
    for panel, kind, number in ((added, "added", 20), (held, "held", 12)):
        names = [tick.get_text() for tick in panel.get_yticklabels()]
        assert len(names) == number
        assert all(name.endswith(kind) for name in names)
    few = [q for q in comparison.quantities if q.quantity != "d_e_ev" or q.where["anode"] == "Li"]
    assert len(binding_comparison_figure(comparison.model_copy(update={"quantities": few})).axes) == 2


def test_what_it_says(comparison, capsys):
    assert comparison.potentials == ["sevennet-0", "chgnet"]
    text = message(comparison)
    assert text.startswith(
        "DFT (gpaw): an added Li stays in the anode (dE > 0) in 19 of 20 pairs; sevennet-0 is 0.4 to 3.2"
    )
    assert "with another sign in 9" in text
    print_comparison(comparison)
    assert "sevennet-0 - gpaw" in capsys.readouterr().out
    row = next(
        r for r in comparison_rows(comparison) if r["where"] == "LiCl, bulk, interstitial" and r["engine"] != "gpaw"
    )
    assert row["off"] == pytest.approx(-3.01, abs=0.01)
    nothing = comparison.model_copy(update={"quantities": []})
    with pytest.raises(InputError, match="no number of these results"):
        binding_comparison_figure(nothing)


def test_archives_are_answers(tmp_path, command):
    """One answer is too few; an archive of another question is refused, in one line."""
    given = ("--archive", ARCHIVE, "--store", tmp_path / "s.sqlite")
    status, _, err = command("compare", STUDY, *given)
    assert (status, "--engines '' is 0 engines" in err) == (2, True), err
    other = STUDY.with_name("binding-2-faces.yaml")
    status, _, err = command(
        "compare", other, "--archive", ARCHIVE, "--engines", "chgnet", "--store", tmp_path / "s.sqlite"
    )
    assert "is of another question than the study" in err
    assert (status, len(err.strip().splitlines())) == (2, 1), err
