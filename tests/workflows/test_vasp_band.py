"""Bands that VASP moves, played by a stand-in: stages, judged forces, restarts, faults; and a real VTST run read."""

import gzip
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from needs import needs_linux
from pymatgen.core import Structure

from anodeflow.analysis.trajectories.outcar import OutcarReader, OutcarStep
from anodeflow.errors import EngineError
from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.migration_paths import interpolated_path, matched_end_points
from anodeflow.workflows.cards import load_card
from anodeflow.workflows.engines.contract import Band, Reason, Request
from anodeflow.workflows.engines.motion.band import improved_tangent
from anodeflow.workflows.engines.registry import get_engine
from anodeflow.workflows.engines.vasp.band import take_step
from anodeflow.workflows.jobs.kept_band import KeptBand

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from vasp_setup import STAND_IN, environment, kill_with_children, use_stand_in

CARD = load_card("cui2026-migration").varied("test", kpoints={"mesh": (1, 1, 1)}, spin="none")
REAL = Path(__file__).parents[1] / "data" / "vasp" / "neb"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    use_stand_in(monkeypatch, tmp_path, vtst=True)


def vacancy_hop(images=3):
    """Al jumps into a vacancy of a cell of eight sites; ends where the stand-in's potential has them."""
    crystal = load_crystal("Al") * (2, 1, 1)
    near = int(np.argsort(crystal.distance_matrix[0])[1])
    start, end = crystal.copy(), crystal.copy()
    start.remove_sites([near])
    end.remove_sites([0])
    ends = matched_end_points(start, end)
    return interpolated_path(ends, images, displacement_angstrom=0.03, seed=0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The band to start from, its ends relaxed."""
    folder = tmp_path_factory.mktemp("ends")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder, vtst=True).items():
            patch.setenv(name, value)
        band = vacancy_hop()
        for number in (0, -1):
            tight = CARD.model_copy(update={"force_tolerance_ev_per_angstrom": 0.005})
            done = get_engine("vasp").compute(Request(band[number], "relax", tight), folder / str(number))
            assert done.converged
            band[number] = done.structure
    ends = matched_end_points(band[0], band[-1])
    return interpolated_path(ends, 3, displacement_angstrom=0.03, seed=0)


def run(path, folder, card=CARD, **options) -> Band:
    return get_engine("vasp").neb(path, card, 0, directory=folder, **options)


def by_hand(structure):
    """The stand-in's energy and forces of a structure."""
    from vasp_stand_in import morse

    return morse([s.specie.symbol for s in structure], structure.frac_coords, structure.lattice.matrix)[:2]


def incar(folder):
    return dict(line.split(" = ") for line in (folder / "INCAR").read_text().splitlines())


def test_a_band_climbs_and_is_judged_by_its_forces(path, tmp_path):
    told, kept = [], []
    folder = tmp_path / "band"
    band = run(path, folder, monitor=lambda *step: told.append(step), keep=lambda *step: kept.append(step))
    assert band.converged, band.error
    assert band.climbing_image == 2
    assert band.electronic_converged
    assert max(band.residuals_ev_per_angstrom) <= 0.03
    for image, energy, forces in zip(band.images, band.energies_ev, band.forces_ev_per_angstrom, strict=True):
        expected = by_hand(image)
        assert energy == pytest.approx(expected[0], abs=2e-4)  # an OUTCAR has five decimals of the positions
        assert forces == pytest.approx(expected[1], abs=2e-3)
    # the saddle: no force at all; the hop is symmetric
    assert np.linalg.norm(by_hand(band.images[2])[1], axis=1).max() <= 0.03
    assert band.energies_ev[1] == pytest.approx(band.energies_ev[3], abs=0.02)
    assert band.energies_ev[0] == pytest.approx(band.energies_ev[4], abs=1e-3)
    # first without, then with the climbing image, in the same folders
    assert incar(folder)["LCLIMB"] == "True"
    assert incar(folder / "attempt-1")["LCLIMB"] == "False"
    assert float(incar(folder / "attempt-1")["EDIFFG"]) == pytest.approx(-0.2)
    assert (folder / "00" / "OUTCAR").is_file()
    assert (folder / "04" / "OUTCAR").is_file()
    steps = [step for step, *_ in told]
    assert steps == sorted(steps)
    assert [step for step, *_ in kept] == list(dict.fromkeys(step for step, *_ in kept))
    assert [climbing for _, climbing, _ in kept] == sorted(climbing for _, climbing, _ in kept)
    assert kept[-1][2] == pytest.approx(np.array([image.cart_coords for image in band.images]))
    assert told[-1][1] == max(band.energies_ev)


def test_vasp_without_the_vtst_tools_has_no_climbing_image(path, tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert not get_engine("vasp").climbs()
    # one image: by symmetry its tangent is right, which VASP's own, the line between the neighbours, seldom is
    band = run([path[0], path[2], path[4]], tmp_path / "band")
    assert band.converged, band.error
    assert band.climbing_image is None
    assert "no image climbs" in band.warnings[0]
    tags = incar(tmp_path / "band")
    assert not {"LCLIMB", "ICHAIN", "IOPT"} & set(tags)
    assert tags["IBRION"] == "1"


def test_a_band_at_its_step_limit_goes_on_when_more_are_allowed(path, tmp_path):
    kept = []
    short = CARD.model_copy(update={"max_steps": 3})
    band = run(path, tmp_path / "band", short, keep=lambda *step: kept.append(step))
    assert not band.converged
    assert band.steps == 3
    assert band.error.startswith("band not relaxed after 3 steps: force ")
    assert band.reason is Reason.NOT_RELAXED
    assert len(band.energies_ev) == 5
    step, climbing, coords = kept[-1]
    moved = [Structure(p.lattice, p.species, c, coords_are_cartesian=True) for p, c in zip(path, coords, strict=True)]
    more = run(moved, tmp_path / "band", steps_before=step, climbing=climbing)
    assert more.converged, more.error
    whole = run(path, tmp_path / "whole")
    assert max(more.energies_ev) == pytest.approx(max(whole.energies_ev), abs=2e-3)
    assert more.steps <= whole.steps + 3


@pytest.mark.parametrize(("fault", "words"), [("image2@4", r"std_err\.txt:1: image 2: forrtl"), ("kill@4", "band not")])
def test_a_band_that_dies_in_a_step_keeps_the_one_before_and_goes_on(path, tmp_path, monkeypatch, fault, words):
    kept = KeptBand(tmp_path / "band.json", "key")
    monkeypatch.setenv("VASP_STAND_IN_FAULT", fault)
    band = run(path, tmp_path / "band", keep=kept.write)
    assert not band.converged
    assert band.error.startswith(f"band not relaxed after {band.steps} steps: ")
    assert re.search(words, band.error)
    assert band.reason is Reason.FAILED
    assert band.steps == (3 if "image" in fault else 4)
    monkeypatch.delenv("VASP_STAND_IN_FAULT")
    step, climbing, coords = kept.read((5, 7, 3))
    moved = [Structure(p.lattice, p.species, c, coords_are_cartesian=True) for p, c in zip(path, coords, strict=True)]
    more = run(moved, tmp_path / "band", steps_before=step, climbing=climbing, keep=kept.write)
    assert more.converged, more.error
    assert more.steps > step
    # it began from the CONTCARs, not from the start
    begun = Structure.from_file(tmp_path / "band" / "attempt-2" / "02" / "POSCAR")
    assert np.abs(begun.cart_coords - path[2].cart_coords).max() > 0.01


def test_a_band_that_never_begins_is_an_error_with_file_and_line(path, tmp_path, monkeypatch):
    run(path, tmp_path / "band", CARD.model_copy(update={"max_steps": 1}))
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "licence")
    with pytest.raises(EngineError, match=r"std_err\.txt:1: VASP licence: no licence file") as caught:
        run(path, tmp_path / "band")  # the ends are there
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "image1@1")
    with pytest.raises(EngineError, match=r"before the first step of a band.*std_err\.txt:1: image 1"):
        run(path, tmp_path / "band")


