"""Slabs judged by energies: mirror-related faces are equal, and pymatgen agrees where both are right."""

import itertools

import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from pymatgen.core import Structure
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor

from anodeflow.structures.catalogue import load_crystal
from anodeflow.structures.slabs import build_slab


def energy(structure, calculator):
    atoms = AseAtomsAdaptor.get_atoms(Structure.from_sites(structure), msonable=False)
    atoms.calc = calculator
    return atoms.get_potential_energy()


FACES = [hkl for hkl in itertools.product(range(3), repeat=3) if any(hkl) and max(hkl) <= 2]


@pytest.mark.parametrize("miller", FACES[::3])
def test_faces_related_by_inversion_and_by_a_mirror_have_equal_energies(miller):
    crystal = load_crystal("Al")
    h, k, l = miller  # noqa: E741
    energies = [
        energy(build_slab(crystal, face, min_thickness_angstrom=6, vacuum_angstrom=10).structure, EMT())
        for face in ((h, k, l), (-h, -k, -l), (k, h, l), (h, k, -l))
    ]
    assert energies == pytest.approx([energies[0]] * 4, abs=1e-6)


@pytest.mark.parametrize("name", ["Li9Al4", "Li3P", "LiAl"])
@pytest.mark.parametrize("miller", [(1, 0, 0), (0, 1, 1)])
def test_friedel_pairs_of_lower_symmetry(name, miller):
    # A pair potential without elements sees the geometry alone.
    crystal = load_crystal(name)
    pair = [
        energy(
            build_slab(crystal, face, min_thickness_angstrom=6, vacuum_angstrom=12).structure,
            LennardJones(sigma=2.4, epsilon=0.1, rc=6.0, smooth=True),
        )
        for face in (miller, tuple(-i for i in miller))
    ]
    assert pair[0] == pytest.approx(pair[1], abs=1e-6)


@pytest.mark.parametrize(("miller", "layers"), [((1, 1, 1), 5), ((1, 0, 0), 6), ((1, 1, 0), 7)])
def test_pymatgen_gives_the_same_slab_of_aluminium(miller, layers):
    crystal = load_crystal("Al")
    ours = build_slab(crystal, miller, layers=layers, vacuum_angstrom=12)
    spacing = ours.thickness_angstrom / (layers - 1)
    generator = SlabGenerator(crystal, miller, (layers - 0.5) * spacing, 12, center_slab=True, primitive=True)
    theirs = min(generator.get_slabs(), key=len)
    per_atom = [energy(slab, EMT()) / len(slab) for slab in (ours.structure, theirs)]
    if len(theirs) // round(theirs.surface_area / ours.area_angstrom2) == layers:
        assert per_atom[0] == pytest.approx(per_atom[1], abs=1e-6)
    else:  # another thickness: compare the surface energies instead
        bulk = energy(crystal, EMT()) / 4
        gamma = [
            (energy(slab, EMT()) - len(slab) * bulk) / (2 * area)
            for slab, area in ((ours.structure, ours.area_angstrom2), (theirs, theirs.surface_area))
        ]
        assert gamma[0] == pytest.approx(gamma[1], rel=0.03)
