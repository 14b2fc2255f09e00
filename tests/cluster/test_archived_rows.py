"""Results with one setting varied: the summary of their archive holds them as rows of a convergence."""

import sys
from pathlib import Path

import pytest

from anodeflow.errors import InputError
from anodeflow.workflows.store.archive import verify_archive

sys.path.insert(0, str(Path(__file__).parent))
from archives import edit, rewrite

ROWS = Path(__file__).parents[2] / "examples" / "dft" / "results" / "binding-converge-1.zip"
SUMMARY = "documents/00027.json"


@pytest.mark.parametrize("key", ["binding_energy_ev", "ion_binding_energy_ev", "work_function_ev"])
def test_a_number_that_its_row_of_the_summary_does_not_hold(key, tmp_path):
    def changed(content):
        row = next(row for row in content["output"]["convergence"][0]["rows"] if row["value"] == 25)
        if isinstance(row[key], dict):
            row[key]["bulk_metal"] += 0.01
        else:
            row[key] += 0.01

    bad = rewrite(ROWS, tmp_path / "bad.zip", edit(SUMMARY, changed), sums=True)
    with pytest.raises(InputError, match=r"vacuum 25 A/result.*other results than the summary"):
        verify_archive(bad)


def test_a_row_is_not_that_of_another_value(tmp_path):
    def changed(content):
        rows = content["output"]["convergence"][0]["rows"]
        for first, second in ((0, 1), (1, 0)):
            rows[first]["value"] = (10.0, 12.0)[second]

    bad = rewrite(ROWS, tmp_path / "bad.zip", edit(SUMMARY, changed), sums=True)
    with pytest.raises(InputError, match=r"vacuum 1[02] A/result.*other results than the summary"):
        verify_archive(bad)
