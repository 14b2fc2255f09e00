"""Inputs of pw.x: exact text for the cards of the papers, and what is refused."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Rydberg
from factories import VALENCE_ELECTRONS, box, lithium_chloride, upf_header, write_upf_headers
from pymatgen.core import Lattice, Structure

from anodeflow.errors import EngineError, InputError
from anodeflow.workflows.cards import Smearing, load_card
from anodeflow.workflows.engines.espresso.engine import QeEngine
from anodeflow.workflows.engines.espresso.inputs import (
    ScfOptions,
    density_cutoff_ry,
    dipole_position,
    dynamics_input,
    pw_input,
)
from anodeflow.workflows.engines.espresso.pseudopotentials import choose_pseudopotentials
from anodeflow.workflows.engines.registry import get_engine

GOLDEN = Path(__file__).parent.parent / "data" / "qe" / "inputs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Header-only pseudopotentials: enough for an input."""
    place = write_upf_headers(tmp_path / "potentials")
    monkeypatch.setenv("ANODEFLOW_QE_POTENTIALS", str(place))
    return place


def lithium():
    return Structure([[-1.72, 1.72, 1.72], [1.72, -1.72, 1.72], [1.72, 1.72, -1.72]], ["Li"], [[0, 0, 0]])


def slab():
    """Two layers of LiCl(100), the lower one held, in 20 angstrom of height."""
    lattice = Lattice.from_parameters(3.640, 3.640, 20.0, 90, 90, 90)
    sites = [[0, 0, 0.1], [0.5, 0.5, 0.1], [0.5, 0.5, 0.2287], [0, 0, 0.2287]]
    held = [[False] * 3, [False] * 3, [True] * 3, [True, True, False]]
    return Structure(lattice, ["Li", "Cl", "Li", "Cl"], sites, site_properties={"selective_dynamics": held})


def interface():
    return Structure(Lattice.orthorhombic(7.28, 7.28, 7.28), ["Li", "Cl"] * 2, np.eye(4, 3) * 0.5)


