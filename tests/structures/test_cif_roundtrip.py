"""A crystal of the catalogue, written as a CIF in any setting, by any writer, in any dialect, is read back."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import ase.io
import numpy as np
import pytest
import spglib
from file_texts import cell, operations, sites
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import crystal_names, get_entry
from anodeflow.structures.files.expansion import space_group_numbers
from anodeflow.structures.files.space_groups import operations_of_hall_number
from anodeflow.structures.structure_files import read_structure

ORDERED = [name for name in crystal_names() if get_entry(name).is_ordered and len(get_entry(name).structure) <= 60]
MATCHER = StructureMatcher(ltol=0.01, stol=0.02, angle_tol=0.5, scale=False)
HALLS: dict[int, list[int]] = {}
for hall in range(1, 531):
    HALLS.setdefault(spglib.get_spacegroup_type(hall).number, []).append(hall)
SETTINGS = [(name, hall) for name in ORDERED for hall in HALLS[get_entry(name).space_group_number]]


def spglib_cell(structure: Structure):
    return structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers


@lru_cache(maxsize=512)
def in_setting(name: str, hall_number: int) -> Structure:
    """The crystal in the cell, axes and origin of a Hall number."""
    found = spglib.get_symmetry_dataset(spglib_cell(get_entry(name).structure), symprec=0.01, hall_number=hall_number)
    return Structure(Lattice(found.std_lattice), found.std_types, found.std_positions)


def asymmetric_unit(structure: Structure, hall_number: int, pick) -> list[int]:
    """One atom of each orbit, whichever `pick` chooses."""
    group = operations_of_hall_number(hall_number)
    left, chosen = set(range(len(structure))), []
    while left:
        images = group.rotations @ structure.frac_coords[min(left)] + group.translations / 24
        apart = structure.frac_coords[:, None] - images[None]
        apart -= np.round(apart)
        orbit = [n for n in left if (np.linalg.norm(apart[n], axis=1) < 1e-3).any()]
        chosen.append(pick(orbit))
        left -= set(orbit)
    return chosen


def symbols(hall_number: int) -> dict[str, str]:
    """What may name a setting: items of a CIF by kind; `open` may leave origin, axes or setting open."""
    kind = spglib.get_spacegroup_type(hall_number)
    hermann_mauguin = kind.international.split("=")[-1].strip().replace("_", "")
    origin = kind.choice if kind.choice in ("1", "2", "H", "R") else ""
    full = f"{hermann_mauguin} :{origin}" if origin else hermann_mauguin
    return {
        "hall": f"_space_group_name_Hall '{kind.hall_symbol}'",
        "symbol": f"_symmetry_space_group_name_H-M '{full}'",
        "open": f"_space_group_name_H-M_alt '{hermann_mauguin}'",
        "number": f"_space_group_IT_number {kind.number}",
        "operations": "",
    }


@st.composite
def texts(draw):
    """Name of a crystal, a CIF of it, and whether the CIF must be read (else it may be refused)."""
    name, hall_number = draw(st.sampled_from(SETTINGS))
    structure = in_setting(name, hall_number)
    named = draw(st.sampled_from(["hall", "symbol", "open", "number", "operations"]))
    statement = symbols(hall_number)[named]
    if named == "operations":
        listed = operations_of_hall_number(hall_number).as_xyz()
        statement = operations(draw(st.permutations(listed)))
    digits = draw(st.integers(4, 9))
    rows = []
    for n in draw(st.permutations(asymmetric_unit(structure, hall_number, lambda orbit: draw(st.sampled_from(orbit))))):
        coords = structure.frac_coords[n] + [draw(st.integers(-1, 1)) for _ in range(3)]
        symbol = structure[n].specie.symbol
        charge = draw(st.sampled_from(["", "1+", "+2", "0"]))
        occupancy = draw(st.sampled_from(["1", "1.0", ".", "?", "1.00(1)"]))
        rows.append(f"{symbol}{n} {symbol}{charge} {' '.join(f'{x:.{digits}f}' for x in coords)} {occupancy}")
    listed = sites(rows, "label type_symbol fract_x fract_y fract_z occupancy")
    lengths = [f"{x:.5f}" for x in structure.lattice.abc]
    text = "data_x\n" + cell(*lengths, *(f"{x:.5f}" for x in structure.lattice.angles)) + statement + "\n" + listed
    if draw(st.booleans()):
        text += f"_chemical_formula_sum '{structure.composition.reduced_composition.formula}'\n"
        text += f"_cell_formula_units_Z {round(structure.composition.get_reduced_composition_and_factor()[1])}\n"
    if draw(st.booleans()):
        text = text.replace("_atom_site_", "_atom_site.").replace("_cell_", "_cell.")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return name, text, named in ("hall", "symbol", "operations")


def check(name: str, text: str, folder: Path, must: bool) -> bool:
    """Whether the text was read; what was read is the crystal."""
    path = folder / "x.cif"
    path.write_bytes(text.encode())
    try:
        found = read_structure(path)
    except InputError as error:
        found = error
    if isinstance(found, InputError):
        assert not must, f"{found}\n{text}"
        assert "\n" not in str(found)
        return False
    entry = get_entry(name)
    assert found.composition.reduced_formula == entry.structure.composition.reduced_formula, text
    assert found.density == pytest.approx(entry.structure.density, rel=2e-3), text
    assert entry.space_group_number in space_group_numbers(found), text
    assert MATCHER.fit(found, entry.structure), text
    return True


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=texts())
def test_every_setting_is_read_back_or_refused_where_it_is_left_open(tmp_path_factory, written):
    name, text, must = written
    check(name, text, tmp_path_factory.mktemp("cif"), must)


def by_ase(structure: Structure) -> str:
    stream = io.BytesIO()
    ase.io.write(stream, structure.to_ase_atoms(), format="cif")
    return stream.getvalue().decode()


WRITERS = {
    "pymatgen": lambda structure: str(CifWriter(structure)),
    "pymatgen, symmetric": lambda structure: str(CifWriter(structure, symprec=0.01)),
    "pymatgen, oxidation states": lambda structure: str(
        CifWriter(structure.copy().add_oxidation_state_by_element(dict.fromkeys(structure.symbol_set, 1)), symprec=0.01)
    ),
    "ASE": by_ase,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ORDERED)
def test_what_other_programs_write_is_read_back(tmp_path, name, writer):
    structure = get_entry(name).structure
    assert check(name, WRITERS[writer](structure), tmp_path, must=True)
    if len(structure) < 20:
        assert check(name, WRITERS[writer](structure * (2, 1, 1)), tmp_path, must=True)
