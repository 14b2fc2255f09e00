"""What stands beside computed numbers: only what a paper printed is published, and notes follow from the numbers."""

from types import SimpleNamespace

import pytest

from anodeflow.analysis.crystal_properties import known_sources
from anodeflow.analysis.reference_values import _data, is_reference
from anodeflow.structures.catalogue import get_entry
from anodeflow.workflows.studies.binding.published import compared
from anodeflow.workflows.studies.published import comparison_row


def study(engine="sevennet-0", hosts=(), dispersion=None):
    card = SimpleNamespace(name="card", dispersion=dispersion)
    return SimpleNamespace(engine=SimpleNamespace(name=engine), card=card, study_hash="0" * 16, hosts=list(hosts))


def host(crystal, face, polarised, nonspin):
    energies = {"neutral_atom": polarised, "neutral_atom_nonspin": nonspin}
    return SimpleNamespace(
        crystal=crystal, face=face, environment="surface", converged=True, binding_energy_ev=energies
    )


def test_which_lithium_atom_fits_is_computed_for_each_host():
    # Li9Al4: the polarised atom fits (-1.954 against -1.97); Li: the one without polarisation (-1.51 against -1.52)
    rows = compared(study(hosts=[host("Li9Al4", "(400)", -1.954, -2.235), host("Li", "(100)", -1.23, -1.51)]))
    notes = {row["quantity"].split()[-1]: row["note"] for row in rows}
    assert notes["Li9Al4(400)"].endswith(
        "off by +0.016 eV with the isolated spin-polarised Li atom, -0.265 eV with the isolated Li atom without spin "
        "polarisation (unphysical, common)"
    )
    assert "off by +0.010 eV with the isolated Li atom without spin" in notes["Li"]
    assert not any("it fits" in note for note in notes.values())


def test_a_reference_is_not_called_published():
    common = {"quantity": "x", "published": 1.0, "ours": 1.5, "unit": "", "convention": "", "note": ""}
    printed = comparison_row(study(), paper="lacss2024", **common)
    assert (printed["published"], printed["reference"], printed["difference"]) == (1.0, None, 0.5)
    ours = comparison_row(study(), paper="reference (this project, GPAW)", **common)
    assert (ours["published"], ours["reference"], ours["difference"], ours["note"]) == (None, 1.0, 0.5, "")
    same = comparison_row(study("gpaw"), paper="reference (this project, GPAW)", **common)
    assert "the reference is of gpaw, too" in same["note"]
    with_it = comparison_row(study(dispersion="d3-bj"), paper="lacss2024", **common)
    assert with_it["note"] == "ours is with dispersion, D3(BJ)"


@pytest.mark.parametrize("row", _data()["published"], ids=lambda row: f"{row['quantity']} {row['system']}")
def test_what_no_paper_printed_is_a_reference_and_names_its_engine_or_database(row):
    own = "our own" in row["source"]
    database = row["source"].startswith("Materials Project")
    assert is_reference(row["paper"]) == (own or database)
    if own:
        assert row["paper"] == "reference (this project, GPAW)"
    if database:
        assert "CC BY 4.0" in row["source"]
    assert "our inference" not in row["source"]


def test_the_cell_of_li9al4_is_credited_where_it_is_shown_and_in_the_catalogue():
    (line,) = [text for text in known_sources(["Li9Al4"]) if "mp-568404" in text]
    assert line.startswith("Li9Al4: Materials Project mp-568404")
    assert "CC BY 4.0" in line
    entry = get_entry("Li9Al4")
    assert "mp-568404" in entry.source
    assert "CC BY 4.0" in entry.licence