def test_electrons_that_do_not_converge_give_no_band(path, tmp_path, monkeypatch):
    run(path, tmp_path / "band", CARD.model_copy(update={"max_steps": 1}))
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "nelm")
    band = run(path, tmp_path / "band", CARD.model_copy(update={"max_steps": 2}))
    assert band.electronic_converged is False
    assert not band.converged
    assert "electrons" in band.error
    assert band.reason is Reason.ELECTRONS


@pytest.mark.slow
def test_electrons_that_do_not_converge_in_an_end_give_no_band(path, tmp_path, monkeypatch):
    monkeypatch.setenv("VASP_STAND_IN_FAULT", "nelm")
    band = run(path, tmp_path / "band")
    assert band.energies_ev == []
    assert band.electronic_converged is False
    assert "end point 00" in band.error
    assert band.reason is Reason.ELECTRONS


def test_a_stop_leaves_a_band_that_goes_on(path, tmp_path, monkeypatch):
    monkeypatch.setenv("VASP_STAND_IN_DELAY", "0.5")

    class Stop(Exception):  # noqa: N818
        pass

    def monitor(step, energy, force):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        run(path, tmp_path / "band", monitor=monitor)
    assert "soft stop encountered" in (tmp_path / "band" / "02" / "OUTCAR").read_text()


def test_frozen_atoms_neither_move_nor_count(path, tmp_path):
    far = int(np.argmax([site.distance(path[2][0]) for site in path[0]]))
    flags = [[number != far] * 3 for number in range(len(path[0]))]
    held = [image.copy(site_properties={"selective_dynamics": flags}) for image in path]
    for image in held:
        image.replace(far, "Al", path[0][far].frac_coords, properties={"selective_dynamics": [False] * 3})
    assert np.linalg.norm(by_hand(path[2])[1][far]) > 0.01
    band = run(held, tmp_path / "band", CARD.model_copy(update={"max_steps": 60}))
    assert band.converged, band.error
    places = np.array([image.cart_coords[far] for image in band.images])
    assert places == pytest.approx(np.array([places[0]] * 5), abs=2e-5)
    assert not band.forces_ev_per_angstrom[:, far].any()