CASES = {
    "lithium_chloride_relax_cell": (lithium_chloride, "relax_cell", "cui2026-binding", 0),
    "lithium_chloride_relax_c": (
        lambda: Structure(Lattice.tetragonal(3.64, 5.148), ["Li", "Cl"] * 2, [[0] * 3, [0.5, 0.5, 0], [0.5] * 3,
                                                                              [0, 0, 0.5]]),
        "relax_c", "cui2026-binding", 0,
    ),
    "slab_relax": (slab, "relax", "lacss2024-surface", 0),
    "lithium_static": (lithium, "static", "lacss2024-bulk", 0),
    "ion_static": (box, "static", "cui2026-binding", 1),
    "atom_static": (box, "static", "cui2026-binding", 0),
    "migration_relax": (interface, "relax", "cui2026-migration", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_inputs_are_what_they_were(name, folder, tmp_path):
    make, task, card, charge = CASES[name]
    files = get_engine("qe").write_inputs(make(), task, load_card(card), charge, tmp_path / "out")
    assert files == ["pw.in"]
    text = (tmp_path / "out" / "pw.in").read_text().replace(str(folder), "/potentials")
    golden = GOLDEN / f"{name}.in"
    if os.environ.get("ANODEFLOW_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def value(text: str, key: str) -> str | None:
    found = re.search(rf"^  {re.escape(key)} = (.*)$", text, re.MULTILINE)
    return found.group(1) if found else None


def written(folder, structure, task="static", card="cui2026-binding", charge=0, **changes):
    chosen = choose_pseudopotentials(structure.symbol_set, folder)
    return pw_input(structure, task, load_card(card).model_copy(update=changes), charge, chosen)


def test_units(folder):
    text = written(folder, lithium_chloride(), "relax_cell")
    assert float(value(text, "ecutwfc")) * Rydberg == pytest.approx(500.0)
    assert float(value(text, "ecutrho")) == pytest.approx(8 * float(value(text, "ecutwfc")))
    assert float(value(text, "degauss")) * Rydberg == pytest.approx(0.1)
    # three components of this size make a force of the card's length
    component = float(value(text, "forc_conv_thr")) * Rydberg / Bohr
    assert math.sqrt(3) * component == pytest.approx(0.03)
    assert float(value(text, "press_conv_thr")) <= 0.05 * 10
    assert value(text, "nstep") == "301"


def test_cell_and_positions_keep_their_digits(folder):
    structure = lithium_chloride()
    structure.translate_sites([1], [1 / 3, 1e-9, 0])
    text = written(folder, structure)
    lines = text.splitlines()
    at = lines.index("ATOMIC_POSITIONS crystal")
    read = np.array([[float(x) for x in line.split()[1:]] for line in lines[at + 1 : at + 3]])
    np.testing.assert_allclose(read, structure.frac_coords, atol=1e-15)
    at = lines.index("CELL_PARAMETERS angstrom")
    read = np.array([[float(x) for x in line.split()] for line in lines[at + 1 : at + 4]])
    np.testing.assert_allclose(read, structure.lattice.matrix, atol=1e-13)


def test_density_cutoff(folder, tmp_path):
    (tmp_path / "Li.upf").write_text(upf_header("Li", pseudo_type="NC"))
    (tmp_path / "Cl.upf").write_text(upf_header("Cl", rho_cutoff=500.0))
    soft = choose_pseudopotentials(["Li"], tmp_path)
    assert density_cutoff_ry(40.0, soft) == 160.0
    both = choose_pseudopotentials(["Li", "Cl"], tmp_path)
    assert density_cutoff_ry(40.0, both) == 500.0
    assert density_cutoff_ry(80.0, both) == 640.0


def test_no_smearing_means_fixed_occupations(folder):
    text = written(folder, lithium_chloride(), smearing=Smearing(kind="none"))
    assert value(text, "occupations") == "'fixed'"
    assert value(text, "smearing") is None
    # an odd number of electrons: pw.x wants the moment of the cell then
    text = written(folder, box(), smearing=Smearing(kind="none"))
    assert value(text, "tot_magnetization") == "1.0"


@pytest.mark.parametrize("kind", ["gaussian", "fermi-dirac", "methfessel-paxton", "marzari-vanderbilt"])
def test_smearing_names(folder, kind):
    text = written(folder, lithium(), smearing=Smearing(kind=kind, width_ev=0.2))
    assert value(text, "smearing") == f"'{kind}'"


def test_moments_add_up_to_that_of_the_cell(folder):
    text = written(folder, lithium())
    assert value(text, "nspin") == "2"
    assert float(value(text, "starting_magnetization(1)")) * VALENCE_ELECTRONS["Li"] == pytest.approx(1.0)


def test_dipole_correction_lies_in_the_middle_of_the_vacuum(folder):
    text = written(folder, slab(), "relax", "lacss2024-surface")
    assert (value(text, "tefield"), value(text, "dipfield"), value(text, "edir")) == (".true.", ".true.", "3")
    assert value(text, "eamp") == "0.0"
    start, width = float(value(text, "emaxpos")), float(value(text, "eopreg"))
    middle = (0.2287 + 1.1) / 2
    assert start + width / 2 == pytest.approx(middle)
    turned = slab()
    turned.translate_sites(range(4), [0, 0, 0.7])
    start, width = dipole_position(turned, 2)
    assert (start + width / 2) % 1.0 == pytest.approx((middle + 0.7) % 1.0)


def test_monkhorst_pack_shifts_even_meshes_only(folder):
    card = load_card("cui2026-migration")
    for mesh, expected in (((4, 3, 2), "4 3 2 1 0 1"), ((3, 3, 3), "3 3 3 0 0 0")):
        kpoints = card.kpoints.model_copy(update={"mesh": mesh})
        assert written(folder, lithium(), card=card.name, kpoints=kpoints).endswith(f"K_POINTS automatic\n{expected}\n")


def test_height_alone_needs_a_and_b_in_the_plane(folder):
    with pytest.raises(EngineError, match="do not lie in the xy plane"):
        written(folder, lithium_chloride(), "relax_c")
    leaning = Structure([[3.64, 0, 0], [0, 3.64, 0], [0.5, 0.5, 5.148]], ["Li"], [[0, 0, 0]])
    assert value(written(folder, leaning, "relax_c"), "cell_dofree") == "'z'"


def test_cell_of_a_corrected_slab_is_not_relaxed(folder):
    with pytest.raises(EngineError, match="its cell cannot be relaxed"):
        written(folder, slab(), "relax_cell", "lacss2024-surface")


def test_partly_occupied_sites_are_refused(folder):
    mixed = Structure(Lattice.cubic(4), [{"Li": 0.5, "Al": 0.5}], [[0, 0, 0]])
    chosen = choose_pseudopotentials(["Li", "Al"], folder)
    with pytest.raises(InputError, match="partly occupied"):
        pw_input(mixed, "static", load_card("cui2026-binding").model_copy(update={"spin": "none"}), 0, chosen)


def test_molecular_dynamics(folder):
    cell = Structure(Lattice.cubic(10.0), ["Li", "Cl"] * 4, np.vstack([np.eye(3), 1 - np.eye(3), [[0] * 3, [1.5] * 3]])
                     * 0.4)  # fmt: skip
    chosen = choose_pseudopotentials(["Li", "Cl"], folder)
    text = dynamics_input(cell, load_card("lacss2024-aimd"), 0, chosen, max_seconds=3600)
    assert value(text, "calculation") == "'md'"
    assert value(text, "nstep") == "25000"
    assert float(value(text, "dt")) * 4.837768653e-2 == pytest.approx(2.0)
    assert (value(text, "ion_temperature"), value(text, "tempw")) == ("'svr'", "300.0")
    with pytest.raises(InputError, match="no dynamics"):
        dynamics_input(cell, load_card("cui2026-binding"), 0, chosen)


def test_how_the_electrons_are_sought(folder):
    chosen = choose_pseudopotentials(["Li"], folder)
    text = pw_input(
        lithium(), "static", load_card("cui2026-binding"), 0, chosen, options=ScfOptions(0.1, True, "cg", 200)
    )
    assert [value(text, k) for k in ("mixing_beta", "mixing_mode", "diagonalization", "electron_maxstep")] == [
        "0.1",
        "'local-TF'",
        "'cg'",
        "200",
    ]


def test_a_card_below_the_suggested_minimum_is_refused(folder, tmp_path):
    (folder / "Li.upf").write_text(upf_header("Li", wfc_cutoff=60.0))
    engine = QeEngine()
    with pytest.raises(EngineError, match=r"Li\.upf.*60 Ry \(816 eV\).*36\.75 Ry \(500 eV\).*cui2026-binding"):
        engine.write_inputs(lithium(), "static", load_card("cui2026-binding"), 0, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    assert any("60 Ry" in line for line in engine.missing(["Li"], load_card("cui2026-binding")))


def test_what_is_missing(folder, monkeypatch):
    engine = QeEngine()
    (folder / "Cl.upf").unlink()
    monkeypatch.setenv("ANODEFLOW_QE_COMMAND", "/nowhere/pw.x")
    lines = engine.missing(["Li", "Cl"], load_card("cui2026-binding"))
    assert any("/nowhere/pw.x" in line for line in lines)
    assert any("of Cl" in line and str(folder) in line for line in lines)
    with pytest.raises(EngineError, match="/nowhere/pw"):
        engine.preflight(load_card("cui2026-binding"))


def test_valence_electrons(folder):
    assert QeEngine().valence_electrons(["Li", "Cl"]) == {"Cl": 7, "Li": 3}
    (folder / "Li.upf").write_text(upf_header("Li", z_valence=2.5))
    with pytest.raises(EngineError, match=r"2\.5 valence electrons"):
        QeEngine().valence_electrons(["Li"])
