"""Damaged structure files: the right crystal, one that nothing else in the file contradicts, or one clear error."""

import io
import json
import sys
import time
from collections import Counter
from pathlib import Path

import ase.io
import gemmi
import pytest
from file_texts import cif, operations, sites
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar
from test_structure_files import AIRSS, MASSES, SHELX, lammps, poscar, xyz

from anodeflow.errors import InputError
from anodeflow.structures.catalogue import get_entry, load_crystal
from anodeflow.structures.files.expansion import disagreement
from anodeflow.structures.structure_files import read_disordered

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutations import KINDS, mutations, one_line

LONGEST_S = 10.0  # of the processor
STATED = (
    "_space_group_name_Hall '-F 4 2 3'\n_space_group_IT_number 225\n_cell_volume 136.43\n"
    "_chemical_formula_sum 'Cl Li'\n_cell_formula_units_Z 4"
)


def by_ase(name: str, form: str) -> str:
    stream = io.BytesIO() if form == "cif" else io.StringIO()
    ase.io.write(stream, load_crystal(name).to_ase_atoms(), format=form)
    content = stream.getvalue()
    return content if isinstance(content, str) else content.decode()


def every_statement() -> str:
    group = operations(operation.triplet() for operation in gemmi.SpaceGroup("F m -3 m").operations())
    rows = ["Li1 Li 0 0 0 4 1", "Cl1 Cl 0.5 0.5 0.5 4 1"]
    columns = "label type_symbol fract_x fract_y fract_z symmetry_multiplicity occupancy"
    return cif(STATED, group, sites(rows, columns), symbol="F m -3 m")


# What the file states twice, so that no damage may change it without an error.
COMPOSITION, COUNT, NOTHING = "composition", "count", "nothing"
FILES = {
    "statements.cif": (every_statement, COMPOSITION),
    "symbol.cif": (lambda: cif("_chemical_formula_sum 'Cl Li'\n_cell_formula_units_Z 4", symbol="Fm3m"), COMPOSITION),
    "li3p.cif": (lambda: str(CifWriter(get_entry("Li3P").structure, symprec=0.01)), COMPOSITION),
    "li9al4.cif": (lambda: str(CifWriter(load_crystal("Li9Al4"))), COMPOSITION),
    "lpsc.cif": (lambda: str(CifWriter(get_entry("Li6PS5Cl").structure, symprec=0.01)), COMPOSITION),
    "shelx.res": (lambda: SHELX.format(li="10.25"), COMPOSITION),
    "airss.res": (lambda: AIRSS, COUNT),
    "POSCAR": (lambda: Poscar(load_crystal("Li9Al4")).get_str(), COUNT),
    "CONTCAR": (lambda: poscar("1 2 4", "Cartesian", "5.148 0 0\n0 2.574 0\n0 0 1.287"), COUNT),
    "species.xyz": (lambda: xyz(["Li"] * 4 + ["Cl"] * 4), COUNT),
    "numbers.xyz": (lambda: xyz([3] * 4 + [17] * 4, "Z:I:1:pos:R:3"), COUNT),
    # The remark is for the damage that merges two numbers.
    "licl.json": (lambda: json.dumps(load_crystal("LiCl").as_dict() | {"remark": "1 2"}, indent=1), NOTHING),
    "atomic.lmp": (lambda: lammps(masses=MASSES), COUNT),
    "full.lmp": (lambda: lammps("full", masses=MASSES), COUNT),
    "licl.xsf": (lambda: by_ase("LiCl", "xsf"), COUNT),
}


def tried(name: str, number: int, folder: Path) -> Counter:
    """How a file came through so many damages: counts of right, other and error."""
    make, stated = FILES[name]
    path, text = folder / name, make()
    path.write_text(text)
    right, count = read_disordered(path), Counter()
    for kind, damaged in mutations(text.encode(), number, name):
        path.write_bytes(damaged)
        began = time.process_time()
        try:
            found = read_disordered(path)
        except InputError as error:
            count["error"] += bool(one_line(error))
            continue
        finally:
            assert time.process_time() - began < LONGEST_S
        same = disagreement(found, right) is None
        count["right" if same else "other"] += 1
        if stated == COMPOSITION:
            assert found.composition.almost_equals(right.composition, rtol=0.03), f"{kind}: {found.composition}"
        elif stated == COUNT:
            assert len(found) == len(right), f"{kind}: {len(found)} atoms"
    return count


@pytest.mark.parametrize("name", FILES)
def test_one_of_each_kind(name, tmp_path):
    count = tried(name, len(KINDS), tmp_path)
    assert count["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hundreds(name, tmp_path):
    count = tried(name, 15 * len(KINDS), tmp_path)
    print(name, dict(count))