def test_bands_have_a_command_of_their_own(path, tmp_path, monkeypatch):
    counted = tmp_path / "counted.py"
    counted.write_text(
        f"import runpy, sys\nopen('ranks', 'w').write(sys.argv[1])\nsys.path.insert(0, {str(STAND_IN.parent)!r})\n"
        f"runpy.run_path({str(STAND_IN)!r}, run_name='__main__')\n"
    )
    settings = environment(tmp_path, vtst=True, band_command=f"{sys.executable} {counted} {{images}}")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    run(path, tmp_path / "band", CARD.model_copy(update={"max_steps": 1}))
    assert (tmp_path / "band" / "ranks").read_text() == "3"
    assert not (tmp_path / "band" / "00" / "ranks").exists()


@pytest.mark.slow
@needs_linux
def test_killed_with_its_parent_it_goes_on(path, tmp_path, monkeypatch):
    monkeypatch.setenv("VASP_STAND_IN_DELAY", "0.4")
    kept = KeptBand(tmp_path / "band.json", "key")
    child = os.fork()
    if child == 0:
        try:
            run(path, tmp_path / "band", keep=kept.write)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 120
    while ((found := kept.read((5, 7, 3))) is None or found[0] < 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_with_children(child, deadline)
    monkeypatch.delenv("VASP_STAND_IN_DELAY")
    step, climbing, coords = kept.read((5, 7, 3))
    moved = [Structure(p.lattice, p.species, c, coords_are_cartesian=True) for p, c in zip(path, coords, strict=True)]
    band = run(moved, tmp_path / "band", steps_before=step, climbing=climbing)
    assert band.converged, band.error
    assert any(p.name.startswith("attempt-") for p in (tmp_path / "band").iterdir())


# --- a real run --------------------------------------------------------------------------------------


@pytest.fixture
def ammonia(tmp_path):
    """All steps of the real band: structures of the start, and the steps of each image."""
    images = [Structure.from_file(REAL / f"{number:02d}" / "POSCAR") for number in range(5)]
    for image, before in zip(images[1:], images, strict=False):
        shift = np.round(image.frac_coords - before.frac_coords)
        assert not shift.any()
    steps = []
    for number in (1, 2, 3):
        file = tmp_path / f"OUTCAR-{number}"
        with gzip.open(REAL / f"{number:02d}" / "OUTCAR.gz") as packed, file.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        tail = OutcarReader(file, 4)
        steps.append(tail.read())
        assert tail.version == "vasp.5.4.4.18Apr17-6-g9f103f2a35"
    return images, steps, tmp_path


def test_a_real_band_of_vtst_is_read_step_by_step(ammonia):
    images, steps, _ = ammonia
    assert [len(found) for found in steps] == [23, 23, 23]
    assert all(step.electrons_converged for found in steps for step in found)
    assert [found[-1].energy_ev for found in steps] == pytest.approx([-19.49550593, -19.27978, -19.4955], abs=2e-4)
    below = [OutcarStep(-19.55, image.cart_coords, np.zeros((4, 3)), True) for image in (images[0], images[-1])]
    band = Band(images)
    take_step(band, images, below, [found[-1] for found in steps], np.arange(4), False)
    assert band.energies_ev[2] - band.energies_ev[1] == pytest.approx(0.2157, abs=2e-4)
    assert band.climbing_image is None
    # VTST's own numbers of the last step; 'perp REAL' is the norm over all atoms
    coords = [image.cart_coords for image in band.images]
    for number, file in ((1, 1), (3, 3)):
        with gzip.open(REAL / f"{file:02d}" / "OUTCAR.gz", "rt") as text:
            lines = text.read()
        across = float(re.findall(r"perp REAL, dneb\s+\S+\s+(\S+)", lines)[-1])
        along = float(re.findall(r"projections on to tangent \(spring, REAL\)\s+\S+\s+(\S+)", lines)[-1])
        tangent = improved_tangent(coords, band.energies_ev, number)
        force = band.forces_ev_per_angstrom[number]
        assert abs(np.vdot(force, tangent)) == pytest.approx(abs(along), abs=2e-3)
        assert np.linalg.norm(force - np.vdot(force, tangent) * tangent) == pytest.approx(across, abs=2e-3)
    assert max(band.residuals_ev_per_angstrom) < 0.03


def test_a_real_outcar_cut_anywhere_gives_whole_steps_only(ammonia):
    _, steps, folder = ammonia
    text = (folder / "OUTCAR-1").read_bytes()
    growing = folder / "growing"
    tail, found = OutcarReader(growing, 4), []
    for end in np.linspace(0, len(text), 41).astype(int):
        growing.write_bytes(text[:end])
        found += tail.read()
    assert [s.energy_ev for s in found] == [s.energy_ev for s in steps[0]]
    assert np.array([s.forces for s in found]) == pytest.approx(np.array([s.forces for s in steps[0]]))
