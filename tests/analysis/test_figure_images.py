"""Figures of stored studies, pixel by pixel beside what they looked like when somebody looked at them.

To accept a change: ``ACCEPT_FIGURES=1 pytest tests/analysis/test_figure_images.py``, then look at every picture in
``tests/golden/figures``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.testing.compare import compare_images

from anodeflow.analysis.figures.style import in_style
from anodeflow.workflows.studies.registry import STUDIES, load

GOLDEN = Path(__file__).parent.parent / "golden"
KINDS = {kind.doc_type: kind for kind in STUDIES if (GOLDEN / "documents" / f"{kind.doc_type}.json").is_file()}
#: Root mean square of the difference, of 255; another release of FreeType shifts letters by a fraction of a pixel.
TOLERANCE = 5.0
DPI = 60


def _document(doc_type):
    stored = json.loads((GOLDEN / "documents" / f"{doc_type}.json").read_text())["document"]["output"]
    return load(KINDS[doc_type].document).model_validate(stored)


def _drawn(document, file):
    figure = load(KINDS[document.doc_type].figure)(document)
    with in_style(), plt.rc_context({"savefig.bbox": None, "savefig.dpi": DPI}):
        figure.savefig(file)
    plt.close(figure)
    return figure


@pytest.mark.parametrize("doc_type", KINDS)
def test_a_figure_looks_as_it_did(doc_type, tmp_path):
    document, seen = _document(doc_type), GOLDEN / "figures" / f"{doc_type}.png"
    figure = _drawn(document, tmp_path / "now.png")
    if os.environ.get("ACCEPT_FIGURES"):
        seen.parent.mkdir(exist_ok=True)
        seen.write_bytes((tmp_path / "now.png").read_bytes())
    expected = tmp_path / "seen.png"
    expected.write_bytes(seen.read_bytes())
    assert compare_images(str(expected), str(tmp_path / "now.png"), TOLERANCE) is None
    # one footer in all: which engine and card, of which study; no wider than the figure
    footer = figure.get_supxlabel()
    assert document.card.name in footer
    assert document.study_hash in footer
    assert figure._supxlabel.get_window_extent().width <= figure.bbox.width
    plots = {tuple(axes.get_position().bounds) for axes in figure.axes if axes.axison and axes.get_ylabel()}
    letters = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left").startswith("(")]
    assert len(letters) == len(set(letters))
    assert letters or len(plots) <= 1


def test_another_number_is_noticed(tmp_path):
    document = _document("SurfaceStudyDoc")
    for member in document.surfaces[0].members:
        member.gamma_j_per_m2 += 0.02
    _drawn(document, tmp_path / "now.png")
    (tmp_path / "seen.png").write_bytes((GOLDEN / "figures" / "SurfaceStudyDoc.png").read_bytes())
    assert compare_images(str(tmp_path / "seen.png"), str(tmp_path / "now.png"), TOLERANCE) is not None


def test_numbers_of_a_figure_are_its_rows():
    from anodeflow.report.figure_data import COLUMNS, figure_rows

    document = _document("SurfaceStudyDoc")
    figure = load(KINDS["SurfaceStudyDoc"].figure)(document)
    rows = figure_rows(figure)
    plt.close(figure)
    assert {tuple(row) for row in rows} == {COLUMNS}
    assert all("<" not in row["y_axis"] and "$" not in row["series"] for row in rows)
    for member in document.surfaces[0].members:
        assert any(
            row["x"] == pytest.approx(member.thickness_angstrom, rel=1e-4)
            and row["y"] == pytest.approx(member.gamma_j_per_m2, rel=1e-4)
            for row in rows
        )
