"""The voltage study from file to figure, beside the published numbers, and what it refuses."""

import json

import pytest
import yaml
from factories import calculation_doc

from anodeflow.analysis.figures.voltage import voltage_figure
from anodeflow.analysis.vibrations import VibrationsDoc
from anodeflow.analysis.voltage_profile import VoltageStudyDoc
from anodeflow.cli.output.voltage import print_voltage
from anodeflow.errors import InputError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.workflows.studies import load_study
from anodeflow.workflows.studies.base import Record
from anodeflow.workflows.studies.vibrations import vibrations_label
from anodeflow.workflows.studies.voltage.published import compared


def written(folder, **settings):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"study": "voltage", "engine": "chgnet"} | settings))
    return file


def test_aluminium_from_file_to_figure(command, tmp_path, capsys):
    file, store = written(tmp_path, crystals=["Al", "LiAl", "Li"]), tmp_path / "s.sqlite"
    status, out, _ = command("run", file, "--store", store, "--figure", tmp_path / "f.png", "--json")
    assert status == 0
    document = VoltageStudyDoc.model_validate(json.loads(out))
    (plateau,) = document.plateaus
    assert (plateau.poor, plateau.rich) == ("Al", "LiAl")
    assert 0.3 < plateau.voltage_v < 0.45
    assert plateau.capacity_mah_per_g == pytest.approx(993.3, abs=0.1)
    assert document.lithiated[1].volume_change_percent == pytest.approx(96, abs=4)
    assert (tmp_path / "f.png").stat().st_size > 10000
    rows = {row["quantity"]: row for row in compared(document) if row["paper"] == "wu2025"}
    assert rows["host capacity, Al to LiAl"]["difference"] == pytest.approx(3.3, abs=0.1)
    assert set(rows) == {"plateau voltage, Al to LiAl", "host capacity, Al to LiAl", "volume change, Al to LiAl"}
    print_voltage(document)
    assert "plateaus against Li metal" in capsys.readouterr().out
    status, out, _ = command("results", "--store", store, "--what", "plateaus", "--crystal", "Al", "--json")
    assert status == 0
    assert json.loads(out)[0]["rich"] == "LiAl"
    status, out, _ = command("results", "--store", store, "--what", "capacities", "--json")
    assert len(json.loads(out)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crystals": ["Al", "LiAl"]}, "no crystal of the element Li"),
        ({"crystals": ["Al", "Li", "LiAl", "LiCl"]}, "LiCl holds Cl, which is neither of the host Al nor Li"),
    ],
)
def test_sets_without_a_profile_are_refused(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        load_study(written(tmp_path, **settings)).preflight()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"host": "S8"}, "the host S8 is not among the crystals"), ({"crystals": ["Al", "Li", "Al"]}, "given twice")],
)
def test_bad_settings_are_one_line(command, tmp_path, settings, message):
    status, _, err = command("plan", written(tmp_path, **settings))
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_nothing_to_draw_is_said(tmp_path):
    study = load_study(written(tmp_path))
    record = Record(identity=study.identity, setup=study.setup, sources=[])
    document = study.document({f"{name}/crystal": None for name in study.crystals}, record, None)
    assert not document.complete
    assert compared(document) == []
    with pytest.raises(InputError, match="no profile"):
        voltage_figure(document)


def test_one_reason_is_one_warning(tmp_path):
    """Without a compound there is no profile, neither at 0 K nor with vibrations."""
    study = load_study(written(tmp_path, crystals=["Al", "Li"], vibrations_at_k=300))
    record = Record(identity=study.identity, setup=study.setup, sources=[])
    results = {}
    for name in study.crystals:
        results[f"{name}/crystal"] = calculation_doc(-2.0, load_crystal(name).get_primitive_structure(), label=name)
        results[vibrations_label(name)] = VibrationsDoc(
            crystal=name, temperature_k=300, free_energy_ev_per_atom=0.01, zero_point_ev_per_atom=0.02
        )
    document = study.document(results, record, None)
    assert "takes up no lithium" in document.warm.error
    assert document.warnings.count(document.warm.error) == 1


@pytest.mark.slow
def test_a_profile_at_a_temperature(command, tmp_path, capsys):
    """CHGNet's harmonic crystals, in small cells; the algebra of the warm hull by hand."""
    pytest.importorskip("phonopy")
    settings = {"vibrations_at_k": 300, "phonon_length_angstrom": 4}
    file, store = written(tmp_path, crystals=["Al", "LiAl", "Li"], **settings), tmp_path / "s.sqlite"
    status, out, _ = command("run", file, "--store", store, "--figure", tmp_path / "f.png", "--json")
    document = VoltageStudyDoc.model_validate(json.loads(out))
    free = {doc.crystal: doc for doc in document.warm.vibrations}
    assert set(free) == {"Al", "LiAl", "Li"}
    assert all(doc.displaced_cells in (2, 4) for doc in free.values())
    print_voltage(document)
    printed = capsys.readouterr().out
    assert "zero point (meV/atom)" in printed
    if document.warm.error is None:
        assert status == 0
        change = 2 * free["LiAl"].free_energy_ev_per_atom - sum(free[n].free_energy_ev_per_atom for n in ("Al", "Li"))
        (warm,), (cold,) = document.warm.plateaus, document.plateaus
        assert warm.voltage_v == pytest.approx(cold.voltage_v - change, abs=1e-9)
    else:
        assert status != 0
        assert "imaginary" in document.warm.error


def test_a_length_of_displaced_cells_is_for_vibrations(tmp_path):
    with pytest.raises(InputError, match="phonon_length_angstrom is for vibrations"):
        load_study(written(tmp_path, phonon_length_angstrom=8))
    with pytest.raises(InputError, match="vibrations_at_k"):
        load_study(written(tmp_path, vibrations_at_k=0))
